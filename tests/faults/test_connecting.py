"""E02: whoever connects while others write gets exactly what follows, from wherever it was."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Origin

from consumers.database import in_database
from events import epoch as epochs
from events import log
from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY
from tests.faults.rig import Rig, rig
from tests.live import cookies_of, newcomer

SEED: Final = 20260102
AT_ONCE: Final = 20
PATIENCE: Final = 20.0
HISTORY: Final = 30
"""Events that there are before anybody connects, from a writer that is under way."""
WRITERS: Final = 8
CROSSED: Final = [EVERYBODY, "group.announcements"]

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(1800)]


@dataclass
class Tally:
    connects: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    repeats: int = 0
    resets: int = 0
    """Connects that were told to start anew, though the log reaches back far enough for all."""
    short: int = 0
    """Connects that did not reach the head of their time within `PATIENCE`."""

    @property
    def clean(self) -> bool:
        return not (self.gaps or self.repeats or self.resets or self.short)

    def __str__(self) -> str:
        return (
            f"{self.connects} connects, {len(self.gaps)} gaps, {self.repeats} duplicates,"
            f" {self.resets} resets, {self.short} left behind"
        )


async def one_connect(url: str, cookie: str, cursor: str, tally: Tally) -> None:
    """Connect at this cursor, read until the head that the log has once we are in, compare every offset."""
    address = f"ws{url.removeprefix('http')}/ws/groups/dashboard/" + (
        f"?cursor={cursor}" if cursor else ""
    )
    headers = {"Cookie": cookie}
    async with connect(
        address,
        origin=Origin(url),
        additional_headers=headers,
        compression=None,
        max_size=None,
    ) as socket:
        head = (await in_database(log.heads, [EVERYBODY]))[EVERYBODY] + 3
        position = -1
        tally.connects += 1
        try:
            async with asyncio.timeout(PATIENCE):
                while position < head:
                    parsed = json.loads(await socket.recv())
                    for frame in parsed if isinstance(parsed, list) else [parsed]:
                        if frame["op"] == "welcome":
                            position = frame["offsets"][EVERYBODY]
                        elif frame["op"] == "event":
                            tally.repeats += frame["offset"] <= position
                            if frame["offset"] > position + 1:
                                tally.gaps.append((position, frame["offset"]))
                            position = max(position, frame["offset"])
                        elif frame["op"] == "reset":
                            tally.resets += 1
                            return
        except TimeoutError:
            tally.short += 1


async def connects(
    hub: Rig, n: int, *, rate: float = 50, pause: str = "", crossing: bool = False
) -> Tally:
    """`n` connects at random phase and cursor while a writer commits `rate` a second; `crossing`: while eight of them
    commit to two topics, in another order than they publish in where the database lets them."""
    dice = random.Random(SEED)
    tally = Tally()
    user = await in_database(newcomer)
    cookie = "; ".join(f"{k}={v}" for k, v in (await in_database(cookies_of, user)).items())
    epoch = await in_database(epochs.current)
    enough = (await in_database(log.heads, [EVERYBODY]))[EVERYBODY] + HISTORY
    with (
        hub.writing("crossing", topics=CROSSED, n=100_000, writers=WRITERS, seed=SEED)
        if crossing
        else hub.writing("stream", topics=[EVERYBODY], n=100_000, rate=rate, pause=pause)
    ):
        async with asyncio.timeout(PATIENCE):
            while (await in_database(log.heads, [EVERYBODY]))[EVERYBODY] < enough:
                await asyncio.sleep(0.05)
        numbers = iter(range(n))

        async def keep_connecting() -> None:
            for _ in numbers:
                await asyncio.sleep(dice.random() * 0.05)
                head = (await in_database(log.heads, [EVERYBODY]))[EVERYBODY]
                back = dice.choice([0, 1, 5, 50, 300])
                fresh = dice.random() < 0.3
                cursor = "" if fresh else f"{epoch}~{EVERYBODY}:{max(0, head - back)}"
                await one_connect(hub.url, cookie, cursor, tally)

        await asyncio.gather(*(keep_connecting() for _ in range(AT_ONCE)))
    return tally


@pytest.mark.experiment("E02", quick=True)
async def test_whoever_connects_while_others_write_misses_nothing(
    counted: Callable[..., int], report: Report
):
    with rig() as hub:
        tally = await connects(hub, counted(2000))
    report(n=tally.connects, worst=str(tally), seed=SEED)
    assert tally.clean, tally


@pytest.mark.experiment("E02")
@pytest.mark.parametrize(
    "window",
    [
        "pause_after_subscribe",
        "pause_after_read",
        "pause_during_drain",
        "before_commit",
        "before_send",
        "pause_before_hand_over",
    ],
)
async def test_nothing_slips_through_a_window(
    window: str, counted: Callable[..., int], report: Report
):
    in_writer = window.startswith("before")
    with rig(planted="" if in_writer else window) as hub:
        pause = window if in_writer else ""
        tally = await connects(hub, counted(500), rate=15 if in_writer else 50, pause=pause)
    report(n=tally.connects, worst=str(tally), seed=SEED)
    assert tally.clean, tally


@pytest.mark.experiment("E02")
async def test_reading_before_subscribing_is_noticed(counted: Callable[..., int], report: Report):
    with rig(planted="read_before_subscribe") as hub:
        tally = await connects(hub, counted(500, least=200))
    report(
        control="read_before_subscribe", caught=not tally.clean, n=tally.connects, worst=str(tally)
    )
    assert not tally.clean, "the experiment can't tell who reads before listening"


@pytest.mark.experiment("E02")
async def test_transactions_that_overtake_each_other_hide_nothing(
    counted: Callable[..., int], report: Report
):
    with rig() as hub:
        tally = await connects(hub, counted(500), crossing=True)
    report(n=tally.connects, worst=str(tally), seed=SEED)
    assert tally.clean, tally


@pytest.mark.experiment("E02")
async def test_a_row_id_for_an_offset_is_noticed(counted: Callable[..., int], report: Report):
    with rig(planted="cursor_by_row_id") as hub:
        tally = await connects(hub, counted(500), crossing=True)
    report(control="cursor_by_row_id", caught=not tally.clean, n=tally.connects, worst=str(tally))
    assert not tally.clean, "the experiment can't tell offsets from row ids"
