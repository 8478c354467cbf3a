"""Posting once, changing and deleting, and who is told of being named."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from accounts.models import Profile
from chat import mentions, messages, rooms
from chat.errors import InvalidChat, NoSuchMessage, NoSuchRoom, NotPossible
from chat.messages import Draft
from chat.models import BODY_MAX, Membership, Mention, Message, Room
from events import log, topics
from events.models import Event
from notifications import inbox, notifying
from notifications.models import Letter, Notification
from tests.chat.test_rooms import told, types, undone
from tests.notifications.test_api import calls
from tests.people import person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    return rooms.create(alice, "closed", "Night", members=[bob])


def say(user: User, room: Room, body: str = "hello") -> Message:
    return messages.post(user, room.pk, uuid.uuid4(), body)[0]


def chatter(room: Room, user: User) -> None:
    """Ten messages, on a thread."""
    try:
        for n in range(10):
            say(user, room, f"{n}")
    finally:
        connection.close()


def change(user: User, room_id: int, message_id: int) -> Message:
    return messages.edit(user, room_id, message_id, "changed")


def notices(user: User) -> list[str]:
    return [row.title for row in inbox.page(user).notifications]


# --- Posting -------------------------------------------------------------------------------------------------------


def test_a_message_is_stored_shown_and_told(room, alice):
    client_id = uuid.uuid4()
    message, is_new = messages.post(alice, room.pk, client_id, "  hello *you*  ")
    assert is_new
    assert messages.item(message) == {
        "id": message.pk,
        "room": room.pk,
        "author": {"id": alice.pk, "name": "alice", "username": "alice"},
        "body": "hello *you*",
        "html": '<p dir="auto">hello <em>you</em></p>',
        "mentions": [],
        "client_id": str(client_id),
        "at": log.rfc3339(message.created_at),
        "edited_at": None,
        "deleted": False,
    }
    assert told(topics.room(room.pk))[-1] == ("message.created", messages.item(message))
    assert Room.objects.get(pk=room.pk).last_message == message.pk


def test_the_same_client_id_again_is_the_same_message(room, alice, bob):
    client_id = uuid.uuid4()
    first, _is_new = messages.post(alice, room.pk, client_id, "hello @bob")
    assert messages.post(alice, room.pk, client_id, "changed my mind") == (first, False)
    rooms.edit(room, alice, archived=True)
    assert messages.post(alice, room.pk, client_id, "") == (first, False)
    assert types(topics.room(room.pk)).count("message.created") == 1
    assert len(notices(bob)) == 1


def test_a_client_id_is_of_one_person_in_one_room(room, alice, bob):
    client_id = uuid.uuid4()
    other = rooms.create(alice, "open", "Other")
    posted = [
        messages.post(alice, room.pk, client_id, "one"),
        messages.post(bob, room.pk, client_id, "two"),
        messages.post(alice, other.pk, client_id, "three"),
    ]
    assert [is_new for _message, is_new in posted] == [True, True, True]


def test_of_many_attempts_at_once_one_is_stored(room, alice, bob):
    client_id = uuid.uuid4()
    together = threading.Barrier(4)

    def attempt(_n: int) -> tuple[Message, bool]:
        together.wait(10)
        try:
            return messages.post(alice, room.pk, client_id, "hello @bob")
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        posted = list(pool.map(attempt, range(4)))
    assert len({message.pk for message, _is_new in posted}) == 1
    assert sorted(is_new for _message, is_new in posted) == [False, False, False, True]
    assert types(topics.room(room.pk)).count("message.created") == 1
    assert len(notices(bob)) == 1


def test_ids_and_offsets_of_a_room_rise_together(room, alice, bob):
    charlie = person("charlie")
    rooms.invite(room, [charlie], by=alice)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(partial(chatter, room), (alice, bob, charlie)))
    ids = [data["id"] for kind, data in told(topics.room(room.pk)) if kind == "message.created"]
    assert len(ids) == 30
    assert ids == sorted(ids)
    assert Room.objects.get(pk=room.pk).last_message == ids[-1]


@pytest.mark.parametrize(
    "body",
    [
        "",
        " \n\t ",
        " \u200b ",
        "\u3164",
        "\u2800\u034f",
        "x" * (BODY_MAX + 1),
        "@bob " * (BODY_MAX // 5),
    ],
)
def test_a_text_that_cannot_be_said_is_refused_and_leaves_nothing(room, alice, body):
    before = types(topics.room(room.pk))
    with pytest.raises(InvalidChat) as refusal:
        say(alice, room, body)
    assert refusal.value.field == "body"
    assert not Message.objects.exists()
    assert Room.objects.get(pk=room.pk).last_message == 0
    assert types(topics.room(room.pk)) == before
    message = say(alice, room)
    with pytest.raises(InvalidChat):
        messages.edit(alice, room.pk, message.pk, body)
    assert Message.objects.get().body == "hello"


def test_the_longest_text_fits(room, alice):
    for letter in ("x", "&", "가", "😀"):
        assert len(say(alice, room, letter * BODY_MAX).body) == BODY_MAX


def test_what_is_rolled_back_leaves_nothing(room, alice, bob):
    before = types(topics.room(room.pk)), types(topics.user(bob.pk))
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        say(alice, room, "hello @bob")
        raise ZeroDivisionError
    for model in (Message, Mention, Letter, Notification):
        assert not model._default_manager.exists()
    assert (types(topics.room(room.pk)), types(topics.user(bob.pk))) == before
    assert rooms.item(rooms.find(bob, room.pk), bob)["unread"] == 0


# --- Posting at once ----------------------------------------------------------------------------------------------


def draft(user: User, room: Room, body: str = "hello", client_id: uuid.UUID | None = None) -> Draft:
    return Draft(user.pk, room.pk, client_id or uuid.uuid4(), body)


def test_many_at_once_are_stored_and_told_as_each_alone_would_be(
    room, alice, bob, django_assert_max_num_queries
):
    direct, _is_new = rooms.direct(alice, [bob])
    both = [room, direct] * 20
    drafts = [draft(who, at, f" *{n}* ") for n, at in enumerate(both) for who in (alice, bob)]
    with django_assert_max_num_queries(20):
        said = messages.post_many(drafts)
    assert list(said) == drafts
    for at in (room, direct):
        rows = list(Message.objects.filter(room=at).order_by("pk"))
        assert [said[one] for one in drafts if one.room == at.pk] == messages.items(rows)
        created = [data for kind, data in told(topics.room(at.pk)) if kind == "message.created"]
        assert created == messages.items(rows)
        present = Room.objects.get(pk=at.pk)
        assert (present.last_message, present.active_at) == (rows[-1].pk, rows[-1].created_at)
    assert said[drafts[0]]["html"] == '<p dir="auto"><em>0</em></p>'


@pytest.mark.parametrize(
    "body", ["hello @bob", "", " \u200b ", "x" * (BODY_MAX + 1), "&" * BODY_MAX, "가" * BODY_MAX]
)
def test_a_text_that_asks_for_more_than_to_be_stored_is_left_to_post(room, alice, body):
    other = draft(alice, room)
    assert list(messages.post_many([draft(alice, room, body), other])) == [other]


def test_who_is_not_simply_in_the_room_is_left_to_post(room, alice, bob, charlie):
    everybodys = rooms.create(alice, "open", "News")
    archived, deleted = (rooms.create(alice, "closed", name) for name in ("Old", "Gone"))
    rooms.edit(archived, alice, archived=True)
    rooms.delete(deleted)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    fine = draft(alice, room)
    theirs = [draft(charlie, room), draft(charlie, everybodys), draft(bob, room)]
    gone = [
        draft(alice, archived),
        draft(alice, deleted),
        Draft(alice.pk, 10**9, uuid.uuid4(), "x"),
    ]
    assert list(messages.post_many([*theirs, fine, *gone])) == [fine]
    assert messages.post_many([]) == {}
    assert Message.objects.count() == 1


def test_what_was_said_already_is_left_to_post(room, alice, bob):
    client_id = uuid.uuid4()
    first, _is_new = messages.post(alice, room.pk, client_id, "hello")
    again, others = draft(alice, room, client_id=client_id), draft(bob, room, client_id=client_id)
    twice = draft(bob, room, "hello, hello", client_id=client_id)
    assert list(messages.post_many([again, others, twice])) == [others]
    assert messages.post(alice, room.pk, client_id, "hello") == (first, False)
    assert types(topics.room(room.pk)).count("message.created") == 2


def test_who_is_removed_before_the_room_is_held_says_nothing(room, alice, bob, monkeypatch):
    hold = rooms.hold_in_use

    def removed_before(room_ids: Collection[int]) -> set[int]:
        rooms.remove(room, bob, by=alice)
        return hold(room_ids)

    monkeypatch.setattr(rooms, "hold_in_use", removed_before)
    assert messages.post_many([draft(bob, room)]) == {}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer")
def test_a_room_that_somebody_holds_keeps_nobody_waiting_in_others(room, alice, bob):
    other, _is_new = rooms.direct(alice, [bob])
    is_held, is_over = threading.Event(), threading.Event()

    def keep() -> None:
        try:
            with transaction.atomic():
                rooms.hold(room.pk)
                is_held.set()
                assert is_over.wait(20)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        keeping = pool.submit(keep)
        assert is_held.wait(10)
        try:
            both = [draft(alice, room), draft(alice, other)]
            assert messages.post_many(both) == {}
            assert list(messages.post_many(both[1:])) == both[1:]
        finally:
            is_over.set()
        keeping.result(10)
    assert list(messages.post_many(both[:1])) == both[:1]


def test_ids_and_offsets_rise_together_when_posts_at_once_meet_others(room, alice, bob):
    direct, _is_new = rooms.direct(alice, [bob])

    def at_once(user: User) -> None:
        try:
            for n in range(10):
                said = [draft(user, at, f"{n}") for at in (direct, room)]
                assert list(messages.post_many(said)) == said
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        for done in [
            pool.submit(at_once, alice),
            pool.submit(at_once, bob),
            pool.submit(chatter, room, bob),
        ]:
            done.result()
    for at, many in ((room, 30), (direct, 20)):
        ids = [data["id"] for kind, data in told(topics.room(at.pk)) if kind == "message.created"]
        assert len(ids) == many
        assert ids == sorted(ids)
        assert Room.objects.get(pk=at.pk).last_message == ids[-1]


# --- Changing and deleting -----------------------------------------------------------------------------------------

EDIT: Final = ("PATCH", {"body": "changed"})
DELETE: Final = ("DELETE", None)
WHO: Final = ("author", "owner", "member", "outsider", "superuser")
"""bob says it, alice has the room, charlie is in it, dora and admin are not."""
RIGHTS: Final = {
    #                 author owner member outsider superuser
    ("open", "PATCH"):    (200, 403, 403, 403, 403),
    ("open", "DELETE"):   (200, 200, 403, 403, 200),
    ("closed", "PATCH"):  (200, 403, 403, 404, 404),
    ("closed", "DELETE"): (200, 200, 403, 404, 200),
    ("direct", "PATCH"):  (200, 403, 403, 404, 404),
    ("direct", "DELETE"): (200, 403, 403, 404, 200),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["open", "closed", "direct"])
@pytest.mark.parametrize(("method", "body"), [EDIT, DELETE])
def test_rights_over_a_message_are_the_reviewed_table(
    alice, bob, charlie, admin, kind, method, body
):
    if kind == "direct":
        room, _is_new = rooms.direct(alice, [bob, charlie])
    else:
        room = rooms.create(alice, kind, "Night", members=[bob, charlie])
    path = f"/rooms/{room.pk}/messages/{say(bob, room).pk}"
    people = (bob, alice, charlie, person("dora"), admin)
    found = tuple(undone(calls(user), method, path, body) for user in people)
    assert found == RIGHTS[kind, method]


def test_an_edit_is_shown_and_told_once(room, alice, bob):
    message = say(alice, room)
    edited = messages.edit(alice, room.pk, message.pk, "hello **you**")
    item = messages.item(edited)
    assert (item["body"], item["html"]) == (
        "hello **you**", '<p dir="auto">hello <strong>you</strong></p>',
    )  # fmt: skip
    assert item["edited_at"] is not None
    assert item["at"] == messages.item(message)["at"]
    messages.edit(alice, room.pk, message.pk, "hello **you**")
    assert [one for one in told(topics.room(room.pk)) if one[0] == "message.updated"] == [
        ("message.updated", {**item, "mentioned_before": []})
    ]


def test_a_deleted_message_leaves_a_trace_without_its_text(room, alice, bob):
    message = say(alice, room, "secret @bob")
    messages.edit(alice, room.pk, message.pk, "secret plans @bob")
    messages.delete(alice, room.pk, message.pk)
    messages.delete(alice, room.pk, message.pk)
    row = Message.objects.get()
    assert (row.body, row.html) == ("", "")
    item = messages.item(row)
    assert (item["id"], item["deleted"], item["mentions"]) == (message.pk, True, [])
    assert item["edited_at"] is not None
    deletions = [one for one in told(topics.room(room.pk)) if one[0] == "message.deleted"]
    assert deletions == [("message.deleted", {**item, "mentioned_before": [bob.pk]})]
    assert [each["id"] for each in messages.page(room).items] == [message.pk]
    with pytest.raises(NotPossible):
        messages.edit(alice, room.pk, message.pk, "again")
    assert messages.post(alice, room.pk, message.client_id, "again")[1] is False


def test_nothing_of_a_deleted_text_is_left_in_the_log_either(room, alice, bob):
    gone, kept = say(alice, room, "secret @bob"), say(alice, room, "no secret @bob")
    messages.edit(alice, room.pk, gone.pk, "secret plans @bob")
    before = types(topics.room(room.pk))
    messages.delete(alice, room.pk, gone.pk)
    found = told(topics.room(room.pk))
    assert types(topics.room(room.pk)) == [*before, "message.deleted"]
    assert [data["body"] for kind, data in found if kind.startswith("message.")] == [
        "", kept.body, "", "",
    ]  # fmt: skip
    assert [data["mentions"] for kind, data in found if kind.startswith("message.")] == [
        [bob.pk], [bob.pk], [bob.pk], [],
    ]  # fmt: skip
    left = Event.objects.filter(data__contains="secret")
    assert set(left.values_list("about", flat=True)) == {
        f"message:{kept.pk}", f"notification:{inbox.page(bob).notifications[0].pk}",
    }  # fmt: skip
    offsets = [event.offset for event in log.after(topics.room(room.pk), 0, 100)]
    assert offsets == list(range(1, len(offsets) + 1))


def test_a_message_is_found_in_its_own_room_alone(room, alice, bob):
    other = rooms.create(alice, "open", "Other")
    message = say(alice, other)
    for act in (messages.delete, change):
        with pytest.raises(NoSuchMessage):
            act(alice, room.pk, message.pk)
    with pytest.raises(NoSuchMessage):
        messages.around(room, message.pk)


def test_who_is_out_can_change_nothing_more(room, alice, bob):
    message = say(bob, room)
    rooms.remove(room, bob, by=alice)
    for act in (messages.delete, change):
        with pytest.raises(NoSuchRoom):
            act(bob, room.pk, message.pk)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Have something happen once, after a text was drawn and before its room is held."""

    def happens(act: Callable[[], Any]) -> None:
        drawn = messages._rendered

        def then(room: Room, body: str) -> Any:
            found = drawn(room, body)
            monkeypatch.setattr(messages, "_rendered", drawn)
            act()
            return found

        monkeypatch.setattr(messages, "_rendered", then)

    return happens


