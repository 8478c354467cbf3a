"""Lines and subscriptions by themselves, over a log of plain lists: what the layer and the log may do to them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from django.db import DatabaseError
from twisted.internet import tcp

from accounts import audience
from accounts.authenticate import Credential
from consumers import protocol, switchboard
from consumers import subscription as subscriptions
from consumers.batch import Batch
from consumers.cursor import Cursor
from consumers.protocol import Close, Item, Reset, Revoked, Run, Whisper
from consumers.subscription import Subscription
from consumers.switchboard import Switchboard
from events import layer
from events.log import LoggedEvent, Reach
from hub import fast_writer

TOPIC = "user.1"


class Log:
    """One epoch, one topic's events; the next read can be told to fail or to wait."""

    def __init__(self) -> None:
        self.epoch = "e1"
        self.floor = 0
        self.events: list[LoggedEvent] = []
        self.pause = 0.0
        self.reads = 0

    def add(self) -> LoggedEvent:
        offset = len(self.events) + 1
        event = LoggedEvent(TOPIC, offset, "order.late", '{"n":1}', "")
        self.events.append(event)
        return event

    def reach(self, names: list[str]) -> dict[str, Reach]:
        return {
            name: Reach(self.floor, len(self.events)) if name == TOPIC else Reach()
            for name in names
        }

    def after(self, topic: str, offset: int, limit: int) -> list[LoggedEvent]:
        self.reads += 1
        kept = [e for e in self.events if e.offset > max(offset, self.floor)]
        return kept[:limit] if topic == TOPIC else []


class Client:
    transport = "list"

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.room = 10**9
        self.ended: Close | None = None

    def push(self, item: Item) -> bool:
        if isinstance(item, LoggedEvent):
            if self.room <= 0:
                return False
            self.room -= 1
        self.items.append(item)
        return True

    def push_run(self, run: Run) -> bool:
        return False

    def drop(self, topic: str | None = None) -> int:
        return 0

    def queued(self) -> int:
        return len(self.offsets)

    def end(self, code: Close) -> None:
        self.ended = code

    @property
    def offsets(self) -> list[int]:
        return [item.offset for item in self.items if isinstance(item, LoggedEvent)]


ALICE = Credential(
    user_id=1, username="a", name="a", is_superuser=False, scopes=frozenset({"read"}), key_id=1
)
BOB = dataclasses.replace(ALICE, user_id=2, key_id=2)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    found = Log()

    async def run(work: Any, *args: Any) -> Any:
        if found.pause:
            await asyncio.sleep(random.uniform(0, found.pause))
        else:
            await asyncio.sleep(0)
        if work is subscriptions._standing:
            result: Any = (found.epoch, found.reach(args[0]))
        elif work.__name__ == "after":
            result = found.after(*args)
        elif work.__name__ == "reach":
            result = found.reach(args[0])
        else:
            raise AssertionError(work)
        if found.pause:
            await asyncio.sleep(random.uniform(0, found.pause))
        return result

    for module in (subscriptions, switchboard):
        monkeypatch.setattr(module, "in_database", run)
    monkeypatch.setattr(subscriptions, "together", run)
    monkeypatch.setattr(switchboard, "JOIN", 0.001)
    monkeypatch.setattr(subscriptions, "_RETRY", 0.01)
    return found


@pytest_asyncio.fixture
async def board(log: Log) -> AsyncIterator[Switchboard]:
    made = Switchboard()
    yield made
    assert made.figures().balance == 0
    await made.stop()


async def connected(
    board: Switchboard, at: Any = None, client: Client | None = None, who: Credential = ALICE
) -> tuple[Subscription, Client]:
    client = client or Client()
    subscription = Subscription(board, who, client)
    await board.register(subscription)
    for reset in await subscription.open([TOPIC], at):
        client.push(reset)
    subscription.start()
    return subscription, client


def tell(board: Switchboard, event: LoggedEvent, epoch: str = "e1") -> None:
    board._take({"type": "hub.event", "epoch": epoch, "event": event.as_dict()})


async def settled(client: Client, offsets: list[int]) -> None:
    async with asyncio.timeout(5):
        while client.offsets != offsets:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert client.offsets == offsets


