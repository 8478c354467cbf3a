"""A worker is asked to stop: what runs ends, or is seen to be lost; what waits goes on waiting."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.models import Job, State
from tests.flows.test_jobs import SHOP, ends, has_ended, lines, state, told, until
from tests.live import Child, LiveServer, live_server, newcomer
from tests.shop import tasks as shop

AT_ONCE = 2
"""Jobs that this worker runs at a time."""

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(300)]


@pytest.fixture
def worker(live_tables: None) -> Iterator[Child]:
    with live_server(worker=True, beat=True, env=SHOP) as server:
        yield worker_of(server)


def worker_of(server: LiveServer) -> Child:
    return server.children["worker"]


def asked(worker: Child, sign: signal.Signals) -> int:
    """The exit code."""
    assert worker.process is not None
    worker.process.send_signal(sign)
    return worker.process.wait(60)


def started(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if state(job) == State.STARTED]


def test_by_sigterm_what_runs_ends_and_the_rest_waits_for_the_next(worker: Child, tmp_path: Path):
    alice, mark = newcomer(), tmp_path / "mark"
    jobs = [
        shop.effect.start(owner=alice, mark=str(mark), seconds=4, steps=8)
        for _ in range(3 * AT_ONCE)
    ]
    until(lambda: len(started(jobs)) == AT_ONCE)
    running = started(jobs)
    assert asked(worker, signal.SIGTERM) == 0
    states = Counter(map(state, jobs))
    assert {state(job) for job in running} == {State.SUCCEEDED}
    assert set(states) == {State.SUCCEEDED, State.QUEUED}
    assert lines(mark) == states[State.SUCCEEDED]
    worker.start()
    until(lambda: all(map(has_ended, jobs)), 120)
    assert [ends(job) for job in jobs] == [["job.succeeded"]] * len(jobs)
    assert lines(mark) == len(jobs)


def test_by_sigquit_what_runs_is_lost_in_sight_and_the_rest_waits_for_the_next(
    worker: Child, tmp_path: Path
):
    """As `manage.py up` ends it, which waits for nobody."""
    alice, mark, other = newcomer(), tmp_path / "mark", tmp_path / "other"
    running = [
        shop.effect.start(owner=alice, mark=str(mark), seconds=200, steps=400)
        for _ in range(AT_ONCE)
    ]
    until(lambda: len(started(running)) == AT_ONCE)
    waiting = [shop.effect.start(owner=alice, mark=str(other)) for _ in range(3)]
    asked(worker, signal.SIGQUIT)
    assert {state(job) for job in running} <= {State.STARTED, State.LOST}
    assert {state(job) for job in waiting} == {State.QUEUED}
    worker.start()
    until(lambda: all(map(has_ended, [*running, *waiting])), 120)
    assert [ends(job) for job in running] == [["job.lost"]] * AT_ONCE
    assert [ends(job) for job in waiting] == [["job.succeeded"]] * 3
    assert (lines(mark), lines(other)) == (AT_ONCE, 3)
    until(lambda: Counter(told(alice)) == {"job.lost": AT_ONCE, "job.succeeded": 3})
