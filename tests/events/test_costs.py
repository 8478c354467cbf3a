"""What an event costs, counted instead of timed: queries, and round trips to Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from redis.connection import AbstractConnection

import events
from events import layer, sequence
from events.models import Event

pytestmark = pytest.mark.django_db(transaction=True)

TOPICS = [f"user.{n}" for n in range(1, 11)]


def items(count: int) -> list[tuple[str, str, dict[str, Any]]]:
    return [(TOPICS[n % len(TOPICS)], "order.late", {"n": n}) for n in range(count)]


def queries(act: Callable[[], Any]) -> int:
    """With those that begin and end a transaction."""
    with CaptureQueriesContext(connection) as taken:
        act()
    return len(taken)


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], int]:
    """How often something is sent to Redis over a connection that is open already."""
    sent = 0
    honest = AbstractConnection.send_packed_command

    def send(self: AbstractConnection, command: Any, check_health: bool = True) -> Any:
        nonlocal sent
        sent += 1
        return honest(self, command, check_health)  # type: ignore[no-untyped-call]

    def counted(act: Callable[[], Any]) -> int:
        before = sent
        act()
        return sent - before

    events.publish_many(items(10))
    monkeypatch.setattr(AbstractConnection, "send_packed_command", send)
    return counted


def test_queries_of_a_batch_do_not_grow_with_it():
    events.publish_many(items(10))
    one = queries(lambda: events.publish(*items(1)[0]))
    ten, hundred = (queries(lambda n=n: events.publish_many(items(n))) for n in (10, 100))  # type: ignore[misc]
    assert one <= 12
    assert ten == hundred <= one + 1
    assert queries(lambda: events.publish_many(items(400))) <= hundred + 2


def test_queries_of_a_flush_do_not_grow_with_what_it_numbers():
    def flush_of(count: int) -> int:
        Event.objects.bulk_create(
            Event(topic=topic, type=kind, data="{}") for topic, kind, _ in items(count)
        )
        return queries(lambda: sequence.flush(TOPICS))

    flush_of(10)
    assert flush_of(10) == flush_of(400) <= 8


def test_events_reach_redis_by_the_fifty(round_trips):
    assert round_trips(lambda: events.publish(*items(1)[0])) == 1
    assert round_trips(lambda: events.publish_many(items(layer.PER_ROUND_TRIP))) == 1
    assert round_trips(lambda: events.publish_many(items(4 * layer.PER_ROUND_TRIP))) == 4
    assert round_trips(lambda: events.whisper(TOPICS[0], "order.typing", {})) == 1
