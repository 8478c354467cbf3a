"""Reading the log: heads, pages, cursors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import orjson
from django.db import connection
from django.db.models import Case, Count, F, Max, Min, TextField, When
from django.db.models.functions import Cast, Substr
from django.utils import timezone

from events import epoch as epochs
from events.models import Event, Topic

COLUMNS: Final = 'topic, "offset", type, data, at'
_FIELDS: Final = ("topic", "offset", "type", "data", "at")
_ROWS_PER_DELETE: Final = 1000


@dataclass(frozen=True)
class LoggedEvent:
    """An event as everybody outside sees it. `raw` is the JSON text of its data, `at` RFC 3339 in UTC."""

    topic: str
    offset: int
    type: str
    raw: str
    at: str

    @cached_property
    def data(self) -> dict[str, Any]:
        value: dict[str, Any] = orjson.loads(self.raw)
        return value

    @cached_property
    def json(self) -> str:
        """The members of the event as JSON, without braces: every transport encodes around these bytes."""
        head = orjson.dumps(
            {"topic": self.topic, "offset": self.offset, "type": self.type}
        ).decode()
        return f'{head[1:-1]},"data":{self.raw},"at":"{self.at}"'

    def as_dict(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "offset": self.offset,
            "type": self.type,
            "data": self.data,
            "at": self.at,
        }


@dataclass(frozen=True, slots=True)
class Reach:
    """What of a topic is kept: offsets `floor + 1` to `head`."""

    floor: int = 0
    head: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where topics stand: what a snapshot was taken at, and what follows it is above these heads."""

    epoch: str
    heads: Mapping[str, int]

    @property
    def cursor(self) -> str:
        return write_cursor(self.epoch, self.heads)


def from_row(row: tuple[Any, ...]) -> LoggedEvent:
    topic, offset, kind, raw, at = row
    if isinstance(at, str):  # a cursor of SQLite returns text, Django's own queries a datetime
        at = datetime.fromisoformat(at)
    return LoggedEvent(topic, offset, kind, raw, rfc3339(at))


def from_message(event: dict[str, Any]) -> LoggedEvent:
    """The event of a channel-layer message."""
    raw = orjson.dumps(event["data"]).decode()
    return LoggedEvent(event["topic"], event["offset"], event["type"], raw, event["at"])


def rfc3339(at: datetime) -> str:
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def reach(names: Collection[str]) -> dict[str, Reach]:
    """Every name, also of a topic that never had an event."""
    rows = Topic.objects.filter(name__in=names).values_list("name", "floor", "head")
    known = {name: Reach(floor, head) for name, floor, head in rows}
    return {name: known.get(name, Reach()) for name in names}


def heads(names: Collection[str]) -> dict[str, int]:
    return {name: found.head for name, found in reach(names).items()}


def position(names: Collection[str]) -> Position:
    """The present one in these topics. Take it before reading the rows of a snapshot, never after."""
    current = epochs.current()
    return Position(current, heads(names))


def cursor(names: Collection[str]) -> str:
    """Of the present position."""
    return position(names).cursor


def write_cursor(epoch: str, positions: Mapping[str, int]) -> str:
    """`epoch~topic:offset~topic:offset…`, the text by which clients say how far they have read."""
    return "~".join([epoch, *(f"{topic}:{offset}" for topic, offset in sorted(positions.items()))])


def after(topic: str, offset: int, limit: int) -> list[LoggedEvent]:
    """What follows an offset, oldest first."""
    rows = Event.objects.filter(topic=topic, offset__gt=offset).order_by("offset")
    return [from_row(row) for row in rows.values_list(*_FIELDS)[:limit]]


def page(topic: str, before: int | None, limit: int) -> list[LoggedEvent]:
    """A page of one topic, newest first, below `before` when given."""
    rows = Event.objects.filter(topic=topic, offset__isnull=False).order_by("-offset")
    if before is not None:
        rows = rows.filter(offset__lt=before)
    return [from_row(row) for row in rows.values_list(*_FIELDS)[:limit]]


