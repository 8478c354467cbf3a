"""The addresses of the doors: `/ws/…` and `/events/…`."""

from __future__ import annotations

from typing import Any

from channels.routing import URLRouter
from django import urls

from consumers.door import Visitor
from consumers.echo import EchoSocket
from consumers.group import GroupSocket
from consumers.http import Receive, Refused, Send, refuse
from consumers.job import JobSocket
from consumers.long_poll import long_poll
from consumers.poll import poll
from consumers.protocol import Close
from consumers.room import RoomSocket
from consumers.sse import sse
from consumers.user import MeSocket
from consumers.websocket import HubSocket, SignedInSocket
from consumers.websocket import Refused as RefusedSocket

path: Any = urls.path  # typed for views; Channels routes any ASGI application
re_path: Any = urls.re_path


class NowhereSocket(SignedInSocket):
    """An address that is none: the same answer as one that may not be read."""

    async def welcome(self, visitor: Visitor) -> None:
        raise RefusedSocket(Close.FORBIDDEN)


async def nowhere(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await refuse(
        send, Refused(404, "not_found", "Use /events/poll, /events/long-poll or /events/stream.")
    )


sockets = URLRouter(
    [
        path("ws/", HubSocket.as_asgi()),
        path("ws/me/", MeSocket.as_asgi()),
        path("ws/groups/<str:name>/", GroupSocket.as_asgi()),
        path("ws/rooms/<str:room_id>/", RoomSocket.as_asgi()),
        path("ws/jobs/<str:job_id>/", JobSocket.as_asgi()),
        path("ws/echo/", EchoSocket.as_asgi()),
        re_path(r"", NowhereSocket.as_asgi()),
    ]
)

events = URLRouter(
    [
        path("events/poll", poll),
        path("events/long-poll", long_poll),
        path("events/stream", sse),
        re_path(r"", nowhere),
    ]
)
