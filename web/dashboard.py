"""What the dashboard shows, for its page and for `GET /api/v1/dashboard` alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib.auth.models import User

from accounts import audience, profiles
from events import log, presence, topics
from notifications import announcements, inbox

ANNOUNCEMENTS: Final = 5
NEEDS_ME: Final = 8
ACTIVITY: Final = 40
_LOOKED_THROUGH: Final = 200  # events read to find ACTIVITY ones with a title
_TRIES: Final = 3  # to count between two equal cursors while events stream in


def snapshot(user: User) -> dict[str, Any]:
    """Snapshot + the events above its cursor = a fresh snapshot; people come and go by whispers."""
    names = audience.default_topics(user.pk)
    for _ in range(_TRIES):
        cursor = log.cursor(names)
        per_minute = log.per_minute(names)
        if log.cursor(names) == cursor:  # counts, unlike rows with ids, can't be merged twice
            break
    return {
        "cursor": cursor,
        "topics": names,
        "announcements": announcements.visible_to(user, limit=ANNOUNCEMENTS),
        "unread": inbox.unread(user),
        "needs_me": inbox.page(user, "unread", NEEDS_ME).items,
        "activity": activity(names),
        "people": people(topics.DASHBOARD),
        "per_minute": [{"at": log.rfc3339(at), "count": count} for at, count in per_minute],
    }


def activity(names: Sequence[str]) -> list[dict[str, Any]]:
    """The newest events with a title. Inbox items have a tile of their own."""
    titled = (
        event
        for event in log.newest(names, _LOOKED_THROUGH)
        if event.data.get("title") and not event.type.startswith("notification.")
    )
    return [
        {
            "topic": event.topic,
            "offset": event.offset,
            "type": event.type,
            "title": str(event.data["title"]),
            "url": str(event.data.get("url") or ""),
            "at": event.at,
        }
        for event, _ in zip(titled, range(ACTIVITY), strict=False)
    ]


def people(topic: str) -> list[dict[str, Any]]:
    here = presence.people(topic)
    names = profiles.names([person.id for person in here])
    listed = [
        {"id": person.id, "name": names[person.id], "since": log.rfc3339(person.since)}
        for person in here
        if person.id in names
    ]
    return sorted(listed, key=lambda person: str(person["name"]).casefold())
