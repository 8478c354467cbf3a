"""One client over the hub's own switchboard, subscription and outbox, where nothing goes on until it is told to.

A schedule is a list of steps, each the choice of one of the actions that are possible then: a commit, a layer message
that arrives or is lost because its group is not joined yet, a joined group, a query that reads or whose answer comes, a
wait that is over, a write that is through. `every` goes through all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import pytest

from accounts.authenticate import Credential
from consumers import outbox, subscription, switchboard
from consumers.cursor import Cursor
from consumers.outbox import Outbox
from consumers.protocol import Close, Item, Reset, ResetReason, Run
from consumers.subscription import Subscription
from consumers.switchboard import Switchboard
from events.log import LoggedEvent, Reach

TOPIC: Final = "user.1"
EPOCH: Final = "e1"
WHO: Final = Credential(
    user_id=1, username="a", name="a", is_superuser=False, scopes=frozenset({"read"}), key_id=1
)
HISTORY: Final = 1
"""Events that the log holds before anything happens."""
UNDER_WAY: Final = {"subscribe", "read", "drain", "send"}
MOST_STEPS: Final = 100
SHORT: Final = 0.05
"""Seconds: a wait that is shorter may end before or after anything else, a longer one when nothing else is left."""

Action = tuple[str, int]
"""What happens, and of which event or query."""


class SteppedLoop(asyncio.BaseEventLoop):
    """Runs what is ready when it is told to; a timer goes off when it is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.raised: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.raised.append(context))

    def time(self) -> float:
        return self.now

    def settle(self) -> None:
        ready: Any = vars(self)["_ready"]
        asyncio._set_running_loop(self)
        try:
            while ready:
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    def next_timer(self) -> Any | None:
        timers: list[Any] = vars(self)["_scheduled"]
        timers[:] = sorted(timer for timer in timers if not timer.cancelled())
        return timers[0] if timers else None

    def go_off(self, timer: Any) -> None:
        vars(self)["_scheduled"].remove(timer)
        self.now = max(self.now, timer.when())
        asyncio._set_running_loop(self)
        try:
            timer._run()
        finally:
            asyncio._set_running_loop(None)


