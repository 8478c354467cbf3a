"""A room's history as a file: for who asked, while they may read the room."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from chat import exports, messages, rooms
from chat.models import Message, Room
from events import redis_client
from tasks import arguments, files, queue, tables, titles, tracking
from tasks.errors import InvalidArguments
from tasks.models import File, Job, State

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "rooms.export"


@pytest.fixture(autouse=True)
def empty_queue() -> Iterable[None]:
    yield
    prefix = current_app.conf.broker_transport_options["global_keyprefix"]
    redis_client.blocking().delete(f"{prefix}{queue.default_queue()}")


def start(owner: User, room: Room, **fields: str) -> Job:
    asked = {"room": str(room.pk), "format": "csv", **fields}
    return tracking.prepare(owner, NAME, asked).start(owner)


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


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    return rooms.create(alice, "closed", "Deploys", members=[bob])


def say(user: User, room: Room, body: str) -> Message:
    return messages.post(user, room.pk, uuid.uuid4(), body)[0]


def test_a_room_as_csv_oldest_first(alice, bob, room):
    first = say(alice, room, "first, with a comma\nand a line")
    second = say(bob, room, "=1+1")
    third = say(bob, room, "secret")
    messages.edit(alice, room.pk, first.pk, "changed")
    messages.delete(bob, room.pk, third.pk)
    job = run(start(bob, room))
    assert (job.state, job.summary, titles.of(job)) == (
        State.SUCCEEDED,
        "3 messages",
        "Export a room",
    )
    assert (job.done, job.total) == (3, 3)
    name, kind, text = content(job)
    assert (name, kind) == (f"room-{room.pk}.csv", "text/csv")
    assert "secret" not in text
    one, two, three = rows(job)
    assert list(one) == list(exports.COLUMNS)
    assert (one["id"], one["author"], one["body"]) == (str(first.pk), "alice", "changed")
    assert one["edited_at"]
    assert (two["id"], two["author"], two["body"]) == (str(second.pk), "bob", "'=1+1")
    assert (two["edited_at"], two["deleted"]) == ("", "false")
    assert (three["body"], three["deleted"]) == ("", "true")


def test_json_lines_have_the_same_columns(alice, room):
    message = say(alice, room, "안녕하세요 **여러분**")
    job = run(start(alice, room, format="jsonl"))
    item = messages.item(message)
    assert json.loads(content(job)[2]) == {name: item[name] for name in exports.COLUMNS}


def test_only_since_a_day(alice, room):
    for body, day in (("before", 1), ("after", 2)):
        message = say(alice, room, body)
        at = datetime(2026, 11, day, 12, tzinfo=UTC)
        Message.objects.filter(pk=message.pk).update(created_at=at)
    assert [row["body"] for row in rows(run(start(alice, room, since="2026-11-02")))] == ["after"]


def choices(user: User) -> list[str]:
    definition = tracking.startable_named(user, NAME)
    described = arguments.described(tracking.form_of(definition, user))
    [offered] = [one["choices"] for one in described if one["name"] == "room"]
    return [one["label"] for one in offered]


def test_offers_the_rooms_that_one_may_read(alice, bob, charlie, admin, room):
    rooms.create(alice, "open", "All")
    rooms.direct(alice, [charlie])
    assert choices(alice) == ["All", "charlie", "Deploys"]
    assert choices(bob) == ["All", "Deploys"]
    assert choices(charlie) == ["alice", "All"]
    assert choices(admin) == ["All"]


def test_what_one_may_not_read_is_no_choice(charlie, admin, room):
    for user in (charlie, admin):
        with pytest.raises(InvalidArguments) as refused:
            start(user, room)
        assert refused.value.fields.keys() == {"room"}


def failed(job: Job) -> None:
    assert (job.state, job.error) == (
        State.FAILED,
        "There is no such room, or you may not read it any more.",
    )
    assert not File.objects.filter(job=job).exists()


def test_who_is_removed_before_it_runs_gets_nothing(alice, bob, room):
    say(alice, room, "secret")
    job = start(bob, room)
    rooms.remove(room, bob, by=alice)
    failed(run(job))


def test_of_a_deleted_room_nothing_is_left(alice, room):
    say(alice, room, "secret")
    job = start(alice, room)
    rooms.delete(room)
    failed(run(job))


def test_who_is_removed_in_the_middle_gets_nothing(alice, bob, room, monkeypatch):
    monkeypatch.setattr(tables, "PAGE", 1)
    for body in ("one", "two", "three"):
        say(alice, room, body)
    items = messages.items

    def leave(page: Sequence[Message]) -> list[dict[str, Any]]:
        rooms.remove(room, bob, by=alice)
        return items(page)

    monkeypatch.setattr(messages, "items", leave)
    failed(run(start(bob, room)))


def test_the_file_is_its_owners_alone(alice, bob, admin, room):
    say(alice, room, "secret")
    job = run(start(bob, room))
    [file] = File.objects.filter(job=job)
    addresses = (f"/jobs/{job.pk}/files/{file.pk}/", f"/api/v1/jobs/{job.pk}/files/{file.pk}")
    for user, status in ((bob, 200), (alice, 404), (admin, 404)):
        client = Client()
        client.force_login(user)
        assert [client.get(address).status_code for address in addresses] == [status, status]


def test_rows_are_read_a_page_at_a_time(alice, room, monkeypatch):
    Message.objects.bulk_create(
        Message(room=room, author=alice, client_id=uuid.uuid4(), body=f"N {n}", html="")
        for n in range(2000)
    )
    most = 0
    items = messages.items

    def measured(page: Sequence[Message]) -> list[dict[str, Any]]:
        nonlocal most
        most = max(most, len(page))
        return items(page)

    monkeypatch.setattr(messages, "items", measured)
    job = start(alice, room)
    with CaptureQueriesContext(connection) as asked:
        run(job)
    assert job.summary == "2,000 messages"
    assert most == tables.PAGE
    read = [one["sql"] for one in asked if 'FROM "hub_chat_message"' in one["sql"]]
    assert len(read) == 2000 // tables.PAGE + 2  # how many there are; the pages; the end
    assert [row["body"] for row in rows(job)] == [f"N {n}" for n in range(2000)]
