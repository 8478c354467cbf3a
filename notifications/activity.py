"""What happened lately, for the Activity tile: every event whose data has a `title`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from events import log
from events.log import LoggedEvent

_LOOKED_AT_MOST: Final = 1000  # events; further back nothing is "lately"


def recent(names: Collection[str], limit: int) -> list[dict[str, Any]]:
    """The newest titled events of these topics, newest first: `{topic, offset, type, title, url, at}`."""
    looked = limit
    while True:
        found = log.newest(names, looked)
        titled = [event for event in found if has_title(event)]
        if len(titled) >= limit or len(found) < looked or looked >= _LOOKED_AT_MOST:
            return [item(event) for event in titled[:limit]]
        looked = min(looked * 4, _LOOKED_AT_MOST)


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
