"""What waits to be written to one client: bounded, and joined into few writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from consumers.protocol import MAX_FRAME, Item, Run, Whisper
from events.log import LoggedEvent

MOST_BYTES: Final = 256 * 1024
"""What one connection may have waiting; beyond it nothing is fed and the client catches up from the log."""
STUCK: Final = 30.0
"""Seconds one write may take before the client counts as too slow."""


Waiting = Item | Run | str
"""Text is a ready frame or block."""


class TooSlow(Exception):
    """The client did not take a write within `STUCK` seconds."""


class Outbox:
    """Items in order, one writer. `push` never waits; it says False when there is no room."""

    def __init__(self, on_room: Callable[[], None]) -> None:
        self._items: list[Waiting] = []
        self._bytes = 0
        self._on_its_way = 0  # events that were taken and not yet written
        self._filled: asyncio.Future[None] | None = None  # for the writer that waits
        self._on_room = on_room
        self._refused = False
        self._closed = False
        self._writing = False

    @property
    def idle(self) -> bool:
        """Nothing waits, nothing is being written: what is written now overtakes nothing."""
        return not (self._items or self._writing or self._closed)

    def push(self, item: Waiting) -> bool:
        """`reset` and `revoked` always find room: they are few. Text, a ready frame, has twice the room of events."""
        size = _size(item)
        if self._bytes and self._bytes + size > _room_for(item):
            self._refused = True
            return False
        self._items.append(item)
        self._bytes += size
        self._wake()
        return True

    def push_first(self, frame: str) -> None:
        """Before all that waits."""
        self._items.insert(0, frame)
        self._bytes += len(frame)
        self._wake()

    def drop(self, topic: str | None = None) -> int:
        """Forget the events and whispers of a topic, or of all, that are not on their way yet. Returns how many events."""
        before = self.queued()
        kept = [
            item
            for item in self._items
            if not isinstance(item, _FORGETTABLE) or (topic and item.topic != topic)
        ]
        self._items = kept
        self._bytes = sum(map(_size, kept))
        return before - self.queued()

    def queued(self) -> int:
        """Events that are not written yet."""
        return self._on_its_way + sum(map(_events, self._items))

    def close(self) -> None:
        """Nothing more comes; the writer ends once it has written what is here."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)

    async def take(self) -> list[Waiting]:
        """The next write's worth, at least one item; an empty list once closed.

        No more than a frame's worth of events, so that what a lost right forbids can still be dropped.
        """
        while not (self._items or self._closed):
            self._filled = asyncio.get_running_loop().create_future()
            await self._filled
        self._writing = True
        taken: list[Waiting] = []
        size = events = 0
        for item in self._items:
            more = _size(item)
            if taken and size + more > MAX_FRAME and isinstance(item, _FORGETTABLE):
                break
            taken.append(item)
            size += more
            events += _events(item)
        del self._items[: len(taken)]
        self._bytes -= size
        self._on_its_way = events
        return taken

    def written(self) -> int:
        """The writer's word that it has written what it took, so there is room again. Returns how many events."""
        events, self._on_its_way = self._on_its_way, 0
        self._writing = False
        if self._refused:
            self._refused = False
            self._on_room()
        return events


_FORGETTABLE: Final = (LoggedEvent, Run, Whisper)


def _events(item: Waiting) -> int:
    return len(item.events) if isinstance(item, Run) else type(item) is LoggedEvent


def _size(item: Waiting) -> int:
    if isinstance(item, Run):
        return item.size
    return len(item) if isinstance(item, str) else len(item.json)


def _room_for(item: Waiting) -> float:
    if isinstance(item, _FORGETTABLE):
        return MOST_BYTES
    return 2 * MOST_BYTES if isinstance(item, str) else float("inf")


async def within_reason(write: Awaitable[Any]) -> None:
    """Wait for one write; raises TooSlow."""
    try:
        async with asyncio.timeout(STUCK):
            await write
    except TimeoutError:
        raise TooSlow from None


class Flow:
    """What a server that buffers without limit tells of a connection's backlog (`hub.server` for Daphne)."""

    def __init__(self) -> None:
        self._drained: asyncio.Event | None = None  # None: the buffer is not full

    def pause(self) -> None:
        if self._drained is None:
            self._drained = asyncio.Event()

    def resume(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    async def writable(self) -> None:
        if self._drained is not None:
            await self._drained.wait()

    def close(self) -> None:
        """The connection's writer is done."""

    def abort(self) -> None:
        """Drop the connection at once, with all that it was to take."""


EXTENSION: Final = "hub.flow"
WRITER: Final = "hub.writer"

Write = Callable[[bytes], bool]
"""Put ready frames on the connection's socket at once; False when it can't, and nothing was written."""


def flow_of(scope: dict[str, Any]) -> Flow | None:
    """The server's flow for this connection; None where plain `send` waits by itself (uvicorn)."""
    make = scope.get("extensions", {}).get(EXTENSION)
    return make() if make is not None else None


def writer_of(scope: dict[str, Any]) -> Write | None:
    """The server's short way to this connection's socket (`hub.fast_writer`), where it has one."""
    found: Write | None = scope.get("extensions", {}).get(WRITER)
    return found
