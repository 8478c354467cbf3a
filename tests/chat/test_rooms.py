"""Who may do what in a room, and what becomes of rooms and their people."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from chat import messages, rooms
from chat.errors import InvalidChat, NoSuchRoom, NotAllowed, NotPossible
from chat.models import Kind, Membership, Message, Room
from events import log, topics
from tests.notifications.test_api import Call, calls
from tests.people import person

pytestmark = pytest.mark.django_db(transaction=True)

WHO: Final = ("owner", "member", "outsider", "superuser")
"""alice has the room, bob is in it, charlie and admin are not. A direct room is nobody's: alice began it."""
ACTS: Final[dict[str, tuple[str, str, Any]]] = {
    "read": ("GET", "/rooms/ROOM", None),
    "read what is said": ("GET", "/rooms/ROOM/messages", None),
    "post": ("POST", "/rooms/ROOM/messages", {"client_id": str(uuid.uuid4()), "body": "hello"}),
    "rename": ("PATCH", "/rooms/ROOM", {"name": "Other", "topic_line": "What for"}),
    "open or close": ("PATCH", "/rooms/ROOM", {"kind": "closed"}),
    "archive": ("PATCH", "/rooms/ROOM", {"archived": True}),
    "hand over": ("PATCH", "/rooms/ROOM", {"owner": "bob"}),
    "invite": ("PUT", "/rooms/ROOM/members/dora", None),
    "remove": ("DELETE", "/rooms/ROOM/members/bobby", None),
    "come in": ("PUT", "/rooms/ROOM/members/SELF", None),
    "leave": ("DELETE", "/rooms/ROOM/members/SELF", None),
    "delete": ("DELETE", "/rooms/ROOM", None),
}
RIGHTS: Final[dict[str, dict[str, tuple[int, ...]]]] = {
    #                        owner member outsider superuser
    "open": {
        "read":              (200, 200, 200, 200),
        "read what is said": (200, 200, 200, 200),
        "post":              (201, 201, 201, 201),
        "rename":            (200, 403, 403, 200),
        "open or close":     (200, 403, 403, 200),
        "archive":           (200, 403, 403, 200),
        "hand over":         (200, 403, 403, 200),
        "invite":            (200, 403, 403, 200),
        "remove":            (204, 403, 403, 204),
        "come in":           (200, 200, 200, 200),
        "leave":             (204, 204, 204, 204),
        "delete":            (204, 403, 403, 204),
    },
    "closed": {
        "read":              (200, 200, 404, 404),
        "read what is said": (200, 200, 404, 404),
        "post":              (201, 201, 404, 404),
        "rename":            (200, 403, 404, 200),
        "open or close":     (200, 403, 404, 200),
        "archive":           (200, 403, 404, 200),
        "hand over":         (200, 403, 404, 200),
        "invite":            (200, 403, 404, 200),
        "remove":            (204, 403, 404, 204),
        "come in":           (200, 200, 404, 200),
        "leave":             (204, 204, 404, 404),
        "delete":            (204, 403, 404, 204),
    },
    "direct": {
        "read":              (200, 200, 404, 404),
        "read what is said": (200, 200, 404, 404),
        "post":              (201, 201, 404, 404),
        "rename":            (403, 403, 404, 409),
        "open or close":     (403, 403, 404, 409),
        "archive":           (403, 403, 404, 409),
        "hand over":         (403, 403, 404, 409),
        "invite":            (403, 403, 404, 409),
        "remove":            (403, 403, 404, 409),
        "come in":           (200, 200, 404, 409),
        "leave":             (409, 409, 404, 404),
        "delete":            (403, 403, 404, 204),
    },
}  # fmt: skip


@pytest.fixture
def dora(db: None) -> User:
    return person("dora")


def undone(call: Call, method: str, path: str, body: Any) -> int:
    with transaction.atomic():
        status, _answer = call(method, path, body)
        transaction.set_rollback(True)
    return status


