"""A snapshot of a room and the events after its cursor are a fresh snapshot, for every type of event."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.contrib.auth.models import User

from chat import marks, messages, rooms
from chat.models import Message, Room
from events import log, topics
from events.log import LoggedEvent
from tests.chat.test_messages import say
from tests.notifications.test_api import Call, calls

pytestmark = pytest.mark.django_db(transaction=True)

Snapshot = dict[str, Any]
STRANGER = {"joined": False, "involvement": None, "read_up_to": 0, "unread": 0, "mentions": 0}
OURS = ("room.", "message.", "member.")


def snapshot(call: Call, room: Room) -> Snapshot | None:
    """The room and all that was said there, as its page has them; None: not to be read."""
    status, item = call("GET", f"/rooms/{room.pk}")
    if status == 404:
        return None
    _status, page = call("GET", f"/rooms/{room.pk}/messages?limit=200")
    cursor = item.pop("cursor")
    return {"room": item, "messages": page["items"], "cursor": cursor}


def shown(state: Snapshot | None) -> Any:
    return None if state is None else (state["room"], state["messages"])


def apply(state: Snapshot | None, events: Iterable[LoggedEvent], me: int) -> Snapshot | None:
    """What a client makes of it. Counts it keeps by what events say of them, not by the messages that it has."""
    for event in events:
        if state is not None:
            state = _next(copy.deepcopy(state), event.type, event.data, me)
    return state


def _next(state: Snapshot, kind: str, data: dict[str, Any], me: int) -> Snapshot | None:
    room = state["room"]
    if kind in {"room.deleted", "room.removed"}:
        if kind == "room.deleted" or room["kind"] != "open":
            return None
        room.update(STRANGER)
    elif kind == "room.updated":
        room.update(data)
        if room["kind"] != "open" and not room["joined"]:
            return None
    elif kind == "room.read":
        room.update(data)
    elif kind == "room.involved":
        room["involvement"] = data["involvement"]
    elif kind == "member.joined":
        room["members"].append(data["user"])
        if data["user"]["id"] == me:
            told = "everything" if room["kind"] == "direct" else "mentions"
            room.update(joined=True, involvement=told, read_up_to=room["last_message"])
    elif kind == "member.left":
        room["members"] = [one for one in room["members"] if one["id"] != data["user"]["id"]]
        if data["user"]["id"] == me:
            room.update(STRANGER)
    elif kind.startswith("message."):
        _said(state, kind, data, me)
    return state


def _said(state: Snapshot, kind: str, data: dict[str, Any], me: int) -> None:
    room = state["room"]
    before = data.pop("mentioned_before", [])
    others = [one for one in state["messages"] if one["id"] != data["id"]]
    state["messages"] = sorted([data, *others], key=lambda one: one["id"], reverse=True)
    is_counted = kind == "message.created" and data["id"] <= room["last_message"]
    is_unread = data["id"] > room["read_up_to"] and data["author"]["id"] != me
    if room["joined"] and is_unread and not is_counted:
        room["mentions"] += (me in data["mentions"]) - (me in before)
        room["unread"] += {"message.created": 1, "message.deleted": -1}.get(kind, 0)
    if data["id"] >= room["last_message"]:
        room.update(last_message=data["id"], active_at=data["at"])


def events_after(state: Snapshot, *names: str) -> list[LoggedEvent]:
    offsets = dict(place.rsplit(":", 1) for place in state["cursor"].split("~")[1:])
    return [
        event
        for name in names
        for event in log.after(name, int(offsets[name]), 1000)
        if event.type.startswith(OURS)
    ]


class Stage:
    """Things happen one by one; after each, everybody's snapshot is compared."""

    def __init__(self, room: Room, *people: User) -> None:
        self.room = room
        self.calls = {user.pk: calls(user) for user in people}
        self.seen: set[str] = set()

    def after(self, act: Callable[[], Any]) -> None:
        before = {pk: snapshot(call, self.room) for pk, call in self.calls.items()}
        act()
        for pk, state in before.items():
            if state is None:
                continue  # who comes in fetches the room
            fresh = shown(snapshot(self.calls[pk], self.room))
            names = topics.room(self.room.pk), topics.user(pk)
            for order in (names, names[::-1]):  # across topics there is none
                events = events_after(state, *order)
                self.seen.update(event.type for event in events)
                assert shown(apply(state, events, pk)) == fresh


