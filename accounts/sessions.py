"""Sessions that somebody signed in with: Django's store holds them, SignIn rows describe them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts import places
from accounts.models import SignIn
from accounts.touch import touch

if TYPE_CHECKING:
    from django.contrib.sessions.base_session import AbstractBaseSession

SEEN_EVERY: Final = timedelta(minutes=3)
_AGENT_LENGTH: Final = 300
_CHUNK: Final = 500


def digest(session_key: str) -> str:
    """What a session is called where others may look: logs and the `access` topic."""
    return hashlib.sha256(session_key.encode()).hexdigest()


def load(keys: Collection[str]) -> dict[str, dict[str, Any]]:
    """The data of those sessions that are alive: one query, whatever their number. Never changes a session."""
    table = model()
    if table is None:
        loaded = {key: dict(_store(key).load()) for key in keys}
        return {key: data for key, data in loaded.items() if data}
    rows = table._default_manager.filter(session_key__in=keys, expire_date__gt=timezone.now())
    store = _store()
    return {row.session_key: store.decode(row.session_data) for row in rows}


def delete(session_key: str) -> None:
    _store().delete(session_key)


def record(request: HttpRequest, user: User) -> None:
    """Note that this request's session belongs to this person now."""
    if not request.session.session_key:
        request.session.save()
    SignIn.objects.update_or_create(
        session_key=request.session.session_key,
        defaults={
            "user": user,
            "ip": places.address(request) or None,
            "agent": request.headers.get("User-Agent", "")[:_AGENT_LENGTH],
            "seen_at": timezone.now(),
        },
    )


def seen(request: HttpRequest, user: User) -> None:
    """Move `seen_at` on when it is minutes old; a session without a row gets one."""
    now = timezone.now()
    row = SignIn.objects.filter(session_key=request.session.session_key)
    if touch(row.filter(seen_at__lt=now - SEEN_EVERY), seen_at=now) == 0 and not row.exists():
        record(request, user)


def follow(old: str, new: str, user: User) -> None:
    """A password change gave the session another key: the row goes with it."""
    rows = SignIn.objects.filter(session_key=old, user=user)
    if SignIn.objects.filter(session_key=new).exists():
        rows.delete()
    else:
        rows.update(session_key=new)


def model() -> type[AbstractBaseSession] | None:
    """The table behind the configured engine, if it has one."""
    find = getattr(_engine().SessionStore, "get_model_class", None)
    return find() if find is not None else None


def list_for(user: User) -> list[SignIn]:
    """The person's live sessions, the one seen last first; rows of those that are gone are dropped on the way.

    One that was signed in before the password changed is not live; its row stays, for `user` may be a stale one.
    """
    rows = list(SignIn.objects.filter(user=user).order_by("-seen_at", "-pk"))
    loaded = load([row.session_key for row in rows])
    gone = [row.pk for row in rows if row.session_key not in loaded]
    if gone:
        SignIn.objects.filter(pk__in=gone).delete()
    alive = {key for key, data in loaded.items() if hash_fits(user, data)}
    return [row for row in rows if row.session_key in alive]


def prune() -> int:
    """Drop rows whose session is gone, a bounded number in each statement. Returns how many."""
    pruned = last = 0
    while True:
        rows = SignIn.objects.filter(pk__gt=last).order_by("pk")
        keys = dict(rows.values_list("session_key", "pk")[:_CHUNK])
        if not keys:
            return pruned
        alive = load(list(keys))
        dead = [pk for key, pk in keys.items() if key not in alive]
        if dead:
            pruned += SignIn.objects.filter(pk__in=dead).delete()[0]
        last = max(keys.values())


def hash_fits(user: User, data: dict[str, Any] | SessionBase) -> bool:
    """Whether the session was signed in with the present password, under this SECRET_KEY or a fallback."""
    stored = data.get(HASH_SESSION_KEY) or ""
    if constant_time_compare(stored, user.get_session_auth_hash()):
        return True
    return any(constant_time_compare(stored, old) for old in user.get_session_auth_fallback_hash())


def sign_anew(session: SessionBase) -> None:
    """Give one that was signed under an older SECRET_KEY, which is a fallback now, its hash under the present one."""
    if SESSION_KEY not in session:
        return
    user = get_user_model()._default_manager.filter(pk=str(session[SESSION_KEY])).first()
    if user is None or not hash_fits(user, session):
        return
    present = user.get_session_auth_hash()
    if session[HASH_SESSION_KEY] != present:
        session[HASH_SESSION_KEY] = present


@cache
def _engine() -> Any:
    return import_module(settings.SESSION_ENGINE)


def _store(session_key: str | None = None) -> SessionBase:
    store: SessionBase = _engine().SessionStore(session_key)
    return store
