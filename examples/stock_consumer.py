"""A consumer as the Channels manual writes them, reading one of the hub's groups.

    daphne -p 8001 examples.stock_consumer:application

serves the hub and `/ws/stock/` beside it. It shows what is said from now on; history, catching up and the end of
access while connected are what `/ws/` adds (docs/concepts.md).
"""

from __future__ import annotations

from typing import Any

from hub.asgi import application as hub  # isort: skip - sets Django up, which the rest needs

from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django import urls

from accounts import audience
from events import layer, topics

path: Any = urls.path  # typed for views; Channels routes any ASGI application


class DashboardSocket(AsyncJsonWebsocketConsumer):
    groups = [topics.DASHBOARD]

    async def websocket_connect(self, message: Any) -> None:
        """Channels joins `groups` in here and calls `connect()` only then: too late to refuse anybody."""
        user: Any = self.scope["user"]
        if await database_sync_to_async(audience.may_read)(user.pk or 0, topics.DASHBOARD):
            await super().websocket_connect(message)
        else:
            await self.close()

    async def hub_event(self, message: Any) -> None:
        await self.send_json(message["event"])

    async def hub_whisper(self, message: Any) -> None:
        """Not shown; but a message without a handler would end the connection."""


sockets = AllowedHostsOriginValidator(
    AuthMiddlewareStack(URLRouter([path("ws/stock/", DashboardSocket.as_asgi())]))
)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket" and scope["path"] == "/ws/stock/":
        layer.mark_receiving()  # this loop waits for messages: sending on it must not block
        await sockets(scope, receive, send)
    else:
        await hub(scope, receive, send)
