"""Completes the scope of a connection: `cookies`, and the session that the cookie names.

Channels' own session and user look-ups are not used here: they run on the one thread that all connections share,
and the user look-up ignores SECRET_KEY_FALLBACKS and flushes a session it cannot verify.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from channels.sessions import CookieMiddleware
from django.conf import settings


class WithSession:
    """Adds `session_key` and a lazy `session`; nothing is read until somebody looks into it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._store = import_module(settings.SESSION_ENGINE).SessionStore

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        key = scope["cookies"].get(settings.SESSION_COOKIE_NAME)
        completed = {**scope, "session_key": key, "session": self._store(key)}
        await self._inner(completed, receive, send)


def completed(inner: Any) -> Any:
    return CookieMiddleware(WithSession(inner))
