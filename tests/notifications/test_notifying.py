from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from events import log, topics
from notifications import EVERYONE, inbox, notify, notifying, tasks
from notifications.errors import InvalidNotification
from notifications.models import Inbox, Letter, Notification
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


@pytest.mark.django_db(transaction=False)
def test_the_transaction_around_a_test_is_none_of_the_callers(alice):
    assert notify(to=alice, kind="k", title="t") == 1
    assert told(alice) == ["t"]
    with transaction.atomic():
        notify(to=alice, kind="k", title="after a commit that never comes")
    assert told(alice) == ["t"]


def test_what_a_savepoint_took_back_is_told_to_nobody(alice):
    with transaction.atomic():
        with pytest.raises(RuntimeError), transaction.atomic():
            notify(to=alice, kind="k", title="never", key="k")
            raise RuntimeError
        assert notify(to=alice, kind="k", title="yes", key="k") == 1
        assert told(alice) == []
    assert told(alice) == ["yes"]
    assert not Letter.objects.exists()


def test_a_key_is_told_once_by_one_transaction_and_by_two(alice, bob):
    posted, go = threading.Event(), threading.Event()

    def other() -> None:
        if connection.vendor == "postgresql":
            with transaction.atomic():
                notify(to=[alice, bob], kind="k", title="other", key="once")
                posted.set()
                go.wait(5)
        posted.set()
        connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    posted.wait(5)
    with transaction.atomic():
        assert notify(to=alice, kind="k", title="t", key="once") == 1
        assert notify(to=[alice, bob], kind="k", title="t", key="once") == 1
        assert notify(to=[alice, bob], kind="k", title="t", key="once") == 0
    go.set()
    thread.join()
    assert told(alice) == told(bob) == ["t"]
    assert inbox.unread(alice) == inbox.unread(bob) == 1


def needs_many_writers() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")


def test_two_transactions_that_tell_people_in_another_order_do_not_wait_for_each_other(alice, bob):
    needs_many_writers()
    notify(to=[alice, bob], kind="k", title="open the inboxes")
    gate = threading.Barrier(2, timeout=10)

    def tell(first: User, second: User) -> None:
        try:
            with transaction.atomic():
                notify(to=first, kind="k", title="1", key="a")
                gate.wait()
                notify(to=second, kind="k", title="2", key="a")
                gate.wait()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(tell, alice, bob), pool.submit(tell, bob, alice)]:
            done.result()
    assert inbox.unread(alice) == inbox.unread(bob) == 2


def test_a_long_transaction_keeps_nobody_from_their_inbox(alice):
    needs_many_writers()
    notify(to=alice, kind="k", title="open the inbox")
    (row,) = inbox.page(alice).notifications
    told_long, marked = threading.Event(), threading.Event()

    def long_job() -> None:
        try:
            with transaction.atomic():
                notify(to=alice, kind="k", title="from a long job")
                told_long.set()
                assert marked.wait(10)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(long_job)
        assert told_long.wait(5)
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '2s'")
            assert inbox.mark(alice, row.pk, read=True) == 0
        assert notify(to=alice, kind="k", title="meanwhile") == 1
        marked.set()
        job.result()
    assert told(alice) == ["from a long job", "meanwhile", "open the inbox"]


def left_behind(people: list[User], titles: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Committed by a process that dies at that very moment."""
    with monkeypatch.context() as patched:
        patched.setattr(notifying, "_deliver_posted", lambda keys: None)
        for title in titles:
            with transaction.atomic():
                notify(to=people, kind="k", title=title)


def test_what_a_process_left_behind_is_delivered_exactly_once(alice, bob, monkeypatch):
    left_behind([alice, bob], ["first", "second"], monkeypatch)
    assert told(alice) == []
    start = threading.Barrier(4)

    def sweep() -> int:
        start.wait()
        try:
            return tasks.deliver_left_behind()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        swept = list(pool.map(lambda _: sweep(), range(4)))
    assert sum(swept) == 2
    assert tasks.deliver_left_behind() == 0
    assert sorted(told(alice)) == sorted(told(bob)) == ["first", "second"]
    events = log.after(topics.user(alice.pk), 0, 10)
    assert [event.data["unread"] for event in events] == [1, 2]


def test_a_letter_that_cannot_be_delivered_keeps_no_other(alice, monkeypatch, caplog):
    left_behind([alice], ["first", "bad", "last"], monkeypatch)
    store = notifying._store

    def refusing(pairs: Any, drafts: Any, actors: Any) -> int:
        if any(draft.title == "bad" for draft in drafts):
            raise ValueError("bad")
        return store(pairs, drafts, actors)

    with monkeypatch.context() as patched:
        patched.setattr(notifying, "_store", refusing)
        assert tasks.deliver_left_behind() == 2
    assert told(alice) == ["last", "first"]
    assert "can't be delivered" in caplog.text
    assert tasks.deliver_left_behind() == 1


def test_people_and_actors_that_went_meanwhile_are_left_out(alice, bob, charlie, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(notifying, "_deliver_posted", lambda keys: None)
        with transaction.atomic():
            notify(to=[alice, bob], kind="k", title="t", actor=charlie)
    bob.delete()
    charlie.delete()
    assert tasks.deliver_left_behind() == 1
    assert [item["actor"] for item in inbox.page(alice).items] == [None]


def test_looking_for_what_was_left_behind_is_one_query():
    with CaptureQueriesContext(connection) as captured:
        assert tasks.deliver_left_behind() == 0
    assert len(captured) == 1


def test_queries_do_not_depend_on_the_number_of_people():
    people = crowd(2 * PEOPLE_PER_TRANSACTION)
    with transaction.atomic():
        notify(to=people, kind="k", title="open the inboxes")

    def queries(users: list[User]) -> int:
        with CaptureQueriesContext(connection) as captured, transaction.atomic():
            notify(to=users, kind="k", title="t")
        return sum(not query["sql"].startswith(("SAVEPOINT", "RELEASE")) for query in captured)

    one_chunk, two_chunks = queries(people[:PEOPLE_PER_TRANSACTION]), queries(people)
    bound = 32 if connection.vendor == "postgresql" else 48  # SQLite takes 999 values a statement
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


@pytest.mark.parametrize("inside", ["a transaction", "none"])
def test_unread_in_the_events_rises_with_their_offsets(alice, inside):
    start = threading.Barrier(4)

    def writer(number: int) -> None:
        start.wait()
        for n in range(10):
            with transaction.atomic() if inside == "a transaction" else nullcontext():
                notify(to=alice, kind="k", title=f"{number}.{n}")
            if number == 0:
                tasks.deliver_left_behind()
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(writer, range(4)))
    tasks.deliver_left_behind()
    events = log.after(topics.user(alice.pk), 0, 100)
    assert [event.data["unread"] for event in events] == list(range(1, 41))
    ids = [event.data["id"] for event in events]
    assert ids == sorted(ids)
