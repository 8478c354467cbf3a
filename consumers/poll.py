"""`/events/poll`: what happened since the cursor, at once."""

from __future__ import annotations

from typing import Any

from consumers import http
from consumers.batch import Batch
from consumers.http import Receive, Send


async def _poll(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    request = await http.admit(scope)
    batch = Batch()
    subscription, first = await http.look(request, batch)
    subscription.say(first)
    await subscription.read_backlog()
    await http.answer(send, batch.encode(subscription))
    subscription.delivered(batch.written())


poll = http.guarded(_poll)
