"""What people are told of where a message names them, and taking it back."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import audience, profiles
from chat import text
from chat.models import Involvement, Kind, Membership, Mention, Message, Room
from events import topics
from notifications import notify, notifying
from notifications import withdraw as withdraw_notification
from tasks import notices, sentences

MENTIONED: Final = "room.mention"
"""The kind of the notification that a mention makes."""
_KEY: Final = "mention:"
_EXCERPT: Final = 200
"""Characters of the message that its notifications quote."""
_IN_ROOM: Final = gettext_noop("%(who)s mentioned you in %(room)s")
_IN_DIRECT: Final = gettext_noop("%(who)s mentioned you")
_BITE: Final = 100
"""Each may have a notification, which is taken back with an event and with what the log has of it."""
AT_ONCE: Final = 1000
"""Of those of a deleted room, as many are taken back before who deleted it is answered."""


def tell(room: Room, message: Message, author: User, named: Iterable[User]) -> None:
    """Who muted the room is not told; who was told of this message and still is named isn't again."""
    muted = Membership.objects.filter(room=room, involvement=Involvement.NOTHING)
    quiet = set(muted.values_list("user_id", flat=True))
    told = [person for person in named if person.pk != author.pk and person.pk not in quiet]
    speaking: dict[str, list[User]] = defaultdict(list)
    for person in told:
        speaking[notices.language_of(person)].append(person)
    for language, people in speaking.items():
        with translation.override(language):
            title = _title(room, author)
        notify(
            to=people,
            kind=MENTIONED,
            title=text.excerpt(title, 200),
            body=text.excerpt(message.body, _EXCERPT),
            url=f"/rooms/{room.pk}/at/{message.pk}/",
            actor=author,
            key=key_of(message.pk),
        )


def amend(message: Message, named: Iterable[User]) -> None:
    """It says something else now, and names these."""
    notifying.amend(
        actor_id=message.author_id,
        kind=MENTIONED,
        key=key_of(message.pk),
        body=text.excerpt(message.body, _EXCERPT),
        people={person.pk for person in named},
    )


def withdraw(message: Message) -> None:
    withdraw_notification(actor_id=message.author_id, kind=MENTIONED, key=key_of(message.pk))


def withdraw_all(room_id: int) -> None:
    """Take back what a deleted room's mentions told, in transactions of our own once the caller's has committed.

    What is more than `AT_ONCE`, or left by a process that died, `take_back_left_behind` finds.
    """
    transaction.on_commit(lambda: take_back(room_id, AT_ONCE), robust=True)


def take_back_left_behind() -> int:
    """Of all deleted rooms. Returns how many mentions went."""
    deleted = Room.objects.exclude(deleted_at=None).filter(pk__in=Mention.objects.values("room"))
    return sum(take_back(pk) for pk in deleted.order_by("pk").values_list("pk", flat=True))


def take_back(room_id: int, most: int | None = None) -> int:
    """A deleted room's mentions, with what the people named were told of them: from inboxes, letters and the log.

    In bites of a short transaction each. Returns how many went.
    """
    gone = 0
    while most is None or gone < most:
        with transaction.atomic():
            found = Mention.objects.select_for_update().filter(room=room_id).order_by("pk")
            bite = list(found.values_list("pk", "user_id", "message_id")[:_BITE])
            told = {(user_id, key_of(message_id)) for _, user_id, message_id in bite}
            notifying.take_back(MENTIONED, told)
            Mention.objects.filter(pk__in=[pk for pk, _, _ in bite]).delete()
        gone += len(bite)
        if len(bite) < _BITE:
            break
    return gone


def standing(told: Collection[tuple[int, str]]) -> dict[tuple[int, str], bool]:
    """The rule of `MENTIONED`: who is still named, still reads the room, and whether they have read the message.

    An edit that names somebody in what they have read is news to them, so there they have not.
    """
    keys = {key_of(pk): pk for _, key in told if (pk := _id_in(key)) is not None}
    named = Mention.objects.filter(
        message__in=keys.values(), user__in={user_id for user_id, _ in told}
    ).values_list("user_id", "message_id", "room_id", "message__edited_at")
    places = {(user_id, key_of(pk)): (pk, room_id, at) for user_id, pk, room_id, at in named}
    asked = {pair: places[pair] for pair in told if pair in places}
    readers = audience.allowed(
        [(user_id, topics.room(room_id)) for (user_id, _), (_, room_id, _) in asked.items()]
    )
    read: dict[tuple[int, int], int] = {
        (user_id, room_id): up_to
        for user_id, room_id, up_to in Membership.objects.filter(
            user__in={user_id for user_id, _ in asked},
            room__in={room_id for _, room_id, _ in asked.values()},
        ).values_list("user_id", "room_id", "read_up_to")
    }
    return {
        (user_id, key): edited_at is None and pk <= read.get((user_id, room_id), 0)
        for (user_id, key), (pk, room_id, edited_at) in asked.items()
        if (user_id, topics.room(room_id)) in readers
    }


def translated(title: str) -> str:
    """The title of such a notification in the present language, whichever it was stored in."""
    for known, pattern in _patterns():
        if found := pattern.fullmatch(title):
            return _(known) % found.groupdict()
    return title


def key_of(message_id: int) -> str:
    """What the notifications of those named in this message have as their key."""
    return f"{_KEY}{message_id}"


def _id_in(key: str) -> int | None:
    number = key.removeprefix(_KEY)
    return int(number) if number.isdecimal() and len(number) < 19 else None


def _title(room: Room, author: User) -> str:
    who = profiles.display_name(author)
    if room.kind == Kind.DIRECT:
        return _(_IN_DIRECT) % {"who": who}
    return _(_IN_ROOM) % {"who": who, "room": room.name}


@cache
def _patterns() -> Sequence[tuple[str, re.Pattern[str]]]:
    """That of a room's first: in each language the other one may fit it, too."""
    found = []
    for known in (_IN_ROOM, _IN_DIRECT):
        for language, _name in settings.LANGUAGES:
            with translation.override(language):
                found.append((known, sentences.pattern(_(known))))
    return found
