"""The one way into inboxes: one row per person, one event each.

Whoever changes an inbox holds its row until the transaction ends. So nothing of it is done in a transaction of the
caller's, which may be long, or tell the same people in another order than its neighbour: there the letters are put
down, and they are delivered right after the commit, in short transactions of our own. What a process leaves undelivered
that dies between the two, `deliver_left_behind` finds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeVar

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, User
from django.core.exceptions import EmptyResultSet
from django.db import OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audience, profiles
from events import publish_many, redact, topics
from notifications import content, inbox
from notifications.errors import InvalidNotification
from notifications.models import Inbox, Letter, Level, Notification

logger = logging.getLogger(__name__)

T = TypeVar("T")

PEOPLE_PER_TRANSACTION: Final = 300  # some 60 ms of write lock on SQLite
LETTERS_PER_LOOK: Final = 1000


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


Told = tuple[int, str]
"""A person's id, and the key of what they are told."""
Rule = Callable[[Collection[Told]], Mapping[Told, bool]]

_rules: dict[str, Rule] = {}


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


def register(kind: str, rule: Rule) -> None:
    """Have `rule` asked once more what still stands, right before notifications of this kind are stored.

    That may be long after `notify`. It gets those that have a key, many at once, while their inboxes are held, and returns
    those that still stand, each with whether its person has seen already what it tells of: then it is stored as read.
    """
    _rules[kind] = rule


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

    With a `key` whoever already has a notification with that key gets no second one. Inside a transaction they get it
    when, and only if, that commits, and what is returned is how many would be new by now; outside, at once, many people in
    several short transactions, and a key makes it safe to repeat after a failure. Raises InvalidNotification, which names
    the field, before anything is stored.
    """
    valid = draft(kind=kind, title=title, body=body, url=url, level=level, actor=actor, key=key)
    return deliver([(valid, to)])


def withdraw(*, actor_id: int | None, kind: str, key: str) -> int:
    """Take a notification of this actor's back from everybody: from inboxes, from those it is on its way to, and its
    text from the log. Part of the caller's transaction. Returns how many people had it.
    """
    return amend(actor_id=actor_id, kind=kind, key=key, body="", people=())


def amend(*, actor_id: int | None, kind: str, key: str, body: str, people: Collection[int]) -> int:
    """Give a notification of this actor's another text for these people, and take it back from everybody else.

    Its old text goes from the log, too. Nobody is told of the new one: it is seen when the inbox is read the next time.
    Part of the caller's transaction. Returns how many people it was taken back from.
    """
    with transaction.atomic():
        # Letters first: whoever delivers one holds it, and what comes of it is there to be found then.
        for letter in Letter.objects.select_for_update().filter(kind=kind, key=key).order_by("pk"):
            letter.body = body
            _leave_out(letter, {person for person in letter.people if person not in people})
        # Their actor has an index, their key alone has none.
        told = Notification.objects.filter(actor=actor_id, kind=kind, key=key)
        changed = [
            (person, pk, person in people)
            for person, pk, said in told.order_by("pk").values_list("recipient_id", "pk", "body")
            if person not in people or said != body
        ]
        redact([_about(pk) for _, pk, _ in changed], ["body"])
        told.filter(pk__in=[pk for _, pk, kept in changed if kept]).update(body=body)
        return inbox.remove((person, pk) for person, pk, kept in changed if not kept)


def take_back(kind: str, told: Set[Told]) -> int:
    """Take what these people have of a kind under these keys back, as `withdraw` does; many keys in one transaction.

    Returns how many there were.
    """
    with transaction.atomic():
        letters = Letter.objects.select_for_update().filter(
            kind=kind, key__in={key for _, key in told}
        )
        for letter in letters.order_by("pk"):  # first, as in `amend`
            _leave_out(letter, [pk for pk in letter.people if (pk, letter.key) in told])
        rows = Notification.objects.filter(
            recipient__in={person for person, _ in told},
            kind=kind,
            key__in={key for _, key in told},
        ).values_list("recipient_id", "key", "pk")
        found = [(person, pk) for person, key, pk in rows if (person, str(key)) in told]
        redact([_about(pk) for _, pk in found], ["body"])
        return inbox.remove(found)


def _leave_out(letter: Letter, people: Collection[int]) -> None:
    letter.people = [person for person in letter.people if person not in people]
    if letter.people:
        letter.save(update_fields=["people", "body"])
    else:
        letter.delete()


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
    pairs = sorted(pair for pair in wanted if pair[0] in staff)
    if _is_in_transaction():
        return _post(pairs, drafts)
    _open_inboxes(staff)
    actors = _actors(drafts)
    return sum(_store(chunk, drafts, actors) for chunk in _chunks(pairs))


def deliver_left_behind() -> int:
    """Deliver letters whose own process died between its commit and their delivery. Returns how many."""
    delivered = 0
    last = 0
    while True:
        keys = Letter.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)
        some = list(keys[:LETTERS_PER_LOOK])
        if not some:
            return delivered
        delivered += _deliver_posted(some)
        last = some[-1]


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
        standing = _standing(pairs, drafts)
        rows: list[Notification] = []
        for person, index in pairs:
            if person not in unread:
                continue  # deleted since
            one = drafts[index]
            seen = False
            if one.key is not None:
                told = (person, one.key)
                if told in taken or (one.kind in _rules and told not in standing):
                    continue
                taken.add(told)
                seen = standing.get(told, False)
            rows.append(_row(person, one, actors, seen=seen))
        Notification.objects.bulk_create(rows)
        before = dict(unread)
        events = []
        for row in rows:
            unread[row.recipient_id] += row.read_at is None
            data = {**inbox.item(row, actors), "unread": unread[row.recipient_id]}
            topic = topics.user(row.recipient_id)
            events.append((topic, "notification.created", data, _about(row.pk)))
        inbox.add_to_unread({person: count - before[person] for person, count in unread.items()})
        publish_many(events)
    return len(rows)


def _is_in_transaction() -> bool:
    """Of the caller's: the one around a test of Django's `TestCase` never commits, and `atomic(durable=True)` too looks past it."""
    blocks: list[Any] = transaction.get_connection().atomic_blocks
    return not all(block._from_testcase for block in blocks)


def _post(pairs: Sequence[tuple[int, int]], drafts: Sequence[Draft]) -> int:
    """Put the letters down in the caller's transaction, to be delivered when it has committed."""
    taken = set(_posted(drafts))
    for chunk in _chunks(pairs):
        taken.update(_taken(chunk, drafts))
    people: dict[int, list[int]] = {}
    for person, index in pairs:
        key = drafts[index].key
        if key is not None:
            if (person, key) in taken:
                continue
            taken.add((person, key))
        people.setdefault(index, []).append(person)
    letters = [
        Letter(people=list(chunk), **_columns(drafts[index]))
        for index in sorted(people)
        for chunk in _chunks(people[index])
    ]
    if letters:
        with transaction.atomic():
            Letter.objects.bulk_create(letters)
            _deliver_on_commit([letter.pk for letter in letters])
    return sum(map(len, people.values()))


