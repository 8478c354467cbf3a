from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import profiles
from events import log, topics
from notifications import inbox, notify, tasks
from notifications.errors import NoSuchNotification
from notifications.models import Inbox, Notification

pytestmark = pytest.mark.django_db(transaction=True)


def fill(user: Any, count: int) -> list[int]:
    """Ids of so many new notifications, oldest first."""
    for n in range(count):
        notify(to=user, kind="k", title=f"n{n}")
    return sorted(Notification.objects.filter(recipient=user).values_list("pk", flat=True))


def recount(user: Any) -> int:
    return Notification.objects.filter(recipient=user, read_at=None).count()


def events_of(user: Any) -> list[Any]:
    return log.after(topics.user(user.pk), 0, 100_000)


def apply(state: dict[str, Any], events: list[Any]) -> dict[str, Any]:
    """What a client makes of a snapshot and the events after its cursor."""
    items = {item["id"]: dict(item) for item in state["items"]}
    unread = state["unread"]
    for event in events:
        data = dict(event.data)
        if not event.type.startswith("notification."):
            continue
        unread = data.pop("unread")
        if event.type == "notification.created":
            items[data["id"]] = data
        elif event.type == "notification.changed" and "up_to" in data:
            for item in items.values():
                item["read"] = item["read"] or item["id"] <= data["up_to"]
        elif event.type == "notification.changed":
            if data["id"] in items:
                items[data["id"]]["read"] = data["read"]
        elif event.type == "notification.removed":
            for gone in data["ids"]:
                items.pop(gone, None)
    return {"items": [items[key] for key in sorted(items, reverse=True)], "unread": unread}