@dataclass
class Query:
    """A read of the log on its way: nothing read yet, or read and not answered yet."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    answer: asyncio.Future[Any]
    found: Any = None
    has_read: bool = False


@dataclass(frozen=True)
class Setting:
    """Where the client comes from and what it finds."""

    cursor: Cursor | None = None
    is_warm: bool = False
    """Somebody else reads the topic already: its group is joined and its line knows where it is."""
    is_tight: bool = False
    """There is room for one event."""
    events: int = 3


class Reader:
    """What a door is to its subscription, with a write that takes until it is told."""

    transport = "websocket"

    def __init__(self, board: Switchboard) -> None:
        self.subscription = Subscription(board, WHO, self)
        self.wire: list[Item] = []
        self.start: int | None = None
        self.ended: Close | None = None
        self.writing: asyncio.Future[None] | None = None
        self._outbox = Outbox(self.subscription.room)

    def push(self, item: Item) -> bool:
        return self._outbox.push(item)

    def push_run(self, run: Run) -> bool:
        return self._outbox.push(run)

    def drop(self, topic: str | None = None) -> int:
        return self._outbox.drop(topic)

    def queued(self) -> int:
        return self._outbox.queued()

    def end(self, code: Close) -> None:
        self.ended = code
        self._outbox.close()

    async def come(self, board: Switchboard, cursor: Cursor | None) -> None:
        await board.register(self.subscription)
        resets = await self.subscription.open([TOPIC], cursor)
        self.start = self.subscription.positions[TOPIC]
        self.subscription.say(resets)
        self.subscription.start()
        await self._write()

    def write(self) -> None:
        """The write under way is through."""
        assert self.writing is not None
        self.writing.set_result(None)
        self.writing = None

    async def _write(self) -> None:
        while items := await self._outbox.take():
            self.writing = asyncio.get_running_loop().create_future()
            await self.writing
            for item in items:
                if isinstance(item, Run):
                    self.wire += item.items
                elif not isinstance(item, str):
                    self.wire.append(item)
            self.subscription.delivered(self._outbox.written())


@dataclass
class World:
    setting: Setting
    loop: SteppedLoop
    committed: list[LoggedEvent] = field(default_factory=list)
    flying: list[int] = field(default_factory=list)
    """Offsets of the messages on their way."""
    queries: dict[int, Query] = field(default_factory=dict)
    steps: list[Action] = field(default_factory=list)
    head_read: int | None = None
    """Where the log stood when the client's standing was read."""

    def __post_init__(self) -> None:
        for _ in range(HISTORY):
            self._add()
        asyncio._set_running_loop(self.loop)  # its events belong to the loop they are made on
        try:
            self.board = Switchboard()
            self.board._has_channel.set()
            self.reader = Reader(self.board)
            self.other = Reader(self.board)
        finally:
            asyncio._set_running_loop(None)
        self.task: asyncio.Task[None] | None = None
        self._asked = 0

    def warm_up(self) -> None:
        """The other one comes, and its line learns where it is."""
        self.loop.create_task(self.other.come(self.board, None))
        self.loop.settle()
        self.pulse()
        self.steps.clear()

    @property
    def line(self) -> switchboard.Line:
        return self.board._lines[TOPIC]

    @property
    def head(self) -> int:
        return len(self.committed)

    def actions(self) -> list[Action]:
        """What may happen next."""
        found: list[Action] = []
        if self.head < HISTORY + self.setting.events:
            found.append(("commit", 0))
        found += [("message", offset) for offset in self.flying]
        if self.task is None:
            found.append(("connect", 0))
        line = self.board._lines.get(TOPIC)
        if line is not None and not line.joined.done():
            found.append(("subscribe", 0))
        found += [("drain" if one.has_read else "read", n) for n, one in self.queries.items()]
        if self.reader.writing is not None:
            found.append(("send", 0))
        timer = self.loop.next_timer()
        if timer is not None and timer.when() - self.loop.now <= SHORT:
            found.append(("wait", 0))
        return found

    def do(self, action: Action) -> None:
        match action:
            case "commit", _:
                self.flying.append(self._add().offset)
            case "message", offset:
                self.flying.remove(offset)
                self._arrive(self.committed[offset - 1])
            case "connect", _:
                coming = self.reader.come(self.board, self.setting.cursor)
                self.task = self.loop.create_task(coming)
            case "subscribe", _:
                self.line.joined.set_result(None)
            case "read", number:
                self._read(self.queries[number])
            case "drain", number:
                query = self.queries.pop(number)
                if not query.answer.done():
                    query.answer.set_result(query.found)
            case "send", _:
                self.reader.write()
            case _:
                self.loop.go_off(self.loop.next_timer())
        self.steps.append(action)
        self.loop.settle()
        self._write_for_other()

    def rest(self, patience: float = SHORT) -> None:
        """Let everything that is under way come to its end, with the waits that are no longer than this."""
        for _ in range(MOST_STEPS):
            under_way = [one for one in self.actions() if one[0] in UNDER_WAY]
            timer = self.loop.next_timer()
            if under_way:
                self.do(under_way[0])
            elif timer is not None and timer.when() - self.loop.now <= patience:
                self.loop.go_off(timer)
                self.loop.settle()
            else:
                return
        raise AssertionError(f"it never came to rest: {self.steps}")

    def pulse(self) -> None:
        """What the pulse does every second, until nothing follows from it."""
        self.rest()
        asyncio._set_running_loop(self.loop)
        try:
            self.board.heard((EPOCH, self._reach([TOPIC])))
        finally:
            asyncio._set_running_loop(None)
        self.loop.settle()
        self._write_for_other()
        self.rest(patience=float("inf"))

    def state(self) -> Hashable:
        """All that what follows depends on."""
        tasks = sorted((_place(task) for task in asyncio.all_tasks(self.loop)), key=repr)
        timers = vars(self.loop)["_scheduled"]
        line = self.board._lines.get(TOPIC)
        parts = [self.reader.subscription, *([line] if line is not None else [])]
        ledger = self.board.ledger
        return (
            self.head,
            _plain(self.flying),
            tuple((n, _plain(vars(query))) for n, query in self.queries.items()),
            tuple(tasks),
            tuple(sorted(one.when() - self.loop.now for one in timers if not one.cancelled())),
            tuple(_plain(vars(part)) for part in parts),
            _plain(vars(self.reader)),
            _plain(vars(self.reader._outbox)),
            self.head_read,
            (ledger.owed, ledger.delivered, _plain(ledger.dropped), _plain(ledger.resets)),
        )

    async def call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Stands for the doors' threads."""
        query = Query(work, arguments, asyncio.get_running_loop().create_future())
        self._asked += 1
        self.queries[self._asked] = query
        return await query.answer

    def _add(self) -> LoggedEvent:
        event = LoggedEvent(TOPIC, self.head + 1, "order.late", '{"n":1}', "")
        self.committed.append(event)
        return event

    def _arrive(self, event: LoggedEvent) -> None:
        """What Redis brings; nothing to who is not in the group."""
        line = self.board._lines.get(TOPIC)
        if line is not None and line.joined.done():
            asyncio._set_running_loop(self.loop)
            try:
                self.board._take({"type": "hub.event", "epoch": EPOCH, "event": event.as_dict()})
            finally:
                asyncio._set_running_loop(None)

    def _read(self, query: Query) -> None:
        query.has_read = True
        if query.work is subscription._standing:
            query.found = EPOCH, self._reach(query.arguments[0])
            if self.task is not None and self.reader.start is None:
                self.head_read = self.head
        elif query.work.__name__ == "reach":
            query.found = self._reach(query.arguments[0])
        else:
            _topic, offset, limit = query.arguments
            query.found = [one for one in self.committed if one.offset > offset][:limit]

    def _reach(self, names: list[str]) -> dict[str, Reach]:
        return {name: Reach(0, self.head if name == TOPIC else 0) for name in names}

    def _write_for_other(self) -> None:
        while self.other.writing is not None:
            self.other.write()
            self.loop.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.loop.is_closed():
            return
        asyncio._set_running_loop(self.loop)
        try:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
        finally:
            asyncio._set_running_loop(None)
        self.loop.settle()
        self.loop.close()


