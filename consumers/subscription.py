"""One client: its topics, its position in each, and how it gets from there to live.

A topic is either behind or live. While behind it is fed from the log only, and it turns live in the very step in
which its position equals what its line has handed on, so nothing can slip between the two. Whatever is not above
the position is skipped; whatever is not the next offset makes the topic behind again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from django.db import Error as DatabaseError

from accounts import audience
from accounts.authenticate import Credential
from consumers import cursor as cursors
from consumers import farewell
from consumers.cursor import Cursor
from consumers.database import in_database, together
from consumers.ledger import Reason
from consumers.protocol import Close, Item, Reset, ResetReason, Revoked, Run, Whisper
from events import about, log
from events import epoch as epochs
from events.log import LoggedEvent, Reach
from events.presence import GRACE

if TYPE_CHECKING:
    from consumers.attendance import Places
    from consumers.switchboard import Switchboard

logger = logging.getLogger(__name__)

_RETRY: Final = 1.0
"""Seconds until a read that failed is tried again."""


class Sink(Protocol):
    """Where a transport takes what its client gets."""

    transport: str

    def push(self, item: Item) -> bool:
        """Take it, or say False when there is no room: `Subscription.room` is called when there is again."""

    def push_run(self, run: Run) -> bool:
        """Take all of the run, or say False and take none: its items are pushed one by one then."""

    def drop(self, topic: str | None = None) -> int:
        """Forget the events and whispers of a topic, or of all, that the client has not been sent. Returns how many
        events."""

    def queued(self) -> int:
        """Events that were pushed and are not written yet."""

    def end(self, code: Close) -> None:
        """The client must go, for this reason."""


class Subscription:
    def __init__(self, board: Switchboard, credential: Credential, sink: Sink) -> None:
        self.credential = credential
        self.about = about.now()
        """For what is logged of it elsewhere."""
        self.positions: dict[str, int] = {}
        self.own: str | None = None
        """The address's own subject: losing it ends the connection, losing another topic is `revoked`."""
        self.implied: frozenset[str] | None = None
        """What the address serves unasked, where that depends on the person; None where it does not."""
        self.epoch = ""
        self.places: Places | None = None
        """Where the person counts as being, on a transport that says so."""
        self.typed: dict[str, float] = {}
        """When it was last whispered that this client types in a room, for a moment."""
        self._board = board
        self._sink = sink
        self._heads: dict[str, int] = {}
        self._foreign: dict[str, int] = {}
        """Positions the cursor knew of topics that were not asked for."""
        self._joined: set[str] = set()
        self._read: set[str] = set()
        """The topics of which every event is owed from its position on."""
        self._is_live = True
        self._behind: dict[str, None] = {}
        self._asked: dict[str, int] = {}
        """The offset up to which its person was asked for, where some event narrowed who may read."""
        self._catching_up: asyncio.Task[None] | None = None
        self._closed = False
        self._is_gone = False
        self._lost: set[str] = set()
        """What its person may read no more, of what it is on its way into."""

    @property
    def transport(self) -> str:
        return self._sink.transport

    @property
    def waits_for_room(self) -> bool:
        """The client has not taken what it was given, and nothing more is fed to it."""
        return bool(self._behind) and self._catching_up is not None and self._catching_up.done()

    @property
    def topics(self) -> list[str]:
        return list(self.positions)

    @property
    def asked_for(self) -> set[str]:
        """What it reads, and what it is on its way into."""
        return self._joined.union(self.positions)

    def cursor(self, positions: Mapping[str, int] | None = None) -> str:
        """Where the client is; `positions` for a transport that has not yet sent all it took."""
        if positions is None:
            positions = self.positions
        text = log.write_cursor(self.epoch, {**self._foreign, **positions})
        return text if len(text) <= cursors.MAX_LENGTH else log.write_cursor(self.epoch, positions)

    def cursor_before(self, at: Cursor | None, first: Sequence[Item]) -> str:
        """Where the client is until it has been told what comes first; `at` is where it came from."""
        if at is None or not first:
            return self.cursor()
        if at.epoch != self.epoch:
            return str(at)
        about = {item.topic for item in first}
        unsaid = {name: offset for name, offset in at.positions.items() if name in about}
        return self.cursor({**self.positions, **unsaid})

    async def open(
        self, names: Iterable[str], at: Cursor | None, *, live: bool = True
    ) -> list[Item]:
        """Find where each of these topics goes on. Returns the resets, to be sent before anything else.

        Listen, then read: unless it is for a look only (`live=False`), the lines are joined before the heads are
        read.
        """
        wanted = list(dict.fromkeys(names))
        self._is_live = live
        if live:
            await self._join(wanted)
        found = await _stand(wanted)
        self.epoch = found[0]
        self._board.heard(found)
        if at is not None and at.epoch == self.epoch:
            self._foreign = {t: o for t, o in at.positions.items() if t not in wanted}
        resets = [
            reset
            for name in wanted
            if (reset := self._place(name, found[1][name], _said(at, name)))
        ]
        for name in self._lost.intersection(wanted):
            self.revoke(name)
        return [reset for reset in resets if reset.topic in self.positions]

    def say(self, items: Iterable[Item]) -> None:
        """Tell what is not part of any reading: resets, and the last words of topics that have ended."""
        for item in items:
            told = self._sink.push(item)
            self._board.ledger.owed += told and self._is_live and isinstance(item, LoggedEvent)

    def delivered(self, events: int) -> None:
        """So many were written. A single look is owed what its answer holds."""
        self._board.ledger.delivered += events
        if not self._is_live:
            self._board.ledger.owed += events

    def pending(self) -> tuple[int, int]:
        """Events owed that are not written yet, and events had before their line heard of them."""
        late = [self._board.known(name) - self.positions[name] for name in self._read]
        return self._sink.queued() + sum(n for n in late if n > 0), -sum(n for n in late if n < 0)

    def start(self) -> None:
        """Feed the sink with what `open` or `add` has placed."""
        self._hurry()

    async def read_backlog(self) -> None:
        """Feed the sink from the log, up to the heads that `open` found or until it is full."""
        for name in list(self._behind):
            while name in self._behind and self.positions[name] < self._heads[name]:
                if not await self._read_page(name):
                    return

    async def add(self, name: str, at: Cursor | None) -> tuple[int, Reset | None]:
        """Subscribe to one more topic, from a position or from now. Returns where it goes on, and the reset if any.

        A topic that is subscribed already goes on where it is, unless a position is given. Raises PermissionError when
        its person loses it meanwhile.
        """
        said = _said(at, name)
        if name in self.positions and (said is None or said[1] is None):
            return self.positions[name], None
        await self._join([name])
        found = await _stand([name])
        self._board.heard(found)
        if at is None and name in self._foreign:
            said = (self.epoch, self._foreign.pop(name))
        reset = self._place(name, found[1][name], said)
        if name in self._lost:
            self.remove(name, at_once=True, reason="revoked")
            raise PermissionError(name)
        return self.positions[name], reset

    def remove(self, name: str, *, at_once: bool = False, reason: Reason = "left") -> None:
        """Hear no more of a topic; whoever is in the room stays there for a moment, unless it is `at_once`."""
        self._stop_reading(name, reason)
        self.positions.pop(name, None)
        self._behind.pop(name, None)
        self._asked.pop(name, None)
        self._joined.discard(name)
        self._board.leave(self, [name])
        if self.places is not None:
            self.places.leave_room(name, grace=0 if at_once else GRACE)

    def finish(self, event: LoggedEvent) -> None:
        """The topic has ended with this event, which is the last that the client gets of it."""
        name = event.topic
        said = farewell.words(event, self.positions[name])
        if said:
            self._drop("ended", event.offset - 1 - self.positions[name])
            self.positions[name] = event.offset
        self.remove(name, at_once=True, reason="ended")
        if not all(self._sink.push(item) for item in said):
            self._drop("ended", 1)
            self.end(Close.RESTARTING)  # no room: it is told when it comes back
        elif name == self.own:
            self.close()
            self._sink.end(Close.ROOM_DELETED)
        else:
            self._sink.push(Revoked(name))

    def lose(self, name: str) -> None:
        """Its person may not read this any more; where it is still on its way in, that is said once it is there."""
        if name in self._joined and name not in self.positions:
            self._lost.add(name)

    def revoke(self, name: str) -> None:
        """The person may not read this topic any more: nothing of it follows."""
        self.remove(name, at_once=True, reason="revoked")
        self._drop("revoked", self._sink.drop(name))
        if self.implied is not None:
            self.implied -= {name}  # who gets it back later is told to come again
        if name == self.own:
            self.close()
            self._sink.end(Close.FORBIDDEN)
        else:
            self._sink.push(Revoked(name))

    def end(self, code: Close) -> None:
        """Go at once: what waits is read from the log by whoever comes back and still may."""
        reason: Reason = "revoked" if code == Close.NOT_SIGNED_IN else "closed"
        self.stop_reading(reason)
        self._drop(reason, self._sink.drop())
        self.close()
        self._sink.end(code)

    def close(self) -> None:
        self.stop_reading("closed")
        self._closed = True
        self._behind.clear()
        if self._catching_up is not None:
            self._catching_up.cancel()
        self._board.leave(self, self._joined)

    # --- what the switchboard calls ---------------------------------------------------------------------------

    def hand(self, run: Run) -> None:
        """The next events of a line. Called for every reader of the topic, so the usual case comes first."""
        if self._closed:
            return  # it went while the round was under way
        name = run.topic
        position = self.positions.get(name)
        if position is not None and name not in self._behind:
            if run.events and position == run.before and self._sink.push_run(run):
                self.positions[name] = run.last
                return
            if not run.events and self._sink.push_run(run):
                return
        if name in self._joined:
            self._hand_singly(run)

    def _hand_singly(self, run: Run) -> None:
        """Whispers from the first moment on: nobody says them again to who is still finding its position."""
        name = run.topic
        for item in run.items:
            if isinstance(item, Whisper):
                self._sink.push(item)
            elif name in self.positions and name not in self._behind:
                if item.offset == self.positions[name] + 1 and self._sink.push(item):
                    self.positions[name] = item.offset
                elif item.offset > self.positions[name]:
                    self._behind[name] = None
                    self._hurry()

    def hand_whisper(self, whisper: Whisper) -> None:
        if not self._closed:
            self._sink.push(whisper)

    def renew(self, epoch: str, heads: Mapping[str, Reach]) -> None:
        """The log has a new identity: no position counts any more."""
        self.epoch = epoch
        self._foreign.clear()
        self._asked.clear()
        self._drop("reset", self._sink.drop())
        for name in self.topics:
            head = heads[name].head
            self._read_from(name, head)
            self._sink.push(self._reset(name, head, "epoch"))

    def look_again(self) -> None:
        """Compare every position with its line once more."""
        self._behind.update(dict.fromkeys(self.positions))
        self._hurry()

    def room(self) -> None:
        """The sink has room again."""
        self._hurry()

    def let_go(self) -> None:
        """The connection is over, and what it still holds is nobody's."""
        self.close()
        self._drop("closed", self.pending()[0])
        self._is_gone = True

    # --- what is owed -----------------------------------------------------------------------------------------

    def stop_reading(self, reason: Reason) -> None:
        """What is not delivered yet of any topic is owed no more, but for what the sink has."""
        for name in list(self._read):
            self._stop_reading(name, reason)

    def read_on(self) -> None:
        """What follows the positions is owed."""
        for name, position in self.positions.items():
            self._read_from(name, position)

    def _drop(self, reason: Reason, events: int) -> None:
        """So many are owed no more. To a single look they never were, and of who is gone they are counted already."""
        if self._is_live and not self._is_gone:
            self._board.ledger.drop(reason, events)

    def _read_from(self, name: str, position: int) -> None:
        self._stop_reading(name, "left")
        self.positions[name] = position
        if not self._closed:
            self._read.add(name)
            if self._is_live:
                self._board.owe(name, position)

    def _stop_reading(self, name: str, reason: Reason) -> None:
        if name in self._read:
            self._read.discard(name)
            if self._is_live:
                self._board.owe_no_more(name, self.positions[name], reason)

    def _reset(self, name: str, head: int, why: ResetReason) -> Reset:
        self._board.ledger.resets[why] += 1
        return Reset(name, head, why)

    async def _join(self, names: list[str]) -> None:
        self._lost.difference_update(names)  # its person was asked for just now
        self._joined.update(names)  # before, so that whatever fails from here on is left again
        await self._board.join(self, names)

    # --- catching up ------------------------------------------------------------------------------------------

    def _place(self, name: str, reach: Reach, said: tuple[str, int | None] | None) -> Reset | None:
        self._heads[name] = reach.head
        self._behind[name] = None
        epoch, offset = said or (self.epoch, None)
        why: ResetReason | None = None
        if epoch != self.epoch:
            why = "epoch"
        elif offset is not None and offset > reach.head:
            why = "ahead"
        elif offset is not None and offset < reach.floor:
            why = "expired"
        self._read_from(name, reach.head if why or offset is None else offset)
        return self._reset(name, reach.head, why) if why else None

    def _hurry(self) -> None:
        if (
            self._behind
            and not self._closed
            and (self._catching_up is None or self._catching_up.done())
        ):
            self._catching_up = asyncio.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        while self._behind and not self._closed:
            try:
                for name in list(self._behind):
                    if not await self._read_on(name):
                        return  # no room: `room` starts this again
            except DatabaseError as error:
                logger.debug("The log can't be read (%s)", type(error).__name__)
                await asyncio.sleep(_RETRY)
            except Exception:
                logger.exception("Catching up failed; trying again")
                await asyncio.sleep(_RETRY)

    async def _read_on(self, name: str) -> bool:
        """Bring one topic up to its line. Returns False when the sink is full."""
        while name in self._behind:
            position = self.positions[name]
            known = self._board.known(name)
            if known < 0:
                await asyncio.sleep(_RETRY)  # the line has not heard where its log stands
                continue
            if position >= known:
                del self._behind[name]  # no await since the comparison: live from the next event on
                return True
            if not await self._read_page(name):
                return False
        return True

    async def _read_page(self, name: str) -> bool:
        """Hand the sink the next page of a topic that is behind. Returns False when the sink is full."""
        position = self.positions[name]
        found = await self._board.page(name, position)
        await self._ask_about(name, found)
        if not self._stands(name, position):
            return True  # removed, placed anew or over meanwhile
        if not found or found[0].before > position:
            head = (await in_database(log.reach, [name]))[name].head
            if not self._stands(name, position):
                return True
            if head <= position:
                await asyncio.sleep(
                    _RETRY
                )  # the log went back in time; the pulse says what follows
                return True
            self._drop("reset", head - position)
            self.positions[name] = head
            self._sink.push(self._reset(name, head, "expired"))
            return True
        for run in found:
            if self.positions[name] == run.before and self._sink.push_run(run):
                self.positions[name] = run.last
                continue
            for event in run.events:
                if event.offset <= self.positions[name]:
                    continue
                if event.offset != self.positions[name] + 1:
                    return True  # retention cut in between; the next read says reset
                if not self._sink.push(event):
                    return False
                self.positions[name] = event.offset
        return True

    async def _ask_about(self, name: str, found: list[Run]) -> None:
        """Where fewer may read on from somewhere in these, see whether this client's person still may."""
        narrows = audience.narrowing(name)
        if narrows is None:
            return
        asked = max(self._asked.get(name, 0), self.positions.get(name, 0))
        events = [event for run in found for event in run.events if event.offset > asked]
        if any(map(narrows, events)):
            pair = (self.credential.user_id, name)
            if pair not in await together(audience.allowed, [pair]):
                await self._board.take_away([(self, name)])
            if name in self.positions:
                self._asked[name] = events[-1].offset

    def _stands(self, name: str, position: int) -> bool:
        return name in self._read and self.positions[name] == position


def _said(at: Cursor | None, name: str) -> tuple[str, int | None] | None:
    """The epoch a client comes from and its position there; another epoch counts even without a position."""
    return None if at is None else (at.epoch, at.positions.get(name))


async def _stand(names: list[str]) -> tuple[str, dict[str, Reach]]:
    """The epoch and where these stand; nothing of what others asked for at the same time."""
    epoch, reached = await together(_standing, names)
    return epoch, {name: reached[name] for name in names}


def _standing(names: list[str]) -> tuple[str, dict[str, Reach]]:
    return epochs.current(), log.reach(names)
