"""Who calls an API route, and may they: the `auth=` of every operation."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import translation
from ninja.security.base import AuthBase

from accounts import authenticate, profiles, throttle
from accounts.authenticate import Credential
from accounts.errors import ApiError

CALLS_PER_MINUTE: Final = 12_000
"""Of one key, whatever it calls; reading has no other bound. What writes has narrower ones of its own."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Authenticated(AuthBase):
    """Any one of `scopes` opens the route; `request.auth` is the Credential, `request.user` the account.

    An Authorization header is the only credential when it is there; a key needs no Origin, since no browser
    sends it by itself. The session cookie does go along by itself, so an unsafe request with it must carry an
    Origin of ours, or none and the CSRF token of our pages.
    """

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_description = (
        "An API key (`manage.py apikey <username>`, or Settings). "
        "In a browser the session cookie serves instead."
    )

    def __init__(self, *scopes: str) -> None:
        self.scopes = frozenset(scopes)
        super().__init__()

    def __call__(self, request: HttpRequest) -> Credential:
        try:
            found = authenticate.identify(
                request.headers.get("Authorization"),
                request.COOKIES.get(settings.SESSION_COOKIE_NAME),
            )
        except authenticate.InvalidKey:
            raise ApiError(401, "The API key is unknown, expired or revoked.") from None
        if found is None:
            raise ApiError(401, "Sign in, or send an API key.")
        credential, request.user = found
        if credential.key_id is not None and (
            wait := throttle.take(f"api:key:{credential.key_id}", CALLS_PER_MINUTE)
        ):
            raise throttle.TooFast(wait)
        if language := profiles.language(request.user):
            translation.activate(language)  # as on the pages: it beats the browser's
        if credential.session_key is not None and request.method not in _SAFE:
            _refuse_other_sites(request)
        if not self.scopes & credential.scopes:
            wanted = " or ".join(sorted(self.scopes))
            raise ApiError(403, f"This needs the scope {wanted}.")
        return credential


def caller(request: HttpRequest) -> Credential:
    """The credential of an authenticated operation."""
    credential: Credential = request.auth  # type: ignore[attr-defined]
    return credential


def account(request: HttpRequest) -> User:
    """The account of an authenticated operation."""
    user: User = request.user  # type: ignore[assignment]
    return user


def _refuse_other_sites(request: HttpRequest) -> None:
    origin = request.headers.get("Origin")
    if origin is None:
        if _token_fits(request):
            return
    elif authenticate.origin_is_ours(origin, _host(request)):
        return
    raise ApiError(403, "This request does not come from a page of the hub.", code="bad_origin")


def _host(request: HttpRequest) -> str:
    try:
        return request.get_host()
    except DisallowedHost:
        return ""


def _token_fits(request: HttpRequest) -> bool:
    """Django's own CSRF check, which under https also looks at the Referer."""
    check = CsrfViewMiddleware(lambda _: None)  # type: ignore[arg-type]
    request.csrf_processing_done = False  # type: ignore[attr-defined]
    check.process_request(request)
    return check.process_view(request, _no_view, (), {}) is None


def _no_view(request: HttpRequest) -> HttpResponse:
    """Stands for a view that is not exempt."""
    return HttpResponse()