def bare(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {"items": snapshot["items"], "unread": snapshot["unread"]}


def after_cursor(user: Any, snapshot: dict[str, Any]) -> list[Any]:
    offset = int(snapshot["cursor"].rpartition(":")[2])
    return log.after(topics.user(user.pk), offset, 100_000)


def test_pages_run_newest_first_and_say_where_the_next_begins(alice, bob):
    ids = fill(alice, 5)
    fill(bob, 1)
    first = inbox.page(alice, limit=2)
    assert [row.pk for row in first.notifications] == [ids[4], ids[3]]
    second = inbox.page(alice, limit=2, before=first.next)
    assert [row.pk for row in second.notifications] == [ids[2], ids[1]]
    last = inbox.page(alice, limit=2, before=second.next)
    assert ([row.pk for row in last.notifications], last.next) == ([ids[0]], None)


def test_pages_hold_the_read_the_unread_or_all(alice):
    ids = fill(alice, 3)
    inbox.mark(alice, ids[1], read=True)
    pages: dict[inbox.State, list[int]] = {"all": ids, "unread": [ids[0], ids[2]], "read": [ids[1]]}
    for state, expected in pages.items():
        rows = inbox.page(alice, state).notifications
        assert [row.pk for row in rows] == expected[::-1]


def test_marking_moves_once_and_may_go_back(alice):
    first, second = fill(alice, 2)
    before = len(events_of(alice))
    assert inbox.mark(alice, first, read=True) == 1
    assert inbox.mark(alice, first, read=True) == 1
    assert inbox.mark(alice, first, read=False) == 2
    assert inbox.mark(alice, second, read=False) == 2
    assert [event.data for event in events_of(alice)[before:]] == [
        {"id": first, "read": True, "unread": 1},
        {"id": first, "read": False, "unread": 2},
    ]


def test_a_foreign_notification_is_as_absent_as_one_that_never_was(alice, bob):
    (hers,) = fill(alice, 1)
    for absent in (hers, hers + 1000, 0, -1, 2**70):
        with pytest.raises(NoSuchNotification):
            inbox.mark(bob, absent, read=True)
    assert inbox.unread(alice) == 1
    assert events_of(bob) == []


def test_marking_by_keys_marks_what_is_there_and_unread_of_that_kind(alice, bob, monkeypatch):
    monkeypatch.setattr(inbox, "_KEYS_PER_MARK", 2)
    for n in range(5):
        notify(to=[alice, bob], kind="k", title=f"n{n}", key=f"key{n}")
    notify(to=alice, kind="other", title="other", key="key5")
    ids = fill(alice, 1)
    inbox.mark(alice, ids[1], read=True)
    before = len(events_of(alice))
    keys = ["key0", "key1", "key2", "key3", "key5", "gone"]
    assert inbox.mark_keys(alice, "k", keys) == 3
    assert inbox.mark_keys(alice, "k", keys) == inbox.mark_keys(alice, "k", []) == 0
    assert [event.data for event in events_of(alice)[before:]] == [
        {"id": ids[0], "read": True, "unread": 5},
        {"id": ids[2], "read": True, "unread": 4},
        {"id": ids[3], "read": True, "unread": 3},
    ]
    assert inbox.unread(alice) == recount(alice) == 3
    assert inbox.unread(bob) == recount(bob) == 5


def test_marking_all_stops_at_what_was_seen(alice):
    ids = fill(alice, 4)
    assert inbox.mark_all(alice, ids[2]) == 1
    assert inbox.mark_all(alice, ids[0]) == 1
    assert inbox.mark_all(alice, 0) == 1
    assert [event.data for event in events_of(alice)[4:]] == [
        {"up_to": ids[2], "read": True, "unread": 1}
    ]
    assert recount(alice) == 1


def test_marking_a_long_inbox_goes_in_steps_that_each_tell_the_truth(alice, monkeypatch):
    monkeypatch.setattr(inbox, "_ROWS_PER_MARK", 3)
    ids = fill(alice, 7)
    start = inbox.snapshot(alice)
    assert inbox.mark_all(alice, ids[-1] + 5) == 0
    steps = after_cursor(alice, start)
    assert [event.data["unread"] for event in steps] == [4, 1, 0]
    for number, event in enumerate(steps):
        read = [item["read"] for item in apply(start, steps[: number + 1])["items"]]
        assert read.count(False) == event.data["unread"]


def test_marking_a_long_inbox_takes_few_queries(alice):
    notify(to=alice, kind="k", title="t")
    rows = [Notification(recipient=alice, kind="k", title="t") for _ in range(999)]
    Notification.objects.bulk_create(rows)
    Inbox.objects.filter(pk=alice.pk).update(unread=1000)
    with CaptureQueriesContext(connection) as captured:
        assert inbox.mark_all(alice, 2**62) == 0
    assert len(captured) < 40
    assert recount(alice) == 0


def test_a_snapshot_and_the_events_after_it_are_a_fresh_snapshot(alice, bob):
    """For every `notification.*` (E12)."""
    fill(alice, 6)
    ids = [row.pk for row in reversed(inbox.page(alice).notifications)]

    def prune() -> None:
        Notification.objects.filter(pk=ids[0]).update(
            created_at=timezone.now() - timedelta(days=9999)
        )
        tasks.prune()

    acts = [
        lambda: notify(to=[alice, bob], kind="k", title="<b>new</b>", body="b", actor=bob),
        lambda: inbox.mark(alice, ids[1], True),
        lambda: inbox.mark(alice, ids[1], False),
        lambda: inbox.mark_all(alice, ids[3]),
        prune,
    ]
    for act in acts:
        snapshot = inbox.snapshot(alice)
        act()
        assert apply(snapshot, after_cursor(alice, snapshot)) == bare(inbox.snapshot(alice))
        assert set(after_cursor(alice, snapshot))


def test_old_notifications_go_and_the_count_with_them(alice, bob, settings):
    settings.HUB_NOTIFICATION_DAYS = 10
    old_read, old_unread, young = fill(alice, 3)
    fill(bob, 1)
    inbox.mark(alice, old_read, read=True)
    long_ago = timezone.now() - timedelta(days=11)
    Notification.objects.filter(pk__in=[old_read, old_unread]).update(created_at=long_ago)
    assert tasks.prune() == 2
    assert [row.pk for row in inbox.page(alice).notifications] == [young]
    assert inbox.unread(alice) == recount(alice) == 1
    assert events_of(alice)[-1].type == "notification.removed"
    assert events_of(alice)[-1].data == {"ids": [old_read, old_unread], "unread": 1}
    assert tasks.prune() == 0


def test_pruning_goes_in_steps(alice, monkeypatch):
    monkeypatch.setattr(inbox, "_ROWS_PER_PRUNE", 2)
    fill(alice, 5)
    assert inbox.prune(timezone.now() + timedelta(days=1)) == 5
    assert inbox.unread(alice) == 0


def test_me_tells_the_unread_count(alice):
    fill(alice, 2)
    assert profiles.me_parts(alice)["unread"] == 2


operations = st.lists(
    st.tuples(
        st.sampled_from(["notify", "mark", "unmark", "mark_all", "remove", "rollback"]),
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=25,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(operations)
def test_the_kept_count_is_a_recount_after_anything(alice, bob, steps):
    Notification.objects.all().delete()
    Inbox.objects.update(unread=0)
    snapshot = inbox.snapshot(alice)
    for name, pick, keyed in steps:
        _act(name, pick, keyed, alice, bob)
        assert inbox.unread(alice) == recount(alice)
    assert inbox.unread(bob) == recount(bob)
    assert apply(snapshot, after_cursor(alice, snapshot)) == bare(inbox.snapshot(alice))


def _act(name: str, pick: int, keyed: bool, alice: Any, bob: Any) -> None:
    ids = list(Notification.objects.filter(recipient=alice).order_by("pk").values_list("pk"))
    chosen = ids[pick % len(ids)][0] if ids else 0
    if name == "notify":
        notify(to=[alice, bob], kind="k", title="t", key=f"key {pick}" if keyed else None)
    elif name == "mark_all":
        inbox.mark_all(alice, chosen)
    elif name == "remove" and ids:
        inbox.remove([(alice.pk, chosen)])
    elif name == "rollback":
        with pytest.raises(RuntimeError), transaction.atomic():
            notify(to=alice, kind="k", title="never")
            inbox.mark_all(alice, 2**62)
            raise RuntimeError
    elif name in {"mark", "unmark"} and ids:
        inbox.mark(alice, chosen, read=name == "mark")


def test_the_kept_count_is_a_recount_though_six_change_it_at_once(alice, bob):
    fill(alice, 10)
    snapshot = inbox.snapshot(alice)
    start = threading.Barrier(6)

    def worker(seed: int) -> None:
        dice = random.Random(seed)
        start.wait()
        try:
            for _ in range(15):
                name = dice.choice(["notify", "mark", "unmark", "mark_all", "remove"])
                try:
                    _act(name, dice.randrange(10), dice.random() < 0.5, alice, bob)
                except NoSuchNotification:
                    continue  # removed by a neighbour
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(worker, range(6)))
    assert inbox.unread(alice) == recount(alice)
    assert inbox.unread(bob) == recount(bob)
    assert apply(snapshot, after_cursor(alice, snapshot)) == bare(inbox.snapshot(alice))


def test_read_state_never_goes_back_while_twenty_tabs_mark(alice):
    """E150 in small: whoever marks up to a lower id does not undo a higher one."""
    ids = fill(alice, 40)
    positions = [random.Random(7).choice(ids) for _ in range(40)]

    def tab(up_to: int) -> None:
        try:
            inbox.mark_all(alice, up_to)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(tab, positions))
    read = Notification.objects.filter(recipient=alice).exclude(read_at=None)
    assert max(read.values_list("pk", flat=True)) == max(positions)
    assert read.count() == len([key for key in ids if key <= max(positions)])
    assert inbox.unread(alice) == recount(alice)
    counts = [e.data["unread"] for e in events_of(alice) if e.type == "notification.changed"]
    assert counts == sorted(counts, reverse=True)
