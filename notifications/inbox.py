"""One person's inbox: its pages, its unread count, and moving the read state.

Every change locks the person's `Inbox` row first, moves only rows whose state really changes, and counts those.
So the kept count equals a recount after every commit, and `unread` in a person's events never runs backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts import profiles
from events import log, publish, publish_many, topics
from notifications.errors import NoSuchNotification
from notifications.models import Inbox, Notification

State = Literal["all", "unread", "read"]

PAGE: Final = 50
PAGE_MAX: Final = 200
_ROWS_PER_PRUNE: Final = 300  # as many recipients at worst, each with an event
_KEYS_PER_MARK: Final = 300  # as many events at worst
_ROWS_PER_MARK: Final = 1000  # keeps one transaction of mark_all well under 200 ms


_titles: dict[str, Callable[[str], str]] = {}


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. `next` is the `before` of the following page, None on the last."""

    notifications: list[Notification]
    next: int | None

    @property
    def items(self) -> list[dict[str, Any]]:
        return items(self.notifications)


def register_title(kind: str, translated: Callable[[str], str]) -> None:
    """Have titles of this kind said again by `translated`, in the language of whoever reads them."""
    _titles[kind] = translated


def page(user: User, state: State = "all", limit: int = PAGE, before: int | None = None) -> Page:
    rows = Notification.objects.filter(recipient=user)
    if state != "all":
        rows = rows.filter(read_at__isnull=state == "unread")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-pk")[: limit + 1])
    shown = found[:limit]
    return Page(shown, shown[-1].pk if len(found) > limit else None)


def unread(user: User) -> int:
    return Inbox.objects.filter(pk=user.pk).values_list("unread", flat=True).first() or 0


def snapshot(
    user: User, state: State = "all", limit: int = PAGE, before: int | None = None
) -> dict[str, Any]:
    """`GET /api/v1/inbox`: the events of `user.<id>` after its cursor bring it up to date."""
    cursor = log.cursor([topics.user(user.pk)])
    shown = page(user, state, limit, before)
    return {
        "items": shown.items,
        "unread": unread(user),
        "cursor": cursor,
        "next": shown.next,
    }


def mark(user: User, notification_id: int, read: bool) -> int:
    """Mark one as read or unread; again is no change. Returns the unread count; raises NoSuchNotification."""
    with transaction.atomic():
        count = _lock(user)
        mine = Notification.objects.filter(recipient=user, pk=notification_id)
        changed = mine.filter(read_at__isnull=read).update(read_at=timezone.now() if read else None)
        if not changed:
            if not mine.exists():
                raise NoSuchNotification(notification_id)
            return count
        count += -1 if read else 1
        Inbox.objects.filter(pk=user.pk).update(unread=count)
        publish(
            topics.user(user.pk),
            "notification.changed",
            {"id": notification_id, "read": read, "unread": count},
        )
    return count


def mark_all(user: User, up_to: int) -> int:
    """Mark as read what has this id or a lower one; what came later stays. Returns the unread count.

    A long inbox goes in several short transactions, oldest first; each says how far it got.
    """
    while True:
        with transaction.atomic():
            count = _lock(user)
            rows = Notification.objects.filter(recipient=user, read_at__isnull=True, pk__lte=up_to)
            ids = list(rows.order_by("pk").values_list("pk", flat=True)[:_ROWS_PER_MARK])
            if not ids:
                return count
            is_last = len(ids) < _ROWS_PER_MARK
            done = Notification.objects.filter(
                recipient=user, read_at__isnull=True, pk__lte=ids[-1]
            ).update(read_at=timezone.now())
            count -= done
            Inbox.objects.filter(pk=user.pk).update(unread=count)
            publish(
                topics.user(user.pk),
                "notification.changed",
                {"up_to": up_to if is_last else ids[-1], "read": True, "unread": count},
            )
        if is_last:
            return count