def _posted(drafts: Sequence[Draft]) -> Iterator[tuple[int, str]]:
    """Who is going to have which of these keys: this transaction's own letters, and others on their way."""
    keys = {draft.key for draft in drafts if draft.key is not None}
    if keys:
        for key, people in Letter.objects.filter(key__in=keys).values_list("key", "people"):
            yield from ((person, str(key)) for person in people)


def _deliver_on_commit(keys: Sequence[int]) -> None:
    """However often a transaction posts, the first hook to run delivers all.

    Keys that were left by a transaction that rolled back find no letter.
    """
    connection = transaction.get_connection()
    waiting: list[int] = connection.__dict__.setdefault("_hub_posted", [])
    waiting.extend(keys)
    transaction.on_commit(_deliver_waiting, robust=True)


def _deliver_waiting() -> None:
    waiting: list[int] = transaction.get_connection().__dict__.get("_hub_posted", [])
    keys = sorted(waiting)
    waiting.clear()
    _deliver_posted(keys)


def _deliver_posted(keys: Sequence[int]) -> int:
    """Deliver these letters, as many at once as fit a short transaction. Returns how many were there."""
    delivered = 0
    for start in range(0, len(keys), LETTERS_PER_LOOK):
        chunk = keys[start : start + LETTERS_PER_LOOK]
        sizes = [
            (pk, len(people))
            for pk, people in Letter.objects.filter(pk__in=chunk)
            .order_by("pk")
            .values_list("pk", "people")
        ]
        for batch in _batches(sizes):
            try:
                delivered += _hand_over(batch)
            except OperationalError:
                raise  # nobody's letter in particular; they are looked for again
            except Exception:  # one that can't be delivered must not keep the others
                logger.exception("Delivering %d letters at once failed", len(batch))
                delivered += sum(map(_hand_over_alone, batch))
    return delivered


