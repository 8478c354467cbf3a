"""The pages about rooms without a browser: the list, making, settings, who may do what there, and search."""

from __future__ import annotations

import html
import json
import re
import uuid
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat import marks, messages, rooms
from chat.models import Involvement, Kind, Membership, Message, Room
from events import log, topics
from tests.people import person
from web import context, my_rooms
from web import rooms as pages
from web.rooms import ONCE

pytestmark = pytest.mark.django_db


@pytest.fixture
def as_alice(client, alice):
    client.force_login(alice)
    return client


def say(user: Any, room: Room, body: str = "Hello") -> int:
    return messages.post(user, room.pk, uuid.uuid4(), body)[0].pk


def text(answer: Any) -> str:
    return str(answer.content.decode())


def listed(answer: Any, which: str = "mine") -> list[str]:
    return [room["title"] for room in answer.context[which]]


def script(answer: Any) -> list[dict[str, Any]]:
    """What the page gives to `rooms.js`."""
    found = re.search(r'<script id="my-rooms" type="application/json">(.*?)</script>', text(answer))
    assert found
    given: list[dict[str, Any]] = json.loads(found[1])
    return given


def members(room: Room) -> set[str]:
    rows = Membership.objects.filter(room=room)
    return set(rows.values_list("user__username", flat=True))


# --- The list ----------------------------------------------------------------------------------------------------


def test_my_rooms_come_by_their_newest_news_and_open_ones_to_join_apart(as_alice, alice, bob):
    old = rooms.create(alice, "open", "Old")
    new = rooms.create(bob, "closed", "New", members=[alice])
    rooms.create(bob, "open", "To join")
    rooms.create(bob, "closed", "Secret")
    direct, _is_new = rooms.direct(bob, [alice])
    for room in (direct, new, old):
        say(bob, room)
    answer = as_alice.get("/rooms/")
    assert listed(answer) == ["Old", "New", "bob"]
    assert listed(answer, "to_join") == ["To join"]
    assert "Secret" not in text(answer)


def test_a_room_that_was_just_made_stands_above_those_with_older_news(as_alice, alice, bob):
    say(bob, rooms.create(alice, "open", "Talked in"))
    rooms.create(alice, "open", "Just made")
    assert listed(as_alice.get("/rooms/")) == ["Just made", "Talked in"]


def test_archived_and_muted_rooms_are_marked_and_deleted_ones_gone(as_alice, alice, bob):
    muted, archived, gone = (rooms.create(alice, "open", name) for name in ("M", "A", "Gone"))
    say(bob, muted, "@alice")
    rooms.involve(muted, alice, Involvement.NOTHING)
    rooms.edit(archived, alice, archived=True)
    rooms.delete(gone)
    answer = as_alice.get("/rooms/")
    assert set(listed(answer)) == {"M", "A"}
    parts = text(answer).split('<li class="rooms-row" data-id="')[1:]
    row = {
        room: next(part for part in parts if part.startswith(f'{room.pk}"'))
        for room in (muted, archived)
    }
    assert 'data-slot="muted" title="Muted">' in row[muted]
    assert 'data-slot="archived">' in row[archived]
    assert 'data-slot="archived" hidden>' in row[muted]
    assert "data-unread" not in row[muted]
    assert answer.context["frame"].rooms_unread == ""


def test_the_filter_goes_by_name_and_topic_without_javascript(as_alice, alice):
    rooms.create(alice, "open", "Warehouse", "pallets and couriers")
    rooms.create(alice, "open", "Lunch")
    assert listed(as_alice.get("/rooms/", {"q": "LUN"})) == ["Lunch"]
    assert listed(as_alice.get("/rooms/", {"q": "courier ware"})) == ["Warehouse"]
    answer = as_alice.get("/rooms/", {"q": "zzz"})
    assert listed(answer) == []
    assert "No room is called that" in text(answer)


def test_an_empty_list_says_how_to_make_the_first_room(as_alice):
    answer = text(as_alice.get("/rooms/"))
    assert 'data-slot="empty">' in answer
    assert 'href="/rooms/new/"' in answer
    assert 'href="/rooms/direct/"' in answer


