"""Starting, seeing and steering jobs by the API."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app, shared_task
from django import forms
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts import idempotency
from accounts.authenticate import make_key
from accounts.models import Answer
from events import log as events_log
from events import redis_client, topics
from tasks import api, arguments, files, jobs, logs, queue, tracked, tracking
from tasks.models import File, FileChunk, Job, State
from tests.hub.test_api import Caller, refused

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = {"origin": "http://testserver"}
STOCKTAKE = "tests.shop.tasks.stocktake"


class CountForm(forms.Form):
    name = forms.CharField(label="Whose", help_text="As on the <b>badge</b>", max_length=20)
    count = forms.IntegerField(min_value=0, required=False)
    weight = forms.FloatField(required=False)
    price = forms.DecimalField(required=False)
    day = forms.DateField(required=False)
    at = forms.DateTimeField(required=False)
    mail = forms.EmailField(required=False)
    link = forms.URLField(required=False, assume_scheme="https")
    shelf = forms.ChoiceField(
        choices=[("", "any"), ("a", "A"), ("Upstairs", [("b", "B")])], required=False
    )
    colours = forms.MultipleChoiceField(choices=[("1", "Red"), ("2", "Blue")], required=False)
    gently = forms.BooleanField(required=False)
    sure = forms.NullBooleanField(required=False)
    extra = forms.JSONField(required=False)
    table = forms.FileField(required=False)
    owner = forms.ModelChoiceField(User.objects.order_by("pk"), required=False)

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("name") == self.user.username:
            raise forms.ValidationError("Nobody counts their own.")
        return self.cleaned_data


def nothing(**_: Any) -> None:
    """What all tasks of the warehouse do."""


@pytest.fixture(autouse=True, scope="module")
def tasks_of_a_warehouse() -> Iterator[None]:
    """Tasks that exist for these tests alone."""
    before, known = dict(tracking._definitions), set(current_app.tasks)
    tracked(title="Count", description="Counts.", form=CountForm)(
        shared_task(name="warehouse.count")(nothing)
    )
    tracked(title="Close", form=forms.Form, permission=lambda user: user.is_superuser)(
        shared_task(name="warehouse.close")(nothing)
    )
    tracked(title="Hidden")(shared_task(name="warehouse.hidden")(nothing))
    yield
    tracking._definitions.clear()
    tracking._definitions.update(before)
    for name in set(current_app.tasks) - known:
        current_app.tasks.unregister(name)


@pytest.fixture
def script(alice):
    return Caller(key=make_key(alice, "script", ["read", "jobs"])[1])


def start(caller: Caller, task: str = "warehouse.count", **body: Any) -> Any:
    return caller.ask("POST", "/jobs", {"task": task, **body})


def given(job: dict[str, Any]) -> dict[str, Any]:
    """The arguments that the task will be called with, without those left empty."""
    kwargs = queue.unpack(Job.objects.get(pk=job["id"]))["kwargs"]
    return {name: value for name, value in kwargs.items() if value not in (None, "", [], False)}


# --- starting -------------------------------------------------------------------------------------------------------


def test_a_task_is_started_by_its_name(script, alice):
    answer = start(script, STOCKTAKE, args={"shelves": 3, "corners": ["n", "s"], "gently": True})
    assert answer.status_code == 201, answer.content
    job = answer.json()
    assert (job["state"], job["kind"], job["title"]) == ("queued", STOCKTAKE, "Stocktake")
    assert job["owner"]["id"] == alice.pk
    assert given(job) == {"shelves": 3, "corners": ["n", "s"], "gently": True}
    assert Job.objects.get().by_hand
    assert [event.type for event in events_log.after(topics.job(job["id"]), 0, 9)] == ["job.queued"]


@pytest.mark.parametrize(
    ("args", "cleaned"),
    [
        ({}, {}),
        ({"count": 7}, {"count": 7}),
        ({"count": "7"}, {"count": 7}),
        ({"count": None}, {}),
        ({"weight": 1.5, "price": 2}, {"weight": 1.5, "price": "2"}),
        ({"day": "2026-11-22"}, {"day": "2026-11-22"}),
        ({"gently": True}, {"gently": True}),
        ({"gently": False, "sure": False}, {}),
        ({"sure": True}, {"sure": True}),
        ({"colours": ["1", 2]}, {"colours": ["1", "2"]}),
        ({"colours": []}, {}),
        ({"shelf": "b"}, {"shelf": "b"}),
        ({"extra": {"a": [1, None, True]}}, {"extra": {"a": [1, None, True]}}),
        ({"extra": "text"}, {"extra": "text"}),
    ],
)
def test_arguments_are_plain_values(script, args, cleaned):
    answer = start(script, args={"name": "bob", **args})
    assert answer.status_code == 201, answer.content
    assert given(answer.json()) == {"name": "bob", **cleaned}


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({}, "args.name"),
        ({"name": ""}, "args.name"),
        ({"name": "x" * 21}, "args.name"),
        ({"name": True}, "args.name"),
        ({"name": ["x"]}, "args.name"),
        ({"name": {"a": 1}}, "args.name"),
        ({"name": "alice"}, "args"),
        ({"name": "x", "count": -1}, "args.count"),
        ({"name": "x", "count": 1.5}, "args.count"),
        ({"name": "x", "count": [1]}, "args.count"),
        ({"name": "x", "count": False}, "args.count"),
        ({"name": "x", "day": 5}, "args.day"),
        ({"name": "x", "day": ["2026-11-22"]}, "args.day"),
        ({"name": "x", "gently": "yes"}, "args.gently"),
        ({"name": "x", "gently": 1}, "args.gently"),
        ({"name": "x", "sure": []}, "args.sure"),
        ({"name": "x", "colours": "1"}, "args.colours"),
        ({"name": "x", "colours": ["3"]}, "args.colours"),
        ({"name": "x", "colours": [["1"]]}, "args.colours"),
        ({"name": "x", "shelf": "c"}, "args.shelf"),
        ({"name": "x", "owner": 987654}, "args.owner"),
        ({"name": "x", "table": "a,b"}, "args.table"),
        ({"name": "x", "nosuch": 1}, "args.nosuch"),
        ({"name": "x", "nosuch": {}}, "args.nosuch"),
        ({"name": "x", "user": 1}, "args.user"),
    ],
)
def test_arguments_that_the_form_refuses_are_named(script, args, field):
    error = refused(start(script, args=args), 422, "invalid")
    assert set(error["fields"]) == {field}
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "task"), ({"task": 5}, "task"), ({"task": STOCKTAKE, "args": []}, "args"),
     ({"task": STOCKTAKE, "key": ""}, "key")],
)  # fmt: skip
def test_a_start_that_says_nothing_is_422(script, body, field):
    assert set(refused(script.ask("POST", "/jobs", body), 422, "invalid")["fields"]) == {field}


def test_what_one_may_not_start_is_answered_as_what_does_not_exist(script, admin):
    answers = [
        start(script, task) for task in ("warehouse.close", "warehouse.hidden", "warehouse.nosuch")
    ]
    for answer in answers:
        refused(answer, 404, "not_found")
    assert len({answer.content for answer in answers}) == 1
    assert not Job.objects.exists()
    assert start(Caller(user=admin), "warehouse.close").status_code == 201
    refused(start(Caller(user=admin), "warehouse.hidden"), 404, "not_found")


def test_the_same_key_starts_one_job_and_gets_the_first_answer(script, alice, bob):
    first = start(script, args={"name": "bob"}, key="k")
    again = start(script, args={"name": "of no account", "count": "none"}, key="k")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert Job.objects.count() == 1
    others = start(Caller(user=bob), args={"name": "x"}, key="k")
    assert others.json()["id"] != first.json()["id"]


def test_a_start_that_failed_leaves_its_key_free(script):
    refused(start(script, args={}, key="k"), 422, "invalid")
    assert start(script, args={"name": "x"}, key="k").status_code == 201


def test_too_many_starts_are_429(script, monkeypatch):
    monkeypatch.setattr(api, "STEERINGS_PER_MINUTE", 2)
    monkeypatch.setattr(redis_client, "prefix", lambda: "hub-test-429-jobs")
    answers = [start(script, args={"name": "x"}) for _ in range(3)]
    assert [one.status_code for one in answers] == [201, 201, 429]


# --- with files -----------------------------------------------------------------------------------------------------


def upload(script: Caller, **fields: Any) -> Any:
    return script.post("/api/v1/jobs", fields, headers=script.headers_)


def table(size: int = 4) -> SimpleUploadedFile:
    return SimpleUploadedFile("table.csv", b"a,b\n" * (size // 4), "text/csv")


def test_a_form_starts_a_task_with_a_file(script):
    answer = upload(
        script,
        task="warehouse.count",
        name="bob",
        colours=["1", "2"],
        count="7",
        gently="on",
        table=table(3 * files.PIECE),
    )
    assert answer.status_code == 201, answer.content
    job = answer.json()
    kept = File.objects.get()
    assert given(job) == {
        "name": "bob", "colours": ["1", "2"], "count": 7, "gently": True, "table": kept.pk,
    }  # fmt: skip
    assert (str(kept.job_id), kept.name, kept.role) == (job["id"], "table.csv", File.Role.UPLOAD)
    assert b"".join(files.read(kept)) == b"a,b\n" * (3 * files.PIECE // 4)
    assert job["files"] == []  # what was given is no result


@pytest.mark.parametrize("value", ["0", "false", "False", "no", "off", ""])
def test_a_box_that_says_no_is_not_ticked(script, value):
    answer = upload(script, task="warehouse.count", name="bob", gently=value)
    assert given(answer.json()) == {"name": "bob"}


def test_a_box_of_three_states_may_say_no(script):
    job = upload(script, task="warehouse.count", name="bob", sure="false").json()
    assert queue.unpack(Job.objects.get(pk=job["id"]))["kwargs"]["sure"] is False


def test_a_form_is_checked_as_json_is(script):
    def fields(**form: Any) -> set[str]:
        return set(refused(upload(script, **form), 422, "invalid")["fields"])

    assert fields(name="x") == {"task"}
    assert fields(task="warehouse.count", key="", name="x") == {"key"}
    assert fields(task="warehouse.count", table=table()) == {"args.name"}
    assert fields(task="warehouse.count", name="x", nosuch="1") == {"args.nosuch"}
    assert fields(task="warehouse.count", name="x", nosuch=table()) == {"args.nosuch"}
    assert fields(task="warehouse.count", name="x\0") == {"args.name"}
    assert fields(task="warehouse.count", name="x", gently="maybe") == {"args.gently"}
    refused(upload(script, task="warehouse.close"), 404, "not_found")
    refused(upload(script, task="warehouse.count", key="a\0", name="x"), 400, "bad_request")
    assert not Job.objects.exists()
    assert not File.objects.exists()


@pytest.mark.parametrize(
    "body", [b"", b"x=1", b"--b\r\n", b'--b\r\nContent-Disposition: form-data; name="task"\r\n']
)
@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=b"])
def test_a_form_that_cannot_be_read_is_refused(script, body, kind):
    nobody: dict[str, str] = {}
    for headers in (script.headers_, nobody):
        answer = script.generic("POST", "/api/v1/jobs", body, content_type=kind, headers=headers)
        assert answer.status_code in ({400, 422} if headers else {401})
        assert answer.json()["error"]["detail"]


def test_a_form_with_too_many_fields_or_too_much_text_is_refused(script, settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 3
    many = {f"f{number}": "x" for number in range(4)}
    refused(upload(script, task="warehouse.count", **many), 400, "bad_request")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    refused(upload(script, task="warehouse.count", name="x" * 1000), 413, "too_large")


def test_a_large_file_passes_where_a_job_is_started_and_nowhere_else(script):
    size = 3 * 1024 * 1024
    answer = upload(script, task="warehouse.count", name="bob", table=table(size))
    assert answer.status_code == 201, answer.content
    assert File.objects.get().size == size
    elsewhere = script.post(
        "/api/v1/jobs/external", {"table": table(size)}, headers=script.headers_
    )
    refused(elsewhere, 413, "too_large")
    as_json = script.generic(
        "POST",
        "/api/v1/jobs",
        b'{"task": "' + b"x" * size + b'"}',
        content_type="application/json",
        headers=script.headers_,
    )
    refused(as_json, 413, "too_large")


def test_a_file_over_the_limit_is_refused_whatever_the_task(script, monkeypatch):
    monkeypatch.setattr(files, "UPLOAD_MAX", 2**20)
    answer = upload(script, task="warehouse.count", name="bob", table=table(2**20 + 4))
    assert "at most 1 MiB" in refused(answer, 422, "invalid")["fields"]["args.table"]
    assert not File.objects.exists()
    assert upload(script, task="warehouse.count", name="bob", table=table(2**20)).status_code == 201


def test_a_body_over_the_limit_for_files_is_413(script):
    answer = upload(
        script, task="warehouse.count", name="bob", table=table(files.UPLOAD_MAX + 1024 * 1024)
    )
    refused(answer, 413, "too_large")
    assert not File.objects.exists()


def test_a_repeat_keeps_no_second_file(script):
    first = upload(script, task="warehouse.count", name="bob", table=table(), key="k").json()
    again = upload(script, task="warehouse.count", name="bob", table=table(), key="k").json()
    assert first == again
    assert File.objects.count() == FileChunk.objects.count() == 1


def test_of_two_at_once_the_second_leaves_no_file(script, alice, monkeypatch):
    """The first answer comes to be between the second's look for it and its start."""
    stored = idempotency.stored
    answers = iter([None])
    monkeypatch.setattr(idempotency, "stored", lambda *a, **k: next(answers, 0) or stored(*a))
    Answer.objects.create(user=alice, route="jobs", key="k", status=201, body=_an_answer(alice))
    answer = upload(script, task="warehouse.count", name="bob", table=table(), key="k")
    assert answer.status_code == 201
    assert not File.objects.exists()
    assert not FileChunk.objects.exists()


