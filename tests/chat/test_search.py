"""Search: both databases find the same, in the rooms that somebody may read, and by an index."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Callable
from importlib import import_module

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chat import messages, rooms, search
from chat.errors import InvalidChat, NoSuchRoom
from chat.models import Message, Room
from tests.people import person

pytestmark = pytest.mark.django_db
Say = Callable[..., Message]


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    return rooms.create(alice, "closed", "Deploys", members=[bob])


@pytest.fixture
def say(alice: User, room: Room) -> Say:
    def post(body: str, where: Room = room, who: User = alice) -> Message:
        return messages.post(who, where.pk, uuid.uuid4(), body)[0]

    return post


def found(user: User, query: str, **options: int) -> list[str]:
    return [hit.message.body for hit in search.search(user, query, **options).hits]


SAID = (
    "The server is down",
    "WebServer01 restarted",
    "서버가 느려요",
    "웹서버를 다시 시작했어요",
    "배포 끝났습니다",
    "100% of the orders_late table",
    "100 of the orders late",
    'He said "well, well" AND left',
    "c:\\temp\\new",
    "Élan vital",
    "NEAR(this, that) OR not -this* ^that",
    "안녕하세요 여러분",
)


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("server", [0, 1]),
        ("SERVER", [0, 1]),
        ("erver0", [1]),
        ("server down", [0]),
        ("down server", [0]),
        ('"server down"', []),
        ('"server is down"', [0]),
        ("서버", [2, 3]),
        ("서버가", [2]),
        ("웹서버", [3]),
        ("다시 시작", [3]),
        ("배포", [4]),
        ("끝", [4]),
        ("하세요 여", [11]),
        ("100%", [5]),
        ("100 orders", [5, 6]),
        ("orders_late", [5]),
        ("s_l", [5]),
        ("_l", [5]),
        ("%", [5]),
        ("well, well", [7]),
        ('"well, well" AND', [7]),
        ("\\temp", [8]),
        ("\\t", [8]),
        ("\\", [8]),
        ("élan", [9]),
        ("ÉLAN", [9]),
        ("near(this", [10]),
        ("NEAR(", [10]),
        ("this* OR", [10]),
        ("-this", [10]),
        ("^that", [10]),
        ("body:server", []),
        ("server OR down", []),
        ("NOT server", []),
        ("ser*", []),
        ("*", [10]),
        ("(", [10]),
        ('"', []),
        ('""', []),
        ("''", []),
        ("   ", []),
        ("", []),
        ("'; DROP TABLE hub_chat_message; --", []),
        ("x{y}z", []),
        ("none of it", []),
    ],
)
def test_finds_parts_of_words_and_knows_no_operators(say, alice, query, hits):
    for body in SAID:
        say(body)
    assert found(alice, query) == [SAID[at] for at in reversed(hits)]


def test_what_was_typed_in_pieces_is_found_whole(say, alice):
    say(unicodedata.normalize("NFD", "서버가 느려요"))
    assert (
        len(found(alice, "느려")) == len(found(alice, unicodedata.normalize("NFD", "느려요"))) == 1
    )


def test_only_rooms_that_one_may_read(say, room, alice, bob, charlie, admin):
    open_room = rooms.create(alice, "open", "All")
    direct, _ = rooms.direct(alice, [charlie])
    say("secret plan")
    say("open plan", open_room)
    say("direct plan", direct)
    assert found(alice, "plan") == ["direct plan", "open plan", "secret plan"]
    assert found(bob, "plan") == ["open plan", "secret plan"]
    assert found(charlie, "plan") == ["direct plan", "open plan"]
    assert found(admin, "plan") == ["open plan"]
    assert found(charlie, "pl") == ["direct plan", "open plan"]
    assert found(alice, "plan", room=room.pk) == ["secret plan"]
    assert found(alice, "pl", room=room.pk) == ["secret plan"]


def test_a_room_that_one_may_not_read_is_none(say, room, charlie):
    say("secret plan")
    for missing in (room.pk, room.pk + 1000):
        with pytest.raises(NoSuchRoom):
            search.search(charlie, "plan", room=missing)


def test_who_is_removed_finds_nothing_of_the_room_any_more(say, room, alice, bob):
    say("secret plan")
    assert found(bob, "plan")
    rooms.remove(room, bob, by=alice)
    assert found(bob, "plan") == found(bob, "pl") == []
    rooms.delete(room)
    assert found(alice, "plan") == []


def test_follows_edits_and_deletes(say, room, alice):
    message = say("first words")
    messages.edit(alice, room.pk, message.pk, "other thoughts")
    assert found(alice, "words") == []
    assert found(alice, "thoughts") == found(alice, "ot") == ["other thoughts"]
    messages.delete(alice, room.pk, message.pk)
    assert found(alice, "thoughts") == found(alice, "ot") == []
    Message.objects.filter(pk=message.pk).delete()
    say("thoughts again")
    assert found(alice, "thoughts") == ["thoughts again"]


@pytest.mark.parametrize("query", ["mess", "me"])
def test_pages_newest_first_without_gap_or_double(say, alice, query):
    for n in range(7):
        say(f"message {n}")
        say("noise")
    seen, before = [], None
    for _ in range(4):
        page = search.search(alice, query, limit=3, before=before)
        seen += [hit.message.body for hit in page.hits]
        before = page.next
        if before is None:
            break
    assert seen == [f"message {n}" for n in reversed(range(7))]
    assert before is None


def test_the_last_full_page_says_that_it_is_the_last(say, alice):
    for _ in range(3):
        say("message")
    assert search.search(alice, "message", limit=3).next is None


def test_a_query_that_is_too_long_is_refused(alice):
    with pytest.raises(InvalidChat) as refused:
        search.search(alice, "x" * 201)
    assert refused.value.field == "q"
    assert found(alice, "x y " * 50) == []


def test_hits_are_cut_around_what_was_looked_for(say, alice):
    say(f"{'before ' * 40}the **needle**\n\nand a Needle {'after ' * 60}")
    [hit] = search.search(alice, "needle").hits
    assert hit.snippet.startswith("…before")
    assert hit.snippet.endswith("…")
    assert len(hit.snippet) <= 181
    assert "\n" not in hit.snippet
    assert [hit.snippet[start:end] for start, end in hit.ranges] == ["needle", "Needle"]
    assert "".join(piece for piece, _ in hit.parts) == hit.snippet
    assert [piece for piece, is_hit in hit.parts if is_hit] == ["needle", "Needle"]


def test_a_snippet_reads_as_the_message_does(say, alice):
    say("**needle** of [the docs](https://example.org/x) & `a*b`\n\n- one\n- @bob <b>\n> two")
    (hit,) = search.search(alice, "needle").hits
    assert hit.snippet == "needle of the docs & a*b one @bob <b> two"
    assert [hit.snippet[start:end] for start, end in hit.ranges] == ["needle"]


def test_what_stands_in_the_typed_text_alone_is_shown_there(say, alice):
    say("see [the docs](https://example.org/x)")
    (hit,) = search.search(alice, "example.org").hits
    assert hit.snippet == "see [the docs](https://example.org/x)"
    assert [hit.snippet[start:end] for start, end in hit.ranges] == ["example.org"]


def test_a_short_text_is_its_own_snippet(say, alice):
    say("🎉 서버가 났어요 🎉 <b>")
    [hit] = search.search(alice, "서버 났").hits
    assert hit.snippet == "🎉 서버가 났어요 🎉 <b>"
    assert hit.parts == [
        ("🎉 ", False),
        ("서버", True),
        ("가 ", False),
        ("났", True),
        ("어요 🎉 <b>", False),
    ]


def test_items_are_messages_with_where_and_what(say, room, alice, bob, charlie):
    message = say("a needle @bob")
    direct, _ = rooms.direct(alice, [bob, charlie])
    say("needle, too", direct)
    first, second = search.search(alice, "needle").items
    assert first["room_name"] == "bob, charlie"
    assert second == {
        **messages.item(message),
        "room_name": "Deploys",
        "snippet": "a needle @bob",
        "ranges": [(2, 8)],
    }


def test_a_page_takes_the_same_number_of_queries_however_long_it_is(say, alice):
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as taken:
            assert search.search(alice, "message").items
        return len(taken)

    say("message")
    one = queries()
    for n in range(10):
        say("message", rooms.create(alice, "closed", f"Room {n}"))
    assert queries() == one


@pytest.fixture
def much(room: Room, alice: User) -> None:
    """So much that no database reads it all instead of its index."""
    bodies = ["the quick brown fox jumps over the lazy dog"] * 5000
    bodies[2500] = "a unicorn"
    Message.objects.bulk_create(
        [
            Message(room=room, author=alice, client_id=uuid.uuid4(), body=body, html="")
            for body in bodies
        ]
    )
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # what vacuum does otherwise
            cursor.execute("SELECT gin_clean_pending_list('hub_message_parts')")
        cursor.execute("ANALYZE")


def test_an_index_finds_it(much, alice):
    with CaptureQueriesContext(connection) as taken:
        assert found(alice, "unicorn") == ["a unicorn"]
    query = [one["sql"] for one in taken if "unicorn" in one["sql"]][-1]
    with connection.cursor() as cursor:
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        cursor.execute(f"{explain} {query}")
        plan = "\n".join(str(row) for row in cursor.fetchall())
    if connection.vendor == "sqlite":
        assert "SCAN hub_chat_search VIRTUAL TABLE INDEX" in plan
        assert "SEARCH message USING INTEGER PRIMARY KEY" in plan
        assert "USE TEMP B-TREE" not in plan
    else:
        assert "Bitmap Index Scan on hub_message_parts" in plan
        assert "Seq Scan on hub_chat_message" not in plan


def test_the_index_outlives_all_migrations():
    """A migration that alters `hub_chat_message` on SQLite loses its triggers: it has to make them again."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
            names = {name for (name,) in cursor.fetchall()}
            assert names >= {f"hub_chat_search_{what}" for what in ("added", "changed", "removed")}
        else:
            cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'hub_chat_message'")
            assert ("hub_message_parts",) in cursor.fetchall()