def test_open_rooms_come_in_pages_and_the_filter_finds_those_of_all(as_alice, bob, monkeypatch):
    monkeypatch.setattr(pages, "TO_JOIN", 2)
    made = [rooms.create(bob, "open", f"Lobby {at}") for at in range(4)]
    rooms.create(bob, "open", "Archive", "old pallets")
    rooms.edit(made[3], bob, archived=True)
    say(bob, made[0])
    seen, address = [], "?"
    while address:
        answer = as_alice.get(f"/rooms/{address}")
        seen.append(listed(answer, "to_join"))
        found = re.search(
            r'<p class="rooms-more"[^>]*><a class="button" href="([^"]+)"', text(answer)
        )
        address = html.unescape(found[1]) if found else ""
    assert seen == [["Lobby 0", "Archive"], ["Lobby 2", "Lobby 1"]]
    assert listed(as_alice.get("/rooms/", {"q": "1 lob"}), "to_join") == ["Lobby 1"]
    assert listed(as_alice.get("/rooms/", {"q": "PALLET"}), "to_join") == ["Archive"]
    assert 'href="?q=lobby&amp;before=' in text(as_alice.get("/rooms/", {"q": "lobby"}))
    for odd in ({"q": "\0"}, {"before": "1-"}, {"before": "x"}):
        assert len(listed(as_alice.get("/rooms/", odd), "to_join")) == 2


def test_every_list_has_one_order(as_alice, alice, bob):
    made = [rooms.create(bob, "open", f"Room {at}") for at in range(3)]
    say(bob, made[0])
    made.append(rooms.create(bob, "open", "Room 3"))
    say(bob, made[1])
    wanted = ["Room 1", "Room 3", "Room 0", "Room 2"]
    assert listed(as_alice.get("/rooms/"), "to_join") == wanted
    for room in made:
        rooms.join(room, alice)
    assert listed(as_alice.get("/rooms/"), "mine") == wanted
    answer = as_alice.get("/api/v1/rooms", {"joined": "true"}).json()
    assert [item["name"] for item in answer["items"]] == wanted
    times = [item["active_at"] for item in answer["items"]]
    assert times == sorted(times, reverse=True)
    assert answer["items"][1]["active_at"] == answer["items"][1]["at"]


def test_rooms_from_before_they_knew_when_they_were_active_find_out(bob):
    early, late = (rooms.create(bob, "open", name) for name in ("Early", "Late"))
    said = say(bob, early)
    Room.objects.update(active_at=timezone.now() + timedelta(days=1))
    import_module("chat.migrations.0004_active").look_up(apps, connection.schema_editor())
    found = {room.pk: room.active_at for room in Room.objects.all()}
    assert found == {
        early.pk: Message.objects.get(pk=said).created_at,
        late.pk: late.created_at,
    }


# --- On every page -----------------------------------------------------------------------------------------------


def test_every_page_carries_my_rooms_and_their_place_in_the_log(as_alice, alice, bob):
    room = rooms.create(bob, "closed", "Prices", members=[alice])
    say(bob, room, "one")
    last = say(bob, room, "two, @alice")
    answer = as_alice.get("/settings/")
    [given] = script(answer)
    assert given["unread"] == 2
    assert given["mentions"] == 1
    assert given["last_message"] == last
    assert (given["id"], given["kind"], given["title"]) == (room.pk, Kind.CLOSED, "Prices")
    assert given["involvement"] == Involvement.MENTIONS
    assert f"room.{room.pk}:" in text(answer)


def test_the_rail_counts_what_is_unread_but_in_muted_rooms(as_alice, alice, bob):
    heard, muted = (rooms.create(bob, "open", name, members=[alice]) for name in ("A", "B"))
    for room in (heard, heard, muted):
        say(bob, room)
    rooms.involve(muted, alice, Involvement.NOTHING)
    frame = as_alice.get("/settings/").context["frame"]
    assert (frame.rooms_unread, frame.rooms_mentions) == ("2", "")
    assert not frame.rooms_are_to_me
    assert [room["title"] for room in frame.rooms_with_news] == ["A"]
    marks.read_messages(alice, heard.pk, 2**60)
    assert as_alice.get("/settings/").context["frame"].rooms_unread == ""