def _an_answer(user: User) -> dict[str, Any]:
    job = jobs.create(kind="warehouse.count", title="Count", owner=user)
    item = jobs.item(job)
    Job.objects.all().delete()
    return item


def test_a_browsers_form_needs_our_origin(alice):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    form = {"task": "warehouse.count", "name": "bob"}
    refused(browser.post("/api/v1/jobs", form), 403, "bad_origin")
    evil = browser.post("/api/v1/jobs", form, headers={"origin": "https://evil.example"})
    refused(evil, 403, "bad_origin")
    assert browser.post("/api/v1/jobs", form, headers=ORIGIN).status_code == 201


# --- what can be started --------------------------------------------------------------------------------------------


def test_tasks_are_listed_with_their_arguments(script, admin):
    items = script.ask("GET", "/tasks").json()["items"]
    names = [one["task"] for one in items]
    assert "warehouse.count" in names
    assert STOCKTAKE in names
    assert {"warehouse.close", "warehouse.hidden"}.isdisjoint(names)
    count = items[names.index("warehouse.count")]
    assert (count["title"], count["description"]) == ("Count", "Counts.")
    assert count["fields"][0] == {
        "name": "name", "label": "Whose", "type": "text", "required": True,
        "help": "As on the <b>badge</b>", "choices": None,
    }  # fmt: skip
    assert {one["name"]: one["type"] for one in count["fields"]} == {
        "name": "text", "count": "integer", "weight": "number", "price": "number", "day": "date", "at": "datetime",
        "mail": "email", "link": "url", "shelf": "choice", "colours": "choices", "gently": "boolean",
        "sure": "boolean", "extra": "json", "table": "file", "owner": "choice",
    }  # fmt: skip
    choices = {one["name"]: one["choices"] for one in count["fields"]}
    assert choices["shelf"] == [{"value": "a", "label": "A"}, {"value": "b", "label": "B"}]
    assert choices["owner"][0]["label"] == "alice"
    assert "warehouse.close" in [
        one["task"] for one in Caller(user=admin).ask("GET", "/tasks").json()["items"]
    ]


