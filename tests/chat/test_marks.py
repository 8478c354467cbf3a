"""How far somebody has read: forward only, the same in all tabs, and always what a recount says."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from chat import marks, messages, rooms
from chat.errors import NoSuchRoom
from chat.models import Membership, Room
from events import log, sequence, topics
from notifications import inbox, notifying
from notifications.models import Notification
from tests.chat.test_messages import say
from tests.chat.test_rooms import told

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    return rooms.create(alice, "closed", "Night", members=[bob])


def state(user: User, room: Room) -> tuple[int, int, int]:
    item = rooms.item(rooms.find(user, room.pk), user)
    return item["unread"], item["mentions"], item["read_up_to"]


def offsets(room: Room) -> dict[int, int]:
    """Of each message its event's."""
    events = log.after(topics.room(room.pk), 0, 1000)
    return {event.data["id"]: event.offset for event in events if event.type == "message.created"}


def marked(user: User) -> list[Any]:
    return [data for kind, data in told(topics.user(user.pk)) if kind == "room.read"]


# --- Marking -------------------------------------------------------------------------------------------------------


def test_reading_up_to_a_message_leaves_what_came_later(room, alice, bob):
    said = [say(alice, room, f"{n} @bob").pk for n in range(4)]
    assert state(bob, room) == (4, 4, 0)
    assert marks.read_messages(bob, room.pk, said[1]) == {
        "unread": 2,
        "mentions": 2,
        "read_up_to": said[1],
    }
    assert state(bob, room) == (2, 2, said[1])
    assert marks.read_messages(bob, room.pk, 2**62)["read_up_to"] == said[3]
    assert state(bob, room) == (0, 0, said[3])


def test_a_mark_never_goes_back_and_what_is_no_change_is_not_told(room, alice, bob):
    said = [say(alice, room, f"{n}").pk for n in range(3)]
    marks.read_messages(bob, room.pk, said[1])
    for up_to in (0, said[0], said[1]):
        assert marks.read_messages(bob, room.pk, up_to) == {
            "unread": 1,
            "mentions": 0,
            "read_up_to": said[1],
        }
    assert marked(bob) == [
        {
            "id": room.pk,
            "unread": 1,
            "mentions": 0,
            "read_up_to": said[1],
            "last_message": said[2],
        }
    ]
    assert marked(alice) == []


def test_ones_own_messages_and_deleted_ones_are_not_unread(room, alice, bob):
    say(bob, room, "mine @bob")
    gone, _kept = say(alice, room, "gone @bob"), say(alice, room, "kept @bob")
    messages.delete(alice, room.pk, gone.pk)
    assert state(bob, room)[:2] == (1, 1)
    assert state(alice, room)[:2] == (1, 0)


def test_reading_by_offset_is_reading_up_to_the_last_message_told_by_then(room, alice, bob):
    said = [say(alice, room, f"{n}").pk for n in range(3)]
    messages.edit(alice, room.pk, said[0], "changed")
    said.append(say(alice, room, "last").pk)
    at = offsets(room)
    head = log.heads([topics.room(room.pk)])[topics.room(room.pk)]
    for offset in range(head + 2):
        reached = max((pk for pk in said if at[pk] <= offset), default=0)
        assert marks._last_message(room, offset) == reached, offset
    assert marks.read_events(bob, room.pk, at[said[1]])["read_up_to"] == said[1]
    assert marks.read_events(bob, room.pk, at[said[0]])["read_up_to"] == said[1]
    assert marks.read_events(bob, room.pk, head)["read_up_to"] == said[3]


def test_offsets_outlive_the_retention_of_the_log(room, alice, bob):
    said = [say(alice, room, f"{n}").pk for n in range(6)]
    at = offsets(room)
    log.prune(days=9, count=2)
    assert marks.read_events(bob, room.pk, at[said[0]])["read_up_to"] == 0  # below what is kept
    assert marks.read_events(bob, room.pk, at[said[3]])["read_up_to"] == said[3]
    assert marks.read_events(bob, room.pk, at[said[4]])["read_up_to"] == said[4]
    log.prune(days=9, count=0)
    assert marks.read_events(bob, room.pk, at[said[5]])["read_up_to"] == said[5]


def test_a_message_whose_event_has_no_offset_yet_is_not_read(room, alice, bob, monkeypatch):
    seen = say(alice, room, "numbered")
    with monkeypatch.context() as patched:
        patched.setattr(sequence, "flush_on_commit", lambda _names: None)
        pending = say(alice, room, "not yet")
    assert marks.read_events(bob, room.pk, 2**62)["read_up_to"] == seen.pk
    assert state(bob, room)[0] == 1
    sequence.flush_left_behind()
    assert marks.read_events(bob, room.pk, 2**62)["read_up_to"] == pending.pk


