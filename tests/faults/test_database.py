"""E53, E57: readers cost the database nothing while nothing happens, and SQLite takes eight writers at once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest
from django.db import connection

from consumers.database import in_database
from events.models import Event
from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY, Load, share
from tests.faults.recorder import Recorder
from tests.faults.rig import rig
from tests.faults.test_delivery import HEAL, published, verdict_of

STREAMS: Final = 300
CONNECTIONS: Final = 20
THREADS: Final = 32
"""That a server may have beyond those it has before anybody comes."""
WRITERS: Final = 8
LOCKED: Final = "database is locked"

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(900)]


@dataclass
class Cost:
    connections: int = 0
    threads: int = 0
    """Beyond those before anybody came."""
    served: bool = False
    """Everybody was let in, and stayed."""

    @property
    def is_bounded(self) -> bool:
        return self.served and self.connections <= CONNECTIONS and self.threads <= THREADS

    def __str__(self) -> str:
        said = f"{self.connections} database connections and {self.threads} threads more"
        return said if self.served else f"{said}, not all served"


async def cost_of_idle_streams(
    recorder: Recorder, seconds: float, *, patience: float = 120.0, planted: str = ""
) -> Cost:
    """The most that so many streams cost while they come and then hear nothing for so long."""
    cost = Cost()
    with rig(planted=planted) as hub:
        base = hub.threads()

        async def watch() -> None:
            while True:
                cost.connections = max(cost.connections, hub.database_connections())
                cost.threads = max(cost.threads, hub.threads() - base)
                await asyncio.sleep(0.1)

        watching = asyncio.create_task(watch())
        try:
            async with Load(hub.url, recorder, {"sse": STREAMS}, patience=patience) as load:
                await asyncio.sleep(seconds)
                cost.served = all(one.client.state == "live" for one in load.listeners)
        except TimeoutError:
            pass
        finally:
            watching.cancel()
    return cost


@pytest.mark.experiment("E53")
async def test_idle_streams_hold_neither_connections_nor_threads(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    seconds = counted(60)
    cost = await cost_of_idle_streams(recorder, seconds)
    report(n=STREAMS, worst=f"{cost}, over {seconds} s")
    assert cost.is_bounded, cost


@pytest.mark.experiment("E53")
async def test_streams_that_are_views_are_noticed(recorder: Recorder, report: Report):
    """Where connections are pooled, sixteen of them take them all, and nobody else is let in."""
    cost = await cost_of_idle_streams(recorder, 3, patience=60, planted="stream_as_view")
    caught = not cost.is_bounded
    report(control="stream_as_view", caught=caught, n=STREAMS, worst=str(cost))
    assert caught, "the experiment can't tell streams from views"


@pytest.mark.experiment("E57")
async def test_sqlite_takes_eight_writers_beside_its_readers(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    if connection.vendor != "sqlite":
        pytest.skip("about SQLite")
    each, mark = counted(1000, least=50), secrets.token_hex(4)
    with rig() as hub:
        async with Load(hub.url, recorder, share(0.5)) as load:
            topics = [EVERYBODY, *load.own_topics]
            began = time.monotonic()
            writing = (
                published(hub, "stream", topics=topics, n=each, rate=0, mark=f"{mark}-{writer}-")
                for writer in range(WRITERS)
            )
            lines = [line for some in await asyncio.gather(*writing) for line in some]
            took = time.monotonic() - began
            await load.level(HEAL)
            verdict = await verdict_of(load, recorder, lines)
            said = hub.said()
            cut = Counter(code for one in load.listeners for code in one.client.closed)
        answers = Counter(line["what"] for line in lines)
        rows = await in_database(
            Event.objects.filter(topic__in=topics, data__contains=f'"{mark}-').count
        )
    locked = sum(LOCKED in line.get("error", "") for line in lines) + said.count(LOCKED)
    report(
        n=WRITERS * each,
        worst=f"{locked} times locked, {rows} rows in {took:.1f} s, {len(load.listeners)} readers: {verdict}",
    )
    assert locked == 0
    assert answers == {"invoke": WRITERS * each, "ok": WRITERS * each}
    assert rows == WRITERS * each
    assert not cut
    assert verdict.clean, verdict
    assert verdict.resets == 0
