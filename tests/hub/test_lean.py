"""What a connection of Daphne and Autobahn need not hold is not held, and nothing is lost by that."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from autobahn.twisted import websocket as autobahn_on_twisted
from autobahn.websocket import protocol as autobahn

from hub import lean


def said(n: int) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": str(n)}


async def test_an_inbox_gives_everything_in_order_and_waits_for_more():
    inbox = lean.Inbox()
    for n in range(3):
        inbox.put_nowait(said(n))
    assert inbox.qsize() == 3
    assert [(await inbox.get())["text"] for _ in range(3)] == ["0", "1", "2"]
    assert inbox.empty()
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.put_nowait(said(3))
    inbox.put_nowait(said(4))
    assert (await waiting)["text"] == "3"
    assert inbox.get_nowait()["text"] == "4"


async def test_who_stops_waiting_takes_nothing_along():
    inbox = lean.Inbox()
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put_nowait(said(1))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await inbox.get())["text"] == "1"


def test_a_connection_has_the_options_of_its_factory_without_a_copy(monkeypatch):
    for module in (autobahn, autobahn_on_twisted):
        for painter in ("hltype", "hlval", "pformat"):
            if hasattr(module, painter):  # so that they are given back
                monkeypatch.setattr(module, painter, getattr(module, painter))

    class Connection(autobahn_on_twisted.WebSocketServerProtocol):
        pass

    names = Connection.CONFIG_ATTRS
    factory: Any = autobahn_on_twisted.WebSocketServerFactory()  # type: ignore[no-untyped-call]
    factory.setProtocolOptions(maxMessagePayloadSize=1234, failByDrop=False)
    lean.share_options(Connection, factory)
    connection: Any = Connection()
    connection.factory = factory
    connection.openHandshakeTimeout = 0
    connection._connectionMade()
    assert set(names).isdisjoint(vars(connection).keys() - {"openHandshakeTimeout"})
    assert [getattr(connection, name) for name in names if name != "openHandshakeTimeout"] == [
        getattr(factory, name) for name in names if name != "openHandshakeTimeout"
    ]
    assert connection.perMessageCompressionAccept([]) is None
    assert len(vars(connection)) < 60


def test_what_was_asked_and_answered_is_forgotten():
    headers = {"host": "localhost", "cookie": "sessionid=secret"}
    connection: Any = SimpleNamespace(
        request=SimpleNamespace(headers=headers, path="/ws/"),
        http_headers=headers,
        http_request_data=b"GET /ws/ HTTP/1.1",
        http_response_data="HTTP/1.1 101 Switching Protocols",
        clean_headers=[(b"cookie", b"sessionid=secret")],
        state=3,
    )
    lean.forget_handshake(connection)
    assert vars(connection) == {"request": connection.request, "state": 3}
    assert "secret" not in repr(vars(connection))
    assert connection.request.path == "/ws/"
