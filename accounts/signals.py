"""What an account brings with it: a profile when it is made, a SignIn row when somebody signs in."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.db.models.signals import post_save
from django.http import HttpRequest

from accounts import places, sessions, setup
from accounts.models import Profile

logger = logging.getLogger(__name__)


def connect() -> None:
    post_save.connect(_make_profile, sender=get_user_model(), dispatch_uid="hub-profile")
    post_save.connect(_forget_token, sender=get_user_model(), dispatch_uid="hub-setup-token")
    user_logged_in.connect(_record_sign_in, dispatch_uid="hub-sign-in")


def _make_profile(instance: User, created: bool, raw: bool, **_: Any) -> None:
    if created and not raw:
        Profile.objects.get_or_create(user=instance)


def _forget_token(
    instance: User, raw: bool, update_fields: frozenset[str] | None, **_: Any
) -> None:
    """Whoever made an administrator by other means leaves no way in behind."""
    if not raw and update_fields is None and instance.is_superuser and instance.is_active:
        setup.forget_token()


def _record_sign_in(request: HttpRequest, user: User, **_: Any) -> None:
    sessions.record(request, user)
    logger.info("user %d signed in from %s", user.pk, places.address(request) or "?")
