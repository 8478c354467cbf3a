from __future__ import annotations

import contextlib
import uuid
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from celery import current_app
from celery.app import routes
from celery.exceptions import Retry
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.utils import timezone
from kombu import Queue

from events import redis_client
from notifications.models import Notification
from tasks import jobs, log, progress, queue, titles, track, tracking
from tasks.errors import Cancelled, InvalidArguments, NotPossible, NotStartable
from tasks.models import Attempt, Job, State
from tasks.running import Run
from tests.shop import tasks as shop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def empty_queue():
    """No worker runs in this process: what a test sends stays where it can be counted."""
    _queue_key_delete()
    yield
    _queue_key_delete()


def _queue_key(name: str = "") -> str:
    prefix = current_app.conf.broker_transport_options["global_keyprefix"]
    return f"{prefix}{name or queue.default_queue()}"


def _queue_key_delete() -> None:
    redis_client.blocking().delete(_queue_key())


def waiting() -> int:
    return int(redis_client.blocking().llen(_queue_key()))


def run(job: Job, attempt: int | None = None) -> Job:
    """What a worker does with the job's message, in this process."""
    task = current_app.tasks[job.kind]
    call = queue.unpack(job)
    headers: Any = {queue.JOB: str(job.pk), queue.ATTEMPT: attempt or job.attempt}
    task.apply(call["args"], call["kwargs"], headers=headers, retries=job.attempt - 1, throw=False)
    job.refresh_from_db()
    return job


def test_an_eta_without_a_time_zone_is_in_djangos(monkeypatch):
    tomorrow = timezone.now() + timedelta(days=1)
    with timezone.override(ZoneInfo("Asia/Seoul")):
        naive = timezone.make_naive(tomorrow)
        result = shop.stocktake.apply_async(kwargs={"shelves": 1}, eta=naive)
        monkeypatch.setattr(tracking.Tracked, "_header", lambda *_: "as in a run")
        shop.stocktake.push_request(args=(), kwargs={"shelves": 1}, called_directly=False)
        try:
            with pytest.raises(Retry) as again:
                shop.stocktake.retry(eta=naive)
        finally:
            shop.stocktake.pop_request()
    assert Job.objects.get(pk=result.id).due_at == tomorrow
    assert again.value.when == tomorrow


def test_a_start_is_a_row_in_the_transaction_and_a_message_after_it(alice):
    with transaction.atomic():
        job = shop.stocktake.start(owner=alice, shelves=3)
        assert waiting() == 0
    assert waiting() == 1
    job.refresh_from_db()
    assert (job.state, job.owner, titles.of(job)) == (State.QUEUED, alice, "Stocktake")
    assert job.sent_at is not None


def test_a_start_that_is_rolled_back_sends_nothing(alice):
    with pytest.raises(RuntimeError), transaction.atomic():
        shop.stocktake.start(owner=alice, shelves=3)
        raise RuntimeError
    assert waiting() == 0
    assert not Job.objects.exists()


def test_a_plain_delay_is_tracked_without_an_owner():
    result = shop.stocktake.delay(3)
    job = Job.objects.get(pk=result.id)
    assert (job.owner, job.state) == (None, State.QUEUED)
    assert waiting() == 1
    assert run(job).summary == "3 shelves counted"


def test_what_is_due_later_waits_in_its_row():
    result = shop.stocktake.apply_async((3,), countdown=60)
    job = Job.objects.get(pk=result.id)
    assert waiting() == 0
    assert job.due_at is not None
    queue.send_left_behind()
    assert waiting() == 0
    Job.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    queue.send_left_behind()
    assert waiting() == 1


def test_a_message_that_comes_twice_runs_once(alice, tmp_path):
    job = shop.effect.start(owner=alice, mark=str(tmp_path / "ran"))
    run(job)
    run(job)
    assert (tmp_path / "ran").read_text().count("\n") == 1
    assert job.state == State.SUCCEEDED


@pytest.mark.parametrize("state", [State.LOST, State.CANCELLED, State.STARTED, State.FAILED])
def test_a_late_message_runs_nothing_that_is_not_waiting(alice, tmp_path, state):
    job = shop.effect.start(owner=alice, mark=str(tmp_path / "ran"))
    Job.objects.update(state=state)
    run(job)
    assert not (tmp_path / "ran").exists()
    assert job.state == state


