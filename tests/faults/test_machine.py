"""E04: whatever happens in whatever order, every client has what the log holds, once and in order, or is told that it has not.

The whole of a server's middle is real, from the transaction to the frames of a socket, over the real database; what is
not is the network. A machine chooses what happens next: transactions with savepoints that end well or badly, sockets
that come, take a write or drop, messages of the layer that arrive, are lost, come twice or late, retention, new epochs,
rights that come and go.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from accounts.authenticate import make_key
from consumers import door, outbox, subscription, switchboard, websocket
from consumers.switchboard import Switchboard
from consumers.websocket import HubSocket, Refused
from events import epoch as epochs
from events import layer, log, publish, sequence, topics
from tests.faults import planted
from tests.faults.conftest import Report
from tests.faults.stepping import SHORT, Query, SteppedLoop
from tests.live import newcomer
from tests.reference_client import Delivery, Frame

EXAMPLES: Final = 1000
STEPS: Final = 40
REVOKED_WITHIN: Final = 5.0
HEAL: Final = 10.0
MOST: Final = 5000
FIRST_ID: Final = 1_000_000
TYPE: Final = "test.machine"

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(3600)]

Block = list[Any]
"""What a transaction does: publish to the topic of this number, or a block in a savepoint and whether that is kept."""
blocks: st.SearchStrategy[Block] = st.lists(
    st.one_of(st.integers(0, 2), st.tuples(st.deferred(lambda: st.shared(inner)), st.booleans())),
    max_size=4,
)
inner: st.SearchStrategy[Block] = st.lists(
    st.one_of(
        st.integers(0, 2),
        st.tuples(st.lists(st.integers(0, 2), max_size=2), st.booleans()),
    ),
    max_size=3,
)


class Undone(Exception):
    """A block that is rolled back."""


class Layer:
    """Stands for Redis: who has joined what, and the messages on their way."""

    def __init__(self) -> None:
        self.groups: set[str] = set()
        self.flying: list[tuple[str, dict[str, Any]]] = []

    async def group_add(self, name: str, _channel: str) -> None:
        self.groups.add(name)

    async def group_discard(self, name: str, _channel: str) -> None:
        self.groups.discard(name)

    def send_many(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        self.flying += messages


class Door:
    """One connection of a client: the hub's own socket, with a network that takes a write when it is told to."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.writing: asyncio.Future[None] | None = None
        self.gone = asyncio.Event()
        self.socket = HubSocket()
        self.socket.connection, self.socket._closed = "", False
        self.socket.base_send = self.send  # type: ignore[assignment]
        self.socket.scope = {
            "query_string": urlencode({"cursor": client.delivery.cursor or ""}).encode(),
            "extensions": {},
        }

    async def live(self) -> None:
        try:
            visitor = await door.identify(self.client.header, None)
            assert visitor is not None
            self.socket.scope["user"] = visitor.user
            try:
                await self.socket.welcome(visitor)
            except Refused as refusal:
                await self.socket.leave(refusal.code)
            await self.gone.wait()
        finally:
            await self.socket.clean_up()

    async def send(self, message: dict[str, Any]) -> None:
        if self.gone.is_set():
            return
        if message["type"] == "websocket.close":
            self.client.ended(self)
            return
        value = json.loads(message["text"])
        frames = value if isinstance(value, list) else [value]
        self.client.look(frames)
        self.writing = asyncio.get_running_loop().create_future()
        await self.writing
        if not self.gone.is_set():
            self.client.receive(self, frames)

    def write(self) -> None:
        assert self.writing is not None
        if not self.writing.done():
            self.writing.set_result(None)
        self.writing = None

    def drop(self) -> None:
        self.gone.set()
        if self.writing is not None:
            self.write()