def test_who_is_removed_while_they_change_something_changes_nothing(room, alice, bob, meanwhile):
    message = say(bob, room)
    meanwhile(lambda: rooms.remove(room, bob, by=alice))
    with pytest.raises(NoSuchRoom):
        change(bob, room.pk, message.pk)
    assert Message.objects.get().body == "hello"


def test_who_is_removed_while_they_delete_deletes_nothing(room, alice, bob, monkeypatch):
    message = say(bob, room)
    hold = rooms.hold

    def removed_before(room_id: int) -> Room:
        monkeypatch.setattr(rooms, "hold", hold)
        rooms.remove(room, bob, by=alice)
        return hold(room_id)

    monkeypatch.setattr(rooms, "hold", removed_before)
    with pytest.raises(NoSuchRoom):
        messages.delete(bob, room.pk, message.pk)
    assert Message.objects.get().body == "hello"


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("how", ["removed", "closed"])
def test_who_loses_a_room_while_somebody_names_them_there_is_not_named(
    alice, bob, meanwhile, how, edited
):
    room = rooms.create(alice, "open", "Night", members=[bob] if how == "removed" else [])
    if how == "removed":
        rooms.edit(room, alice, kind="closed")
    before = say(alice, room)
    if how == "removed":
        meanwhile(lambda: rooms.remove(room, bob, by=alice))
    else:
        meanwhile(lambda: rooms.edit(room, alice, kind="closed"))
    if edited:
        message = messages.edit(alice, room.pk, before.pk, "secret @bob @alice")
    else:
        message = say(alice, room, "secret @bob @alice")
    assert notices(bob) == []
    assert messages.item(message)["mentions"] == []
    assert f'data-user="{bob.pk}"' not in message.html
    assert f'data-user="{alice.pk}"' in message.html