def test_a_message_of_an_older_attempt_runs_nothing(alice, tmp_path):
    job = shop.effect.start(owner=alice, mark=str(tmp_path / "ran"))
    Job.objects.update(attempt=2)
    run(job, attempt=1)
    assert not (tmp_path / "ran").exists()


def test_a_task_that_asks_for_it_is_tried_again_and_only_the_end_is_told(alice, tmp_path):
    job = shop.third_time.start(owner=alice, mark=str(tmp_path / "ran"))
    for _ in range(3):
        run(job)
    assert (job.state, job.attempt, job.summary) == (State.SUCCEEDED, 3, "third time lucky")
    assert list(job.attempts.values_list("number", "state")) == [
        (3, "succeeded"),
        (2, "failed"),
        (1, "failed"),
    ]
    kinds = Notification.objects.filter(recipient=alice).values_list("kind", flat=True)
    assert list(kinds) == ["job.succeeded"]


def test_a_task_that_asks_for_other_arguments_gets_them(alice):
    job = run(shop.later.start(owner=alice, shelves=2))
    assert (job.state, job.attempt, queue.unpack(job)["kwargs"]["shelves"]) == ("queued", 2, 1)
    run(job)
    assert run(job).summary == "waited 0 s each time"
    assert job.attempt == 3
    assert waiting() == 3


def test_a_task_that_asks_to_be_run_later_is_sent_then(alice):
    job = run(shop.later.start(owner=alice, shelves=1, wait=60))
    assert waiting() == 1  # the first message
    assert job.due_at is not None
    assert timedelta(seconds=50) < job.due_at - timezone.now() <= timedelta(seconds=60)
    queue.send_left_behind()
    assert waiting() == 1
    Job.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    queue.send_left_behind()
    assert waiting() == 2
    assert run(job).summary == "waited 60 s each time"


def test_a_task_that_asks_for_arguments_it_does_not_take_fails(alice):
    job = run(shop.wrong_turn.start(owner=alice))
    assert job.state == State.FAILED
    assert "TypeError" in job.error


def test_a_task_that_asks_for_another_queue_waits_there(alice):
    job = run(shop.later.start(owner=alice, shelves=1, wait=60, queue="night"))
    assert (job.queue, queue.unpack(job)["options"]) == ("night", {"queue": "night"})


def test_a_job_that_was_ended_meanwhile_is_not_queued_again_by_its_old_run(alice):
    job = shop.later.start(owner=alice, shelves=1)
    old = jobs.claim(job.pk, 1, 15)
    jobs.finish(job.pk, 1, State.LOST)
    assert old is not None
    assert not Run(old).finish(State.SUCCEEDED)
    again = jobs.retry(job.pk)
    jobs.claim(job.pk, 2, 15)
    jobs.finish(job.pk, 2, State.CANCELLED)
    tried = Run(old).try_again(error="old", due_at=None, call={})
    assert tried is None
    with pytest.raises(NotPossible):
        jobs.retry(job.pk, attempt=1)
    again.refresh_from_db()
    assert (again.state, again.attempt) == (State.CANCELLED, 2)


def test_a_job_that_was_cancelled_is_not_tried_again(alice, monkeypatch):
    def cancelled_just_now(run: Run, **again: Any) -> Job | None:
        jobs.cancel(run.job.pk, alice)
        return try_again(run, **again)

    try_again = Run.try_again
    monkeypatch.setattr(Run, "try_again", cancelled_just_now)
    job = run(shop.later.start(owner=alice, shelves=1))
    assert (job.state, job.attempt, job.error) == (State.CANCELLED, 1, "")
    assert waiting() == 1


def test_a_broken_task_leaves_its_trace(alice):
    job = run(shop.broken.start(owner=alice))
    assert job.state == State.FAILED
    assert job.error.endswith("ValueError: the scales are broken")
    assert "in broken" in job.error


def test_a_task_that_is_called_is_a_function(alice):
    assert shop.stocktake(2) == "2 shelves counted"
    assert not Job.objects.exists()


def test_a_task_that_calls_itself_is_one_job(alice):
    job = run(shop.boxes.start(owner=alice, depth=2))
    assert (job.state, job.summary) == (State.SUCCEEDED, "[[[]]]")
    assert Job.objects.count() == 1


def test_outside_a_job_the_words_do_nothing():
    assert list(track([1, 2])) == [1, 2]
    progress(1, 2, "note")
    log("text")