class Client:
    """What the browser's client makes of the frames; notes what none of them may show."""

    def __init__(self, world: World, user: User, header: str) -> None:
        self.world, self.user, self.header = world, user, header
        self.delivery = Delivery(None, self.apply)
        self.door: Door | None = None
        self.has_welcome = False
        self.renewals = 0

    def come(self) -> None:
        self.has_welcome = False
        with self.world.running():
            self.door = Door(self)
            self.world.tasks.append(self.world.loop.create_task(self.door.live()))
        self.world.settle()

    def drop(self) -> None:
        if self.door is not None:
            with self.world.running():
                self.door.drop()
            self.door = None
            self.world.settle()

    def ended(self, door: Door) -> None:
        door.gone.set()
        if self.door is door:
            self.door = None

    def look(self, frames: list[Frame]) -> None:
        """At what is handed to the network."""
        for frame in frames:
            if frame["op"] == "event" and not self.world.may_get(self.user, frame["topic"]):
                self.world.fault(f"{frame['topic']} {frame['offset']} went to a stranger")

    def receive(self, door: Door, frames: list[Frame]) -> None:
        if self.door is not door:
            return
        for frame in frames:
            if not self.has_welcome and frame["op"] != "welcome":
                self.world.fault(f"{frame['op']} came before the welcome")
            match frame["op"]:
                case "welcome":
                    self.has_welcome = True
                    self.delivery.welcome(frame["epoch"], frame["offsets"])
                case "event":
                    if not self.delivery.take(frame):
                        self.world.fault(f"a gap before {frame['topic']} {frame['offset']}")
                case "reset":
                    self._see_why(frame)
                    self.delivery.reset(frame["topic"], frame["offset"], frame["reason"])
                case "revoked":
                    if frame["topic"] not in self.world.revoked[self.user.pk]:
                        self.world.fault(f"{frame['topic']} was revoked for nothing")
                    self.delivery.forget(frame["topic"])
                case "heartbeat":
                    if not self.delivery.covers(frame["cursor"]):
                        self.world.fault(f"{frame['cursor']} says more than was sent")

    def _see_why(self, reset: Frame) -> None:
        name = reset["topic"]
        position = (self.positions or {}).get(name, 0)
        allowed = {
            "epoch": self.world.renewals > 0,
            "expired": position < self.world.floors.get(name, 0),
        }
        if not allowed.get(reset["reason"], False):
            self.world.fault(f"{reset} for nothing, at {position}")

    @property
    def positions(self) -> dict[str, int]:
        return self.delivery._positions

    @property
    def served(self) -> list[str]:
        reading = self.door and self.door.socket.subscription
        return reading.topics if reading else []

    def apply(self, event: Frame) -> None:
        known = self.world.marks.get(event["topic"], {})
        if (
            event["topic"] in self.world.names
            and known.get(event["offset"]) != event["data"]["mark"]
        ):
            self.world.fault(f"{event['topic']} {event['offset']} is another event")