def newest_of(names: Collection[str], limit: int) -> dict[str, list[LoggedEvent]]:
    """The first page of each of these topics, in one statement."""
    found: dict[str, list[LoggedEvent]] = {name: [] for name in names}
    if not found:
        return found
    one = f"""
        SELECT * FROM (
            SELECT {COLUMNS} FROM hub_events_event
            WHERE topic = %s AND "offset" IS NOT NULL ORDER BY "offset" DESC LIMIT %s
        ) AS page
    """  # noqa: S608 - constants
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join([one] * len(found)),
            [value for name in found for value in (name, limit)],
        )
        for event in map(from_row, cursor.fetchall()):
            found[event.topic].append(event)
    return {
        name: sorted(events, key=lambda event: event.offset, reverse=True)
        for name, events in found.items()
    }


def newest(names: Collection[str], limit: int) -> list[LoggedEvent]:
    """The newest events over several topics, newest first."""
    found = [event for events in newest_of(names, limit).values() for event in events]
    return sorted(found, key=lambda event: event.at, reverse=True)[:limit]


def per_minute(heads: Mapping[str, int], minutes: int = 60) -> list[tuple[datetime, int]]:
    """Events in each of the last so many minutes (UTC, the present one last), oldest first, zeros included.

    Of each topic those up to its head here: whoever goes on from that position counts the others as they come.
    """
    last = timezone.now().astimezone(UTC).replace(second=0, microsecond=0)
    counts = {last - timedelta(minutes=back): 0 for back in range(minutes - 1, -1, -1)}
    first = next(iter(counts))
    head = Case(*(When(topic=name, then=head) for name, head in heads.items()))
    found = (
        Event.objects.filter(topic__in=list(heads), offset__lte=head, at__gte=first)
        .order_by()
        # As text: SQLite would call Python for every event to cut its time off.
        .values_list(Substr(Cast("at", TextField()), 1, len("2026-01-31 12:59")))
        .annotate(Count("id"))
    )
    for text, count in found:
        minute = datetime.fromisoformat(text).replace(tzinfo=UTC)
        if minute in counts:
            counts[minute] += count
    return list(counts.items())


def prune(days: int, count: int) -> int:
    """Drop what is older than `days` or beyond the newest `count` of its topic. Returns how many events.

    The floor rises before the rows go, in short transactions: a reader in between sees the gap and says `reset`.
    """
    cuts: dict[str, int] = {}
    for name, head in Topic.objects.filter(head__gt=F("floor") + count).values_list("name", "head"):
        cuts[name] = head - count
    cutoff = timezone.now() - timedelta(days=days)
    numbered = Event.objects.filter(offset__isnull=False).order_by()
    old = numbered.filter(at__lt=cutoff).order_by("at").values_list("topic", flat=True)
    for name in set(old.iterator()):
        # `at` may run a little against the offsets: whatever is young enough stays.
        kept = numbered.filter(topic=name, at__gte=cutoff).aggregate(first=Min("offset"))["first"]
        last = numbered.filter(topic=name).aggregate(last=Max("offset"))["last"] or 0
        cuts[name] = max(kept - 1 if kept else last, cuts.get(name, 0))
    return sum(_drop(name, offset) for name, offset in sorted(cuts.items()))


def clear(topic: str) -> None:
    """Drop all of a topic that has ended, in short transactions, too."""
    _drop(topic, reach([topic])[topic].head)


def _drop(name: str, up_to: int) -> int:
    Topic.objects.filter(name=name, floor__lt=up_to).update(floor=up_to)
    dropped = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                DELETE FROM hub_events_event WHERE id IN (
                    SELECT id FROM hub_events_event
                    WHERE topic = %s AND "offset" <= %s ORDER BY "offset" LIMIT %s
                )
                """,
                [name, up_to, _ROWS_PER_DELETE],
            )
            gone = int(cursor.rowcount)
            dropped += gone
            if gone < _ROWS_PER_DELETE:
                return dropped
