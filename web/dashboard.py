"""What the dashboard shows, for its page and for `GET /api/v1/dashboard` alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib.auth.models import User

from accounts import profiles
from events import log, topics
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


def snapshot(user: User, frame: context.Frame | None = None) -> dict[str, Any]:
    """Snapshot + the events above its cursor = a fresh snapshot; people come and go by whispers.

    A page gives its frame, whose start is what its live part goes on from, and what that has read already. Counts,
    unlike rows with ids, can't be merged twice: they are of what lies at or below it.
    """
    start = (frame and frame.start) or context.start(user)
    names, heads = start.topics, start.position.heads
    per_minute = log.per_minute({name: heads[name] for name in names})
    return {
        "cursor": start.position.cursor,
        "topics": list(names),
        "announcements": announcements.visible_to(user, ANNOUNCEMENTS).items,
        "unread": frame.unread if frame else inbox.unread(user),
        "needs_me": needs_me(user),
        "activity": lately(user, names),
        "people": people(topics.DASHBOARD),
        "rooms": list(frame.rooms) if frame else my_rooms.mine(user),
        "per_minute": [{"at": log.rfc3339(at), "count": count} for at, count in per_minute],
        "jobs": {
            "running": jobs.running(user, RUNNING),
            "live": list(frame.jobs) if frame else context.live_jobs(user),
            "today": jobs.today(profiles.zone(user), heads.get(topics.DASHBOARD, 0)),
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
    found = activity.recent(names, ACTIVITY)
    return [one for one in found if one["topic"] != own or _is_activity(one["type"])][:ACTIVITY]


def _is_activity(event_type: str) -> bool:
    """`isActivity` of hub-activity.js says the same."""
    head, _dot, last = event_type.partition(".")
    return head != "notification" and not (head == "job" and last in LIVE)


def people(topic: str) -> list[dict[str, Any]]:
    return sorted(profiles.here(topic), key=lambda person: str(person["name"]).casefold())
