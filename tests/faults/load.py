"""Clients of all four transports, each its own person: half personal events, half those of everybody."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from django.contrib.auth.models import User

from consumers.database import in_database
from events import log, topics
from events.models import Event
from tests.faults.recorder import Recorder
from tests.live import cookies_of, newcomer
from tests.reference_client import ReferenceClient, Transport, parse_cursor

EVERYBODY: Final = "group.dashboard"
L: Final[Mapping[Transport, int]] = {"websocket": 120, "sse": 40, "long-poll": 20, "poll": 20}
"""The load of the promises: 200 clients."""


def share(part: float) -> dict[Transport, int]:
    """L, smaller: at least two of each transport."""
    return {transport: max(2, round(n * part)) for transport, n in L.items()}


@dataclass
class Listener:
    who: str
    user: User
    client: ReferenceClient
    first: dict[str, int]
    """Positions at its first welcome: what it is owed begins after them."""

    @property
    def own(self) -> str:
        return topics.user(self.user.pk)

    @property
    def positions(self) -> dict[str, int]:
        cursor = parse_cursor(self.client.cursor)
        return cursor.offsets if cursor else {}


class Load:
    def __init__(
        self,
        url: str,
        recorder: Recorder,
        clients: Mapping[Transport, int],
        *,
        watching: Iterable[str] = (EVERYBODY,),
        patience: float = 60.0,
    ) -> None:
        """`watching`: the topics, besides each one's own, that `level` waits for and the checker asks for. `patience`:
        seconds until TimeoutError is raised because not everybody is connected."""
        self.listeners: list[Listener] = []
        self.watching = tuple(watching)
        self._url, self._recorder, self._wanted = url, recorder, clients
        self._patience = patience

    async def __aenter__(self) -> Self:
        for transport, n in self._wanted.items():
            for number in range(n):
                user = await in_database(newcomer, f"l{number}")
                cookies = await in_database(cookies_of, user)
                self.listeners.append(
                    self._listener(f"{transport}-{number}", user, transport, cookies)
                )
        self._tasks = [asyncio.create_task(one.client.run()) for one in self.listeners]
        try:
            async with asyncio.timeout(self._patience):
                while not all(one.first for one in self.listeners):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def own_topics(self) -> list[str]:
        return [one.own for one in self.listeners]

    async def level(self, seconds: float) -> float:
        """Wait until everybody has all that the log holds; seconds it took. What is missing after `seconds` stays
        missing, for the checker to tell."""
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not await self._is_level():
                    await asyncio.sleep(0.1)
        return time.monotonic() - began

    async def _is_level(self) -> bool:
        if await in_database(Event.objects.filter(offset=None).exists):
            return False  # a process died between its commit and the flush
        heads = await in_database(log.heads, [*self.watching, *self.own_topics])
        for one in self.listeners:
            positions = one.positions
            if any(positions.get(t, 0) < heads.get(t, 0) for t in (one.own, *self.watching)):
                return False
        return True

    def _listener(
        self, who: str, user: User, transport: Transport, cookies: Mapping[str, str]
    ) -> Listener:
        first: dict[str, int] = {}
        record = self._recorder.write

        def frame(frame: dict[str, Any]) -> None:
            match frame["op"]:
                case "welcome":
                    first.update({t: o for t, o in frame["offsets"].items() if t not in first})
                case "heartbeat" if not first:
                    cursor = parse_cursor(frame["cursor"])
                    first.update(cursor.offsets if cursor else {})
                case "event":
                    record("wire", who, topic=frame["topic"], offset=frame["offset"])
                case "revoked":
                    record("revoked", who, topic=frame["topic"])

        def event(event: dict[str, Any]) -> None:
            mark = event["data"].get("mark")
            record("applied", who, topic=event["topic"], offset=event["offset"], mark=mark)

        def reset(reset: dict[str, Any]) -> None:
            fields = {name: reset[name] for name in ("topic", "offset", "reason")}
            record("reset", who, **fields)

        def state(state: str) -> None:
            if state == "connecting":
                record("connected", who)

        client = ReferenceClient(
            self._url,
            transport=transport,
            cookies=cookies,
            poll_every=0.5,
            on_frame=frame,
            on_event=event,
            on_reset=reset,
            on_state=state,
        )
        return Listener(who, user, client, first)