# --- Pages ---------------------------------------------------------------------------------------------------------


def test_pages_go_on_without_hole_or_repeat_in_both_directions(room, alice):
    ids = [say(alice, room, f"{n}").pk for n in range(11)]
    say(alice, rooms.create(alice, "open", "Other"))
    down: list[int] = []
    page = messages.page(room, limit=3)
    assert page.newer is None
    while True:
        down += [row.pk for row in page.messages]
        if page.older is None:
            break
        page = messages.page(room, before=page.older, limit=3)
    assert down == ids[::-1]
    up: list[int] = []
    page = messages.page(room, after=ids[0], limit=3)
    while True:
        up += [row.pk for row in reversed(page.messages)]
        if page.newer is None:
            break
        page = messages.page(room, after=page.newer, limit=3)
    assert up == ids[1:]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 50])
@pytest.mark.parametrize("at", [0, 1, 5, 9, 10])
def test_a_message_stands_amid_its_neighbours(room, alice, at, limit):
    ids = [say(alice, room, f"{n}").pk for n in range(11)]
    page = messages.around(room, ids[at], limit)
    shown = [row.pk for row in page.messages]
    half = limit // 2
    assert shown == ids[max(0, at - half) : at + half + 1][::-1]
    assert page.older == (shown[-1] if shown[-1] != ids[0] else None)
    assert page.newer == (shown[0] if shown[0] != ids[-1] else None)


