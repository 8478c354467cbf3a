"""Bringing accounts in line with a list of staff, some rows at a time.

The username says whose row it is. What a row leaves open stays as it is, and passwords and the flags of superusers
and of the admin's site are not touched at all. A row that finds everything as it says writes nothing, so the same
list may be applied again, after a crash in the middle too.

Rows are compared without a lock first. Those that have something to change are read again, locked, in the
transaction that changes them: what an administrator or another list stored in between is seen. What Django leaves to
signals, which statements for many rows do not fire, is done by hand: a new account's profile, and `access.changed`.
Whoever watches a model is told all the same.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import Model
from django.db.models.functions import Lower
from django.utils.translation import gettext as _

from accounts import access, resets
from accounts.models import Profile

logger = logging.getLogger(__name__)

COLUMNS: Final = ("username", "name", "email", "teams", "active")
TEAMS_MAX: Final = 50
"""Of one row; it bounds what one transaction writes."""
_YES: Final = frozenset({"yes", "true", "1"})
_NO: Final = frozenset({"no", "false", "0"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_TRIES: Final = 8
"""Of one transaction: two lists at once may want to make the same account, or wait for each other."""
_PAUSE: Final = 0.2
"""Seconds after the first try; after the second twice that, and so on."""

Result = Literal["created", "changed", "unchanged", "error"]


class InvalidRow(Exception):
    """Nothing is done for this row; the text says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a list says of one person. None: nothing, so that it stays as it is."""

    username: str
    name: str | None = None
    email: str | None = None
    teams: frozenset[str] | None = None
    active: bool | None = None


@dataclass(slots=True)
class Applied:
    """What came of some rows."""

    results: list[Result]
    """One for each row, in their order."""
    reasons: dict[int, str]
    """Why, for each "error" by its place in `results`."""
    teams_made: list[str] = field(default_factory=list)
    invited: int = 0


def parse(cells: Mapping[str, str]) -> Row:
    """A row from its texts by column; empty is as good as missing. Raises InvalidRow.

    `teams` are separated by semicolons, and a lone semicolon means none. `active` is yes, true, 1, no, false or 0.
    """
    return Row(
        username=username(cells.get("username", "")),
        name=_name(cells.get("name", "")),
        email=_email(cells.get("email", "")),
        teams=_teams(cells.get("teams", "")),
        active=_active(cells.get("active", "")),
    )


def username(text: str) -> str:
    """As it is stored. Raises InvalidRow."""
    model = get_user_model()
    name = model.normalize_username(text.strip())
    if not name:
        raise InvalidRow(_("username: it is missing."))
    _check(model, "username", name, "username")
    return name


def apply(
    rows: Sequence[Row], *, by: User | None = None, dry_run: bool = False, invite: bool = False
) -> Applied:
    """Make, change or leave the accounts of these rows, of which no two have the same username.

    One transaction, and as many queries for a hundred rows, which is a good number, as for twenty. `by` can't deactivate
    themselves. `invite` mails each new account a link to set a password. A dry run says what would happen and
    writes nothing.
    """
    found = _find(rows)
    reasons = _refusals(rows, found, by)
    wanted = [
        row
        for place, row in enumerate(rows)
        if place not in reasons and found.result(row) != "unchanged"
    ]
    if not wanted or dry_run:
        stored = _foreseen(wanted, found, invite)
    else:
        stored = _store_patiently(wanted, found.missing(wanted), invite)
    results: list[Result] = [
        "error" if place in reasons else stored.results.get(row.username, "unchanged")
        for place, row in enumerate(rows)
    ]
    return Applied(results, reasons, stored.teams_made, stored.invited)


@dataclass(slots=True)
class _Stored:
    results: dict[str, Result]
    teams_made: list[str]
    invited: int


@dataclass(frozen=True, slots=True)
class _Found:
    """The accounts of some rows as they are."""

    people: dict[str, User]
    teams: dict[str, int]
    """Ids of those that the rows name."""
    memberships: dict[int, dict[str, int]]
    """For each account its teams' names, with the key of the row that says so."""

    def result(self, row: Row) -> Result:
        user = self.people.get(row.username)
        if user is None:
            return "created"
        return "changed" if _differences(user, row) or self.moves(user, row) else "unchanged"

    def missing(self, rows: Iterable[Row]) -> list[Row]:
        return [row for row in rows if row.username not in self.people]

    def moves(self, user: User, row: Row) -> bool:
        """Whether the row puts this person into other teams."""
        return row.teams is not None and row.teams != self.memberships.get(user.pk, {}).keys()