@contextmanager
def stepped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Setting], World]]:
    """Makes worlds; one at a time is the present one."""
    present: list[World] = []

    async def call(work: Callable[..., Any], *arguments: Any) -> Any:
        return await present[0].call(work, *arguments)

    with monkeypatch.context() as patch:
        for module in (subscription, switchboard):
            patch.setattr(module, "in_database", call)
        patch.setattr(subscription, "together", call)

        def make(setting: Setting) -> World:
            world = World(setting, SteppedLoop())
            present[:] = [world]
            size = len(world.committed[0].json)
            patch.setattr(outbox, "MOST_BYTES", size if setting.is_tight else 256 * 1024)
            if setting.is_warm:
                world.warm_up()
            return world

        yield make


@dataclass
class Search:
    """What going through every schedule of a setting has shown."""

    schedules: int = 0
    states: int = 0
    longest: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass
class _Node:
    state: Hashable
    actions: list[Action]
    at: int = 0
    schedules: int = 0


def every(make: Callable[[Setting], World], setting: Setting) -> Search:
    """Go through all schedules of a setting, each to where nothing is possible any more.

    Two that have come to the same state, down to the instruction and the variables of every task, go on alike: what
    follows is gone through once and counted for both.
    """
    search = Search()
    known: dict[Hashable, int] = {}
    with make(setting) as world:
        way = [_Node(world.state(), world.actions())]
        here: World | None = world
        while way:
            node = way[-1]
            if node.at == len(node.actions):
                if not node.actions:
                    assert here is not None
                    node.schedules = 1
                    search.longest = max(search.longest, len(here.steps))
                    if fault := first_fault(here):
                        search.faults.append(f"{fault}: {here.steps}")
                known[node.state] = node.schedules
                search.schedules = node.schedules
                way.pop()
                if way:
                    way[-1].schedules += node.schedules
                    way[-1].at += 1
                if here is not None:
                    here.close()
                    here = None
                continue
            if here is None:
                here = make(setting)
                for earlier in way[:-1]:
                    here.do(earlier.actions[earlier.at])
            here.do(node.actions[node.at])
            state = here.state()
            if state in known:
                node.schedules += known[state]
                node.at += 1
                here.close()
                here = None
            else:
                assert len(way) < MOST_STEPS, here.steps
                way.append(_Node(state, here.actions()))
    search.states = len(known)
    return search


def _plain(value: Any) -> Hashable:
    """What can be compared of a variable; of the hub's own objects, whose parts `World.state` has, the kind."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case LoggedEvent():
            return "event", value.offset
        case Reset() | Reach():
            return repr(value)
        case Cursor():
            return str(value)
        case dict():
            return tuple((_plain(key), _plain(each)) for key, each in value.items())
        case list() | tuple() | deque():
            return tuple(map(_plain, value))
        case set():
            return frozenset(map(_plain, value))
        case asyncio.Event():
            return value.is_set()
        case asyncio.Future():
            return value.done()
    return type(value).__name__


def _place(task: asyncio.Task[Any]) -> Hashable:
    """Where a task stands: each of its coroutines, inside out, with instruction and variables."""
    found: list[Hashable] = []
    waits: Any = task.get_coro()
    while waits is not None:
        frame = getattr(waits, "cr_frame", None)
        if frame is None:
            found.append(type(waits).__name__)
            break
        code = frame.f_code
        found.append((code.co_qualname, frame.f_lasti, _plain(dict(frame.f_locals))))
        waits = waits.cr_await
    return tuple(found)


def first_fault(world: World) -> str:
    """What of I3 to I6 the client's wire breaks once the pulse has looked; empty when nothing."""
    world.pulse()
    cursor = world.setting.cursor
    said = [item for item in world.reader.wire if isinstance(item, Reset)]
    offsets = [item.offset for item in world.reader.wire if isinstance(item, LoggedEvent)]
    start = world.reader.start
    if start is None or world.head_read is None:
        return "never came in"
    reason, from_there = _expected(cursor, world.head_read)
    if start != from_there:
        return f"goes on from {start}, not {from_there}"
    if said != ([Reset(TOPIC, from_there, reason)] if reason else []):
        return f"resets {said}, not {reason or 'none'}"
    if said and world.reader.wire[0] != said[0]:
        return "an event came before its reset"
    if offsets != list(range(start + 1, world.head + 1)):
        return f"offsets {offsets} after {start}, head {world.head}"
    if world.reader.ended is not None:
        return f"ended with {world.reader.ended}"
    if balance := world.board.figures().balance:
        return f"the account is out by {balance}"
    if world.loop.raised:
        return str(world.loop.raised[0])
    return ""


def _expected(cursor: Cursor | None, head: int) -> tuple[ResetReason | None, int]:
    if cursor is None:
        return None, head
    if cursor.epoch != EPOCH:
        return "epoch", head
    offset = cursor.positions[TOPIC]
    return ("ahead", head) if offset > head else (None, offset)
