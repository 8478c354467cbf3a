"""Rooms and who is in them.

Every change holds the room's row, and its event rides in the same transaction. What people lose with it they lose
live: `accounts.access` has their connections asked for anew.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import access, audience, profiles
from accounts.audience import Pair
from chat import mentions, text
from chat.errors import InvalidChat, NoSuchRoom, NotAllowed, NotPossible
from chat.models import (
    NAME_MAX,
    TOPIC_LINE_MAX,
    Involvement,
    Kind,
    Membership,
    Mention,
    Message,
    Room,
)
from events import log, publish, publish_many, topics
from events.log import LoggedEvent

MEMBERS_AT_ONCE: Final = 200
"""People that one call may invite, which keeps its transaction short."""
DIRECT_MOST: Final = 20
"""People of a direct room."""
LISTED_MEMBERS: Final = 20
"""In a list, rooms with more members than this give their number alone: an office has rooms of hundreds."""

_ERA: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = (datetime.max.replace(tzinfo=UTC) - _ERA) // timedelta(microseconds=1)


class _Kept(Enum):
    KEPT = "kept"


KEPT: Final = _Kept.KEPT
"""Stands for a part of a room that an edit leaves as it is."""
_HELD_MOST: Final = 250
"""Milliseconds that those who talk in many rooms wait for one of them."""


# --- Who may -----------------------------------------------------------------------------------------------------


def readable(pairs: Collection[Pair]) -> set[Pair]:
    """The rule for `room.<id>`: open rooms are everybody's, others their members'."""
    return _of_readers(pairs, Room.objects.filter(deleted_at=None))


def ended(pairs: Collection[Pair]) -> set[Pair]:
    """Those whose room was deleted, and whose person could read it until then; as long as its rows are there."""
    return _of_readers(pairs, Room.objects.exclude(deleted_at=None))


def narrows(event: LoggedEvent) -> bool:
    """A change that closes the room may say more of it than outsiders knew until then."""
    return event.type == "room.updated" and event.data.get("kind") != Kind.OPEN


def _of_readers(pairs: Collection[Pair], rooms: QuerySet[Room]) -> set[Pair]:
    ids = {int(topic.key) for _user, topic in pairs}
    existing = dict(rooms.filter(pk__in=ids).order_by().values_list("pk", "kind"))
    closed = {pk for pk, kind in existing.items() if kind != Kind.OPEN}
    members = set(
        Membership.objects.filter(
            room__in=closed, user__in={user_id for user_id, _topic in pairs}
        ).values_list("user_id", "room_id")
    )
    return {
        (user_id, topic)
        for user_id, topic in pairs
        if (room := int(topic.key)) in existing
        and (room not in closed or (user_id, room) in members)
    }


def readable_by(user: User) -> QuerySet[Room]:
    mine = Membership.objects.filter(room=OuterRef("pk"), user=user)
    return Room.objects.filter(Q(kind=Kind.OPEN) | Exists(mine), deleted_at=None)


def find(user: User, room_id: int) -> Room:
    """A room that this person may read. Raises NoSuchRoom."""
    room = readable_by(user).filter(pk=room_id).first()
    if room is None:
        raise NoSuchRoom
    return room


def find_managed(user: User, room_id: int) -> Room:
    """A room that this person may rename, archive, delete and invite to: its owner and superusers, who need not be in it.

    Raises NoSuchRoom, or NotAllowed to whoever may only read it.
    """
    room = Room.objects.filter(pk=room_id, deleted_at=None).first()
    if room is None:
        raise NoSuchRoom
    if not manages(user, room):
        find(user, room_id)
        raise NotAllowed(_("Only the room’s owner and administrators may do this."))
    return room


@contextmanager
def managed(user: User, room_id: int) -> Iterator[Room]:
    """Such a room, locked until the transaction ends: whoever hands it over meanwhile has to wait.

    Raises as `find_managed`.
    """
    with transaction.atomic():
        hold(room_id)
        yield find_managed(user, room_id)


def manages(user: User, room: Room) -> bool:
    return user.is_superuser or (room.owner_id is not None and room.owner_id == user.pk)


def readers_named(room: Room, usernames: Collection[str]) -> dict[str, User]:
    """Those of the accounts, by username, that may read the room."""
    people = get_user_model()._default_manager.filter(username__in=usernames)
    by_id = {user.pk: user for user in people.select_related("hub_profile")}
    allowed = audience.allowed([(user_id, topics.room(room.pk)) for user_id in by_id])
    return {by_id[user_id].username: by_id[user_id] for user_id, _topic in allowed}


# --- What people see ---------------------------------------------------------------------------------------------


def to_join(user: User) -> QuerySet[Room]:
    """Open rooms this person is not in."""
    mine = Membership.objects.filter(room=OuterRef("pk"), user=user)
    return Room.objects.filter(~Exists(mine), kind=Kind.OPEN, deleted_at=None, archived_at=None)


def page(
    user: User, *, joined: bool | None = None, limit: int, before: str = ""
) -> tuple[list[Room], str | None]:
    """What this person may read, as `newest_first` has it."""
    mine = Membership.objects.filter(user=user).values("room")
    rows = Room.objects.filter(deleted_at=None)
    if joined is None:  # by two indexes, where `readable_by` asks of each room there is
        rows = rows.filter(pk__in=rows.filter(kind=Kind.OPEN).values("pk").union(mine))
    elif joined:
        rows = rows.filter(pk__in=mine)
    else:
        rows = rows.filter(kind=Kind.OPEN).exclude(pk__in=mine)
    return newest_first(rows, limit, before)


def newest_first(
    rows: QuerySet[Room], limit: int, before: str = ""
) -> tuple[list[Room], str | None]:
    """Those where something was said last, or that were made last, and the `before` of the following page.

    `before` reads `<microseconds since 1970>-<room id>`: a room that moves up meanwhile is in no page twice.
    """
    if before:
        moment, pk = map(int, before.split("-"))
        at = _ERA + timedelta(microseconds=min(moment, _LATEST))
        rows = rows.filter(Q(active_at__lt=at) | Q(active_at=at, pk__lt=pk))
    found = list(rows.order_by("-active_at", "-pk")[: limit + 1])
    shown = found[:limit]
    if len(found) == len(shown):
        return shown, None
    return shown, f"{(shown[-1].active_at - _ERA) // timedelta(microseconds=1)}-{shown[-1].pk}"


def items(rooms: Iterable[Room], user: User) -> list[dict[str, Any]]:
    """Rooms as this person sees them, whole; a fixed number of queries, however many there are."""
    rows = list(rooms)
    return _items(rows, user, whose=rows)


def listed(rooms: Iterable[Room], user: User) -> list[dict[str, Any]]:
    """The same for a list: how many members each room has; who they are only where they are few, else None."""
    rows = list(rooms)
    members = Membership.objects.filter(room__in=[room.pk for room in rows])
    by_room = members.order_by().values("room").annotate(count=Count("pk"))
    counts = dict(by_room.values_list("room", "count"))
    few = [room for room in rows if counts.get(room.pk, 0) <= LISTED_MEMBERS]
    named = {room.pk for room in few}
    return [
        {
            **each,
            "members": each["members"] if each["id"] in named else None,
            "member_count": counts.get(each["id"], 0),
        }
        for each in _items(rows, user, whose=few)
    ]


def _items(rows: list[Room], user: User, whose: list[Room]) -> list[dict[str, Any]]:
    """`whose`: those whose members are looked up."""
    ids = [room.pk for room in rows]
    members: dict[int, list[int]] = defaultdict(list)
    for room_id, user_id in (
        Membership.objects.filter(room__in=[room.pk for room in whose])
        .order_by("joined_at", "pk")
        .values_list("room_id", "user_id")
    ):
        members[room_id].append(user_id)
    owners = {room.owner_id for room in rows if room.owner_id is not None}
    people = profiles.people(owners.union(*members.values()))
    mine = {row.room_id: row for row in counted(user).filter(room__in=ids)}
    return [
        {
            **public(room, people),
            "active_at": log.rfc3339(room.active_at),
            "members": [people[user_id] for user_id in members[room.pk] if user_id in people],
            **_personal(mine.get(room.pk)),
        }
        for room in rows
    ]


def item(room: Room, user: User) -> dict[str, Any]:
    return items([room], user)[0]


def public(room: Room, people: Mapping[int, dict[str, Any]] | None = None) -> dict[str, Any]:
    """What a room is for all its readers alike: the data of `room.updated`."""
    if people is None:
        people = profiles.people([] if room.owner_id is None else [room.owner_id])
    return {
        "id": room.pk,
        "kind": room.kind,
        "name": room.name,
        "topic_line": room.topic_line,
        "owner": None if room.owner_id is None else people.get(room.owner_id),
        "archived": room.archived_at is not None,
        "last_message": room.last_message,
        "at": log.rfc3339(room.created_at),
    }


def counted(user: User) -> QuerySet[Membership]:
    """This person's memberships, each with `unread` and `mentions`: always counted, so that nothing can drift.

    `last_message` is the room's newest as of the same moment: events of messages above it are not in the counts yet.
    """
    after = {"room": OuterRef("room"), "pk__gt": OuterRef("read_up_to"), "deleted_at": None}
    unread = Message.objects.filter(**after).exclude(author=user).order_by().values("room")
    naming = Mention.objects.filter(
        user=user, room=OuterRef("room"), message__gt=OuterRef("read_up_to")
    )
    mentioned = naming.order_by().values("room")
    return Membership.objects.filter(user=user).annotate(
        last_message=F("room__last_message"),
        unread=Coalesce(Subquery(unread.annotate(n=Count("pk")).values("n")), 0),
        mentions=Coalesce(Subquery(mentioned.annotate(n=Count("pk")).values("n")), 0),
    )


def totals(user: User) -> dict[str, int]:
    """`{unread, mentions}` over all rooms that this person did not mute."""
    heard = counted(user).exclude(involvement=Involvement.NOTHING).filter(room__deleted_at=None)
    sums = heard.aggregate(all_unread=Sum("unread"), all_mentions=Sum("mentions"))
    return {"unread": sums["all_unread"] or 0, "mentions": sums["all_mentions"] or 0}


def _personal(mine: Any) -> dict[str, Any]:
    if mine is None:
        return {"joined": False, "involvement": None, "read_up_to": 0, "unread": 0, "mentions": 0}
    return {
        "joined": True,
        "involvement": mine.involvement,
        "read_up_to": mine.read_up_to,
        "unread": mine.unread,
        "mentions": mine.mentions,
        "last_message": mine.last_message,
    }


# --- Rooms -------------------------------------------------------------------------------------------------------


def create(
    owner: User, kind: str, name: str, topic_line: str = "", members: Sequence[User] = ()
) -> Room:
    """An open or closed room. Raises InvalidChat."""
    if kind not in {Kind.OPEN, Kind.CLOSED}:
        raise InvalidChat("kind", _("must be open, closed or direct"))
    _few(members, MEMBERS_AT_ONCE)
    with transaction.atomic():
        room = Room.objects.create(
            kind=kind, name=_name(name), topic_line=_topic_line(topic_line), owner=owner, **_now()
        )
        _add(room, _unique([owner, *members]), by=owner)
        if kind == Kind.OPEN:
            publish(topics.DASHBOARD, "room.created", public(room))
    return room


def _now() -> dict[str, datetime]:
    now = timezone.now()
    return {"created_at": now, "active_at": now}


def direct(user: User, others: Sequence[User]) -> tuple[Room, bool]:
    """The one direct room of these people, and whether it is new. Raises InvalidChat."""
    people = _unique([user, *others])
    if len(people) < 2:
        raise InvalidChat("members", _("must name somebody else"))
    _few(people, DIRECT_MOST)
    key = _people_key(person.pk for person in people)
    with transaction.atomic():
        new = {"kind": Kind.DIRECT, **_now()}
        room, is_new = Room.objects.get_or_create(people_key=key, defaults=new)
        if is_new:
            _add(room, people, by=user)
    return room, is_new


def edit(
    room: Room,
    by: User,
    *,
    name: str | _Kept = KEPT,
    topic_line: str | _Kept = KEPT,
    kind: str | _Kept = KEPT,
    archived: bool | _Kept = KEPT,
    owner: User | _Kept = KEPT,
) -> Room:
    """Change what is given; who may is for the caller to ask. Raises InvalidChat, NotPossible or NoSuchRoom."""
    with _held(room) as row:
        before = public(row)
        if row.kind == Kind.DIRECT:
            raise NotPossible(_("A direct room stays as it is."))
        if name is not KEPT:
            row.name = _name(name)
        if topic_line is not KEPT:
            row.topic_line = _topic_line(topic_line)
        if kind is not KEPT and kind != row.kind:
            if kind not in {Kind.OPEN, Kind.CLOSED}:
                raise InvalidChat("kind", _("must be open or closed"))
            row.kind = kind
        if archived is not KEPT and archived != (row.archived_at is not None):
            row.archived_at = timezone.now() if archived else None
        if owner is not KEPT:
            is_member = Membership.objects.filter(room=row, user=owner).exists()
            if not is_member or not audience.is_staff_of_hub(owner):
                raise InvalidChat("owner", _("must be an active member of the room"))
            row.owner = owner
        if public(row) != before:
            row.save()
            publish(topics.room(row.pk), "room.updated", public(row))
            if row.kind != before["kind"] == Kind.OPEN:
                access.changed(topics=[topics.room(row.pk)])
    return row


def delete(room: Room) -> None:
    """For good. Gone already is fine; the rows go an hour later, bit by bit (`chat.pruning`).

    What its mentions told goes at once, right after the commit.
    """
    try:
        with _held(room) as row:
            row.deleted_at = timezone.now()
            row.people_key = None  # the same people may begin another
            row.save(update_fields=["deleted_at", "people_key"])
            members = list(Membership.objects.filter(room=row).values_list("user_id", flat=True))
            publish(topics.room(row.pk), "room.deleted", {"id": row.pk})
            publish_many((topics.user(pk), "room.removed", {"id": row.pk}) for pk in members)
            access.changed(topics=[topics.room(row.pk)])
            mentions.withdraw_all(row.pk)
    except NoSuchRoom:
        return


# --- Who is in ---------------------------------------------------------------------------------------------------


def join(room: Room, user: User) -> None:
    """Come into an open room; being there already is fine. Raises NoSuchRoom or NotPossible."""
    with _held(room) as row:
        if row.kind != Kind.OPEN:
            _must_be_in(row, user)
        _add(row, [user], by=user)


def invite(room: Room, people: Sequence[User], by: User) -> None:
    """Who is in already is left alone. Who may invite is for the caller to ask. Raises NotPossible or InvalidChat."""
    _few(people, MEMBERS_AT_ONCE)
    with _held(room) as row:
        if row.kind == Kind.DIRECT:
            raise NotPossible(_("Nobody joins a direct room: begin another one with these people."))
        _add(row, _unique(people), by=by)


def remove(room: Room, user: User, by: User) -> None:
    """Take somebody out, or leave oneself. Who may is for the caller to ask; who is not in is none.

    An owner who leaves is followed by their `heir`. Raises NotPossible.
    """
    with _held(room) as row:
        if row.kind == Kind.DIRECT:
            raise NotPossible(_("Nobody leaves a direct room; you can mute it."))
        if not Membership.objects.filter(room=row, user=user).delete()[0]:
            return
        data = {"room": row.pk, "user": profiles.person(user), "by": profiles.person(by)}
        publish_many(
            [
                (topics.room(row.pk), "member.left", data),
                (topics.user(user.pk), "room.removed", {"id": row.pk}),
            ]
        )
        if row.owner_id == user.pk:
            row.owner = heir(row, user)
            row.save(update_fields=["owner"])
            publish(topics.room(row.pk), "room.updated", public(row))
        if row.kind != Kind.OPEN:
            access.changed(users=[user.pk])


def involve(room: Room, user: User, involvement: str) -> None:
    """What this member is told of the room. Raises NoSuchRoom for one who is none, or InvalidChat."""
    if involvement not in Involvement.values:
        raise InvalidChat("involvement", _("must be everything, mentions or nothing"))
    with transaction.atomic():
        mine = Membership.objects.filter(room=room, user=user)
        if not mine.exclude(involvement=involvement).update(involvement=involvement):
            if not mine.exists():
                raise NoSuchRoom
            return
        publish(topics.user(user.pk), "room.involved", {"id": room.pk, "involvement": involvement})


@contextmanager
def _held(room: Room) -> Iterator[Room]:
    """The room's row, locked until the transaction ends. Raises NoSuchRoom when it is deleted meanwhile."""
    with transaction.atomic():
        yield hold(room.pk)


