"""Keeps the presence leases of this process's connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from accounts.authenticate import Credential
from events import presence, topics
from events.presence import Lease

SWEEP: Final = 3.0
"""Seconds between looking for leases that ran out."""
GATHER: Final = 0.3
"""Seconds in which news is gathered: a whole office that comes back makes few round trips, and a hidden page that
comes back has said so before anybody is told that it is here."""


class Attendance:
    """`arrive` and `depart` only note; `run` talks to Redis, and starts anew whenever Redis was away."""

    def __init__(self) -> None:
        self._held: dict[Lease, bool] = {}
        self._news: dict[Lease, float] = {}
        self._has_news = asyncio.Event()

    def arrive(self, lease: Lease, *, looked_at: bool = True) -> None:
        """Here, or here already and looked at now, or no longer."""
        self._held[lease] = looked_at
        self._note(lease)

    def depart(self, lease: Lease, grace: float = presence.GRACE) -> None:
        self._held.pop(lease, None)
        self._note(lease, grace)

    def _note(self, lease: Lease, grace: float = 0) -> None:
        self._news[lease] = grace
        self._has_news.set()

    async def run(self) -> None:
        self._news.clear()  # whatever happened while Redis was away is in `_held`
        renewed = 0.0
        while True:
            if time.monotonic() - renewed >= presence.RENEW:
                await presence.hold(dict(self._held))
                renewed = time.monotonic()
            await presence.sweep()
            await self._take_news(until=time.monotonic() + SWEEP)

    async def _take_news(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._has_news.wait()
            except TimeoutError:
                return
            await asyncio.sleep(GATHER)
            news, self._news = self._news, {}
            self._has_news.clear()
            held = self._held
            await presence.hold({lease: held[lease] for lease in news if lease in held})
            await presence.release({one: grace for one, grace in news.items() if one not in held})


class Places:
    """Where the person behind one connection is present; a script with a key is nowhere."""

    def __init__(self, attendance: Attendance, who: Credential, connection: str) -> None:
        self._attendance = attendance
        self._who = who
        self._connection = connection
        self._leases: dict[str, Lease] = {}
        self._looked_at = True

    def enter(self, topic: str) -> None:
        if self._who.key_id is None and topic not in self._leases:
            who = self._who
            lease = self._leases[topic] = Lease(topic, who.user_id, who.name, self._connection)
            self._attendance.arrive(lease, looked_at=self._looked_at or not _is_room(topic))

    def enter_rooms(self, names: Iterable[str]) -> None:
        """Of these topics the rooms: in them it matters who is there."""
        for name in filter(_is_room, names):
            self.enter(name)

    def leave_room(self, topic: str, grace: float = presence.GRACE) -> None:
        if topic in self._leases and _is_room(topic):
            self._attendance.depart(self._leases.pop(topic), grace)

    def look(self, *, looked_at: bool) -> None:
        """Somebody looks at the page, or nobody does."""
        if looked_at == self._looked_at:
            return
        self._looked_at = looked_at
        for topic, lease in self._leases.items():
            if _is_room(topic):
                self._attendance.arrive(lease, looked_at=looked_at)

    def leave_all(self) -> None:
        for lease in self._leases.values():
            self._attendance.depart(lease)
        self._leases.clear()


def _is_room(topic: str) -> bool:
    parsed = topics.parse(topic)
    return parsed is not None and parsed.kind == "room"