@pytest.mark.parametrize("kind", RIGHTS)
def test_rights_are_the_reviewed_table(alice, bob, charlie, admin, dora, kind):
    bobby = person("bobby")
    if kind == Kind.DIRECT:
        room, _is_new = rooms.direct(alice, [bob, bobby])
    else:
        room = rooms.create(alice, kind, "Night", members=[bob, bobby])
    people = dict(zip(WHO, (alice, bob, charlie, admin), strict=True))
    found: dict[str, tuple[int, ...]] = {}
    for act, (method, path, body) in ACTS.items():
        statuses = []
        for user in people.values():
            where = path.replace("ROOM", str(room.pk)).replace("SELF", user.username)
            statuses.append(undone(calls(user), method, where, body))
        found[act] = tuple(statuses)
    assert found == RIGHTS[kind]


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_a_former_owner_is_a_member_like_others(alice, bob, kind):
    room = rooms.create(alice, kind, "Night", members=[bob])
    rooms.edit(room, alice, owner=bob)
    with pytest.raises(NotAllowed):
        rooms.find_managed(alice, room.pk)
    assert rooms.find_managed(bob, room.pk) == room
    assert not rooms.manages(alice, Room.objects.get(pk=room.pk))


@pytest.mark.parametrize("act", ["rename", "hand over", "invite", "remove", "delete"])
def test_who_hands_the_room_over_meanwhile_changes_nothing_more(alice, bob, dora, monkeypatch, act):
    bobby = person("bobby")
    room = rooms.create(alice, "closed", "Night", members=[bob, bobby])
    before = types(topics.room(room.pk))
    hold = rooms.hold

    def handed_over_before(room_id: int) -> Room:
        Room.objects.filter(pk=room_id).update(owner=bob)
        return hold(room_id)

    monkeypatch.setattr(rooms, "hold", handed_over_before)
    method, path, body = ACTS[act]
    status, _answer = calls(alice)(method, path.replace("ROOM", str(room.pk)), body)
    assert status == 403
    assert types(topics.room(room.pk)) == before
    assert members(room) == ["alice", "bob", "bobby"]


def test_a_room_whose_owner_is_gone_is_managed_by_superusers_alone(alice, bob, admin):
    room = rooms.create(alice, "open", "Night", members=[bob])
    alice.delete()
    assert rooms.item(Room.objects.get(pk=room.pk), bob)["owner"] is None
    with pytest.raises(NotAllowed):
        rooms.find_managed(bob, room.pk)
    assert rooms.find_managed(admin, room.pk) == room


# --- Making rooms --------------------------------------------------------------------------------------------------


def told(topic: str) -> list[tuple[str, Any]]:
    return [(event.type, event.data) for event in log.after(topic, 0, 1000)]


def types(topic: str) -> list[str]:
    return [kind for kind, _data in told(topic)]


def members(room: Room) -> list[str]:
    rows = Membership.objects.filter(room=room).order_by("joined_at", "pk")
    return [row.user.username for row in rows]


def test_a_new_room_has_its_owner_and_whoever_was_named_once(alice, bob):
    room = rooms.create(alice, "closed", "  Night \n shift ", members=[bob, alice, bob])
    assert (room.name, members(room)) == ("Night shift", ["alice", "bob"])
    assert types(topics.room(room.pk)) == ["member.joined", "member.joined"]
    assert told(topics.user(bob.pk)) == [
        (
            "room.added",
            {"id": room.pk, "by": {"id": alice.pk, "name": "alice", "username": "alice"}},
        )
    ]


def test_only_a_new_open_room_is_told_to_all_staff(alice):
    rooms.create(alice, "closed", "Secret")
    shown = rooms.create(alice, "open", "Night", "What for")
    assert told(topics.DASHBOARD) == [("room.created", rooms.public(shown))]


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"kind": "direct"}, "kind"),
        ({"kind": "secret"}, "kind"),
        ({"name": ""}, "name"),
        ({"name": " \t "}, "name"),
        ({"name": "\u200b"}, "name"),
        ({"name": "\u3164\ufe0f"}, "name"),
        ({"name": "Ren\u202eamed"}, "name"),
        ({"name": "n" * 81}, "name"),
        ({"topic_line": "t" * 201}, "topic_line"),
    ],
)
def test_what_a_room_cannot_be_is_refused_by_name(alice, parts, field):
    with pytest.raises(InvalidChat) as refusal:
        rooms.create(alice, **{"kind": "open", "name": "Night", **parts})
    assert refusal.value.field == field
    assert not Room.objects.exists()


