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
from tasks.models import Job, State
from web import my_rooms

_MOST_SHOWN: Final = 99  # a badge beyond this reads "99+"
_MOST_COUNTED: Final = 500


@dataclass(frozen=True, slots=True)
class Start:
    """What somebody's pages hear without asking, and where that stood before a row was read."""

    topics: tuple[str, ...]
    position: log.Position
    """In the topics, and in those of the rooms with the newest news."""


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
    start: Start | None = None
    """None for nobody."""
    unread: int = 0
    jobs: tuple[str, ...] = ()
    """The person's own that wait or run."""
    rooms: tuple[dict[str, Any], ...] = ()
    """Those the person is in."""

    @property
    def cursor(self) -> str:
        return self.start.position.cursor if self.start else ""

    @property
    def topics(self) -> tuple[str, ...]:
        return self.start.topics if self.start else ()

    @property
    def unread_short(self) -> str:
        return short(self.unread)

    @property
    def jobs_short(self) -> str:
        return short(len(self.jobs))

    @property
    def rooms_with_news(self) -> list[dict[str, Any]]:
        return my_rooms.with_news(self.rooms)

    @property
    def rooms_unread(self) -> str:
        """Of all rooms that are not muted; empty for none."""
        count = sum(room["unread"] for room in self.rooms_with_news)
        return short(count) if count else ""

    @property
    def rooms_mentions(self) -> str:
        count = sum(room["mentions"] for room in self.rooms_with_news)
        return short(count) if count else ""

    @property
    def rooms_are_to_me(self) -> bool:
        return any(map(my_rooms.is_to_me, self.rooms_with_news))

    @property
    def rooms_for_script(self) -> list[dict[str, Any]]:
        """On every page, so without what only the list shows."""
        left_out = {"topic_line"}
        return [
            {name: value for name, value in room.items() if name not in left_out}
            for room in self.rooms
        ]


def short(count: int) -> str:
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


def start(user: User) -> Start:
    names = tuple(audience.topics_of(user))
    heard = my_rooms.heard(user) if names else []
    return Start(names, log.position([*names, *heard]))


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
    begun = start(user)
    name = profiles.display_name(user)
    return Frame(
        language=language,
        words=words_version(language),
        theme=profile.theme,
        name=name,
        initials=initials(name),
        time_zone=profile.time_zone,
        shortcuts=profile.shortcuts,
        start=begun,
        unread=inbox.unread(user),
        jobs=tuple(live_jobs(user)),
        rooms=tuple(my_rooms.mine(user)) if begun.topics else (),
    )


def live_jobs(user: User) -> list[str]:
    """Which, not how many: events that come twice, or were counted already, then change nothing."""
    live = Job.objects.filter(owner=user, finished_at=None).order_by("-created_at")
    return [str(pk) for pk in live.values_list("pk", flat=True)[:_MOST_COUNTED]]


@cache
def words_version(language: str) -> str:
    """Changes with the translations, so that browsers may keep the catalog for long."""
    digest = hashlib.sha256(language.encode())
    for path in settings.LOCALE_PATHS:
        for catalog in sorted(path.glob(f"{language}/LC_MESSAGES/djangojs.mo")):
            digest.update(catalog.read_bytes())
    return digest.hexdigest()[:12]
