"""Wrong passwords are slowed, and their owner is never locked out.

Two counts: one account from one address, and one address over all accounts. A few tries are free, then each
further one closes the door for twice as long, up to `LONGEST`. Nothing sleeps and nothing is locked for good: an
attempt at a closed door is refused at once, unchecked and uncounted. The account stays open from every other
address, and a place from which it was signed in to before is held only against its own wrong passwords, not
against those of its neighbours behind the same address.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import Place
from accounts.places import neighbourhood

FREE: Final = 5
"""Wrong passwords for one account from one address before the first wait (1 s, then 2, 4, 8 …)."""
FREE_PER_ADDRESS: Final = 30
"""The same over all accounts: an office shares one address."""
LONGEST: Final = 300
"""Seconds; the longest that one wrong password closes the door."""
FORGOTTEN: Final = timedelta(days=1)
KNOWN: Final = timedelta(days=90)

_EVERYBODY: Final = ""


class Closed(Exception):
    """Not now: try again in `wait` seconds. The password was not looked at."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


def begin(username: str, address: str) -> None:
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
                raise Closed(math.ceil((row.closed_until - now).total_seconds()))
        for row in counted:
            _count(row, now)


def succeed(username: str, address: str) -> None:
    """The password was right: this place is known now, and the attempt no failure."""
    now = timezone.now()
    account, where = _account(username), neighbourhood(address)
    own = Place.objects.filter(account=account, address=where)
    was_known = own.filter(succeeded_at__gt=now - KNOWN).exists()
    own.update(failures=0, closed_until=None, succeeded_at=now)
    if where and not was_known:
        everybody = Place.objects.filter(account=_EVERYBODY, address=where, failures__gt=0)
        everybody.update(failures=F("failures") - 1)


def prune() -> int:
    """Drop counts that no longer matter. Returns how many rows went."""
    now = timezone.now()
    stale = Place.objects.filter(attempted_at__lt=now - FORGOTTEN)
    return stale.exclude(succeeded_at__gt=now - KNOWN).delete()[0]


def delay(failures: int, free: int) -> int:
    """Seconds that the door stays closed after so many failures."""
    over = failures - free
    return 0 if over < 0 else min(2 ** min(over, 10), LONGEST)


def _locked(account: str, where: str) -> dict[str, Place]:
    """The two rows, made if need be and locked in one order."""
    names = (_EVERYBODY, account)
    Place.objects.bulk_create(
        [Place(account=name, address=where) for name in names], ignore_conflicts=True
    )
    rows = Place.objects.select_for_update().filter(address=where, account__in=names)
    return {row.account: row for row in rows.order_by("account")}


def _count(row: Place, now: datetime) -> None:
    free = FREE_PER_ADDRESS if row.account == _EVERYBODY else FREE
    row.failures = 1 if row.attempted_at < now - FORGOTTEN else row.failures + 1
    wait = delay(row.failures, free)
    row.closed_until = now + timedelta(seconds=wait) if wait else None
    row.attempted_at = now
    row.save(update_fields=["failures", "closed_until", "attempted_at"])


def _is_known(row: Place, now: datetime) -> bool:
    return row.succeeded_at is not None and row.succeeded_at > now - KNOWN


def _account(username: str) -> str:
    folded = unicodedata.normalize("NFKC", username).casefold()
    return hashlib.sha256(folded.encode("utf-8", "replace")).hexdigest()
