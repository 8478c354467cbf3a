"""The hub's ASGI application: sockets and event streams to the doors, everything else to Django."""

from __future__ import annotations

import os
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponseBase

from hub import in_use, serving

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

django.setup(set_prefix=False)
serving.bound_statements()
in_use.stay()

from consumers import routing, switchboard
from consumers import scope as scopes
from events import about, layer


class Pages(ASGIHandler):
    """Django's own changes thread before and after each middleware that has no asynchronous form, and the view once
    more, some 0.8 ms of the 5 that a refused API call takes. Here it stays on its one thread from the first to the last."""

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(self.get_response)(request)


pages = Pages()
sockets = scopes.completed(routing.sockets)
events = scopes.completed(routing.events)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    layer.mark_receiving()
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    about.say(request_id=about.new_id())  # to the end of this task, which is the connection's own
    if scope["type"] == "websocket":
        await sockets(scope, receive, send)
    elif scope["path"].startswith("/events/"):
        await events(scope, receive, send)
    else:
        await pages(scope, receive, send)


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await switchboard.of_loop().stop()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