async def test_lost_doubled_and_reordered_messages_are_healed_from_the_log(board, log):
    _, client = await connected(board)
    events = [log.add() for _ in range(5)]
    for event in [events[2], events[0], events[0], events[4]]:
        tell(board, event)
    await settled(client, [1, 2, 3, 4, 5])
    log.add()
    board.heard(("e1", log.reach([TOPIC])))  # what the pulse does
    await settled(client, [1, 2, 3, 4, 5, 6])


async def test_what_comes_early_is_bounded_by_its_size_and_read_from_the_log(
    board, log, monkeypatch
):
    monkeypatch.setattr(switchboard, "EARLY", 100)
    _, client = await connected(board)
    line = board._lines[TOPIC]
    for event in [log.add() for _ in range(50)][1:]:
        tell(board, event)
        tell(board, event)
        assert line._early_bytes == sum(len(early.raw) for early in line._early.values()) <= 100
    assert 0 < len(line._early) < 49
    await settled(client, list(range(1, 51)))
    assert (line._early, line._early_bytes) == ({}, 0)


async def test_a_message_of_another_epoch_is_dropped(board, log):
    _, client = await connected(board)
    tell(board, log.add(), epoch="forged")
    await asyncio.sleep(0.05)
    assert client.offsets == []


async def test_an_event_the_log_does_not_have_is_never_handed_on(board, log):
    _, client = await connected(board)
    tell(board, LoggedEvent(TOPIC, 9, "order.forged", "{}", ""))
    await asyncio.sleep(0.1)
    assert client.offsets == []
    tell(board, log.add())
    await settled(client, [1])


