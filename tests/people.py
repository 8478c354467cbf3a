"""The cast: alice owns, bob is a member, charlie is an outsider, admin is a superuser."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User

PASSWORD = "correct-horse-battery"


def person(username: str, **fields: object) -> User:
    """A signed-up account with the common password; an existing one is returned as it is."""
    model = get_user_model()
    found = model.objects.filter(username=username).first()
    if found is not None:
        return found
    return model.objects.create_user(username, f"{username}@example.org", PASSWORD, **fields)
