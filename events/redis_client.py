"""Connections to Redis for what must not hang: short time-outs, one retry on a stale connection."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from typing import Any, Final
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT: Final = 0.25
"""Seconds to connect and to answer: a request waits no longer for Redis than this (twice, when it reconnects)."""

_lock = threading.Lock()
_blocking: dict[int, redis.Redis] = {}
_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()


def prefix() -> str:
    """This installation's mark on every key and channel; PUBLISH ignores database numbers, so names must differ."""
    return "hub-" + hashlib.sha256(settings.HUB_LAYER_KEY.encode()).hexdigest()[:12]


def blocking() -> redis.Redis:
    """The client of this process for synchronous code, pooled and thread-safe; made after a fork, never before."""
    pid = os.getpid()
    with _lock:
        client = _blocking.get(pid)
        if client is None:
            _blocking.clear()
            client = _blocking[pid] = redis.Redis.from_url(
                settings.REDIS_URL,
                retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
                **_deadline(),
            )
    return client


def of_loop() -> redis.asyncio.Redis:
    """The client of the running loop."""
    loop = asyncio.get_running_loop()
    client = _by_loop.get(loop)
    if client is None:
        client = _by_loop[loop] = redis.asyncio.Redis.from_url(
            settings.REDIS_URL,
            retry=AsyncRetry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            **_deadline(),
        )
    return client


async def close() -> None:
    """Give back the running loop's connections; a server does so when it stops."""
    client = _by_loop.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()


def _deadline() -> dict[str, Any]:
    return {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
