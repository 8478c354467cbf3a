from __future__ import annotations

from consumers import outbox
from consumers.outbox import Flow, TooSlow
from consumers.protocol import Close
from consumers.websocket import Refused, SignedInSocket


class EchoSocket(SignedInSocket):
    """`/ws/echo/`: answers every text frame with itself, to see whether sockets get through."""

    _flow: Flow | None = None

    async def take(self, text: str | None) -> None:
        if text is None:
            if self._strikes.strike():
                raise Refused(Close.BAD_FRAMES)
            return
        if self._flow is None:
            self._flow = outbox.flow_of(self.scope) or Flow()
        try:
            await outbox.within_reason(self.send(text_data=text))
            await outbox.within_reason(self._flow.writable())
        except TooSlow:
            raise Refused(Close.TOO_SLOW) from None