def test_what_is_said_to_me_comes_before_other_news(alice, bob):
    loud = rooms.create(bob, "open", "Loud", members=[alice])
    direct, _is_new = rooms.direct(bob, [alice])
    named = rooms.create(bob, "open", "Named", members=[alice])
    say(bob, named, "@alice look")
    say(bob, direct)
    say(bob, loud)
    news = my_rooms.with_news(my_rooms.mine(alice))
    assert [room["title"] for room in news] == ["bob", "Named", "Loud"]


def test_strangers_pages_and_those_of_people_without_rooms_cost_nothing_more(client, alice):
    assert "my-rooms" not in text(client.get("/accounts/login/"))
    client.force_login(alice)
    assert script(client.get("/settings/")) == []


def test_the_frame_costs_the_same_queries_however_many_rooms_there_are(alice, bob):
    def cost() -> int:
        from django.db import connection

        with CaptureQueriesContext(connection) as taken:
            context._frame_of(alice)
        return len(taken)

    rooms.direct(alice, [bob])
    cost()  # what is kept from then on: the profile, the epoch
    few = cost()
    for at in range(12):
        say(bob, rooms.create(bob, "open", f"Room {at}", members=[alice]), "@alice")
        rooms.direct(alice, [person(f"guest-{at}")])
    assert cost() == few


def test_pages_read_the_topics_of_the_sixty_rooms_with_the_newest_news(alice, monkeypatch):
    monkeypatch.setattr(my_rooms, "HEARD", 2)
    made = [rooms.create(alice, "open", f"Room {at}") for at in range(4)]
    assert my_rooms.heard(alice) == [f"room.{made[3].pk}", f"room.{made[2].pk}"]
    assert len(my_rooms.mine(alice)) == 4


# --- New ones ----------------------------------------------------------------------------------------------------


def new_room(**fields: Any) -> dict[str, Any]:
    return {"name": "Prices", "topic_line": "", "kind": "closed", "members": "", **fields}


def test_a_room_is_made_by_form_and_leads_to_itself(as_alice, alice, bob):
    form = new_room(topic_line="For next year", members="@bob, bob alice")
    answer = as_alice.post("/rooms/new/", form)
    room = Room.objects.get()
    assert answer["Location"] == f"/rooms/{room.pk}/"
    assert (room.kind, room.name, room.topic_line, room.owner) == (
        Kind.CLOSED,
        "Prices",
        "For next year",
        alice,
    )
    assert members(room) == {"alice", "bob"}


def test_a_form_that_is_sent_twice_makes_one_room(as_alice):
    form = new_room(**{"hub-once": str(uuid.uuid4())})
    first, second = (as_alice.post("/rooms/new/", form)["Location"] for _ in range(2))
    assert first == second
    assert Room.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", " ", "This field is required."),
        ("name", "x" * 81, "at most 80 characters"),
        ("topic_line", "x" * 201, "at most 200 characters"),
        ("kind", "direct", "Select a valid choice"),
        ("members", "bob, nemo", "Nobody here is called nemo."),
        ("members", "nemo; ahab", "called one of these: nemo, ahab."),
    ],
)
def test_what_can_not_be_is_said_beside_its_field_and_nothing_typed_is_lost(
    as_alice, bob, field, value, said
):
    answer = as_alice.post("/rooms/new/", new_room(**{field: value}))
    assert answer.status_code == 422
    assert said in " ".join(answer.context["form"].errors[field])
    assert not Room.objects.exists()
    if field != "name":
        assert 'value="Prices"' in text(answer)


def test_who_was_named_rightly_is_still_chosen_after_a_mistake(as_alice, bob):
    answer = as_alice.post("/rooms/new/", new_room(members="bob nemo"))
    assert [one["username"] for one in answer.context["form"].chosen()] == ["bob"]