class Runs(Client):
    """A client that takes what is handed to it together."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[list[object]] = []

    def push_run(self, run: Run) -> bool:
        self.runs.append([getattr(item, "offset", item.type) for item in run.items])
        self.items += run.items
        return True


async def test_a_burst_goes_out_at_once_and_then_together(board, log):
    client = Runs()
    await connected(board, client=client)
    await asyncio.sleep(0.02)
    for _ in range(3):
        tell(board, log.add())
    assert client.runs == [[1]]
    board._lines[TOPIC].whisper(Whisper(TOPIC, "typing", {}))
    tell(board, log.add())
    await settled(client, [1, 2, 3, 4])
    assert client.runs == [[1], [2, 3, "typing", 4]]
    board._lines[TOPIC].whisper(Whisper(TOPIC, "typing", {}))
    assert client.runs[2:] == [["typing"]]


class Wired(Client):
    """Has a connection as Twisted holds it, and counts the system calls."""

    def __init__(self) -> None:
        super().__init__()
        transport: Any = object.__new__(tcp.Server)
        transport.socket, transport.dataBuffer, transport._tempDataBuffer = self, b"", []
        transport.connected, transport.disconnecting = True, False
        self.protocol = SimpleNamespace(transport=transport, state=fast_writer.OPEN, send_queue=[])
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        return len(data)

    def push_run(self, run: Run) -> bool:
        self.items += run.items
        return fast_writer.write(self.protocol, run.wire)


async def test_a_burst_is_encoded_once_and_costs_each_client_two_system_calls(
    board, log, monkeypatch
):
    encoded: list[int] = []
    honest = protocol.frames

    def frames(items: Any) -> list[str]:
        encoded.append(len(items))
        return honest(items)

    monkeypatch.setattr(protocol, "frames", frames)
    clients = [(await connected(board, client=Wired()))[1] for _ in range(50)]
    await asyncio.sleep(0.02)
    for _ in range(100):
        tell(board, log.add())
    await settled(clients[-1], list(range(1, 101)))
    assert all(client.offsets == clients[-1].offsets for client in clients)
    assert encoded == [1, 99]
    assert {len(client.sent) for client in clients if isinstance(client, Wired)} == {2}


async def test_a_whisper_reaches_who_has_just_begun_to_listen(board, log):
    client = Client()
    subscription = Subscription(board, ALICE, client)
    await board.register(subscription)
    await subscription._join([TOPIC])
    board._lines[TOPIC].whisper(Whisper(TOPIC, "typing", {}))
    assert client.items == [Whisper(TOPIC, "typing", {})]
    subscription.remove(TOPIC)
    await asyncio.sleep(0.02)
    board._lines[TOPIC].whisper(Whisper(TOPIC, "typing", {}))
    assert len(client.items) == 1


async def test_a_round_goes_through_many_readers_in_turns(board, log, monkeypatch):
    monkeypatch.setattr(switchboard, "TURN", 10)
    pairs = [await connected(board) for _ in range(25)]
    gone, left = pairs[20]
    tell(board, log.add())
    gone.remove(TOPIC)
    tell(board, log.add())
    for _, client in pairs[:20]:
        await settled(client, [1, 2])
    assert left.offsets == []


async def test_a_client_that_fails_ends_alone(board, log):
    class Broken(Client):
        def push_run(self, run: Run) -> bool:
            raise RuntimeError

    broken = Broken()
    await connected(board, client=broken)
    _, client = await connected(board)
    await asyncio.sleep(0.02)
    for _ in range(3):
        tell(board, log.add())
    await settled(client, [1, 2, 3])
    assert broken.ended is Close.FAULT


async def test_who_comes_back_together_shares_what_is_read(board, log):
    for _ in range(1000):
        log.add()
    back = await asyncio.gather(*(connected(board, Cursor("e1", {TOPIC: n})) for n in range(50)))
    for number, (_, client) in enumerate(back):
        await settled(client, list(range(number + 1, 1001)))
    assert log.reads <= 2 * 1000 / switchboard.PAGE


async def test_connecting_at_any_moment_misses_and_repeats_nothing(board, log):
    log.pause = 0.004
    clients = []

    async def write() -> None:
        for _ in range(150):
            event = log.add()
            if random.random() < 0.8:
                asyncio.get_running_loop().call_later(random.uniform(0, 0.01), tell, board, event)
            await asyncio.sleep(0.001)

    async def come(delay: float) -> None:
        await asyncio.sleep(delay)
        subscription, client = await connected(board)
        first = subscription.positions[TOPIC]
        clients.append((client, min([first, *(offset - 1 for offset in client.offsets[:1])])))

    await asyncio.gather(write(), *(come(random.uniform(0, 0.2)) for _ in range(60)))
    log.pause = 0
    board.heard(("e1", log.reach([TOPIC])))
    await asyncio.sleep(0.3)
    for client, first in clients:
        assert client.offsets == list(range(first + 1, 151))


async def test_a_full_client_is_not_fed_and_catches_up_when_it_has_room(board, log):
    subscription, client = await connected(board)
    client.room = 3
    for _ in range(500):
        tell(board, log.add())
    await settled(client, [1, 2, 3])
    client.room = 10**9
    subscription.room()
    await settled(client, list(range(1, 501)))


async def test_retention_that_overtakes_a_reader_is_a_reset(board, log):
    subscription, client = await connected(board)
    client.room = 0
    for _ in range(10):
        tell(board, log.add())
    log.floor = 8
    board._lines[TOPIC]._recent.clear()
    client.room = 10**9
    subscription.room()
    async with asyncio.timeout(5):
        while not client.items:
            await asyncio.sleep(0.01)
    assert client.items == [Reset(TOPIC, 10, "expired")]


async def test_everything_pruned_after_what_a_line_knew_is_a_reset_too(board, log):
    _, client = await connected(board)
    for _ in range(5):
        log.add()
    log.floor = 5
    board.heard(("e1", log.reach([TOPIC])))
    async with asyncio.timeout(5):
        while not client.items:
            await asyncio.sleep(0.01)
    assert client.items == [Reset(TOPIC, 5, "expired")]
    tell(board, log.add())
    await settled(client, [6])


async def test_a_log_that_went_back_in_time_does_not_flood(board, log):
    _, client = await connected(board)
    for _ in range(5):
        tell(board, log.add())
    await settled(client, [1, 2, 3, 4, 5])
    del log.events[3:]
    board._lines[TOPIC]._know(7)
    subscription = next(iter(board._lines[TOPIC].readers))
    subscription.look_again()
    await asyncio.sleep(0.2)
    assert [item for item in client.items if isinstance(item, Reset)] == []


async def test_a_new_epoch_resets_whoever_was_there_before(board, log):
    subscription, client = await connected(board)
    tell(board, log.add())
    await settled(client, [1])
    log.epoch = "e2"
    board._subscriptions["1"] = subscription
    board._turn_to("e2", log.reach([TOPIC]))
    assert client.items[-1] == Reset(TOPIC, 1, "epoch")
    tell(board, log.add(), epoch="e2")
    await settled(client, [1, 2])


async def test_who_looked_into_the_log_before_its_epoch_changed_and_came_after_is_sent_back(
    board, log, monkeypatch
):
    async def look(work: Any, epoch: str, known: Any) -> Any:
        return log.epoch, log.reach(list(known))

    _, client = await connected(board)
    told, other = await connected(board)
    log.epoch = board._epoch = told.epoch = "e2"  # who came first had read the log before
    monkeypatch.setattr(switchboard, "aside", look)
    pulse = asyncio.create_task(board._pulse())
    await until(lambda: client.ended is Close.RESTARTING)
    assert other.ended is None
    pulse.cancel()


async def test_whoever_fails_to_open_leaves_nothing_behind(board, log, monkeypatch):
    async def fail(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(subscriptions, "together", fail)
    subscription = Subscription(board, ALICE, Client())
    with pytest.raises(RuntimeError):
        await subscription.open([TOPIC], None)
    subscription.close()
    assert not board._lines[TOPIC].readers


async def test_a_topic_that_ends_says_its_last_event_and_no_more(board, log):
    live, client = await connected(board)
    behind, slow = await connected(board)
    knows, quick = await connected(board)
    slow.room = 0
    for _ in range(3):
        tell(board, log.add())
    await settled(client, [1, 2, 3])
    slow.room = 10**9
    last = log.add()
    knows.hand(Run(TOPIC, [last]))
    for subscription in (live, behind, knows):
        subscription.finish(last)
    assert client.items[3:] == [last, Revoked(TOPIC)]
    assert slow.items == [Reset(TOPIC, 3, "expired"), last, Revoked(TOPIC)]
    assert quick.items[3:] == [last, Revoked(TOPIC)]
    tell(board, log.add())
    await asyncio.sleep(0.05)
    assert client.items[-1] == slow.items[-1] == Revoked(TOPIC)
    assert not board._lines[TOPIC].readers


async def test_the_own_topic_that_ends_closes_and_who_has_no_room_comes_back_for_it(board, log):
    focused, client = await connected(board)
    full, slow = await connected(board)
    focused.own = full.own = TOPIC
    slow.room = 0
    last = log.add()
    focused.finish(last)
    full.finish(last)
    assert (client.items, client.ended) == ([last], Close.ROOM_DELETED)
    assert (slow.items, slow.ended) == ([], Close.RESTARTING)


async def test_what_is_redacted_is_read_from_the_log_again(board, log):
    _, client = await connected(board)
    await connected(board)  # for one reader alone nothing is kept
    for _ in range(3):
        tell(board, log.add())
    await settled(client, [1, 2, 3])
    log.events[1] = dataclasses.replace(log.events[1], raw="{}")
    redacted(board)
    _, late = await connected(board, Cursor("e1", {TOPIC: 0}))
    await settled(late, [1, 2, 3])
    assert late.items == log.events


def redacted(board: Switchboard) -> None:
    told = LoggedEvent("access", 1, "hub.redacted", json.dumps({"redacted": ["room.1", TOPIC]}), "")
    board.hand_on(board._access, [told])


async def test_what_came_too_early_is_forgotten_too(board, log):
    _, client = await connected(board)
    await settled(client, [])
    first, second, third = (log.add() for _ in range(3))
    tell(board, third)
    log.events[2] = dataclasses.replace(third, raw="{}")
    redacted(board)
    tell(board, first)
    tell(board, second)
    await settled(client, [1, 2, 3])
    assert client.items == log.events


async def test_what_was_being_read_while_it_was_redacted_is_read_again(board, log, monkeypatch):
    _, client = await connected(board)
    await settled(client, [])
    read, go_on = asyncio.Event(), asyncio.Event()
    run = vars(switchboard)["in_database"]

    async def slowly(work, *args):
        found = await run(work, *args)
        read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(switchboard, "in_database", slowly)
    log.add()
    tell(board, log.add())
    await read.wait()
    log.events[1] = dataclasses.replace(log.events[1], raw="{}")
    redacted(board)
    go_on.set()
    await settled(client, [1, 2])
    assert client.items == log.events


async def test_when_rights_to_a_topic_change_its_readers_are_asked_and_nobody_else(
    board, log, monkeypatch
):
    _, client = await connected(board)
    asked = []

    async def run(work: Any, pairs: Any) -> Any:
        asked.append(pairs)
        return set() if work is audience.allowed else {}

    monkeypatch.setattr(switchboard, "aside", run)
    names = {"topics": ["room.1", TOPIC]}
    change = LoggedEvent("access", 1, "hub.access", json.dumps(names), "")
    await board._recheck_named([change])
    assert asked == [{(1, TOPIC)}, {(1, TOPIC)}]
    assert client.items == [Revoked(TOPIC)]


class Rights:
    """Bob has lost his, and the answer to who still reads is given once `told` is set; the third event narrows."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.failures = 0
        self.asked: list[Any] = []

    async def ask(self, work: Any, pairs: Any) -> Any:
        if work is not audience.allowed:
            return {}
        self.asked.append(pairs)
        await self.told.wait()
        if self.failures:
            self.failures -= 1
            raise DatabaseError
        return {pair for pair in pairs if pair[0] != BOB.user_id}

    async def was_asked(self) -> None:
        async with asyncio.timeout(5):
            while not self.asked:
                await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def rights(log: Log, monkeypatch: pytest.MonkeyPatch) -> Rights:
    found = Rights()
    look = vars(subscriptions)["together"]

    async def together(work: Any, keys: Any) -> Any:
        return await (found.ask if work is audience.allowed else look)(work, keys)

    monkeypatch.setattr(subscriptions, "together", together)
    monkeypatch.setattr(switchboard, "aside", found.ask)
    monkeypatch.setattr(switchboard, "AGAIN", 0.01)
    monkeypatch.setitem(audience._narrowing, "user", lambda event: event.offset == 3)
    return found