def hold(room_id: int) -> Room:
    """Lock the room's row until the caller's transaction ends. Raises NoSuchRoom."""
    row = Room.objects.select_for_update(no_key=True).filter(pk=room_id, deleted_at=None).first()
    if row is None:
        raise NoSuchRoom
    return row


def hold_in_use(room_ids: Collection[int]) -> set[int]:
    """`hold` for many: those that are there, and not archived. In one order, so that nobody waits in a circle.

    On PostgreSQL nobody waits long for one that somebody else holds, from here to the transaction's end: raises
    OperationalError.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {_HELD_MOST}")
    rows = Room.objects.select_for_update(no_key=True).order_by("pk")
    held = rows.filter(pk__in=room_ids, deleted_at=None, archived_at=None)
    return set(held.values_list("pk", flat=True))


def spoken_in(newest: Collection[int]) -> None:
    """These messages are the newest of their rooms, which the caller holds."""
    if not newest:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE hub_chat_room SET last_message = newest.id, active_at = newest.created_at
            FROM hub_chat_message AS newest
            WHERE newest.id IN ({", ".join(["%s"] * len(newest))})
                AND hub_chat_room.id = newest.room_id
            """,  # noqa: S608 - ids are bound, the rest is constant
            list(newest),
        )


def heir(room: Room, leaving: User) -> User | None:
    """Who has the room once this owner leaves: of the staff in it, whoever has been in for longest."""
    others = Membership.objects.filter(room=room).exclude(user=leaving)
    rows = others.select_related("user__hub_profile").order_by("joined_at", "pk").iterator()
    return next((row.user for row in rows if audience.is_staff_of_hub(row.user)), None)