# --- Who is named --------------------------------------------------------------------------------------------------


def test_whoever_is_named_is_told_once_and_only_if_they_may_read_it(room, alice, bob, charlie):
    message = say(alice, room, "hello @bob @bob @charlie @nobody @alice")
    assert messages.item(message)["mentions"] == [bob.pk]
    assert notices(bob) == ["alice mentioned you in Night"]
    assert notices(charlie) == notices(alice) == []
    item = inbox.page(bob).items[0]
    assert (item["kind"], item["url"], item["actor"]["username"]) == (
        mentions.MENTIONED, f"/rooms/{room.pk}/at/{message.pk}/", "alice",
    )  # fmt: skip
    assert "data-user" in message.html
    assert f'data-user="{charlie.pk}"' not in message.html


def test_each_is_told_in_their_own_language(room, alice, bob):
    seoyeon, minho = person("seoyeon"), person("minho")
    Profile.objects.filter(user__in=[seoyeon, minho]).update(language="ko")
    rooms.invite(room, [seoyeon, minho], by=alice)
    say(alice, room, "hello @bob @seoyeon @minho")
    assert notices(bob) == ["alice mentioned you in Night"]
    assert notices(seoyeon) == notices(minho) == ["alice님이 Night에서 나를 언급했어요"]


def test_in_an_open_room_everybody_may_be_named(alice, charlie):
    room = rooms.create(alice, "open", "Night")
    say(alice, room, "where is @charlie")
    assert notices(charlie) == ["alice mentioned you in Night"]
    assert rooms.item(room, charlie)["mentions"] == 0  # who is not in has no counts