def test_a_script_in_a_name_stays_text(as_alice, alice, bob):
    nasty = "</script><script>alert(1)</script>"
    rooms.create(alice, "open", nasty, nasty)
    for address in ("/rooms/", "/settings/", f"/rooms/{Room.objects.get().pk}/settings/"):
        assert "<script>alert" not in text(as_alice.get(address))


def test_people_are_written_to_in_the_one_room_they_have(as_alice, alice, bob):
    first = as_alice.post("/rooms/direct/", {"members": "bob"})
    second = as_alice.post("/rooms/direct/", {"members": "alice, bob"})
    assert first["Location"] == second["Location"] == f"/rooms/{Room.objects.get().pk}/"
    assert members(Room.objects.get()) == {"alice", "bob"}


@pytest.mark.parametrize("members", ["", "alice", "nemo"])
def test_a_direct_room_needs_somebody_else(as_alice, members):
    answer = as_alice.post("/rooms/direct/", {"members": members})
    assert answer.status_code == 422
    assert answer.context["form"].errors["members"]


def test_who_may_not_sign_in_any_more_is_nobody(as_alice, bob):
    bob.is_active = False
    bob.save()
    assert as_alice.post("/rooms/direct/", {"members": "bob"}).status_code == 422


# --- Settings ----------------------------------------------------------------------------------------------------


@pytest.fixture
def room(alice, bob):
    return rooms.create(alice, "closed", "Prices", "Of next year", members=[bob])


def settings(room: Room) -> str:
    return f"/rooms/{room.pk}/settings/"


def test_the_owner_renames_the_room_and_opens_it(as_alice, room):
    form = {"name": "  Costs ", "topic_line": "", "kind": "open"}
    answer = as_alice.post(settings(room), form)
    assert answer["Location"] == settings(room)
    room.refresh_from_db()
    assert (room.name, room.topic_line, room.kind) == ("Costs", "", Kind.OPEN)


def test_a_name_that_can_not_be_is_said_beside_it(as_alice, room):
    answer = as_alice.post(settings(room), {"name": "", "topic_line": "x", "kind": "open"})
    assert answer.status_code == 422
    assert answer.context["form"].errors["name"]


def test_a_room_is_archived_and_used_again(as_alice, room):
    as_alice.post(settings(room), {"archived": "1"})
    room.refresh_from_db()
    assert room.archived_at is not None
    page = text(as_alice.get(settings(room)))
    assert "Use it again" in page
    assert "Invite people" not in page
    as_alice.post(settings(room), {"archived": "0"})
    room.refresh_from_db()
    assert room.archived_at is None


def test_members_say_what_they_are_told(client, bob, room):
    client.force_login(bob)
    answer = client.post(f"/rooms/{room.pk}/involve/", {"involvement": "nothing"})
    assert answer["Location"] == f"{settings(room)}#you"
    assert Membership.objects.get(room=room, user=bob).involvement == Involvement.NOTHING
    client.post(f"/rooms/{room.pk}/involve/", {"involvement": "loudly"})
    assert "must be everything, mentions or nothing" in text(client.get(settings(room)))


