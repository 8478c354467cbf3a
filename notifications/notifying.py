"""The one way into inboxes: one row per person, one event each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeVar

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, User
from django.core.exceptions import EmptyResultSet
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audience, profiles
from events import publish_many, topics
from notifications import content, inbox
from notifications.errors import InvalidNotification
from notifications.models import Inbox, Level, Notification

T = TypeVar("T")

PEOPLE_PER_TRANSACTION: Final = 300  # some 60 ms of write lock on SQLite


class _Everyone(Enum):
    EVERYONE = "everyone"


EVERYONE: Final = _Everyone.EVERYONE

People = (
    _Everyone
    | User
    | Group
    | int
    | QuerySet[User]
    | QuerySet[Group]
    | Iterable["User | Group | int"]
)
"""Whom to tell: a person or a team, many of them, persons also by id, or EVERYONE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A notification that is known to be valid and has no recipient yet."""

    kind: str
    title: str
    body: str
    url: str
    level: str
    actor_id: int | None
    key: str | None
    at: datetime


def notify(
    *,
    to: People,
    kind: str,
    title: str,
    body: str = "",
    url: str = "",
    level: str = Level.INFO,
    actor: User | None = None,
    key: str | None = None,
) -> int:
    """Put one notification into the inbox of each of these people who is active staff. Returns how many are new.

    With a `key` whoever already has a notification with that key gets no second one. Inside a transaction all of it
    belongs to that transaction; outside, many people are told in several short ones, and a key makes it safe to
    repeat after a failure. Raises InvalidNotification, which names the field, before anything is stored.
    """
    valid = draft(kind=kind, title=title, body=body, url=url, level=level, actor=actor, key=key)
    return deliver([(valid, to)])


def draft(
    *,
    kind: str,
    title: str,
    body: str = "",
    url: str = "",
    level: str = Level.INFO,
    actor: User | None = None,
    key: str | None = None,
) -> Draft:
    """Check the parts of a notification. Raises InvalidNotification."""
    return Draft(
        kind=content.kind(kind, InvalidNotification),
        title=content.title(title, InvalidNotification),
        body=content.body(body, InvalidNotification),
        url=content.url(url, InvalidNotification),
        level=content.level(level, InvalidNotification),
        actor_id=None if actor is None else actor.pk,
        key=None if key is None else content.key(key, InvalidNotification),
        at=timezone.now(),
    )


def deliver(letters: Iterable[tuple[Draft, People]]) -> int:
    """Tell many people many things; the queries depend on the number of rows, not of drafts. Returns how many are new."""
    drafts: list[Draft] = []
    wanted: list[tuple[int, int]] = []  # person, place of the draft; stored in this order
    members: dict[Any, set[int]] = {}  # asked once, however many letters go to the same people
    for each, to in letters:
        same = _same(to)
        if same is None or same not in members:
            members[same] = person_ids(to)
        ids = members[same]
        wanted.extend((person, len(drafts)) for person in ids)
        drafts.append(each)
    staff = staff_among({person for person, _ in wanted})
    _open_inboxes(staff)
    pairs = sorted(pair for pair in wanted if pair[0] in staff)
    actors = profiles.people({each.actor_id for each in drafts if each.actor_id is not None})
    return sum(_store(chunk, drafts, actors) for chunk in _chunks(pairs))


def _same(to: People) -> Any:
    """Equal for those that a look-up finds the same people for; None: look again."""
    if isinstance(to, (Group, _Everyone)):
        return to
    if not isinstance(to, QuerySet):
        return None
    try:
        sql, values = to.query.sql_with_params()
    except EmptyResultSet:
        return to.model, ""
    return to.model, to.db, sql, repr(values)


def person_ids(to: People) -> set[int]:
    """The ids of these people, whether or not they are staff or exist."""
    people = get_user_model()._default_manager
    if to is EVERYONE:
        return set(people.filter(is_active=True).values_list("pk", flat=True))
    if isinstance(to, QuerySet):
        chosen = to.values_list("pk", flat=True)
        if issubclass(to.model, Group):
            chosen = people.filter(groups__in=chosen).values_list("pk", flat=True)
        return set(chosen)
    if isinstance(to, (int, Group)) or not isinstance(to, Iterable):
        to = [to]
    ids: set[int] = set()
    teams: set[int] = set()
    for one in to:
        if isinstance(one, Group):
            teams.add(one.pk)
        elif isinstance(one, int) and not isinstance(one, bool):
            ids.add(one)
        elif isinstance(one, get_user_model()):
            ids.add(one.pk)
        else:
            raise InvalidNotification("to", "must be users, ids of users, teams, or EVERYONE")
    if teams:
        ids.update(people.filter(groups__in=teams).values_list("pk", flat=True))
    return ids


def staff_among(ids: Collection[int]) -> set[int]:
    """Those of the people who can be told: active staff of the hub."""
    found: set[int] = set()
    for chunk in _chunks(sorted(ids)):
        pairs = audience.allowed([(person, topics.user(person)) for person in chunk])
        found.update(person for person, _ in pairs)
    return found


def _open_inboxes(people: Collection[int]) -> None:
    """All rows are there before the first is locked: made between locks, two large calls could wait for each other."""
    for chunk in _chunks(sorted(people)):
        having = Inbox.objects.filter(pk__in=chunk).values_list("pk", flat=True)
        missing = sorted(set(chunk).difference(having))
        if missing:
            Inbox.objects.bulk_create([Inbox(pk=pk) for pk in missing], ignore_conflicts=True)


def _store(
    pairs: Sequence[tuple[int, int]], drafts: Sequence[Draft], actors: dict[int, dict[str, Any]]
) -> int:
    with transaction.atomic():
        unread = inbox.lock(person for person, _ in pairs)
        taken = _taken(pairs, drafts)
        rows: list[Notification] = []
        for person, index in pairs:
            if person not in unread:
                continue  # deleted since
            one = drafts[index]
            if one.key is not None:
                if (person, one.key) in taken:
                    continue
                taken.add((person, one.key))
            rows.append(_row(person, one))
        Notification.objects.bulk_create(rows)
        before = dict(unread)
        events = []
        for row in rows:
            unread[row.recipient_id] += 1
            data = {**inbox.item(row, actors), "unread": unread[row.recipient_id]}
            events.append((topics.user(row.recipient_id), "notification.created", data))
        inbox.add_to_unread({person: count - before[person] for person, count in unread.items()})
        publish_many(events)
    return len(rows)


def _taken(pairs: Sequence[tuple[int, int]], drafts: Sequence[Draft]) -> set[tuple[int, str]]:
    """Which of these people have which of these keys. Asked under their locks, so that nobody adds one meanwhile."""
    keys = {key for _, index in pairs if (key := drafts[index].key) is not None}
    if not keys:
        return set()
    rows = Notification.objects.filter(
        recipient__in={person for person, _ in pairs}, key__in=keys
    ).values_list("recipient_id", "key")
    return {(person, key) for person, key in rows if key is not None}


def _row(person: int, one: Draft) -> Notification:
    return Notification(
        recipient_id=person,
        kind=one.kind,
        title=one.title,
        body=one.body,
        url=one.url,
        level=one.level,
        actor_id=one.actor_id,
        key=one.key,
        created_at=one.at,
    )


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), PEOPLE_PER_TRANSACTION):
        yield values[start : start + PEOPLE_PER_TRANSACTION]
