from __future__ import annotations

from consumers.door import Visitor
from consumers.websocket import HubSocket
from events import topics


class RoomSocket(HubSocket):
    """`/ws/rooms/<id>/`: one room. Whoever may not read it gets the answer of a room that does not exist."""

    def subject(self, visitor: Visitor) -> str:
        return topics.room(self.scope["url_route"]["kwargs"]["room_id"])
