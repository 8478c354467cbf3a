"""Keeps the list of somebody's sessions true while they walk through the pages."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, cast

from django.conf import settings
from django.contrib.auth.middleware import get_user
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import MiddlewareNotUsed
from django.db import Error as DatabaseTrouble
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import SimpleLazyObject

from accounts import sessions

logger = logging.getLogger(__name__)

_MOST: Final = 10_000

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def sign_ins(get_response: GetResponse) -> GetResponse:
    """After AuthenticationMiddleware. Costs a query per session only every few minutes, none for the API."""
    noted: OrderedDict[str, float] = OrderedDict()

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        brought = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        if brought and response.status_code < 500 and not request.path.startswith("/api/"):
            try:
                _note(request, brought, noted)
            except DatabaseTrouble:
                logger.warning("a sign-in was not noted", exc_info=True)
        return response

    return middleware


def rotated_keys(get_response: GetResponse) -> GetResponse:
    """After AuthenticationMiddleware, whose look would give a session from before a new SECRET_KEY another name: what the
    browser asks for at the same moment under the old one would find nobody."""
    if not settings.SECRET_KEY_FALLBACKS:
        raise MiddlewareNotUsed

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and not request.path.startswith("/api/"):
            # Not before somebody asks: a database that is away must not be waited for twice.
            request.user = cast("User", SimpleLazyObject(lambda: _signed_anew(request)))
        return get_response(request)

    return middleware


def _signed_anew(request: HttpRequest) -> User | AnonymousUser:
    sessions.sign_anew(request.session)
    return get_user(request)


def _note(request: HttpRequest, brought: str, noted: OrderedDict[str, float]) -> None:
    user, now = _looked_up(request), request.session.session_key
    if user is None or now is None:
        return
    if now != brought:
        sessions.follow(brought, now, user)
    if noted.get(now, 0.0) < time.monotonic():
        sessions.seen(request, user)
        noted[now] = time.monotonic() + sessions.SEEN_EVERY.total_seconds()
        if len(noted) > _MOST:
            noted.popitem(last=False)


def _looked_up(request: HttpRequest) -> User | None:
    """The person, when the page asked who it is; a page that did not is no reason to ask."""
    user = getattr(request, "_cached_user", None)
    return user if isinstance(user, User) else None