def test_people_are_invited_removed_and_handed_the_room(as_alice, alice, bob, charlie, room):
    address = f"/rooms/{room.pk}/member/"
    answer = as_alice.post(address, {"members": "charlie"})
    assert answer["Location"] == f"{settings(room)}#people"
    assert members(room) == {"alice", "bob", "charlie"}
    as_alice.post(address, {"remove": bob.pk})
    assert members(room) == {"alice", "charlie"}
    User.objects.filter(pk=charlie.pk).update(is_active=False)
    answer = as_alice.post(address, {"owner": charlie.pk}, follow=True)
    assert "must be an active member of the room" in text(answer)
    room.refresh_from_db()
    assert room.owner == alice
    User.objects.filter(pk=charlie.pk).update(is_active=True)
    as_alice.post(address, {"owner": charlie.pk})
    room.refresh_from_db()
    assert room.owner == charlie
    assert as_alice.post(address, {"remove": charlie.pk}).status_code == 403


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        ("settings/", {"name": "Other", "topic_line": "", "kind": "closed"}),
        ("settings/", {"archived": "1"}),
        ("member/", {"members": "charlie"}),
        ("member/", {"owner": "BOB"}),
        ("member/", {"remove": "BOB"}),
        ("delete/", {}),
    ],
)
def test_who_hands_the_room_over_meanwhile_changes_nothing_more(
    as_alice, alice, bob, charlie, room, monkeypatch, part, sent
):
    before = rooms.public(room)
    hold = rooms.hold

    def handed_over_before(room_id: int) -> Room:
        Room.objects.filter(pk=room_id).update(owner=bob)
        return hold(room_id)

    monkeypatch.setattr(rooms, "hold", handed_over_before)
    given = {name: str(bob.pk) if value == "BOB" else value for name, value in sent.items()}
    assert as_alice.post(f"/rooms/{room.pk}/{part}", given).status_code == 403
    after = Room.objects.get(pk=room.pk)
    assert (rooms.public(after), after.deleted_at) == (
        {**before, "owner": rooms.public(after)["owner"]},
        None,
    )
    assert members(room) == {"alice", "bob"}


def crowd(room: Room, count: int) -> None:
    """Members whose names sort apart from their places in the room."""
    people = User.objects.bulk_create(
        User(username=f"m{n:03}", first_name="Kim", last_name=f"{count - n:03}")
        for n in range(count)
    )
    Membership.objects.bulk_create(Membership(room=room, user=one) for one in people)


def listed_people(page: str) -> list[str]:
    return re.findall(r'<span class="cut" title="([^"]*)"', page)


def test_the_members_of_a_large_room_come_in_pages_and_are_found_by_name(as_alice, room):
    crowd(room, 500)
    page = text(as_alice.get(settings(room)))
    assert len(page) < 100_000
    shown = listed_people(page)
    assert (shown[0], shown[1:3], len(shown)) == ("alice", ["bob", "Kim 001"], pages.PEOPLE)
    seen, following = list(shown), settings(room) + "?people=2#people"
    while following:
        assert f'href="{following}"' in page
        page = text(as_alice.get(following))
        seen += listed_people(page)
        found = re.search(r'rel="next" href="([^"]*)"', page)
        following = found[1] if found else ""
    assert seen == ["alice", "bob", *(f"Kim {n:03}" for n in range(1, 501))]
    assert "501–502 of 502" in page
    for who, names in {"kim 493": ["Kim 007", "Kim 493"], "@M007": ["Kim 493"]}.items():
        page = text(as_alice.get(settings(room), {"who": who}))
        assert listed_people(page) == names
    page = text(as_alice.get(settings(room), {"who": "<nemo>"}))
    assert listed_people(page) == []
    assert "Nobody in this room is called that." in page
    for odd in ("0", "-1", "x", "9" * 30):
        assert as_alice.get(settings(room), {"people": odd}).status_code == 200


def test_who_removes_somebody_finds_the_others_where_they_were(as_alice, room):
    crowd(room, 60)
    page = text(as_alice.get(settings(room), {"who": "kim", "people": "2"}))
    form = html.unescape(re.findall(r'action="([^"]*/member/[^"]*)"', page)[-2])
    gone = User.objects.get(username="m020")
    answer = as_alice.post(form, {"remove": gone.pk})
    assert answer["Location"] == f"{settings(room)}?who=kim&people=2#people"
    assert gone.username not in members(room)


def test_a_small_room_has_all_its_members_at_a_glance(as_alice, room):
    page = text(as_alice.get(settings(room)))
    assert listed_people(page) == ["alice", "bob"]
    assert 'name="who"' not in page
    assert "rel=" not in page[page.index('id="people"') :]


def test_an_unknown_guest_is_said_beside_the_field(as_alice, room):
    answer = as_alice.post(f"/rooms/{room.pk}/member/", {"members": "nemo"})
    assert answer.status_code == 422
    assert answer.context["invite"].errors["members"] == ["Nobody here is called nemo."]


