from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from accounts import audience, profiles
from events import log, topics
from events.models import Event
from notifications.models import Notification
from tasks import jobs
from tasks.errors import NoSuchJob, NotPossible
from tasks.models import ERROR_MAX, EXTERNAL, SUMMARY_MAX, Attempt, File, Job, State

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = 15


def queued(owner: User | None, kind: str = "shop.count", title: str = "Count") -> Job:
    return jobs.create(kind=kind, title=title, owner=owner)


def started(owner: User | None, **fields: str) -> Job:
    job = jobs.claim(queued(owner, **fields).pk, 1, LEASE)
    assert job is not None
    return job


def ended(owner: User | None, state: State, summary: str = "", error: str = "") -> Job:
    job = jobs.finish(started(owner).pk, 1, state, summary=summary, error=error)
    assert job is not None
    return job


def types(topic: str) -> list[str]:
    return [
        event.type for event in reversed(log.page(topic, None, 100)) if event.type[:4] == "job."
    ]


def told(user: User) -> list[tuple[str, str, str]]:
    rows = Notification.objects.filter(recipient=user).order_by("pk")
    return list(rows.values_list("kind", "title", "body"))


def test_a_run_is_told_in_full_to_its_owner_and_in_short_to_everybody(alice):
    job = ended(alice, State.SUCCEEDED, summary="12 counted")
    stages = ["job.queued", "job.started", "job.succeeded"]
    assert types(topics.job(job.pk)) == types(topics.user(alice.pk)) == stages
    assert types(topics.DASHBOARD) == stages
    [full] = [event.as_dict()["data"] for event in log.page(topics.job(job.pk), None, 1)]
    assert full == jobs.item(Job.objects.get(pk=job.pk))
    assert (full["state"], full["summary"], full["owner"]["id"]) == (
        "succeeded",
        "12 counted",
        alice.pk,
    )
    [brief] = [event.as_dict()["data"] for event in log.page(topics.DASHBOARD, None, 1)]
    assert brief == jobs.short(job)
    assert set(brief) == {"id", "state", "kind", "owner", "done", "total"}


ILLEGAL = [pair for pair in itertools.product(State, State) if pair[1] not in jobs.LEGAL[pair[0]]]


@pytest.mark.parametrize(("before", "after"), ILLEGAL)
def test_only_legal_moves_are_made(alice, before, after):
    job = queued(alice)
    Job.objects.filter(pk=job.pk).update(state=before)
    with pytest.raises(ValueError, match="can't go"):
        jobs._move(job.pk, 1, before, after)
    assert Job.objects.get(pk=job.pk).state == before


def test_whoever_comes_second_moves_nothing_and_tells_nobody(alice):
    job = queued(alice)
    assert jobs.claim(job.pk, 1, LEASE) is not None
    assert jobs.claim(job.pk, 1, LEASE) is None
    assert jobs.finish(job.pk, 1, State.SUCCEEDED) is not None
    assert jobs.finish(job.pk, 1, State.FAILED, error="late") is None
    assert jobs.claim(job.pk, 1, LEASE) is None
    assert types(topics.job(job.pk)) == ["job.queued", "job.started", "job.succeeded"]
    assert [kind for kind, _, _ in told(alice)] == ["job.succeeded"]


def test_an_older_attempt_can_end_nothing(alice):
    job = ended(alice, State.FAILED, error="no")
    jobs.retry(job.pk)
    again = jobs.claim(job.pk, 2, LEASE)
    assert again is not None
    assert jobs.finish(job.pk, 1, State.SUCCEEDED) is None
    assert not jobs.beat(job, done=5)
    assert Job.objects.get(pk=job.pk).state == State.STARTED


def test_a_rolled_back_start_leaves_nothing(alice):
    with pytest.raises(RuntimeError), transaction.atomic():
        queued(alice)
        raise RuntimeError
    assert not Job.objects.exists()
    assert not Event.objects.filter(type__startswith="job.").exists()


def test_success_failure_and_loss_are_told_once_with_what_matters(alice):
    ended(alice, State.SUCCEEDED, summary="12 counted")
    ended(alice, State.FAILED, error="Traceback\n  line 3\nValueError: no scales")
    job = started(alice)
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert jobs.give_up(job.pk, 1, State.LOST) is not None
    assert jobs.give_up(job.pk, 1, State.LOST) is None
    assert told(alice) == [
        ("job.succeeded", "Count: done", "It took under a second.\n12 counted"),
        ("job.failed", "Count: failed", "ValueError: no scales\nIt ran for under a second."),
        (
            "job.lost",
            "Count: lost",
            "Nothing was heard of it for 15 s: its process, or the machine it ran on, is gone.",
        ),
    ]
    assert Notification.objects.get(kind="job.lost").url == f"/jobs/{job.pk}/"


def test_who_is_heard_of_meanwhile_is_not_given_up(alice):
    job = started(alice)
    assert jobs.give_up(job.pk, 1, State.LOST) is None
    assert Job.objects.get(pk=job.pk).state == State.STARTED


