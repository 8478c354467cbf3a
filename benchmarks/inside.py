"""What a workload does inside the hub, as a process of its own: `python -m benchmarks.inside WORK '{"n": 5}'`.

Prints one JSON value.
"""

from __future__ import annotations

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
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.core.management import call_command
from django.test import RequestFactory

import events
from events import log

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
    engine = import_module(settings.SESSION_ENGINE)
    found = []
    for user in made:
        request = RequestFactory().get("/")
        request.session = engine.SessionStore()
        login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
        request.session.save()
        cookie = f"{settings.SESSION_COOKIE_NAME}={request.session.session_key}"
        found.append([user.pk, cookie])
    return found


def cursor(topics: Sequence[str]) -> str:
    return log.cursor(topics)


def _data(n: int) -> dict[str, Any]:
    return {"n": n, "ts": time.monotonic_ns(), "padding": PADDING}


def singles(topics: Sequence[str], n: int, rate: float, first: int = 1) -> dict[str, float]:
    """`n` events, one call and one transaction each, round robin; `rate` a second (0: as fast as it goes)."""
    began, cpu = time.monotonic(), time.process_time()
    for number in range(n):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        topic = topics[number % len(topics)]
        events.publish(topic, TYPE, _data(first + number // len(topics)))
    return {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu}


def batches(topics: Sequence[str], n: int, size: int, first: int = 1) -> dict[str, float]:
    """`n` events by `publish_many`, `size` a call, as fast as it goes."""
    began, cpu = time.monotonic(), time.process_time()
    for start in range(0, n, size):
        events.publish_many(
            (topics[number % len(topics)], TYPE, _data(first + number // len(topics)))
            for number in range(start, min(n, start + size))
        )
    return {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu}


WORKS: Final[dict[str, Callable[..., Any]]] = {
    work.__name__: work for work in (prepare, people, cursor, singles, batches)
}

if __name__ == "__main__":
    print(json.dumps(WORKS[sys.argv[1]](**json.loads(sys.argv[2]))))
