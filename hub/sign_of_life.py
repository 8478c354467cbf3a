"""Keys in Redis that live for as long as workers take tasks; cheaper to ask than the workers themselves.

`python -m hub.sign_of_life` succeeds while this machine's worker lives (a container's health check).
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Final

import redis
from celery import bootsteps

from events import redis_client

PULSE: Final = 2.0
"""Seconds between two signs."""
LIFE: Final = 8
"""Seconds after which a worker that gave none counts as dead."""


def seen(name: str = "") -> bool:
    """Whether that worker lives, or any. Raises `redis.RedisError`."""
    return bool(redis_client.blocking().exists(_key(name)))


def forget() -> None:
    """Let no earlier worker pass for one that lives. Raises `redis.RedisError`."""
    redis_client.blocking().delete(_key())


class SignOfLife(bootsteps.StartStopStep):
    """Part of a worker's consumer: runs only while that is connected and its timer turns."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **_: Any) -> None:
        self._entry: Any = None

    def start(self, consumer: Any) -> None:
        self._entry = consumer.timer.call_repeatedly(PULSE, _give, (consumer.hostname,))
        _give(consumer.hostname)

    def stop(self, consumer: Any) -> None:
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None
            _take_back(consumer.hostname)

    shutdown = stop


def _key(name: str = "") -> str:
    return f"{redis_client.prefix()}:worker{name and f':{name}'}"


def _give(name: str) -> None:
    with contextlib.suppress(redis.RedisError):
        client = redis_client.blocking()
        client.set(_key(), name, ex=LIFE)
        client.set(_key(name), "1", ex=LIFE)


def _take_back(name: str) -> None:
    with contextlib.suppress(redis.RedisError):
        client = redis_client.blocking()
        client.delete(_key(name))
        if client.get(_key()) == name.encode():
            client.delete(_key())


if __name__ == "__main__":
    raise SystemExit(not seen(f"celery@{socket.gethostname()}"))