def test_nor_one_whose_event_gets_its_offset_while_the_mark_is_made(room, alice, bob, monkeypatch):
    seen = say(alice, room, "numbered")
    at = offsets(room)[seen.pk]
    with monkeypatch.context() as patched:
        patched.setattr(sequence, "flush_on_commit", lambda _names: None)
        say(alice, room, "not yet")
    looks = 0

    def number_after_the_first_look(
        execute: Any, sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        nonlocal looks
        found = execute(sql, params, many, context)
        if params and marks.CREATED in params and sql.startswith("SELECT"):
            looks += 1
            if looks == 1:
                sequence.flush([topics.room(room.pk)])
        return found

    with connection.execute_wrapper(number_after_the_first_look):
        reached = marks._last_message(room, at)
    assert (reached, looks) == (seen.pk, 2)


def test_who_only_looks_at_an_open_room_has_nothing_unread_and_marks_nothing(alice, charlie):
    room = rooms.create(alice, "open", "Night")
    said = say(alice, room, "hello @charlie")
    assert marks.read_messages(charlie, room.pk, said.pk) == {
        "unread": 0,
        "mentions": 0,
        "read_up_to": said.pk,
    }
    assert not Membership.objects.filter(user=charlie).exists()
    assert marked(charlie) == []


def test_an_outsider_marks_nothing(room, charlie):
    for act in (marks.read_messages, marks.read_events):
        with pytest.raises(NoSuchRoom):
            act(charlie, room.pk, 1)


def test_who_is_named_in_what_they_have_read_is_told_and_the_next_read_marks_it(room, alice, bob):
    message = say(alice, room, "hello")
    marks.read_messages(bob, room.pk, message.pk)
    messages.edit(alice, room.pk, message.pk, "hello @bob")
    assert inbox.unread(bob) == 1
    following = say(alice, room, "and more")
    assert inbox.unread(bob) == 1
    marks.read_messages(bob, room.pk, following.pk)
    assert inbox.unread(bob) == 0


def test_reading_the_same_again_marks_it_too_and_leaves_what_comes_later(room, alice, bob):
    message, later = say(alice, room, "hello"), say(alice, room, "later @bob")
    marks.read_messages(bob, room.pk, message.pk)
    messages.edit(alice, room.pk, message.pk, "hello @bob")
    marks.read_messages(bob, room.pk, message.pk)
    unread = [item["url"] for item in inbox.page(bob, "unread").items]
    assert unread == [f"/rooms/{room.pk}/at/{later.pk}/"]


def test_of_many_tabs_at_once_the_furthest_counts(room, alice, bob):
    said = [say(alice, room, f"{n}").pk for n in range(30)]
    shuffled = random.Random(7).sample(said, len(said))

    def tab(up_to: int) -> None:
        try:
            marks.read_messages(bob, room.pk, up_to)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(tab, shuffled))
    assert state(bob, room) == (0, 0, said[-1])
    steps = [data["read_up_to"] for data in marked(bob)]
    assert steps == sorted(set(steps))
    assert marked(bob)[-1] == {
        "id": room.pk,
        "unread": 0,
        "mentions": 0,
        "read_up_to": said[-1],
        "last_message": said[-1],
    }


def test_whoever_has_read_where_they_were_named_has_read_the_notification(room, alice, bob):
    said = [say(alice, room, f"{n} @bob").pk for n in range(3)]
    assert inbox.unread(bob) == 3
    marks.read_messages(bob, room.pk, said[1])
    assert inbox.unread(bob) == 1
    read = dict(Notification.objects.values_list("url", "read_at"))
    assert [bool(read[f"/rooms/{room.pk}/at/{pk}/"]) for pk in said] == [True, True, False]
    marks.read_events(bob, room.pk, offsets(room)[said[2]])
    assert inbox.unread(bob) == 0


def test_whoever_reads_before_they_are_told_has_read_the_notification(
    room, alice, bob, monkeypatch
):
    deliver = notifying._deliver_waiting

    def after_reading() -> None:
        marks.read_messages(bob, room.pk, 2**62)  # the message was shown first
        deliver()

    with monkeypatch.context() as patched:
        patched.setattr(notifying, "_deliver_waiting", after_reading)
        say(alice, room, "hello @bob")
    assert [item["read"] for item in inbox.page(bob).items] == [True]
    kind, data = told(topics.user(bob.pk))[-1]
    assert (kind, data["read"], data["unread"]) == ("notification.created", True, 0)
    assert inbox.unread(bob) == 0
    say(alice, room, "again @bob")
    assert inbox.unread(bob) == 1


def test_what_is_deleted_while_somebody_reads_it_is_no_error(room, alice, bob, monkeypatch):
    kept, gone = say(alice, room, "kept @bob"), say(alice, room, "gone @bob")
    mark = inbox.mark_keys

    def later(user: User, kind: str, keys: Collection[str]) -> int:
        messages.delete(alice, room.pk, gone.pk)  # between finding what was read and marking it
        return mark(user, kind, keys)

    monkeypatch.setattr(inbox, "mark_keys", later)
    assert marks.read_messages(bob, room.pk, gone.pk)["read_up_to"] == gone.pk
    page = inbox.page(bob)
    assert [(item["url"], item["read"]) for item in page.items] == [
        (f"/rooms/{room.pk}/at/{kept.pk}/", True)
    ]
    assert inbox.unread(bob) == 0


