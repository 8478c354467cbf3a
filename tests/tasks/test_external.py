"""A script outside that reports by HTTP."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from accounts.authenticate import make_key
from events import log as events_log
from events import redis_client, topics
from notifications.models import Notification
from tasks import api, external, jobs, watchdog
from tasks.models import Job, State
from tests.hub.test_api import Caller, refused

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def script(alice):
    return Caller(key=make_key(alice, "script", ["jobs"])[1])


@pytest.fixture
def whispered(monkeypatch):
    """What would go out on the channel layer."""
    said: list[tuple[str, str, dict[str, Any]]] = []
    monkeypatch.setattr(external, "whisper", lambda *what: said.append(what))
    return said


@pytest.fixture
def clock(monkeypatch):
    """Its first item is the time by which whispers are rationed."""
    now = [1000.0]
    monkeypatch.setattr(external, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def begun(script: Caller, **more: Any) -> dict[str, Any]:
    answer = script.ask("POST", "/jobs/external", {"title": "Nightly backup", **more})
    assert answer.status_code == 201, answer.content
    item: dict[str, Any] = answer.json()
    return item


def say(script: Caller, job: dict[str, Any], verb: str, body: Any = None) -> Any:
    return script.ask("POST", f"/jobs/external/{job['id']}/{verb}", body)


def kinds(topic: str) -> list[str]:
    return [event.type for event in events_log.after(topic, 0, 100)]


def test_a_script_runs_from_the_moment_it_says_so(script, alice):
    job = begun(script)
    assert (job["state"], job["kind"], job["title"]) == ("started", "external", "Nightly backup")
    assert job["owner"]["username"] == "alice"
    assert job["started_at"]
    assert job["cancel_requested"] is False
    assert kinds(topics.job(job["id"])) == ["job.queued", "job.started"]
    assert kinds(topics.user(alice.pk)) == ["job.queued", "job.started"]
    row = Job.objects.get(pk=job["id"])
    assert row.lease == 60
    assert row.lease_until is not None
    assert 58 < (row.lease_until - timezone.now()).total_seconds() <= 60


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": "  \t"}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": 5}, "title"),
        ({"title": "x", "lease": 4}, "lease"),
        ({"title": "x", "lease": 3601}, "lease"),
        ({"title": "x", "lease": "soon"}, "lease"),
        ({"title": "x", "key": ""}, "key"),
    ],
)
def test_what_a_start_needs_is_said(script, body, field):
    error = refused(script.ask("POST", "/jobs/external", body), 422, "invalid")
    assert set(error["fields"]) == {field}
    assert not Job.objects.exists()


@pytest.mark.parametrize("lease", [5, 3600])
def test_the_lease_may_be_chosen(script, lease):
    assert Job.objects.get(pk=begun(script, lease=lease)["id"]).lease == lease


def test_the_same_key_starts_one_job(script):
    first, again = begun(script, key="backup-1"), begun(script, key="backup-1", title="Other")
    assert first == again
    assert begun(script, key="backup-2")["id"] != first["id"]
    assert Job.objects.count() == 2


def test_progress_is_stored_at_once_and_never_goes_back(script):
    job = begun(script)
    for body, shown in [
        ({"done": 3, "total": 10, "note": "tables"}, (3, 10, "tables")),
        ({"done": 2}, (3, 10, "tables")),
        ({"done": 4, "note": ""}, (4, 10, "")),
        ({"done": 5, "total": None}, (5, None, "")),
        ({"done": 7, "total": 6, "note": "n" * 300}, (7, 6, "n" * 199 + "…")),
    ]:
        answer = say(script, job, "progress", body)
        assert answer.status_code == 200, answer.content
        found = answer.json()
        assert (found["done"], found["total"], found["note"]) == shown
        row = Job.objects.get(pk=job["id"])
        assert (row.done, row.total, row.note) == shown


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"done": -1},
        {"done": 2**63},
        {"done": "x"},
        {"done": None},
        {"done": 1, "total": -1},
        {"done": 1, "note": 5},
    ],
)
def test_progress_that_is_none_is_refused(script, body):
    job = begun(script)
    refused(say(script, job, "progress", body), 422, "invalid")
    assert Job.objects.get(pk=job["id"]).done == 0


def test_at_most_five_whispers_a_second_and_one_on_the_dashboard(script, whispered, clock):
    job = begun(script)
    for done in range(1, 41):
        assert say(script, job, "progress", {"done": done, "total": 40}).status_code == 200
    about = [data for topic, _, data in whispered if topic == topics.job(job["id"])]
    short = [data for topic, _, data in whispered if topic == topics.DASHBOARD]
    assert about[0] | {"at": ""} == {
        "id": job["id"], "attempt": 1, "done": 1, "total": 40, "note": "", "at": "",
    }  # fmt: skip
    assert short[0] == {
        "id": job["id"], "state": "started", "kind": "external", "owner": job["owner"], "done": 1, "total": 40,
    }  # fmt: skip
    assert [data["done"] for data in about] == [1, 2, 3, 4, 5]
    assert len(short) == 1
    assert Job.objects.get(pk=job["id"]).done == 40


def test_what_is_held_back_follows_with_the_next_sign_of_life(script, whispered, clock):
    job = begun(script)
    for done in range(1, 9):
        say(script, job, "progress", {"done": done})
    told = [(topic, data["done"]) for topic, _, data in whispered]
    watched, board = topics.job(job["id"]), topics.DASHBOARD
    assert told == [(watched, 1), (board, 1), *((watched, done) for done in range(2, 6))]
    whispered.clear()
    clock[0] += 1
    say(script, job, "heartbeat")
    assert [(topic, data["done"]) for topic, _, data in whispered] == [(watched, 8), (board, 8)]
    whispered.clear()
    clock[0] += 1
    say(script, job, "heartbeat")
    assert whispered == []


def test_too_many_reports_are_429(script, monkeypatch):
    monkeypatch.setattr(api, "REPORTS_PER_MINUTE", 3)
    monkeypatch.setattr(redis_client, "prefix", lambda: "hub-test-429-reports")
    job = begun(script)
    answers = [say(script, job, "heartbeat") for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    refused(answers[-1], 429, "too_many_requests")


@pytest.mark.parametrize("kind", ["text/plain", "text/plain; charset=utf-8", "", "application/x-www-form-urlencoded"])  # fmt: skip
def test_a_log_is_the_body_itself(script, kind):
    job = begun(script)
    answer = script.generic(
        "POST",
        f"/api/v1/jobs/external/{job['id']}/log",
        "dump of {a}=1&b\x00\x1b[31m red\x1b[0m\n둘째\n".encode() + b"\xff\n",
        content_type=kind,
        headers=script.headers_,
    )
    assert answer.status_code == 200, answer.content
    assert answer.json()["id"] == job["id"]
    assert lines(job) == ["dump of {a}=1&b red", "둘째", "�"]


def lines(job: dict[str, Any]) -> list[str]:
    reader = Caller(user=Job.objects.get(pk=job["id"]).owner)
    return [line["text"] for line in reader.ask("GET", f"/jobs/{job['id']}/log").json()["items"]]


def test_a_log_may_be_json(script):
    job = begun(script)
    assert say(script, job, "log", {"text": "one\ntwo"}).status_code == 200
    assert lines(job) == ["one", "two"]
    refused(say(script, job, "log", {"line": "one"}), 422, "invalid")
    refused(say(script, job, "log", b"one"), 400, "bad_request")


def test_a_form_is_no_log(script):
    job = begun(script)
    answer = script.post(
        f"/api/v1/jobs/external/{job['id']}/log", {"text": "x"}, headers=script.headers_
    )
    refused(answer, 400, "bad_request")


def test_a_log_over_the_limit_is_413(script):
    job = begun(script)
    answer = script.generic(
        "POST",
        f"/api/v1/jobs/external/{job['id']}/log",
        b"x" * (1024 * 1024 + 1),
        content_type="text/plain",
        headers=script.headers_,
    )
    refused(answer, 413, "too_large")
    assert lines(job) == []


@pytest.mark.parametrize(
    ("verb", "body"), [("progress", {"done": 1}), ("log", {"text": "x"}), ("heartbeat", None)]
)
def test_every_sign_of_life_keeps_the_lease(script, verb, body):
    job = begun(script, lease=30)
    ended = timezone.now()
    Job.objects.filter(pk=job["id"]).update(lease_until=ended)
    assert say(script, job, verb, body).status_code == 200
    until = Job.objects.get(pk=job["id"]).lease_until
    assert until is not None
    assert 28 < (until - ended).total_seconds() < 40
    watchdog.end_silent()
    assert Job.objects.get(pk=job["id"]).state == State.STARTED


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ({"ok": True, "summary": "3 tables"}, "succeeded"),
        ({"ok": False, "error": "disk full"}, "failed"),
    ],
)
def test_finishing_ends_it_and_finishing_again_changes_nothing(script, alice, end, state):
    job = begun(script)
    say(script, job, "progress", {"done": 3, "total": 3})
    first = say(script, job, "finish", end)
    assert first.status_code == 200
    found = first.json()
    assert (found["state"], found["done"]) == (state, 3)
    assert (found["summary"], found["error"]) == (end.get("summary", ""), end.get("error", ""))
    again = say(script, job, "finish", {"ok": not end["ok"], "summary": "no", "error": "no"})
    assert (again.status_code, again.json()) == (200, found)
    assert kinds(topics.job(job["id"])) == ["job.queued", "job.started", f"job.{state}"]
    told = Notification.objects.filter(recipient=alice)
    assert [one.kind for one in told] == [f"job.{state}"]
    assert told[0].url == f"/jobs/{job['id']}/"


@pytest.mark.parametrize("body", [{}, {"ok": None}, {"ok": "perhaps"}, {"ok": True, "error": 1}])
def test_an_end_says_how(script, body):
    job = begun(script)
    refused(say(script, job, "finish", body), 422, "invalid")
    assert Job.objects.get(pk=job["id"]).state == State.STARTED


def test_a_script_is_asked_to_stop_and_ends_cancelled(script, alice):
    job = begun(script)
    answer = script.ask("POST", f"/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "started")
    for verb, body in [("progress", {"done": 1}), ("log", {"text": "x"}), ("heartbeat", None)]:
        assert say(script, job, verb, body).json()["cancel_requested"] is True
    ended = say(script, job, "finish", {"ok": False, "error": "terminated"}).json()
    assert (ended["state"], ended["error"]) == ("cancelled", "terminated")


def test_who_was_asked_to_stop_and_came_through_has_succeeded(script):
    job = begun(script)
    script.ask("POST", f"/jobs/{job['id']}/cancel")
    assert say(script, job, "finish", {"ok": True}).json()["state"] == "succeeded"


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST])
def test_who_reports_to_an_ended_job_is_told_its_state(script, state):
    job = begun(script)
    say(script, job, "progress", {"done": 1})
    jobs.finish(uuid.UUID(job["id"]), 1, state)
    for verb, body in [("progress", {"done": 2}), ("log", {"text": "x"}), ("heartbeat", None)]:
        error = refused(say(script, job, verb, body), 409, "conflict")
        assert str(state) in error["detail"]
    assert Job.objects.get(pk=job["id"]).done == 1
    assert lines(job) == []
    answer = say(script, job, "finish", {"ok": True})
    assert (answer.status_code, answer.json()["state"]) == (200, state)


def test_silence_is_lost_with_one_notification(script, alice):
    job = begun(script, lease=5)
    Job.objects.filter(pk=job["id"]).update(lease_until=timezone.now())
    for _ in range(2):
        watchdog.end_silent()
    assert say(script, job, "finish", {"ok": True}).json()["state"] == "lost"
    assert [one.kind for one in Notification.objects.filter(recipient=alice)] == ["job.lost"]


def test_the_hub_cannot_start_a_script_again(script):
    job = begun(script)
    say(script, job, "finish", {"ok": False})
    refused(script.ask("POST", f"/jobs/{job['id']}/retry"), 409, "conflict")


@pytest.mark.parametrize(
    ("verb", "body"),
    [("progress", {"done": 1}), ("log", {"text": "x"}), ("heartbeat", None), ("finish", {"ok": True})],
)  # fmt: skip
@pytest.mark.parametrize("is_running", [True, False])
def test_no_script_reports_for_what_the_hub_runs(script, alice, verb, body, is_running):
    job = jobs.create(kind="shop.count", title="Count", owner=alice)
    if is_running:
        jobs.claim(job.pk, 1, 15)
    before = jobs.item(Job.objects.get(pk=job.pk))
    refused(say(script, before, verb, body), 409, "conflict")
    assert jobs.item(Job.objects.get(pk=job.pk)) == before


def test_the_shorter_addresses_are_the_same(script):
    job = begun(script)
    for verb, body in [("progress", {"done": 4}), ("log", {"text": "x"}), ("heartbeat", None)]:
        answer = script.ask("POST", f"/jobs/{job['id']}/{verb}", body)
        assert (answer.status_code, answer.json()["id"]) == (200, job["id"])
    assert script.ask("POST", f"/jobs/{job['id']}/finish", {"ok": True}).json()["done"] == 4