TYPES = {
    "message.created", "message.updated", "message.deleted", "room.updated", "room.deleted",
    "member.joined", "member.left", "room.read", "room.added", "room.removed", "room.involved",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_every_event_of_a_room_brings_its_snapshot_up_to_date(alice, bob, charlie, kind):
    room = rooms.create(alice, kind, "Night", members=[bob])
    stage = Stage(room, alice, bob, charlie)
    said: list[Message] = []

    def post(user: User, body: str) -> None:
        said.append(say(user, room, body))

    def edited(at: int, body: str) -> Message:
        author = {user.pk: user for user in (alice, bob, charlie)}[said[at].author_id or 0]
        return messages.edit(author, room.pk, said[at].pk, body)

    def edit(at: int, body: str) -> Callable[[], Any]:
        return lambda: edited(at, body)

    def delete(at: int) -> Callable[[], Any]:
        return lambda: messages.delete(alice, room.pk, said[at].pk)

    acts: list[Callable[[], Any]] = [
        lambda: post(alice, "hello"),
        lambda: post(alice, "hello @bob"),
        lambda: post(bob, "hello @alice and @bob"),
        lambda: post(alice, "again"),
        edit(0, "hello @bob and @alice"),
        edit(1, "hello nobody"),
        edit(2, "hello @alice once more"),
        lambda: marks.read_messages(bob, room.pk, said[0].pk),
        edit(0, "he has read that"),
        edit(1, "but not that @bob"),
        delete(0),
        delete(1),
        delete(2),
        lambda: rooms.involve(room, bob, "everything"),
        lambda: rooms.edit(room, alice, name="Late", topic_line="What for"),
        lambda: rooms.edit(room, alice, archived=True),
        lambda: rooms.edit(room, alice, archived=False),
        lambda: rooms.invite(room, [charlie], by=alice),
        lambda: post(charlie, "me too @bob"),
        lambda: rooms.remove(room, charlie, by=alice),
        lambda: rooms.invite(room, [charlie], by=alice),
        lambda: rooms.edit(room, alice, kind="closed"),
        lambda: rooms.remove(room, charlie, by=charlie),
        lambda: rooms.edit(room, alice, kind="open"),
        lambda: post(charlie, "by posting I come in"),
        lambda: marks.read_messages(charlie, room.pk, 2**62),
        lambda: rooms.edit(room, alice, owner=charlie),
        lambda: rooms.remove(room, bob, by=bob),
        lambda: rooms.join(room, bob),
        lambda: rooms.remove(room, charlie, by=charlie),
        lambda: post(alice, "the last @bob"),
        lambda: rooms.delete(room),
    ]
    for act in acts:
        stage.after(act)
    assert stage.seen == TYPES


def test_and_so_it_is_in_a_direct_room(alice, bob):
    room, _is_new = rooms.direct(alice, [bob])
    stage = Stage(room, alice, bob)
    said: list[Message] = []
    for act in (
        lambda: said.append(say(alice, room, "hello @bob")),
        lambda: said.append(say(bob, room, "hello")),
        lambda: marks.read_messages(bob, room.pk, said[0].pk),
        lambda: rooms.involve(room, alice, "nothing"),
        lambda: messages.delete(bob, room.pk, said[1].pk),
        lambda: rooms.delete(room),
    ):
        stage.after(act)


def test_who_slept_through_it_sees_what_who_was_awake_sees(alice, bob):
    """What is deleted has no text in the log any more; counts and order come out the same."""
    room = rooms.create(alice, "closed", "Night", members=[bob])
    say(alice, room, "before @bob")
    before = snapshot(calls(bob), room)
    assert before is not None
    said = [say(alice, room, f"{n} @bob") for n in range(4)]
    messages.edit(alice, room.pk, said[1].pk, "changed")
    messages.edit(alice, room.pk, said[2].pk, "changed @bob")
    for gone in said[:3]:
        messages.delete(alice, room.pk, gone.pk)
    events = events_after(before, topics.room(room.pk))
    texts = {event.data["body"] for event in events if event.data["id"] != said[3].pk}
    assert texts == {""}
    assert shown(apply(before, events, bob.pk)) == shown(snapshot(calls(bob), room))


def test_what_happens_between_cursor_and_rows_is_not_counted_twice(alice, bob, monkeypatch):
    """A message at or below the snapshot's `last_message` is in its counts already."""
    room = rooms.create(alice, "closed", "Night", members=[bob])
    find = rooms.find

    def meanwhile(user: User, room_id: int) -> Room:
        found = find(user, room_id)
        monkeypatch.setattr(rooms, "find", find)
        say(alice, room, "hello @bob")
        return found

    monkeypatch.setattr(rooms, "find", meanwhile)
    state = snapshot(calls(bob), room)
    assert state is not None
    events = events_after(state, topics.room(room.pk))
    assert [event.type for event in events] == ["message.created"]
    assert state["room"]["unread"] == state["room"]["mentions"] == 1
    assert shown(apply(state, events, bob.pk)) == shown(snapshot(calls(bob), room))


def test_a_room_that_one_comes_into_is_fetched_with_all_that_was_said(alice, bob):
    room = rooms.create(alice, "closed", "Night")
    say(alice, room, "before")
    cursor = log.cursor([topics.user(bob.pk)])
    rooms.invite(room, [bob], by=alice)
    (event,) = events_after({"cursor": cursor}, topics.user(bob.pk))
    assert (event.type, event.data["id"]) == ("room.added", room.pk)
    state = snapshot(calls(bob), room)
    assert state is not None
    assert len(state["messages"]) == 1


def test_a_new_open_room_is_told_as_it_is(alice, bob):
    cursor = log.cursor([topics.DASHBOARD])
    room = rooms.create(alice, "open", "Night", "What for")
    (event,) = events_after({"cursor": cursor}, topics.DASHBOARD)
    status, item = calls(bob)("GET", f"/rooms/{room.pk}")
    assert (status, event.type) == (200, "room.created")
    assert {**item, **event.data} == item
