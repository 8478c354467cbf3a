"""What a deleted room's mentions told is gone with it, and titles are in the language of whoever reads them."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.utils import translation

from accounts import profiles
from chat import mentions, messages, rooms
from chat.models import Mention, Message, Room
from chat.tasks import take_back_left_behind
from events import topics
from events.models import Event
from notifications import inbox, notifying
from notifications.models import Inbox, Letter, Notification
from tests.chat.test_rooms import told
from tests.notifications.test_api import calls
from tests.people import person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    return rooms.create(alice, "closed", "Night", members=[bob])


def say(user: User, room: Room, body: str) -> Message:
    return messages.post(user, room.pk, uuid.uuid4(), body)[0]


def is_logged(user: User, text: str) -> bool:
    return Event.objects.filter(topic=topics.user(user.pk), data__contains=text).exists()


# --- Of a deleted room -----------------------------------------------------------------------------------------------


def test_who_deletes_a_room_takes_back_what_its_mentions_told(room, alice, bob):
    kept = rooms.create(alice, "closed", "Kept", members=[bob])
    say(alice, kept, "kept words @bob")
    for n in range(3):
        say(alice, room, f"secret {n} @bob")
    status, _answer = calls(alice)("DELETE", f"/rooms/{room.pk}")
    assert status == 204
    _status, shown = calls(bob)("GET", "/inbox")
    assert [item["body"] for item in shown["items"]] == ["kept words @bob"]
    assert shown["unread"] == inbox.unread(bob) == 1
    assert not is_logged(bob, "secret")
    assert is_logged(bob, "kept words")
    kind, data = told(topics.user(bob.pk))[-1]
    assert (kind, len(data["ids"]), data["unread"]) == ("notification.removed", 3, 1)
    assert Mention.objects.get().room_id == kept.pk


def test_what_is_on_its_way_goes_with_the_room(room, alice, bob, monkeypatch):
    kept = rooms.create(alice, "closed", "Kept", members=[bob])
    monkeypatch.setattr(notifying, "_deliver_waiting", lambda: None)  # the process dies there
    say(alice, kept, "kept @bob")
    say(alice, room, "secret @bob")
    rooms.delete(room)
    assert [letter.body for letter in Letter.objects.all()] == ["kept @bob"]
    assert not Event.objects.filter(topic=topics.user(bob.pk), data__contains="secret").exists()


def test_who_is_told_while_the_room_is_deleted_keeps_nothing(room, alice, bob, monkeypatch):
    store = notifying._store
    stored, deleting = threading.Event(), threading.Event()

    def slowly(*args: Any) -> int:
        count = store(*args)
        stored.set()
        deleting.wait(10)
        time.sleep(0.3)  # by then it waits for the letter; quicker than that, the test would pass
        return count

    def delete() -> None:
        stored.wait(10)
        deleting.set()
        try:
            rooms.delete(room)
        finally:
            connection.close()

    monkeypatch.setattr(notifying, "_store", slowly)
    with ThreadPoolExecutor(1) as pool:
        deleted = pool.submit(delete)
        say(alice, room, "gone @bob")
        deleted.result()
    assert not Notification.objects.exists()
    assert not Letter.objects.exists()
    assert inbox.unread(bob) == 0


def test_a_room_that_is_not_deleted_after_all_keeps_its_mentions(room, alice, bob):
    say(alice, room, "kept @bob")
    with transaction.atomic():
        rooms.delete(room)
        transaction.set_rollback(True)
    assert take_back_left_behind() == 0
    assert inbox.unread(bob) == Mention.objects.count() == 1


@pytest.mark.parametrize("left_by", ["a large room", "a process that died"])
def test_the_sweeper_takes_back_what_is_left(room, alice, bob, monkeypatch, left_by):
    kept = rooms.create(alice, "closed", "Kept", members=[bob])
    say(alice, kept, "kept @bob")
    monkeypatch.setattr(mentions, "_BITE", 2)
    monkeypatch.setattr(mentions, "AT_ONCE", 2 if left_by == "a large room" else 0)
    for n in range(5):
        say(alice, room, f"secret {n} @bob")
    rooms.delete(room)
    left = 3 if left_by == "a large room" else 5
    assert Mention.objects.filter(room=room).count() == inbox.unread(bob) - 1 == left
    assert take_back_left_behind() == left
    assert inbox.unread(bob) == 1
    assert not is_logged(bob, "secret")
    assert take_back_left_behind() == 0


def test_beat_sends_for_what_is_left():
    scheduled = {one["task"] for one in settings.CELERY_BEAT_SCHEDULE.values()}
    assert "chat.tasks.take_back_left_behind" in scheduled
    assert "chat.tasks.take_back_left_behind" in current_app.tasks


def fill(room: Room, author: User, people: list[User], count: int) -> None:
    """So many messages, each naming all of these people, and all of them told; in few statements."""
    for start in range(0, count, 500):
        said = Message.objects.bulk_create(
            Message(
                room=room, author=author, client_id=uuid.uuid4(), body="x" * 200, html="x" * 200
            )
            for _ in range(start, min(start + 500, count))
        )
        Mention.objects.bulk_create(
            Mention(message=one, room=room, user=who) for one in said for who in people
        )
        notifying._open_inboxes([who.pk for who in people])
        for one in said:
            draft = notifying.draft(
                kind=mentions.MENTIONED,
                title="alice mentioned you in Night",
                body=one.body,
                actor=author,
                key=mentions.key_of(one.pk),
            )
            notifying.deliver([(draft, people)])


def test_no_bite_holds_the_writer_for_long(room, alice):
    people = [person(f"p{n}") for n in range(20)]
    fill(room, alice, people, 20)
    begun: list[float] = []
    longest = 0.0

    def clock(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal longest
        now = time.process_time() if connection.vendor == "sqlite" else time.perf_counter()
        if sql.startswith("BEGIN") or (not begun and not sql.startswith("COMMIT")):
            begun[:] = [now]
        try:
            return execute(sql, params, many, context)
        finally:
            now = time.process_time() if connection.vendor == "sqlite" else time.perf_counter()
            longest = max(longest, now - begun[0])
            if not connection.in_atomic_block:
                begun.clear()

    with connection.execute_wrapper(clock):
        for _ in range(400 // mentions._BITE):
            begun.clear()
            mentions.take_back(room.pk, mentions._BITE)
    assert not Mention.objects.exists()
    assert not Notification.objects.exists()
    assert Inbox.objects.filter(unread__gt=0).count() == 0
    assert longest < 0.2


# --- In which language -----------------------------------------------------------------------------------------------


def reader(user: User, accepts: str) -> Client:
    client = Client(headers={"Accept-Language": accepts})
    client.force_login(user)
    return client


@pytest.mark.parametrize(
    ("chosen", "accepts", "title"),
    [
        ("", "ko", "alice님이 Night에서 나를 언급했어요"),
        ("", "en", "alice mentioned you in Night"),
        ("", "", "alice mentioned you in Night"),
        ("en", "ko", "alice mentioned you in Night"),
        ("ko", "en", "alice님이 Night에서 나를 언급했어요"),
    ],
)
def test_a_title_is_in_the_language_of_who_reads_it(room, alice, bob, chosen, accepts, title):
    say(alice, room, "hello @bob")
    profile = profiles.of(bob)
    profile.language = chosen
    profile.save()
    client = reader(bob, accepts)
    assert client.get("/api/v1/inbox").json()["items"][0]["title"] == title
    for page in ("/inbox/", "/", f"/inbox/{Notification.objects.get().pk}/"):
        assert title in client.get(page).content.decode()


def test_who_chooses_another_language_reads_the_old_titles_in_it(room, alice, bob):
    direct, _is_new = rooms.direct(alice, [bob])
    profile = profiles.of(bob)
    for language in ("ko", "en"):
        profile.language = language
        profile.save()
        for where in (room, direct):
            say(alice, where, "hello @bob")
    for language, titles in {
        "en": {"alice mentioned you in Night", "alice mentioned you"},
        "ko": {"alice님이 Night에서 나를 언급했어요", "alice님이 나를 언급했어요"},
    }.items():
        with translation.override(language):
            assert {item["title"] for item in inbox.page(bob).items} == titles


def test_other_titles_stay_as_they_are(alice, bob):
    title = "alice mentioned you in Night"
    notifying.notify(to=bob, kind="orders.late", title=title)
    notifying.notify(to=bob, kind=mentions.MENTIONED, title="Something else")
    with translation.override("ko"):
        assert [item["title"] for item in inbox.page(bob).items] == ["Something else", title]
