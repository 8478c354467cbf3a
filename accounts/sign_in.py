"""Signing in with a password: staff only, guesses slowed, wherever Django asks for one (our page and the admin's)."""

from __future__ import annotations

import logging
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.views import LoginView
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import ngettext

from accounts import attempts, places
from accounts.audience import is_staff_of_hub

logger = logging.getLogger(__name__)


class Backend(ModelBackend):
    """Django's, for staff of the hub, behind `accounts.attempts`."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        if request is None or username is None or password is None:
            return super().authenticate(request, username, password, **kwargs)
        where = places.address(request)
        try:
            attempt = attempts.begin(username, where)
        except attempts.Closed as closed:
            logger.warning("sign-in from %s refused for %d s", where or "?", closed.wait)
            request.hub_wait = closed.wait  # type: ignore[attr-defined]
            raise PermissionDenied from None
        user = super().authenticate(request, username, password, **kwargs)
        if user is None:
            logger.warning("sign-in from %s failed", where or "?")
        else:
            attempts.succeed(attempt)
        return user

    async def aauthenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        return await sync_to_async(self.authenticate)(request, username, password, **kwargs)

    def get_user(self, user_id: int) -> User | None:
        """With what they chose, which every page asks for."""
        accounts = get_user_model()._default_manager.select_related("hub_profile")
        user = accounts.filter(pk=user_id).first()
        return user if self.user_can_authenticate(user) else None

    def user_can_authenticate(self, user: User | AnonymousUser | None) -> bool:
        return isinstance(user, User) and is_staff_of_hub(user)


def wait_of(request: HttpRequest | None) -> int:
    """Seconds until the next attempt is looked at; 0 when this one was."""
    return getattr(request, "hub_wait", 0)


def slowed(wait: int) -> ValidationError:
    """What a form says whose sender must wait so many seconds."""
    message = ngettext(
        "Too many attempts. Try again in %(seconds)d second.",
        "Too many attempts. Try again in %(seconds)d seconds.",
        wait,
    )
    return ValidationError(message % {"seconds": wait}, code="slowed")


def too_many_requests(response: HttpResponse, wait: int) -> HttpResponse:
    """The same answer as 429 with Retry-After; as it was when there is nothing to wait for."""
    if wait:
        response.status_code = 429
        response.headers["Retry-After"] = str(wait)
    return response


class _SaysHowLong:
    request: HttpRequest | None

    def get_invalid_login_error(self) -> ValidationError:
        wait = wait_of(self.request)
        if not wait:
            return super().get_invalid_login_error()  # type: ignore[misc, no-any-return]
        return slowed(wait)


class SignInForm(_SaysHowLong, AuthenticationForm):
    """Django's form; its error has the code `slowed` when the password was not looked at."""


class AdminSignInForm(_SaysHowLong, AdminAuthenticationForm):
    """The same for `/admin/login/`."""


class SignInView(LoginView):
    """Django's view; an attempt that comes too soon is 429 with Retry-After and the form."""

    authentication_form = SignInForm

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        return too_many_requests(super().form_invalid(form), wait_of(self.request))
