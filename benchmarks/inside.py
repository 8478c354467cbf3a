"""What a workload does inside the hub, as a process of its own: `python -m benchmarks.inside WORK '{"n": 5}'`.

Prints one JSON value.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
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
from django.db import transaction
from django.test import RequestFactory

import events
from events import log, presence, redis_client
from events.topics import room
from notifications import EVERYONE, notify

TYPE: Final = "bench.event"
PADDING: Final = "x" * 60
"""An event's frame is then near 200 bytes, as in the reference figures."""


def prepare() -> None:
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


def people(n: int) -> list[list[Any]]:
    """So many accounts, each signed in: `[id, session cookie]`."""
    accounts = get_user_model()._default_manager
    made = accounts.bulk_create(
        get_user_model()(username=f"p{number}", is_staff=True) for number in range(n)
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
    held = {presence.Lease(room(n), 1, "p", "c"): True for n in range(1, rooms + 1)}
    await presence.hold(held)
    began = time.process_time()
    for _ in range(times):
        await presence.sweep()
    took = time.process_time() - began
    await presence.release(dict.fromkeys(held, 0.0))
    await presence.sweep()
    await redis_client.close()
    return {"cpu_s": took}


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
    )
}

if __name__ == "__main__":
    print(json.dumps(WORKS[sys.argv[1]](**json.loads(sys.argv[2]))))
