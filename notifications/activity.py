"""What happened lately, for the Activity tile: every event whose data has a `title`.

A removed announcement leaves no trace there: what was taken back is not to be read on.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from events import log
from events.log import LoggedEvent
from notifications import announcements, model_events
from notifications.models import Announcement

_LOOKED_AT_MOST: Final = 200  # events of each topic; further back nothing is "lately"


def recent(names: Collection[str], limit: int) -> list[dict[str, Any]]:
    """Of each of these topics the newest titled events, all newest first: `{topic, offset, type, title, url, at, about}`."""
    newest = log.newest_of(names, limit)
    found = _standing([event for name in names for event in _titled(name, newest[name], limit)])
    return [item(event) for event in sorted(found, key=lambda each: each.at, reverse=True)]


def subjects() -> dict[str, str]:
    """What the watched models are called in the reader's language, by the beginning of their events' types."""
    return {each.type: str(each.model._meta.verbose_name) for each in model_events.every()}


def _titled(name: str, newest: list[LoggedEvent], limit: int) -> list[LoggedEvent]:
    """In one look as a rule; a topic that is mostly other things is looked at once more, further back."""
    found = list(filter(has_title, newest))
    if len(found) < limit == len(newest) and limit < _LOOKED_AT_MOST:
        older = log.page(name, newest[-1].offset, _LOOKED_AT_MOST - limit)
        found += filter(has_title, older)
    return found[:limit]


def _standing(found: list[LoggedEvent]) -> list[LoggedEvent]:
    """Without the announcements that are removed, or moved to another topic, by now."""
    told = {event.data.get("id") for event in found if _is_of_announcement(event)}
    if not told:
        return found
    rows = Announcement.objects.filter(pk__in=[pk for pk in told if isinstance(pk, int)])
    there = {(announcements.topic_of(row), row.pk) for row in rows.only("team_id")}
    return [
        event
        for event in found
        if not _is_of_announcement(event) or (event.topic, event.data.get("id")) in there
    ]


def _is_of_announcement(event: LoggedEvent) -> bool:
    return event.type.startswith("announcement.")


def has_title(event: LoggedEvent) -> bool:
    return isinstance(event.data.get("title"), str)


def item(event: LoggedEvent) -> dict[str, Any]:
    url = event.data.get("url")
    return {
        "topic": event.topic,
        "offset": event.offset,
        "type": event.type,
        "title": event.data["title"],
        "url": url if isinstance(url, str) else "",
        "at": event.at,
        "about": event.data.get("id") if _is_of_announcement(event) else None,
    }
