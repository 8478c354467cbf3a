"""What is said in rooms: stored once, shown live, found again.

A post holds its room's row, so ids, events and offsets of one room come in one and the same order.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audience, profiles
from chat import mentions, rooms, text
from chat.errors import InvalidChat, NoSuchMessage, NotAllowed, NotPossible
from chat.models import Kind, Membership, Mention, Message, Room
from events import log, publish, publish_many, redact, topics
from events.errors import EventTooLarge
from events.publishing import MAX_DATA

POSTS: Final = "posts"
POSTS_PER_MINUTE: Final = 300
"""Of one person, by socket and API together; `POSTS` names what they share."""
PAGE: Final = 50
PAGE_MAX: Final = 200
_PLAIN_MOST: Final = MAX_DATA - 4096
"""Bytes of a message's text and HTML in its event, beside everything else there."""
_HELD_BY_OTHERS: Final = {"55P03", "40P01"}
"""PostgreSQL's words for a lock that was waited for too long, and for a deadlock."""
NAMED_MOST: Final = 50
"""People that one message may name: each is told, and posting is no way round the limit on notifications."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wants to say in a room."""

    author: int
    room: int
    client_id: uuid.UUID
    body: str


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. `older` and `newer` are the `before` and `after` of the neighbouring pages, None at an end."""

    messages: list[Message]
    older: int | None
    newer: int | None

    @property
    def items(self) -> list[dict[str, Any]]:
        return items(self.messages)


def page(
    room: Room, *, before: int | None = None, after: int | None = None, limit: int = PAGE
) -> Page:
    """The newest messages, or those next to a message in one direction. Deleted ones are there, without their text."""
    rows = Message.objects.filter(room=room)
    if after is not None:
        found = list(rows.filter(pk__gt=after).order_by("pk")[: limit + 1])
        shown = found[:limit][::-1]
        newer = shown[0].pk if len(found) > limit else None
        return Page(shown, shown[-1].pk if shown and _is_there(rows, shown[-1].pk) else None, newer)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-pk")[: limit + 1])
    shown = found[:limit]
    return Page(
        shown,
        shown[-1].pk if len(found) > limit else None,
        shown[0].pk if shown and before is not None else None,
    )


def around(room: Room, message_id: int, limit: int = PAGE) -> Page:
    """The message in the middle of its neighbours. Raises NoSuchMessage."""
    rows = Message.objects.filter(room=room)
    if not rows.filter(pk=message_id).exists():
        raise NoSuchMessage
    half = limit // 2
    older = list(rows.filter(pk__lte=message_id).order_by("-pk")[: half + 2])
    newer = list(rows.filter(pk__gt=message_id).order_by("pk")[: half + 1])
    shown = [*reversed(newer[:half]), *older[: half + 1]]
    return Page(
        shown,
        shown[-1].pk if len(older) > half + 1 else None,
        shown[0].pk if len(newer) > half else None,
    )


def first_unread(room: Room, user: User, read_up_to: int) -> int | None:
    """The id of the first message after `read_up_to` that counts as unread: by others and not deleted."""
    rows = Message.objects.filter(room=room, pk__gt=read_up_to, deleted_at=None)
    return rows.exclude(author=user).order_by("pk").values_list("pk", flat=True).first()


def post(user: User, room_id: int, client_id: uuid.UUID, body: str) -> tuple[Message, bool]:
    """Store a message, once for each `client_id` of its author in the room; returns it, and whether it is new.

    Whoever posts in an open room is in it from then on. Raises NoSuchRoom, NotPossible or InvalidChat.
    """
    room = rooms.find(user, room_id)
    known = Message.objects.filter(author=user, room=room, client_id=client_id)
    if (first := known.first()) is not None:
        return first, False
    body = text.body(body)
    html, named = _rendered(room, body)
    with transaction.atomic():
        room = rooms.hold(room_id)
        if (first := known.first()) is not None:
            return first, False
        if room.kind == Kind.OPEN:
            rooms.add(room, user)
        else:
            rooms.find(user, room_id)  # as of now: somebody may have been removed since
        if room.archived_at is not None:
            raise NotPossible(_("The room is archived: nothing new is said there."))
        html, named = _as_of_now(room, body, html, named)
        message = Message.objects.create(
            room=room, author=user, client_id=client_id, body=body, html=html
        )
        room.last_message, room.active_at = message.pk, message.created_at
        room.save(update_fields=["last_message", "active_at"])
        _mention(message, named)
        _tell(message, "message.created")
        mentions.tell(room, message, user, named)
    return message, True


def post_many(drafts: Collection[Draft]) -> dict[Draft, dict[str, Any]]:
    """Store at once, with one commit, those that ask for nothing but that: new ones by members, in rooms that are in use,
    which name nobody. Returns them as `items` does; whatever is not there is for `post`, which does the rest of it or
    says why not.
    """
    ready = {draft: text_and_html for draft in drafts if (text_and_html := _plain(draft))}
    if not ready:
        return {}
    people = get_user_model()._default_manager.select_related("hub_profile")
    authors = {
        person.pk: profiles.person(person)
        for person in people.filter(pk__in={draft.author for draft in ready})
        if audience.is_staff_of_hub(person)
    }
    try:
        return _stored(ready, authors)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) in _HELD_BY_OTHERS:
            return {}
        raise


@transaction.atomic
def _stored(
    ready: Mapping[Draft, tuple[str, str]], authors: Mapping[int, dict[str, Any]]
) -> dict[Draft, dict[str, Any]]:
    rows: dict[Draft, Message] = {}
    held = rooms.hold_in_use({draft.room for draft in ready})
    known = {"room__in": held, "author__in": authors}
    ids = [draft.client_id for draft in ready]
    taken = set(
        Message.objects.filter(**known, client_id__in=ids).values_list(
            "author_id", "room_id", "client_id"
        )
    )
    members = set(
        Membership.objects.filter(room__in=held, user__in=authors).values_list("user_id", "room_id")
    )
    for draft, (body, html) in ready.items():
        once = (draft.author, draft.room, draft.client_id)
        if once in taken or (draft.author, draft.room) not in members:
            continue
        taken.add(once)
        rows[draft] = Message(
            room_id=draft.room,
            author_id=draft.author,
            client_id=draft.client_id,
            body=body,
            html=html,
        )
    Message.objects.bulk_create(rows.values())
    newest = {message.room_id: message.pk for message in rows.values()}
    rooms.spoken_in(newest.values())
    said = {draft: _item(message, authors, []) for draft, message in rows.items()}
    publish_many(
        (topics.room(draft.room), "message.created", said[draft], _about(message))
        for draft, message in rows.items()
    )
    return said


def _plain(draft: Draft) -> tuple[str, str] | None:
    """The body and its HTML; None for what names somebody, can't be said, or might not fit an event."""
    try:
        body = text.body(draft.body)
    except InvalidChat:
        return None
    if text.mentioned(body):
        return None
    html, _nobody = text.render(body, {})
    # JSON makes at most two characters of one here.
    fits = 2 * (len(body.encode()) + len(html.encode())) < _PLAIN_MOST
    return (body, html) if fits else None