def test_in_a_direct_room_no_name_of_a_room_is_told(alice, bob):
    room, _is_new = rooms.direct(alice, [bob])
    say(alice, room, "hello @bob")
    assert notices(bob) == ["alice mentioned you"]


def test_whoever_muted_the_room_is_not_told(room, alice, bob):
    rooms.involve(room, bob, "nothing")
    message = say(alice, room, "hello @bob")
    assert notices(bob) == []
    assert messages.item(message)["mentions"] == [bob.pk]
    rooms.involve(room, bob, "mentions")
    messages.edit(alice, room.pk, message.pk, "hello again @bob")
    assert notices(bob) == ["alice mentioned you in Night"]


def test_somebody_who_is_no_active_staff_is_not_told(room, alice, bob):
    User.objects.filter(pk=bob.pk).update(is_active=False)
    message = say(alice, room, "hello @bob")
    assert messages.item(message)["mentions"] == []
    assert not Notification.objects.exists()


def test_an_edit_that_names_somebody_tells_them_once(room, alice, bob):
    charlie = person("charlie")
    rooms.invite(room, [charlie], by=alice)
    message = say(alice, room, "hello @bob")
    edited = messages.edit(alice, room.pk, message.pk, "hello @bob and @charlie")
    assert messages.item(edited)["mentions"] == [bob.pk, charlie.pk]
    messages.edit(alice, room.pk, message.pk, "hello @charlie")
    assert (len(notices(bob)), len(notices(charlie))) == (0, 1)
    messages.edit(alice, room.pk, message.pk, "hello @bob and @charlie!")
    assert len(notices(bob)) == len(notices(charlie)) == 1
    assert types(topics.user(charlie.pk)).count("notification.created") == 1
    before = [
        data["mentioned_before"]
        for kind, data in told(topics.room(room.pk))
        if kind == "message.updated"
    ]
    assert before == [[bob.pk], [bob.pk, charlie.pk], [charlie.pk]]


