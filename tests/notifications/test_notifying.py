from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from events import log, topics
from notifications import EVERYONE, inbox, notify
from notifications.errors import InvalidNotification
from notifications.models import Inbox, Notification
from notifications.notifying import PEOPLE_PER_TRANSACTION

pytestmark = pytest.mark.django_db(transaction=True)


def crowd(count: int) -> list[User]:
    return User.objects.bulk_create(
        [User(username=f"person-{n}", password="!") for n in range(count)]
    )


def told(user: User) -> list[str]:
    return [row.title for row in inbox.page(user).notifications]


def test_one_row_and_one_event_per_person(alice, bob, charlie):
    assert notify(to=[alice, bob], kind="orders.late", title="Order 7 is late", actor=alice) == 2
    assert told(alice) == told(bob) == ["Order 7 is late"]
    assert told(charlie) == []
    (event,) = log.after(topics.user(bob.pk), 0, 10)
    (item,) = inbox.page(bob).items
    assert event.type == "notification.created"
    assert event.data == {**item, "unread": 1}
    assert item["actor"] == {"id": alice.pk, "name": "alice", "username": "alice"}
    assert set(item) == {"id", "kind", "title", "body", "url", "level", "actor", "read", "at"}


def test_people_are_users_ids_teams_or_everyone(alice, bob, charlie, admin):
    team = Group.objects.create(name="night shift")
    team.user_set.add(alice, bob)
    cases = [
        (alice, [alice]),
        (bob.pk, [bob]),
        ([alice, bob.pk, bob], [alice, bob]),
        (User.objects.filter(username="charlie"), [charlie]),
        (team, [alice, bob]),
        (Group.objects.filter(name="night shift"), [alice, bob]),
        ([team, charlie], [alice, bob, charlie]),
        (EVERYONE, [alice, bob, charlie, admin]),
        ([], []),
        (10**9, []),
    ]
    for number, (to, expected) in enumerate(cases):
        assert notify(to=to, kind="k", title=f"case {number}") == len(expected)
        rows = Notification.objects.filter(title=f"case {number}")
        assert set(rows.values_list("recipient_id", flat=True)) == {user.pk for user in expected}


def test_refuses_what_is_no_person(alice):
    for to in ("alice", ["alice"], True, object()):
        with pytest.raises(InvalidNotification) as caught:
            notify(to=to, kind="k", title="t")  # type: ignore[arg-type]
        assert caught.value.field == "to"


def only_alice(user: User) -> bool:
    return user.username == "alice"


def test_only_active_staff_is_told(alice, bob, settings):
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert notify(to=[alice, bob], kind="k", title="to the active") == 1
    User.objects.filter(pk=bob.pk).update(is_active=True)
    settings.HUB_IS_STAFF = f"{__name__}.only_alice"
    assert notify(to=EVERYONE, kind="k", title="to alice") == 1
    assert told(bob) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", ""),
        ("kind", "<b>"),
        ("kind", "k" * 101),
        ("title", ""),
        ("title", "  \n "),
        ("title", "t" * 201),
        ("title", "nul \x00"),
        ("title", "half a pair \ud800"),
        ("title", None),
        ("body", "b" * 6001),
        ("body", "\x07"),
        ("body", 7),
        ("url", "javascript:alert(1)"),
        ("url", "JaVaScRiPt:alert(1)"),
        ("url", "java\nscript:alert(1)"),
        ("url", " javascript:alert(1)"),
        ("url", "data:text/html,x"),
        ("url", "//evil.example"),
        ("url", "/\\evil.example"),
        ("url", "http://"),
        ("url", "https://[::1"),
        ("url", "ftp://example.org/"),
        ("url", "/" + "u" * 1000),
        ("level", "fatal"),
        ("level", None),
        ("key", ""),
        ("key", "k" * 201),
    ],
)
def test_names_the_field_that_cannot_be_accepted(alice, field, value):
    arguments = {"kind": "k", "title": "t", field: value}
    with pytest.raises(InvalidNotification) as caught:
        notify(to=alice, **arguments)
    assert caught.value.field == field
    assert told(alice) == []


