"""The people of the demo, so that a first look has somebody to look with."""

from __future__ import annotations

import secrets
from typing import Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission, User

PEOPLE: Final = {"alice": "Alice Ahn", "bob": "Bob Berger", "charlie": "Charlie Cho"}
ADMIN: Final = "admin"
TEAMS: Final = {"Warehouse": ("alice", "bob"), "Support": ("bob", "charlie")}
_ANNOUNCER: Final = "alice"


def ensure(password: str | None) -> list[tuple[str, str | None]]:
    """Make what is missing of alice, bob, charlie, the superuser admin and two teams.

    Returns every sign-in; the password is None where the account was there already and keeps its own. Without
    a password one random password is made for all.
    """
    chosen = password or secrets.token_urlsafe(9)
    made = {name: _person(name, title, chosen) for name, title in PEOPLE.items()}
    made[ADMIN] = _person(ADMIN, "", chosen, is_superuser=True, is_staff=True)
    if any(made.values()):
        _teams()
        _let_announce()
    return [(name, chosen if is_new else None) for name, is_new in made.items()]


def _person(username: str, display_name: str, password: str, **flags: bool) -> bool:
    people: type[User] = get_user_model()
    if people.objects.filter(username=username).exists():
        return False
    user = people.objects.create_user(username, f"{username}@example.org", password, **flags)
    user.hub_profile.display_name = display_name
    user.hub_profile.save(update_fields=["display_name"])
    return True


def _teams() -> None:
    for name, usernames in TEAMS.items():
        team, is_new = Group.objects.get_or_create(name=name)
        if is_new:
            team.user_set.set(get_user_model().objects.filter(username__in=usernames))


def _let_announce() -> None:
    announce = Permission.objects.filter(
        content_type__app_label="hub_notifications", codename="announce"
    ).first()
    if announce is not None:
        get_user_model().objects.get(username=_ANNOUNCER).user_permissions.add(announce)