class World:
    def __init__(self, people: list[tuple[User, str]], team: Group) -> None:
        self.loop = SteppedLoop()
        self.layer = Layer()
        self.faults: list[str] = []
        self.queries: list[Query] = []
        self.team = team
        users = list({user.pk: user for user, _ in people}.values())
        for user in users:
            user.groups.set([self.team])
        self.names = [topics.team(self.team.pk), *(topics.user(user.pk) for user in users)]
        self.members = {user.pk for user in users}
        self.revoked: dict[int, dict[str, float]] = defaultdict(dict)
        self.marks: dict[str, dict[int, str]] = {name: {} for name in self.names}
        self.heads = log.heads(self.names)
        self.floors = {name: one.floor for name, one in log.reach(self.names).items()}
        self.renewals = 0
        self.flushes = True
        self.numbers = itertools.count()
        with self.running():
            self.board = Switchboard()
            self.board.channel = "machine"
            self.board._has_channel.set()
            self.board._lines[topics.ACCESS] = self.board._access
            switchboard._boards[self.loop] = self.board
            self.tasks = [
                self.loop.create_task(self.board._keep(work))
                for work in (self.board._join_groups, self.board._pulse, self.board._recheck_all)
            ]
        self.clients = [Client(self, user, header) for user, header in people]

    @contextmanager
    def running(self) -> Iterator[None]:
        asyncio._set_running_loop(self.loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def settle(self) -> None:
        self.loop.settle()
        self.queries = [one for one in self.queries if not one.answer.done()]

    def fault(self, text: str) -> None:
        self.faults.append(text)

    def may_get(self, user: User, topic: str) -> bool:
        """At this moment, or until a moment ago."""
        if topic != self.names[0]:
            return topic in {topics.user(user.pk), *topics.groups()}
        since = self.revoked[user.pk].get(topic, -math.inf)
        return user.pk in self.members or self.loop.now <= since + REVOKED_WITHIN

    # --- what may happen

    async def call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Stands for the doors' threads."""
        query = Query(work, arguments, asyncio.get_running_loop().create_future())
        self.queries.append(query)
        return await query.answer

    def go_on(self, query: Query) -> None:
        """It reads, or its answer comes."""
        if not query.has_read:
            query.has_read = True
            query.found = query.work(*query.arguments)
        elif not query.answer.done():
            query.answer.set_result(query.found)
        self.settle()

    def transact(self, block: Block, ending: str) -> None:
        """`die`: the process ends between the commit and the flush."""
        self.flushes = ending != "die"
        try:
            with transaction.atomic():
                told = self._run(block)
                if ending == "rollback":
                    raise Undone
        except Undone:
            return
        finally:
            self.flushes = True
        for name, mark in told:
            self.heads[name] += 1
            self.marks[name][self.heads[name]] = mark

    def _run(self, block: Block) -> list[tuple[str, str]]:
        told = []
        for one in block:
            if isinstance(one, int):
                name, mark = self.names[one % len(self.names)], f"m{next(self.numbers)}"
                publish(name, TYPE, {"mark": mark})
                told.append((name, mark))
                continue
            block, is_kept = one
            try:
                with transaction.atomic():
                    some = self._run(block)
                    if not is_kept:
                        raise Undone
                told += some
            except Undone:
                continue
        return told

    def arrive(self, at: int, *, again: bool = False) -> None:
        name, message = self.layer.flying[at]
        if not again:
            del self.layer.flying[at]
        if name in self.layer.groups:
            with self.running():
                self.board._take(json.loads(json.dumps(message)))
            self.settle()

    def trim(self, name: str, keep: int) -> None:
        head = log.heads([name])[name]
        self.floors[name] = max(self.floors[name], head - keep)
        log._drop(name, self.floors[name])

    def renew(self) -> None:
        self.renewals += 1
        epochs.renew()

    def revoke(self, user: User) -> None:
        self.members.discard(user.pk)
        self.revoked[user.pk][self.names[0]] = self.loop.now
        user.groups.remove(self.team)

    def grant(self, user: User) -> None:
        self.members.add(user.pk)
        user.groups.add(self.team)

    def wait(self) -> bool:
        """The next timer goes off: a short one at any moment, a long one when no query is under way."""
        timer = self.loop.next_timer()
        if timer is None or (self.queries and timer.when() - self.loop.now > SHORT):
            return False
        self.loop.go_off(timer)
        self.settle()
        return True

    def rest(self, seconds: float) -> None:
        """So long nothing new happens: who is away comes back, who is slow reads on."""
        until = self.loop.now + seconds
        for _ in range(MOST):
            for client in self.clients:
                if client.door is None:
                    client.come()
                elif client.door.writing is not None:
                    with self.running():
                        client.door.write()
                    self.settle()
            if self.queries:
                self.go_on(self.queries[0])
            elif self.loop.now < until:
                self.wait()
            elif all(one.door is not None and one.door.writing is None for one in self.clients):
                return
        raise AssertionError("it never came to rest")

    def see_that_all_have_all(self) -> None:
        heads = log.heads(self.names)
        if heads != self.heads:
            self.fault(f"the log has {heads}, published were {self.heads}")
        for client in self.clients:
            for name in self.names:
                if name == topics.user(client.user.pk) or (
                    name == self.names[0] and client.user.pk in self.members
                ):
                    if client.positions.get(name) != heads[name]:
                        self.fault(
                            f"a client is at {client.positions.get(name)} of {name}, not {heads[name]}"
                        )
                elif name in client.served:
                    self.fault(f"{name} is still read by who lost it")
        if balance := self.board.figures().balance:
            self.fault(f"the account is out by {balance}")
        self.faults += [str(one) for one in self.loop.raised]

    def close(self) -> None:
        with self.running():
            for task in self.tasks:
                task.cancel()
        self.loop.settle()
        self.loop.close()


class Present:
    """Where the patched parts of the hub find the world of the present example."""

    def __init__(self) -> None:
        self.world: World | None = None
        known = User.objects.order_by("-pk").first(), Group.objects.order_by("-pk").first()
        self.ids = itertools.count(max([FIRST_ID, *(one.pk + 1 for one in known if one)]))
        self.steps = 0

    def make_world(self) -> World:
        """Of new people, whose topics are empty, and whose names are as long as in every other: else there would be
        room for more in one outbox than in the next, and the same steps would not lead to the same place."""
        alice, bob = (newcomer(name, pk=next(self.ids)) for name in ("alice", "bob"))
        keys = {user: f"Bearer {make_key(user, 'machine')[1]}" for user in (alice, bob)}
        number = next(self.ids)
        team = Group.objects.create(pk=number, name=f"machine {number}")
        self.world = World([(user, keys[user]) for user in (alice, alice, bob)], team)
        return self.world

    async def call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        assert self.world is not None
        return await self.world.call(work, *arguments)


class Machine(RuleBasedStateMachine):
    present: Present

    @initialize(is_tight=st.booleans())
    def begin(self, is_tight: bool) -> None:
        self.world = self.present.make_world()
        outbox.MOST_BYTES = 300 if is_tight else 256 * 1024  # type: ignore[misc]
        self.world.layer.flying.clear()
        for client in self.world.clients:
            client.come()

    @rule(block=blocks, ending=st.sampled_from(["commit", "commit", "commit", "rollback", "die"]))
    def transact(self, block: Block, ending: str) -> None:
        self.world.transact(block, ending)

    @precondition(lambda self: self.world.layer.flying)
    @rule(at=st.integers(0, 99), again=st.booleans())
    def arrive(self, at: int, again: bool) -> None:
        self.world.arrive(at % len(self.world.layer.flying), again=again)

    @precondition(lambda self: self.world.layer.flying)
    @rule(at=st.integers(0, 99))
    def lose(self, at: int) -> None:
        del self.world.layer.flying[at % len(self.world.layer.flying)]

    @rule()
    def forget_groups(self) -> None:
        self.world.layer.groups.clear()

    @rule(who=st.integers(0, 2))
    def come_or_drop(self, who: int) -> None:
        client = self.world.clients[who]
        if client.door is None:
            client.come()
        else:
            client.drop()

    @rule(who=st.integers(0, 2))
    def write(self, who: int) -> None:
        door = self.world.clients[who].door
        if door is not None and door.writing is not None:
            with self.world.running():
                door.write()
            self.world.settle()

    @precondition(lambda self: self.world.queries)
    @rule(at=st.integers(0, 99))
    def go_on(self, at: int) -> None:
        self.world.go_on(self.world.queries[at % len(self.world.queries)])

    @rule()
    def answer_all(self) -> None:
        while self.world.queries:
            self.world.go_on(self.world.queries[0])

    @rule()
    def wait(self) -> None:
        self.world.wait()

    @rule(at=st.integers(0, 2), keep=st.integers(0, 3))
    def trim(self, at: int, keep: int) -> None:
        names = self.world.names
        self.world.trim(names[at % len(names)], keep)

    @rule()
    def renew(self) -> None:
        self.world.renew()

    @rule(who=st.integers(0, 2))
    def revoke_or_grant(self, who: int) -> None:
        user = self.world.clients[who].user
        if user.pk in self.world.members:
            self.world.revoke(user)
        else:
            self.world.grant(user)

    @rule()
    def rest(self) -> None:
        self.world.rest(HEAL)
        self.world.see_that_all_have_all()

    @invariant()
    def nothing_wrong(self) -> None:
        if self.present.world is not None:
            self.present.steps += 1
            assert not self.present.world.faults, self.present.world.faults[:3]

    def teardown(self) -> None:
        world, self.present.world = self.present.world, self.present.world
        if world is None:
            return
        try:
            world.rest(HEAL)
            world.see_that_all_have_all()
            assert not world.faults, world.faults[:3]
        finally:
            world.close()
            self.present.world = None


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> Iterator[Present]:
    found = Present()

    def flush(names: Any, *, skip_locked: bool = False) -> int:
        if skip_locked or found.world is None or found.world.flushes:
            return honest(names, skip_locked=skip_locked)
        return 0

    def send_many(messages: Any) -> None:
        if found.world is not None:
            found.world.layer.send_many(messages)

    honest = sequence.flush
    with monkeypatch.context() as patch:
        patch.setattr(sequence, "flush", flush)
        patch.setattr(layer, "group_send_many", send_many)
        patch.setattr(layer, "current", lambda: found.world.layer if found.world else None)
        patch.setattr(outbox, "MOST_BYTES", outbox.MOST_BYTES)
        for module, names in (
            (subscription, ("in_database", "together")),
            (switchboard, ("in_database", "aside")),
            (door, ("soon", "together")),
            (websocket, ("soon",)),
        ):
            for name in names:
                patch.setattr(module, name, found.call)
        yield found


def run(present: Present, examples: int, *, is_control: bool = False) -> None:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        phases=[Phase.generate] if is_control else [Phase.generate, Phase.shrink],
    )
    machine = type("Machine", (Machine,), {"present": present})
    run_state_machine_as_test(machine, settings=chosen)


