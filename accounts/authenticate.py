"""Who is asking: an API key or a Django session becomes a Credential.

Nothing here changes a session. Channels' own lookup ignores SECRET_KEY_FALLBACKS and flushes what it cannot
verify, which after a key rotation signs everybody out.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
)
from django.contrib.auth.models import User
from django.http.request import split_domain_port, validate_host
from django.utils import timezone
from django.utils.http import is_same_domain

from accounts import profiles, sessions
from accounts.audience import is_staff_of_hub
from accounts.models import SCOPES, ApiKey
from accounts.touch import touch

__all__ = [
    "SCOPES",
    "Credential",
    "InvalidKey",
    "from_request_headers",
    "identify",
    "make_key",
    "origin_is_ours",
    "still_valid",
]

KEY_MARK: Final = "hub_"
_PREFIX_LENGTH: Final = len(KEY_MARK) + 8
_LONGEST_KEY: Final = 200
_USED_EVERY: Final = timedelta(minutes=1)


class InvalidKey(Exception):
    """An Authorization header is present and no good; the session cookie beside it counts for nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """Who asks and by what right; exactly one of `key_id` and `session_key` is set."""

    user_id: int
    username: str
    name: str
    is_superuser: bool
    scopes: frozenset[str]
    key_id: int | None = None
    session_key: str | None = field(default=None, repr=False)


def from_request_headers(authorization: str | None, session_key: str | None) -> Credential | None:
    """None: not signed in. Raises InvalidKey when an Authorization header is there but bad."""
    found = identify(authorization, session_key)
    return found[0] if found else None


def identify(authorization: str | None, session_key: str | None) -> tuple[Credential, User] | None:
    """`from_request_headers` with the account itself."""
    if authorization is not None:
        return _by_key(authorization)
    return _by_session(session_key) if session_key else None


def by_sessions(session_keys: Collection[str]) -> dict[str, tuple[Credential, User]]:
    """`identify` for many sessions, in as many queries as for one: those that somebody is signed in with."""
    return {
        key: (_of(user, session_key=key), user)
        for key, user in _signed_in(session_keys).items()
        if key
    }


def still_valid(credentials: Collection[Credential]) -> set[Credential]:
    """Those whose key or session still counts; three queries, whatever their number."""
    keys = _live_keys({one.key_id for one in credentials if one.key_id is not None})
    by_session = _signed_in({one.session_key for one in credentials if one.session_key})
    return {
        one
        for one in credentials
        if (
            _is_same(one, by_session.get(one.session_key))
            if one.session_key
            else _key_serves(one, keys.get(one.key_id or 0))
        )
    }


def make_key(
    user: User, name: str, scopes: Iterable[str] | None = None, *, days: int | None = None
) -> tuple[ApiKey, str]:
    """A new key and its secret, which nobody can show again.

    No scopes: all that the person may have. No `days`: it never expires.
    """
    wanted = possible_scopes(user) if scopes is None else frozenset(scopes)
    if unknown := wanted - frozenset(SCOPES):
        raise ValueError(f"unknown scope {min(unknown)!r}: use {', '.join(SCOPES)}.")
    if beyond := wanted - possible_scopes(user):
        raise ValueError(f"{user.get_username()} may not have the scope {min(beyond)!r}.")
    secret = KEY_MARK + secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        user=user,
        name=name,
        prefix=secret[:_PREFIX_LENGTH],
        hash=_hash(secret),
        scopes=[scope for scope in SCOPES if scope in wanted],
        expires_at=None if days is None else timezone.now() + timedelta(days=days),
    )
    return key, secret


def possible_scopes(user: User) -> frozenset[str]:
    """Everything but `admin`, which is for superusers."""
    return frozenset(scope for scope in SCOPES if scope != "admin" or user.is_superuser)


def origin_is_ours(origin: str | None, host: str) -> bool:
    """Django's CSRF rule: the scheme of HUB_URL and this very host (if it is ours), or a trusted origin; exact.

    The request's own scheme is not asked: it is known from the proxy that ends TLS, and sockets and requests must not
    differ in it. A missing, malformed or `null` Origin is not ours.
    """
    if not origin:
        return False
    domain, _port = split_domain_port(host)
    if domain and validate_host(domain, settings.ALLOWED_HOSTS):
        scheme = "https" if settings.HUB_SECURE else "http"
        if origin == f"{scheme}://{host}":
            return True
    return any(_matches(origin, trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def _matches(origin: str, trusted: str) -> bool:
    if "*" not in trusted:
        return origin == trusted
    try:
        ours, theirs = urlsplit(trusted), urlsplit(origin)
    except ValueError:
        return False
    return (
        origin == f"{ours.scheme}://{theirs.netloc}"
        and "@" not in theirs.netloc
        and is_same_domain(theirs.netloc, ours.netloc.lstrip("*"))
    )


def _by_key(authorization: str) -> tuple[Credential, User]:
    scheme, _, secret = authorization.strip().partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret.isascii() or not 0 < len(secret) <= _LONGEST_KEY:
        raise InvalidKey
    found = ApiKey.objects.live().filter(hash=_hash(secret))
    key = found.select_related("user__hub_profile").first()
    if key is None or not is_staff_of_hub(key.user):
        raise InvalidKey
    _note_use(key)
    return _of(key.user, scopes=key.scopes, key_id=key.pk), key.user


def _by_session(session_key: str) -> tuple[Credential, User] | None:
    return by_sessions([session_key]).get(session_key)


def _of(user: User, *, scopes: Iterable[str] = SCOPES, **source: Any) -> Credential:
    return Credential(
        user_id=user.pk,
        username=user.get_username(),
        name=profiles.display_name(user),
        is_superuser=user.is_superuser,
        scopes=possible_scopes(user) & frozenset(scopes),
        **source,
    )


def _signed_in(session_keys: Collection[str | None]) -> dict[str | None, User]:
    """The person of each session that Django's own `get_user` would accept: two queries."""
    wanted = [key for key in session_keys if key]
    if not wanted:
        return {}
    loaded = sessions.load(wanted)
    ids = {key: _user_id(data) for key, data in loaded.items()}
    users = (
        get_user_model()
        ._default_manager.select_related("hub_profile")
        .in_bulk({user_id for user_id in ids.values() if user_id is not None})
    )
    return {
        key: user
        for key, user_id in ids.items()
        if user_id is not None
        and (user := users.get(user_id))
        and is_staff_of_hub(user)
        and sessions.hash_fits(user, loaded[key])
    }


def _user_id(data: dict[str, Any]) -> int | None:
    if data.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    try:
        return int(data[SESSION_KEY])
    except (KeyError, ValueError):
        return None


def _live_keys(ids: Collection[int]) -> dict[int, ApiKey]:
    if not ids:
        return {}
    found = ApiKey.objects.live().filter(pk__in=ids).select_related("user")
    return {key.pk: key for key in found if is_staff_of_hub(key.user)}


def _is_same(credential: Credential, user: User | None) -> bool:
    return user is not None and user.pk == credential.user_id


def _key_serves(credential: Credential, key: ApiKey | None) -> bool:
    """A lost superuser flag takes the `admin` scope, not the key; what topics it costs is the audience's to say."""
    return key is not None and credential.scopes - {"admin"} <= frozenset(key.scopes)


def _note_use(key: ApiKey) -> None:
    now = timezone.now()
    if key.last_used_at is None or key.last_used_at < now - _USED_EVERY:
        touch(ApiKey.objects.filter(pk=key.pk, last_used_at=key.last_used_at), last_used_at=now)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
