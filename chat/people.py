"""Staff by name, for whoever mentions or invites them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce, Concat, NullIf, Trim

from accounts import profiles
from accounts.audience import is_staff_of_hub
from chat.models import Kind, Room

MOST: Final = 20
_SHOWN: Final = Coalesce(
    NullIf(F("hub_profile__display_name"), Value("")),
    NullIf(Trim(Concat("first_name", Value(" "), "last_name")), Value("")),
    "username",
)
"""`profiles.display_name`, as the database has it."""


def named(query: str, room: Room | None, limit: int = MOST) -> list[dict[str, Any]]:
    """`{id, name, username}` of active staff whose username or name holds the query; beginnings first. One query."""
    query = query.strip().removeprefix("@")
    people = get_user_model()._default_manager.filter(is_active=True)
    if room is not None and room.kind != Kind.OPEN:
        people = people.filter(hub_memberships__room=room)
    people = people.annotate(shown=_SHOWN)
    if query:
        people = people.filter(Q(username__icontains=query) | Q(shown__icontains=query))
    begins = Q(username__istartswith=query) | Q(shown__istartswith=query)
    rank = Case(When(begins, Value(0)), default=Value(1))
    found = people.select_related("hub_profile").order_by(rank, "username").iterator()
    return [profiles.person(user) for user in islice(filter(is_staff_of_hub, found), limit)]


def by_username(usernames: Collection[str]) -> dict[str, User]:
    """Those that are active staff."""
    found = get_user_model()._default_manager.filter(username__in=usernames, is_active=True)
    return {user.get_username(): user for user in found if is_staff_of_hub(user)}
