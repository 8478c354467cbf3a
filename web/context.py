"""What every page of a signed-in person carries: who they are, and the cursor that its live part goes on from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import get_language

from accounts import audience, profiles
from events import log
from notifications import inbox
from tasks.models import LIVE, Job, State

_MOST_SHOWN: Final = 99  # a badge beyond this reads "99+"
_MOST_COUNTED: Final = 500


@dataclass(frozen=True)
class Frame:
    """Filled once per request, before the page reads its rows: its cursor must not be younger than they are."""

    language: str
    words: str
    theme: str = ""
    name: str = ""
    initials: str = ""
    time_zone: str = ""
    shortcuts: bool = True
    cursor: str = ""
    topics: tuple[str, ...] = ()
    unread: int = 0
    jobs: tuple[str, ...] = ()
    """The person's own that wait or run."""

    @property
    def unread_short(self) -> str:
        return _short(self.unread)

    @property
    def jobs_short(self) -> str:
        return _short(len(self.jobs))


def _short(count: int) -> str:
    return f"{_MOST_SHOWN}+" if count > _MOST_SHOWN else str(count)


def frame(request: HttpRequest) -> dict[str, Any]:
    """The context processor; pages that need no frame (the admin's) cost no query."""
    return {
        "frame": SimpleLazyObject(lambda: open_frame(request)),
        "states_of_jobs": State.choices,
    }


def open_frame(request: HttpRequest) -> Frame:
    kept: Frame | None = getattr(request, "_hub_frame", None)
    if kept is None:
        kept = _frame_of(getattr(request, "user", AnonymousUser()))
        request._hub_frame = kept  # type: ignore[attr-defined]
    return kept


def initials(name: str) -> str:
    """Two letters of a Latin name, one of any other."""
    words = [word for word in name.split() if word[0].isalnum()]
    if not words:
        return "?"
    if name.isascii():
        return "".join(word[0] for word in words[:2]).upper()
    return words[0][0]


def _frame_of(user: User | AnonymousUser) -> Frame:
    language = get_language() or settings.LANGUAGE_CODE
    if not user.is_authenticated:
        return Frame(language, words_version(language))
    profile = profiles.of(user)
    topics = tuple(audience.default_topics(user.pk))
    name = profiles.display_name(user)
    return Frame(
        language=language,
        words=words_version(language),
        theme=profile.theme,
        name=name,
        initials=initials(name),
        time_zone=profile.time_zone,
        shortcuts=profile.shortcuts,
        cursor=log.cursor(topics),
        topics=topics,
        unread=inbox.unread(user),
        jobs=tuple(live_jobs(user)),
    )


def live_jobs(user: User) -> list[str]:
    """Which, not how many: events that come twice, or were counted already, then change nothing."""
    live = Job.objects.filter(owner=user, state__in=LIVE).order_by("-created_at")
    return [str(pk) for pk in live.values_list("pk", flat=True)[:_MOST_COUNTED]]


@cache
def words_version(language: str) -> str:
    """Changes with the translations, so that browsers may keep the catalog for long."""
    digest = hashlib.sha256(language.encode())
    for path in settings.LOCALE_PATHS:
        for catalog in sorted(path.glob(f"{language}/LC_MESSAGES/djangojs.mo")):
            digest.update(catalog.read_bytes())
    return digest.hexdigest()[:12]
