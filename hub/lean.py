"""Keeps a WebSocket of Daphne and Autobahn small and cheap to open: what it holds and does for nobody is left out."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from autobahn.twisted import websocket as autobahn_on_twisted
from autobahn.websocket import protocol as autobahn

_OF_THE_HANDSHAKE: Final = (
    "application_deferred",
    "clean_headers",
    "http_headers",
    "http_request_data",
    "http_request_host",
    "http_request_params",
    "http_request_path",
    "http_request_uri",
    "http_response_data",
    "http_status_line",
    "websocket_extensions",
    "websocket_origin",
    "websocket_protocols",
    "_wskey",
)
"""Attributes that nobody reads once the connection is open: what was asked and answered, four times over."""


class Inbox:
    """What a client said and the application has not taken: an `asyncio.Queue` for one taker, small while it is empty."""

    __slots__ = ("_messages", "_taker")

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._taker: asyncio.Future[None] | None = None

    async def get(self) -> dict[str, Any]:
        while not self._messages:
            self._taker = asyncio.get_running_loop().create_future()
            await self._taker
        return self._messages.pop(0)

    def put_nowait(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    def get_nowait(self) -> dict[str, Any]:
        """Raises IndexError when it is empty."""
        return self._messages.pop(0)

    def qsize(self) -> int:
        return len(self._messages)

    def empty(self) -> bool:
        return not self._messages


def share_options(protocol: Any, factory: Any) -> None:
    """Autobahn copies three dozen options onto each connection, and lays them out, and what it does, for log lines
    that nobody asks for; here they are the class's."""
    for name in protocol.CONFIG_ATTRS:
        value = getattr(factory, name)
        setattr(protocol, name, staticmethod(value) if callable(value) else value)
    protocol.CONFIG_ATTRS = ()
    for module in (autobahn, autobahn_on_twisted):
        for painter in ("hltype", "hlval", "pformat"):
            if hasattr(module, painter):
                setattr(module, painter, _not_said)


def _not_said(_: object) -> str:
    return ""


def forget_handshake(connection: Any) -> None:
    """Once it is open; what the application knows of it is in its scope."""
    connection.request.headers.clear()
    for name in _OF_THE_HANDSHAKE:
        vars(connection).pop(name, None)