def test_a_field_with_very_many_choices_lists_none(script, monkeypatch):
    monkeypatch.setattr(arguments, "CHOICES_MOST", 1)
    items = script.ask("GET", "/tasks").json()["items"]
    fields = next(one["fields"] for one in items if one["task"] == "warehouse.count")
    assert next(one["choices"] for one in fields if one["name"] == "shelf") is None


# --- seeing ---------------------------------------------------------------------------------------------------------


def made(owner: User | None, kind: str = "warehouse.count", state: State = State.QUEUED) -> Job:
    job = jobs.create(kind=kind, title=kind, owner=owner)
    if state == State.QUEUED:
        return job
    jobs.claim(job.pk, 1, 60)
    if state != State.STARTED:
        jobs.finish(job.pk, 1, state, error="boom" if state == State.FAILED else "")
    return Job.objects.get(pk=job.pk)


def test_jobs_are_paged_newest_first(script, alice, bob):
    own = [str(made(alice).pk) for _ in range(5)]
    made(bob)
    first = script.ask("GET", "/jobs?limit=2").json()
    assert [one["id"] for one in first["items"]] == own[:2:-1]
    second = script.ask("GET", f"/jobs?limit=2&before={first['next']}").json()
    third = script.ask("GET", f"/jobs?limit=2&before={second['next']}").json()
    assert [one["id"] for one in second["items"] + third["items"]] == own[2::-1]
    assert third["next"] is None


