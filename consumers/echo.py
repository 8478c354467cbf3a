from __future__ import annotations

import asyncio

from accounts import refusals
from consumers import outbox, switchboard
from consumers.door import Visitor
from consumers.outbox import Flow, TooSlow
from consumers.protocol import Close, Item, Run
from consumers.subscription import Subscription
from consumers.websocket import Refused, SignedInSocket


class EchoSocket(SignedInSocket):
    """`/ws/echo/`: answers every text frame with itself, to see whether sockets get through.

    It reads no topic, but it is a connection like the others: counted, asked about again, sent away before a restart.
    """

    _flow: Flow | None = None
    _leaving: asyncio.Task[None] | None = None

    async def welcome(self, visitor: Visitor) -> None:
        await self.register(Subscription(switchboard.of_loop(), visitor.credential, self))

    async def take(self, text: str | None) -> None:
        if text is None:
            if self._strikes.strike():
                refusals.count("bad_frames")
                raise Refused(Close.BAD_FRAMES)
            return
        if self._flow is None:
            self._flow = outbox.flow_of(self.scope) or Flow()
        try:
            await outbox.within_reason(self.put(text, self._flow))
        except TooSlow:
            refusals.count("slow_reader")
            raise Refused(Close.TOO_SLOW) from None

    # --- what the subscription calls --------------------------------------------------------------------------

    def push(self, item: Item) -> bool:
        """Nothing but an echo is said here."""
        return True

    def push_run(self, run: Run) -> bool:
        return True

    def drop(self, topic: str | None = None) -> int:
        """Nothing waits."""
        return 0

    def queued(self) -> int:
        return 0

    def end(self, code: Close) -> None:
        self._leaving = asyncio.create_task(self.leave(code))
