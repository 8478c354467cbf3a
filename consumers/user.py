from __future__ import annotations

from consumers.door import Visitor
from consumers.websocket import HubSocket
from events import topics


class MeSocket(HubSocket):
    """`/ws/me/`: the own topic alone."""

    def subject(self, visitor: Visitor) -> str:
        return topics.user(visitor.credential.user_id)