def test_a_room_that_is_rolled_back_leaves_nothing(alice, bob):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        rooms.create(alice, "open", "Night", members=[bob])
        raise ZeroDivisionError
    assert not Room.objects.exists()
    assert told(topics.DASHBOARD) == told(topics.user(bob.pk)) == []


# --- Direct rooms --------------------------------------------------------------------------------------------------


def test_the_same_people_have_one_direct_room(alice, bob, charlie):
    room, is_new = rooms.direct(alice, [bob])
    assert is_new
    assert rooms.direct(bob, [alice]) == (room, False)
    assert rooms.direct(alice, [bob, alice, bob]) == (room, False)
    three, is_new = rooms.direct(bob, [charlie, alice])
    assert is_new
    assert rooms.direct(charlie, [bob, alice]) == (three, False)
    assert Room.objects.count() == 2
    assert types(topics.room(room.pk)) == ["member.joined", "member.joined"]


def test_two_who_begin_at_once_get_the_same_direct_room(alice, bob):
    together = threading.Barrier(2)

    def begin(one: User, other: User) -> tuple[Room, bool]:
        together.wait(10)
        try:
            return rooms.direct(one, [other])
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        began = [pool.submit(begin, *pair) for pair in ((alice, bob), (bob, alice))]
        (one, is_new), (other, is_new_too) = [each.result() for each in began]
    assert one == other
    assert {is_new, is_new_too} == {True, False}
    assert members(one) in (["alice", "bob"], ["bob", "alice"])


def test_a_direct_room_is_of_two_to_twenty(alice):
    for others in ([], [alice]):
        with pytest.raises(InvalidChat):
            rooms.direct(alice, others)
    many = [person(f"person{n}") for n in range(rooms.DIRECT_MOST)]
    with pytest.raises(InvalidChat):
        rooms.direct(alice, many)
    assert rooms.direct(alice, many[1:])[1]


def test_people_of_a_direct_room_are_told_everything(alice, bob):
    room, _is_new = rooms.direct(alice, [bob])
    assert rooms.item(room, bob)["involvement"] == "everything"
    assert rooms.item(rooms.create(alice, "open", "Night"), alice)["involvement"] == "mentions"


def test_a_direct_room_never_becomes_another_kind_and_others_never_become_direct(alice, bob):
    direct, _is_new = rooms.direct(alice, [bob])
    with pytest.raises(NotPossible):
        rooms.edit(direct, alice, kind="open")
    room = rooms.create(alice, "closed", "Night", members=[bob])
    with pytest.raises(InvalidChat):
        rooms.edit(room, alice, kind="direct")


# --- Changing rooms ------------------------------------------------------------------------------------------------


def test_a_change_is_told_once_and_no_change_is_not_told(alice):
    room = rooms.create(alice, "open", "Night")
    rooms.edit(room, alice, name="Late", topic_line="What for")
    rooms.edit(room, alice, name="Late", archived=False, kind="open", owner=alice)
    changes = [data for kind, data in told(topics.room(room.pk)) if kind == "room.updated"]
    assert changes == [rooms.public(Room.objects.get(pk=room.pk))]
    assert (changes[0]["name"], changes[0]["topic_line"]) == ("Late", "What for")


def test_a_room_is_handed_to_members_only(alice, bob, charlie):
    room = rooms.create(alice, "open", "Night", members=[bob])
    with pytest.raises(InvalidChat) as refusal:
        rooms.edit(room, alice, owner=charlie)
    assert refusal.value.field == "owner"
    assert rooms.edit(room, alice, owner=bob).owner == bob


def test_a_room_that_is_closed_is_its_members_alone(alice, bob, charlie):
    room = rooms.create(alice, "open", "Night", members=[bob])
    rooms.find(charlie, room.pk)
    rooms.edit(room, alice, kind="closed")
    assert rooms.find(bob, room.pk) == room
    with pytest.raises(NoSuchRoom):
        rooms.find(charlie, room.pk)
    assert list(rooms.readable_by(charlie)) == []
    rooms.edit(room, alice, kind="open")
    assert rooms.find(charlie, room.pk) == room


