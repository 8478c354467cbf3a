"""What happened lately, for the Activity tile: every event whose data has a `title`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from events import log
from events.log import LoggedEvent

_LOOKED_AT_MOST: Final = 200  # events of each topic; further back nothing is "lately"


def recent(names: Collection[str], limit: int) -> list[dict[str, Any]]:
    """The newest titled events of these topics, newest first: `{topic, offset, type, title, url, at}`."""
    found = [event for name in names for event in _titled(name, limit)]
    return [item(event) for event in sorted(found, key=lambda each: each.at, reverse=True)[:limit]]


def _titled(name: str, limit: int) -> list[LoggedEvent]:
    """In one look as a rule; a topic that is mostly other things is looked at once more, further back."""
    newest = log.page(name, None, limit)
    found = list(filter(has_title, newest))
    if len(found) < limit == len(newest) and limit < _LOOKED_AT_MOST:
        older = log.page(name, newest[-1].offset, _LOOKED_AT_MOST - limit)
        found += filter(has_title, older)
    return found[:limit]


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
    }
