"""Topic names: the only place that builds or takes apart one.

A name doubles as the channel-layer group's name, so it holds ASCII letters, digits, `-`, `_`, `.` only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.conf import settings

ACCESS: Final = (
    "access"  # internal: what changed about who may read what; no client can subscribe to it
)
DASHBOARD: Final = "group.dashboard"
ANNOUNCEMENTS: Final = "group.announcements"

GROUP_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_KEYS: Final = {
    "user": _NUMBER,
    "team": _NUMBER,
    "room": _NUMBER,
    "group": GROUP_NAME,
    "job": _UUID,
}


@dataclass(frozen=True, slots=True)
class Topic:
    """A well-formed name taken apart: `user.7` is kind `user`, key `7`. It says nothing about existence."""

    kind: str
    key: str
    name: str


def user(user_id: int) -> str:
    return f"user.{user_id}"


def group(name: str) -> str:
    return f"group.{name}"


def team(team_id: int) -> str:
    return f"team.{team_id}"


def room(room_id: int) -> str:
    return f"room.{room_id}"


def job(job_id: UUID | str) -> str:
    return f"job.{job_id}"


def groups() -> list[str]:
    """The fixed groups that exist here, the two built-in ones first."""
    return list(dict.fromkeys([DASHBOARD, ANNOUNCEMENTS, *map(group, settings.HUB_GROUPS)]))


def parse(name: str) -> Topic | None:
    """The parts of a client's topic name, or None when it is malformed."""
    kind, _, key = name.partition(".")
    pattern = _KEYS.get(kind)
    if pattern is None or pattern.fullmatch(key) is None:
        return None
    return Topic(kind, key, name)


def is_valid(name: str) -> bool:
    """Whether an event may be stored under this name."""
    return name == ACCESS or parse(name) is not None
