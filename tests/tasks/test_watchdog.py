from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from events import log, redis_client, topics
from notifications.models import Notification
from tasks import jobs, queue, running, watchdog
from tasks.models import EXTERNAL, Job, Outage, State

pytestmark = pytest.mark.django_db(transaction=True)


def started(owner, lease: int = 15, kind: str = "shop.count") -> Job:
    job = jobs.create(kind=kind, title="Count", owner=owner)
    found = jobs.claim(job.pk, 1, lease)
    assert found is not None
    return found


def silent_for(job: Job, seconds: float) -> None:
    until = timezone.now() - timedelta(seconds=seconds)
    Job.objects.filter(pk=job.pk).update(lease_until=until)


def test_who_lets_the_lease_run_out_is_lost_and_others_are_not(alice):
    silent, alive = started(alice), started(alice)
    silent_for(silent, 1)
    assert watchdog.end_silent() == 1
    assert watchdog.end_silent() == 0
    silent.refresh_from_db()
    alive.refresh_from_db()
    assert (silent.state, alive.state) == (State.LOST, State.STARTED)
    assert Notification.objects.filter(recipient=alice, kind="job.lost").count() == 1


def test_who_was_asked_to_stop_and_fell_silent_is_cancelled(alice):
    job = started(alice)
    jobs.cancel(job.pk, alice)
    silent_for(job, 1)
    watchdog.end_silent()
    job.refresh_from_db()
    assert job.state == State.CANCELLED


def test_after_the_hub_was_away_every_lease_begins_anew(alice):
    short, long = started(alice), started(alice, lease=600, kind=EXTERNAL)
    silent_for(short, 100)
    silent_for(long, 100)
    watchdog.extend_leases()
    assert watchdog.end_silent() == 0
    long.refresh_from_db()
    assert long.lease_until is not None
    assert long.lease_until > timezone.now() + timedelta(seconds=590)


def test_a_step_that_stumbles_leaves_the_others_their_turn(
    alice, admin, watch, monkeypatch, caplog
):
    def stumble() -> int:
        raise TypeError("over a stone")

    watchdog.look(watch)
    silent = started(alice)
    silent_for(silent, 1)
    waiting(alice, 61, queue="reports")
    monkeypatch.setattr(queue, "send_left_behind", stumble)
    watchdog.look(watch)
    silent.refresh_from_db()
    assert silent.state == State.LOST
    assert jobs.outage() is not None
    assert "over a stone" in caplog.text


def test_a_step_that_always_stumbles_does_not_begin_leases_anew(alice, watch, monkeypatch):
    monkeypatch.setattr(queue, "send_left_behind", lambda: 1 / 0)
    watchdog.look(watch)
    silent = started(alice)
    silent_for(silent, 1)
    watchdog.look(watch)
    silent.refresh_from_db()
    assert silent.state == State.LOST


@pytest.mark.parametrize("step", [3600, -3600])
def test_after_the_machine_slept_or_its_clock_was_set_leases_begin_anew(
    alice, watch, monkeypatch, step
):
    watchdog.look(watch)
    job = started(alice)
    now, wall = timezone.now, time.time
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(seconds=step))
    monkeypatch.setattr(time, "time", lambda: wall() + step)
    watchdog.look(watch)
    job.refresh_from_db()
    assert job.state == State.STARTED
    assert job.lease_until is not None
    assert abs(job.lease_until - timezone.now() - timedelta(seconds=15)) < timedelta(seconds=10)
    silent_for(job, 1)
    watchdog.look(watch)
    job.refresh_from_db()
    assert job.state == State.LOST


def test_who_is_lost_is_as_far_as_people_were_told(alice):
    job = started(alice)
    jobs.beat(job, done=5)
    running._note_told(job, 9)
    silent_for(job, 1)
    watchdog.end_silent()
    job.refresh_from_db()
    assert (job.state, job.done) == (State.LOST, 9)
    assert job.attempts.get().done == 9


def test_while_the_database_is_away_nobody_is_heard(alice, watch, monkeypatch):
    watchdog.look(watch)
    seen_at = watch._looked_at
    with monkeypatch.context() as away:
        away.setattr(watchdog, "end_silent", _away)
        watchdog.look(watch)
    assert watch._looked_at == seen_at


def _away() -> int:
    raise OperationalError("gone")


@pytest.fixture
def watch():
    redis_client.blocking().delete(watchdog._sign())
    return watchdog.Watch()


def waiting(owner, seconds: float, queue: str = "") -> Job:
    job = jobs.create(kind="shop.count", title="Count", owner=owner, queue=queue)
    at = timezone.now() - timedelta(seconds=seconds)
    Job.objects.filter(pk=job.pk).update(queued_at=at, sent_at=timezone.now())
    return job


def test_a_job_that_nobody_takes_for_a_minute_is_told_to_superusers_once(alice, admin, watch):
    waiting(alice, 50)
    watchdog.look(watch)
    assert jobs.outage() is None
    job = waiting(alice, 61)
    watchdog.look(watch)
    watchdog.look(watch)
    assert jobs.outage() is not None
    assert Notification.objects.filter(recipient=admin, kind="job.workers_away").count() == 1
    assert not Notification.objects.filter(recipient=alice).exists()
    jobs.claim(job.pk, 1, 15)
    watchdog.look(watch)
    assert jobs.outage() is None
    assert Notification.objects.filter(recipient=admin, kind="job.workers_back").count() == 1
    kinds = [event.type for event in log.page(topics.DASHBOARD, None, 10)]
    assert [kind for kind in reversed(kinds) if kind.startswith("hub.")] == [
        "hub.workers_away",
        "hub.workers_back",
    ]
    assert Outage.objects.count() == 1


def test_waiting_behind_others_is_no_outage(alice, watch):
    waiting(alice, 300)
    started(alice)
    assert not watch.nobody_takes()


def test_a_queue_that_nobody_serves_is_one_although_another_is_served(alice, watch):
    started(alice)
    waiting(alice, 300, queue="reports")
    assert watch.nobody_takes()


def test_a_script_outside_is_no_worker(alice, watch):
    started(alice, kind=EXTERNAL)
    waiting(alice, 300)
    assert watch.nobody_takes()


def test_workers_without_a_sign_of_life_are_missed_before_anybody_waits(alice, watch):
    assert not watch.nobody_takes()
    watch._sign_seen_at -= 61
    assert watch.nobody_takes()
    started(alice)  # busy with a long one
    assert not watch.nobody_takes()
    Job.objects.all().delete()
    watchdog._signed_at = 0.0
    watchdog._leave_sign()
    assert not watch.nobody_takes()


def test_a_job_that_is_due_later_is_not_waited_for(alice, watch):
    job = waiting(alice, 300)
    Job.objects.filter(pk=job.pk).update(due_at=timezone.now() + timedelta(hours=1))
    assert not watch.nobody_takes()
