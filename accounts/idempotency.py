"""The same key again gets the first answer: a client that lost the answer may safely ask again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import Answer

KEPT: Final = timedelta(days=7)

Made = tuple[int, Any]


def once(
    user_id: int,
    route: str,
    key: str | None,
    make: Callable[[], Made],
    *,
    again: int | None = None,
) -> Made:
    """`make()` → `(status, JSON body)` in a transaction, at most once per person, route and key.

    A repeat gets the stored answer, with the status `again` instead when that is given. The row goes in before
    the work: of two that come side by side the second waits for the first. A `make` that raises leaves nothing.
    """
    if key is None:
        with transaction.atomic():
            return make()
    found = stored(user_id, route, key, again)
    if found is not None:
        return found
    try:
        with transaction.atomic():
            return _first(user_id, route, key, make)
    except _Taken:
        found = stored(user_id, route, key, again)
    if found is None:
        raise RuntimeError(f"the answer to {route} was there and is gone")
    return found


def stored(user_id: int, route: str, key: str | None, again: int | None = None) -> Made | None:
    """The first answer, for who would have to do much before `once`; None: there is none yet."""
    if key is None:
        return None
    row = Answer.objects.filter(user_id=user_id, route=route, key=key).first()
    return (again or row.status, row.body) if row is not None else None


def prune() -> int:
    return Answer.objects.filter(created_at__lt=timezone.now() - KEPT).delete()[0]


class _Taken(Exception):
    """Somebody else put the row in first."""


def _first(user_id: int, route: str, key: str, make: Callable[[], Made]) -> Made:
    try:
        with transaction.atomic():
            row = Answer.objects.create(user_id=user_id, route=route, key=key)
    except IntegrityError:
        raise _Taken from None
    row.status, row.body = made = make()
    row.save(update_fields=["status", "body"])
    return made
