"""The switchboard: one per server process (strictly: per event loop), between the channel layer and all clients.

It has one layer channel of its own. A topic that somebody here reads is a line: its layer group is joined, its
events are handed on in order and without a hole, whatever the layer lost, doubled or reordered. The pulse looks at
the log itself every second, so that a layer that is silent costs latency and never data.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import Context
from typing import Any, Final
from weakref import WeakKeyDictionary

from accounts import audience, authenticate, refusals, sessions
from accounts.authenticate import Credential
from consumers import farewell
from consumers.attendance import Attendance
from consumers.database import aside, in_database
from consumers.ledger import Figures, Ledger, Reason
from consumers.limits import Allowance
from consumers.protocol import Close, Run, Whisper
from consumers.subscription import Subscription
from events import epoch as epochs
from events import layer, log, redis_client, sequence, topics
from events.log import LoggedEvent, Reach

logger = logging.getLogger(__name__)

NEIGHBOUR: Final = 0.02
"""Seconds an event that came too early waits for the one before it; publishers race by about that much."""
WINDOW: Final = 0.005
"""Seconds after a round in which what comes is gathered for the next: one write to each reader instead of many."""
RUN: Final = 48 * 1024
"""Bytes of events in one round: they fit a frame, and who has no room takes them one by one."""
JOIN: Final = 1.0
"""Seconds a subscription waits for its groups; without Redis it lives on the pulse."""
PULSE: Final = 1.0
RECHECK: Final = 3.0
"""Seconds between asking anew about every session, key and right: `.update()`, expiry and raw SQL tell nobody."""
MIRROR: Final = 10.0
LINGER: Final = 5.0
"""Seconds a line without readers is kept: a long poll comes back at once, and joining costs round trips."""
PAGE: Final = 200
"""Events read from the log at a time."""
RECENT: Final = 512 * 1024
"""Bytes of events a line with several readers keeps, so that they don't each read the log after a burst; and of
whole pages of the log, for readers that come back at the same time."""
BLIND: Final = 30.0
"""Seconds without an answer about rights after which everybody is sent away, to be let in anew or not."""
ASKS_PER_SECOND: Final = 50
ASK_WINDOW: Final = 10  # seconds over which that is an average; of one person, by HTTP
AGAIN: Final = 1.0
"""Seconds until something that failed is tried again."""
EARLY: Final = 512 * 1024
"""Bytes of events a line keeps that came too early, and of those not handed on yet; more are read from the log."""
TURN: Final = 200
"""Messages or clients dealt with before the loop gets a turn: pings and handshakes must not wait for all."""
MOST_CONNECTIONS: Final = 500  # of one person, in one process
LONGEST_PAUSE: Final = 0.02
"""Seconds between two clients that are sent away before a restart."""


Reading = tuple[Subscription, str]
"""A client and a topic that it reads."""


class TooManyConnections(Exception):
    """This person has `MOST_CONNECTIONS` already."""


class Line:
    """One topic with readers here. `known` moves by contiguous events only.

    It hands on in rounds: the first event after a quiet moment at once, and what comes while a round goes through the
    readers, or within `WINDOW` after it, together in the next.
    """

    def __init__(self, name: str, board: Switchboard) -> None:
        self.name = name
        self.known = -1  # until the head was read for the first time
        self.readers: dict[Subscription, None] = {}
        self.owed_to = 0
        """Readers that are owed what comes: those with a position."""
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once its group is joined for the first time."""
        self.idle_since = 0.0
        self._board = board
        self._early: dict[int, LoggedEvent] = {}
        self._early_bytes = 0
        self._recent: list[Run] = []
        self._recent_bytes = 0
        self._pages: dict[int, asyncio.Task[list[Run]]] = {}
        self._head = 0
        self._closing_gap: asyncio.Task[None] | None = None
        self._forgotten = 0
        """How often; what was being read from the log meanwhile does not count."""
        self._due: list[LoggedEvent | Whisper] = []
        self._due_bytes = 0
        self._last_due = -1
        self._round: Iterator[Subscription] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0
        self._narrows = audience.narrowing(name)
        self._asking: asyncio.Task[None] | None = None
        self._asked: LoggedEvent | Whisper | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def last(self) -> int:
        """The last event that came in order; what is above `known` is handed on in a moment."""
        return max(self.known, self._last_due)

    def receive(self, event: LoggedEvent) -> None:
        """An event of the layer: next, late, doubled or early."""
        following = self.last + 1
        if self.known < 0 or event.offset > following or self._due_bytes > EARLY:
            self._keep_early(event)
            self._close_gap(NEIGHBOUR)
        elif event.offset == following:
            self._advance([event])

    def whisper(self, whisper: Whisper) -> None:
        if self._due_bytes <= EARLY:
            self._owe(whisper, len(whisper.json))
            self._hand_on()

    def heard(self, head: int) -> None:
        """The log reaches this far. The first word of it is where this line starts."""
        self._head = max(self._head, head)
        if self.known < 0:
            self._know(head)
            self._advance([])
        elif head > self.last:
            self._close_gap(NEIGHBOUR)

    async def page(self, position: int) -> list[Run]:
        """What follows a position, up to some hundreds of events; the same read serves all who ask for it together."""
        if self._recent and self._recent[0].before <= position < self._recent[-1].last:
            return [run for run in self._recent if run.last > position]
        start = position - position % PAGE
        reading = self._pages.get(start)
        if reading is None:
            reading = self._pages[start] = asyncio.create_task(self._read_page(start))
        found = [run for run in await asyncio.shield(reading) if run.last > position]
        return found or await _read_page(self.name, position)

    def restart(self, head: int) -> None:
        """A new epoch: what was known counts no more. -1: the head is not read yet."""
        self._know(head)
        self._head = max(head, 0)
        if self._round is not None:
            self._round = iter(())
        self._drop_early()
        self._drop_due()
        self._drop_recent()

    def forget(self) -> None:
        """What was kept may not be shown any more: the log says what is left of it."""
        self._forgotten += 1
        self._head = max([self._head, self.last, *self._early])
        self._drop_early()
        self._drop_due()
        self._drop_recent()
        if self._head > self.known >= 0:
            self._close_gap(0)

    def _drop_recent(self) -> None:
        self._recent.clear()
        self._recent_bytes = 0
        self._pages.clear()

    def _drop_due(self) -> None:
        self._due.clear()
        self._due_bytes = 0
        self._last_due = -1

    def _know(self, offset: int) -> None:
        self._board.ledger.owed += self.owed_to * (offset - self.known)
        self.known = offset

    def _keep_early(self, event: LoggedEvent) -> None:
        size = len(event.raw)
        if event.offset not in self._early and self._early_bytes + size <= EARLY:
            self._early[event.offset] = event
            self._early_bytes += size

    def _drop_early(self) -> None:
        self._early.clear()
        self._early_bytes = 0

    def _advance(self, events: Iterable[LoggedEvent]) -> None:
        for event in events:
            self._owe(event, len(event.raw))
            self._last_due = event.offset
        while (following := self._early.get(self.last + 1)) is not None:
            self._owe(following, len(following.raw))
            self._last_due = following.offset
        if self._early:
            for old in [offset for offset in self._early if offset <= self.last]:
                self._early_bytes -= len(self._early.pop(old).raw)
        self._hand_on()

    def _owe(self, item: LoggedEvent | Whisper, size: int) -> None:
        self._due.append(item)
        self._due_bytes += size

    def _hand_on(self) -> None:
        """Start a round, when none goes on, now or as soon as the last one is long enough ago."""
        if not self._due or self._round is not None or self._timer or self._asking:
            return
        wait = self._quiet_until - self._loop.time()
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._start_round)
        else:
            self._start_round()

    def _start_round(self) -> None:
        self._timer = None
        if not self._due:
            return
        if self._is_narrowing(self._due[0]) and self._due[0] is not self._asked:
            self._asking = asyncio.create_task(self._ask(self._due[0]))
            return
        run = self._next_run()
        if run.events:
            self._know(run.last)
            self._remember(run)
            self._board.hand_on(self, run.events)
        self._round = iter(list(self.readers))
        self._go_round(run)

    def _next_run(self) -> Run:
        """Without a hole, and no more than goes into a frame."""
        items: list[LoggedEvent | Whisper] = []
        size, following = 0, None
        for item in self._due:
            if size > RUN or (items and self._is_narrowing(item)):
                break
            if isinstance(item, Whisper):
                size += len(item.json)
            elif following in {None, item.offset}:
                size += len(item.raw)
                following = item.offset + 1
            else:
                break
            items.append(item)
        del self._due[: len(items)]
        self._due_bytes -= size
        return Run(self.name, items)

    def _is_narrowing(self, item: LoggedEvent | Whisper) -> bool:
        return self._narrows is not None and isinstance(item, LoggedEvent) and self._narrows(item)

    async def _ask(self, item: LoggedEvent | Whisper) -> None:
        """Who still reads this after the event that waits? It, and what is behind it, goes to them alone."""
        asked: set[Subscription] = set()
        while readers := self.readers.keys() - asked:
            try:
                await self._board.recheck_readers([(reader, self.name) for reader in readers])
                asked |= readers
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody is handed the event
                logger.warning("Rights could not be asked (%s); trying again", type(error).__name__)
                await asyncio.sleep(AGAIN)
        self._asked = item
        self._asking = None
        self._hand_on()

    def _go_round(self, run: Run) -> None:
        """To so many readers; the loop gets a turn before the others. Whoever has left meanwhile takes nothing."""
        assert self._round is not None
        readers = list(itertools.islice(self._round, TURN))
        for reader in readers:
            try:
                reader.hand(run)
            except Exception:
                last = f"{run.topic}@{run.last}"
                logger.exception("A client could not be handed %s", last, extra=reader.about)
                reader.end(Close.FAULT)
        if len(readers) == TURN:
            self._loop.call_soon(self._go_round, run)
            return
        self._round = None
        self._quiet_until = self._loop.time() + WINDOW
        self._hand_on()

    def _remember(self, run: Run) -> None:
        if len(run.events) < len(run.items):
            run = Run(self.name, run.events)  # whispers are not said again
        if self._recent and self._recent[-1].last != run.before:
            self._drop_recent()
        self._recent.append(run)
        self._recent_bytes += run.size
        bound = RECENT if len(self.readers) > 1 else 0
        while self._recent and self._recent_bytes > bound:
            self._recent_bytes -= self._recent.pop(0).size

    async def _read_page(self, start: int) -> list[Run]:
        """A whole page never changes, so it is kept for who comes next; what is not full is read anew."""
        try:
            found = await _read_page(self.name, start)
        except BaseException:
            self._pages.pop(start, None)
            raise
        if self._pages.get(start) is asyncio.current_task():
            if not found or found[-1].last < start + PAGE:
                del self._pages[start]
            self._keep_few_pages()
        return found

    def _keep_few_pages(self) -> None:
        """The newest that fit into `RECENT`; those that are being read hold nothing yet."""
        room = RECENT
        for start, reading in reversed(list(self._pages.items())):
            if reading.done():
                room -= sum(run.size for run in reading.result())
                if room < 0:
                    del self._pages[start]

    def _close_gap(self, after: float) -> None:
        if self._closing_gap is None or self._closing_gap.done():
            self._closing_gap = asyncio.create_task(self._read_gap(after))

    async def _read_gap(self, after: float) -> None:
        """Single-flight: read the log from `last` until nothing early is left and the head is reached."""
        await asyncio.sleep(after)
        while 0 <= self.last < max([self._head, *self._early]):
            self._board.ledger.gaps += 1
            forgotten = self._forgotten
            try:
                found = await in_database(log.after, self.name, self.last, PAGE)
            except Exception:
                logger.exception("The log could not be read; the pulse tries again")
                return
            if forgotten != self._forgotten:
                continue
            found = [event for event in found if event.offset > self.last]
            if not found:
                await self._skip_what_is_gone()
                return
            # Retention may have cut in between: readers see the jump and say reset.
            self._advance(found)
            while self._due:  # noqa: ASYNC110 - no more than a few rounds
                await asyncio.sleep(WINDOW)

    async def _skip_what_is_gone(self) -> None:
        """The log has nothing after `known`: retention took it, or what came early was forged or undone."""
        reach = (await in_database(log.reach, [self.name]))[self.name]
        self._drop_early()
        self._head = reach.head
        if reach.head > self.last:
            self._drop_due()
            self._know(reach.head)
            for reader in list(self.readers):
                reader.look_again()