def test_superusers_are_told_of_what_nobody_owns_each_in_their_language(admin, alice):
    korean = User.objects.create_superuser("minji")
    profile = profiles.of(korean)
    profile.language = "ko"
    profile.save()
    ended(None, State.FAILED, error="ValueError: no scales")
    assert [kind for kind, _, _ in told(admin)] == ["job.failed"]
    [(_, title, _)] = told(korean)
    assert title != "Count: failed"
    assert title.startswith("Count")
    assert told(alice) == []


def test_progress_never_goes_back_within_an_attempt(alice):
    job = started(alice)
    assert jobs.beat(job, done=7, total=10)
    assert jobs.beat(job, done=3)
    job.refresh_from_db()
    assert (job.done, job.total) == (7, 10)


def test_a_waiting_job_is_cancelled_at_once_a_running_one_is_asked(alice):
    waiting = jobs.cancel(queued(alice).pk, alice)
    assert waiting.state == State.CANCELLED
    assert told(alice) == []  # whoever did it knows
    running = jobs.cancel(started(alice).pk, alice)
    assert running.state == State.STARTED
    assert jobs.item(running)["cancel_requested"]
    with pytest.raises(NotPossible, match="ended already"):
        jobs.cancel(waiting.pk, alice)
    with pytest.raises(NoSuchJob):
        jobs.cancel(uuid.uuid4(), alice)


def test_the_owner_learns_that_somebody_else_cancelled(alice, admin):
    jobs.cancel(queued(alice).pk, admin)
    [row] = Notification.objects.filter(recipient=alice)
    assert (row.kind, row.title, row.actor) == ("job.cancelled", "Count: cancelled", admin)


def test_a_retry_is_a_new_attempt_of_the_same_job(alice):
    job = ended(alice, State.FAILED, error="no")
    again = jobs.retry(job.pk)
    assert (again.pk, again.state, again.attempt, again.error, again.done) == (
        job.pk,
        State.QUEUED,
        2,
        "",
        0,
    )
    with pytest.raises(NotPossible, match="not ended"):
        jobs.retry(job.pk)
    assert jobs.claim(job.pk, 1, LEASE) is None
    assert jobs.claim(job.pk, 2, LEASE) is not None
    jobs.finish(job.pk, 2, State.SUCCEEDED, summary="yes")
    with pytest.raises(NotPossible, match="succeeded"):
        jobs.retry(job.pk)
    assert [(one["number"], one["state"], one["error"]) for one in jobs.attempts(job)] == [
        (2, "succeeded", ""),
        (1, "failed", "no"),
    ]
    assert [kind for kind, _, _ in told(alice)] == ["job.failed", "job.succeeded"]


def test_a_script_can_be_started_again_only_where_it_runs(alice):
    job = started(alice, kind=EXTERNAL)
    jobs.finish(job.pk, 1, State.FAILED)
    with pytest.raises(NotPossible, match="script"):
        jobs.retry(job.pk)


def test_own_jobs_are_seen_by_their_owner_and_superusers_alone(alice, bob, admin):
    job = queued(alice)
    nobodys = queued(None)
    assert jobs.find(alice, job.pk) == jobs.find(admin, str(job.pk)) == job
    for stranger, wanted in ((bob, job.pk), (bob, nobodys.pk), (alice, nobodys.pk), (alice, "x")):
        with pytest.raises(NoSuchJob):
            jobs.find(stranger, wanted)
    topic = topics.job(job.pk)
    people = [alice.pk, bob.pk, admin.pk]
    assert audience.allowed([(person, topic) for person in people]) == {
        (alice.pk, topic),
        (admin.pk, topic),
    }
    assert not audience.may_read(admin.pk, topics.job(uuid.uuid4()))


def test_pages_hold_every_job_once_newest_first(alice, bob, django_assert_num_queries):
    made = [queued(alice).pk for _ in range(7)]
    queued(bob)
    seen: list[str] = []
    before = None
    while True:
        page = jobs.page(alice, limit=3, before=before)
        seen += [item["id"] for item in page.items]
        if page.next is None:
            break
        before = uuid.UUID(page.next)
    assert seen == [str(pk) for pk in reversed(made)]
    with django_assert_num_queries(3):
        jobs.page(alice, limit=100)
    assert [item["state"] for item in jobs.page(alice, state="failed").items] == []


def test_the_dashboard_shows_own_jobs_in_full_and_those_of_others_in_short(alice, bob, admin):
    own, other = started(alice), started(bob)
    ended(bob, State.FAILED)
    shown = jobs.running(alice, 10)
    assert [one["id"] for one in shown] == [str(own.pk), str(other.pk)]
    assert shown[0] == jobs.item(Job.objects.get(pk=own.pk))
    assert set(shown[1]) == {"id", "state", "kind", "owner", "done", "total"}
    assert jobs.running(alice, 1) == shown[:1]
    assert [one.get("title") for one in jobs.running(admin, 10)] == ["Count", "Count"]


def ended_at(owner: User, *times: datetime) -> None:
    for at in times:
        job = ended(owner, State.SUCCEEDED)
        Attempt.objects.filter(job=job).update(finished_at=at)