def _find(rows: Collection[Row], *, lock: bool = False) -> _Found:
    names = [row.username for row in rows]
    accounts = get_user_model()._default_manager.filter(username__in=names).order_by("pk")
    if lock:
        accounts = accounts.select_for_update(no_key=True)
    people = {user.username: user for user in accounts}
    ids = (
        [user.pk for user in people.values()] if any(row.teams is not None for row in rows) else []
    )
    memberships: dict[int, dict[str, int]] = {}
    through = _membership()._default_manager.filter(user__in=ids)
    for pk, user_id, team in through.values_list("pk", "user_id", "group__name"):
        memberships.setdefault(user_id, {})[team] = pk
    teams = Group.objects.filter(name__in=_named(rows)).values_list("name", "pk")
    return _Found(people, dict(teams), memberships)


def _refusals(rows: Sequence[Row], found: _Found, by: User | None) -> dict[int, str]:
    places = {row.username: place for place, row in enumerate(rows)}
    reasons: dict[int, str] = {}
    if by is not None and by.username in places and rows[places[by.username]].active is False:
        reasons[places[by.username]] = _("active: nobody can deactivate their own account.")
    lowered = {row.username.lower(): row.username for row in found.missing(rows)}
    people = get_user_model()._default_manager.alias(lowered=Lower("username"))
    alike = people.filter(lowered__in=lowered).values_list("username", flat=True) if lowered else ()
    for other in alike:
        asked = lowered.get(other.lower())
        if asked is not None and asked != other:
            text = _("username: there is %(name)s already; only upper and lower case differ.")
            reasons[places[asked]] = text % {"name": other}
    return reasons


def _foreseen(rows: Collection[Row], found: _Found, invite: bool) -> _Stored:
    missing = found.missing(rows)
    return _Stored(
        {row.username: found.result(row) for row in rows},
        sorted(_named(rows) - found.teams.keys()),
        sum(bool(row.email) and row.active is not False for row in missing) if invite else 0,
    )


def _store_patiently(rows: Collection[Row], new: Collection[Row], invite: bool) -> _Stored:
    for tries in range(1, _TRIES):
        try:
            return _store(rows, new, invite)
        except (IntegrityError, OperationalError) as error:
            logger.info("accounts are tried again, somebody else was at them: %s", error)
            connection.close_if_unusable_or_obsolete()
            time.sleep(_PAUSE * tries)
    return _store(rows, new, invite)


def _store(rows: Collection[Row], new: Collection[Row], invite: bool) -> _Stored:
    drafts = {row.username: _new(row) for row in new}  # passwords take a while to dice
    with transaction.atomic():
        found = _find(rows, lock=True)
        results = {row.username: found.result(row) for row in rows}
        teams_made = _make_teams(rows, found)
        made = [
            drafts.get(row.username) or _new(row)
            for row in sorted(found.missing(rows), key=lambda row: row.username)
        ]
        _make(made)
        switched = _change(rows, found)
        found.people.update({user.username: user for user in made})
        moved = _move(rows, found)
        others = switched | (moved - {user.pk for user in made})  # who is new reads nothing yet
        if others:
            access.changed(users=sorted(others))
        invited = [user for user in made if user.email and user.is_active] if invite else []
        if invited:
            resets.invite(invited)
    return _Stored(results, teams_made, len(invited))