def test_jobs_are_filtered(script, alice):
    failed = made(alice, state=State.FAILED)
    other = made(alice, kind="warehouse.close")
    script.ask("POST", "/jobs/external", {"title": "x"})

    def found(query: str) -> list[str]:
        return [one["kind"] for one in script.ask("GET", f"/jobs?{query}").json()["items"]]

    assert found("state=failed") == [failed.kind]
    assert found("kind=warehouse.close") == [other.kind]
    assert found("kind=external&state=started") == ["external"]
    assert found("kind=external&state=lost") == found("kind=none") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [("state=running", "state"), ("limit=0", "limit"), ("limit=101", "limit"), ("before=1", "before"),
     ("kind=a%00b", "kind")],
)  # fmt: skip
def test_a_filter_that_is_none_is_422(script, query, field):
    assert set(refused(script.ask("GET", f"/jobs?{query}"), 422, "invalid")["fields"]) == {field}


def test_a_list_goes_on_from_its_cursor(script, alice):
    made(alice)
    cursor = script.ask("GET", "/jobs").json()["cursor"]
    assert f"user.{alice.pk}:1" in cursor.split("~")
    assert "group.dashboard:1" in cursor.split("~")


def test_one_job_comes_with_its_attempts_and_goes_on_from_its_cursor(script, alice):
    job = made(alice, state=State.FAILED)
    jobs.retry(job.pk)
    shown = script.ask("GET", f"/jobs/{job.pk}").json()
    assert (shown["state"], shown["attempt"], shown["error"]) == ("queued", 2, "")
    assert [(one["number"], one["state"], one["error"]) for one in shown["attempts"]] == [
        (2, "queued", ""),
        (1, "failed", "boom"),
    ]
    assert f"job.{job.pk}:4" in shown["cursor"].split("~")
    item = jobs.item(Job.objects.get())
    assert {name: shown[name] for name in item} == item