def test_a_retry_sends_a_message_of_its_own(alice):
    job = run(shop.broken.start(owner=alice))
    sent = waiting()
    with pytest.raises(NotPossible):
        tracking.retry(shop.stocktake.start(owner=alice, shelves=1).pk)
    again = tracking.retry(job.pk)
    assert waiting() == sent + 2
    assert queue.message_id(again) == f"{job.pk}-2"
    assert run(again, attempt=1).state == State.QUEUED
    assert run(again).state == State.FAILED
    assert Attempt.objects.filter(job=job).count() == 2


def test_only_tasks_with_a_form_are_offered_and_only_to_those_who_may(alice, bob):
    bob.user_permissions.add(Permission.objects.get(codename="change_order"))
    offered = {person: {one.name for one in tracking.startable(person)} for person in (alice, bob)}
    assert shop.stocktake.name in offered[alice]
    assert shop.broken.name not in offered[alice]
    assert shop.managed.name not in offered[alice]
    assert shop.managed.name in offered[bob]
    for name in (shop.managed.name, shop.broken.name, "no.such", "tasks.tasks.prune"):
        with pytest.raises(NotStartable):
            tracking.prepare(alice, name, {"shelves": 1})


def test_arguments_pass_the_form(alice):
    prepared = tracking.prepare(
        alice, shop.stocktake.name, {"shelves": "3", "corners": ["n", "s"], "gently": True}
    )
    assert prepared.kwargs == {"shelves": 3, "pause": None, "corners": ["n", "s"], "gently": True}
    job = prepared.start(alice)
    assert (job.owner, job.by_hand) == (alice, True)
    assert run(job).state == State.SUCCEEDED
    with pytest.raises(InvalidArguments) as refused:
        tracking.prepare(alice, shop.stocktake.name, {"shelves": "0", "colour": "red"})
    assert set(refused.value.fields) == {"colour"}
    with pytest.raises(InvalidArguments) as refused:
        tracking.prepare(alice, shop.stocktake.name, {"shelves": "0"})
    assert set(refused.value.fields) == {"shelves"}


def test_who_lost_the_permission_meanwhile_runs_nothing(alice):
    permission = Permission.objects.get(codename="change_order")
    alice.user_permissions.add(permission)
    job = tracking.prepare(alice, shop.managed.name, {"shelves": 1}).start(alice)
    alice.user_permissions.remove(permission)
    assert run(job).state == State.FAILED
    assert "may no longer" in job.error
    by_code = shop.managed.start(owner=alice, shelves=1)
    assert run(by_code).state == State.SUCCEEDED


def test_a_job_without_redis_is_sent_when_it_is_back(alice, monkeypatch):
    with monkeypatch.context() as away:
        away.setitem(current_app.conf, "broker_url", "redis://127.0.0.1:1/0")
        away.setattr(current_app.amqp, "_producer_pool", None)
        job = shop.stocktake.start(owner=alice, shelves=1)
    assert Job.objects.get(pk=job.pk).sent_at is None
    Job.objects.update(queued_at=timezone.now() - timedelta(seconds=3))
    assert queue.send_left_behind() == 1
    assert waiting() == 1


def test_arguments_that_the_task_does_not_take_are_refused_at_the_start(alice):
    with pytest.raises(TypeError):
        shop.stocktake.start(owner=alice, shelfs=3)
    with pytest.raises(TypeError):
        shop.stocktake.delay()
    assert not Job.objects.exists()


def test_what_celery_may_be_told_of_sending_changes_nothing():
    policy = {"max_retries": 1}
    result = shop.stocktake.apply_async((3,), retry=True, retries=2, retry_policy=policy)
    job = Job.objects.get(pk=result.id)
    assert waiting() == 1
    assert run(job).state == State.SUCCEEDED


def left_behind(owner: User, message: str = "", kind: str = shop.stocktake.name) -> Job:
    job: Job = shop.stocktake.start(owner=owner, shelves=1)
    old = timezone.now() - timedelta(minutes=1)
    changed = {"message": message or job.message, "kind": kind, "created_at": old}
    Job.objects.filter(pk=job.pk).update(sent_at=None, queued_at=old, **changed)
    return job