def edit(user: User, room_id: int, message_id: int, body: str) -> Message:
    """Say it differently; only its author may. Raises NoSuchRoom, NoSuchMessage, NotAllowed, NotPossible or InvalidChat."""
    room = rooms.find(user, room_id)
    body = text.body(body)
    html, named = _rendered(room, body)
    with transaction.atomic():
        room = rooms.hold(room_id)
        rooms.find(user, room_id)  # as of now, as when posting
        message = _find(room, message_id)
        if message.author_id != user.pk:
            raise NotAllowed(_("Only its author may change a message."))
        if message.deleted_at is not None:
            raise NotPossible(_("The message is deleted."))
        if room.archived_at is not None:
            raise NotPossible(_("The room is archived: nothing new is said there."))
        html, named = _as_of_now(room, body, html, named)
        if (message.body, message.html) == (body, html):
            return message
        message.body, message.html, message.edited_at = body, html, timezone.now()
        message.save(update_fields=["body", "html", "edited_at"])
        before = _mentioned(message)
        Mention.objects.filter(message=message).exclude(user__in=named).delete()
        _mention(message, named)
        _tell(message, "message.updated", mentioned_before=before)
        mentions.amend(message, named)
        mentions.tell(room, message, user, named)
    return message


def delete(user: User, room_id: int, message_id: int) -> Message:
    """Leave a trace without the text: its author, the room's owner and superusers may. Deleted already is fine.

    Raises NoSuchRoom, NoSuchMessage or NotAllowed.
    """
    with transaction.atomic():
        room = rooms.hold(room_id)
        if not user.is_superuser:
            rooms.find(user, room_id)
        message = _find(room, message_id)
        if message.author_id != user.pk and not rooms.manages(user, room):
            raise NotAllowed(
                _("Only its author, the room’s owner and administrators may delete a message.")
            )
        if message.deleted_at is not None:
            return message
        message.body = message.html = ""
        message.deleted_at = timezone.now()
        message.save(update_fields=["body", "html", "deleted_at"])
        before = _mentioned(message)
        Mention.objects.filter(message=message).delete()
        redact([_about(message)], ["body", "html"])
        _tell(message, "message.deleted", mentioned_before=before)
        mentions.withdraw(message)
    return message


