"""Notices to everybody or to a team: a live blog that is shown, edited and removed without a reload.

Every change goes through the model, and the model is watched: what is written here, in the admin or in a shell is one
and the same event. One that moves to another team is `deleted` on the old topic and `created` on the new, and since
there is no order across topics, a reader of both keeps the items of each topic apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import orjson
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import profiles
from events import log, topics
from notifications import content
from notifications.errors import AnnouncementChanged, InvalidAnnouncement
from notifications.model_events import Change, watch
from notifications.models import Announcement, Level

PERMISSION: Final = "hub_notifications.announce"
PAGE: Final = 20
PAGE_MAX: Final = 100


class _Kept(Enum):
    KEPT = "kept"


KEPT: Final = _Kept.KEPT
"""Stands for a part of an announcement that an edit leaves as it is."""


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. `next` is the `before` of the following page, None on the last."""

    announcements: list[Announcement]
    next: int | None

    @property
    def items(self) -> list[dict[str, Any]]:
        return items(self.announcements)


def visible_to(user: User, limit: int = PAGE, before: int | None = None) -> Page:
    """What is addressed to everybody or to a team of this person, for the dashboard."""
    return _page(addressed_to(user), limit, before)


def snapshot(user: User, limit: int = PAGE, before: int | None = None) -> dict[str, Any]:
    """`GET /api/v1/announcements`, and what the page shows: the events of its cursor's topics after it bring it up to date.

    A superuser, who may read every team, gets all; the cursor then has the teams of this page too. An author also gets
    what they wrote to teams that they are not in, whose events they do not read.
    """
    names = topics_of(user)
    rows = addressed_to(user)
    if user.is_superuser:
        everything = _page(Announcement.objects.all(), limit, before)
        teams = {row.team_id for row in everything.announcements if row.team_id is not None}
        names += sorted(set(map(topics.team, teams)).difference(names))
        rows |= Announcement.objects.filter(team__in=teams)
    elif user.has_perm(PERMISSION):
        rows |= Announcement.objects.filter(author=user)
    return _snapshot(names, rows, limit, before)


def snapshot_of(topic: str, limit: int = PAGE, before: int | None = None) -> dict[str, Any]:
    """The announcements of one topic alone. Who may read it is for the caller to ask."""
    parsed = topics.parse(topic)
    rows = Announcement.objects.none()
    if topic == topics.ANNOUNCEMENTS:
        rows = Announcement.objects.filter(team=None)
    elif parsed is not None and parsed.kind == "team":
        rows = Announcement.objects.filter(team=int(parsed.key))
    return _snapshot([topic], rows, limit, before)


def _snapshot(
    names: list[str], rows: QuerySet[Announcement], limit: int, before: int | None
) -> dict[str, Any]:
    cursor = log.cursor(names)
    page = _page(rows, limit, before)
    return {"items": page.items, "cursor": cursor, "next": page.next}


def _page(rows: QuerySet[Announcement], limit: int, before: int | None) -> Page:
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows.select_related("team").order_by("-pk")[: limit + 1])
    shown = found[:limit]
    return Page(shown, shown[-1].pk if len(found) > limit else None)


def topics_of(user: User) -> list[str]:
    teams = user.groups.order_by("pk").values_list("pk", flat=True)
    return [topics.ANNOUNCEMENTS, *map(topics.team, teams)]


def addressed_to(user: User) -> QuerySet[Announcement]:
    return Announcement.objects.filter(Q(team=None) | Q(team__in=user.groups.values("pk")))


def editable_by(user: User) -> QuerySet[Announcement]:
    """Whoever may announce edits what they can read and what they wrote; a superuser everything."""
    if not user.has_perm(PERMISSION):
        return Announcement.objects.none()
    if user.is_superuser:
        return Announcement.objects.all()
    return Announcement.objects.filter(
        Q(team=None) | Q(team__in=user.groups.values("pk")) | Q(author=user)
    )


def create(
    author: User | None,
    title: str,
    body: str = "",
    level: str = Level.INFO,
    team: Group | None = None,
) -> Announcement:
    """Raises InvalidAnnouncement, which names the field. Who may announce is for the caller to ask."""
    row = Announcement(author=author, **_parts(title, body, level), team=team)
    row.save(force_insert=True)
    return row


def edit(
    announcement: Announcement,
    *,
    title: str | _Kept = KEPT,
    body: str | _Kept = KEPT,
    level: str | _Kept = KEPT,
    team: Group | _Kept | None = KEPT,
    seen: str | None = None,
) -> Announcement:
    """Change what is given; nothing that differs is no edit. With another team the old readers see it go and the new
    ones see it come.

    Whoever edits what they read some time ago gives its `version` as `seen`: AnnouncementChanged then carries the row
    that somebody else has stored since. Raises InvalidAnnouncement, or Announcement.DoesNotExist when it was deleted
    meanwhile.
    """
    with transaction.atomic():
        row = Announcement.objects.select_for_update().get(pk=announcement.pk)
        before = version(row)
        if seen is not None and seen != before:
            raise AnnouncementChanged(row)
        parts = _parts(
            row.title if title is KEPT else title,
            row.body if body is KEPT else body,
            row.level if level is KEPT else level,
        )
        for name, value in parts.items():
            setattr(row, name, value)
        if team is not KEPT:
            row.team = team
        if version(row) != before:
            row.edited_at = timezone.now()
            row.save(force_update=True)
    return row


def version(announcement: Announcement) -> str:
    """Another one for every other content, whoever wrote it where; the same again when a change is taken back."""
    parts = [announcement.title, announcement.body, announcement.level, announcement.team_id]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:16]


def delete(announcement: Announcement) -> None:
    """Gone already is fine."""
    Announcement.objects.filter(pk=announcement.pk).delete()


def items(announcements: Iterable[Announcement]) -> list[dict[str, Any]]:
    """Announcements as the API and events have them, authors' names in one query."""
    rows = list(announcements)
    authors = profiles.people({row.author_id for row in rows if row.author_id is not None})
    return [_item(row, authors) for row in rows]


def item(announcement: Announcement) -> dict[str, Any]:
    return items([announcement])[0]


def watch_them() -> None:
    watch(Announcement, topic=topic_of, type="announcement", data=_event_data)


def _parts(title: str, body: str, level: str) -> dict[str, str]:
    return {
        "title": content.title(title, InvalidAnnouncement),
        "body": content.body(body, InvalidAnnouncement),
        "level": content.level(level, InvalidAnnouncement),
    }


def _item(row: Announcement, authors: dict[int, dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": row.pk,
        "title": row.title,
        "body": row.body,
        "level": row.level,
        "team": None if row.team is None else {"id": row.team.pk, "name": row.team.name},
        "author": None if row.author_id is None else authors.get(row.author_id),
        "at": log.rfc3339(row.created_at),
        "edited_at": None if row.edited_at is None else log.rfc3339(row.edited_at),
    }


def topic_of(row: Announcement) -> str:
    return topics.ANNOUNCEMENTS if row.team_id is None else topics.team(row.team_id)


def _event_data(row: Announcement, change: Change) -> dict[str, Any]:
    return {"id": row.pk} if change == "deleted" else item(row)