@pytest.mark.parametrize("on_its_way", [False, True])
def test_what_is_edited_away_is_edited_away_in_inboxes_and_their_log(
    room, alice, bob, monkeypatch, on_its_way
):
    charlie = person("charlie")
    rooms.invite(room, [charlie], by=alice)
    with monkeypatch.context() as patched:
        if on_its_way:
            patched.setattr(notifying, "_deliver_waiting", lambda: None)
        message = say(alice, room, "secret @bob @charlie")
        messages.edit(alice, room.pk, message.pk, "harmless @charlie")
    notifying.deliver_left_behind()
    assert notices(bob) == []
    assert [item["body"] for item in inbox.page(charlie).items] == ["harmless @charlie"]
    assert (inbox.unread(bob), inbox.unread(charlie)) == (0, 1)
    for user in (bob, charlie):
        assert not Event.objects.filter(
            topic=topics.user(user.pk), data__contains="secret"
        ).exists()


def test_what_is_deleted_leaves_no_notification(room, alice, bob):
    kept, gone = say(alice, room, "kept @bob"), say(alice, room, "gone @bob")
    messages.delete(alice, room.pk, gone.pk)
    urls = [item["url"] for item in inbox.page(bob).items]
    assert urls == [f"/rooms/{room.pk}/at/{kept.pk}/"]
    kind, data = told(topics.user(bob.pk))[-1]
    assert (kind, data["unread"]) == ("notification.removed", 1)
    assert inbox.unread(bob) == 1