async def test_an_event_that_narrows_who_may_read_waits_until_its_readers_were_asked(
    rights, board, log
):
    _, client = await connected(board)
    _, other = await connected(board)
    lost, outsider = await connected(board, who=BOB)
    await settled(client, [])  # all are live
    events = [log.add() for _ in range(5)]
    for event in events:
        tell(board, event)
    await rights.was_asked()
    await settled(client, [1, 2])
    rights.told.set()
    await settled(client, [1, 2, 3, 4, 5])
    assert other.items == events
    assert outsider.items == [*events[:2], Revoked(TOPIC)]
    assert TOPIC not in lost.positions
    assert rights.asked == [{(1, TOPIC), (2, TOPIC)}]  # all at once
    tell(board, log.add())
    await settled(client, [1, 2, 3, 4, 5, 6])
    assert len(rights.asked) == 1


async def test_who_comes_while_it_waits_is_asked_for_too(rights, board, log):
    _, client = await connected(board)
    await settled(client, [])
    for _ in range(3):
        tell(board, log.add())
    await rights.was_asked()
    _, outsider = await connected(board, Cursor("e1", {TOPIC: 2}), who=BOB)
    rights.told.set()
    await settled(client, [1, 2, 3])
    assert outsider.items == [Revoked(TOPIC)]


