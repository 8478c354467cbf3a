"""What a client may ask over its socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from django.db import Error as DatabaseError

from consumers import cursor as cursors
from consumers import door, protocol
from consumers.cursor import BadCursor, Cursor
from consumers.database import soon
from consumers.protocol import Command, Item
from consumers.subscription import Subscription
from events import log

MOST_SUBSCRIBED: Final = 140
"""Topics of one connection: those implied and a hundred more, so that their cursor stays readable."""

Answer = list[Item | str]
Handler = Callable[[Subscription, Command], Awaitable[Answer]]


async def run(subscription: Subscription, command: Command) -> Answer:
    """What to send back, in order; nothing for a command that has no reply."""
    try:
        return await _HANDLERS[command.op](subscription, command)
    except DatabaseError:
        return [protocol.refusal(command.ref, "unavailable", "The database is away; try again.")]


def after(subscription: Subscription, command: Command) -> None:
    """What must follow the reply on the wire: the events of a topic just subscribed."""
    if command.op == "subscribe":
        subscription.start()


async def _subscribe(subscription: Subscription, command: Command) -> Answer:
    topic = command.fields["topic"]
    if len(subscription.positions) >= MOST_SUBSCRIBED and topic not in subscription.positions:
        return [protocol.refusal(command.ref, "too_many", "This connection has too many topics.")]
    if topic not in await soon(door.readable, subscription.credential, [topic]):
        return _forbidden(command)
    try:
        at = _position(topic, subscription.epoch, command.fields.get("cursor"))
    except BadCursor as error:
        return [protocol.refusal(command.ref, "bad_cursor", str(error))]
    offset, reset = await subscription.add(topic, at)
    place = {"topic": topic, "offset": offset, "epoch": subscription.epoch}
    answer: Answer = [protocol.reply(command.ref, place)]
    return answer if reset is None else [*answer, reset]


def _position(topic: str, epoch: str, said: int | str | None) -> Cursor | None:
    """A bare offset counts in the present epoch; a cursor's text brings its own."""
    if isinstance(said, str):
        return cursors.read(said)
    if said is None:
        return None
    return cursors.read(f"{epoch}~{topic}:{said}")


async def _unsubscribe(subscription: Subscription, command: Command) -> Answer:
    subscription.remove(command.fields["topic"])
    return [protocol.reply(command.ref, {})]


async def _ping(_: Subscription, command: Command) -> Answer:
    return [protocol.reply(command.ref, {"at": log.rfc3339(datetime.now(UTC))})]


async def _visible(_: Subscription, command: Command) -> Answer:
    return []  # who looks at a room matters to rooms


async def _forbid(_: Subscription, command: Command) -> Answer:
    """Commands about a room answer for one that can't be read as for one that does not exist."""
    return _forbidden(command)


def _forbidden(command: Command) -> Answer:
    detail = "There is no such topic, or it is not yours to read."
    return [protocol.refusal(command.ref, "forbidden", detail)]


_HANDLERS: Final[dict[str, Handler]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "ping": _ping,
    "visible": _visible,
    "post": _forbid,
    "read": _forbid,
    "typing": _forbid,
}
