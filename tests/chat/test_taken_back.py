"""What was deleted while the log did not say what its events tell of: its text goes with the migration."""

from __future__ import annotations

import uuid
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection

from chat import messages, rooms
from chat.models import Mention, Message, Room
from events.models import Event
from notifications import inbox, notify
from notifications.models import Notification

pytestmark = pytest.mark.django_db(transaction=True)

migration = import_module("chat.migrations.0005_taken_back")


@pytest.fixture(autouse=True)
def small_bites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "BITE", 2)


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    return rooms.create(alice, "closed", "Night", members=[bob])


def say(user: User, room: Room, body: str) -> Message:
    return messages.post(user, room.pk, uuid.uuid4(), body)[0]


def forget() -> None:
    """As the log was: nothing says what an event tells of."""
    Event.objects.update(about=None)


def delete_as_then(message: Message) -> None:
    Message.objects.filter(pk=message.pk).update(body="", html="", deleted_at=message.created_at)
    Mention.objects.filter(message=message).delete()


def take_back() -> None:
    migration.take_back(apps, connection.schema_editor())


def logged(text: str) -> int:
    return Event.objects.filter(data__contains=text).count()


def test_deleted_texts_go_from_log_inboxes_and_rows_and_others_stay(room, alice, bob):
    gone = [say(alice, room, f"secret {n} @bob") for n in range(3)]
    messages.edit(alice, room.pk, gone[0].pk, "secret anew @bob")
    kept = say(alice, room, "kept @bob")
    notify(to=bob, kind="order.late", title="Late", body="kept secret", key="late")
    notify(to=bob, kind="room.mention", title="Odd", body="somebody's own")
    forget()
    for message in gone:
        delete_as_then(message)
    shape = list(Event.objects.order_by("pk").values_list("pk", "topic", "offset", "type", "at"))
    assert logged("secret ") == 3 + 1 + 2  # the edit took its older text out of the inbox
    take_back()
    assert (logged("secret "), logged("kept @bob")) == (0, 2)
    assert shape == list(
        Event.objects.order_by("pk").values_list("pk", "topic", "offset", "type", "at")
    )
    bodies = Notification.objects.order_by("pk").values_list("kind", "body")
    assert list(bodies) == [
        *[("room.mention", "")] * 3,
        ("room.mention", "kept @bob"),
        ("order.late", "kept secret"),
        ("room.mention", "somebody's own"),
    ]
    assert logged("somebody's own") == 1
    assert inbox.unread(bob) == 6
    state = list(Event.objects.order_by("pk").values())
    take_back()
    assert list(Event.objects.order_by("pk").values()) == state
    messages.delete(alice, room.pk, kept.pk)
    assert logged("kept @bob") == 0  # its older events are found as well


def test_what_a_kill_left_undone_is_done_the_next_time(room, alice, monkeypatch):
    gone = [say(alice, room, f"secret {n}") for n in range(5)]
    forget()
    for message in gone:
        delete_as_then(message)
    encoded = migration._encoded
    left = [3]

    def killed(data: Any) -> str:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return str(encoded(data))

    monkeypatch.setattr(migration, "_encoded", killed)
    with pytest.raises(KeyboardInterrupt):
        take_back()
    assert logged("secret") == 3  # one bite was whole
    monkeypatch.setattr(migration, "_encoded", encoded)
    take_back()
    assert logged("secret") == 0
    assert not Event.objects.filter(type="message.created", about=None).exists()
