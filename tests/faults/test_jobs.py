"""E65: workers and their children are killed while they run jobs, and the broker hands out again what they had."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from django.utils import timezone

from consumers.database import in_database
from events import topics
from events.models import Event
from notifications.models import Notification
from tasks.models import TERMINAL, Attempt, Job, State
from tests.faults.conftest import Report
from tests.faults.rig import Rig, rig
from tests.faults.test_delivery import published
from tests.live import Child, children_of, cookies_of, newcomer
from tests.reference_client import ReferenceClient

SITE: Final = {"HUB_APPS": "tests.shop", "DJANGO_SETTINGS_MODULE": "tests.shop.patient"}
SEED: Final = 65
END: Final = 180.0
TOPICS: Final = 80
"""Topics of one client."""
SECONDS: Final = 0.8
"""That a job runs."""
BETWEEN: Final = 3.0
"""Seconds between two kills: about what a worker needs to be there again."""

Step = tuple[str, int]  # a type, and how far it says the attempt is
Progress = dict[tuple[str, int], list[Step]]  # by job and attempt

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(900)]


def running(names: Iterable[str], marks: Path) -> list[int]:
    """The processes in which these jobs run now."""
    names = list(names)
    now = timezone.now()
    started = Job.objects.filter(pk__in=names, state=State.STARTED, lease_until__gt=now)
    found = []
    for job in started.values_list("pk", flat=True):
        lines = attempts_run(marks / str(names.index(str(job))))
        found += [pid for pid, _attempt in lines[-1:]]
    return found


def attempts_run(mark: Path) -> list[tuple[int, int]]:
    """Process and attempt of each run."""
    lines = mark.read_text().splitlines() if mark.exists() else []
    return [(int(pid), int(attempt)) for pid, attempt in map(str.split, lines)]


def kill_under(hub: Rig, pids: Iterable[int], whole: bool) -> bool:
    """Kill one of these processes, or the worker it belongs to; whether there was one to kill."""
    for worker in hub.workers:
        children = children_of(_pid(worker))
        for pid in pids:
            if pid not in children:
                continue  # it has ended, with its worker or alone
            if whole:
                worker.kill()
                worker.start()
            else:
                os.kill(pid, signal.SIGKILL)
            return True
    return False


def _pid(child: Child) -> int:
    assert child.process is not None
    return child.process.pid


async def kill_workers(
    hub: Rig, names: list[str], marks: Path, times: int, dice: random.Random
) -> int:
    """By turns a child that runs a job and the whole worker around one; how many were killed before all had ended."""
    killed = 0
    while killed < times:
        pids = await in_database(running, names, marks)
        dice.shuffle(pids)
        if await asyncio.to_thread(kill_under, hub, pids, bool(killed % 2)):
            killed += 1
            await asyncio.sleep(BETWEEN)
        elif not await in_database(unfinished, names):
            break
        else:
            await asyncio.sleep(0.05)
    return killed


def unfinished(names: Iterable[str]) -> int:
    return Job.objects.filter(pk__in=names, finished_at=None).count()


def wrong_stories(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The jobs whose events are not, for each attempt, that it was queued, started, and then ended in one way."""
    names = list(names)
    tried = dict(Job.objects.filter(pk__in=names).values_list("pk", "attempt"))
    told = defaultdict(list)
    rows = Event.objects.filter(topic__in=map(topics.job, tried)).order_by("offset")
    for topic, kind in rows.values_list("topic", "type"):
        told[topic].append(kind)
    ends = {f"job.{state}" for state in TERMINAL}
    wrong = []
    for job, attempts in tried.items():
        story = told[topics.job(job)]
        wanted = ["job.queued", "job.started", "end"] * attempts
        if ["end" if kind in ends else kind for kind in story] != wanted:
            wrong.append((str(job), story))
    return wrong


def went_back(said: Progress) -> list[tuple[Step, Step]]:
    return [(a, b) for steps in said.values() for a, b in itertools.pairwise(steps) if b[1] < a[1]]


@pytest.mark.experiment("E65")
async def test_jobs_end_once_whatever_becomes_of_their_workers(
    tmp_path: Path, counted: Callable[..., int], report: Report
):
    n, kills = counted(400, least=60), counted(24, least=3)
    said: Progress = defaultdict(list)

    def heard(frame: dict[str, Any]) -> None:
        if frame["op"] in {"event", "whisper"} and frame["topic"].startswith("job."):
            data = frame["data"]
            if "done" not in data:
                return
            attempt = data["id"], data["attempt"]
            if frame["type"] == "job.started" or attempt in said:  # a page waits for it, too
                said[attempt].append((frame["type"], data["done"]))

    owner = await in_database(newcomer)
    cookies = await in_database(cookies_of, owner)
    with rig(workers=2, beat=True, env=SITE) as hub:
        for worker in hub.workers:
            worker.kill()
        arguments = {"owner": owner.pk, "marks": str(tmp_path), "n": n, "seconds": SECONDS}
        lines = await published(hub, "start_jobs", **arguments)
        names = [line["marks"][0] for line in lines]
        async with contextlib.AsyncExitStack() as clients:
            for first in range(0, n, TOPICS):
                watched = [topics.job(name) for name in names[first : first + TOPICS]]
                client = ReferenceClient(hub.url, cookies=cookies, topics=watched, on_frame=heard)
                await clients.enter_async_context(client)
                await client.until_live()
            for worker in hub.workers:
                await asyncio.to_thread(worker.start)
            killed = await kill_workers(hub, names, tmp_path, kills, random.Random(SEED))
            began = time.monotonic()
            async with asyncio.timeout(END):
                while await in_database(unfinished, names):
                    await asyncio.sleep(0.1)
            took = time.monotonic() - began
            async with asyncio.timeout(30):
                while await in_database(Event.objects.filter(offset=None).exists):
                    await asyncio.sleep(0.1)
    states = Counter(
        await in_database(
            lambda: list(Job.objects.filter(pk__in=names).values_list("state", flat=True))
        )
    )
    runs = Counter(
        (number, attempt)
        for number in range(n)
        for _, attempt in attempts_run(tmp_path / str(number))
    )
    effects = Counter(number for number, _ in runs.elements())
    twice = [
        (number, attempt)
        for (number, attempt), times in runs.items()
        if times > 1 or (number % 4 and effects[number] > 1)  # only each fourth is tried again
    ]
    tried = await in_database(Attempt.objects.filter(job__in=names).count)
    wrong = await in_database(wrong_stories, names)
    letters = await in_database(Notification.objects.filter(recipient=owner).count)
    back = went_back(said)
    steps = sum(map(len, said.values()))
    report(
        n=n,
        worst=f"{killed} killed, all ended {took:.1f} s after the last: {dict(states)}, {tried} attempts, {len(twice)} with two effects, "
        f"{len(wrong)} without exactly one end, progress went back {len(back)} times of {steps}, {letters} notified",
        seed=SEED,
    )
    assert killed == kills
    assert set(states) <= set(TERMINAL)
    assert states[State.LOST]
    assert not twice
    assert not wrong, wrong[:3]
    assert steps > tried
    assert not back, back
    assert letters == n
