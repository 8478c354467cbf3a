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
    others: dict[int, list[int]] = defaultdict(list)
    for room_id, user_id in (
        Membership.objects.filter(room__in=[row.pk for row in rows if row.kind == Kind.DIRECT])
        .exclude(user=user)
        .order_by("joined_at", "pk")
        .values_list("room_id", "user_id")
    ):
        others[room_id].append(user_id)
    people = profiles.names(user_id for some in others.values() for user_id in some)
    return {
        row.pk: row.name
        or ", ".join(people[one] for one in others[row.pk] if one in people)
        or _("You alone")
        for row in rows
    }