def mark_keys(user: User, kind: str, keys: Collection[str]) -> int:
    """Mark as read those of a kind that have one of these keys; what is not there, or read already, is none.

    Many go in several short transactions, each notification with an event of its own. Returns how many were marked.
    """
    wanted = sorted(keys)
    marked = 0
    for start in range(0, len(wanted), _KEYS_PER_MARK):
        some = wanted[start : start + _KEYS_PER_MARK]
        with transaction.atomic():
            count = _lock(user)
            told = Notification.objects.filter(
                recipient=user, kind=kind, key__in=some, read_at__isnull=True
            )
            ids = list(told.order_by("pk").values_list("pk", flat=True))
            Notification.objects.filter(pk__in=ids).update(read_at=timezone.now())
            add_to_unread({user.pk: -len(ids)})
            publish_many(
                (
                    topics.user(user.pk),
                    "notification.changed",
                    {"id": pk, "read": True, "unread": count - done},
                )
                for done, pk in enumerate(ids, 1)
            )
        marked += len(ids)
    return marked


def prune(before: datetime) -> int:
    """Delete what is older, in short transactions, and tell whom it concerns. Returns how many."""
    removed = 0
    while True:
        old = Notification.objects.filter(created_at__lt=before).order_by("created_at", "pk")
        pairs = list(old.values_list("recipient_id", "pk")[:_ROWS_PER_PRUNE])
        removed += remove(pairs)
        if len(pairs) < _ROWS_PER_PRUNE:
            return removed


def remove(pairs: Iterable[tuple[int, int]]) -> int:
    """Delete `(recipient id, notification id)` in one transaction and tell whom it concerns. Returns how many."""
    wanted: dict[int, list[int]] = {}
    for user_id, notification_id in pairs:
        wanted.setdefault(user_id, []).append(notification_id)
    with transaction.atomic():
        boxes = lock(wanted)
        rows = Notification.objects.filter(pk__in=[pk for ids in wanted.values() for pk in ids])
        found: dict[int, list[int]] = {}
        were_unread: dict[int, int] = {}
        for pk, user_id, read_at in rows.order_by("pk").values_list(
            "pk", "recipient_id", "read_at"
        ):
            found.setdefault(user_id, []).append(pk)
            were_unread[user_id] = were_unread.get(user_id, 0) + (read_at is None)
        Notification.objects.filter(pk__in=[pk for ids in found.values() for pk in ids]).delete()
        add_to_unread({user_id: -count for user_id, count in were_unread.items()})
        publish_many(
            (
                topics.user(user_id),
                "notification.removed",
                {"ids": ids, "unread": boxes[user_id] - were_unread[user_id]},
            )
            for user_id, ids in sorted(found.items())
        )
    return sum(map(len, found.values()))


def lock(user_ids: Iterable[int]) -> dict[int, int]:
    """Hold these people's inboxes until the transaction ends. Returns the unread count by id.

    Always in the order of ids, so that two who hold many never wait for each other.
    """
    boxes = Inbox.objects.select_for_update(no_key=True).filter(pk__in=set(user_ids))
    return dict(boxes.order_by("pk").values_list("pk", "unread"))


def add_to_unread(changes: dict[int, int]) -> None:
    """One statement for each different amount; in bulk that is usually one."""
    by_amount: dict[int, list[int]] = {}
    for user_id, amount in changes.items():
        by_amount.setdefault(amount, []).append(user_id)
    for amount, user_ids in by_amount.items():
        if amount:
            Inbox.objects.filter(pk__in=user_ids).update(unread=F("unread") + amount)


def items(notifications: Iterable[Notification]) -> list[dict[str, Any]]:
    """Notifications as the API has them, in the present language; actors' names in one query."""
    rows = list(notifications)
    actors = profiles.people({row.actor_id for row in rows if row.actor_id is not None})
    return [{**item(row, actors), "title": _titles.get(row.kind, str)(row.title)} for row in rows]


def item(row: Notification, actors: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """As events have it: in the language it is stored in."""
    return {
        "id": row.pk,
        "kind": row.kind,
        "title": row.title,
        "body": row.body,
        "url": row.url,
        "level": row.level,
        "actor": None if row.actor_id is None else actors.get(row.actor_id),
        "read": row.read_at is not None,
        "at": log.rfc3339(row.created_at),
    }


def _lock(user: User) -> int:
    return lock([user.pk]).get(user.pk, 0)