def _batches(sizes: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    batch: list[int] = []
    total = 0
    for pk, size in sizes:
        if batch and total + size > PEOPLE_PER_TRANSACTION:
            yield batch
            batch, total = [], 0
        batch.append(pk)
        total += size
    if batch:
        yield batch


def _hand_over_alone(pk: int) -> int:
    try:
        return _hand_over([pk])
    except Exception:
        logger.exception("Letter %d can't be delivered", pk)
        return 0


def _hand_over(keys: Collection[int]) -> int:
    """Out of the letter box, into the inboxes, in one transaction. Whoever holds a letter delivers it; skip those."""
    people = Letter.objects.filter(pk__in=keys).values_list("people", flat=True)
    _open_inboxes(staff_among({person for some in people for person in some}))
    with transaction.atomic():
        held = Letter.objects.select_for_update(skip_locked=True).filter(pk__in=keys)
        letters = list(held.order_by("pk"))
        drafts = [_draft_of(letter) for letter in letters]
        pairs = [(person, at) for at, letter in enumerate(letters) for person in letter.people]
        _store(sorted(pairs), drafts, _actors(drafts))
        Letter.objects.filter(pk__in=[letter.pk for letter in letters]).delete()
    return len(letters)


def _about(notification_id: int) -> str:
    return f"notification:{notification_id}"


def _columns(draft: Draft) -> dict[str, Any]:
    return {each.name: getattr(draft, each.name) for each in fields(draft)}


def _draft_of(letter: Letter) -> Draft:
    return Draft(**{each.name: getattr(letter, each.name) for each in fields(Draft)})


def _actors(drafts: Iterable[Draft]) -> dict[int, dict[str, Any]]:
    return profiles.people({each.actor_id for each in drafts if each.actor_id is not None})


def _taken(pairs: Sequence[tuple[int, int]], drafts: Sequence[Draft]) -> set[tuple[int, str]]:
    """Which of these people have which of these keys. Under their locks nobody adds one meanwhile."""
    keys = {key for _, index in pairs if (key := drafts[index].key) is not None}
    if not keys:
        return set()
    rows = Notification.objects.filter(
        recipient__in={person for person, _ in pairs}, key__in=keys
    ).values_list("recipient_id", "key")
    return {(person, key) for person, key in rows if key is not None}


def _standing(pairs: Sequence[tuple[int, int]], drafts: Sequence[Draft]) -> dict[Told, bool]:
    """What the rules of these kinds say. Asked under the locks: what is marked as read by then is seen to be."""
    asked: dict[str, list[Told]] = {}
    for person, index in pairs:
        one = drafts[index]
        if one.key is not None and one.kind in _rules:
            asked.setdefault(one.kind, []).append((person, one.key))
    return {told: seen for kind in asked for told, seen in _rules[kind](asked[kind]).items()}


def _row(person: int, one: Draft, actors: Collection[int], *, seen: bool) -> Notification:
    return Notification(
        recipient_id=person,
        kind=one.kind,
        title=one.title,
        body=one.body,
        url=one.url,
        level=one.level,
        actor_id=one.actor_id if one.actor_id in actors else None,  # gone since
        key=one.key,
        read_at=timezone.now() if seen else None,
        created_at=one.at,
    )


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), PEOPLE_PER_TRANSACTION):
        yield values[start : start + PEOPLE_PER_TRANSACTION]