def test_an_archived_room_is_read_and_left_and_nothing_else(alice, bob, charlie):
    room = rooms.create(alice, "open", "Night", members=[bob])
    said = messages.post(bob, room.pk, uuid.uuid4(), "before")[0]
    rooms.edit(room, alice, archived=True)
    refused: list[Callable[[], Any]] = [
        lambda: rooms.join(room, charlie),
        lambda: rooms.invite(room, [charlie], by=alice),
        lambda: messages.post(bob, room.pk, uuid.uuid4(), "after"),
        lambda: messages.edit(bob, room.pk, said.pk, "after"),
    ]
    for act in refused:
        with pytest.raises(NotPossible):
            act()
    rooms.join(room, bob)
    rooms.invite(room, [alice, bob], by=alice)
    assert rooms.item(room, charlie)["archived"] is False  # the caller's own row is as it was
    assert rooms.item(rooms.find(charlie, room.pk), charlie)["archived"] is True
    assert list(rooms.to_join(charlie)) == []
    assert messages.post(bob, room.pk, said.client_id, "before") == (said, False)
    messages.delete(bob, room.pk, said.pk)
    rooms.remove(room, bob, by=bob)
    rooms.edit(room, alice, archived=False)
    rooms.join(room, charlie)
    assert members(room) == ["alice", "charlie"]


def test_a_deleted_room_is_nobodys(alice, bob, admin):
    room = rooms.create(alice, "open", "Night", members=[bob])
    said = messages.post(bob, room.pk, uuid.uuid4(), "before")[0]
    rooms.delete(room)
    rooms.delete(room)
    gone: list[Callable[[], Any]] = [
        lambda: rooms.find(alice, room.pk),
        lambda: rooms.find_managed(alice, room.pk),
        lambda: rooms.find_managed(admin, room.pk),
        lambda: rooms.edit(room, alice, name="Late"),
        lambda: rooms.join(room, bob),
        lambda: rooms.invite(room, [admin], by=alice),
        lambda: rooms.remove(room, bob, by=alice),
        lambda: messages.post(bob, room.pk, uuid.uuid4(), "after"),
        lambda: messages.edit(bob, room.pk, said.pk, "after"),
        lambda: messages.delete(admin, room.pk, said.pk),
    ]
    for act in gone:
        with pytest.raises(NoSuchRoom):
            act()
    for user in (alice, bob, admin):
        assert list(rooms.readable_by(user)) == list(rooms.to_join(user)) == []
        for joined in (None, True, False):
            assert rooms.page(user, joined=joined, limit=10) == ([], None)
        assert rooms.totals(user) == {"unread": 0, "mentions": 0}
    assert told(topics.room(room.pk))[-1] == ("room.deleted", {"id": room.pk})
    assert types(topics.room(room.pk)).count("room.deleted") == 1
    for member in (alice, bob):
        assert told(topics.user(member.pk))[-1] == ("room.removed", {"id": room.pk})


def test_people_whose_direct_room_was_deleted_begin_another(alice, bob):
    room, _is_new = rooms.direct(alice, [bob])
    rooms.delete(room)
    other, is_new = rooms.direct(bob, [alice])
    assert is_new
    assert other != room


# --- Who is in -----------------------------------------------------------------------------------------------------


def test_whoever_comes_has_read_what_was_said_before(alice, bob):
    room = rooms.create(alice, "open", "Night")
    last = messages.post(alice, room.pk, uuid.uuid4(), "before @bob")[0]
    rooms.join(room, bob)
    rooms.join(room, bob)
    item = rooms.item(rooms.find(bob, room.pk), bob)
    assert (item["joined"], item["read_up_to"], item["unread"], item["mentions"]) == (
        True, last.pk, 0, 0,
    )  # fmt: skip
    assert types(topics.room(room.pk)).count("member.joined") == 2


def test_whoever_posts_in_an_open_room_is_in_it(alice, bob):
    room = rooms.create(alice, "open", "Night")
    messages.post(bob, room.pk, uuid.uuid4(), "hello")
    assert members(room) == ["alice", "bob"]
    assert types(topics.room(room.pk))[-2:] == ["member.joined", "message.created"]


def test_an_invitation_tells_who_invited_and_leaves_alone_who_is_in(alice, bob, charlie):
    room = rooms.create(alice, "closed", "Night", members=[bob])
    rooms.involve(room, bob, "nothing")
    rooms.invite(room, [bob, charlie, charlie], by=alice)
    assert members(room) == ["alice", "bob", "charlie"]
    assert rooms.item(room, bob)["involvement"] == "nothing"
    assert types(topics.user(bob.pk)) == ["room.added", "room.involved"]
    kind, data = told(topics.room(room.pk))[-1]
    assert (kind, data["user"]["username"], data["by"]["username"]) == (
        "member.joined", "charlie", "alice",
    )  # fmt: skip


