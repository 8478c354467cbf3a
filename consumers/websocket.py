"""The WebSocket door: `/ws/` with everything a person may read at once, and what the focused addresses share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import Error as DatabaseError

from accounts import refusals
from accounts.authenticate import InvalidKey
from consumers import commands, door, farewell, outbox, protocol, switchboard
from consumers.attendance import Places
from consumers.database import soon
from consumers.door import BadQuery, Visitor
from consumers.limits import (
    BAD_FRAMES,
    BAD_WINDOW,
    FRAME_WINDOW,
    FRAMES_PER_SECOND,
    Allowance,
    Strikes,
)
from consumers.outbox import Flow, Outbox, TooSlow, Waiting
from consumers.protocol import BadFrame, Close, Item, Run
from consumers.subscription import Subscription
from events import topics

logger = logging.getLogger(__name__)

FAREWELL = 5.0
"""Seconds a client gets to take the closing frame."""


class Refused(Exception):
    """The connection ends with this code."""

    def __init__(self, code: Close) -> None:
        super().__init__(code)
        self.code = code


class SignedInSocket(AsyncWebsocketConsumer):
    """Lets in who is signed in and comes from one of our pages; accepts before it refuses, so that the code is seen.

    It has no layer channel of its own: the process's switchboard has one for all.
    """

    transport = "websocket"
    scope: Any

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._frames = Allowance(FRAMES_PER_SECOND, FRAME_WINDOW)
        self._strikes = Strikes(BAD_FRAMES, BAD_WINDOW)
        self._closed = False
        self.connection = ""
        self.scope, self.base_send = scope, send
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            return
        finally:
            await self.clean_up()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Only the three kinds a server sends; no database hook, our database work has its own threads."""
        try:
            match message["type"]:
                case "websocket.connect":
                    await self._connect()
                case "websocket.receive":
                    await self._receive(message.get("text"), message.get("bytes"))
                case "websocket.disconnect":
                    raise StopConsumer
        except Refused as refusal:
            who = getattr(self.scope.get("user"), "pk", None)
            logger.info("socket of user %s refused: %d", who, refusal.code)
            await self.leave(refusal.code)
        except StopConsumer:
            raise
        except DatabaseError as error:
            logger.warning("A socket ends, the database is away (%s)", type(error).__name__)
            await self.leave(Close.FAULT)
        except Exception:
            logger.exception("A socket failed")
            await self.leave(Close.FAULT)

    async def _connect(self) -> None:
        await self.accept()
        headers = door.headers_of(self.scope)
        try:
            visitor = await door.identify(
                headers.get("authorization"), self.scope.get("session_key")
            )
        except InvalidKey:
            raise Refused(Close.NOT_SIGNED_IN) from None
        if visitor is None:
            raise Refused(Close.NOT_SIGNED_IN)
        if visitor.credential.key_id is None and not door.origin_is_ours(headers):
            logger.info("socket refused: origin %r", headers.get("origin"))
            raise Refused(Close.FORBIDDEN)
        self.scope["user"] = visitor.user
        await self.welcome(visitor)

    async def _receive(self, text: str | None, data: bytes | None) -> None:
        if self._closed:
            return
        if not self._frames.take():
            refusals.count("frame_rate")
            raise Refused(Close.TOO_FAST)
        size = len(data) if data is not None else len((text or "").encode())
        if size > protocol.MAX_FRAME:
            refusals.count("frame_size")
            raise Refused(Close.TOO_LARGE)
        await self.take(text)

    async def leave(self, code: Close) -> None:
        """Close once, and never wait long for a client that does not read."""
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(FAREWELL):
                await self.close(code=int(code))
        except Exception as error:  # noqa: BLE001 - it is gone already
            logger.debug("no farewell (%s)", type(error).__name__)

    async def put(self, text: str, flow: Flow | None) -> None:
        """Write a frame and wait until the server has room for more."""
        await self.send(text_data=text)
        if flow is not None:
            await flow.writable()

    async def welcome(self, visitor: Visitor) -> None:
        """Somebody came in."""

    async def take(self, text: str | None) -> None:
        """A frame came; None when it was binary."""

    async def register(self, subscription: Subscription) -> None:
        """From here on the switchboard counts the connection and may end it."""
        try:
            self.connection = await switchboard.of_loop().register(subscription)
        except switchboard.TooManyConnections:
            raise Refused(Close.TOO_MANY) from None

    async def clean_up(self) -> None:
        """However the connection ended."""
        if self.connection:
            switchboard.of_loop().unregister(self.connection)


