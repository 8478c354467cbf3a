"""Exports: what the owner may read when the job runs, whole and in order, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events import redis_client
from notifications import announcements, inbox, notify
from notifications.models import Announcement, Notification
from tasks import exports, files, queue, tables, tracking
from tasks.errors import InvalidArguments, NotStartable
from tasks.models import File, Job, State

pytestmark = pytest.mark.django_db(transaction=True)
BOTH = ("announcements.export", "notifications.export")


@pytest.fixture(autouse=True)
def empty_queue() -> Iterable[None]:
    yield
    prefix = current_app.conf.broker_transport_options["global_keyprefix"]
    redis_client.blocking().delete(f"{prefix}{queue.default_queue()}")


def start(owner: User, name: str, **fields: str) -> Job:
    return tracking.prepare(owner, name, {"format": "csv", **fields}).start(owner)


def run(job: Job) -> Job:
    call = queue.unpack(job)
    headers: Any = {queue.JOB: str(job.pk), queue.ATTEMPT: job.attempt}
    current_app.tasks[job.kind].apply(call["args"], call["kwargs"], headers=headers, throw=False)
    job.refresh_from_db()
    return job


def content(job: Job) -> tuple[str, str, str]:
    [file] = File.objects.filter(job=job)
    return file.name, file.type, b"".join(files.read(file)).decode()


def rows(job: Job) -> list[dict[str, str]]:
    return list(csv.DictReader(content(job)[2].splitlines(keepends=True)))


def titles(job: Job) -> list[str]:
    return [row["title"] for row in rows(job)]


@pytest.fixture
def ops(alice: User) -> Group:
    team = Group.objects.create(name="Ops")
    alice.groups.add(team)
    return team


@pytest.fixture
def three(alice: User, bob: User, ops: Group) -> None:
    announcements.create(bob, "To all", "Two\nlines, and a comma")
    announcements.create(bob, "To Ops", team=ops)
    announcements.create(bob, "To Night", team=Group.objects.create(name="Night"))


def test_announcements_as_csv(alice, bob, three):
    job = run(start(alice, "announcements.export"))
    assert (job.state, job.summary) == (State.SUCCEEDED, "2 announcements")
    assert (job.done, job.total) == (2, 2)
    name, kind, _ = content(job)
    assert (name, kind) == ("announcements.csv", "text/csv")
    first, second = rows(job)
    assert list(first) == list(exports.ANNOUNCEMENT)
    assert (first["title"], first["body"]) == ("To all", "Two\nlines, and a comma")
    assert (first["author"], first["team"], first["edited_at"]) == ("bob", "", "")
    assert (second["title"], second["team"]) == ("To Ops", "Ops")


def test_json_lines_are_what_the_api_says(alice, three):
    job = run(start(alice, "announcements.export", format="jsonl"))
    name, kind, text = content(job)
    assert (name, kind) == ("announcements.jsonl", "application/x-ndjson")
    shown = announcements.visible_to(alice).items
    assert [json.loads(line) for line in text.splitlines()] == shown[::-1]


def test_who_left_a_team_meanwhile_gets_nothing_of_it(alice, ops, three):
    job = start(alice, "announcements.export")
    alice.groups.remove(ops)
    assert titles(run(job)) == ["To all"]


def test_who_leaves_in_the_middle_gets_no_more_of_it(alice, bob, ops, three, monkeypatch):
    monkeypatch.setattr(tables, "PAGE", 1)
    items = announcements.items

    def leave(page: list[Announcement]) -> Any:
        alice.groups.remove(ops)
        return items(page)

    monkeypatch.setattr(announcements, "items", leave)
    assert titles(run(start(alice, "announcements.export"))) == ["To all"]


def test_an_announcer_gets_no_more_than_others_and_a_superuser_all(alice, bob, admin, three):
    bob.user_permissions.add(Permission.objects.get(codename="announce"))
    assert titles(run(start(bob, "announcements.export"))) == ["To all"]
    assert len(rows(run(start(admin, "announcements.export")))) == 3


def test_notifications_are_the_own_ones(alice, bob):
    notify(to=[alice, bob], kind="test", title="Both", actor=bob)
    notify(to=[bob], kind="test", title="Bob's")
    inbox.mark_all(alice, 10**9)
    job = run(start(alice, "notifications.export"))
    assert job.summary == "1 notification"
    [row] = rows(job)
    assert list(row) == list(exports.NOTIFICATION)
    assert (row["title"], row["actor"], row["read"]) == ("Both", "bob", "true")
    lines = content(run(start(alice, "notifications.export", format="jsonl")))[2]
    assert json.loads(lines.splitlines()[0]) == inbox.page(alice).items[-1]


def test_only_since_a_day_on_the_owners_clock(alice, bob):
    alice.hub_profile.time_zone = "Asia/Seoul"
    alice.hub_profile.save()
    for title, hour in (("Before", 14), ("After", 15)):
        row = announcements.create(bob, title)
        at = datetime(2026, 11, 1, hour, 30, tzinfo=UTC)  # midnight in Seoul is 15:00 UTC
        Announcement.objects.filter(pk=row.pk).update(created_at=at)
    assert titles(run(start(alice, "announcements.export", since="2026-11-02"))) == ["After"]
    with pytest.raises(InvalidArguments) as refused:
        start(alice, "announcements.export", since="yesterday")
    assert refused.value.fields.keys() == {"since"}


@pytest.mark.parametrize("title", ["=1+1", "+1", "-1", "@sum(a1)", '=HYPERLINK("http://x")'])
def test_no_cell_is_a_formula(alice, bob, title):
    announcements.create(bob, title)
    [row] = rows(run(start(alice, "announcements.export")))
    assert row["title"] == f"'{title}"
    job = run(start(alice, "announcements.export", format="jsonl"))
    assert json.loads(content(job)[2])["title"] == title


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("a=1", "a=1"),
        (-1, "-1"),
        (True, "true"),
        (None, ""),
        ({"id": 1, "username": "@bob", "name": "Bob"}, "'@bob"),
        ({"id": 1, "name": "Ops"}, "Ops"),
    ],
)
def test_cells(value, cell):
    assert tables.cell(value) == cell


def test_excel_is_told_that_it_is_utf_8(alice, bob):
    announcements.create(bob, "안녕하세요")
    name, _, text = content(run(start(alice, "announcements.export", format="excel")))
    assert name == "announcements.csv"
    assert text.startswith("\ufeffid,title")
    assert "안녕하세요" in text


def test_rows_are_read_a_page_at_a_time(alice, monkeypatch):
    notify(to=[alice], kind="test", title="One")
    [one] = Notification.objects.all()
    Notification.objects.bulk_create(
        Notification(recipient=alice, kind="test", title=f"N {n}") for n in range(1999)
    )
    mine = Notification.objects.filter(recipient=alice)
    most = 0

    def items(page: list[Notification]) -> list[dict[str, Any]]:
        nonlocal most
        most = max(most, len(page))
        return inbox.items(page)

    with CaptureQueriesContext(connection) as asked:
        ids = [item["id"] for item in tables.pages(mine, items)]
    assert (most, len(asked)) == (tables.PAGE, 2000 // tables.PAGE + 1)
    assert ids == sorted(set(ids))
    assert len(ids) == 2000
    assert one.pk == ids[0]


@pytest.mark.parametrize("name", BOTH)
def test_any_staff_may_start_them_and_nobody_else(alice, name, settings):
    assert name in [one.name for one in tracking.startable(alice)]
    settings.HUB_IS_STAFF = f"{__name__}.nobody"
    with pytest.raises(NotStartable):
        start(alice, name)


def nobody(user: User) -> bool:
    return False


@pytest.mark.parametrize("name", BOTH)
def test_one_that_nobody_owns_fails_with_a_sentence(name):
    job = run(Job.objects.get(pk=current_app.tasks[name].delay().id))
    assert (job.state, job.error) == (
        State.FAILED,
        "An export is somebody's: start it with `owner`.",
    )
