"""The hub's server with one defect planted: `python -m tests.faults.planted no_pulse --port 8000`.

What publishes plants the same one (`tests/faults/writer.py`). Each replaces what makes one promise true by what a first attempt would have written. The experiments must catch
every one of them; the product itself has no switch for it.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Final

from hub import server  # sets Django up, which what follows needs

# isort: split
import orjson
from channels.exceptions import StopConsumer
from django.db import DatabaseError, OperationalError, connections, transaction
from django.db.models import F, Model
from django.utils import timezone

from accounts import idempotency
from accounts.authenticate import Credential
from consumers import door, sse, subscription, switchboard, websocket
from consumers.cursor import Cursor
from consumers.limits import (
    BAD_FRAMES,
    BAD_WINDOW,
    FRAME_WINDOW,
    FRAMES_PER_SECOND,
    Allowance,
    Strikes,
)
from consumers.outbox import Flow
from consumers.protocol import Item
from consumers.subscription import Subscription
from consumers.switchboard import Line, Switchboard
from events import epoch, layer, log, presence, redis_client, sequence
from events.log import LoggedEvent, Reach
from events.models import Event, Topic
from notifications import model_events

PAUSE: Final = 0.05


def no_contiguity() -> None:
    """What the layer brings is passed on, whatever is missing before it."""

    def receive(self: Line, event: LoggedEvent) -> None:
        self.known = max(self.known, event.offset)
        for reader in list(self.readers):
            if event.offset > reader.positions.get(self.name, event.offset):
                reader._sink.push(event)
                reader.positions[self.name] = event.offset

    Line.receive = receive  # type: ignore[method-assign]


def read_before_subscribe() -> None:
    """The log is read first, then the groups are joined, and what came between is taken for read."""
    honest = Subscription.open

    async def open_late(
        self: Subscription, names: Iterable[str], at: Cursor | None, *, live: bool = True
    ) -> list[Item]:
        resets = await honest(self, names, at, live=False)
        await self.read_backlog()
        await asyncio.sleep(0.05)
        if live:
            await self._join(list(self.positions))
            for name in self.positions:
                self.positions[name] = max(self.positions[name], self._board.known(name))
        return resets

    Subscription.open = open_late  # type: ignore[method-assign]


def cursor_by_row_id() -> None:
    """The row's id serves as its offset."""

    def number(names: list[str], *, skip_locked: bool) -> list[LoggedEvent]:
        pending = Event.objects.filter(topic__in=names, offset__isnull=True).order_by("id")
        ids = list(pending.values_list("id", flat=True)[: sequence.EVENTS_PER_TRANSACTION])
        Event.objects.filter(id__in=ids).update(offset=F("id"))
        rows = Event.objects.filter(id__in=ids).order_by("id")
        found = [log.from_row(row) for row in rows.values_list(*log._FIELDS)]
        for event in found:
            Topic.objects.filter(name=event.topic).update(head=event.offset)
        return found

    sequence._number = number


def no_pulse() -> None:
    """Nobody compares with the log: what the layer lost stays lost."""

    async def never(self: Switchboard) -> None:
        await asyncio.Event().wait()

    Switchboard._pulse = never  # type: ignore[method-assign]


def unbounded_buffers() -> None:
    """A client that does not read is written to all the same."""

    async def at_once(self: Any) -> None:
        return

    server.TransportFlow.writable = at_once  # type: ignore[method-assign]


def clean_up_in_disconnect() -> None:
    """A socket cleans up when its disconnect comes, and nothing guards the way there."""

    async def call(self: websocket.SignedInSocket, scope: Any, receive: Any, send: Any) -> None:
        self._frames = Allowance(FRAMES_PER_SECOND, FRAME_WINDOW)
        self._strikes = Strikes(BAD_FRAMES, BAD_WINDOW)
        self._closed = False
        self.connection = ""
        self.scope, self.base_send = scope, send
        with suppress(StopConsumer):
            while True:
                await self.dispatch(await receive())

    async def dispatch(self: websocket.SignedInSocket, message: dict[str, Any]) -> None:
        match message["type"]:
            case "websocket.connect":
                await self._connect()
            case "websocket.receive":
                await self._receive(message.get("text"), message.get("bytes"))
            case "websocket.disconnect":
                await self.clean_up()
                raise StopConsumer

    websocket.SignedInSocket.__call__ = call  # type: ignore[method-assign]
    websocket.SignedInSocket.dispatch = dispatch  # type: ignore[method-assign]


def authorised_at_subscribe() -> None:
    """Once in, for ever in."""

    def ask(
        credentials: set[Credential], pairs: set[tuple[int, str]]
    ) -> tuple[set[Credential], set[tuple[int, str]]]:
        return credentials, pairs

    switchboard._ask = ask


def resume_without_authorisation() -> None:
    """Whoever comes with a cursor must have been allowed in before."""

    async def readable(credential: Credential, names: Collection[str]) -> set[str]:
        return set(names)

    door.readable = readable


def presence_by_counter() -> None:
    """Who came and did not leave is here; a lease without an end counts as a counter does."""
    presence.LEASE = 10**9  # type: ignore[misc]


def stock_core_layer() -> None:
    """What the layer brings is all there is: nobody looks into the log."""
    blocked_loop()
    no_contiguity()
    no_pulse()


def save_not_atomic() -> None:
    """A lone `save()` has committed the row by the time its event is made."""

    def leave_alone(model: type[Model]) -> None:
        return

    model_events._make_save_atomic = leave_alone


