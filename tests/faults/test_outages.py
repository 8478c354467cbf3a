"""E32, E50: a Redis that hangs and a PostgreSQL that is away, while clients listen and somebody publishes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest
from django.db import connection

from tests.faults.checker import Verdict
from tests.faults.conftest import Report
from tests.faults.load import Load, share
from tests.faults.posting import PER_SECOND, Posts, posting
from tests.faults.recorder import Recorder
from tests.faults.rig import whole_rig
from tests.faults.test_delivery import HEAL, verdict_of

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(1800)]

HANGS: Final = 30
AWAY: Final = 20
BETWEEN: Final = 5
"""Seconds that PostgreSQL is there at least: rights are asked for every three, and who can't ask for 30 sends all away."""
ANSWER: Final = 3.0
RUSH: Final = 10.0
"""Seconds for who still waits when the database is back, beside all who ask again then."""


async def redis_hangs(
    recorder: Recorder, times: int, seconds: float, planted: str = ""
) -> tuple[Posts, Verdict, float]:
    """Returns what became of the POSTs, of the events, and how long after the last thaw everybody was level."""
    with whole_rig(planted=planted) as hub:
        async with Load(hub.url, recorder, share(0.2)) as load:
            async with posting(hub.url) as posts:
                for _ in range(times):
                    await asyncio.sleep(2)
                    hub.redis.freeze()
                    try:
                        await asyncio.sleep(seconds)
                    finally:
                        hub.redis.thaw()
                thawed = time.monotonic()
            await load.level(HEAL)
            heal = time.monotonic() - thawed
            return posts, await verdict_of(load, recorder, []), heal


@pytest.mark.experiment("E32")
async def test_redis_hangs_and_nobody_waits_for_it(
    recorder: Recorder, counted: Callable[..., int], in_full: bool, report: Report
):
    times = counted(5)
    posts, verdict, heal = await redis_hangs(recorder, times, HANGS if in_full else 8)
    report(n=times, worst=f"{posts}; level {heal:.1f} s after; {verdict}")
    assert posts.slowest(0.95) <= 1.0, posts
    assert not posts.wrong, posts
    assert posts.statuses == {201: len(posts.asked)}, posts
    assert verdict.clean, verdict
    assert verdict.resets == 0
    assert heal <= 15.0


@pytest.mark.experiment("E32")
async def test_a_send_without_a_deadline_is_noticed(recorder: Recorder, report: Report):
    posts, verdict, _ = await redis_hangs(recorder, 1, 8, planted="no_deadline")
    caught = posts.slowest(0.95) > 1.0
    report(control="no_deadline", caught=caught, n=1, worst=f"{posts}; {verdict}")
    assert caught, "the experiment can't tell a publisher that waits for Redis"


async def postgres_is_away(
    recorder: Recorder, times: int, seconds: float, planted: str = "answers_lost"
) -> tuple[Posts, Verdict, float, float, float]:
    """Now and then, too, an answer is lost after its commit. Returns also the part of the sockets that stayed open, how
    long until everybody was level, and the longest that a refusal took while it was away."""
    refused = 0.0
    with whole_rig(planted=planted) as hub:
        assert hub.postgres is not None
        async with Load(hub.url, recorder, {"websocket": 30}) as load:
            async with posting(hub.url, again=True) as posts:
                for _ in range(times):
                    await asyncio.sleep(BETWEEN)
                    hub.postgres.refuse()
                    away = time.monotonic()
                    try:
                        await asyncio.sleep(seconds)
                        refused = max(refused, posts.slowest(status=503, since=away))
                    finally:
                        hub.postgres.accept()
                    async with asyncio.timeout(60):
                        while len(posts.asked - posts.accepted) > PER_SECOND:
                            await asyncio.sleep(0.5)
            heal = await load.level(HEAL)
            closes = Counter(code for one in load.listeners for code in one.client.closed)
            stayed = 1 - closes.total() / (len(load.listeners) * times)
            return posts, await verdict_of(load, recorder, []), stayed, heal, refused


@pytest.mark.experiment("E50")
@pytest.mark.skipif(connection.vendor != "postgresql", reason="is about PostgreSQL")
async def test_postgresql_is_away_and_comes_back(
    recorder: Recorder, counted: Callable[..., int], in_full: bool, report: Report
):
    times = counted(10)
    posts, verdict, stayed, heal, refused = await postgres_is_away(
        recorder, times, AWAY if in_full else 6
    )
    report(
        n=times,
        worst=f"{stayed:.1%} of the sockets stayed open; 503 within {refused:.2f} s while it was away, within"
        f" {posts.slowest(status=503):.2f} s when all asked again at once; {posts};"
        f" {heal:.1f} s until level; {verdict}",
    )
    assert stayed >= 0.95
    assert set(posts.statuses) == {201, 503}, posts
    assert 0 < refused <= ANSWER, posts
    assert posts.slowest() <= RUSH, posts
    assert posts.accepted == posts.asked
    assert not posts.wrong, (posts, posts.wrong[:5])
    assert verdict.clean, verdict
    assert verdict.resets == 0
    assert heal < HEAL


@pytest.mark.experiment("E50")
@pytest.mark.skipif(connection.vendor != "postgresql", reason="is about PostgreSQL")
async def test_a_key_that_is_forgotten_is_noticed(recorder: Recorder, report: Report):
    posts, verdict, *_ = await postgres_is_away(recorder, 1, 2, planted="keys_forgotten")
    caught = bool(posts.wrong)
    report(control="keys_forgotten", caught=caught, n=1, worst=f"{posts}; {verdict}")
    assert caught, "the experiment can't tell a hub that publishes again for the same key"
