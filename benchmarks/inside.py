"""What a workload does inside the hub, as a process of its own: `python -m benchmarks.inside WORK '{"n": 5}'`.

Prints one JSON value.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any, Final

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

import django

django.setup()

# isort: split
from asgiref.sync import async_to_sync
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.core.management import call_command
from django.db import connection, transaction
from django.test import RequestFactory
from django.utils import timezone

import events
from chat import messages
from chat import rooms as chat
from events import log, presence, redis_client, topics
from notifications import EVERYONE, notify
from notifications.models import Inbox, Notification
from tasks import jobs

TYPE: Final = "bench.event"
PADDING: Final = "x" * 60
"""An event's frame is then near 200 bytes, as in the reference figures."""


def prepare() -> None:
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


def people(n: int) -> list[list[Any]]:
    """So many new accounts, each signed in: `[id, session cookie]`."""
    accounts = get_user_model()._default_manager
    first = accounts.count()
    made = accounts.bulk_create(
        get_user_model()(username=f"p{first + number}", is_staff=True) for number in range(n)
    )
    with transaction.atomic():
        return [[user.pk, _signed_in(user)] for user in made]


def _signed_in(user: Any) -> str:
    request = RequestFactory().get("/")
    request.session = import_module(settings.SESSION_ENGINE).SessionStore()
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    request.session.save()
    return f"{settings.SESSION_COOKIE_NAME}={request.session.session_key}"


def cursor(topics: Sequence[str]) -> str:
    return log.cursor(topics)


def _data(n: int) -> dict[str, Any]:
    return {"n": n, "ts": time.monotonic_ns(), "padding": PADDING}


class _Watch:
    def __init__(self) -> None:
        self.began_ns, self._cpu = time.monotonic_ns(), time.process_time()

    def wait_for(self, number: int, rate: float) -> None:
        """Until it is time for this call, at `rate` a second (0: as fast as it goes)."""
        if rate:
            due = self.began_ns / 1e9 + number / rate
            time.sleep(max(0.0, due - time.monotonic()))

    def said(self, calls: int) -> dict[str, float]:
        return {
            "calls": calls,
            "began_ns": self.began_ns,
            "seconds": (time.monotonic_ns() - self.began_ns) / 1e9,
            "cpu_s": time.process_time() - self._cpu,
        }


def singles(topics: Sequence[str], n: int, rate: float = 0, first: int = 1) -> dict[str, float]:
    """`n` events, one call and one transaction each, round robin; `rate` a second (0: as fast as it goes)."""
    return _one_by_one(events.publish, topics, n, rate, first)


def batches(topics: Sequence[str], n: int, size: int, first: int = 1) -> dict[str, float]:
    """`n` events by `publish_many`, `size` a call, as fast as it goes."""
    return _many_at_once(events.publish_many, topics, n, size, first)


def whispers(topics: Sequence[str], n: int, rate: float = 0, first: int = 1) -> dict[str, float]:
    return _one_by_one(events.whisper, topics, n, rate, first)


def whispers_at_once(topics: Sequence[str], n: int, size: int, first: int = 1) -> dict[str, float]:
    return _many_at_once(events.whisper_many, topics, n, size, first)