def event_in_post_save() -> None:
    """The signal tells the group itself, before the commit; there is no log."""

    def saved(sender: type[Model], instance: Model, created: bool, **_: Any) -> None:
        for each in model_events.watches_of(sender):
            topic = str(each.topic_of(instance))
            name = f"planted:{topic}"
            redis_client.blocking().setnx(name, log.heads([topic])[topic])
            event = LoggedEvent(
                topic,
                redis_client.blocking().incr(name),
                f"{each.type}.{'created' if created else 'updated'}",
                orjson.dumps(model_events._data(each, instance, "created")).decode(),
                log.rfc3339(timezone.now()),
            )
            message = {"type": "hub.event", "epoch": epoch.current(), "event": event.as_dict()}
            layer.group_send_many([(topic, message)])

    model_events._saved = saved  # type: ignore[assignment]
    save_not_atomic()


def stream_as_view() -> None:
    """A stream is a view: a thread and a database connection of its own for as long as it lasts, which look each second
    whether there is something new."""

    def look_again_and_again(over: threading.Event) -> None:
        while not over.wait(1):
            with suppress(DatabaseError):
                Event.objects.order_by("id").last()
        connections.close_all()

    async def write(self: sse.Stream, flow: Flow | None) -> None:
        over = threading.Event()
        with ThreadPoolExecutor(1) as own:
            try:
                await asyncio.get_running_loop().run_in_executor(own, look_again_and_again, over)
            finally:
                over.set()

    sse.Stream.write = write  # type: ignore[method-assign]


def no_deadline() -> None:
    """Whoever talks to Redis waits until it answers."""
    redis_client._deadline = dict


def keys_forgotten() -> None:
    """Whoever asks again, because the answer was lost, has it done again."""

    def once(user_id: int, route: str, key: str | None, make: Any, **_: Any) -> idempotency.Made:
        with transaction.atomic():
            return make()  # type: ignore[no-any-return]

    idempotency.once = once
    answers_lost()


# --- windows: no defects, only a wait of 50 ms where something else may come between


def pause_after_subscribe() -> None:
    honest = Subscription._join

    async def join(self: Subscription, names: list[str]) -> None:
        await honest(self, names)
        await asyncio.sleep(PAUSE)

    Subscription._join = join  # type: ignore[method-assign]


def pause_after_read() -> None:
    def standing(names: list[str]) -> tuple[str, dict[str, Reach]]:
        found = epoch.current(), log.reach(names)
        time.sleep(PAUSE)  # on a thread of the doors, between the rows and whoever asked for them
        return found

    subscription._standing = standing


def pause_during_drain() -> None:
    honest = Subscription._read_page

    async def read_page(self: Subscription, name: str) -> bool:
        went_on = await honest(self, name)
        await asyncio.sleep(PAUSE)
        return went_on

    Subscription._read_page = read_page  # type: ignore[method-assign]


def answers_lost() -> None:
    """The database goes away after each tenth commit, before the answer."""
    honest = idempotency.once
    calls = itertools.count(1)

    def once(*args: Any, **more: Any) -> idempotency.Made:
        made = honest(*args, **more)
        if next(calls) % 10 == 0:
            raise OperationalError("the connection is lost")
        return made

    idempotency.once = once


def blocked_loop() -> None:
    """The loop hangs for two seconds once the first message comes."""
    honest = Switchboard._take
    left = iter([2.0])

    def take(self: Switchboard, message: dict[str, Any]) -> None:
        time.sleep(next(left, 0.0))
        honest(self, message)

    Switchboard._take = take  # type: ignore[method-assign]


def pause_before_hand_over() -> None:
    honest = Switchboard._take

    def take(self: Switchboard, message: dict[str, Any]) -> None:
        asyncio.get_running_loop().call_later(PAUSE, honest, self, message)

    Switchboard._take = take  # type: ignore[method-assign]


DEFECTS: Final[dict[str, Callable[[], None]]] = {
    defect.__name__: defect
    for defect in (
        no_contiguity,
        read_before_subscribe,
        cursor_by_row_id,
        no_pulse,
        unbounded_buffers,
        clean_up_in_disconnect,
        authorised_at_subscribe,
        resume_without_authorisation,
        presence_by_counter,
        stock_core_layer,
        save_not_atomic,
        event_in_post_save,
        stream_as_view,
        no_deadline,
        keys_forgotten,
    )
}
WINDOWS: Final[dict[str, Callable[[], None]]] = {
    window.__name__: window
    for window in (
        pause_after_subscribe,
        pause_after_read,
        pause_during_drain,
        pause_before_hand_over,
        blocked_loop,
        answers_lost,
    )
}


def plant(name: str) -> None:
    """In this process, for good."""
    {**DEFECTS, **WINDOWS}[name]()


@contextmanager
def planted(name: str) -> Iterator[None]:
    """In this process, for a while: what runs here is put back at the end."""
    owners: list[Any] = [Line, Subscription, Switchboard, sequence, subscription, switchboard]
    before = [(owner, dict(vars(owner))) for owner in owners]
    plant(name)
    try:
        yield
    finally:
        for owner, honest in before:
            for attribute, value in honest.items():
                if vars(owner)[attribute] is not value:
                    setattr(owner, attribute, value)


if __name__ == "__main__":
    plant(sys.argv.pop(1))
    sys.exit(server.main())
