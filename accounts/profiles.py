"""What people are called, and what they chose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.utils import timezone

from accounts.models import Profile
from events import log, presence

MePart = Callable[[User], Any]

_me_parts: dict[str, MePart] = {}


def of(user: User) -> Profile:
    """The person's profile; one that bulk-made accounts lack is made now."""
    try:
        return user.hub_profile
    except Profile.DoesNotExist:
        return Profile.objects.get_or_create(user=user)[0]


def language(user: User) -> str:
    """The one the person chose, if the hub speaks it; else empty."""
    chosen = of(user).language
    return chosen if chosen in dict(settings.LANGUAGES) else ""


def zone(user: User) -> tzinfo:
    """The time zone the person chose; the hub's own when there is none, or none any more of that name."""
    try:
        return ZoneInfo(of(user).time_zone)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return timezone.get_default_timezone()


def display_name(user: User) -> str:
    try:
        chosen = user.hub_profile.display_name
    except Profile.DoesNotExist:
        chosen = ""
    return chosen or user.get_full_name() or user.get_username()


def person(user: User) -> dict[str, Any]:
    """A person as JSON has it: `{id, name, username}`."""
    return {"id": user.pk, "name": display_name(user), "username": user.get_username()}


def people(ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """`person` for many, by id; ids of nobody are left out. One query."""
    found = get_user_model()._default_manager.filter(pk__in=set(ids)).select_related("hub_profile")
    return {user.pk: person(user) for user in found}


def names(ids: Iterable[int]) -> dict[int, str]:
    return {user_id: one["name"] for user_id, one in people(ids).items()}


def here(topic: str) -> list[dict[str, Any]]:
    """Who is at the topic right now, longest first: `{id, name, since, away}`. Nobody when that is not known."""
    found = presence.people(topic)
    called = names(one.id for one in found)
    return [
        {
            "id": one.id,
            "name": called[one.id],
            "since": log.rfc3339(one.since),
            "away": one.away,
        }
        for one in found
        if one.id in called
    ]


def register_me(name: str, part: MePart) -> None:
    """Let a feature above add a member to `GET /api/v1/me`; it is called after the cursor was taken."""
    _me_parts[name] = part


def me_parts(user: User) -> dict[str, Any]:
    return {name: part(user) for name, part in _me_parts.items()}