def test_today_counts_every_attempt_by_the_hour_of_the_wall_clock_in_which_it_ended(
    alice, monkeypatch
):
    zone = ZoneInfo("Asia/Kathmandu")  # 5:45 ahead
    midnight = datetime(2026, 11, 22, tzinfo=zone)
    ended_at(
        alice,
        midnight - timedelta(microseconds=1),
        midnight,
        midnight + timedelta(minutes=59, seconds=59),
        midnight + timedelta(hours=1),
        midnight + timedelta(hours=23, minutes=59),
        midnight + timedelta(hours=24),
    )
    again = ended(alice, State.FAILED)
    Attempt.objects.filter(job=again).update(finished_at=midnight + timedelta(hours=2))
    jobs.retry(again.pk)
    monkeypatch.setattr(timezone, "now", lambda: midnight + timedelta(hours=3))
    hours = jobs.today(zone)
    assert [hour["at"] for hour in hours[:2]] == [
        "2026-11-21T18:15:00.000000Z",
        "2026-11-21T19:15:00.000000Z",
    ]
    assert len(hours) == 24
    assert {at: hour["succeeded"] for at, hour in enumerate(hours) if hour["succeeded"]} == {
        0: 2,
        1: 1,
        23: 1,
    }
    assert [at for at, hour in enumerate(hours) if hour["failed"]] == [2]
    assert sum(hour["cancelled"] + hour["lost"] for hour in hours) == 0


@pytest.mark.parametrize(
    ("zone", "month", "day", "ends", "count", "places"),
    [
        # The clock is put forward at two: an hour later it is four.
        ("Europe/Berlin", 3, 29, ("00:30", "01:30", "21:59"), 23, {1: 1, 2: 1, 22: 1}),
        # Put back at three: there are two hours from two to three.
        ("Europe/Berlin", 10, 25, ("23:30-1", "00:30", "01:30", "22:59"), 25, {1: 1, 2: 1, 3: 1, 24: 1}),
        # There is no midnight: the day begins at one.
        ("Africa/Cairo", 4, 24, ("22:00-1", "20:59"), 23, {0: 1, 22: 1}),
        # Midnight comes twice; the day began with the first.
        ("America/Havana", 11, 1, ("04:30", "05:30"), 25, {0: 1, 1: 1}),
    ],
)  # fmt: skip
def test_a_day_on_which_the_clock_is_changed_has_another_hour_or_one_less(
    alice, monkeypatch, zone, month, day, ends, count, places
):
    for end in ends:
        hour, minute = map(int, end[:5].split(":"))
        at = datetime(2026, month, day, hour, minute, tzinfo=UTC)
        ended_at(alice, at - timedelta(days=end.endswith("-1")))
    late = datetime(2026, month, day, 20, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: late)
    hours = jobs.today(ZoneInfo(zone))
    assert len(hours) == count
    assert {at: hour["succeeded"] for at, hour in enumerate(hours) if hour["succeeded"]} == places


def test_the_largest_job_fits_one_event(alice):
    alice.username = "가" * 150
    alice.first_name = "가" * 150
    alice.save()
    job = started(alice, title="\U0001f600" * 300, kind="x" * 200)
    for number in range(10):
        File.objects.create(
            job=job,
            role=File.Role.RESULT,
            name="\U0001f600" * 100,
            type="x" * 100,
            created_at=timezone.now(),
            complete_at=timezone.now(),
            expires_at=timezone.now() + timedelta(days=number + 1),
        )
    jobs.beat(job, note="\U0001f600" * 200)
    assert jobs.finish(
        job.pk,
        1,
        State.FAILED,
        summary="\U0001f600\0" * SUMMARY_MAX,
        error="\U0001f600" * 2 * ERROR_MAX,
    )


def test_an_error_keeps_its_end_and_a_summary_its_beginning(alice):
    job = ended(alice, State.FAILED, error="x" * 9000 + "\r\nthe end", summary="begin" + "y" * 9000)
    assert job.error.startswith("…")
    assert job.error.endswith("x\nthe end")
    assert len(job.error) == ERROR_MAX
    assert job.summary.startswith("begin")
    assert len(job.summary) == SUMMARY_MAX


def test_retention_ends_jobs_with_all_that_belongs_to_them(alice):
    old, live = ended(alice, State.FAILED), started(alice)
    now = timezone.now()
    assert jobs.prune(now - timedelta(days=1)) == 0
    assert jobs.prune(now + timedelta(seconds=1)) == 1
    assert [job.pk for job in Job.objects.all()] == [live.pk]
    assert not Attempt.objects.filter(job=old.pk).exists()


def test_an_owner_who_leaves_leaves_the_job_behind(alice, admin):
    job = started(alice)
    alice.delete()
    jobs.finish(job.pk, 1, State.FAILED, error="no")
    assert jobs.item(jobs.find(admin, job.pk))["owner"] is None
    assert [kind for kind, _, _ in told(admin)] == ["job.failed"]
