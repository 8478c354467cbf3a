from __future__ import annotations

import asyncio

import pytest

from consumers import outbox
from consumers.outbox import Outbox, TooSlow
from consumers.protocol import Reset, Revoked, Whisper
from events.log import LoggedEvent


def event(offset: int, size: int = 1000) -> LoggedEvent:
    return LoggedEvent("user.1", offset, "order.late", f'{{"t":"{"x" * size}"}}', "")


async def test_what_waits_for_one_client_is_bounded():
    box = Outbox(lambda: None)
    taken = sum(box.push(event(n)) for n in range(10_000))
    assert taken < outbox.MOST_BYTES / 1000 + 1
    assert not box.push(Whisper("user.1", "order.tick", {"t": "x" * 2000}))


async def test_what_must_be_said_always_finds_room():
    box = Outbox(lambda: None)
    while box.push(event(1)):
        pass
    assert box.push(Reset("user.1", 1, "expired"))
    assert box.push(Revoked("user.1"))
    assert box.push("{}")
    while box.push("x" * 1000):
        pass
    assert box.push(Revoked("user.1"))


async def test_what_comes_first_goes_before_all_that_waits():
    box = Outbox(lambda: None)
    whisper = Whisper("user.1", "order.tick", {})
    box.push(whisper)
    box.push_first("{}")
    assert await box.take() == ["{}", whisper]


async def test_what_a_lost_right_forbids_is_dropped_unless_it_is_on_its_way():
    box = Outbox(lambda: None)
    for offset in range(1, 120):
        box.push(event(offset))
    box.push(Whisper("user.1", "order.tick", {}))
    box.push(LoggedEvent("user.2", 1, "order.late", "{}", ""))
    first = await box.take()
    assert 0 < len(first) < 70
    box.drop("user.1")
    box.push(Revoked("user.1"))
    rest = await box.take()
    assert [type(item).__name__ for item in rest] == ["LoggedEvent", "Revoked"]
    box.push(event(1))
    box.drop()
    box.push("bye")
    assert await box.take() == ["bye"]


async def test_one_event_larger_than_the_bound_still_passes_an_empty_outbox():
    box = Outbox(lambda: None)
    assert box.push(event(1, outbox.MOST_BYTES * 2))


async def test_who_was_refused_is_told_when_there_is_room():
    told: list[bool] = []
    box = Outbox(lambda: told.append(True))
    while box.push(event(1)):
        pass
    await box.take()
    assert told == []
    box.written()
    assert told == [True]


async def test_a_closed_outbox_gives_what_it_has_and_then_nothing():
    box = Outbox(lambda: None)
    box.push("a")
    box.close()
    assert await box.take() == ["a"]
    assert await box.take() == []


async def test_a_write_that_takes_for_ever_is_too_slow(monkeypatch):
    monkeypatch.setattr(outbox, "STUCK", 0.05)
    with pytest.raises(TooSlow):
        await outbox.within_reason(asyncio.sleep(10))
    await outbox.within_reason(asyncio.sleep(0))