def stock(topics: Sequence[str], n: int) -> dict[str, float]:
    """`async_to_sync(group_send)` of the layer of channels_redis, unencrypted, to groups that nobody has joined."""
    host = {"address": settings.REDIS_URL, "socket_timeout": None}
    layer: Any = RedisPubSubChannelLayer(hosts=[host])
    send = async_to_sync(layer.group_send)
    watch = _Watch()
    for number in range(n):
        topic = topics[number % len(topics)]
        whisper = {"topic": topic, "type": TYPE, "data": _data(1 + number // len(topics))}
        send(topic, {"type": "hub.whisper", "whisper": whisper})
    return watch.said(n)


def accounts(n: int) -> int:
    """So many more people who are not signed in."""
    people = get_user_model()
    made = people._default_manager.bulk_create(
        people(username=f"q{number}", is_staff=True) for number in range(n)
    )
    return len(made)


def announce(title: str) -> dict[str, float]:
    """One notification to everybody; `calls` is how many people got it."""
    watch = _Watch()
    return watch.said(notify(to=EVERYONE, kind=TYPE, title=title))


def _one_by_one(
    call: Callable[[str, str, dict[str, Any]], Any],
    topics: Sequence[str],
    n: int,
    rate: float,
    first: int,
) -> dict[str, float]:
    watch = _Watch()
    for number in range(n):
        watch.wait_for(number, rate)
        call(topics[number % len(topics)], TYPE, _data(first + number // len(topics)))
    return watch.said(n)


def _many_at_once(
    call: Callable[[list[tuple[str, str, dict[str, Any]]]], Any],
    topics: Sequence[str],
    n: int,
    size: int,
    first: int,
) -> dict[str, float]:
    watch = _Watch()
    for start in range(0, n, size):
        call(
            [
                (topics[number % len(topics)], TYPE, _data(first + number // len(topics)))
                for number in range(start, min(n, start + size))
            ]
        )
    return watch.said(-(-n // size))


def presence_in_rooms(rooms: int, times: int) -> dict[str, float]:
    """Somebody is in each of so many rooms, and one process looks so many times whether they still are."""
    return asyncio.run(_presence_in_rooms(rooms, times))


async def _presence_in_rooms(rooms: int, times: int) -> dict[str, float]:
    held = {presence.Lease(topics.room(n), 1, "p", "c"): True for n in range(1, rooms + 1)}
    await presence.hold(held)
    began = time.process_time()
    for _ in range(times):
        await presence.sweep()
    took = time.process_time() - began
    await presence.release(dict.fromkeys(held, 0.0))
    await presence.sweep()
    await redis_client.close()
    return {"cpu_s": took}


def rooms(rooms: int, members: int) -> list[list[str]]:
    """Closed rooms, each with so many people of its own: `[topic, session cookie]` of everybody, room after room."""
    found = []
    for number in range(rooms):
        made = people(members)
        users = get_user_model()._default_manager.in_bulk([pk for pk, _ in made])
        owner, *others = users.values()
        room = chat.create(owner, "closed", f"Room {number}", members=others)
        found += [[topics.room(room.pk), cookie] for _, cookie in made]
    return found


def desk(rows: int) -> str:
    """The session cookie of somebody who has been here for long: an inbox of so many, rooms, jobs, a log."""
    [[pk, cookie], [other, _]] = people(2)
    user, bob = (get_user_model()._default_manager.get(pk=one) for one in (pk, other))
    for start in range(0, rows, 5000):
        Notification.objects.bulk_create(
            Notification(
                recipient=user,
                actor=bob,
                kind="bench.row",
                title=f"Order {number} is late",
                read_at=None if number % 10 else timezone.now(),
            )
            for number in range(start, min(rows, start + 5000))
        )
    unread = Notification.objects.filter(recipient=user, read_at=None).count()
    Inbox.objects.update_or_create(user=user, defaults={"unread": unread})
    for number in range(20):
        room = chat.create(bob, "closed", f"Room {number}", members=[user])
        messages.post(bob, room.pk, uuid.uuid4(), "Good morning")
    for number in range(40):
        jobs.create(kind="bench.job", title=f"Job {number}", owner=(user, bob)[number % 2])
    for start in range(0, 10_000, 100):
        events.publish_many(
            (topics.DASHBOARD, TYPE, {"title": f"Order {start + n}"}) for n in range(100)
        )
    return str(cookie)


def fill_log(n: int, per_topic: int) -> int:
    """So many numbered events in topics of nobody, of the last days; by the database itself, a million at a time."""
    series = "WITH RECURSIVE s(i) AS (SELECT %s UNION ALL SELECT i + 1 FROM s WHERE i < %s)"
    if connection.vendor == "postgresql":
        series = "WITH s AS (SELECT i FROM generate_series(%s::bigint, %s::bigint) AS s(i))"
    data = json.dumps(_data(1))
    at = connection.ops.adapt_datetimefield_value(timezone.now() - timedelta(days=1))
    for start in range(0, n, 1_000_000):
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO hub_events_event (topic, "offset", type, data, at)
                {series} SELECT 'user.' || (1000000 + i / %s), 1 + i %% %s, %s, %s, %s FROM s
                """,
                [start, min(n, start + 1_000_000) - 1, per_topic, per_topic, TYPE, data, at],
            )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO hub_events_topic (name, head, floor)
            SELECT topic, max("offset"), 0 FROM hub_events_event WHERE topic LIKE 'user.1______' GROUP BY topic
            """
        )
    return n


WORKS: Final[dict[str, Callable[..., Any]]] = {
    work.__name__: work
    for work in (
        prepare,
        people,
        cursor,
        singles,
        batches,
        whispers,
        whispers_at_once,
        stock,
        accounts,
        announce,
        presence_in_rooms,
        rooms,
        desk,
        fill_log,
    )
}

if __name__ == "__main__":
    print(json.dumps(WORKS[sys.argv[1]](**json.loads(sys.argv[2]))))
