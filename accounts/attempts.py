"""Wrong passwords are slowed, and their owner is never locked out.

Two counts: one account from one address, and one address over all accounts. A few tries are free, then each
further one closes the door for twice as long, up to `LONGEST`. Nothing sleeps and nothing is locked for good: an
attempt at a closed door is refused at once, unchecked and uncounted, a right password takes back all that its
attempt did, and half of what was counted is forgotten with every `HALF_LIFE`. The account stays open from every other
address, and a place from which it was signed in to before is held only against its own wrong passwords, not
against those of its neighbours behind the same address.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone

from accounts import refusals
from accounts.models import Place
from accounts.places import neighbourhood

FREE: Final = 5
"""Wrong passwords for one account from one address before the first wait (1 s, then 2, 4, 8 …)."""
FREE_PER_ADDRESS: Final = 30
"""The same over all accounts: an office shares one address."""
LONGEST: Final = 300
"""Seconds; the longest that one wrong password closes the door."""
HALF_LIFE: Final = timedelta(hours=1)
"""Typing errors of an office add up over a day; a guesser's come within minutes."""
FORGOTTEN: Final = timedelta(days=1)
KNOWN: Final = timedelta(days=90)

_EVERYBODY: Final = ""


class Closed(Exception):
    """Not now: try again in `wait` seconds. The password was not looked at."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that was counted, so that it can be taken back."""

    account: str
    where: str
    closed_everybody: datetime | None
    """Until when it closed the door of the whole address."""
    counts_for_everybody: bool


def begin(username: str, address: str) -> Attempt:
    """Call before checking a password; raises Closed.

    The attempt counts as failed from now on, until `succeed`: guesses sent side by side can't all pass
    before the first of them is counted.
    """
    now = timezone.now()
    account, where = _account(username), neighbourhood(address)
    with transaction.atomic():
        rows = _locked(account, where)
        own = rows[account]
        counted = [own]
        if where and not _is_known(own, now):
            counted.append(rows[_EVERYBODY])
        for row in counted:
            if row.closed_until is not None and row.closed_until > now:
                refusals.count("sign_in")
                raise Closed(math.ceil((row.closed_until - now).total_seconds()))
        for row in counted:
            _count(row, now)
    return Attempt(account, where, rows[_EVERYBODY].closed_until, len(counted) > 1)


def succeed(attempt: Attempt) -> None:
    """The password was right: this place is known now, and the attempt no failure."""
    own = Place.objects.filter(account=attempt.account, address=attempt.where)
    own.update(failures=0, closed_until=None, succeeded_at=timezone.now())
    if attempt.counts_for_everybody:
        still_closed_by_us = When(closed_until=attempt.closed_everybody, then=Value(None))
        Place.objects.filter(account=_EVERYBODY, address=attempt.where).update(
            failures=Greatest(F("failures") - 1, 0.0),
            closed_until=Case(still_closed_by_us, default=F("closed_until")),
        )


def prune() -> int:
    """Drop counts that no longer matter. Returns how many rows went."""
    now = timezone.now()
    stale = Place.objects.filter(attempted_at__lt=now - FORGOTTEN)
    return stale.exclude(succeeded_at__gt=now - KNOWN).delete()[0]


def delay(failures: float, free: int) -> int:
    """Seconds that the door stays closed after so many failures."""
    over = round(failures) - free
    return 0 if over < 0 else min(2 ** min(over, 10), LONGEST)


def _locked(account: str, where: str) -> dict[str, Place]:
    """The two rows, made if need be and locked in one order."""
    names = (_EVERYBODY, account)
    rows = Place.objects.select_for_update().filter(address=where, account__in=names)
    while True:
        Place.objects.bulk_create(
            [Place(account=name, address=where) for name in names], ignore_conflicts=True
        )
        found = {row.account: row for row in rows.order_by("account")}
        if len(found) == len(names):  # else `prune` took one between the two statements
            return found


def _count(row: Place, now: datetime) -> None:
    free = FREE_PER_ADDRESS if row.account == _EVERYBODY else FREE
    passed = max(now - row.attempted_at, timedelta())
    row.failures = row.failures * 0.5 ** (passed / HALF_LIFE) + 1
    wait = delay(row.failures, free)
    row.closed_until = now + timedelta(seconds=wait) if wait else None
    row.attempted_at = now
    row.save(update_fields=["failures", "closed_until", "attempted_at"])


def _is_known(row: Place, now: datetime) -> bool:
    return row.succeeded_at is not None and row.succeeded_at > now - KNOWN


def _account(username: str) -> str:
    folded = unicodedata.normalize("NFKC", username).casefold()
    return hashlib.sha256(folded.encode("utf-8", "replace")).hexdigest()