class HubSocket(SignedInSocket):
    """`/ws/`: the own topic, the fixed groups and the own teams at once, others by `topics=` or `subscribe`."""

    groups: list[str] = []
    """Fixed groups of this address, joined by the switchboard once access is checked. `/ws/` has all that exist."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subscription: Subscription | None = None
        self._outbox = Outbox(self._room)
        self._write_now: outbox.Write | None = None
        self._leaving: Close | None = None
        self._writer: asyncio.Task[None] | None = None
        self._beat: asyncio.TimerHandle | None = None

    def subject(self, visitor: Visitor) -> str | None:
        """The one topic a focused address is about; None: no single one."""
        return None

    def implied(self, visitor: Visitor) -> Sequence[str]:
        """What the address serves without being asked."""
        return visitor.implied

    async def welcome(self, visitor: Visitor) -> None:
        try:
            query = door.read_query(self.scope["query_string"])
        except BadQuery:
            raise Refused(Close.BAD_FRAMES) from None
        board = switchboard.of_loop()
        subscription = Subscription(board, visitor.credential, self)
        subscription.own = self.subject(visitor)
        implied = [
            *([subscription.own] if subscription.own else self.implied(visitor)),
            *self.groups,
        ]
        wanted = list(dict.fromkeys([*implied, *query.topics]))
        allowed = await door.readable(visitor.credential, wanted)
        if "read" not in visitor.credential.scopes:
            raise Refused(Close.FORBIDDEN)
        refused = [name for name in wanted if name not in allowed]
        if subscription.own is None:
            subscription.implied = frozenset(visitor.implied).difference(refused)
        parting: list[Item] = []
        cursor = query.cursor
        if refused:
            parting, cursor = await soon(farewell.part, visitor.credential, refused, cursor)
        if subscription.own in refused:
            await self._turn_away([item for item in parting if item.topic == subscription.own])
        await self.register(subscription)
        self.subscription = subscription
        resets = await subscription.open([name for name in wanted if name in allowed], cursor)
        self._outbox.push_first(  # something may have been whispered since the lines were joined
            protocol.welcome(
                user={"id": visitor.credential.user_id, "name": visitor.credential.name},
                connection=self.connection,
                epoch=subscription.epoch,
                cursor=subscription.cursor_before(query.cursor, [*parting, *resets]),
                offsets=subscription.positions,
            )
        )
        subscription.say([*parting, *resets])
        subscription.start()
        self._write_now = outbox.writer_of(self.scope)
        self._writer = asyncio.create_task(self._write())
        self._wait_for_heartbeat()
        subscription.places = Places(board.attendance, visitor.credential, self.connection)
        subscription.places.enter_rooms(set(subscription.topics) - query.absent)
        if subscription.own is None:
            subscription.places.enter(topics.DASHBOARD)

    async def _turn_away(self, parting: Sequence[Item]) -> None:
        """The address's own subject may not be read; who knew it until its end hears of that."""
        *said, _revoked = parting
        for text in protocol.frames(said):
            await self.send(text_data=text)
        raise Refused(Close.ROOM_DELETED if said else Close.FORBIDDEN)

    async def take(self, text: str | None) -> None:
        if self.subscription is None:
            return
        try:
            if text is None:
                raise BadFrame("binary frames are not understood: send JSON text.")
            command = protocol.parse(text)
        except BadFrame as error:
            if self._strikes.strike():
                refusals.count("bad_frames")
                raise Refused(Close.BAD_FRAMES) from None
            self._say(protocol.refusal(error.ref, "bad_frame", str(error)))
            return
        for answer in await commands.run(self.subscription, command):
            self._say(answer)
        commands.after(self.subscription, command)

    def _say(self, answer: Item | str) -> None:
        """An answer must reach who asked; who asks on and on without reading any leaves."""
        if not self._outbox.push(answer):
            refusals.count("slow_reader")
            raise Refused(Close.TOO_SLOW)

    # --- what the subscription calls --------------------------------------------------------------------------

    def push(self, item: Item) -> bool:
        return self._outbox.push(item)

    def push_run(self, run: Run) -> bool:
        """Straight to the socket where nothing is before it, else by way of the outbox."""
        if self._write_now is not None and self._outbox.idle and self._write_now(run.wire):
            if self.subscription is not None:
                self.subscription.delivered(len(run.events))
            return True
        return self._outbox.push(run)

    def drop(self, topic: str | None = None) -> int:
        return self._outbox.drop(topic)

    def queued(self) -> int:
        return self._outbox.queued()

    def end(self, code: Close) -> None:
        """Say what is still in the outbox, then go."""
        self._leaving = code
        self._outbox.close()

    def _room(self) -> None:
        if self.subscription is not None:
            self.subscription.room()

    # --- writing ----------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        flow = outbox.flow_of(self.scope)
        try:
            while items := await self._outbox.take():
                for text in _texts(items):
                    await outbox.within_reason(self.put(text, flow))
                events = self._outbox.written()
                if self.subscription is not None:
                    self.subscription.delivered(events)
            await self.leave(self._leaving or Close.NORMAL)
        except TooSlow:
            refusals.count("slow_reader")
            logger.info("user %s reads too slowly", self.scope["user"].pk)
            await self.leave(Close.TOO_SLOW)
        except OSError as error:  # the client is gone; its disconnect ends the rest
            logger.debug("a write failed (%s)", type(error).__name__)
        except Exception:
            if self._closed:
                return  # it was closed while this write was under way
            logger.exception("A socket's writer failed")
            await self.leave(Close.FAULT)

    def _wait_for_heartbeat(self) -> None:
        loop = asyncio.get_running_loop()
        self._beat = loop.call_later(protocol.HEARTBEAT, self._heartbeat)

    def _heartbeat(self) -> None:
        if self.subscription is not None:
            self._outbox.push(protocol.heartbeat(self.subscription.cursor()))
            self._wait_for_heartbeat()

    async def clean_up(self) -> None:
        for pending in (self._writer, self._beat):
            if pending is not None:
                pending.cancel()
        if self.subscription is not None and self.subscription.places is not None:
            self.subscription.places.leave_all()
        await super().clean_up()


def _texts(items: list[Waiting]) -> list[str]:
    """Ready frames and runs stand for themselves, in their place among the items."""
    done: list[str] = []
    single: list[Item] = []
    for item in items:
        if isinstance(item, (str, Run)):
            done += protocol.frames(single)
            single = []
            done += [item] if isinstance(item, str) else item.frames
        else:
            single.append(item)
    return done + protocol.frames(single)