def test_one_call_invites_so_many_and_no_more(alice):
    room = rooms.create(alice, "closed", "Night")
    with pytest.raises(InvalidChat):
        rooms.invite(room, [alice] * (rooms.MEMBERS_AT_ONCE + 1), by=alice)


def test_whoever_is_taken_out_reads_nothing_more_and_may_come_back(alice, bob):
    room = rooms.create(alice, "closed", "Night", members=[bob])
    rooms.remove(room, bob, by=alice)
    rooms.remove(room, bob, by=alice)
    with pytest.raises(NoSuchRoom):
        rooms.find(bob, room.pk)
    with pytest.raises(NoSuchRoom):
        messages.post(bob, room.pk, uuid.uuid4(), "still here")
    assert types(topics.room(room.pk)).count("member.left") == 1
    assert told(topics.user(bob.pk))[-1] == ("room.removed", {"id": room.pk})
    messages.post(alice, room.pk, uuid.uuid4(), "meanwhile")
    rooms.invite(room, [bob], by=alice)
    assert rooms.item(rooms.find(bob, room.pk), bob)["unread"] == 0


def test_an_owner_who_leaves_is_followed_by_whoever_is_in_for_longest(alice, bob, charlie):
    room = rooms.create(alice, "closed", "Night", members=[bob, charlie])
    long_ago = timezone.now() - timedelta(days=1)
    Membership.objects.filter(room=room, user=charlie).update(joined_at=long_ago)
    rooms.remove(room, alice, by=alice)
    assert Room.objects.get(pk=room.pk).owner == charlie
    assert types(topics.room(room.pk))[-2:] == ["member.left", "room.updated"]
    rooms.remove(room, bob, by=charlie)
    assert Room.objects.get(pk=room.pk).owner == charlie


def test_a_room_that_all_have_left_is_nobodys_to_manage_but_superusers(alice, admin):
    room = rooms.create(alice, "closed", "Night")
    rooms.remove(room, alice, by=alice)
    row = Room.objects.get(pk=room.pk)
    assert row.owner is None
    assert not rooms.manages(alice, row)
    rooms.invite(rooms.find_managed(admin, room.pk), [admin], by=admin)
    assert rooms.find(admin, room.pk) == room


def test_an_owner_is_followed_by_staff_alone(alice, bob, charlie):
    room = rooms.create(alice, "closed", "Night", members=[bob, charlie])
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert rooms.heir(room, alice) == charlie
    rooms.remove(room, alice, by=alice)
    assert Room.objects.get(pk=room.pk).owner == charlie
    rooms.remove(room, charlie, by=charlie)
    assert Room.objects.get(pk=room.pk).owner is None


def test_nobody_leaves_or_joins_a_direct_room(alice, bob, charlie):
    room, _is_new = rooms.direct(alice, [bob])
    with pytest.raises(NotPossible):
        rooms.remove(room, bob, by=bob)
    with pytest.raises(NotPossible):
        rooms.invite(room, [charlie], by=alice)
    with pytest.raises(NoSuchRoom):
        rooms.join(room, charlie)
    assert members(room) == ["alice", "bob"]


def test_involvement_is_ones_own_and_told_to_ones_other_tabs(alice, bob):
    room = rooms.create(alice, "open", "Night")
    for _ in range(2):
        rooms.involve(room, alice, "nothing")
    assert told(topics.user(alice.pk))[1:] == [
        ("room.involved", {"id": room.pk, "involvement": "nothing"})
    ]
    with pytest.raises(NoSuchRoom):
        rooms.involve(room, bob, "nothing")
    with pytest.raises(InvalidChat):
        rooms.involve(room, alice, "everything else")


def test_somebody_whose_account_goes_leaves_the_room_to_the_others(alice, bob):
    room = rooms.create(alice, "closed", "Night", members=[bob])
    said = messages.post(bob, room.pk, uuid.uuid4(), "hello")[0]
    bob.delete()
    assert members(room) == ["alice"]
    assert messages.item(Message.objects.get(pk=said.pk))["author"] is None
