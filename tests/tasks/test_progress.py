"""What a running job passes on to those who watch."""

from __future__ import annotations

import time
from typing import Any

import pytest

from events import topics
from tasks import jobs, running
from tasks.running import Run

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_dashboard_hears_the_last_progress_of_a_job_that_then_keeps_still(alice, monkeypatch):
    heard: list[Any] = []
    monkeypatch.setattr(
        running, "whisper", lambda topic, _type, data: heard.append((topic, data["done"]))
    )
    job = jobs.claim(jobs.create(kind="shop.count", owner=alice).pk, 1, 60)
    assert job is not None

    def wait_for(topic: str, done: int) -> None:
        deadline = time.monotonic() + 10
        while (topic, done) not in heard:
            assert time.monotonic() < deadline, heard
            time.sleep(0.02)

    with Run(job) as run:
        run.progress(1, 10, "")
        wait_for(topics.DASHBOARD, 1)
        run.progress(9, 10, "")
        wait_for(topics.job(job.pk), 9)
        wait_for(topics.DASHBOARD, 9)
    listed = [done for topic, done in heard if topic == topics.DASHBOARD]
    assert listed == [1, 9]
