"""E01, E20, E30, E31: everybody has everything, once and in order, whatever died meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from consumers.database import in_database
from tests.faults.checker import Verdict, check
from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY, Load, share
from tests.faults.posting import Posts, posting
from tests.faults.recorder import Line, Recorder
from tests.faults.rig import Rig, rig, whole_rig

SEED: Final = 20260101
HEAL: Final = 30.0

Hurt = Callable[[Rig, threading.Event], None]

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(1800)]


async def published(hub: Rig, work: str, **arguments: Any) -> list[Line]:
    """Run a writer to its end, beside the clients."""
    return await asyncio.to_thread(hub.write, work, **arguments)


async def verdict_of(load: Load, recorder: Recorder, lines: list[Line], **more: Any) -> Verdict:
    owed = {
        one.who: {topic: one.first.get(topic, 0) for topic in (one.own, *load.watching)}
        for one in load.listeners
    }
    return await in_database(check, recorder, owed, published=lines, **more)


@pytest.mark.experiment("E01", quick=True)
async def test_without_a_fault_everybody_has_everything_in_time(
    recorder: Recorder, counted: Callable[..., int], in_full: bool, report: Report
):
    deliveries = counted(100_000)
    with rig() as hub:
        async with Load(hub.url, recorder, share(1.0 if deliveries > 50_000 else 0.2)) as load:
            people = len(load.listeners)
            each = deliveries // 2 // people
            personal = published(hub, "stream", topics=load.own_topics, n=each * people, rate=150)
            group = published(hub, "stream", topics=[EVERYBODY], n=each, rate=10, mark="g")
            lines = [line for some in await asyncio.gather(personal, group) for line in some]
            await load.level(HEAL)
            verdict = await verdict_of(load, recorder, lines, timed=["websocket", "sse", "long"])
            account = await asyncio.to_thread(hub.account)
    report(n=verdict.applied, worst=str(verdict))
    assert verdict.clean, verdict
    assert verdict.resets == 0
    received = sum(line["what"] == "wire" for line in recorder.lines())
    assert (account.delivered, account.balance) == (received, 0)
    if in_full:  # a tenth runs beside whatever else a machine has to do
        assert verdict.latency(0.5) <= 0.1, verdict
        assert verdict.latency(0.99) <= 1.0, verdict


@dataclass
class Outcome:
    verdict: Verdict
    heal: float
    """Seconds after the end of the last fault until everybody was level."""
    posts: Posts
    codes: Counter[int]
    """What the sockets were closed with."""

    def __str__(self) -> str:
        return f"{self.heal:.1f} s until level; {self.posts}; {self.verdict}"


async def under_load(
    recorder: Recorder, n: int, rate: float, hurt: Hurt, *, planted: str = "", **options: Any
) -> Outcome:
    """A whole rig, S or R, under a part of L while a writer publishes `n` events, half of them personal, at `rate` a
    second, somebody else by HTTP, and `hurt` runs in a thread of its own; its event says that the last one of the
    writer is published."""
    written = threading.Event()
    with whole_rig(planted=planted, **options) as hub, contextlib.ExitStack() as watch:
        if not planted:
            watch.enter_context(hub.accounts_watched())
        async with Load(hub.url, recorder, share(0.2)) as load:
            async with posting(hub.url) as posts:
                hurting = asyncio.create_task(asyncio.to_thread(hurt, hub, written))
                personal = published(hub, "stream", topics=load.own_topics, n=n // 2, rate=rate / 2)
                group = published(
                    hub, "stream", topics=[EVERYBODY], n=n // 2, rate=rate / 2, mark="g"
                )
                lines = [line for some in await asyncio.gather(personal, group) for line in some]
                written.set()
                await hurting
            heal = await load.level(HEAL)
            codes = Counter(code for one in load.listeners for code in one.client.closed)
            return Outcome(await verdict_of(load, recorder, lines), heal, posts, codes)


def kill_a_server(times: int, seed: int) -> Hurt:
    dice = random.Random(seed)

    def hurt(hub: Rig, written: threading.Event) -> None:
        for _ in range(times):
            time.sleep(dice.uniform(1, 3))
            victim = dice.choice(hub.servers)
            victim.kill()
            time.sleep(dice.uniform(0, 1))
            victim.start()

    return hurt


@pytest.mark.experiment("E20")
async def test_servers_are_killed(
    recorder: Recorder, counted: Callable[..., int], in_full: bool, report: Report
):
    kills = counted(20, least=2)
    outcome = await under_load(
        recorder, n=kills * 120, rate=40, hurt=kill_a_server(kills, SEED), servers=2, nginx=True
    )
    report(n=kills, worst=str(outcome), seed=SEED)
    assert outcome.verdict.clean, outcome
    assert outcome.verdict.resets == 0
    assert outcome.heal < HEAL
    assert not outcome.posts.broken, outcome.posts.broken[:5]
    if in_full:
        assert outcome.verdict.latency(0.99) <= 10.0, outcome


def lose_redis(times: int, pause: float) -> Hurt:
    def hurt(hub: Rig, written: threading.Event) -> None:
        for left in reversed(range(times)):
            time.sleep(2)
            hub.redis.kill()
            if left:
                time.sleep(pause)
            else:
                written.wait()  # what was published last has nothing after it that would show the gap
            hub.redis.start()

    return hurt


@pytest.mark.experiment("E30")
async def test_redis_is_killed_and_comes_back_empty(
    recorder: Recorder, counted: Callable[..., int], in_full: bool, report: Report
):
    kills = counted(10, least=2)
    outcome = await under_load(recorder, n=kills * 200, rate=40, hurt=lose_redis(kills, 2))
    report(n=kills, worst=str(outcome))
    assert outcome.verdict.clean, outcome
    assert outcome.heal < HEAL
    assert set(outcome.posts.statuses) == {201}, outcome
    if in_full:
        assert outcome.posts.slowest(0.95) <= 0.5, outcome


@pytest.mark.experiment("E30")
async def test_without_the_pulse_a_killed_redis_is_noticed(recorder: Recorder, report: Report):
    outcome = await under_load(recorder, n=240, rate=60, hurt=lose_redis(1, 3), planted="no_pulse")
    caught = not outcome.verdict.clean
    report(control="no_pulse", caught=caught, worst=str(outcome))
    assert caught, "the experiment can't tell a hub without its pulse"


def empty_redis(times: int) -> Hurt:
    def hurt(hub: Rig, written: threading.Event) -> None:
        for _ in range(times):
            time.sleep(1)
            hub.redis.flush()

    return hurt


@pytest.mark.experiment("E31")
async def test_redis_is_emptied(recorder: Recorder, counted: Callable[..., int], report: Report):
    times = counted(20, least=3)
    outcome = await under_load(recorder, n=times * 60, rate=50, hurt=empty_redis(times))
    report(n=times, worst=str(outcome))
    assert outcome.verdict.clean, outcome
    assert outcome.heal < HEAL
    assert not outcome.codes, "somebody was sent away"
    assert set(outcome.posts.statuses) == {201}, outcome


@pytest.mark.experiment("E31")
async def test_groups_that_live_in_redis_alone_are_noticed(recorder: Recorder, report: Report):
    outcome = await under_load(
        *(recorder, 240, 60, empty_redis(2)), planted="stock_core_layer", env={"HUB_LAYER": "core"}
    )
    caught = not outcome.verdict.clean
    report(control="stock_core_layer", caught=caught, n=2, worst=str(outcome))
    assert caught, "the experiment can't tell a hub that an empty Redis makes deaf"
