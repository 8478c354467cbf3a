"""A run in this process: its companion thread outlives what befalls it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, OperationalError
from django.utils import timezone

from tasks import jobs, logs, running
from tasks.models import Job, State
from tasks.running import Run, log, progress

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(running, "TICK", 0.01)
    monkeypatch.setattr(running, "BEAT", 0.05)
    monkeypatch.setattr(running, "LOOK", 0.02)


@pytest.fixture
def job(alice):
    job = jobs.create(kind="shop.count", title="Count", owner=alice)
    return jobs.claim(job.pk, 1, 15)


def until(fulfilled: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not fulfilled():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lease_of(job: Job) -> Any:
    return Job.objects.values_list("lease_until", flat=True).get(pk=job.pk)


def let_run_out(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize("what", ["whisper", "append", "look"])
def test_a_companion_that_stumbles_keeps_the_lease(job, monkeypatch, what):
    def stumble(*_: Any, **__: Any) -> None:
        stumbled.set()
        raise ValueError("over a stone")

    stumbled = threading.Event()
    place, name = {
        "whisper": (running, "whisper"),
        "append": (logs, "append"),
        "look": (Run, "_look"),
    }[what]
    monkeypatch.setattr(place, name, stumble)
    with Run(job) as run:
        log("line")
        progress(1)
        assert stumbled.wait(20)
        let_run_out(job)
        until(lambda: lease_of(job) > timezone.now())
    assert run.finish(State.SUCCEEDED)


def test_nothing_is_whispered_that_a_lost_job_would_take_back(job, monkeypatch):
    told: list[int] = []
    monkeypatch.setattr(running, "whisper", lambda topic, kind, data: told.append(data["done"]))
    monkeypatch.setattr(jobs, "beat", lambda job, **place: True)  # nothing gets stored
    with Run(job):
        progress(7, 10)
        until(lambda: bool(told))
    assert running.highest_told(job.pk, job.attempt) == told[-1] == 7
    assert running.highest_told(job.pk, 2) == 0


def test_counts_beyond_what_a_row_holds_are_cut(job):
    with Run(job) as run:
        progress(10**30, 10**40)
        until(lambda: Job.objects.get(pk=job.pk).done > 0)
    assert run.finish(State.SUCCEEDED)
    job.refresh_from_db()
    assert (job.state, job.done, job.total) == (State.SUCCEEDED, 2**63 - 1, 2**63 - 1)


@pytest.mark.parametrize("trouble", [OperationalError, DataError])
def test_an_end_that_can_not_be_stored_at_once_is_stored_later(job, monkeypatch, trouble):
    def at_the_second_time(*args: Any, **kwargs: Any) -> Job | None:
        tried.append(1)
        if len(tried) == 1:
            raise trouble("not now")
        return finish(*args, **kwargs)

    tried: list[int] = []
    finish = jobs.finish
    monkeypatch.setattr(jobs, "finish", at_the_second_time)
    with Run(job) as run:
        pass
    assert run.finish(State.SUCCEEDED, summary="done")
    job.refresh_from_db()
    assert (job.state, job.summary) == (State.SUCCEEDED, "done")
    assert not run.finish(State.FAILED)
