from __future__ import annotations

from consumers.door import Visitor
from consumers.websocket import HubSocket
from events import topics


class JobSocket(HubSocket):
    """`/ws/jobs/<uuid>/`: one job. Whoever may not see it gets the answer of a job that does not exist."""

    def subject(self, visitor: Visitor) -> str:
        return topics.job(self.scope["url_route"]["kwargs"]["job_id"])
