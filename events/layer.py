"""The channel layers of channels_redis, made cheap and safe to send through from anywhere.

Stock, every `async_to_sync(group_send)` from a Celery worker or a WSGI thread opens a new event loop and with it a
new Redis connection. Here a loop that also receives (a server's) sends through an async client, a throw-away loop, and
synchronous code without any, through the process's pooled blocking one. Both have a deadline, and after a failure the layer rests for a moment,
so that nobody waits for a Redis that is away: what was not sent is delivered by the pulse.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final
from weakref import WeakSet

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings
from redis.exceptions import RedisError

from events import redis_client

Message = dict[str, Any]

REST: Final = 1.0
"""Seconds without another try after a send failed."""
PER_ROUND_TRIP: Final = 50
"""Messages in one pipeline: 50 of the largest are under 3 MiB, which Redis takes well within the time-out."""
DEADLINE: Final = 2 * redis_client.TIMEOUT + 0.1
"""Seconds for one send of the core layer, which makes several round trips."""

AWAY: Final = (RedisError, OSError, TimeoutError)
"""What a send raises when Redis can't be reached in time."""

_KEEPALIVE: Final = {
    getattr(socket, name): value
    for name, value in {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}.items()
    if hasattr(socket, name)
}
"""A connection whose other end vanished is noticed in half a minute, not in the kernel's two hours."""

_receiving: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


class LayerResting(ConnectionError):
    """Redis failed a moment ago; nothing was sent."""


def mark_receiving() -> None:
    """The running loop serves clients: nothing on it may block."""
    _receiving.add(asyncio.get_running_loop())


def _on_receiving_loop() -> bool:
    return asyncio.get_running_loop() in _receiving


def current() -> Any:
    """The configured layer; typed loosely because ours and Channels' own are used alike."""
    return get_channel_layer()


def group_send_many(messages: Sequence[tuple[str, Message]]) -> None:
    """Send each `(group, message)`, in order, from synchronous code; in few round trips where the layer can.

    Raises RuntimeError in a thread whose loop is running.
    """
    backend = current()
    if isinstance(backend, PubSubLayer) and asyncio._get_running_loop() is None:
        # Without a loop: one for each call costs several times the call.
        backend.publish_blocking(backend.pack(messages))
    else:
        async_to_sync(_one_by_one)(backend, messages)


async def join_groups(backend: Any, names: Collection[str], channel: str) -> None:
    """Join these groups: in one command where the layer can."""
    if isinstance(backend, PubSubLayer):
        await backend.group_add_many(names, channel)
    else:
        for name in names:
            await backend.group_add(name, channel)


async def leave_groups(backend: Any, names: Collection[str], channel: str) -> None:
    for name in names:
        await backend.group_discard(name, channel)


async def _one_by_one(backend: Any, messages: Sequence[tuple[str, Message]]) -> None:
    for group, message in messages:
        await backend.group_send(group, message)


class _Breaker:
    def __init__(self) -> None:
        self._closed_until = 0.0

    def __enter__(self) -> None:
        if time.monotonic() < self._closed_until:
            raise LayerResting("Redis failed a moment ago")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, AWAY):
            self._closed_until = time.monotonic() + REST


def _host() -> Message:
    # A connection that blocks waiting for messages is quiet for as long as nothing happens; redis-py's own
    # default of 5 s would take an idle one for dead.
    tcp = {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
    if settings.REDIS_URL.startswith("unix://"):
        tcp = {}
    return {
        "address": settings.REDIS_URL,
        "socket_timeout": None,
        "socket_connect_timeout": 2,
        **tcp,
    }


class PubSubLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """channels_redis.pubsub with encryption always on, this installation's prefix, and sends as above."""

    def __init__(self) -> None:
        super().__init__(
            hosts=[_host()],
            prefix=redis_client.prefix(),
            symmetric_encryption_keys=[settings.HUB_LAYER_KEY],
        )
        self._breaker = _Breaker()

    async def new_channel(self, prefix: str = "specific.") -> str:
        mark_receiving()
        name: str = await self._get_layer().new_channel(prefix)
        return name

    async def send(self, channel: str, message: Message) -> None:
        await self.publish([(channel, self.serialize(message))])

    async def group_send(self, group: str, message: Message) -> None:
        await self.publish(self.pack([(group, message)]))

    async def group_add_many(self, groups: Collection[str], channel: str) -> None:
        """`group_add` for each, in one command of Redis: after a restart everybody's topics are joined at once."""
        here = self._get_layer()
        shard = here._shards[0]  # there is one: `hosts` above
        names = [here._get_group_channel_name(group) for group in groups]
        for name in names:
            here.groups.setdefault(name, set()).add(channel)
        async with shard._lock:
            new = [name for name in names if name not in shard._subscribed_to]
            if new:
                shard._ensure_redis()
                shard._ensure_receiver()
                await shard._pubsub.subscribe(*new)
                shard._subscribed_to.update(new)

    def pack(self, messages: Sequence[tuple[str, Message]]) -> list[tuple[str, bytes]]:
        """What goes over Redis for each group message: its channel and its encrypted bytes."""
        mark = redis_client.prefix() + "__group__"
        return [(mark + group, self.serialize(message)) for group, message in messages]

    async def publish(self, payloads: Sequence[tuple[str, bytes]]) -> None:
        """In as few round trips as fit the time-out."""
        if not _on_receiving_loop():
            self.publish_blocking(payloads)
            return
        for some in _round_trips(payloads):
            async with redis_client.of_loop().pipeline(transaction=False) as pipe:
                for channel, payload in some:
                    pipe.publish(channel, payload)
                with self._breaker:
                    await pipe.execute()

    def publish_blocking(self, payloads: Sequence[tuple[str, bytes]]) -> None:
        """`publish` from a thread that serves no clients."""
        for some in _round_trips(payloads):
            with redis_client.blocking().pipeline(transaction=False) as pipe:
                for channel, payload in some:
                    pipe.publish(channel, payload)
                with self._breaker:
                    pipe.execute()


def _round_trips(payloads: Sequence[tuple[str, bytes]]) -> Iterator[Sequence[tuple[str, bytes]]]:
    for start in range(0, len(payloads), PER_ROUND_TRIP):
        yield payloads[start : start + PER_ROUND_TRIP]


class CoreLayer(RedisChannelLayer):  # type: ignore[misc]
    """channels_redis.core with encryption always on, this installation's prefix, and sends as above."""

    def __init__(self) -> None:
        super().__init__(
            hosts=[_host()],
            prefix=redis_client.prefix(),
            capacity=1000,
            symmetric_encryption_keys=[settings.HUB_LAYER_KEY],
        )
        self._breaker = _Breaker()

    async def new_channel(self, prefix: str = "specific") -> str:
        mark_receiving()
        name: str = await super().new_channel(prefix)
        return name

    async def send(self, channel: str, message: Message) -> None:
        with self._breaker:
            async with asyncio.timeout(DEADLINE):
                await super().send(channel, message)

    async def group_send(self, group: str, message: Message) -> None:
        with self._breaker:
            async with asyncio.timeout(DEADLINE):
                await super().group_send(group, message)

    def connection(self, index: int) -> Any:
        return (
            super().connection(index)
            if _on_receiving_loop()
            else _Awaitable(redis_client.blocking())
        )


class _Awaitable:
    """A blocking client behind `await`, for a loop that lives for one call."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name == "pipeline":
            return lambda: _AwaitablePipeline(method())

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call


class _AwaitablePipeline:
    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    async def execute(self) -> Any:
        return self._pipeline.execute()
