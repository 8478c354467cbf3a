"""One-time links with which somebody sets a password: an invitation or a reset that needs no mail server."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode


def link(user: User) -> str:
    """Works once, until the password changes or the person signs in, and for PASSWORD_RESET_TIMEOUT seconds."""
    parts = {
        "uidb64": urlsafe_base64_encode(force_bytes(user.pk)),
        "token": default_token_generator.make_token(user),
    }
    return f"{settings.HUB_URL}{reverse('password_reset_confirm', kwargs=parts)}"


def days_valid() -> int:
    return int(settings.PASSWORD_RESET_TIMEOUT // 86_400)
