"""The first administrator of a hub without demo accounts, made once against a token that only the operator saw."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib.auth import get_user_model
from django.contrib.auth.forms import BaseUserCreationForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import SetupToken

if TYPE_CHECKING:
    _UserCreationForm = BaseUserCreationForm[User]
else:
    _UserCreationForm = BaseUserCreationForm


LASTS: Final = timedelta(days=1)


class SetupRefused(Exception):
    """The token is wrong, used or older than a day, or the hub has an administrator already."""


def needed() -> bool:
    """Whether nobody can administer this hub yet."""
    return not get_user_model()._default_manager.filter(is_superuser=True, is_active=True).exists()


def issue_token() -> str:
    """A new token, good for a day; the one before no longer works. It is shown to the operator and kept hashed."""
    token = secrets.token_urlsafe(24)
    with transaction.atomic():
        forget_token()
        SetupToken.objects.create(hash=_hash(token))
    return token


def consume(token: str, username: str, password: str, email: str = "") -> User:
    """Make the administrator; raises SetupRefused. Of two that race, the one that deletes the token wins."""
    user = get_user_model()(username=username, email=email, is_staff=True, is_superuser=True)
    user.set_password(password)  # slow on purpose, so before the transaction
    with transaction.atomic():
        fresh = SetupToken.objects.filter(hash=_hash(token), created_at__gt=timezone.now() - LASTS)
        if not fresh.delete()[0] or not needed():
            raise SetupRefused
        user.save(force_insert=True)
    return user


def forget_token() -> None:
    SetupToken.objects.all().delete()


def prune() -> int:
    """Forget a token that is too old or not needed: found in a log, it must not open the hub some day."""
    tokens = SetupToken.objects.all()
    if needed():
        tokens = tokens.filter(created_at__lte=timezone.now() - LASTS)
    return tokens.delete()[0]


class SetupForm(_UserCreationForm):
    """Token, name and password of the first administrator; `save` makes the account."""

    token = forms.CharField(
        label=_("Token"),
        max_length=100,
        help_text=_("It was printed where the hub was started."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    field_order = ("token", "username", "password1", "password2")

    def save(self, commit: bool = True) -> Any:
        """The new superuser, or None with an error at the token: it is wrong, or somebody was faster."""
        data = self.cleaned_data
        try:
            return consume(data["token"].strip(), data["username"], data["password1"])
        except SetupRefused:
            message = _(
                "This token is not the one that was printed last, it was used, or it is older than a day."
            )
            self.add_error("token", ValidationError(message, code="refused"))
            return None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
