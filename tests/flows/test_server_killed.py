"""The server dies under its clients' feet; nobody misses anything, nobody sees anything twice."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from accounts.authenticate import make_key
from consumers.database import in_database
from events import topics
from notifications import notify
from tests.contracts.clients import TRANSPORTS, Heard, Turned, listening
from tests.live import LiveServer, live_server, newcomer

COUNT = 500
KILLS = 2


async def keep_listening(
    transport: str, server: LiveServer, headers: dict[str, str], heard: Heard
) -> None:
    """A client as PROTOCOL wants it: whenever the connection ends, it comes back with its cursor."""
    while True:
        try:
            async with listening(transport, server, headers=headers, cursor=heard.cursor) as now:
                heard.ready.set()
                try:
                    await now.until(lambda now: now.turned is not None)
                except TimeoutError:
                    pass
                finally:
                    heard.events += now.events
                    heard.resets += now.resets
                    heard.cursor = now.cursor or heard.cursor
        except (OSError, Turned, httpx.HTTPError, TimeoutError):
            await asyncio.sleep(0.1)


@pytest.mark.usefixtures("live_db")
@pytest.mark.timeout(120)
async def test_five_hundred_notifications_survive_kill_9_of_the_server():
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = {"Authorization": f"Bearer {(await in_database(make_key, alice, 'test'))[1]}"}
    people = [(transport, Heard()) for transport in TRANSPORTS for _ in range(2)]

    def publish() -> None:
        for n in range(COUNT):
            notify(to=alice, kind="test.flow", title=f"number {n}")
            time.sleep(0.01)

    with live_server("daphne") as server:
        clients = [
            asyncio.create_task(keep_listening(transport, server, headers, heard))
            for transport, heard in people
        ]
        async with asyncio.timeout(30):
            await asyncio.gather(*(heard.ready.wait() for _, heard in people))
        publishing = asyncio.create_task(in_database(publish))
        for _ in range(KILLS):
            await asyncio.sleep(1.2)
            await asyncio.to_thread(server.streams.kill)
            await asyncio.to_thread(server.streams.start)
        await publishing
        await asyncio.sleep(3)
        server.streams.stop()  # the end of every connection is when its events are counted
        await asyncio.sleep(1)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    for transport, heard in people:
        assert heard.offsets(own) == list(range(1, COUNT + 1)), transport
        titles = [event["data"]["title"] for event in heard.events if event["topic"] == own]
        assert titles == [f"number {n}" for n in range(COUNT)], transport
        assert heard.resets == [], transport
