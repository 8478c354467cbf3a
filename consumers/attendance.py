"""Keeps the presence leases of this process's connections."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from events import presence
from events.presence import Lease

SWEEP: Final = 3.0
"""Seconds between looking for leases that ran out."""


class Attendance:
    """`arrive` and `depart` only note; `run` talks to Redis, and starts anew whenever Redis was away."""

    def __init__(self) -> None:
        self._held: dict[Lease, None] = {}
        self._news: asyncio.Queue[tuple[Lease, bool]] = asyncio.Queue()

    def arrive(self, lease: Lease) -> None:
        self._held[lease] = None
        self._news.put_nowait((lease, True))

    def depart(self, lease: Lease) -> None:
        self._held.pop(lease, None)
        self._news.put_nowait((lease, False))

    async def run(self) -> None:
        self._news = asyncio.Queue()  # whatever happened while Redis was away is in `_held`
        renewed = 0.0
        while True:
            if time.monotonic() - renewed >= presence.RENEW:
                await presence.renew(list(self._held))
                renewed = time.monotonic()
            await presence.sweep()
            await self._take_news(until=time.monotonic() + SWEEP)

    async def _take_news(self, until: float) -> None:
        while True:
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    lease, here = await self._news.get()
            except TimeoutError:
                return
            if here:
                await presence.arrive(lease)
            else:
                await presence.depart(lease)