def test_the_cursor_is_taken_before_the_rows(script, alice, monkeypatch):
    job = made(alice)
    find = jobs.find

    def find_late(*args: Any) -> Job:
        jobs.claim(job.pk, 1, 60)
        return find(*args)

    monkeypatch.setattr(jobs, "find", find_late)
    shown = script.ask("GET", f"/jobs/{job.pk}").json()
    assert shown["state"] == "started"
    assert f"job.{job.pk}:1" in shown["cursor"].split("~")


def test_the_log_is_paged(script, alice):
    job = made(alice, state=State.STARTED)
    logs.append(job.pk, 1, "\n".join(f"line {n}" for n in range(1, 8)))

    def page(query: str) -> tuple[list[int], int | None]:
        found = script.ask("GET", f"/jobs/{job.pk}/log?{query}").json()
        assert f"job.{job.pk}:2" in found["cursor"].split("~")
        return [line["n"] for line in found["items"]], found["next"]

    assert page("") == ([1, 2, 3, 4, 5, 6, 7], None)
    assert page("limit=3") == ([1, 2, 3], 4)
    assert page("from=4&limit=3") == ([4, 5, 6], 7)
    assert page("from=7&limit=3") == ([7], None)
    assert page("from=8") == ([], None)
    first = script.ask("GET", f"/jobs/{job.pk}/log?limit=1").json()["items"][0]
    assert (first["n"], first["attempt"], first["text"]) == (1, 1, "line 1")
    for query in ("from=0", "from=x", "limit=0", "limit=5001"):
        refused(script.ask("GET", f"/jobs/{job.pk}/log?{query}"), 422, "invalid")


