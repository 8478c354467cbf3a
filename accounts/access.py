"""Tells live connections that somebody's rights changed.

Every server process reads the topic `access` and asks `accounts.audience` and `accounts.authenticate` again for
those it names. The event rides in the transaction that changes the right, where there is one: a lone `save()` of an
account or a key has committed when its signal comes, and a process that dies in between tells nobody. That, and what
fires no signal (`update()`, raw SQL, expiry), is found by their sweep seconds later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import zip_longest
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, User
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete
from django.http import HttpRequest
from django.utils import timezone

from accounts import sessions
from accounts.models import ApiKey, SignIn
from events import publish_many
from events.topics import ACCESS

logger = logging.getLogger(__name__)

TYPE: Final = "hub.access"
_PER_EVENT: Final = 300
"""Of each kind in one event: 300 session digests stay well below the size limit."""
_held: ContextVar[list[dict[str, Any]] | None] = ContextVar("hub_access_held", default=None)
_HARMLESS: Final = frozenset({"last_login", "first_name", "last_name", "email", "date_joined"})


def changed(
    *,
    users: Iterable[int] = (),
    sessions: Iterable[str] = (),
    keys: Iterable[int] = (),
    topics: Iterable[str] = (),
) -> None:
    """Publish that these people, sessions (SHA-256 of the session key), API keys, or whoever reads these topics are to
    be asked for again.
    """
    parts: dict[str, list[Any]] = {
        "users": list(users),
        "sessions": list(sessions),
        "keys": list(keys),
        "topics": list(topics),
    }
    waiting = _held.get()
    if waiting is not None:
        waiting.append(parts)
        return
    logger.info("access changed: %s", {kind: some[:20] for kind, some in parts.items() if some})
    chunked = zip_longest(*map(_chunks, parts.values()), fillvalue=[])
    publish_many((ACCESS, TYPE, dict(zip(parts, some, strict=True))) for some in chunked)


@contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Keep the news of what happens inside; whoever calls the yielded function later tells it.

    Only for news that must not come too early. Should the call never happen, the sweep finds out.
    """
    waiting: list[dict[str, Any]] = []
    token = _held.set(waiting)
    try:
        yield lambda: _tell(waiting)
    finally:
        _held.reset(token)


def end_session(user: User, signin_id: int) -> bool:
    """End one of this person's own sessions; False when there is no such one."""
    row = SignIn.objects.filter(user=user, pk=signin_id).first()
    if row is None:
        return False
    end(row)
    return True


def end(signin: SignIn) -> None:
    with transaction.atomic():
        SignIn.objects.filter(pk=signin.pk).delete()
        sessions.delete(signin.session_key)
        changed(sessions=[sessions.digest(signin.session_key)])


def revoke(key: ApiKey) -> None:
    """The key and its news stand or fall together, whatever the caller's transaction."""
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        with transaction.atomic():
            key.save(update_fields=["revoked_at"])


def connect() -> None:
    """Wire the signals; called once, when the app is ready."""
    user_model = get_user_model()
    user_logged_out.connect(_logged_out, dispatch_uid="hub-access")
    table = sessions.model()
    if table is not None:  # else "any sender": every deletion of anything
        post_delete.connect(_session_deleted, sender=table, dispatch_uid="hub-access")
    post_save.connect(_user_saved, sender=user_model, dispatch_uid="hub-access")
    pre_delete.connect(_user_deleted, sender=user_model, dispatch_uid="hub-access")
    m2m_changed.connect(
        _membership_changed, sender=user_model.groups.through, dispatch_uid="hub-access"
    )
    pre_delete.connect(_team_deleted, sender=Group, dispatch_uid="hub-access")
    post_save.connect(_key_saved, sender=ApiKey, dispatch_uid="hub-access")
    post_delete.connect(_key_deleted, sender=ApiKey, dispatch_uid="hub-access")


def _tell(waiting: list[dict[str, Any]]) -> None:
    while waiting:
        changed(**waiting.pop(0))


def _chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    unique = list(dict.fromkeys(values))
    for start in range(0, len(unique), _PER_EVENT):
        yield unique[start : start + _PER_EVENT]


def _logged_out(request: HttpRequest, **_: Any) -> None:
    """Django flushes the session only after this signal: gone first, told then, or the answer would be "still valid"."""
    key = request.session.session_key
    if key is None:
        return
    with transaction.atomic():
        SignIn.objects.filter(session_key=key).delete()
        sessions.delete(key)
        changed(sessions=[sessions.digest(key)])


def _session_deleted(instance: AbstractBaseSession, **_: Any) -> None:
    """Deleted by whatever hand: the admin, `clearsessions`, a rotated key. Nobody signed in with it: no news."""
    if SignIn.objects.filter(session_key=instance.session_key).exists():
        changed(sessions=[sessions.digest(instance.session_key)])


def _user_saved(
    instance: User, created: bool, raw: bool, update_fields: frozenset[str] | None, **_: Any
) -> None:
    """Any other field may matter: password, flags, or what a HUB_IS_STAFF predicate looks at."""
    if created or raw or (update_fields is not None and update_fields <= _HARMLESS):
        return
    changed(users=[instance.pk])


def _user_deleted(instance: User, **_: Any) -> None:
    changed(users=[instance.pk])


def _membership_changed(
    instance: User | Group, action: str, reverse: bool, pk_set: set[int] | None, **_: Any
) -> None:
    if action not in {"post_add", "post_remove", "pre_clear"}:
        return
    if not reverse:
        changed(users=[instance.pk])
    elif isinstance(instance, Group):
        changed(users=_members(instance) if pk_set is None else pk_set)


def _team_deleted(instance: Group, **_: Any) -> None:
    """Superusers may read every team, so they lose this one too."""
    superusers = get_user_model()._default_manager.filter(is_superuser=True)
    changed(users=[*_members(instance), *superusers.values_list("pk", flat=True)])


def _members(team: Group) -> Iterable[int]:
    members = get_user_model()._default_manager.filter(groups=team)
    return list(members.values_list("pk", flat=True))


def _key_saved(instance: ApiKey, created: bool, **_: Any) -> None:
    if not created:
        changed(keys=[instance.pk])


def _key_deleted(instance: ApiKey, **_: Any) -> None:
    changed(keys=[instance.pk])