def _new(row: Row) -> User:
    return get_user_model()(
        username=row.username,
        password=make_password(None),
        first_name=row.name or "",
        email=row.email or "",
        is_active=row.active is not False,
    )


def _make(users: Collection[User]) -> None:
    """In the order of usernames, so that two lists meet each other in the same order."""
    if users:
        get_user_model()._default_manager.bulk_create(users)
        Profile.objects.bulk_create(Profile(user=user) for user in users)


def _make_teams(rows: Collection[Row], found: _Found) -> list[str]:
    names = sorted(_named(rows) - found.teams.keys())
    if names:
        made = Group.objects.bulk_create(Group(name=name) for name in names)
        found.teams.update({team.name: team.pk for team in made})
    return names


def _change(rows: Collection[Row], found: _Found) -> set[int]:
    """Returns who may read other things than before."""
    changed: list[User] = []
    columns: set[str] = set()
    switched: set[int] = set()
    for row in rows:
        user = found.people.get(row.username)
        different = {} if user is None else _differences(user, row)
        if user is None or not different:
            continue
        for column, value in different.items():
            setattr(user, column, value)
        changed.append(user)
        columns.update(different)
        if "is_active" in different:
            switched.add(user.pk)
    if changed:
        get_user_model()._default_manager.bulk_update(changed, sorted(columns))
    return switched


def _move(rows: Collection[Row], found: _Found) -> set[int]:
    """Returns whose teams are others now."""
    model = _membership()
    joins: list[Model] = []
    leaves: list[int] = []
    moved: set[int] = set()
    for row in rows:
        user = found.people[row.username]
        if row.teams is None or not found.moves(user, row):
            continue
        present = found.memberships.get(user.pk, {})
        new = sorted(row.teams - present.keys())
        joins += [model(user_id=user.pk, group_id=found.teams[name]) for name in new]
        leaves += [pk for name, pk in present.items() if name not in row.teams]
        moved.add(user.pk)
    if joins:  # one that an administrator makes at this moment is as good as ours
        model._default_manager.bulk_create(joins, ignore_conflicts=True)
    if leaves:
        model._default_manager.filter(pk__in=leaves).delete()
    return moved


def _differences(user: User, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if row.name is not None and row.name != user.get_full_name():
        found.update(first_name=row.name, last_name="")
    if row.email is not None and row.email != user.email:
        found.update(email=row.email)
    if row.active is not None and row.active != user.is_active:
        found.update(is_active=row.active)
    return found


def _named(rows: Iterable[Row]) -> set[str]:
    return {name for row in rows for name in row.teams or ()}


def _membership() -> Any:
    return get_user_model().groups.through


def _name(text: str) -> str | None:
    name = " ".join(text.split())
    if _CONTROL.search(name):
        raise InvalidRow(_("name: it has control characters."))
    _check(get_user_model(), "first_name", name, "name")
    return name or None


def _email(text: str) -> str | None:
    model = get_user_model()
    email = model._default_manager.normalize_email(text.strip())
    _check(model, "email", email, "email")
    return email or None


def _teams(text: str) -> frozenset[str] | None:
    if not text.strip():
        return None
    names = frozenset(filter(None, map(str.strip, text.split(";"))))
    if len(names) > TEAMS_MAX:
        raise InvalidRow(_("teams: at most %(count)d are possible.") % {"count": TEAMS_MAX})
    for name in names:
        if _CONTROL.search(name):
            raise InvalidRow(_("teams: a name has control characters."))
        _check(Group, "name", name, "teams")
    return names


def _active(text: str) -> bool | None:
    word = text.strip().lower()
    if not word:
        return None
    if word not in _YES | _NO:
        raise InvalidRow(_("active: use yes, true, 1, no, false or 0."))
    return word in _YES


def _check(model: type[Model], name: str, value: str, column: str) -> None:
    try:
        model._meta.get_field(name).run_validators(value)  # type: ignore[union-attr]
    except ValidationError as error:
        raise InvalidRow(f"{column}: {' '.join(error.messages)}") from None
