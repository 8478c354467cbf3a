"""Completes the scope of a connection: `cookies`, and the session that the cookie names.

Channels' own session and user look-ups are not used here: they run on the one thread that all connections share,
and the user look-up ignores SECRET_KEY_FALLBACKS and flushes a session it cannot verify.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.http import parse_cookie


def completed(inner: Any) -> Any:
    """Adds `cookies`, `session_key` and a lazy `session`; nothing is read until somebody looks into it."""
    store = import_module(settings.SESSION_ENGINE).SessionStore

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        cookies = _cookies(scope)
        key = cookies.get(settings.SESSION_COOKIE_NAME)
        added = {"cookies": cookies, "session_key": key, "session": store(key)}
        await inner({**scope, **added}, receive, send)

    return application


def _cookies(scope: dict[str, Any]) -> dict[str, str]:
    for name, value in scope["headers"]:
        if name == b"cookie":
            return parse_cookie(value.decode("latin-1"))
    return {}
