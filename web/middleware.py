"""A person's own language and time zone on every page, and a calm page when the database is away."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from functools import cache

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone, translation

from accounts import profiles
from web import errors

Handler = Callable[[HttpRequest], HttpResponseBase]


class Preferences:
    """After AuthenticationMiddleware: what a person chose in settings beats the cookie and the browser."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with timezone.override(None):
            try:
                _follow(request)
            except (OperationalError, InterfaceError):
                return errors.page(request, 503)
            return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return errors.passing(request, exception)


def _follow(request: HttpRequest) -> None:
    if request.path.startswith("/api/") or not request.user.is_authenticated:
        return
    profile = profiles.of(request.user)
    if language := profiles.language(request.user):
        translation.activate(language)
        request.LANGUAGE_CODE = language
    if profile.time_zone in _time_zones():
        timezone.activate(zoneinfo.ZoneInfo(profile.time_zone))


@cache
def _time_zones() -> set[str]:
    """Asked for once: it looks through all files that there are of them, which takes some 9 ms."""
    return zoneinfo.available_timezones()
