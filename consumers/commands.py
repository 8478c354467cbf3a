"""What a client may ask over its socket."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import Error as DatabaseError
from django.utils import translation

from accounts import audience, profiles, refusals, throttle
from accounts.authenticate import Credential
from chat import marks, messages
from chat.errors import InvalidChat, NoSuchRoom, NotPossible
from chat.messages import Draft
from consumers import cursor as cursors
from consumers import door, protocol
from consumers.cursor import BadCursor, Cursor
from consumers.database import soon, together
from consumers.protocol import Command, Item
from consumers.subscription import Subscription
from events import awhisper, log, topics

MOST_SUBSCRIBED: Final = 140
"""Topics of one connection: those implied and a hundred more, so that their cursor stays readable."""

TYPING: Final = 1.0
"""Seconds between two whispers that somebody types in a room, from one connection."""
_OFFSET_MOST: Final = 2**63 - 1
_AT_ONCE: Final = 100
"""Posts of one transaction: SQLite lets nobody else write meanwhile."""

Answer = list[Item | str]
Handler = Callable[[Subscription, Command], Awaitable[Answer]]


async def run(subscription: Subscription, command: Command) -> Answer:
    """What to send back, in order; nothing for a command that has no reply."""
    try:
        return await _HANDLERS[command.op](subscription, command)
    except DatabaseError:
        return [
            protocol.refusal(
                command.ref, "unavailable", "The database does not answer in time; try again."
            )
        ]


def after(subscription: Subscription, command: Command) -> None:
    """What must follow the reply on the wire: the events of a topic just subscribed."""
    if command.op == "subscribe":
        subscription.start()


async def _subscribe(subscription: Subscription, command: Command) -> Answer:
    topic = command.fields["topic"]
    if len(subscription.positions) >= MOST_SUBSCRIBED and topic not in subscription.positions:
        refusals.count("topics")
        return [protocol.refusal(command.ref, "too_many", "This connection has too many topics.")]
    if topic not in await door.readable(subscription.credential, [topic]):
        return _forbidden(command)
    try:
        at = _position(topic, subscription.epoch, command.fields.get("cursor"))
    except BadCursor as error:
        return [protocol.refusal(command.ref, "bad_cursor", str(error))]
    try:
        offset, reset = await subscription.add(topic, at)
    except PermissionError:
        return _forbidden(command)
    if subscription.places is not None:
        if command.fields.get("present", True):
            subscription.places.enter_rooms([topic])
        else:
            subscription.places.leave_room(topic)
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


async def _visible(subscription: Subscription, command: Command) -> Answer:
    if subscription.places is not None:
        subscription.places.look(looked_at=command.fields["value"])
    return []


async def _post(subscription: Subscription, command: Command) -> Answer:
    who, topic = subscription.credential, command.fields["topic"]
    if "chat" not in who.scopes:
        return [_no_chat(command)]
    try:
        client_id = uuid.UUID(command.fields["client_id"])
    except ValueError:
        if topic not in await door.readable(who, [topic]) or _room(topic) is None:
            return _forbidden(command)
        return [protocol.refusal(command.ref, "invalid", "client_id must be a UUID.")]
    room_id = _room(topic)
    if room_id is None:
        return _forbidden(command)
    draft = Draft(who.user_id, room_id, client_id, command.fields["body"])
    posted = (await together(_post_many, [draft]))[draft]
    if isinstance(posted, throttle.TooFast):
        return [protocol.refusal(command.ref, posted.code, str(posted))]
    if posted is not None:
        return [protocol.reply(command.ref, posted)]
    return await _about_a_room(command, _post_alone, who, client_id, draft.body)


async def _read(subscription: Subscription, command: Command) -> Answer:
    if "chat" not in subscription.credential.scopes:
        return [_no_chat(command)]
    return await _about_a_room(command, _mark, subscription.credential, command.fields["offset"])


async def _about_a_room(command: Command, work: Callable[..., Any], *args: Any) -> Answer:
    """Commands about a room answer for one that can't be read as for one that does not exist."""
    room_id = _room(command.fields["topic"])
    if room_id is None:
        return _forbidden(command)
    try:
        return [protocol.reply(command.ref, await soon(work, room_id, *args))]
    except NoSuchRoom:
        return _forbidden(command)
    except InvalidChat as error:
        return [protocol.refusal(command.ref, "invalid", str(error))]
    except NotPossible as error:
        return [protocol.refusal(command.ref, "conflict", str(error))]
    except throttle.TooFast as error:
        return [protocol.refusal(command.ref, error.code, str(error))]


def _room(topic: str) -> int | None:
    parsed = topics.parse(topic)
    return int(parsed.key) if parsed is not None and parsed.kind == "room" else None


def _post_many(drafts: list[Draft]) -> dict[Draft, dict[str, Any] | throttle.TooFast | None]:
    """Database work: what everybody says at about the same time, counted and, where it is simple, stored. The others
    are None, for `_post_alone`."""
    answers: dict[Draft, dict[str, Any] | throttle.TooFast | None] = dict.fromkeys(drafts)
    for draft in drafts:
        try:
            throttle.limit_person(draft.author, messages.POSTS, messages.POSTS_PER_MINUTE)
        except throttle.TooFast as error:
            answers[draft] = error
    counted = [draft for draft, error in answers.items() if error is None]
    for start in range(0, len(counted), _AT_ONCE):
        answers.update(messages.post_many(counted[start : start + _AT_ONCE]))
    return answers


def _post_alone(room_id: int, who: Credential, client_id: uuid.UUID, body: str) -> dict[str, Any]:
    """Database work: post, or find what was posted already."""
    user = _person(who)
    with translation.override(profiles.language(user) or settings.LANGUAGE_CODE):
        message, _is_new = messages.post(user, room_id, client_id, body)
    return messages.item(message)


def _mark(room_id: int, who: Credential, offset: int) -> dict[str, Any]:
    """Database work."""
    user = _person(who)
    if not audience.may_read(user.pk, topics.room(room_id)):
        raise NoSuchRoom
    if not 0 <= offset <= _OFFSET_MOST:
        raise InvalidChat("offset", "must be an offset of the room")
    return marks.read_events(user, room_id, offset)


def _person(who: Credential) -> User:
    """The account as it is now. Raises NoSuchRoom for one that is staff no longer."""
    people = get_user_model()._default_manager.select_related("hub_profile")
    user = people.filter(pk=who.user_id).first()
    if user is None or not audience.is_staff_of_hub(user):
        raise NoSuchRoom
    return user


async def _typing(subscription: Subscription, command: Command) -> Answer:
    who, topic = subscription.credential, command.fields["topic"]
    if _room(topic) is None or "chat" not in who.scopes:
        return _forbidden(command)
    if topic not in subscription.positions and topic not in await door.readable(who, [topic]):
        return _forbidden(command)
    now = time.monotonic()
    if now - subscription.typed.get(topic, -TYPING) >= TYPING:
        recent = {name: at for name, at in subscription.typed.items() if now - at < TYPING}
        subscription.typed = {**recent, topic: now}
        await awhisper(topic, "typing", {"id": who.user_id, "name": who.name})
    return []


def _no_chat(command: Command) -> str:
    return protocol.refusal(command.ref, "forbidden", "This API key has no chat scope.")


def _forbidden(command: Command) -> Answer:
    detail = "There is no such topic, or it is not yours to read."
    return [protocol.refusal(command.ref, "forbidden", detail)]


_HANDLERS: Final[dict[str, Handler]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "ping": _ping,
    "visible": _visible,
    "post": _post,
    "read": _read,
    "typing": _typing,
}
