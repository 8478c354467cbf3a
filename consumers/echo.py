from __future__ import annotations

from consumers.protocol import Close
from consumers.websocket import Refused, SignedInSocket


class EchoSocket(SignedInSocket):
    """`/ws/echo/`: answers every text frame with itself, to see whether sockets get through."""

    async def take(self, text: str | None) -> None:
        if text is None:
            if self._strikes.strike():
                raise Refused(Close.BAD_FRAMES)
            return
        await self.send(text_data=text)