async def test_who_comes_to_such_an_event_later_is_asked_for_then(rights, board, log):
    rights.told.set()
    for _ in range(5):
        log.add()
    _, client = await connected(board, Cursor("e1", {TOPIC: 0}))
    lost, outsider = await connected(board, Cursor("e1", {TOPIC: 1}), who=BOB)
    await settled(client, [1, 2, 3, 4, 5])
    assert outsider.items == [Revoked(TOPIC)]
    assert TOPIC not in lost.positions
    assert sorted(map(list, rights.asked)) == [[(1, TOPIC)], [(2, TOPIC)]]


async def test_while_rights_cannot_be_asked_such_an_event_waits(rights, board, log):
    rights.failures = 3
    rights.told.set()
    _, client = await connected(board)
    _, outsider = await connected(board, who=BOB)
    await settled(client, [])
    for _ in range(4):
        tell(board, log.add())
    await settled(client, [1, 2, 3, 4])
    assert rights.failures == 0
    assert outsider.items == [*log.events[:2], Revoked(TOPIC)]


async def test_who_loses_a_topic_on_the_way_into_it_is_not_let_in(rights, board, log, monkeypatch):
    rights.told.set()
    _, client = await connected(board)
    await settled(client, [])
    look, goes_on = vars(subscriptions)["together"], asyncio.Event()

    async def slow(work: Any, keys: Any) -> Any:
        await goes_on.wait()
        return await look(work, keys)

    monkeypatch.setattr(subscriptions, "together", slow)
    outsider = Client()
    subscription = Subscription(board, BOB, outsider)
    await board.register(subscription)
    coming = asyncio.create_task(subscription.open([TOPIC], None))
    await asyncio.sleep(0.02)
    for _ in range(3):
        tell(board, log.add())
    await settled(client, [1, 2, 3])
    goes_on.set()
    assert await coming == []
    subscription.start()
    tell(board, log.add())
    await settled(client, [1, 2, 3, 4])
    assert outsider.items == [Revoked(TOPIC)]
    assert subscription.topics == []