def test_the_index_agrees_with_the_messages(say, room, alice):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL keeps its index itself")
    kept = [say(body) for body in ("one of them", "two of them", "three of them")]
    messages.edit(alice, room.pk, kept[0].pk, "changed")
    messages.delete(alice, room.pk, kept[1].pk)
    Message.objects.filter(pk=kept[2].pk).delete()
    person("dora").delete()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO hub_chat_search(hub_chat_search, rank) VALUES ('integrity-check', 1)"
        )


def test_a_database_without_the_extension_is_searched_all_the_same(say, alice, caplog, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite brings its trigrams along")
    migration = import_module("chat.migrations.0002_search")
    with connection.cursor() as cursor:
        cursor.execute(migration.POSTGRESQL_BACK[0])
    refused = ("CREATE EXTENSION IF NOT EXISTS none_of_that_name", *migration.POSTGRESQL[1:])
    monkeypatch.setattr(migration, "POSTGRESQL", refused)
    with connection.schema_editor() as editor:
        migration.index(None, editor)
    assert "none_of_that_name" in caplog.text
    say("found without")
    assert found(alice, "und wit") == ["found without"]


def test_common_words_fill_a_page_without_reading_all_that_have_them(much, alice):
    if connection.vendor != "postgresql":
        pytest.skip("FTS5 gives its rows one by one")
    with CaptureQueriesContext(connection) as taken:
        assert len(found(alice, "fox quick")) == search.PAGE
    [query] = [one["sql"] for one in taken if "fox" in one["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {query}")
        plan = "\n".join(str(row) for row in cursor.fetchall())
    assert "Index Scan Backward using hub_chat_message_pkey" in plan
    assert "Sort" not in plan


@pytest.mark.parametrize("newest", [1, 2, 5, 100])
def test_finds_the_same_whatever_is_looked_through_first(say, alice, newest, monkeypatch):
    monkeypatch.setattr(search, "_NEWEST", newest)
    for body in ("a fox", "no", "FOX b", "c fox", "no", "fox%"):
        say(body)
    assert found(alice, "fox") == ["fox%", "c fox", "FOX b", "a fox"]
    assert found(alice, "fox", limit=2) == ["fox%", "c fox"]
    assert found(alice, "x%") == ["fox%"]
