"""The server dies under its clients' feet; nobody misses anything, nobody sees anything twice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from accounts.authenticate import make_key
from consumers.database import in_database
from events import topics
from notifications import notify
from tests.contracts.clients import TRANSPORTS, Heard, Turned, listening
from tests.live import LiveServer, live_server, newcomer

COUNT = 500
KILLS = 2


@dataclass
class Person:
    """A client as PROTOCOL wants it: whenever its connection ends, it comes back with its cursor."""

    transport: str
    connections: list[Heard] = field(default_factory=list)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for heard in self.connections for event in heard.events]

    async def keep_listening(self, server: LiveServer, headers: dict[str, str]) -> None:
        while True:
            cursor = self.connections[-1].cursor if self.connections else ""
            try:
                async with listening(self.transport, server, headers=headers, cursor=cursor) as now:
                    self.connections.append(now)
                    while now.turned is None:
                        await asyncio.sleep(0.02)
            except (Turned, TimeoutError):
                await asyncio.sleep(0.1)


async def until(fulfilled: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not fulfilled():
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("live_db")
@pytest.mark.timeout(180)
async def test_five_hundred_notifications_survive_kill_9_of_the_server():
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = {"Authorization": f"Bearer {(await in_database(make_key, alice, 'test'))[1]}"}
    people = [Person(transport) for transport in TRANSPORTS for _ in range(2)]

    def publish() -> None:
        for n in range(COUNT):
            notify(to=alice, kind="test.flow", title=f"number {n}")
            time.sleep(0.01)

    with live_server("daphne") as server:
        clients = [asyncio.create_task(one.keep_listening(server, headers)) for one in people]
        await until(lambda: all(one.connections for one in people), 30)
        publishing = asyncio.create_task(in_database(publish))
        for _ in range(KILLS):
            await asyncio.sleep(1.2)
            await asyncio.to_thread(server.streams.kill)
            await asyncio.to_thread(server.streams.start)
        await publishing
        with contextlib.suppress(TimeoutError):  # what is missing then is told below
            await until(lambda: all(len(one.events) >= COUNT for one in people), 60)
        await asyncio.sleep(1)  # what comes twice would come now
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    for one in people:
        mine = [event for event in one.events if event["topic"] == own]
        assert [event["offset"] for event in mine] == list(range(1, COUNT + 1)), one.transport
        assert [event["data"]["title"] for event in mine] == [
            f"number {n}" for n in range(COUNT)
        ], one.transport
        assert [heard.resets for heard in one.connections if heard.resets] == []
