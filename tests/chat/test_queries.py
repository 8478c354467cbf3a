"""What a room costs does not grow with what was said in it, nor with how many rooms there are."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.authenticate import make_key
from chat import marks, messages, rooms
from chat.models import Membership, Mention, Message, Room
from tests.chat.test_messages import say
from tests.people import person

pytestmark = pytest.mark.django_db

MANY = 5_000
OTHERS = 40
EMPTY = 3_000
TABLES = ("room", "membership", "message", "mention")


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    room = rooms.create(alice, "closed", "Night", members=[bob])
    say(alice, room, "hello @bob")
    return room


@pytest.fixture
def api(bob: User) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_key(bob, 'test')[1]}"})


def queries(act: Callable[[], Any]) -> list[str]:
    with CaptureQueriesContext(connection) as taken:
        act()
    return [one["sql"] for one in taken]


def fill(room: Room, author: User, count: int, named: User | None = None) -> None:
    made = Message.objects.bulk_create(
        [
            Message(room=room, author=author, client_id=uuid.uuid4(), body=f"line {n}", html="")
            for n in range(count)
        ],
        batch_size=1000,
    )
    if named is not None:
        Mention.objects.bulk_create(
            [Mention(message=one, room=room, user=named) for one in made], batch_size=1000
        )
    Room.objects.filter(pk=room.pk).update(last_message=made[-1].pk)


def make_much(room: Room, alice: User, bob: User) -> None:
    """Many messages here, many rooms beside it with messages of their own, many people."""
    people = User.objects.bulk_create(User(username=f"person{n:03}") for n in range(200))
    others = [rooms.create(alice, "closed", f"Room {n}", members=[bob]) for n in range(OTHERS)]
    others += [rooms.create(alice, "open", f"Hall {n}") for n in range(OTHERS)]
    Membership.objects.bulk_create(
        Membership(room=other, user=user) for other in others for user in people
    )
    for other in others:
        fill(other, alice, MANY // len(others), named=bob)
    Room.objects.bulk_create(Room(kind="closed", name=f"Empty {n}") for n in range(EMPTY))
    fill(room, alice, MANY, named=bob)
    newest = Room.objects.get(pk=room.pk).last_message
    Membership.objects.filter(room=room, user=bob).update(read_up_to=newest - 30)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def acts(api: Client, room: Room, user: User) -> dict[str, Callable[[], Any]]:
    """What a page or a script does with a room; called anew, for there is more to read each time."""
    path = f"/api/v1/rooms/{room.pk}"
    newest = Room.objects.get(pk=room.pk).last_message
    return {
        "room": lambda: api.get(path),
        "newest": lambda: api.get(f"{path}/messages"),
        "before": lambda: api.get(f"{path}/messages?before={newest}"),
        "after": lambda: api.get(f"{path}/messages?after={newest - 1}"),
        "around": lambda: api.get(f"{path}/messages?around={newest}"),
        "read": lambda: marks.read_messages(user, room.pk, newest - 1),
        "totals": lambda: rooms.totals(user),
        "rooms": lambda: api.get("/api/v1/rooms?limit=20"),
        "my rooms": lambda: api.get("/api/v1/rooms?limit=20&joined=true"),
        "other rooms": lambda: api.get("/api/v1/rooms?limit=20&joined=false"),
    }


def test_as_many_queries_for_much_as_for_little(room, alice, bob, api):
    say(alice, rooms.create(alice, "open", "Hall"))
    say(alice, room, "and @bob again")
    for act in acts(api, room, bob).values():
        act()  # what is kept in memory is there from now on
    little = {
        name: len(queries(act)) for name, act in acts(api, room, bob).items() if name != "read"
    }
    make_much(room, alice, bob)
    much = {name: len(queries(act)) for name, act in acts(api, room, bob).items() if name != "read"}
    assert {name: n for name, n in much.items() if n > little[name]} == {}
    assert max(little.values()) <= 15


def test_posting_costs_the_same_however_much_was_said(room, alice, bob):
    def post() -> Message:
        return messages.post(alice, room.pk, uuid.uuid4(), "hello @bob")[0]

    post()
    little = len(queries(post))
    make_much(room, alice, bob)
    assert len(queries(post)) == little
    message = post()
    messages.edit(alice, room.pk, message.pk, "hello")
    assert len(queries(lambda: messages.delete(alice, room.pk, message.pk))) <= 30


# --- By indexes ----------------------------------------------------------------------------------------------------


def scans(taken: Iterable[str]) -> list[str]:
    """Queries that read a whole table of rooms."""
    tables = "|".join(f"hub_chat_{table}" for table in TABLES)
    found = []
    for sql in taken:
        if not re.match(r"\s*(SELECT|UPDATE|DELETE)", sql) or "hub_chat" not in sql:
            continue
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
                plan = [str(row[3]) for row in cursor.fetchall()]
                aliases = set(re.findall(rf'"(?:{tables})" (\w+)', sql))
                names = rf"({tables}|{'|'.join(aliases) or '-'})"
                whole = [line for line in plan if re.match(rf"SCAN {names}\b", line)]
            else:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
                (found_plan,) = cursor.fetchone()
                tree = found_plan if isinstance(found_plan, list) else json.loads(found_plan)
                whole = [
                    node["Relation Name"]
                    for node in nodes(tree[0]["Plan"])
                    if node["Node Type"] == "Seq Scan" and re.match(tables, node["Relation Name"])
                ]
        if whole:
            found.append(f"{whole}: {sql}")
    return found


def nodes(plan: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def test_a_room_and_what_was_said_there_are_read_by_indexes(room, alice, bob, api):
    make_much(room, alice, bob)
    for name, act in acts(api, room, bob).items():
        taken = queries(act)
        if name.endswith("rooms") and connection.vendor == "postgresql":
            with (
                connection.cursor() as cursor
            ):  # it reads the few rooms of a test whole, for that is cheaper
                cursor.execute("SET LOCAL enable_seqscan = off")
        assert any("hub_chat" in sql for sql in taken), name
        assert scans(taken) == [], name


def test_posting_editing_and_deleting_go_by_indexes(room, alice, bob):
    make_much(room, alice, bob)
    posted: list[Message] = []
    taken = queries(lambda: posted.append(say(alice, room, "hello @bob")))
    taken += queries(lambda: messages.edit(alice, room.pk, posted[0].pk, "hello all"))
    taken += queries(lambda: messages.delete(alice, room.pk, posted[0].pk))
    assert scans(taken) == []


@pytest.mark.django_db(transaction=True)
def test_what_is_unread_is_counted_from_an_index_alone(room, alice, bob):
    for n in range(10):
        fill(rooms.create(alice, "closed", f"Room {n}"), alice, MANY // 10)
    fill(room, alice, MANY)
    with connection.cursor() as cursor:
        # PostgreSQL reads an index alone once it is vacuumed, which goes in no transaction.
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    plan = rooms.counted(bob).filter(room=room).explain()
    assert re.search(r"(COVERING INDEX|Index Only Scan using) hub_message_counted", plan), plan


def test_a_scan_would_be_seen(room, alice, bob):
    """The tests above could fail: whoever looks for texts by hand reads everything."""
    make_much(room, alice, bob)
    assert scans(queries(lambda: list(Message.objects.filter(edited_at__isnull=False))))
    assert person("alice") == alice
