"""What rooms are called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from accounts import profiles
from chat.models import Kind, Membership, Room


def of(rooms: Iterable[Room], user: User) -> dict[int, str]:
    """The rooms' names by id; a direct one is called after its people, whom this person is not told of themself."""
    rows = list(rooms)
    others: dict[int, list[str]] = defaultdict(list)
    for one in (
        Membership.objects.filter(room__in=[row.pk for row in rows if row.kind == Kind.DIRECT])
        .exclude(user=user)
        .order_by("joined_at", "pk")
        .select_related("user__hub_profile")
    ):
        others[one.room_id].append(profiles.display_name(one.user))
    return {row.pk: row.name or ", ".join(others[row.pk]) or _("You alone") for row in rows}
