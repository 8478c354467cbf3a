"""`/events/stream`: the same events as `text/event-stream`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

from accounts import refusals
from consumers import http, outbox, switchboard
from consumers.http import Receive, Send
from consumers.outbox import Outbox, TooSlow, Waiting
from consumers.protocol import Close, Item, Reset, Revoked, Run, block
from consumers.subscription import Subscription
from events import topics
from events.log import LoggedEvent
from events.presence import Lease

logger = logging.getLogger(__name__)

COMMENT_EVERY: Final = 15  # seconds
FAREWELL: Final = 5.0  # seconds
RETRY: Final = 2000
"""Milliseconds an EventSource waits before it comes back."""


class Stream:
    """A sink that writes blocks: the events first, then their cursor as the stream's last event id."""

    transport = "sse"

    def __init__(self, send: Send) -> None:
        self._send = send
        self._outbox = Outbox(self._room)
        self.subscription: Subscription | None = None
        self._written: dict[str, int] = {}

    def opening(self, subscription: Subscription, first: list[Item]) -> str:
        """How the stream begins: what is said first, and only then the cursor that has it behind it.

        A client that is cut off in between comes back with its old cursor and is told again.
        """
        self.subscription = subscription
        self._written = dict(subscription.positions)
        said = "".join(map(block, first))
        return f"retry: {RETRY}\n\n{said}id: {subscription.cursor()}\n\n"

    def push(self, item: Item) -> bool:
        return self._outbox.push(item)

    def push_run(self, run: Run) -> bool:
        return self._outbox.push(run)

    def comment(self) -> None:
        self._outbox.push(":\n\n")

    def drop(self, topic: str | None = None) -> int:
        return self._outbox.drop(topic)

    def queued(self) -> int:
        return self._outbox.queued()

    def end(self, code: Close) -> None:
        self._outbox.close()

    def _room(self) -> None:
        if self.subscription is not None:
            self.subscription.room()

    async def write(self, flow: outbox.Flow | None) -> None:
        """Until the end. Raises TooSlow."""
        while items := await self._outbox.take():
            blocks = list(map(_text, items))
            if self._note(items) and self.subscription is not None:
                blocks.append(f"id: {self.subscription.cursor(self._written)}\n\n")
            await outbox.within_reason(self.say("".join(blocks)))
            if flow is not None:
                await outbox.within_reason(flow.writable())
            events = self._outbox.written()
            if self.subscription is not None:
                self.subscription.delivered(events)

    def _note(self, items: list[Waiting]) -> bool:
        """Keep account of what is being written; True when the cursor moved. It never runs ahead of the events."""
        moved = False
        for item in items:
            if isinstance(item, (LoggedEvent, Reset)):
                self._written[item.topic] = item.offset
                moved = True
            elif isinstance(item, Run) and item.events:
                self._written[item.topic] = item.last
                moved = True
            elif isinstance(item, Revoked):
                moved = self._written.pop(item.topic, None) is not None or moved
        return moved

    async def say(self, text: str) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})


def _text(item: Waiting) -> str:
    if isinstance(item, Run):
        return item.blocks
    return item if isinstance(item, str) else block(item)


async def _stream(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    request = await http.admit(scope)
    stream = Stream(send)
    connection, subscription, first = await http.subscribe(request, stream)
    opening = stream.opening(subscription, first)
    board = switchboard.of_loop()
    lease = _lease(request, connection)
    flow = outbox.flow_of(scope)
    tasks: list[asyncio.Task[None]] = []
    try:
        await http.start(
            send, 200, "text/event-stream; charset=utf-8", [(b"x-accel-buffering", b"no")]
        )
        await stream.say(opening)
        subscription.start()
        if lease is not None:
            board.attendance.arrive(lease)
        tasks = [
            asyncio.create_task(stream.write(flow)),
            asyncio.create_task(_comment(stream)),
            asyncio.create_task(http.gone(receive)),
        ]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() and not isinstance(task.exception(), (TooSlow, OSError)):
                logger.error("A stream failed", exc_info=task.exception())
            if isinstance(task.exception(), TooSlow):
                refusals.count("slow_reader")
                logger.info("user %s reads too slowly", request.visitor.credential.user_id)
                if flow is not None:
                    flow.abort()
    finally:
        for task in tasks:
            task.cancel()
        if lease is not None:
            board.attendance.depart(lease)
        board.unregister(connection)
        if flow is not None:
            flow.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL):  # a client that does not read must not keep us
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _lease(request: http.Request, connection: str) -> Lease | None:
    who = request.visitor.credential
    if who.key_id is not None or topics.DASHBOARD not in request.allowed:
        return None
    return Lease(topics.DASHBOARD, who.user_id, who.name, connection)


async def _comment(stream: Stream) -> None:
    while True:
        await asyncio.sleep(COMMENT_EVERY)
        stream.comment()


sse = http.guarded(_stream)
