"""What was said, found again: in the rooms that somebody may read, wherever in a word it stands.

A message is found if it has every part of the query, in any case of letters; what stands in quotes is one part. No part
is ever taken for an operator. Both databases answer alike: SQLite by trigrams of FTS5, PostgreSQL by an index of
trigrams; parts of one or two characters, which have none, are looked for in the messages themselves.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet, Value
from django.db.models.functions import StrIndex, Upper
from django.db.models.lookups import GreaterThan
from django.utils.translation import gettext as _

from chat import messages, names, rooms, text
from chat.errors import InvalidChat
from chat.models import Message, Room
from notifications import content

PAGE: Final = 20
PAGE_MAX: Final = 100
QUERY_MAX: Final = 200
_TRIGRAM: Final = 3
_NEWEST: Final = 5000
"""Messages of all rooms that PostgreSQL looks through before it turns to the index."""
_PART: Final = re.compile(r'"([^"]+)"|([^\s"]+)')
_SNIPPET: Final = 180
_BEFORE_HIT: Final = 60


@dataclass(frozen=True, slots=True)
class Hit:
    message: Message
    room_name: str
    """Of a direct room: its other people's names."""
    snippet: str
    """On one line; `…` stands for what was cut off."""
    ranges: list[tuple[int, int]]
    """Where in the snippet the query stands: from and to, in characters (code points, not UTF-16)."""

    @property
    def parts(self) -> list[tuple[str, bool]]:
        """The snippet in pieces, each with whether it was looked for."""
        pieces: list[tuple[str, bool]] = []
        done = 0
        for start, end in self.ranges:
            pieces += [(self.snippet[done:start], False), (self.snippet[start:end], True)]
            done = end
        pieces.append((self.snippet[done:], False))
        return [(piece, is_hit) for piece, is_hit in pieces if piece]


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. `next` is the `before` of the next page, None at the end."""

    hits: list[Hit]
    next: int | None

    @property
    def items(self) -> list[dict[str, Any]]:
        """Messages as the API has them, each with its `room_name`, `snippet` and `ranges`."""
        shown = messages.items(hit.message for hit in self.hits)
        return [
            {**item, "room_name": hit.room_name, "snippet": hit.snippet, "ranges": hit.ranges}
            for item, hit in zip(shown, self.hits, strict=True)
        ]


def search(
    user: User,
    query: str,
    room: int | None = None,
    limit: int = PAGE,
    before: int | None = None,
) -> Page:
    """What this person may read of it right now, in one room or in all. A blank query finds nothing.

    Raises NoSuchRoom, or InvalidChat for a query that is too long.
    """
    readable = rooms.readable_by(user)
    if room is not None:
        readable = readable.filter(pk=rooms.find(user, room).pk)
    parts = _parts(query)
    if not parts:
        return Page([], None)
    found = _find(readable, parts, limit + 1, before)
    shown = found[:limit]
    called = names.of(Room.objects.filter(pk__in={row.room_id for row in shown}), user)
    return Page(
        [Hit(row, called.get(row.room_id, ""), *_snippet(row, parts)) for row in shown],
        shown[-1].pk if len(found) > limit else None,
    )


def _parts(query: str) -> list[str]:
    line = unicodedata.normalize("NFC", content.printable_line(query))
    if len(line) > QUERY_MAX:
        raise InvalidChat("q", _("must have at most %(most)d characters") % {"most": QUERY_MAX})
    found = ((quoted or word).strip() for quoted, word in _PART.findall(line))
    return list(dict.fromkeys(part for part in found if part))


def _find(
    readable: QuerySet[Room], parts: Sequence[str], limit: int, before: int | None
) -> list[Message]:
    if connection.vendor == "sqlite" and any(len(part) >= _TRIGRAM for part in parts):
        ids = _find_by_fts(readable, parts, limit, before)
        return list(Message.objects.filter(pk__in=ids).order_by("-pk"))
    allowed = readable.order_by().values("pk")
    rows = Message.objects.filter(room__in=allowed, deleted_at=None).order_by("-pk")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    if connection.vendor == "postgresql":
        found = _find_among_newest(rows, parts, limit)
        if len(found) == limit:
            return found
    for part in parts:
        rows = rows.filter(body__icontains=part)
    return list(rows[:limit])


def _find_among_newest(rows: QuerySet[Message], parts: Sequence[str], limit: int) -> list[Message]:
    """Common words fill a page from here. By the index all messages that have them would be read, and then sorted."""
    newest = rows.values_list("pk", flat=True).first()
    if newest is None:
        return []
    rows = rows.filter(pk__gt=newest - _NEWEST)
    for part in parts:  # as `icontains`, in words that the index does not know
        rows = rows.filter(GreaterThan(StrIndex(Upper("body"), Upper(Value(part))), 0))
    return list(rows[:limit])


def _find_by_fts(
    readable: QuerySet[Room], parts: Sequence[str], limit: int, before: int | None
) -> list[int]:
    """FTS5 gives its rows in the order they are asked for, one by one: common words cost as little as rare ones."""
    allowed, ids = readable.order_by().values("pk").query.sql_with_params()
    phrases = ['"{}"'.format(part.replace('"', '""')) for part in parts if len(part) >= _TRIGRAM]
    conditions = ["hub_chat_search MATCH %s"]
    values: list[Any] = [" AND ".join(phrases)]
    for part in parts:
        if len(part) < _TRIGRAM:
            conditions.append(r"message.body LIKE %s ESCAPE '\'")
            values.append(f"%{connection.ops.prep_for_like_query(part)}%")
    if before is not None:
        conditions.append("hub_chat_search.rowid < %s")
        values.append(before)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT message.id
            FROM hub_chat_search CROSS JOIN hub_chat_message message
                ON message.id = hub_chat_search.rowid
            WHERE {" AND ".join(conditions)}
                AND message.deleted_at IS NULL AND message.room_id IN ({allowed})
            ORDER BY hub_chat_search.rowid DESC LIMIT %s
            """,  # noqa: S608 - the conditions are those above, and Django's
            [*values, *ids, limit],
        )
        return [pk for (pk,) in cursor.fetchall()]


def _snippet(message: Message, parts: Iterable[str]) -> tuple[str, list[tuple[int, int]]]:
    """The surroundings of the first hit, and where in them all hits are: as the message is read, or as it was typed
    where only that has any of it, such as the address of a link.
    """
    longest_first = sorted(map(re.escape, parts), key=len, reverse=True)
    pattern = re.compile("|".join(longest_first), re.IGNORECASE)
    line = text.plain(message.html)
    first = pattern.search(line)
    if first is None:
        line = content.printable_line(message.body)
        first = pattern.search(line)
    start = 0 if first is None else _start(line, first.start())
    shown = content.cut(line[start:], _SNIPPET)
    if start:
        shown = f"…{shown}"
    return shown, [found.span() for found in pattern.finditer(shown)]


def _start(line: str, hit: int) -> int:
    """Where to begin so that some words before the hit are seen; where one begins, if that is near."""
    if hit <= _BEFORE_HIT:
        return 0
    earliest = hit - _BEFORE_HIT
    space = line.find(" ", earliest, earliest + _BEFORE_HIT // 2)
    return earliest if space < 0 else space + 1
