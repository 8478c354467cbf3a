"""How far somebody has read: it only ever goes forward, and all their tabs hear of it."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max

from chat import rooms
from chat.mentions import MENTIONED, key_of
from chat.models import Membership, Mention, Message, Room
from events import log, publish, topics
from events.models import Event
from notifications import inbox

CREATED = "message.created"
NAMED_BEFORE: Final = 100
"""Of what somebody has read already, the newest places that name them: an edit may have done so only since."""


def read_events(user: User, room_id: int, offset: int) -> dict[str, Any]:
    """This person has seen the room's events up to this offset. Returns `{unread, mentions, read_up_to}`.

    Raises NoSuchRoom.
    """
    room = rooms.find(user, room_id)
    return _read(user, room, _last_message(room, offset))


def read_messages(user: User, room_id: int, up_to: int) -> dict[str, Any]:
    """The same by a message's id. Raises NoSuchRoom."""
    room = rooms.find(user, room_id)
    last = Message.objects.filter(room=room, pk__lte=up_to).aggregate(last=Max("pk"))["last"]
    return _read(user, room, last or 0)


def _last_message(room: Room, offset: int) -> int:
    """The last message whose event is at this offset or below.

    Ids and offsets of one room rise together, so it is the one before the first that comes later: that one's event is
    in the log however old the others are. What is newest is asked first: whoever posts in between is later. What has no
    offset yet is asked before what has: it may get one in between, and never loses it.
    """
    topic = topics.room(room.pk)
    newest = Message.objects.filter(room=room).aggregate(last=Max("pk"))["last"] or 0
    reach = log.reach([topic])[topic]
    if offset < reach.floor:
        return 0
    events = Event.objects.filter(topic=topic, type=CREATED)
    pending = events.filter(offset=None).order_by("pk").first()
    later = events.filter(offset__gt=offset).order_by("offset").first()
    ids = [
        log.from_row(("", 0, "", event.data, event.at)).data["id"]
        for event in (later, pending)
        if event
    ]
    if not ids:
        return newest
    before = Message.objects.filter(room=room, pk__lt=min(ids), pk__lte=newest)
    return before.aggregate(last=Max("pk"))["last"] or 0


def _read(user: User, room: Room, up_to: int) -> dict[str, Any]:
    with transaction.atomic():
        mine = (
            Membership.objects.select_for_update(no_key=True).filter(room=room, user=user).first()
        )
        if mine is None:  # an open room that this person only looks at
            return {"unread": 0, "mentions": 0, "read_up_to": up_to}
        before = mine.read_up_to
        if up_to > before:
            Membership.objects.filter(pk=mine.pk).update(read_up_to=up_to)
        now: Any = rooms.counted(user).get(pk=mine.pk)
        counts = {"unread": now.unread, "mentions": now.mentions, "read_up_to": now.read_up_to}
        if up_to > before:
            data = {"id": room.pk, **counts, "last_message": now.last_message}
            publish(topics.user(user.pk), "room.read", data)
    _read_mentions(user, room, before, counts["read_up_to"])
    return counts


def _read_mentions(user: User, room: Room, before: int, up_to: int) -> None:
    """Who has read where they were named has seen the notification, too."""
    named = Mention.objects.filter(user=user, room=room).order_by("-message")
    ids = named.values_list("message_id", flat=True)
    seen = {
        *ids.filter(message__gt=before, message__lte=up_to),
        *ids.filter(message__lte=before)[:NAMED_BEFORE],
    }
    inbox.mark_keys(user, MENTIONED, [key_of(pk) for pk in seen])
