"""What the dashboard shows, for its page and for `GET /api/v1/dashboard` alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib.auth.models import User

from accounts import audience, profiles
from events import log, presence, topics
from notifications import activity, announcements, inbox
from notifications.models import Notification
from tasks import jobs, notices
from tasks.models import LIVE
from web import context, my_rooms

ANNOUNCEMENTS: Final = 5
NEEDS_ME: Final = 20
ACTIVITY: Final = 40
RUNNING: Final = 20
TROUBLE: Final = ("job.failed", "job.lost")
"""Kinds of notifications that stand before all others."""
_LOOKED_THROUGH: Final = 100  # jobs that went wrong, some of which have gone on since
_TRIES: Final = 3  # to count between two equal cursors while events stream in


def snapshot(user: User) -> dict[str, Any]:
    """Snapshot + the events above its cursor = a fresh snapshot; people come and go by whispers."""
    names = audience.default_topics(user.pk)
    zone = profiles.zone(user)
    heard = my_rooms.heard(user)
    for _ in range(_TRIES):
        cursor = log.cursor([*names, *heard])
        counted = log.cursor(names)
        per_minute = log.per_minute(names)
        today = jobs.today(zone)
        if log.cursor(names) == counted:  # counts, unlike rows with ids, can't be merged twice
            break
    return {
        "cursor": cursor,
        "topics": names,
        "announcements": announcements.visible_to(user, ANNOUNCEMENTS).items,
        "unread": inbox.unread(user),
        "needs_me": needs_me(user),
        "activity": lately(user, names),
        "people": people(topics.DASHBOARD),
        "rooms": my_rooms.mine(user),
        "per_minute": [{"at": log.rfc3339(at), "count": count} for at, count in per_minute],
        "jobs": {
            "running": jobs.running(user, RUNNING),
            "live": context.live_jobs(user),
            "today": today,
            "workers_away": None if (since := jobs.outage()) is None else log.rfc3339(since),
        },
    }


def needs_me(user: User) -> list[dict[str, Any]]:
    """The newest unread, jobs of mine that went wrong before all others, unless they were tried again since."""
    unread = Notification.objects.filter(recipient=user, read_at=None)
    wrong = list(unread.filter(kind__in=TROUBLE).order_by("-pk")[:_LOOKED_THROUGH])
    outdated = notices.outdated(note.key for note in wrong if note.key)
    first = [note for note in wrong if note.key not in outdated]
    others = unread.exclude(kind__in=TROUBLE).order_by("-pk")[:NEEDS_ME]
    return inbox.items([*first, *others][:NEEDS_ME])


def lately(user: User, names: Sequence[str]) -> list[dict[str, Any]]:
    """The newest events with a title. Inbox items and jobs under way, which fill the own topic, have their own tiles."""
    own = topics.user(user.pk)
    shown = activity.recent([name for name in names if name != own], ACTIVITY)
    shown += [item for item in activity.recent([own], ACTIVITY) if _is_activity(item["type"])]
    return sorted(shown, key=lambda item: str(item["at"]), reverse=True)[:ACTIVITY]


def _is_activity(event_type: str) -> bool:
    """`isActivity` of hub-activity.js says the same."""
    head, _dot, last = event_type.partition(".")
    return head != "notification" and not (head == "job" and last in LIVE)


def people(topic: str) -> list[dict[str, Any]]:
    here = presence.people(topic)
    names = profiles.names([person.id for person in here])
    listed = [
        {"id": person.id, "name": names[person.id], "since": log.rfc3339(person.since)}
        for person in here
        if person.id in names
    ]
    return sorted(listed, key=lambda person: str(person["name"]).casefold())