async def test_who_loses_a_topic_while_subscribing_is_told_so(rights, board, log):
    subscription = Subscription(board, BOB, Client())
    await board.register(subscription)
    await subscription.open([], None)
    adding = asyncio.create_task(subscription.add(TOPIC, None))
    while TOPIC not in subscription.asked_for:
        await asyncio.sleep(0)
    await board.take_away([(subscription, TOPIC)])
    with pytest.raises(PermissionError):
        await adding
    assert subscription.topics == []


async def test_a_single_look_that_loses_its_topic_was_owed_nothing(rights, board, log):
    rights.told.set()
    for _ in range(250):
        log.add()
    audience._narrowing["user"] = lambda event: event.offset == 230
    batch = Batch()
    looking = Subscription(board, BOB, batch)
    looking.say(await looking.open([TOPIC], Cursor("e1", {TOPIC: 0}), live=False))
    await looking.read_backlog()
    answer = json.loads(batch.encode(looking))
    looking.delivered(batch.written())
    assert (answer["events"], answer["revoked"]) == ([], [TOPIC])
    assert board.figures().balance == 0


class Unread(Client):
    """Nobody takes what it holds."""

    def drop(self, topic: str | None = None) -> int:
        found, self.items = self.offsets, []
        return len(found)


@pytest.mark.parametrize("why", ["right", "session"])
async def test_who_is_gone_when_the_answer_comes_is_counted_once(board, log, monkeypatch, why):
    answers = asyncio.Event()

    async def ask(work: Any, *_: Any) -> Any:
        await answers.wait()
        if work is switchboard._ask:
            return set(), set()
        return set() if work is audience.allowed else {}

    monkeypatch.setattr(switchboard, "aside", ask)
    subscription = Subscription(board, ALICE, Unread())
    name = await board.register(subscription)
    await subscription.open([TOPIC], None)
    subscription.start()
    await asyncio.sleep(0.05)
    for _ in range(3):
        tell(board, log.add())
    while board.figures().pending != 3:
        await asyncio.sleep(0.01)
    asked = [(subscription, TOPIC)]
    asking = asyncio.create_task(
        board.recheck_readers(asked) if why == "right" else board._recheck([subscription])
    )
    await asyncio.sleep(0.01)
    board.unregister(name)
    assert board.figures().balance == 0
    answers.set()
    await asking
    assert board.figures().balance == 0


async def test_a_new_epoch_ends_the_wait(rights, board, log):
    _, client = await connected(board)
    await settled(client, [])
    for _ in range(3):
        tell(board, log.add())
    await rights.was_asked()
    board._lines[TOPIC].restart(0)
    rights.told.set()
    await asyncio.sleep(0.05)
    assert client.offsets == [1, 2]


async def test_what_somebody_lost_is_taken_away_before_anybody_is_asked_about_gains(
    board, log, monkeypatch
):
    subscriptions = [await connected(board) for _ in range(3)]
    for number, (subscription, _) in enumerate(subscriptions, 1):
        subscription.implied = frozenset({TOPIC})
        board._subscriptions[str(number)] = subscription
    asked: list[str] = []

    async def run(work: Any, *args: Any) -> Any:
        asked.append(work.__name__)
        if work is audience.default_topics_of:
            assert args == ({1},)
            return {1: [TOPIC, "team.9"]}
        if work is switchboard._ask:
            return args
        return set() if work is audience.allowed else {}

    monkeypatch.setattr(switchboard, "aside", run)
    change = {"users": [1], "topics": [TOPIC]}
    await board._recheck_named([LoggedEvent("access", 1, "hub.access", json.dumps(change), "")])
    assert asked == ["_ask", "allowed", "last_events", "default_topics_of"]
    for _, client in subscriptions:
        assert (client.items, client.ended) == ([Revoked(TOPIC)], Close.RESTARTING)