@pytest.mark.parametrize(
    "url", ["", "/orders/7/", "orders/7?x=a:b#c", "?page=2", "https://example.org/ü"]
)
def test_links_are_relative_or_http(alice, url):
    assert notify(to=alice, kind="k", title="t", url=url) == 1


def test_the_largest_content_still_fits_an_event(alice):
    assert notify(to=alice, kind="k", title="🌍" * 200, body="🌍" * 6000, url="/" + "ü" * 999) == 1


def test_a_key_is_told_once_per_person(alice, bob):
    assert notify(to=alice, kind="k", title="first", key="deploy-1") == 1
    assert notify(to=[alice, bob], kind="k", title="second", key="deploy-1") == 1
    assert notify(to=[alice, bob], kind="k", title="third", key="deploy-1") == 0
    assert (told(alice), told(bob)) == (["first"], ["second"])
    assert inbox.unread(alice) == inbox.unread(bob) == 1
    assert len(log.after(topics.user(alice.pk), 0, 10)) == 1


def test_a_key_is_told_once_though_eight_try_at_the_same_time(alice, bob):
    start = threading.Barrier(8)

    def attempt() -> int:
        start.wait()
        try:
            return notify(to=[alice, bob], kind="k", title="t", key="once")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: attempt(), range(8)))
    assert sum(results) == 2
    assert inbox.unread(alice) == Notification.objects.filter(recipient=alice).count() == 1


def test_belongs_to_the_transaction_of_its_caller(alice):
    with pytest.raises(RuntimeError), transaction.atomic():
        notify(to=alice, kind="k", title="never")
        raise RuntimeError
    assert told(alice) == []
    assert inbox.unread(alice) == 0
    assert log.after(topics.user(alice.pk), 0, 10) == []


def test_queries_do_not_depend_on_the_number_of_people():
    people = crowd(2 * PEOPLE_PER_TRANSACTION)
    with transaction.atomic():
        notify(to=people, kind="k", title="open the inboxes")

    def queries(users: list[User]) -> int:
        with CaptureQueriesContext(connection) as captured, transaction.atomic():
            notify(to=users, kind="k", title="t")
        return sum(not query["sql"].startswith(("SAVEPOINT", "RELEASE")) for query in captured)

    one_chunk, two_chunks = queries(people[:PEOPLE_PER_TRANSACTION]), queries(people)
    bound = 24 if connection.vendor == "postgresql" else 40  # SQLite takes 999 values a statement
    assert one_chunk <= bound
    assert two_chunks <= 2 * one_chunk


def test_ten_thousand_people_in_one_call():
    crowd(10_000)
    with CaptureQueriesContext(connection) as captured:
        assert notify(to=EVERYONE, kind="k", title="All hands") == 10_000
    assert len(captured) <= 10 * 150  # everything, first inboxes and topics included
    assert Notification.objects.count() == Inbox.objects.filter(unread=1).count() == 10_000
    names = [topics.user(pk) for pk in User.objects.values_list("pk", flat=True)]
    assert set(log.heads(names).values()) == {1}


def test_markup_is_kept_as_the_text_it_is(alice):
    nasty = "<script>alert('x')</script>&amp;"
    notify(to=alice, kind="k", title=nasty, body=nasty)
    (item,) = inbox.page(alice).items
    assert item["title"] == item["body"] == nasty


def test_unread_in_the_events_rises_with_their_offsets(alice):
    start = threading.Barrier(4)

    def writer(number: int) -> None:
        start.wait()
        for n in range(10):
            notify(to=alice, kind="k", title=f"{number}.{n}")
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(writer, range(4)))
    events = log.after(topics.user(alice.pk), 0, 100)
    assert [event.data["unread"] for event in events] == list(range(1, 41))
    ids = [event.data["id"] for event in events]
    assert ids == sorted(ids)