class Switchboard:
    def __init__(self) -> None:
        self.channel = ""
        self.ledger = Ledger()
        self.attendance = Attendance()
        self._lines: dict[str, Line] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._numbers = itertools.count(1)
        self._per_person: dict[int, int] = {}
        self._epoch = ""
        self._joined: set[str] = set()
        self._changed = asyncio.Event()
        self._has_channel = asyncio.Event()
        self._pulse_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._asking: dict[int, Allowance] = {}
        self._asked_at = time.monotonic()
        self._access = Line(topics.ACCESS, self)
        self._is_ending = False

    # --- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self._tasks:
            return
        layer.mark_receiving()
        self._lines[topics.ACCESS] = self._access
        self._tasks = [
            asyncio.create_task(self._keep(work))
            for work in (
                self._listen,
                self._join_groups,
                self._pulse,
                self._recheck_all,
                self._mirror,
            )
        ]
        self._tasks.append(asyncio.create_task(self._keep(self.attendance.run)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await redis_client.close()

    async def send_away(self, over: float) -> None:
        """Before a restart: everybody is sent away in turn, within so many seconds, and so is who still comes.

        What waits for them is dropped: they come back with their cursor, and a backlog must not hold up the end.
        """
        self._is_ending = True
        leaving = list(self._subscriptions.values())
        random.shuffle(leaving)
        pause = min(over / max(len(leaving), 1), LONGEST_PAUSE)
        began = time.monotonic()
        for number, subscription in enumerate(leaving):
            left = began + number * pause - time.monotonic()
            if left > 0:
                await asyncio.sleep(left)
            subscription.end(Close.RESTARTING)

    @property
    def clients(self) -> int:
        return len(self._subscriptions)

    async def _keep(self, work: Callable[[], Any]) -> None:
        """Run one of the board's loops; one that fails starts again. The same failure is logged once."""
        said = ""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - Redis or the database is away; the next round may find it
                if said != (said := f"{getattr(work, '__name__', 'work')}: {error!r}"):
                    logger.warning("%s; trying again", said)
                await asyncio.sleep(AGAIN)

    # --- clients ----------------------------------------------------------------------------------------------

    async def register(self, subscription: Subscription) -> str:
        """Returns the connection's name, which `events.send` understands. Raises TooManyConnections."""
        if not self._has_channel.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(JOIN):
                    await self._has_channel.wait()
        user_id = subscription.credential.user_id
        if self._per_person.get(user_id, 0) >= MOST_CONNECTIONS:
            refusals.count("connections")
            raise TooManyConnections
        self._per_person[user_id] = self._per_person.get(user_id, 0) + 1
        number = str(next(self._numbers))
        self._subscriptions[number] = subscription
        if self._is_ending:
            asyncio.get_running_loop().call_soon(subscription.end, Close.RESTARTING)
        return f"{self.channel}~{number}"

    def unregister(self, connection: str) -> None:
        gone = self._subscriptions.pop(connection.rpartition("~")[2], None)
        if gone is None:
            return
        user_id = gone.credential.user_id
        self._per_person[user_id] -= 1
        if not self._per_person[user_id]:
            del self._per_person[user_id]
        gone.let_go()

    async def join(self, subscription: Subscription, names: Iterable[str]) -> None:
        """Become a reader of these topics and wait, not for ever, until their groups are joined."""
        waiting = []
        for name in names:
            line = self._lines.get(name)
            if line is None:
                line = self._lines[name] = Line(name, self)
                self._changed.set()
            line.readers[subscription] = None
            if not line.joined.done():
                waiting.append(line.joined)
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=JOIN)
            if late:
                logger.warning("%d topics are followed by the pulse alone for now", len(late))

    def leave(self, subscription: Subscription, names: Iterable[str]) -> None:
        for name in names:
            line = self._lines.get(name)
            if line is None:
                continue
            line.readers.pop(subscription, None)
            if not line.readers:
                line.idle_since = time.monotonic()

    def owe(self, name: str, position: int) -> None:
        """From here on a reader of this topic is owed what follows its position."""
        line = self._lines[name]
        line.owed_to += 1
        self.ledger.owed += line.known - position

    def owe_no_more(self, name: str, position: int, reason: Reason) -> None:
        line = self._lines[name]
        line.owed_to -= 1
        if (
            position > line.known
        ):  # it had these from the log, and the line will not count them any more
            self.ledger.owed += position - line.known
        self.ledger.drop(reason, max(0, line.known - position))

    def figures(self) -> Figures:
        pending = ahead = 0
        for subscription in self._subscriptions.values():
            owed, early = subscription.pending()
            pending += owed
            ahead += early
        ledger = self.ledger
        return Figures(
            connections=Counter(one.transport for one in self._subscriptions.values()),
            owed=ledger.owed + ahead,
            delivered=ledger.delivered,
            dropped=dict(ledger.dropped),
            pending=pending,
            slow_now=sum(one.waits_for_room for one in self._subscriptions.values()),
            gaps=ledger.gaps,
            resets=dict(ledger.resets),
            buckets=tuple(ledger.buckets),
            seconds=ledger.seconds,
        )

    async def afigures(self) -> Figures:
        return self.figures()

    def may_ask(self, credential: Credential) -> bool:
        """Whether this person may make one more request by HTTP now."""
        allowance = self._asking.get(credential.user_id)
        if allowance is None:
            allowance = self._asking[credential.user_id] = Allowance(ASKS_PER_SECOND, ASK_WINDOW)
        if allowance.take():
            return True
        refusals.count("calls")
        return False

    async def page(self, name: str, position: int) -> list[Run]:
        """What of a topic follows a position, up to some hundreds of events, as runs without a hole."""
        line = self._lines.get(name)
        return await (line.page(position) if line is not None else _read_page(name, position))

    def known(self, name: str) -> int:
        line = self._lines.get(name)
        return line.known if line is not None else -1

    def heard(self, standing: tuple[str, dict[str, Reach]]) -> None:
        """Somebody read where the log stands; whoever is behind may learn from it."""
        epoch, reached = standing
        if not self._epoch:
            self._epoch = epoch
        elif epoch != self._epoch:
            self._pulse_now.set()  # only the pulse asks about every line
            return
        for name, reach in reached.items():
            line = self._lines.get(name)
            if line is not None:
                line.heard(reach.head)

    def hand_on(self, line: Line, events: Sequence[LoggedEvent]) -> None:
        """Called by a line before it hands these to its readers."""
        if line is self._access:
            self._forget_redacted(events)
            asyncio.create_task(self._recheck_named(events))  # noqa: RUF006 - ends by itself, failures are logged
        elif line.readers:
            self.ledger.hand_over(events)

    def _forget_redacted(self, events: Sequence[LoggedEvent]) -> None:
        for event in events:
            for name in event.data.get("redacted", ()):
                if (line := self._lines.get(name)) is not None:
                    line.forget()

    # --- the layer --------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        backend = layer.current()
        if not self.channel:
            self.channel = await backend.new_channel()
            self._has_channel.set()
        self._joined.clear()
        self._changed.set()
        for turn in itertools.count(1):
            try:
                message = await backend.receive(self.channel)
            except (ConnectionError, OSError, TimeoutError):
                raise
            except Exception as error:  # noqa: BLE001 - not from us: another key, forged, or damaged
                logger.warning("A layer message was refused (%s)", type(error).__name__)
                continue
            try:
                self._take(message)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                logger.warning("A layer message was malformed (%r)", error)
            if turn % TURN == 0:
                await asyncio.sleep(0)

    def _take(self, message: dict[str, Any]) -> None:
        """Only our own two kinds; anything else that reached our channel is ignored."""
        if message.get("type") == "hub.event":
            line = self._lines.get(message["event"]["topic"])
            if message["epoch"] != self._epoch:
                self._pulse_now.set()
            elif line is not None:
                line.receive(log.from_message(message["event"]))
        elif message.get("type") == "hub.whisper":
            self._take_whisper(message)

    def _take_whisper(self, message: dict[str, Any]) -> None:
        said = message["whisper"]
        whisper = Whisper(said.get("topic"), said["type"], said["data"])
        if "connection" in message:
            subscription = self._subscriptions.get(message["connection"])
            if subscription is not None:
                subscription.hand_whisper(whisper)
            return
        line = self._lines.get(said["topic"])
        if line is not None:
            line.whisper(whisper)

    async def _join_groups(self) -> None:
        """Keep the layer's groups equal to the lines; in one place, so that leaving never overtakes joining."""
        backend = layer.current()
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self.channel:
                try:
                    await self._reconcile(backend)
                except BaseException:
                    self._changed.set()  # what is not done yet is tried again
                    raise

    async def _reconcile(self, backend: Any) -> None:
        gone = self._joined - self._lines.keys()
        await layer.leave_groups(backend, gone, self.channel)
        self._joined -= gone
        new = self._lines.keys() - self._joined
        await layer.join_groups(backend, new, self.channel)
        self._joined |= new
        for name, line in self._lines.items():
            if name in self._joined and not line.joined.done():
                line.joined.set_result(None)

    # --- the pulse --------------------------------------------------------------------------------------------

    async def _pulse(self) -> None:
        while True:
            self._drop_idle()
            known = {name: line.known for name, line in self._lines.items()}
            standing = await aside(_look, self._epoch, known)
            behind = [
                name
                for name, reach in standing[1].items()
                if (line := self._lines.get(name)) is not None and 0 <= line.last < reach.head
            ]
            if behind:
                self._join_anew(behind)
            if self._epoch and standing[0] != self._epoch:
                self._turn_to(*standing)
            self.heard(standing)
            self._send_back_late_comers()
            try:
                async with asyncio.timeout(PULSE * random.uniform(0.8, 1.2)):  # noqa: S311 - spreads load
                    await self._pulse_now.wait()
            except TimeoutError:
                continue
            self._pulse_now.clear()
            await asyncio.sleep(NEIGHBOUR)

    def _drop_idle(self) -> None:
        long_ago = time.monotonic() - LINGER
        for name, line in list(self._lines.items()):
            if not line.readers and line is not self._access and line.idle_since < long_ago:
                del self._lines[name]
                self._changed.set()
        if len(self._asking) > MOST_CONNECTIONS:
            self._asking = {who: asks for who, asks in self._asking.items() if not asks.is_full()}

    def _join_anew(self, names: Collection[str]) -> None:
        """Behind the log: perhaps just a message in flight, perhaps the layer forgot the group."""
        self._joined.difference_update(names)
        self._changed.set()

    def _turn_to(self, epoch: str, reached: dict[str, Reach]) -> None:
        logger.warning("The log has a new epoch; every client starts anew")
        self._epoch = epoch
        for subscription in self._subscriptions.values():
            subscription.stop_reading("reset")
        for name, line in self._lines.items():
            line.restart(reached[name].head if name in reached else -1)
        for subscription in list(self._subscriptions.values()):
            if subscription.epoch == epoch:
                subscription.read_on()  # it came before its lines knew
                subscription.look_again()
            elif reached.keys() >= set(subscription.topics):
                subscription.renew(epoch, reached)
            else:  # it joined something while the pulse was reading
                subscription.end(Close.RESTARTING)

    def _send_back_late_comers(self) -> None:
        """Who looked into the log just before its epoch changed, and was let in just after, has heard of no reset."""
        for subscription in list(self._subscriptions.values()):
            if subscription.epoch not in {"", self._epoch}:
                subscription.end(Close.RESTARTING)

    async def _mirror(self) -> None:
        while True:
            await aside(epochs.check_mirror)
            await aside(epochs.write_mirror)
            await asyncio.sleep(MIRROR)

    # --- access -----------------------------------------------------------------------------------------------

    async def _recheck_all(self) -> None:
        while True:
            await asyncio.sleep(RECHECK)
            try:
                everybody = list(self._subscriptions.values())
                await self._recheck(everybody)
                await self._recheck_implied([one for one in everybody if one.implied is not None])
                self._asked_at = time.monotonic()
            except Exception:
                if time.monotonic() - self._asked_at > BLIND:
                    logger.error("Rights can't be asked for %d s: everybody is sent away", BLIND)
                    for subscription in list(self._subscriptions.values()):
                        subscription.end(Close.RESTARTING)
                raise

    async def _recheck_named(self, events: Sequence[LoggedEvent]) -> None:
        """Something changed about these people, sessions, keys or topics: ask about exactly what they concern."""
        users: set[int] = set()
        ended: set[str] = set()
        keys: set[int] = set()
        names: set[str] = set()
        for event in events:
            users.update(event.data.get("users", ()))
            ended.update(event.data.get("sessions", ()))
            keys.update(event.data.get("keys", ()))
            names.update(event.data.get("topics", ()))
        reading = [
            (reader, name)
            for name in names
            if (line := self._lines.get(name)) is not None
            for reader in line.readers
        ]
        concerned = [
            subscription
            for subscription in self._subscriptions.values()
            if (who := subscription.credential).user_id in users
            or who.key_id in keys
            or (who.session_key and sessions.digest(who.session_key) in ended)
        ]
        try:
            await self._recheck(concerned)
            await self.recheck_readers(reading)
            await self._recheck_implied([one for one in concerned if one.implied is not None])
        except Exception:
            logger.exception("Rights could not be asked; whom it is about must come again")
            for subscription in {*concerned, *(reader for reader, _ in reading)}:
                subscription.end(Close.RESTARTING)

    async def _recheck_implied(self, concerned: list[Subscription]) -> None:
        """Who may read more than when they came, such as a new team's topic, comes back and has it."""
        if not concerned:
            return
        people = {subscription.credential.user_id for subscription in concerned}
        now = await aside(audience.default_topics_of, people)
        for turn, subscription in enumerate(concerned, 1):
            implied = subscription.implied
            if implied is not None and not implied.issuperset(now[subscription.credential.user_id]):
                subscription.end(Close.RESTARTING)
            if turn % TURN == 0:
                await asyncio.sleep(0)

    async def _recheck(self, concerned: list[Subscription]) -> None:
        if not concerned:
            return
        pairs = {
            (subscription.credential.user_id, name)
            for subscription in concerned
            for name in subscription.asked_for
        }
        valid, allowed = await aside(
            _ask, {subscription.credential for subscription in concerned}, pairs
        )
        lost: list[Reading] = []
        for turn, subscription in enumerate(concerned, 1):
            who = subscription.credential
            if who not in valid:
                said = "connection of user %s ended: no longer signed in"
                logger.info(said, who.user_id, extra=subscription.about)
                subscription.end(Close.NOT_SIGNED_IN)
                continue
            asked = [
                (subscription, name)
                for name in subscription.asked_for
                if (who.user_id, name) in pairs
            ]
            lost += [one for one in asked if _pair(one) not in allowed]
            if turn % TURN == 0:
                await asyncio.sleep(0)
        await self.take_away(lost)

    async def recheck_readers(self, reading: list[Reading]) -> None:
        """Take the topics away from those of these clients whose people may not read them any more."""
        if reading:
            allowed = await aside(audience.allowed, _pairs(reading))
            await self.take_away([one for one in reading if _pair(one) not in allowed])

    async def take_away(self, lost: list[Reading]) -> None:
        """A topic that has ended is not just lost: whoever could read it hears its last event."""
        if not lost:
            return
        last = await aside(farewell.last_events, _pairs(lost))
        for turn, (subscription, name) in enumerate(lost, 1):
            event = last.get(_pair((subscription, name)))
            if name not in subscription.positions:
                subscription.lose(name)
                continue
            who = subscription.credential.user_id
            logger.info("user %s lost %s", who, name, extra=subscription.about)
            if event is None:
                subscription.revoke(name)
            else:
                subscription.finish(event)
            if turn % TURN == 0:
                await asyncio.sleep(0)


def _look(epoch: str, known: Mapping[str, int]) -> tuple[str, dict[str, Reach]]:
    """Where the log stands. One that does not reach as far as was known of it has gone back in time."""
    try:
        sequence.flush_left_behind()
    except Exception:
        logger.exception("What other processes left behind could not be numbered")
    current, reached = epochs.current(), log.reach(known)
    if current == epoch and any(reached[name].head < head for name, head in known.items()):
        logger.warning("The log has gone back in time: starting a new epoch")
        epochs.renew_from(current)
        current = epochs.current()
    return current, reached


async def _read_page(name: str, position: int) -> list[Run]:
    found = await in_database(log.after, name, position, PAGE)
    runs: list[Run] = []
    events: list[LoggedEvent] = []
    size = 0
    for event in found:
        if events and (size > RUN or event.offset != events[-1].offset + 1):
            runs.append(Run(name, events))
            events, size = [], 0
        events.append(event)
        size += len(event.raw)
    if events:
        runs.append(Run(name, events))
    return runs


def _pair(reading: Reading) -> tuple[int, str]:
    subscription, name = reading
    return subscription.credential.user_id, name


def _pairs(reading: list[Reading]) -> set[tuple[int, str]]:
    return set(map(_pair, reading))


def _ask(
    credentials: set[Credential], pairs: set[tuple[int, str]]
) -> tuple[set[Credential], set[tuple[int, str]]]:
    return authenticate.still_valid(credentials), audience.allowed(pairs)


def figures_of_process(patience: float = 1.0) -> list[Figures]:
    """From any thread but a loop's: of each loop with a switchboard, one moment. One that is busy for longer is left out."""
    found = []
    for loop, board in list(_boards.items()):
        if loop.is_running():
            asked = asyncio.run_coroutine_threadsafe(board.afigures(), loop)
            with contextlib.suppress(TimeoutError):
                found.append(asked.result(patience))
    return found


_boards: WeakKeyDictionary[asyncio.AbstractEventLoop, Switchboard] = WeakKeyDictionary()


def of_loop() -> Switchboard:
    """The switchboard of the running loop."""
    loop = asyncio.get_running_loop()
    board = _boards.get(loop)
    if board is None:
        board = _boards[loop] = Switchboard()
        Context().run(board.start)  # what it does later is not about the request that came first
    return board