def test_a_job_that_can_not_be_sent_fails_and_keeps_no_other_from_being_sent(alice):
    wrong = left_behind(alice, queue.pack((), {"shelfs": 1}, {}))
    odd = left_behind(alice, queue.pack((), {"shelves": 1}, {"soft_time_limit": 9, "expires": "x"}))
    broken = left_behind(alice, "{")
    good = left_behind(alice)
    before = waiting()
    assert queue.send_left_behind() == 1
    assert waiting() == before + 1
    for job in (wrong, odd, broken):
        job.refresh_from_db()
        assert job.state == State.FAILED
        assert job.error.startswith("The job can't be sent to a worker: ")
    assert "shelfs" in Job.objects.get(pk=wrong.pk).error
    good.refresh_from_db()
    assert good.sent_at is not None
    told = Notification.objects.filter(recipient=alice, kind="job.failed")
    assert [one.body for one in told if "shelfs" in one.body]
    assert not [one for one in told if "It ran for" in one.body]


def test_a_job_of_a_task_that_is_no_more_fails_and_keeps_no_other_from_being_sent(alice):
    orphan = left_behind(alice, kind="shop.gone")
    good = left_behind(alice)
    assert queue.send_left_behind() == 1
    orphan.refresh_from_db()
    good.refresh_from_db()
    assert (orphan.state, orphan.error) == (
        State.FAILED,
        "There is no task called shop.gone any more.",
    )
    assert good.sent_at is not None
    assert [one["state"] for one in jobs.attempts(orphan)] == ["failed"]


def test_while_the_broker_is_away_every_job_waits(alice, monkeypatch):
    def broker() -> Any:
        asked.append(1)
        raise redis.ConnectionError("refused")

    left_behind(alice)
    left_behind(alice)
    asked: list[int] = []
    monkeypatch.setattr(queue, "_broker", broker)
    assert queue.send_left_behind() == 0
    assert len(asked) == 1
    assert set(Job.objects.values_list("state", "sent_at")) == {(State.QUEUED, None)}


def sent_long_ago(hours: float = 1) -> None:
    Job.objects.update(sent_at=timezone.now() - timedelta(hours=hours))


def test_what_got_lost_is_sent_again_and_what_waits_its_turn_is_not(alice):
    started = [shop.stocktake.start(owner=alice, shelves=1) for _ in range(5)]
    sent_long_ago()
    assert queue.send_left_behind() == 0  # they stand in the queue
    _queue_key_delete()
    assert queue.send_left_behind() == 5
    assert waiting() == 5
    _queue_key_delete()
    assert queue.send_left_behind() == 0  # a worker may have taken them just now
    for job in started:
        assert run(job).state == State.SUCCEEDED


def test_as_many_are_sent_again_as_messages_are_missing(alice):
    for _ in range(5):
        shop.stocktake.start(owner=alice, shelves=1)
    sent_long_ago()
    redis_client.blocking().lpop(_queue_key(), 2)
    assert queue.send_left_behind() == 2
    sent_long_ago()
    assert queue.send_left_behind() == 0
    assert waiting() == 5


def test_where_a_route_leads_is_where_its_messages_are_counted(alice, monkeypatch):
    amqp = current_app.amqp
    router = routes.Router(
        routes.prepare([{shop.stocktake.name: "night"}]), amqp.queues, app=current_app
    )
    key = _queue_key("night")
    monkeypatch.setattr(amqp, "router", router)
    amqp.queues.add(Queue("night"))
    redis_client.blocking().delete(key)
    try:
        job = shop.stocktake.start(owner=alice, shelves=1)
        assert (job.queue, waiting(), redis_client.blocking().llen(key)) == ("night", 0, 1)
        sent_long_ago()
        assert queue.send_left_behind() == 0
        Job.objects.update(queue="elsewhere", sent_at=None, queued_at=job.queued_at - timedelta(1))
        assert queue.send_left_behind() == 1
        assert Job.objects.get().queue == "night"
    finally:
        del amqp.queues["night"]
        redis_client.blocking().delete(key)


def test_a_task_that_is_cancelled_stops_although_it_goes_on_after_errors(alice):
    job = shop.stocktake.start(owner=alice, shelves=3)
    seen = []
    with Run(job) as here, pytest.raises(Cancelled):
        for row in track([1, 2, 3]):
            with contextlib.suppress(Exception):
                seen.append(row)
                here._ask_to_stop()
                progress(row)
    assert seen == [1]


def test_an_id_that_celery_gives_is_the_jobs(alice):
    wanted = uuid.uuid4()
    assert shop.stocktake.apply_async((1,), task_id=str(wanted)).id == str(wanted)
    assert Job.objects.filter(pk=wanted).exists()
