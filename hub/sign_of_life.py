"""A key in Redis that lives for as long as some worker takes tasks; cheaper to ask than the workers themselves."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import redis
from celery import bootsteps

from events import redis_client

PULSE: Final = 2.0
"""Seconds between two signs."""
LIFE: Final = 8
"""Seconds after which a worker that gave none counts as dead."""


def seen() -> bool:
    """Whether a worker lives. Raises `redis.RedisError`."""
    return bool(redis_client.blocking().exists(_key()))


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


def _key() -> str:
    return f"{redis_client.prefix()}:worker"


def _give(name: str) -> None:
    with contextlib.suppress(redis.RedisError):
        redis_client.blocking().set(_key(), name, ex=LIFE)


def _take_back(name: str) -> None:
    with contextlib.suppress(redis.RedisError):
        client = redis_client.blocking()
        if client.get(_key()) == name.encode():
            client.delete(_key())