def test_who_has_not_been_told_yet_is_not_told_of_what_was_deleted_meanwhile(
    room, alice, bob, monkeypatch
):
    monkeypatch.setattr(notifying, "_deliver_waiting", lambda: None)  # the process dies there
    kept, gone = say(alice, room, "kept @bob"), say(alice, room, "gone @bob")
    messages.delete(alice, room.pk, gone.pk)
    assert notifying.deliver_left_behind() == 1
    urls = [item["url"] for item in inbox.page(bob).items]
    assert urls == [f"/rooms/{room.pk}/at/{kept.pk}/"]


@pytest.mark.parametrize("how", ["removed", "deleted", "unnamed"])
def test_what_was_left_behind_is_delivered_to_who_is_still_named_and_reads_the_room(
    room, alice, bob, monkeypatch, how
):
    charlie = person("charlie")
    rooms.invite(room, [charlie], by=alice)
    with monkeypatch.context() as patched:
        patched.setattr(notifying, "_deliver_waiting", lambda: None)  # the process dies there
        message = say(alice, room, "secret @bob @charlie")
    if how == "removed":
        rooms.remove(room, bob, by=alice)
    elif how == "deleted":
        rooms.delete(room)
    else:
        Mention.objects.filter(message=message, user=bob).delete()
    assert notifying.deliver_left_behind() == (0 if how == "deleted" else 1)
    assert notices(bob) == []
    assert len(notices(charlie)) == (0 if how == "deleted" else 1)
    assert not Letter.objects.exists()


def test_what_is_deleted_while_somebody_is_told_of_it_leaves_no_notification(
    room, alice, bob, monkeypatch
):
    store = notifying._store
    stored, deleting = threading.Event(), threading.Event()

    def slowly(*args: Any) -> int:
        count = store(*args)
        stored.set()
        deleting.wait(10)
        time.sleep(
            0.2
        )  # by then it waits for the letter; were it quicker than that, the test would pass
        return count

    def delete() -> None:
        stored.wait(10)
        deleting.set()
        try:
            messages.delete(alice, room.pk, Message.objects.get().pk)
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


def test_a_deletion_by_another_takes_the_authors_notifications_away(room, alice, bob):
    charlie = person("charlie")
    rooms.invite(room, [charlie], by=alice)
    message = say(bob, room, "gone @charlie")
    messages.delete(alice, room.pk, message.pk)
    assert notices(charlie) == []


def test_a_message_names_only_so_many(room, alice, bob):
    people = [person(f"p{n}") for n in range(messages.NAMED_MOST)]
    rooms.invite(room, people, by=alice)
    most = " ".join(f"@{one.username}" for one in people)
    message = say(alice, room, f"{most} @p0 @nobody")
    assert Mention.objects.count() == Notification.objects.count() == messages.NAMED_MOST
    with pytest.raises(InvalidChat) as refusal:
        say(alice, room, f"{most} @bob")
    assert refusal.value.field == "body"
    with pytest.raises(InvalidChat):
        messages.edit(alice, room.pk, message.pk, f"{most} @bob")
    assert notices(bob) == []


def test_names_are_excerpts_of_one_line(room, alice, bob):
    say(alice, room, "@bob first\n\n```\nsecond\n```\n" + "x" * 400)
    item: dict[str, Any] = inbox.page(bob).items[0]
    assert "\n" not in item["body"]
    assert len(item["body"]) <= 200
    assert Membership.objects.filter(room=room).count() == 2
