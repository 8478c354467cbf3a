"""`/events/long-poll`: what happened since the cursor, or the next thing that happens within `wait` seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from typing import Any, Final

from consumers import http, switchboard
from consumers.batch import Batch
from consumers.http import Receive, Refused, Send
from consumers.protocol import Close

WHISPER_PAUSE: Final = 1.0
"""Seconds between two answers that hold nothing but whispers: they must not turn waiting into polling."""


def _refusal(code: Close) -> Refused:
    if code == Close.NOT_SIGNED_IN:
        return Refused(401, "unauthorized", "The session has ended.")
    return Refused(503, "restarting", "The hub restarts.", [(b"retry-after", b"1")])


async def _long_poll(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    request = await http.admit(scope)
    batch = Batch()
    began = time.monotonic()
    connection, subscription, first = await http.subscribe(request, batch)
    try:
        subscription.say(first)
        await subscription.read_backlog()
        left = request.query.wait - (time.monotonic() - began)
        if not batch.filled.is_set() and left > 0:
            subscription.start()
            await _first_of(_news(batch), http.gone(receive), within=left)
        if batch.ended is not None:
            raise _refusal(batch.ended)
        await http.answer(send, batch.encode(subscription))
        subscription.delivered(batch.written())
    finally:
        switchboard.of_loop().unregister(connection)


async def _news(batch: Batch) -> None:
    await _first_of(batch.filled.wait(), _whisper(batch))


async def _whisper(batch: Batch) -> None:
    await asyncio.sleep(WHISPER_PAUSE)
    await batch.whispered.wait()


async def _first_of(*waiting: Awaitable[Any], within: float | None = None) -> None:
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


long_poll = http.guarded(_long_poll)
