"""Gives committed events their offsets, then tells the channel layer.

Offsets are given after commit, per topic and without a hole. An id given at insert is no cursor: commits come
out of id order, and a reader who has passed a higher id never sees the lower one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import Final

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from prometheus_client import Counter

from events import epoch, layer
from events.log import COLUMNS, LoggedEvent, from_row
from events.models import Event, Topic

logger = logging.getLogger(__name__)

TOPICS_PER_TRANSACTION: Final = 250
EVENTS_PER_TRANSACTION: Final = 500  # keeps the write lock well under 200 ms, on SQLite too

SEQUENCED = Counter("hub_events_sequenced_total", "Events given an offset by this process")
UNANNOUNCED = Counter(
    "hub_events_unannounced_total",
    "Events whose layer message was not sent; the pulse delivers them",
)


def flush_on_commit(names: Collection[str]) -> None:
    """Number and announce what these topics gained, once the surrounding transaction commits.

    However often a transaction calls this, its commit flushes once: the first hook to run takes all names. Names
    left by a transaction that rolled back cost the next flush on this connection an empty look.
    """
    _waiting().update(names)
    transaction.on_commit(_flush_waiting, robust=True)


def _waiting() -> set[str]:
    # The thread's own connection: `django.db.connection` is one proxy for all threads, attributes included.
    mine: set[str] = vars(connections[DEFAULT_DB_ALIAS]).setdefault("_hub_unflushed", set())
    return mine


def _flush_waiting() -> None:
    waiting = _waiting()
    if waiting:
        names = sorted(waiting)
        waiting.clear()
        flush(names)


def flush(names: Collection[str], *, skip_locked: bool = False) -> int:
    """Number what is pending in these topics and announce it. Returns how many events that were.

    Runs in transactions of its own, so it must not be called inside one. `skip_locked` leaves out topics that
    somebody else is numbering right now.
    """
    done = 0
    for chunk in _chunks(sorted(names)):
        _create_missing(chunk)
        while True:
            with transaction.atomic():
                numbered = _number(chunk, skip_locked=skip_locked)
                current = epoch.current() if numbered else ""
            done += len(numbered)
            _announce(current, numbered)
            if len(numbered) < EVENTS_PER_TRANSACTION:
                break
    return done


def flush_left_behind() -> int:
    """Number rows whose own process died between its commit and its flush. Returns how many."""
    names = (
        Event.objects.filter(offset__isnull=True)
        .order_by()
        .values_list("topic", flat=True)
        .distinct()[:TOPICS_PER_TRANSACTION]
    )
    return flush(list(names), skip_locked=True)


def flush_pending(names: Collection[str]) -> None:
    """`flush`, where there is anything to number: a look costs nobody a lock."""
    if Event.objects.filter(topic__in=names, offset__isnull=True).exists():
        flush(names)


def _chunks(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), TOPICS_PER_TRANSACTION):
        yield names[start : start + TOPICS_PER_TRANSACTION]


def _create_missing(names: list[str]) -> None:
    missing = set(names) - set(Topic.objects.filter(name__in=names).values_list("name", flat=True))
    Topic.objects.bulk_create([Topic(name=name) for name in sorted(missing)], ignore_conflicts=True)


def _number(names: list[str], *, skip_locked: bool) -> list[LoggedEvent]:
    """Lock the topics in name order, then, in a second statement, number what is pending by id.

    Two statements on purpose: at READ COMMITTED the second one sees what was committed while the first waited
    for its locks. Locking and numbering in one statement loses rows and deadlocks.
    """
    held = list(
        Topic.objects.select_for_update(skip_locked=skip_locked)
        .filter(name__in=names)
        .order_by("name")
        .values_list("name", flat=True)
    )
    if not held:
        return []
    marks = ", ".join(["%s"] * len(held))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE hub_events_event
            SET "offset" = pending.given
            FROM (
                SELECT first.pending_id, standing.head + row_number() OVER (
                    PARTITION BY first.pending_topic ORDER BY first.pending_id
                ) AS given
                FROM (
                    SELECT id AS pending_id, topic AS pending_topic FROM hub_events_event
                    WHERE "offset" IS NULL AND topic IN ({marks})
                    ORDER BY id LIMIT {EVENTS_PER_TRANSACTION}
                ) AS first
                JOIN hub_events_topic AS standing ON standing.name = first.pending_topic
            ) AS pending
            WHERE hub_events_event.id = pending.pending_id
            RETURNING id, {COLUMNS}
            """,  # noqa: S608 - names are bound, the rest is constant
            held,
        )
        rows = sorted(cursor.fetchall())  # told as they were published, also across topics
        newest = list({topic: pk for pk, topic, *_ in rows}.values())
        if newest:
            cursor.execute(
                f"""
                UPDATE hub_events_topic SET head = newest."offset"
                FROM hub_events_event AS newest
                WHERE newest.id IN ({", ".join(["%s"] * len(newest))})
                    AND hub_events_topic.name = newest.topic
                    AND hub_events_topic.head < newest."offset"
                """,  # noqa: S608 - ids are bound, the rest is constant
                newest,
            )
    SEQUENCED.inc(len(rows))
    return [from_row(row[1:]) for row in rows]


def _announce(current: str, numbered: list[LoggedEvent]) -> None:
    """One call for all events of a flush. Failing is allowed: the log has them and the pulse looks."""
    if not numbered:
        return
    messages = [
        (event.topic, {"type": "hub.event", "epoch": current, "event": event.as_dict()})
        for event in numbered
    ]
    try:
        layer.group_send_many(messages)
    except Exception as error:  # noqa: BLE001 - whatever the layer raises, the commit stands
        UNANNOUNCED.inc(len(numbered))
        said = "%d events not announced, the first is %s (%s)"
        first = f"{numbered[0].topic}@{numbered[0].offset}"
        logger.warning(said, len(numbered), first, type(error).__name__)
