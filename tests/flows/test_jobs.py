"""Real workers, a real broker, and what may befall them: every job ends once, and its owner is told once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from accounts.authenticate import make_key
from consumers.database import in_database
from events import redis_client, topics
from events.models import Event
from notifications.models import Notification
from tasks import jobs, logs, tracking
from tasks.models import TERMINAL, Job, State
from tests.contracts.clients import listening
from tests.live import LiveServer, children_of, live_server, newcomer
from tests.shop import tasks as shop

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(180)]

SHOP = {"HUB_APPS": "tests.shop"}


@pytest.fixture(scope="module")
def server(live_tables: None) -> Iterator[LiveServer]:
    with live_server(worker=True, beat=True, env=SHOP) as started:
        yield started


def until(fulfilled: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not fulfilled():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def state(job: Job) -> str:
    return str(Job.objects.values_list("state", flat=True).get(pk=job.pk))


def has_ended(job: Job) -> bool:
    return state(job) in TERMINAL


def ends(job: Job) -> list[str]:
    """The terminal events, oldest first: they are committed with the state, and get their offsets a moment later."""
    terminal = [f"job.{end}" for end in TERMINAL]
    events = Event.objects.filter(topic=topics.job(job.pk), type__in=terminal)
    return list(events.order_by("pk").values_list("type", flat=True))


def told(user: User) -> list[str]:
    rows = Notification.objects.filter(recipient=user).order_by("pk")
    return list(rows.values_list("kind", flat=True))


def lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def test_a_job_runs_and_leaves_log_file_and_summary(server):
    alice = newcomer()
    job = shop.stocktake.start(owner=alice, shelves=300)
    until(lambda: has_ended(job))
    until(lambda: told(alice) == ["job.succeeded"])
    item = jobs.item(jobs.find(alice, job.pk))
    assert (item["state"], item["done"], item["total"]) == ("succeeded", 300, 300)
    assert item["summary"] == "300 shelves counted"
    assert [one["name"] for one in item["files"]] == ["shelves.csv"]
    said = [line["text"] for line in logs.page(job, 1, 5000)]
    assert said == [f"shelf {number}" for number in range(1, 301)]
    assert ends(job) == ["job.succeeded"]


async def test_progress_and_log_are_seen_live_never_go_back_and_come_five_times_a_second(server):
    alice = await in_database(newcomer)
    job = await in_database(jobs_start, alice, 60, 0.05)
    key = (await in_database(make_key, alice, "test"))[1]
    topic = topics.job(job.pk)
    headers = {"Authorization": f"Bearer {key}"}
    began = time.monotonic()
    async with listening("websocket", server, headers=headers, topics=topic) as heard:
        await heard.until(lambda heard: "job.succeeded" in [one["type"] for one in heard.events])
        await asyncio.sleep(0.3)
    took = time.monotonic() - began
    own = [one for one in heard.whispers if one["topic"] == topic]
    done = [one["data"]["done"] for one in own if one["type"] == "job.progress"]
    assert done == sorted(done)
    assert 3 <= len(done) <= took * 5 + 2
    said = [line for one in own if one["type"] == "job.log" for line in one["data"]["lines"]]
    assert said
    assert said == [f"shelf {60 - len(said) + at}" for at in range(1, len(said) + 1)]
    short = [
        one["data"]
        for one in heard.whispers
        if one["topic"] == topics.DASHBOARD and one["data"].get("id") == str(job.pk)
    ]
    assert short
    assert len(short) <= took + 2
    assert set(short[0]) == {"id", "state", "kind", "owner", "done", "total"}


async def test_who_watches_sees_that_a_job_was_asked_to_stop(server):
    alice = await in_database(newcomer)
    job = await in_database(jobs_start, alice, 100, 0.1)
    key = (await in_database(make_key, alice, "test"))[1]
    topic = topics.job(job.pk)
    headers = {"Authorization": f"Bearer {key}"}
    async with listening("websocket", server, headers=headers, topics=topic) as heard:
        await heard.until(lambda heard: any(one["topic"] == topic for one in heard.whispers))
        await in_database(jobs.cancel, job.pk, alice)
        await heard.until(
            lambda heard: any(one["data"].get("cancel_requested") for one in heard.whispers)
        )
        await heard.until(lambda heard: "job.cancelled" in [one["type"] for one in heard.events])


def jobs_start(alice: User, shelves: int, pause: float) -> Job:
    job: Job = shop.stocktake.start(owner=alice, shelves=shelves, pause=pause)
    return job


def test_a_worker_that_is_killed_leaves_a_lost_job_and_one_notification(server):
    alice = newcomer()
    began = time.monotonic()
    out_of_memory = shop.suicide.start(owner=alice)
    past_the_limit = shop.limited.start(owner=alice)
    until(lambda: has_ended(out_of_memory) and has_ended(past_the_limit), 30)
    assert time.monotonic() - began < 30
    assert state(out_of_memory) == state(past_the_limit) == State.LOST
    until(lambda: len(told(alice)) == 2)
    assert told(alice) == ["job.lost", "job.lost"]
    assert ends(out_of_memory) == ends(past_the_limit) == ["job.lost"]


def test_the_death_of_the_whole_worker_is_noticed_and_the_retry_completes(server, tmp_path):
    alice = newcomer()
    mark = tmp_path / "ran"
    job = shop.effect.start(owner=alice, mark=str(mark), seconds=4, steps=20)
    until(lambda: state(job) == State.STARTED and lines(mark) == 1)
    for child in children_of(server.children["worker"].process.pid):
        os.kill(child, signal.SIGKILL)
    server.children["worker"].kill()
    until(lambda: has_ended(job), 30)
    assert state(job) == State.LOST
    server.children["worker"].start()
    tracking.retry(job.pk)
    until(lambda: has_ended(job), 60)
    assert state(job) == State.SUCCEEDED
    assert ends(job) == ["job.lost", "job.succeeded"]
    until(lambda: told(alice) == ["job.lost", "job.succeeded"])
    assert lines(mark) == 2  # once per attempt


def test_a_cancelled_job_stops_at_its_next_step_and_a_deaf_one_is_stopped(server):
    alice = newcomer()
    polite = shop.stocktake.start(owner=alice, shelves=1000, pause=0.1)
    deaf = shop.deaf.start(owner=alice, seconds=120)
    until(lambda: state(polite) == state(deaf) == State.STARTED)
    began = time.monotonic()
    jobs.cancel(polite.pk, alice)
    jobs.cancel(deaf.pk, alice)
    until(lambda: state(polite) == State.CANCELLED, 8)
    until(lambda: state(deaf) == State.CANCELLED, 20)
    assert time.monotonic() - began > 8
    assert ends(polite) == ends(deaf) == ["job.cancelled"]
    assert told(alice) == []
    after = shop.stocktake.start(owner=alice, shelves=1)  # by the child that took its place
    until(lambda: has_ended(after))


def test_a_job_goes_on_when_the_worker_loses_redis(server, tmp_path):
    alice = newcomer()
    mark = tmp_path / "ran"
    worker = server.children["worker"]
    worker.kill()
    newest = max(_connections())
    worker.start()
    job = shop.effect.start(owner=alice, mark=str(mark), seconds=5, steps=20)
    until(lambda: lines(mark) == 1)
    for connection in _connections():
        if connection > newest:  # the worker's: servers of other tests keep theirs
            redis_client.blocking().client_kill_filter(_id=str(connection), skipme=True)
    until(lambda: "Connection to broker lost" in server.children["worker"].said())
    until(lambda: has_ended(job))
    assert state(job) == State.SUCCEEDED
    after = shop.effect.start(owner=alice, mark=str(mark))
    until(lambda: has_ended(after))
    until(lambda: told(alice) == ["job.succeeded"] * 2)
    assert lines(mark) == 2
    assert ends(job) == ["job.succeeded"]


def _connections() -> list[int]:
    """Redis numbers them as they come."""
    return [int(client["id"]) for client in redis_client.blocking().client_list()]


def test_what_is_queued_when_redis_is_emptied_runs_and_nothing_twice(server, tmp_path):
    alice = newcomer()
    server.children["worker"].kill()
    marks = [tmp_path / str(number) for number in range(50)]
    queued = [shop.effect.start(owner=alice, mark=str(mark)) for mark in marks]
    redis_client.blocking().flushall()
    server.children["worker"].start()
    until(lambda: all(map(has_ended, queued)), 90)
    until(lambda: told(alice) == ["job.succeeded"] * 50)
    assert [lines(mark) for mark in marks] == [1] * 50


def test_a_job_longer_than_the_visibility_time_out_has_one_effect(server, tmp_path):
    server.children["worker"].kill()  # it would take the message for the usual hour
    alice = newcomer()
    mark = tmp_path / "ran"
    hasty = {**SHOP, "DJANGO_SETTINGS_MODULE": "tests.shop.hasty"}
    with live_server(worker=True, env=hasty) as hurried:
        job = shop.effect.start(owner=alice, mark=str(mark), seconds=10, steps=50)
        until(lambda: has_ended(job), 60)
        said = hurried.children["worker"].said()
    server.children["worker"].start()
    assert state(job) == State.SUCCEEDED
    assert lines(mark) == 1
    assert ends(job) == ["job.succeeded"]
    assert told(alice) == ["job.succeeded"]
    assert f"job {job.pk}: a message that came late is ignored" in said
