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
PERSONAL: Final = 20.0
"""Personal events a second under load."""
FOR_ALL: Final = 800.0
"""Deliveries a second of those for everybody, and as many of what is posted."""
KILL_EVERY: Final = 35.0
"""Seconds: a client that is hit again before it was live for thirty waits longer each time, as it should."""

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
    recorder: Recorder,
    hurt: Hurt,
    seconds: float,
    *,
    part: float = 0.2,
    for_all: float = FOR_ALL,
    planted: str = "",
    **options: Any,
) -> Outcome:
    """A whole rig, S or R, under a part of L for so long, while a writer publishes, somebody else posts by HTTP, and `hurt`
    runs in a thread of its own; its event says that the writer's last one is published. `for_all` as `FOR_ALL`."""
    written = threading.Event()
    with whole_rig(planted=planted, **options) as hub, contextlib.ExitStack() as watch:
        if not planted:
            watch.enter_context(hub.accounts_watched())
        async with Load(hub.url, recorder, share(part)) as load:
            rate = for_all / len(load.listeners)
            async with posting(hub.url, rate=rate) as posts:
                hurting = asyncio.create_task(asyncio.to_thread(hurt, hub, written))
                lines = await published_for(hub, load, seconds, rate)
                written.set()
                await hurting
                over = time.monotonic()
            await load.level(HEAL)
            heal = time.monotonic() - over
            codes = Counter(code for one in load.listeners for code in one.client.closed)
            return Outcome(await verdict_of(load, recorder, lines), heal, posts, codes)


async def published_for(hub: Rig, load: Load, seconds: float, rate: float) -> list[Line]:
    """`PERSONAL` and, for everybody, `rate` events a second."""
    personal = published(
        hub, "stream", topics=load.own_topics, n=round(seconds * PERSONAL), rate=PERSONAL
    )
    group = published(
        hub, "stream", topics=[EVERYBODY], n=round(seconds * rate), rate=rate, mark="g"
    )
    return [line for some in await asyncio.gather(personal, group) for line in some]


def kill_a_server(times: int, every: float, seed: int, recorder: Recorder) -> Hurt:
    dice = random.Random(seed)

    def hurt(hub: Rig, written: threading.Event) -> None:
        began = time.monotonic()
        for number in range(times):
            at = began + every * number + dice.uniform(1, 3)
            time.sleep(max(0.0, at - time.monotonic()))
            victim = dice.choice(hub.servers)
            recorder.write("fault", "kill")
            victim.kill()
            time.sleep(dice.uniform(0, 1))
            victim.start()

    return hurt


@pytest.mark.experiment("E20")
async def test_servers_are_killed(
    recorder: Recorder, counted: Callable[..., int], in_full: bool, report: Report
):
    kills = counted(20, least=2)
    every = KILL_EVERY if in_full else KILL_EVERY / 7
    hurt = kill_a_server(kills, every, SEED, recorder)
    outcome = await under_load(
        *(recorder, hurt, kills * every),
        part=1.0 if in_full else 0.2,
        for_all=FOR_ALL / 4,
        servers=2,
        nginx=True,
    )
    report(n=kills, worst=str(outcome), seed=SEED)
    assert outcome.verdict.clean, outcome
    assert outcome.verdict.resets == 0
    assert outcome.heal < HEAL
    assert not outcome.posts.broken, outcome.posts.broken[:5]
    assert outcome.verdict.silences, "nobody lost a server: nothing was tried"
    if in_full:
        assert outcome.verdict.silence(0.99) <= 10.0, outcome


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
    part = 1.0 if in_full else 0.2
    outcome = await under_load(recorder, lose_redis(kills, 2), 5 * kills, part=part)
    report(n=kills, worst=str(outcome))
    assert outcome.verdict.clean, outcome
    assert outcome.verdict.resets == 0
    assert outcome.heal < HEAL
    assert set(outcome.posts.statuses) == {201}, outcome
    if in_full:
        assert outcome.posts.slowest(0.95) <= 0.5, outcome


@pytest.mark.experiment("E30")
async def test_without_the_pulse_a_killed_redis_is_noticed(recorder: Recorder, report: Report):
    outcome = await under_load(recorder, lose_redis(1, 3), 4, planted="no_pulse")
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
async def test_redis_is_emptied(
    recorder: Recorder, counted: Callable[..., int], in_full: bool, report: Report
):
    times = counted(20, least=3)
    part = 1.0 if in_full else 0.2
    outcome = await under_load(recorder, empty_redis(times), 1.2 * times, part=part)
    report(n=times, worst=str(outcome))
    assert outcome.verdict.clean, outcome
    assert outcome.verdict.resets == 0
    assert outcome.heal < HEAL
    assert not outcome.codes, "somebody was sent away"
    assert set(outcome.posts.statuses) == {201}, outcome


@pytest.mark.experiment("E31")
async def test_groups_that_live_in_redis_alone_are_noticed(recorder: Recorder, report: Report):
    outcome = await under_load(
        *(recorder, empty_redis(2), 4), planted="stock_core_layer", env={"HUB_LAYER": "core"}
    )
    caught = not outcome.verdict.clean
    report(control="stock_core_layer", caught=caught, n=2, worst=str(outcome))
    assert caught, "the experiment can't tell a hub that an empty Redis makes deaf"