def test_an_answer_with_lines_is_bounded(script, alice, monkeypatch):
    monkeypatch.setattr(api, "LOG_AT_ONCE", 100)
    job = made(alice, state=State.STARTED)
    logs.append(job.pk, 1, "\n".join(["x" * 60, "x" * 40, "x", "x" * 200, "x"]))
    seen: list[list[int]] = []
    following: Any = 1
    while following is not None:
        page = script.ask("GET", f"/jobs/{job.pk}/log?from={following}").json()
        seen.append([line["n"] for line in page["items"]])
        following = page["next"]
    assert seen == [[1, 2], [3], [4], [5]]


def test_files_are_downloads(script, alice):
    job = made(alice, state=State.STARTED)
    with files.result(job, "보고서.html", "text/html") as out:
        out.write("<script>alert(1)</script>" * 50_000)
    [item] = script.ask("GET", f"/jobs/{job.pk}").json()["files"]
    assert item["url"].startswith("/api/v1/")
    for caller in (script, Caller(user=alice)):
        answer = caller.ask("GET", item["url"].removeprefix("/api/v1"))
        assert answer.status_code == 200
        assert len(answer.getvalue()) == item["size"] == 25 * 50_000
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment; filename*=utf-8''%EB")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    refused(script.ask("GET", f"/jobs/{job.pk}/files/987654"), 404, "not_found")


def test_what_was_given_to_a_job_is_no_result(script):
    job = upload(script, task="warehouse.count", name="bob", table=table()).json()
    path = f"/jobs/{job['id']}/files/{File.objects.get().pk}"
    refused(script.ask("GET", path), 404, "not_found")


# --- steering -------------------------------------------------------------------------------------------------------


def test_what_waits_is_cancelled_at_once(script, alice):
    job = made(alice)
    answer = script.ask("POST", f"/jobs/{job.pk}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert Job.objects.get().cancelled_by == alice
    error = refused(script.ask("POST", f"/jobs/{job.pk}/cancel"), 409, "conflict")
    assert error["detail"] == "The job has ended already."


def test_what_runs_is_asked_to_stop(script, alice):
    job = made(alice, state=State.STARTED)
    for _ in range(2):
        shown = script.ask("POST", f"/jobs/{job.pk}/cancel").json()
        assert (shown["state"], shown["cancel_requested"]) == ("started", True)


def test_what_failed_is_started_again(script, alice):
    job = start(script, STOCKTAKE, args={"shelves": 1}).json()
    refused(script.ask("POST", f"/jobs/{job['id']}/retry"), 409, "conflict")
    jobs.claim(uuid.UUID(job["id"]), 1, 60)
    jobs.finish(uuid.UUID(job["id"]), 1, State.FAILED)
    shown = script.ask("POST", f"/jobs/{job['id']}/retry").json()
    assert (shown["state"], shown["attempt"]) == ("queued", 2)


def test_what_succeeded_is_not_started_again(script, alice):
    job = made(alice, state=State.SUCCEEDED)
    error = refused(script.ask("POST", f"/jobs/{job.pk}/retry"), 409, "conflict")
    assert error["detail"] == "The job has succeeded."


# --- own, another's, absent -----------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/jobs/ID", None),
    ("GET", "/jobs/ID/log", None),
    ("GET", "/jobs/ID/files/FILE", None),
    ("GET", "/jobs?before=ID", None),
    ("POST", "/jobs/ID/cancel", None),
    ("POST", "/jobs/ID/retry", None),
    *(
        ("POST", f"/jobs{place}/ID/{verb}", body)
        for place in ("", "/external")
        for verb, body in [
            ("progress", {"done": 1}),
            ("log", {"text": "x"}),
            ("heartbeat", None),
            ("finish", {"ok": True}),
        ]
    ),
]


