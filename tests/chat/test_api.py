"""Rooms, messages, search and people by the API: every call, every refusal, and what the answers look like."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import profiles
from accounts.authenticate import make_key
from chat import api, marks, messages, people, rooms
from chat.models import Message, Room
from events import log, topics
from tests.chat.test_messages import say
from tests.hub.test_api import Caller, refused
from tests.notifications.test_api import calls
from tests.people import person

pytestmark = pytest.mark.django_db(transaction=True)

ROOM = {
    "id", "kind", "name", "topic_line", "owner", "members", "unread", "archived",
    "at", "active_at", "last_message", "joined", "involvement", "read_up_to", "mentions",
}  # fmt: skip
MESSAGE = {
    "id", "room", "author", "body", "html", "client_id", "at", "edited_at", "deleted", "mentions",
}  # fmt: skip
FAR = 2**63 - 1


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    return rooms.create(alice, "closed", "Night", "What for", members=[bob])


def who(user: User) -> dict[str, Any]:
    return {"id": user.pk, "name": user.username, "username": user.username}


def new(body: str = "hello", client_id: uuid.UUID | None = None) -> dict[str, Any]:
    return {"client_id": str(client_id or uuid.uuid4()), "body": body}


def ids(page: dict[str, Any]) -> list[int]:
    return [item["id"] for item in page["items"]]


# --- Rooms ---------------------------------------------------------------------------------------------------------


def test_a_room_from_its_making_to_its_end(alice, bob, charlie):
    call = calls(alice)
    status, room = call(
        "POST", "/rooms", {"kind": "open", "name": "Night", "members": ["bob", "alice", "bob"]}
    )
    assert status == 201
    assert set(room) == ROOM
    assert {**room, "id": 0, "at": "", "active_at": ""} == {
        "id": 0, "kind": "open", "name": "Night", "topic_line": "", "owner": who(alice),
        "members": [who(alice), who(bob)], "unread": 0, "archived": False, "at": "", "active_at": "",
        "last_message": 0, "joined": True, "involvement": "mentions", "read_up_to": 0, "mentions": 0,
    }  # fmt: skip
    path = f"/rooms/{room['id']}"
    changes = {"name": "Late", "topic_line": "What for", "kind": "closed", "archived": True}
    assert call("PATCH", path, changes) == (200, {**room, **changes})
    assert call("PATCH", path, {"archived": False, "owner": "bob"})[1]["owner"] == who(bob)
    assert call("PATCH", path, {"name": "Mine"})[0] == 403
    status, read = call("GET", path)
    assert (status, read["name"], read["archived"]) == (200, "Late", False)
    assert read["cursor"] == log.cursor([topics.room(room["id"]), topics.user(alice.pk)])
    assert calls(bob)("DELETE", path) == (204, None)
    assert calls(bob)("DELETE", path)[0] == call("GET", path)[0] == 404


def test_the_same_key_again_makes_no_second_room(alice, bob):
    call = calls(alice)
    first = call("POST", "/rooms", {"kind": "open", "name": "Night", "key": "k"})
    assert call("POST", "/rooms", {"kind": "closed", "name": "Other", "key": "k"}) == first
    assert first[0] == 201
    assert Room.objects.count() == 1
    assert calls(bob)("POST", "/rooms", {"kind": "open", "name": "His", "key": "k"})[0] == 201


def test_a_refused_attempt_does_not_use_up_its_key(alice):
    call = calls(alice)
    assert call("POST", "/rooms", {"kind": "open", "name": "", "key": "k"})[0] == 422
    assert call("POST", "/rooms", {"kind": "open", "name": "Night", "key": "k"})[0] == 201


def test_a_direct_room_that_is_there_already_is_200(alice, bob):
    status, room = calls(alice)("POST", "/rooms", {"kind": "direct", "members": ["bob"]})
    assert (status, room["kind"], room["name"], room["owner"]) == (201, "direct", "", None)
    status, same = calls(bob)("POST", "/rooms", {"kind": "direct", "members": ["alice", "bob"]})
    assert (status, same["id"]) == (200, room["id"])
    again = calls(alice)("POST", "/rooms", {"kind": "direct", "members": ["bob"], "key": "k"})
    assert again[0] == 200


@pytest.mark.parametrize("kind", ["open", "closed", "direct"])
def test_names_that_nobody_has_are_named(alice, bob, kind):
    User.objects.filter(pk=bob.pk).update(is_active=False)
    wanted = {"kind": kind, "name": "Night", "members": ["zed", "alice", "bob", "Alice"]}
    status, answer = calls(alice)("POST", "/rooms", wanted)
    assert status == 422
    assert answer["error"]["fields"] == {"members": "nobody is called Alice, bob, zed"}
    assert not Room.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "secret", "name": "Night"}, "kind"),
        ({"kind": "open"}, "name"),
        ({"kind": "open", "name": "n" * 81}, "name"),
        ({"kind": "open", "name": 7}, "name"),
        ({"kind": "open", "name": "Night", "topic_line": "t" * 201}, "topic_line"),
        ({"kind": "open", "name": "Night", "members": "bob"}, "members"),
        ({"kind": "open", "name": "Night", "members": ["a"] * 201}, "members"),
        ({"kind": "open", "name": "Night", "key": ""}, "key"),
        ({"kind": "direct"}, "members"),
        ({"kind": "direct", "members": ["alice"]}, "members"),
    ],
)
def test_what_no_room_can_be_is_refused_by_name(alice, body, field):
    status, answer = calls(alice)("POST", "/rooms", body)
    assert (status, list(answer["error"]["fields"])) == (422, [field])
    assert not Room.objects.exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": ""}, 422),
        ({"name": None}, 422),
        ({"topic_line": "t" * 201}, 422),
        ({"kind": "direct"}, 422),
        ({"kind": "secret"}, 422),
        ({"archived": "perhaps"}, 422),
        ({"owner": "zed"}, 422),
        ({"owner": "charlie"}, 422),
        ({}, 200),
        ({"topic_line": ""}, 200),
    ],
)
def test_a_change_that_cannot_be_is_refused_by_name(room, alice, charlie, body, status):
    found, answer = calls(alice)("PATCH", f"/rooms/{room.pk}", body)
    assert found == status
    if status == 422:
        assert list(answer["error"]["fields"]) == list(body)
        assert Room.objects.get().name == "Night"


def test_rooms_are_listed_with_news_first_page_by_page(alice, bob, charlie):
    made = [rooms.create(alice, "open", f"Room {n}") for n in range(5)]
    rooms.create(bob, "closed", "Not hers")
    for which in (1, 3, 1):
        say(alice, made[which])
    wanted = [made[n].pk for n in (1, 3, 4, 2, 0)]
    call = calls(alice)
    status, page = call("GET", "/rooms")
    assert (status, ids(page), page["next"]) == (200, wanted, None)
    assert set(page) == {"items", "next", "cursor"}
    assert set(page["items"][0]) == {*ROOM, "member_count"}
    assert page["cursor"] == log.cursor(
        [topics.user(alice.pk), topics.DASHBOARD, *(topics.room(each.pk) for each in made)]
    )
    found: list[int] = []
    following: str | None = ""
    while following is not None:
        _status, page = call("GET", f"/rooms?limit=2&before={following}")
        found += ids(page)
        following = page["next"]
    assert found == wanted
    assert ids(call("GET", f"/rooms?before={10**18 - 1}-1")[1]) == wanted


def test_a_list_names_few_members_and_counts_many(room, alice, bob, charlie, monkeypatch):
    monkeypatch.setattr(rooms, "LISTED_MEMBERS", 2)
    direct, _is_new = rooms.direct(alice, [bob])
    large = rooms.create(alice, "closed", "Large", members=[bob, charlie])
    _status, page = calls(alice)("GET", "/rooms")
    assert {each["id"]: (each["members"], each["member_count"]) for each in page["items"]} == {
        room.pk: ([who(alice), who(bob)], 2),
        direct.pk: ([who(alice), who(bob)], 2),
        large.pk: (None, 3),
    }


def test_rooms_are_ones_own_or_the_others(alice, bob):
    own = rooms.create(alice, "closed", "Hers")
    other = rooms.create(bob, "open", "Open")
    rooms.create(bob, "closed", "Not hers")
    call = calls(alice)
    assert ids(call("GET", "/rooms?joined=true")[1]) == [own.pk]
    assert ids(call("GET", "/rooms?joined=false")[1]) == [other.pk]
    assert set(ids(call("GET", "/rooms")[1])) == {own.pk, other.pk}


# --- Members -------------------------------------------------------------------------------------------------------


def test_joining_inviting_removing_and_leaving(alice, bob, charlie):
    room = rooms.create(alice, "open", "Night")
    path = f"/rooms/{room.pk}/members"
    for _ in range(2):
        status, joined = calls(bob)("PUT", f"{path}/bob")
        assert (status, joined["joined"], joined["members"]) == (
            200, True, [who(alice), who(bob)],
        )  # fmt: skip
    assert calls(bob)("PUT", f"{path}/charlie")[0] == 403
    assert calls(alice)("PUT", f"{path}/charlie")[1]["members"][-1] == who(charlie)
    status, answer = calls(alice)("PUT", f"{path}/zed")
    assert (status, answer["error"]["fields"]) == (422, {"username": "nobody is called zed"})
    assert calls(bob)("PUT", f"{path}/zed")[0] == 403
    for name in ("charlie", "charlie", "zed"):
        assert calls(alice)("DELETE", f"{path}/{name}") == (204, None)
    assert calls(bob)("DELETE", f"{path}/alice")[0] == 403
    assert calls(bob)("DELETE", f"{path}/bob") == (204, None)
    assert calls(alice)("GET", f"/rooms/{room.pk}")[1]["members"] == [who(alice)]


def test_what_nobody_can_do_is_409_with_a_sentence(room, alice, bob, charlie):
    direct, _is_new = rooms.direct(alice, [bob])
    rooms.edit(room, alice, archived=True)
    refusals = [
        calls(alice)("POST", f"/rooms/{room.pk}/messages", new()),
        calls(alice)("PUT", f"/rooms/{room.pk}/members/charlie"),
        calls(alice)("DELETE", f"/rooms/{direct.pk}/members/alice"),
    ]
    for status, answer in refusals:
        assert (status, answer["error"]["code"]) == (409, "conflict")
        assert answer["error"]["detail"].endswith(".")


def test_involvement_is_chosen(room, alice, charlie):
    path = f"/rooms/{room.pk}/involvement"
    status, item = calls(alice)("PUT", path, {"value": "nothing"})
    assert (status, item["involvement"]) == (200, "nothing")
    status, answer = calls(alice)("PUT", path, {"value": "loud"})
    assert (status, list(answer["error"]["fields"])) == (422, ["value"])
    shown = rooms.create(alice, "open", "Open")
    assert calls(charlie)("PUT", f"/rooms/{shown.pk}/involvement", {"value": "nothing"})[0] == 404


def test_reading_answers_with_the_counts(room, alice, bob):
    said = [say(alice, room, f"{n} @bob").pk for n in range(3)]
    call, path = calls(bob), f"/rooms/{room.pk}/read"
    assert call("GET", "/me")[1]["rooms"] == {"unread": 3, "mentions": 3}
    read = {"unread": 1, "mentions": 1, "read_up_to": said[1]}
    assert call("POST", path, {"up_to": said[1]}) == (200, read)
    assert call("POST", path, {"up_to": 0}) == (200, read)
    for wrong in ({}, {"up_to": -1}, {"up_to": "all"}, {"up_to": 2**63}):
        assert call("POST", path, wrong)[0] == 422
    assert call("GET", "/me")[1]["rooms"] == {"unread": 1, "mentions": 1}
    assert call("POST", path, {"up_to": FAR})[1]["read_up_to"] == said[2]


# --- Messages ------------------------------------------------------------------------------------------------------


def test_a_message_from_its_posting_to_its_end(room, alice, bob):
    call, path = calls(alice), f"/rooms/{room.pk}/messages"
    sent = new("hello @bob")
    status, message = call("POST", path, sent)
    assert status == 201
    assert set(message) == MESSAGE
    assert {**message, "id": 0, "html": "", "at": ""} == {
        "id": 0, "room": room.pk, "author": who(alice), "body": "hello @bob", "html": "",
        "mentions": [bob.pk], "client_id": sent["client_id"], "at": "", "edited_at": None,
        "deleted": False,
    }  # fmt: skip
    assert call("POST", path, {**sent, "body": "other"}) == (200, message)
    one = f"{path}/{message['id']}"
    status, edited = call("PATCH", one, {"body": "changed"})
    assert (status, edited["body"], edited["mentions"]) == (200, "changed", [])
    assert edited["edited_at"] is not None
    assert calls(bob)("PATCH", one, {"body": "mine"})[0] == 403
    status, deleted = call("DELETE", one)
    assert (status, deleted) == (200, {**edited, "body": "", "html": "", "deleted": True})
    assert call("DELETE", one) == (200, deleted)
    status, answer = call("PATCH", one, {"body": "again"})
    assert (status, answer["error"]["code"]) == (409, "conflict")
    status, page = call("GET", path)
    assert (status, page["items"]) == (200, [deleted])
    assert page == {
        **page,
        "next": None,
        "newer": None,
        "cursor": log.cursor([topics.room(room.pk)]),
    }


def test_messages_are_paged_newest_first_in_both_directions(room, alice):
    said = [say(alice, room, f"{n}").pk for n in range(7)]
    messages.delete(alice, room.pk, said[3])
    call, path = calls(alice), f"/rooms/{room.pk}/messages"

    def page(query: str) -> tuple[list[int], int | None, int | None]:
        status, answer = call("GET", f"{path}?{query}")
        assert status == 200
        places = [said.index(pk) for pk in ids(answer)]
        return places, answer["next"], answer["newer"]

    assert page("limit=3") == ([6, 5, 4], said[4], None)
    assert page(f"limit=3&before={said[4]}") == ([3, 2, 1], said[1], said[3])
    assert page(f"limit=3&before={said[1]}") == ([0], None, said[0])
    assert page(f"limit=3&after={said[0]}") == ([3, 2, 1], said[1], said[3])
    assert page(f"limit=3&after={said[3]}") == ([6, 5, 4], said[4], None)
    assert page(f"limit=3&after={said[6]}") == ([], None, None)
    assert page(f"limit=3&around={said[3]}") == ([4, 3, 2], said[2], said[4])
    assert page(f"limit=50&around={said[3]}") == ([6, 5, 4, 3, 2, 1, 0], None, None)
    tombstone = call("GET", f"{path}?around={said[3]}&limit=1")[1]["items"][0]
    assert (tombstone["body"], tombstone["html"], tombstone["deleted"]) == ("", "", True)


def test_around_needs_a_message_of_this_room(room, alice):
    other = say(alice, rooms.create(alice, "open", "Open"))
    call = calls(alice)
    foreign = call("GET", f"/rooms/{room.pk}/messages?around={other.pk}")
    assert foreign == call("GET", f"/rooms/{room.pk}/messages?around={FAR}")
    assert foreign[0] == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "client_id"),
        ({"client_id": "x", "body": "hello"}, "client_id"),
        ({"client_id": 7, "body": "hello"}, "client_id"),
        (new(""), "body"),
        (new(" \n "), "body"),
        (new("x" * 4001), "body"),
        ({**new(), "body": None}, "body"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(room, alice, body, field):
    call, path = calls(alice), f"/rooms/{room.pk}/messages"
    status, answer = call("POST", path, body)
    assert status == 422
    assert field in answer["error"]["fields"]
    assert not Message.objects.exists()
    if field == "body":
        status, answer = call("PATCH", f"{path}/{say(alice, room).pk}", {"body": body["body"]})
        assert (status, list(answer["error"]["fields"])) == (422, ["body"])


# --- Search and people ---------------------------------------------------------------------------------------------


def test_search_finds_what_one_may_read(room, alice, bob, charlie):
    shown = rooms.create(bob, "open", "Open")
    first, second = say(alice, room, "the quick fox"), say(bob, shown, "a Quick hare")
    direct, _is_new = rooms.direct(alice, [bob])
    third = say(bob, direct, "quickly")
    status, page = calls(alice)("GET", "/search?q=quick")
    assert (status, ids(page), page["next"]) == (200, [third.pk, second.pk, first.pk], None)
    assert set(page["items"][0]) == MESSAGE | {"room_name", "snippet", "ranges"}
    assert [(hit["room"], hit["room_name"]) for hit in page["items"]] == [
        (direct.pk, "bob"), (shown.pk, "Open"), (room.pk, "Night"),
    ]  # fmt: skip
    assert (page["items"][1]["snippet"], page["items"][1]["ranges"]) == ("a Quick hare", [[2, 7]])
    assert ids(calls(charlie)("GET", "/search?q=quick")[1]) == [second.pk]
    assert ids(calls(alice)("GET", f"/search?q=quick&room={room.pk}")[1]) == [first.pk]
    _status, page = calls(alice)("GET", "/search?q=quick&limit=2")
    assert (ids(page), page["next"]) == ([third.pk, second.pk], second.pk)
    _status, page = calls(alice)("GET", f"/search?q=quick&limit=2&before={page['next']}")
    assert (ids(page), page["next"]) == ([first.pk], None)
    assert calls(alice)("GET", "/search?q=") == (200, {"items": [], "next": None})
    status, answer = calls(alice)("GET", f"/search?q={'x' * 201}")
    assert (status, list(answer["error"]["fields"])) == (422, ["q"])


def named(user: User, query: str) -> list[str]:
    status, answer = calls(user)("GET", f"/people?{query}")
    assert status == 200
    return [one["username"] for one in answer["items"]]


def test_people_are_found_by_username_or_name_beginnings_first(alice, bob, charlie):
    person("eve", first_name="Robin", last_name="Bobbins")
    dana = person("dana", first_name="Hidden")
    profiles.of(dana)
    dana.hub_profile.display_name = "Bo Derek"
    dana.hub_profile.save()
    User.objects.filter(pk=charlie.pk).update(is_active=False)
    assert named(alice, "q=bo") == ["bob", "dana", "eve"]
    assert named(alice, "q=BOB") == ["bob", "eve"]
    assert named(alice, "q=@bob") == ["bob", "eve"]
    assert named(alice, "q=n%20b") == ["eve"]
    assert named(alice, "q=hidden") == []  # she is called otherwise
    assert named(alice, "q=example.org") == []
    assert named(alice, "q=%25") == []
    assert named(alice, "") == ["alice", "bob", "dana", "eve"]
    assert named(alice, "limit=2") == ["alice", "bob"]
    assert calls(alice)("GET", "/people?q=dana")[1] == {
        "items": [{"id": dana.pk, "name": "Bo Derek", "username": "dana"}]
    }


def test_people_of_a_room_are_those_who_may_read_it(room, alice, bob, charlie):
    shown = rooms.create(alice, "open", "Open")
    assert named(alice, f"room={room.pk}") == ["alice", "bob"]
    assert named(alice, f"room={shown.pk}") == ["alice", "bob", "charlie"]
    assert calls(charlie)("GET", f"/people?room={room.pk}")[0] == 404


def not_bob(user: User) -> bool:
    return user.username != "bob"


def test_people_are_staff_of_the_hub_and_as_many_as_asked_for(alice, bob, charlie, settings):
    settings.HUB_IS_STAFF = f"{__name__}.not_bob"
    assert named(alice, "limit=2") == ["alice", "charlie"]
    status, answer = calls(alice)("POST", "/rooms", {"kind": "direct", "members": ["bob"]})
    assert (status, list(answer["error"]["fields"])) == (422, ["members"])


def test_people_come_at_most_twenty_at_once_by_one_query(alice):
    User.objects.bulk_create(User(username=f"p{n:02}") for n in range(30))
    with CaptureQueriesContext(
        connection,
    ) as taken:
        found = people.named("p", None)
    assert [one["username"] for one in found] == [f"p{n:02}" for n in range(20)]
    assert len([one for one in taken if "SELECT" in one["sql"]]) == 1


# --- What all calls have in common ---------------------------------------------------------------------------------

CALLS = [
    ("GET", "/rooms/ROOM", None),
    ("PATCH", "/rooms/ROOM", {"name": "Mine"}),
    ("DELETE", "/rooms/ROOM", None),
    ("PUT", "/rooms/ROOM/members/charlie", None),
    ("PUT", "/rooms/ROOM/members/bob", None),
    ("DELETE", "/rooms/ROOM/members/charlie", None),
    ("DELETE", "/rooms/ROOM/members/bob", None),
    ("PUT", "/rooms/ROOM/involvement", {"value": "nothing"}),
    ("POST", "/rooms/ROOM/read", {"up_to": 1}),
    ("GET", "/rooms/ROOM/messages", None),
    ("GET", "/rooms/ROOM/messages?around=MESSAGE", None),
    ("POST", "/rooms/ROOM/messages", new()),
    ("PATCH", "/rooms/ROOM/messages/MESSAGE", {"body": "mine"}),
    ("DELETE", "/rooms/ROOM/messages/MESSAGE", None),
    ("GET", "/search?q=hello&room=ROOM", None),
    ("GET", "/people?room=ROOM", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_a_foreign_a_deleted_and_an_absent_room_look_the_same(
    room, alice, charlie, method, path, body
):
    message = say(alice, room)
    gone = rooms.create(charlie, "open", "Gone")
    left = say(charlie, gone)
    rooms.delete(gone)
    key = make_key(charlie, "test")[1]

    def ask(room_id: int, message_id: int) -> bytes:
        where = path.replace("ROOM", str(room_id)).replace("MESSAGE", str(message_id))
        answer = Caller(key=key).ask(method, where, body)
        refused(answer, 404, "not_found")
        return bytes(answer.content)

    foreign = ask(room.pk, message.pk)
    assert foreign == ask(gone.pk, left.pk) == ask(room.pk + 999, message.pk + 999)
    assert foreign == ask(FAR, FAR)
    if "=" not in path:
        assert foreign == ask(0, 0)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/rooms?limit=0", None),
        ("GET", "/rooms?limit=101", None),
        ("GET", "/rooms?before=x", None),
        ("GET", "/rooms?before=1", None),
        ("GET", f"/rooms?before={10**18}-1", None),
        ("GET", "/rooms?joined=perhaps", None),
        ("GET", "/rooms/ROOM/messages?limit=0", None),
        ("GET", "/rooms/ROOM/messages?limit=201", None),
        ("GET", "/rooms/ROOM/messages?before=0", None),
        ("GET", f"/rooms/ROOM/messages?after={2**63}", None),
        ("GET", "/rooms/ROOM/messages?around=x", None),
        ("GET", "/rooms/ROOM/messages?before=1&after=1", None),
        ("GET", "/rooms/ROOM/messages?after=1&around=1", None),
        ("GET", "/search", None),
        ("GET", "/search?q=x&limit=101", None),
        ("GET", "/search?q=x&before=0", None),
        ("GET", "/search?q=x&room=0", None),
        ("GET", "/search?q=%00", None),
        ("GET", "/people?limit=21", None),
        ("GET", "/people?q=%00", None),
        ("GET", "/people?room=x", None),
        ("PUT", "/rooms/ROOM/members/%00", None),
        ("GET", f"/rooms/{2**63}", None),
        ("PATCH", f"/rooms/ROOM/messages/{2**63}", {"body": "x"}),
    ],
)
def test_what_is_out_of_bounds_is_refused(room, alice, method, path, body):
    status, answer = calls(alice)(method, path.replace("ROOM", str(room.pk)), body)
    assert status == 422
    assert answer["error"]["fields"]


def test_what_reads_needs_one_scope_and_all_else_another(room, alice):
    message = say(alice, room)
    opened = [
        *CALLS,
        ("GET", "/rooms", None),
        ("GET", "/search?q=x", None),
        ("GET", "/people", None),
    ]
    opened.append(("POST", "/rooms", {"kind": "open", "name": "Night"}))
    keys = {scope: calls(alice, scope) for scope in ("read", "chat", "publish", "jobs")}
    for method, path, body in opened:
        where = path.replace("ROOM", str(room.pk)).replace("MESSAGE", str(message.pk))
        wanted = "read" if method == "GET" else "chat"
        for scope, call in keys.items():
            if scope != wanted:
                assert call(method, where, body)[0] == 403, (scope, method, path)
        assert Client().generic(method, f"/api/v1{where}").status_code == 401


def test_a_flood_is_slowed(room, alice, bob, monkeypatch):
    monkeypatch.setattr(api, "CHANGES_PER_MINUTE", 3)
    monkeypatch.setattr(messages, "POSTS_PER_MINUTE", 2)
    call = calls(alice)
    made = [call("POST", "/rooms", {"kind": "open", "name": f"{n}"})[0] for n in range(5)]
    assert made == [201, 201, 201, 429, 429]
    path = f"/rooms/{room.pk}/messages"
    assert [call("POST", path, new())[0] for _ in range(3)] == [201, 201, 429]
    assert calls(bob)("POST", path, new())[0] == 201


def test_markup_leaves_the_api_as_json_text_only(room, alice):
    nasty = "<script>alert('x')</script>"
    rooms.edit(room, alice, name=nasty, topic_line=nasty)
    say(alice, room, nasty)
    _, secret = make_key(alice, "test")
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    for path in ("/rooms", f"/rooms/{room.pk}/messages", "/search?q=script"):
        answer = client.get(f"/api/v1{path}")
        assert answer.headers["Content-Type"].startswith("application/json")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    item = json.loads(client.get(f"/api/v1/rooms/{room.pk}/messages").content)["items"][0]
    assert item["body"] == nasty
    assert "<script" not in item["html"]


def test_a_superuser_manages_what_they_cannot_read(room, alice, admin):
    message = say(alice, room, "secret")
    call, path = calls(admin), f"/rooms/{room.pk}"
    assert call("GET", path)[0] == call("GET", f"{path}/messages")[0] == 404
    assert call("GET", "/search?q=secret")[1]["items"] == call("GET", "/rooms")[1]["items"] == []
    status, item = call("PATCH", path, {"name": "Other"})
    assert (status, item["name"], item["joined"]) == (200, "Other", False)
    status, deleted = call("DELETE", f"{path}/messages/{message.pk}")
    assert (status, deleted["body"], deleted["deleted"]) == (200, "", True)
    assert call("PUT", f"{path}/members/admin")[1]["joined"] is True
    assert call("GET", f"{path}/messages")[0] == 200


def test_marks_and_posts_by_api_and_by_socket_are_the_same(room, alice, bob):
    status, message = calls(alice)("POST", f"/rooms/{room.pk}/messages", sent := new())
    assert status == 201
    same, is_new = messages.post(alice, room.pk, uuid.UUID(sent["client_id"]), "again")
    assert (same.pk, is_new) == (message["id"], False)
    assert marks.read_messages(bob, room.pk, same.pk)["unread"] == 0