def add(room: Room, user: User) -> None:
    """Whoever posts in an open room is in; the caller holds the room."""
    _add(room, [user], by=user)


def _add(room: Room, people: Sequence[User], by: User) -> None:
    """Those who are not in yet. They have read what was said before they came. Raises NotPossible."""
    having = set(
        Membership.objects.filter(room=room, user__in=people).values_list("user_id", flat=True)
    )
    coming = [person for person in people if person.pk not in having]
    if not coming:
        return
    _not_archived(room)
    told = Involvement.EVERYTHING if room.kind == Kind.DIRECT else Involvement.MENTIONS
    Membership.objects.bulk_create(
        [
            Membership(room=room, user=person, involvement=told, read_up_to=room.last_message)
            for person in coming
        ]
    )
    named = profiles.people([by.pk, *(person.pk for person in coming)])
    publish_many(
        (
            topics.room(room.pk),
            "member.joined",
            {"room": room.pk, "user": named[person.pk], "by": named[by.pk]},
        )
        for person in coming
    )
    publish_many(
        (topics.user(person.pk), "room.added", {"id": room.pk, "by": named[by.pk]})
        for person in coming
    )


def _must_be_in(room: Room, user: User) -> None:
    if not Membership.objects.filter(room=room, user=user).exists():
        raise NoSuchRoom


def _not_archived(room: Room) -> None:
    if room.archived_at is not None:
        raise NotPossible(_("The room is archived."))


def _few(people: Sequence[User], most: int) -> None:
    if len(people) > most:
        raise InvalidChat("members", _("must be at most %(most)d people") % {"most": most})


def _unique(people: Iterable[User]) -> list[User]:
    return list({person.pk: person for person in people}.values())


def _people_key(ids: Iterable[int]) -> str:
    joined = ",".join(map(str, sorted(set(ids))))
    return hashlib.sha256(joined.encode()).hexdigest()


def _name(value: str) -> str:
    return text.line("name", value, NAME_MAX)


def _topic_line(value: str) -> str:
    return text.line("topic_line", value, TOPIC_LINE_MAX, blank=True)