@pytest.mark.experiment("E04", quick=True)
def test_no_order_of_things_breaks_a_promise(
    present: Present, counted: Callable[..., int], report: Report
):
    examples = counted(EXAMPLES)
    run(present, examples)
    report(n=f"{examples} examples", worst=f"no counter-example in {present.steps} steps")


@pytest.mark.experiment("E04")
@pytest.mark.parametrize(
    "defect", ["no_contiguity", "no_pulse", "read_before_subscribe", "authorised_at_subscribe"]
)
def test_a_defect_has_a_counter_example(
    defect: str, present: Present, counted: Callable[..., int], report: Report
):
    examples = counted(EXAMPLES, least=100)
    wrong = ""
    with planted.planted(defect):
        try:
            run(present, examples, is_control=True)
        except AssertionError as error:
            wrong = str(error).splitlines()[0]
    report(control=defect, caught=bool(wrong), n=f"{examples} examples", worst=wrong)
    assert wrong, "the machine finds nothing"


def test_a_right_that_is_lost_and_given_back_on_the_way_in_is_there(present: Present):
    machine = type("Machine", (Machine,), {"present": present})()
    machine.begin(is_tight=False)
    for _ in range(3):
        machine.go_on(at=0)
    machine.revoke_or_grant(who=0)
    machine.answer_all()
    machine.revoke_or_grant(who=0)
    machine.teardown()
