from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers import cursor
from consumers.cursor import BadCursor
from events import log

names = st.one_of(
    st.integers(1, 10**17).map(lambda n: f"user.{n}"),
    st.from_regex(r"group\.[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True),
    st.uuids().map(lambda value: f"job.{value}"),
)


@given(
    st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    st.dictionaries(names, st.integers(0, 2**63 - 1)),
)
def test_what_is_written_is_read_back(epoch: str, positions: dict[str, int]):
    text = log.write_cursor(epoch, positions)
    if len(text) <= cursor.MAX_LENGTH:
        assert cursor.read(text) == cursor.Cursor(epoch, positions)


@given(st.text())
def test_any_text_is_read_or_refused_and_nothing_else(text: str):
    try:
        found = cursor.read(text)
    except BadCursor as refused:
        assert str(refused)
    else:
        assert cursor.read(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "~", "e~user.1", "e~user.1:", "e~user.1:01", "e~user.1:٣", "e~user.1:1~", "e e", "e~:1"],
)
def test_refuses_what_is_no_cursor(text: str):
    with pytest.raises(BadCursor):
        cursor.read(text)


VECTORS = json.loads(Path("tests/vectors/cursor.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["text"][:30])
def test_reads_what_the_browser_reads(vector: dict[str, object]):
    found = cursor.read(str(vector["text"]))
    assert (found.epoch, found.positions) == (vector["epoch"], vector["offsets"])


@pytest.mark.parametrize("text", VECTORS["bad"])
def test_refuses_what_the_browser_refuses(text: str):
    with pytest.raises(BadCursor):
        cursor.read(text)
