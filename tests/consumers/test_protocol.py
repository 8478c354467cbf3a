from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers import protocol
from consumers.protocol import BadFrame, Item, Revoked, Whisper
from events.log import LoggedEvent

AT = "2026-01-01T00:00:00.000000Z"


def event(offset: int, size: int = 10) -> LoggedEvent:
    return LoggedEvent("user.1", offset, "order.late", json.dumps({"text": "x" * size}), AT)


def test_an_event_frame_has_the_fields_of_the_table():
    frame = json.loads(protocol.frame(event(1)))
    assert frame == {
        "op": "event",
        "topic": "user.1",
        "offset": 1,
        "type": "order.late",
        "data": {"text": "x" * 10},
        "at": AT,
    }


def test_neighbouring_events_share_a_frame_and_keep_their_order():
    items: list[Item] = [
        event(1),
        event(2),
        Whisper("user.1", "order.tick", {}),
        event(3),
        Revoked("user.1"),
    ]
    frames = [json.loads(text) for text in protocol.frames(items)]
    assert [[one["offset"] for one in frame] for frame in frames[:1]] == [[1, 2]]
    assert [frame["op"] for frame in frames[1:]] == ["whisper", "event", "revoked"]


@given(st.lists(st.integers(0, 32_000), max_size=30))
def test_no_frame_is_over_the_limit_and_nothing_is_lost(sizes: list[int]):
    items = [event(number, size) for number, size in enumerate(sizes, 1)]
    frames = protocol.frames(items)
    assert all(len(text.encode()) <= protocol.MAX_FRAME for text in frames)
    values = [json.loads(text) for text in frames]
    found = [one for value in values for one in (value if isinstance(value, list) else [value])]
    assert [one["offset"] for one in found] == list(range(1, len(sizes) + 1))


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps)
)
def test_whatever_a_client_says_is_a_command_or_a_bad_frame(text: str):
    try:
        command = protocol.parse(text)
    except BadFrame as bad:
        assert str(bad)
    else:
        assert command.op in protocol.FROM_CLIENT


@pytest.mark.parametrize("op", protocol.FROM_CLIENT)
def test_each_missing_field_is_named(op: str):
    for field in protocol.FROM_CLIENT[op]:
        with pytest.raises(BadFrame, match=field):
            protocol.parse(json.dumps({"op": op, "ref": 5}))
        break
