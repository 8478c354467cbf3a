"""What an account brings with it: a profile when it is made, a SignIn row when somebody signs in."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.db.models.signals import post_save
from django.http import HttpRequest

from accounts import sessions
from accounts.models import Profile


def connect() -> None:
    post_save.connect(_make_profile, sender=get_user_model(), dispatch_uid="hub-profile")
    user_logged_in.connect(_record_sign_in, dispatch_uid="hub-sign-in")


def _make_profile(instance: User, created: bool, raw: bool, **_: Any) -> None:
    if created and not raw:
        Profile.objects.get_or_create(user=instance)


def _record_sign_in(request: HttpRequest, user: User, **_: Any) -> None:
    sessions.record(request, user)