@pytest.mark.parametrize("kind", ["external", STOCKTAKE])
@pytest.mark.parametrize("state", [State.QUEUED, State.STARTED, State.FAILED])
def test_anothers_job_is_answered_as_one_that_does_not_exist(alice, bob, admin, kind, state):
    job = made(alice, kind=kind, state=State.STARTED)
    with files.result(job, "report.csv", "text/csv") as out:
        out.write("a,b")
    file = File.objects.get()
    logs.append(job.pk, 1, "secret")
    Job.objects.filter(pk=job.pk).update(state=state)
    before, told = jobs.item(Job.objects.get()), events_log.heads([topics.job(job.pk)])
    ids = {"alice's": str(job.pk), "absent": str(uuid.uuid4())}
    for caller in (
        Caller(user=bob),
        Caller(key=make_key(bob, "all")[1]),
        Caller(key=make_key(admin, "narrow", ["admin"])[1]),
        Caller(),
    ):
        for method, path, body in ROUTES:
            told_of = {}
            for which, job_id in ids.items():
                asked = path.replace("ID", job_id).replace("FILE", str(file.pk))
                answer = caller.ask(method, asked, body)
                told_of[which] = (answer.status_code, answer.content.replace(job_id.encode(), b""))
            assert told_of["alice's"] == told_of["absent"], (method, path)
            assert told_of["absent"][0] in ({200} if "?" in path else {404}) | {401, 403}
    assert jobs.item(Job.objects.get()) == before
    assert events_log.heads([topics.job(job.pk)]) == told
    assert [line["text"] for line in logs.page(job)] == ["secret"]


def test_a_file_is_found_under_its_own_job_alone(alice, bob):
    job, own = made(alice, state=State.STARTED), made(bob, state=State.STARTED)
    with files.result(job, "report.csv", "text/csv") as out:
        out.write("a,b")
    path = f"/jobs/{own.pk}/files/{File.objects.get().pk}"
    refused(Caller(user=bob).ask("GET", path), 404, "not_found")


def test_a_superuser_sees_and_steers_all(admin, alice):
    caller = Caller(user=admin)
    job, nobodys = made(alice, kind="external", state=State.STARTED), made(None)
    assert {one["id"] for one in caller.ask("GET", "/jobs").json()["items"]} == {
        str(job.pk),
        str(nobodys.pk),
    }
    assert caller.ask("GET", f"/jobs/{nobodys.pk}").json()["owner"] is None
    assert caller.ask("POST", f"/jobs/{job.pk}/progress", {"done": 1}).status_code == 200
    assert caller.ask("POST", f"/jobs/{job.pk}/cancel").json()["cancel_requested"] is True
    assert Job.objects.get(pk=job.pk).cancelled_by == admin


def test_scopes_open_what_they_name(alice):
    job = made(alice, kind="external", state=State.STARTED)
    reader = Caller(key=make_key(alice, "reader", ["read"])[1])
    worker = Caller(key=make_key(alice, "worker", ["jobs"])[1])
    for method, path, body in [*ROUTES, ("POST", "/jobs", {"task": "warehouse.count"}),
                               ("POST", "/jobs/external", {"title": "x"}), ("GET", "/tasks", None)]:  # fmt: skip
        asked = re.sub(r"FILE", "1", path.replace("ID", str(job.pk)))
        refused((worker if method == "GET" else reader).ask(method, asked, body), 403, "forbidden")


@pytest.mark.parametrize("path", ["/jobs/1", "/jobs/x/log", "/jobs/external/1/finish", "/jobs/0F8FAD5B-D9CB-469F-A165-70867728950E"])  # fmt: skip
def test_what_is_no_job_id_is_404(script, path):
    method = "POST" if "finish" in path else "GET"
    refused(script.ask(method, path), 404, "not_found")