def test_totals_are_over_rooms_that_are_not_muted_and_not_deleted(room, alice, bob):
    muted, gone = (rooms.create(alice, "closed", name, members=[bob]) for name in "mg")
    rooms.involve(muted, bob, "nothing")
    for each in (room, muted, gone):
        say(alice, each, "hello @bob")
    say(alice, room)
    rooms.delete(gone)
    assert rooms.totals(bob) == {"unread": 2, "mentions": 1}
    assert rooms.totals(alice) == {"unread": 0, "mentions": 0}


# --- Nothing drifts ------------------------------------------------------------------------------------------------


@dataclass
class Naive:
    """What is unread, kept in the plainest way beside the hub."""

    kinds: dict[int, str]
    said: list[dict[str, Any]] = field(default_factory=list)
    read: dict[tuple[int, int], int] = field(default_factory=dict)
    """How far each member has read, by room and person."""

    def may_read(self, room: int, user: int) -> bool:
        return self.kinds[room] == "open" or (room, user) in self.read

    def join(self, room: int, user: int) -> None:
        newest = max((one["id"] for one in self.said if one["room"] == room), default=0)
        self.read.setdefault((room, user), newest)

    def counts(self, room: int, user: int) -> tuple[int, int]:
        if (room, user) not in self.read:
            return 0, 0
        news = [
            one
            for one in self.said
            if one["room"] == room
            and one["id"] > self.read[room, user]
            and one["author"] != user
            and not one["deleted"]
        ]
        return len(news), sum(user in one["named"] for one in news)


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_what_a_recount_says_whatever_happens(alice, bob, charlie, seed):
    dice = random.Random(seed)
    people = [alice, bob, charlie]
    places = [
        rooms.create(alice, "open", "Open", members=[bob]),
        rooms.create(alice, "closed", "Closed", members=[bob, charlie]),
        rooms.direct(alice, [bob])[0],
    ]
    naive = Naive({room.pk: room.kind for room in places})
    for row in Membership.objects.all():
        naive.read[row.room_id, row.user_id] = 0

    def body(room: Room, author: User) -> tuple[str, set[int]]:
        named = dice.sample(people, dice.randrange(3))
        text = " ".join([f"words {dice.random()}", *(f"@{one.username}" for one in named)])
        may = {one.pk for one in named if naive.may_read(room.pk, one.pk)}
        return text, may - {author.pk}

    def post(room: Room, user: User) -> None:
        if not naive.may_read(room.pk, user.pk):
            return
        naive.join(room.pk, user.pk)
        text, named = body(room, user)
        message = say(user, room, text)
        naive.said.append(
            {"id": message.pk, "room": room.pk, "author": user.pk, "named": named, "deleted": False}
        )

    def change(room: Room, user: User) -> None:
        mine = [one for one in naive.said if (one["room"], one["author"]) == (room.pk, user.pk)]
        if not mine or not naive.may_read(room.pk, user.pk):
            return
        one = dice.choice(mine)
        if one["deleted"]:
            return
        if dice.random() < 0.4:
            messages.delete(user, room.pk, one["id"])
            one["deleted"] = True
        else:
            text, one["named"] = body(room, user)
            messages.edit(user, room.pk, one["id"], text)

    def read(room: Room, user: User) -> None:
        there = [one["id"] for one in naive.said if one["room"] == room.pk]
        if not there or not naive.may_read(room.pk, user.pk):
            return
        up_to = dice.choice(there)
        if dice.random() < 0.5:
            marks.read_messages(user, room.pk, up_to)
        else:
            marks.read_events(user, room.pk, offsets(room)[up_to])
        if (room.pk, user.pk) in naive.read:
            naive.read[room.pk, user.pk] = max(naive.read[room.pk, user.pk], up_to)

    def come_or_go(room: Room, user: User) -> None:
        if room.kind == "direct":
            return
        if (room.pk, user.pk) in naive.read:
            rooms.remove(room, user, by=user)
            del naive.read[room.pk, user.pk]
        else:
            rooms.invite(room, [user], by=alice)
            naive.join(room.pk, user.pk)

    acts: list[Callable[[Room, User], None]] = [post, post, post, change, read, read, come_or_go]
    for _step in range(80):
        dice.choice(acts)(dice.choice(places), dice.choice(people))
        for user in people:
            seen = {item["id"]: item for item in rooms.items(rooms.readable_by(user), user)}
            for room in places:
                wanted = naive.counts(room.pk, user.pk)
                assert naive.may_read(room.pk, user.pk) == (room.pk in seen)
                if room.pk in seen:
                    assert (seen[room.pk]["unread"], seen[room.pk]["mentions"]) == wanted
            counts = [naive.counts(room.pk, user.pk) for room in places]
            unread, mentions = map(sum, zip(*counts, strict=True))
            assert rooms.totals(user) == {"unread": unread, "mentions": mentions}
            assert (
                inbox.unread(user)
                == Notification.objects.filter(recipient=user, read_at=None).count()
            )
    assert len(naive.said) > 15
    for user in people:
        for item in rooms.items(rooms.page(user, joined=True, limit=9)[0], user):
            marks.read_messages(user, item["id"], 2**62)
        assert rooms.totals(user) == {"unread": 0, "mentions": 0}