@pytest.mark.parametrize("field", ["remove", "owner"])
def test_only_members_are_removed_or_handed_the_room(as_alice, charlie, room, field):
    assert as_alice.post(f"/rooms/{room.pk}/member/", {field: charlie.pk}).status_code == 404
    assert as_alice.post(f"/rooms/{room.pk}/member/", {field: "x"}).status_code == 404


def test_who_leaves_is_asked_first_and_told_who_follows(as_alice, alice, bob, room):
    address = f"/rooms/{room.pk}/leave/"
    page = text(as_alice.get(address))
    assert "The room then belongs to bob" in page
    assert members(room) == {"alice", "bob"}
    assert as_alice.post(address)["Location"] == "/rooms/"
    assert members(room) == {"bob"}
    room.refresh_from_db()
    assert room.owner == bob
    assert as_alice.get(address).status_code == 404


def test_a_room_is_deleted_after_a_question(as_alice, room):
    address = f"/rooms/{room.pk}/delete/"
    assert "can’t be brought back" in text(as_alice.get(address))
    assert Room.objects.get().deleted_at is None
    answer = as_alice.post(address, follow=True)
    assert "Prices is deleted." in text(answer)
    assert as_alice.get(settings(room)).status_code == 404


def test_members_see_who_may_do_what_they_may_not(client, bob, room):
    client.force_login(bob)
    page = text(client.get(settings(room)))
    assert "alice owns it" in page
    assert "Of next year" in page
    assert 'name="name"' not in page
    assert 'name="remove"' not in page
    assert "/delete/" not in page
    assert f"/rooms/{room.pk}/leave/" in page
    for address, form in (
        (settings(room), {"name": "Mine", "topic_line": "", "kind": "open"}),
        (settings(room), {"archived": "1"}),
        (f"/rooms/{room.pk}/member/", {"members": "bob"}),
        (f"/rooms/{room.pk}/delete/", {}),
    ):
        assert client.post(address, form).status_code == 403
    assert client.get(f"/rooms/{room.pk}/delete/").status_code == 403
    room.refresh_from_db()
    assert (room.name, room.archived_at, room.deleted_at) == ("Prices", None, None)


PARTS = ("settings", "involve", "member", "leave", "delete")


@pytest.mark.parametrize("part", PARTS)
def test_to_outsiders_a_room_is_as_one_that_does_not_exist(client, charlie, room, part):
    client.force_login(charlie)
    for pk in (room.pk, room.pk + 1000, 10**30):
        answers = {client.get(f"/rooms/{pk}/{part}/").status_code}
        answers.add(client.post(f"/rooms/{pk}/{part}/", {"involvement": "nothing"}).status_code)
        assert answers <= {404, 405}


def test_a_superuser_manages_what_they_read_and_finds_no_other(client, admin, alice, room):
    client.force_login(admin)
    assert client.get(settings(room)).status_code == 404
    opened = rooms.create(alice, "open", "Lobby")
    assert "manage it as an administrator" in text(client.get(settings(opened)))
    client.post(settings(opened), {"name": "Hall", "topic_line": "", "kind": "open"})
    opened.refresh_from_db()
    assert opened.name == "Hall"


def test_who_only_looks_in_may_join_from_the_settings(client, charlie, alice):
    opened = rooms.create(alice, "open", "Lobby")
    client.force_login(charlie)
    page = text(client.get(settings(opened)))
    assert f"/rooms/{opened.pk}/join/" in page
    assert "/leave/" not in page
    assert client.get(f"/rooms/{opened.pk}/leave/")["Location"] == settings(opened)


def test_a_direct_room_lets_choose_what_one_is_told_and_nothing_else(as_alice, alice, bob):
    direct, _is_new = rooms.direct(alice, [bob])
    page = text(as_alice.get(settings(direct)))
    assert 'name="involvement"' in page
    for part in ("leave", "delete", "member"):
        assert f"/{part}/" not in page
    as_alice.post(f"/rooms/{direct.pk}/leave/")
    assert members(direct) == {"alice", "bob"}


# --- Search ------------------------------------------------------------------------------------------------------


