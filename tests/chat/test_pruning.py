"""What deleted rooms leave behind goes in short bites; everything else stays."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from chat import messages, pruning, rooms, search
from chat.models import BODY_MAX, Membership, Mention, Message, Room
from events import log, topics
from events.models import Event
from events.topics import Topic

pytestmark = pytest.mark.django_db(transaction=True)


def say(user: User, room: Room, body: str) -> Message:
    return messages.post(user, room.pk, uuid.uuid4(), body)[0]


@pytest.fixture
def kept(alice: User, bob: User) -> Room:
    room = rooms.create(alice, "closed", "Kept", members=[bob])
    deleted = say(alice, room, "deleted words")
    messages.delete(alice, room.pk, deleted.pk)
    say(alice, room, "kept words @bob")
    return room


@pytest.fixture
def gone(alice: User, bob: User) -> Room:
    room = rooms.create(alice, "closed", "Gone", members=[bob])
    say(alice, room, "gone words @bob")
    delete_long_ago(room)
    return room


def delete_long_ago(room: Room) -> None:
    rooms.delete(room)
    age(room, pruning.KEPT)


def age(room: Room, by: timedelta) -> None:
    Room.objects.filter(pk=room.pk).update(deleted_at=F("deleted_at") - by)


def test_takes_away_deleted_rooms_whole_and_nothing_else(kept, gone, alice):
    assert pruning.prune() == 2 + 1 + 1  # members, message, room: mentions went at once
    assert list(Room.objects.all()) == [kept]
    assert set(Message.objects.values_list("room", flat=True)) == {kept.pk}
    assert Message.objects.count() == 2
    assert Membership.objects.count() == 2
    assert Mention.objects.count() == 1
    assert [hit.message.room_id for hit in search.search(alice, "words").hits] == [kept.pk]
    assert pruning.prune() == 0


def test_nothing_that_was_said_stays_in_the_log(kept, gone):
    pruning.prune()
    assert not Event.objects.filter(topic=topics.room(gone.pk)).exists()
    assert log.reach([topics.room(gone.pk)])[topics.room(gone.pk)].head > 0
    assert Event.objects.filter(topic=topics.room(kept.pk), data__contains="kept words").exists()


def test_who_comes_back_within_the_hour_hears_of_the_end(alice, bob):
    room = rooms.create(alice, "closed", "Gone", members=[bob])
    pair = (bob.pk, Topic("room", str(room.pk), topics.room(room.pk)))
    rooms.delete(room)
    age(room, pruning.KEPT - timedelta(minutes=1))
    assert pruning.prune() == 0
    assert rooms.ended([pair]) == {pair}
    age(room, timedelta(minutes=1))
    assert pruning.prune() == 3
    assert rooms.ended([pair]) == set()


def test_goes_on_where_it_was_interrupted(kept, gone, monkeypatch):
    monkeypatch.setattr(pruning, "_MESSAGES", 1)
    bites = pruning._bite_by_bite

    def dies(table: str, room_id: int, rows: int) -> int:
        if table == "hub_chat_message":
            raise KeyboardInterrupt
        return bites(table, room_id, rows)

    monkeypatch.setattr(pruning, "_bite_by_bite", dies)
    with pytest.raises(KeyboardInterrupt):
        pruning.prune()
    assert Room.objects.filter(pk=gone.pk).exists()
    monkeypatch.setattr(pruning, "_bite_by_bite", bites)
    pruning.prune()
    assert not Message.objects.filter(room=gone).exists()
    assert not Room.objects.filter(pk=gone.pk).exists()


def _fill(room: Room, author: User, count: int, body: Callable[[int], str]) -> None:
    Message.objects.bulk_create(
        Message(room=room, author=author, client_id=uuid.uuid4(), body=body(n), html="x" * 8000)
        for n in range(count)
    )


def test_no_bite_holds_the_writer_for_long(alice):
    """Of the longest messages, no two characters of which repeat: nothing takes the search index longer."""
    room = rooms.create(alice, "closed", "Gone")
    _fill(
        room,
        alice,
        200,
        lambda n: "".join(chr(0xAC00 + (n * 37 + i * 7) % 11000) for i in range(BODY_MAX)),
    )
    delete_long_ago(room)
    longest = 0.0

    def clock(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal longest
        began = time.process_time() if connection.vendor == "sqlite" else time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            ended = time.process_time() if connection.vendor == "sqlite" else time.perf_counter()
            longest = max(longest, ended - began)

    with connection.execute_wrapper(clock):
        pruning.prune()
    assert not Message.objects.exists()
    assert longest < 0.2


def test_bites_are_transactions_of_their_own(alice, monkeypatch):
    monkeypatch.setattr(pruning, "_MESSAGES", 10)
    room = rooms.create(alice, "closed", "Gone")
    _fill(room, alice, 25, str)
    delete_long_ago(room)
    with CaptureQueriesContext(connection) as taken:
        pruning.prune()
    said = [one["sql"] for one in taken]
    assert sum("DELETE FROM hub_chat_message" in sql for sql in said) == 3
    first = next(n for n, sql in enumerate(said) if "DELETE FROM hub_chat_message" in sql)
    last = max(n for n, sql in enumerate(said) if "DELETE FROM hub_chat_message" in sql)
    assert not any(sql.startswith("BEGIN") for sql in said[first:last])


def test_beat_sends_for_it():
    scheduled = {one["task"] for one in settings.CELERY_BEAT_SCHEDULE.values()}
    assert "chat.tasks.prune" in scheduled
    assert "chat.tasks.prune" in current_app.tasks
