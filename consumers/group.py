from __future__ import annotations

from consumers.door import Visitor
from consumers.websocket import HubSocket
from events import topics


class GroupSocket(HubSocket):
    """`/ws/groups/<name>/`: one fixed group, for a wall display or an embedding page."""

    def subject(self, visitor: Visitor) -> str:
        return topics.group(self.scope["url_route"]["kwargs"]["name"])
