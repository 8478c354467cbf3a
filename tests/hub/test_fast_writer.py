"""Frames straight to the socket: whole, in order, and only where nothing waits."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import ssl, tcp
from twisted.internet.testing import MemoryReactor
from websockets.asyncio.client import connect
from websockets.typing import Origin

from consumers.database import in_database
from events import publishing, topics
from hub import fast_writer
from tests.live import cookies_of, live_server, newcomer


@pytest.fixture
def pair() -> Iterator[tuple[Any, socket.socket]]:
    """A connection as Twisted holds it, and its other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    server: Any = tcp.Server
    reactor: Any = MemoryReactor
    port = SimpleNamespace(_realPortNumber=0)
    transport = server(ours, SimpleNamespace(), ("127.0.0.1", 1), port, 0, reactor())
    yield transport, theirs
    ours.close()
    theirs.close()


def protocol_on(transport: Any, **state: Any) -> Any:
    return SimpleNamespace(
        **{"transport": transport, "state": fast_writer.OPEN, "send_queue": [], **state}
    )


def test_it_knows_the_versions_that_are_installed():
    assert fast_writer.unusable() == ""


def test_what_the_socket_does_not_take_waits_in_order(pair):
    transport, theirs = pair
    protocol = protocol_on(transport)
    assert fast_writer.write(protocol, b"first")
    assert theirs.recv(100) == b"first"
    large = b"x" * 10_000_000
    assert fast_writer.write(protocol, large)
    assert not fast_writer.write(protocol, b"later")
    theirs.settimeout(5)
    got = 0
    while got < len(large):
        transport.doWrite()
        got += len(theirs.recv(1_000_000))
    assert got == len(large)
    assert fast_writer.write(protocol, b"again")
    assert theirs.recv(100) == b"again"


@pytest.mark.parametrize("state", [{"state": 0}, {"send_queue": [b"x"]}])
def test_it_declines_where_something_comes_first(pair, state):
    assert not fast_writer.write(protocol_on(pair[0], **state), b"data")


def test_it_declines_what_is_no_plain_connection():
    assert not fast_writer.write(protocol_on(object.__new__(ssl.Server)), b"data")


def test_it_leaves_a_broken_connection_to_the_transport(pair):
    transport, theirs = pair
    theirs.close()
    assert not fast_writer.write(protocol_on(transport), b"data")


@pytest.mark.usefixtures("live_db")
@pytest.mark.parametrize("fast", ["1", "0"])
async def test_a_client_that_pauses_has_everything_in_order(fast):
    user = await in_database(newcomer)
    cookies = await in_database(cookies_of, user)
    topic = topics.user(user.pk)

    def publish(n: int) -> None:
        for start in range(0, n, 10):
            publishing.publish_many(
                (topic, "order.late", {"n": start + one, "text": "ä" * 1000}) for one in range(10)
            )

    with live_server("daphne", env={"HUB_FAST_WRITER": fast}) as server:
        narrow = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        async with connect(
            server.ws(),
            sock=narrow,
            origin=Origin(server.url),
            additional_headers={"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())},
            compression=None,
            max_queue=1,
        ) as client:
            welcome = json.loads(await client.recv())
            await in_database(publish, 600)
            await asyncio.sleep(1)
            seen: list[int] = []
            async with asyncio.timeout(30):
                while len(seen) < 600:
                    said = json.loads(await client.recv())
                    frames = said if isinstance(said, list) else [said]
                    seen += [
                        one["offset"]
                        for one in frames
                        if one["op"] == "event" and one["topic"] == topic
                    ]
            first = welcome["offsets"][topic]
            assert seen == list(range(first + 1, first + 601))
        assert ("the usual way" in server.said()) is (fast == "0")
