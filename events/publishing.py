"""The one way into the log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from asgiref.sync import sync_to_async
from django.db import transaction

from events import sequence, topics
from events.errors import EventTooLarge, InvalidEvent
from events.models import Event

MAX_DATA: Final = 32 * 1024
"""Bytes of encoded data: an event and its envelope fit a 64 KiB frame."""
TYPE: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+", re.ASCII)
_ROWS_PER_INSERT: Final = 500

Item = tuple[str, str, Mapping[str, Any]] | tuple[str, str, Mapping[str, Any], str]


def publish(topic: str, type: str, data: Mapping[str, Any], about: str | None = None) -> Event:
    """Append one event; it exists if and only if the surrounding transaction commits.

    The returned row has no offset yet: offsets are given after commit. `data` is anything JSON can say, at
    most 32 KiB encoded; `about`, at most 100 characters, is what `redact` finds it by. Raises InvalidEvent or
    EventTooLarge before anything is written.
    """
    event = _row(topic, type, data, about)
    with transaction.atomic():
        event.save(force_insert=True)
        sequence.flush_on_commit([topic])
    return event


async def apublish(
    topic: str, type: str, data: Mapping[str, Any], about: str | None = None
) -> Event:
    """`publish` for async code."""
    return await sync_to_async(publish)(topic, type, data, about)


def publish_many(items: Iterable[Item]) -> int:
    """Append many `(topic, type, data)` or `(topic, type, data, about)` in a few statements; all or none. Returns how many."""
    rows = [_row(*item) for item in items]
    if not rows:
        return 0
    with transaction.atomic():
        Event.objects.bulk_create(rows, batch_size=_ROWS_PER_INSERT)
        sequence.flush_on_commit({row.topic for row in rows})
    return len(rows)


def _row(topic: str, type: str, data: Mapping[str, Any], about: str | None = None) -> Event:
    if not topics.is_valid(topic):
        raise InvalidEvent(
            f"{topic!r} is no topic: use user.<id>, group.<name>, team.<id>, room.<id> or job.<uuid>."
        )
    if len(type) > 100 or TYPE.fullmatch(type) is None:
        raise InvalidEvent(
            f"{type!r} is no event type: use lower-case words joined by dots, such as order.late."
        )
    return Event(topic=topic, type=type, data=encode(data), about=about)


def encode(data: Mapping[str, Any]) -> str:
    """The JSON text of an event's data; raises InvalidEvent or EventTooLarge."""
    if not isinstance(data, Mapping):
        raise InvalidEvent("data must be a JSON object.")
    try:
        encoded = orjson.dumps(dict(data))
    except TypeError as error:
        raise InvalidEvent(f"data can't be written as JSON: {error}.") from None
    if len(encoded) > MAX_DATA:
        raise EventTooLarge(
            f"data is {len(encoded)} bytes as JSON; at most {MAX_DATA} are accepted."
        )
    return encoded.decode()