def items(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as the API and events have them: authors in one query, mentions in another."""
    rows = list(messages)
    authors = profiles.people({row.author_id for row in rows if row.author_id is not None})
    named: dict[int, list[int]] = {}
    for message_id, user_id in (
        Mention.objects.filter(message__in=[row.pk for row in rows])
        .order_by("user_id")
        .values_list("message_id", "user_id")
    ):
        named.setdefault(message_id, []).append(user_id)
    return [_item(row, authors, named.get(row.pk, [])) for row in rows]


def item(message: Message) -> dict[str, Any]:
    return items([message])[0]


def _item(row: Message, authors: Mapping[int, dict[str, Any]], named: list[int]) -> dict[str, Any]:
    return {
        "id": row.pk,
        "room": row.room_id,
        "author": None if row.author_id is None else authors.get(row.author_id),
        "body": row.body,
        "html": row.html,
        "mentions": named,
        "client_id": str(row.client_id),
        "at": log.rfc3339(row.created_at),
        "edited_at": None if row.edited_at is None else log.rfc3339(row.edited_at),
        "deleted": row.deleted_at is not None,
    }


def _rendered(room: Room, body: str) -> tuple[str, list[User]]:
    """The body as HTML, and whom it mentions. Raises InvalidChat."""
    readers = rooms.readers_named(room, text.mentioned(body))
    people = {name: profiles.person(reader) for name, reader in readers.items()}
    html, named = text.render(body, people)
    if len(named) > NAMED_MOST:
        detail = _("must name at most %(most)d people") % {"most": NAMED_MOST}
        raise InvalidChat("body", detail)
    return html, [readers[name] for name in sorted(named)]


def _as_of_now(room: Room, body: str, html: str, named: list[User]) -> tuple[str, list[User]]:
    """What `_rendered` made, while the room is held: somebody may have been removed since, or the room closed."""
    may_read = audience.allowed([(person.pk, topics.room(room.pk)) for person in named])
    return (html, named) if len(may_read) == len(named) else _rendered(room, body)


def _find(room: Room, message_id: int) -> Message:
    message = Message.objects.filter(room=room, pk=message_id).first()
    if message is None:
        raise NoSuchMessage
    return message


def _is_there(rows: QuerySet[Message], before: int) -> bool:
    """In order, or PostgreSQL looks for any of them through the whole table."""
    return rows.filter(pk__lt=before).order_by("-pk").values("pk").first() is not None


def _mention(message: Message, people: Iterable[User]) -> None:
    """Whoever names themself has nothing to be told."""
    Mention.objects.bulk_create(
        [
            Mention(message=message, room_id=message.room_id, user=person)
            for person in people
            if person.pk != message.author_id
        ],
        ignore_conflicts=True,
    )


def _mentioned(message: Message) -> list[int]:
    named = Mention.objects.filter(message=message).order_by("user_id")
    return list(named.values_list("user_id", flat=True))


def _tell(message: Message, event_type: str, **more: Any) -> None:
    """`more`: what whoever keeps counts needs beside the message as it is now."""
    try:
        publish(
            topics.room(message.room_id), event_type, {**item(message), **more}, _about(message)
        )
    except EventTooLarge:
        raise InvalidChat("body", _("is too long once its layout is drawn: shorten it")) from None


def _about(message: Message) -> str:
    return f"message:{message.pk}"
