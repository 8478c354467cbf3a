"""The rooms somebody is in, as the rail, the list and the dashboard show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.contrib.auth.models import User
from django.db.models import QuerySet

from chat import names, rooms
from chat.models import Involvement, Kind, Membership
from events import log, topics

HEARD: Final = 60
"""Rooms whose topics a page reads, those with the newest news (`rooms.js` says the same): they stand in addresses."""
MOST: Final = 500


def heard(user: User) -> list[str]:
    rows = _newest_first(Membership.objects.filter(user=user))
    return [topics.room(pk) for pk in rows.values_list("room_id", flat=True)[:HEARD]]


def mine(user: User) -> list[dict[str, Any]]:
    """With the newest news first; a fixed number of queries. Take the cursor of `heard` before."""
    rows: list[Any] = list(_newest_first(rooms.counted(user)).select_related("room")[:MOST])
    titles = names.of((row.room for row in rows), user)
    return [
        {
            "id": row.room_id,
            "kind": row.room.kind,
            "title": titles[row.room_id],
            "topic_line": row.room.topic_line,
            "archived": row.room.archived_at is not None,
            "involvement": row.involvement,
            "read_up_to": row.read_up_to,
            "last_message": row.last_message,
            "active_at": log.rfc3339(row.room.active_at),
            "unread": row.unread,
            "mentions": row.mentions,
        }
        for row in rows
    ]


def with_news(mine: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What says something to this person first; muted rooms have no news."""
    news = [room for room in mine if room["unread"] and not is_muted(room)]
    return sorted(news, key=lambda room: not is_to_me(room))


def is_muted(room: Mapping[str, Any]) -> bool:
    return bool(room.get("involvement") == Involvement.NOTHING)


def is_to_me(room: Mapping[str, Any]) -> bool:
    """Whether its news are mentions, or said to nobody but a few."""
    return bool(room.get("mentions") or room.get("kind") == Kind.DIRECT)


def _newest_first(rows: QuerySet[Membership]) -> QuerySet[Membership]:
    return rows.filter(room__deleted_at=None).order_by("-room__active_at", "-room_id")