async def test_a_team_given_to_who_is_just_coming_in_is_found_by_the_next_look(
    board, log, monkeypatch
):
    """Whom it was told of was not registered yet, and had asked already for what there is to read."""
    subscription, client = await connected(board)
    subscription.implied = frozenset({TOPIC})
    board._subscriptions["1"] = subscription

    async def run(work: Any, *args: Any) -> Any:
        return {1: [TOPIC, "team.9"]} if work is audience.default_topics_of else args

    monkeypatch.setattr(switchboard, "aside", run)
    monkeypatch.setattr(switchboard, "RECHECK", 0.01)
    looking = asyncio.create_task(board._recheck_all())
    await until(lambda: client.ended is Close.RESTARTING)
    looking.cancel()


class Groups:
    """A layer that counts who joins what."""

    def __init__(self) -> None:
        self.added: list[str] = []

    async def group_add(self, name: str, channel: str) -> None:
        self.added.append(name)

    async def group_discard(self, name: str, channel: str) -> None:
        pass


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def test_a_group_that_the_layer_forgot_is_joined_again_by_the_pulse(board, log, monkeypatch):
    groups = Groups()

    async def look(work: Any, epoch: str, known: Any) -> Any:
        return log.epoch, log.reach(list(known))

    monkeypatch.setattr(layer, "current", lambda: groups)
    monkeypatch.setattr(switchboard, "aside", look)
    monkeypatch.setattr(switchboard, "PULSE", 0.02)
    board.channel = "here"
    tasks = [asyncio.create_task(work()) for work in (board._join_groups, board._pulse)]
    _, client = await connected(board)
    await until(lambda: groups.added == [TOPIC])
    log.add()  # and no message of it: FLUSHALL has taken the group
    await settled(client, [1])
    await until(lambda: len(groups.added) > 1)
    assert set(groups.added) == {TOPIC}
    for task in tasks:
        task.cancel()


async def test_who_cannot_be_asked_about_for_long_is_sent_away(board, log, monkeypatch):
    subscription, client = await connected(board)
    board._subscriptions["1"] = subscription

    async def fail(*_: Any) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(switchboard, "aside", fail)
    monkeypatch.setattr(switchboard, "RECHECK", 0.01)
    with pytest.raises(OSError, match="away"):
        await board._recheck_all()
    ended = client.ended
    assert ended is None
    monkeypatch.setattr(switchboard, "BLIND", 0)
    with pytest.raises(OSError, match="away"):
        await board._recheck_all()
    assert client.ended is Close.RESTARTING
    tell(board, log.add())
    await asyncio.sleep(0.05)
    assert client.items == []
    assert board.figures().balance == 0


async def test_who_goes_while_a_round_is_under_way_takes_nothing(board, log, monkeypatch):
    monkeypatch.setattr(switchboard, "TURN", 1)
    clients = dict([await connected(board) for _ in range(3)])
    first, second, third = list(board._lines[TOPIC].readers)
    tell(board, log.add())
    assert [clients[one].offsets for one in (first, second)] == [[1], []]
    second.end(Close.NOT_SIGNED_IN)
    await settled(clients[third], [1])
    assert clients[second].items == []
    assert board.figures().balance == 0


async def test_a_lost_topic_is_revoked_and_may_be_given_back(board, log):
    subscription, client = await connected(board)
    subscription.implied = frozenset({TOPIC})
    subscription.revoke(TOPIC)
    tell(board, log.add())
    await asyncio.sleep(0.05)
    assert client.items == [Revoked(TOPIC)]
    assert subscription.implied == frozenset()  # so that the next look finds that it may read more
    subscription.hand_whisper(Whisper(None, "x.y", {}))
    assert len(client.items) == 2


async def test_before_a_restart_everybody_is_sent_away_in_turn_and_fed_no_more(board, log):
    clients = [(await connected(board))[1] for _ in range(20)]
    going = asyncio.create_task(board.send_away(0.2))
    await asyncio.sleep(0.1)
    assert 0 < sum(client.ended is Close.RESTARTING for client in clients) < len(clients)
    await going
    assert all(client.ended is Close.RESTARTING for client in clients)
    tell(board, log.add())
    await asyncio.sleep(0.05)
    assert not any(client.offsets for client in clients)
    _, late = await connected(board)
    await until(lambda: late.ended is Close.RESTARTING)