def test_forms_count_with_the_calls_of_programs(as_alice, alice, bob, monkeypatch):
    monkeypatch.setattr(pages, "CHANGES_PER_MINUTE", 3)
    room = rooms.create(alice, "open", "General")
    other = rooms.create(bob, "open", "Other")
    posts = [
        ("/rooms/new/", {"kind": "open", "name": "One", ONCE: str(uuid.uuid4())}),
        (f"/rooms/{other.pk}/join/", {}),
        (f"/rooms/{room.pk}/member/", {"members": "bob"}),
        ("/rooms/direct/", {"members": "bob"}),
        (f"/rooms/{room.pk}/delete/", {}),
    ]
    answers = [as_alice.post(path, data) for path, data in posts]
    assert [answer.status_code for answer in answers] == [302, 302, 302, 429, 429]
    assert int(answers[-1]["Retry-After"]) > 0
    assert "A little too fast" in text(answers[-1])
    assert as_alice.get("/rooms/new/").status_code == 200


def test_what_happens_while_the_settings_are_made_is_heard_by_them(
    as_alice, alice, room, monkeypatch
):
    before = log.cursor([topics.room(room.pk)])
    find = rooms.find

    def find_late(*args: Any) -> Room:
        rooms.edit(room, alice, name="Meanwhile")
        return find(*args)

    monkeypatch.setattr(rooms, "find", find_late)
    page = text(as_alice.get(f"/rooms/{room.pk}/settings/"))
    assert "Meanwhile" in page
    assert f'data-id="{room.pk}" data-cursor="{before}"' in page


def test_what_was_said_is_found_with_its_place_and_leads_there(as_alice, alice, bob, room):
    wanted = say(bob, room, "The courier <b>leaves</b> at 11:30")
    say(bob, room, "Something else")
    answer = text(as_alice.get("/rooms/search/", {"q": "courier"}))
    assert f'href="/rooms/{room.pk}/at/{wanted}/"' in answer
    assert "<mark>courier</mark>" in answer
    assert "&lt;b&gt;leaves" in answer
    assert "Something else" not in answer
    assert 'hit-room cut">Prices' in answer


def test_only_rooms_one_may_read_are_searched(client, charlie, bob, room):
    say(bob, room, "The courier")
    client.force_login(charlie)
    assert "Nothing found" in text(client.get("/rooms/search/", {"q": "courier"}))
    assert client.get("/rooms/search/", {"q": "courier", "room": room.pk}).status_code == 404


def test_one_room_is_searched_alone_and_offers_all(as_alice, alice, bob, room):
    other = rooms.create(alice, "open", "Lobby")
    say(alice, other, "The courier")
    answer = text(as_alice.get("/rooms/search/", {"q": "courier", "room": room.pk}))
    assert "Nothing found" in answer
    assert "Search all rooms" in answer
    assert f'<option value="{room.pk}" selected>Prices' in answer


def test_hits_come_in_pages(as_alice, alice, room):
    said = [say(alice, room, f"courier {at}") for at in range(25)]
    first = as_alice.get("/rooms/search/", {"q": "courier"})
    found = [item["id"] for _hit, item in first.context["hits"]]
    assert found == said[:4:-1]
    assert f"before={found[-1]}" in text(first)
    second = as_alice.get("/rooms/search/", {"q": "courier", "before": found[-1]})
    assert [item["id"] for _hit, item in second.context["hits"]] == said[4::-1]


def test_a_query_that_is_too_long_is_refused_in_place(as_alice):
    answer = as_alice.get("/rooms/search/", {"q": "x" * 201})
    assert answer.status_code == 422
    assert "must have at most 200 characters" in text(answer)


@pytest.mark.parametrize("query", ["", "   ", '"', "%_\\", "' OR 1=1 --", "🦄"])
def test_odd_queries_find_nothing_and_break_nothing(as_alice, alice, room, query):
    say(alice, room, "Something")
    answer = as_alice.get("/rooms/search/", {"q": query})
    assert answer.status_code == 200
    assert answer.context["hits"] == []
