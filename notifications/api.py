"""`/notifications`, `/inbox`, `/announcements`."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest
from ninja import Path, Query, Router, Schema, Status
from pydantic import Field

from accounts import audience, idempotency, throttle
from accounts.api import Key, Person
from accounts.api_auth import Authenticated, account, caller
from accounts.authenticate import Credential
from accounts.errors import ApiError, forbidden, not_found
from notifications import announcements, inbox, notifying
from notifications.announcements import PERMISSION
from notifications.errors import InvalidContent, NoSuchNotification
from notifications.models import Announcement, Level

router = Router(tags=["notifications"])

NOTIFICATIONS_PER_MINUTE: Final = 600
ANNOUNCERS_PER_MINUTE: Final = 3000
MARKS_PER_MINUTE: Final = 600
NAMED_MOST: Final = 100
"""People that one call may name without the permission to announce."""
_BIGGEST: Final = 2**63 - 1

PathId = Annotated[int, Path(le=_BIGGEST)]


class To(Schema):
    users: Annotated[list[str], Field(max_length=10_000)] = []
    teams: Annotated[list[str], Field(max_length=1_000)] = []
    everyone: bool = False


class NewNotification(Schema):
    to: To
    kind: str
    title: str
    body: str = ""
    url: str = ""
    level: str = Level.INFO.value
    key: Key | None = None


class Notified(Schema):
    notifications: int


class InboxItem(Schema):
    id: int
    kind: str
    title: str
    body: str
    url: str
    level: str
    actor: Person | None
    read: bool
    at: str


class InboxPage(Schema):
    items: list[InboxItem]
    unread: int
    cursor: str
    next: int | None


class Marking(Schema):
    read: bool


class UpTo(Schema):
    up_to: Annotated[int, Field(ge=0, le=_BIGGEST)]


class Unread(Schema):
    unread: int


class Team(Schema):
    id: int
    name: str


class AnnouncementItem(Schema):
    id: int
    title: str
    body: str
    level: str
    team: Team | None
    author: Person | None
    at: str
    edited_at: str | None


class AnnouncementPage(Schema):
    items: list[AnnouncementItem]
    cursor: str
    next: int | None


class NewAnnouncement(Schema):
    title: str
    body: str = ""
    level: str = Level.INFO.value
    team: Annotated[str | int | None, Field(description="A team's name or id; none: all.")] = None
    key: Key | None = None


class AnnouncementEdit(Schema):
    """What is left out stays as it is."""

    title: str = ""
    body: str = ""
    level: str = Level.INFO.value
    team: str | int | None = None


@router.post(
    "/notifications", auth=Authenticated("publish"), response={201: Notified, 200: Notified}
)
def notify_people(request: HttpRequest, letter: NewNotification) -> Status[Any]:
    """Notify people. The same `key` again tells nobody a second time and gets the first answer with status 200."""
    user, credential = account(request), caller(request)
    may_announce = user.has_perm(PERMISSION)
    if may_announce:
        throttle.limit(credential, "notifications", ANNOUNCERS_PER_MINUTE, reason="publish_rate")
    else:
        _limit_named(credential, len(set(letter.to.users)))
    if (letter.to.teams or letter.to.everyone) and not may_announce:
        raise forbidden("You may notify named people, not teams or everyone.")
    people = notifying.staff_among(_recipients(letter.to))
    content = letter.dict(include={"kind", "title", "body", "url", "level"})
    if letter.key is None:
        return Status(201, {"notifications": _tell_once(_draft(user, content), people)})
    _draft(user, content)
    status, plan = idempotency.once(
        credential.user_id,
        "notifications",
        letter.key,
        lambda: (
            201,
            {"notifications": len(people), "people": sorted(people), "content": content},
        ),
        again=200,
    )
    # Whom to tell what is settled above; telling is done in short transactions and may be repeated: what a crash
    # cut short is completed by the next attempt with the same key.
    key = hashlib.sha256(letter.key.encode()).hexdigest()[:32]
    draft = _draft(user, {**plan["content"], "key": f"api.{user.pk}.{key}"})
    notifying.deliver([(draft, plan["people"])])
    return Status(status, {"notifications": plan["notifications"]})


@router.get("/inbox", auth=Authenticated("read"), response=InboxPage)
def read_inbox(
    request: HttpRequest,
    state: inbox.State = "all",
    limit: Annotated[int, Query(ge=1, le=inbox.PAGE_MAX)] = inbox.PAGE,
    before: Annotated[int | None, Query(ge=1, le=_BIGGEST)] = None,
) -> dict[str, Any]:
    """Own notifications, newest first; `next` is the `before` of the following page."""
    return inbox.snapshot(account(request), state, limit, before)


@router.post("/inbox/read", auth=Authenticated("read"), response=Unread)
def mark_all(request: HttpRequest, marking: UpTo) -> dict[str, int]:
    """Mark everything up to this id as read."""
    throttle.limit(caller(request), "inbox", MARKS_PER_MINUTE)
    return {"unread": inbox.mark_all(account(request), marking.up_to)}


@router.patch("/inbox/{int:notification_id}", auth=Authenticated("read"), response=Unread)
def mark(request: HttpRequest, notification_id: PathId, marking: Marking) -> dict[str, int]:
    """Mark one as read or unread. What it is already is no change and no event."""
    throttle.limit(caller(request), "inbox", MARKS_PER_MINUTE)
    try:
        return {"unread": inbox.mark(account(request), notification_id, marking.read)}
    except NoSuchNotification:
        raise not_found() from None


@router.get("/announcements", auth=Authenticated("read"), response=AnnouncementPage)
def list_announcements(
    request: HttpRequest,
    limit: Annotated[int, Query(ge=1, le=announcements.PAGE_MAX)] = announcements.PAGE,
    before: Annotated[int | None, Query(ge=1, le=_BIGGEST)] = None,
    topic: Annotated[str, Query(max_length=100)] = "",
) -> dict[str, Any]:
    """What is addressed to everybody and to own teams and what one wrote, newest first; to a superuser all.

    With `topic`, which is `group.announcements` or `team.<id>`, that topic's alone: its snapshot after a reset.
    """
    if topic:
        if not audience.may_read(caller(request).user_id, topic):
            raise forbidden("You may not read this topic, or it does not exist.")
        return announcements.snapshot_of(topic, limit, before)
    return announcements.snapshot(account(request), limit, before)


@router.post("/announcements", auth=Authenticated("publish"), response={201: AnnouncementItem})
def announce(request: HttpRequest, new: NewAnnouncement) -> Status[Any]:
    """Announce to everybody or to a team. The same `key` again announces nothing and gets the first answer."""
    user = _announcer(request)

    def make() -> tuple[int, Any]:
        try:
            made = announcements.create(user, new.title, new.body, new.level, _team(new.team))
        except InvalidContent as error:
            raise _invalid(error) from None
        return 201, announcements.item(made)

    return Status(*idempotency.once(user.pk, "announcements", new.key, make))


@router.patch(
    "/announcements/{int:announcement_id}",
    auth=Authenticated("publish"),
    response=AnnouncementItem,
)
def edit_announcement(
    request: HttpRequest, announcement_id: PathId, changes: AnnouncementEdit
) -> dict[str, Any]:
    """Change the parts that are given."""
    row = _editable(request, announcement_id)
    parts = changes.dict(exclude_unset=True)
    if "team" in parts:
        parts["team"] = _team(parts["team"])
    try:
        return announcements.item(announcements.edit(row, **parts))
    except InvalidContent as error:
        raise _invalid(error) from None
    except Announcement.DoesNotExist:
        raise not_found() from None


@router.delete(
    "/announcements/{int:announcement_id}", auth=Authenticated("publish"), response={204: None}
)
def delete_announcement(request: HttpRequest, announcement_id: PathId) -> Status[None]:
    announcements.delete(_editable(request, announcement_id))
    return Status(204, None)


def _tell_once(draft: notifying.Draft, people: set[int]) -> int:
    """All of them or, when it fails, nobody: without a key a repeat would tell some a second time."""
    if len(people) <= notifying.PEOPLE_PER_TRANSACTION:
        return notifying.deliver([(draft, people)])
    with transaction.atomic():  # as letters, which are delivered after the commit
        return notifying.deliver([(draft, people)])


def _limit_named(credential: Credential, count: int) -> None:
    """Each person named counts as a call: naming everybody is no way round the permission to announce."""
    if count > NAMED_MOST:
        raise ApiError(
            422,
            f"{count} people are named; without the permission to announce at most {NAMED_MOST} may be.",
            fields={"to.users": f"name at most {NAMED_MOST}"},
        )
    throttle.limit(
        credential,
        "notifications",
        NOTIFICATIONS_PER_MINUTE,
        cost=max(count, 1),
        reason="publish_rate",
    )


def _recipients(to: To) -> set[int]:
    """Ids of everybody meant; refuses names that nobody has."""
    users, teams = set(to.users), set(to.teams)
    if not (users or teams or to.everyone):
        raise ApiError(422, "Nobody is named.", fields={"to": "name users, teams or everyone"})
    people: Any = get_user_model()
    found = dict(
        people.objects.filter(**{f"{people.USERNAME_FIELD}__in": users}).values_list(
            people.USERNAME_FIELD, "pk"
        )
    )
    groups = {group.name: group for group in Group.objects.filter(name__in=teams)}
    unknown = {"to.users": users - found.keys(), "to.teams": teams - groups.keys()}
    fields = {
        place: f"unknown: {', '.join(sorted(names))}" for place, names in unknown.items() if names
    }
    if fields:
        raise ApiError(422, "Not everybody named is known here.", fields=fields)
    everyone = notifying.person_ids(notifying.EVERYONE) if to.everyone else set()
    return {*found.values(), *notifying.person_ids(groups.values()), *everyone}


def _draft(user: User, content: dict[str, Any]) -> notifying.Draft:
    try:
        return notifying.draft(**content, actor=user)
    except InvalidContent as error:
        raise _invalid(error) from None


def _invalid(error: InvalidContent) -> ApiError:
    return ApiError(422, f"Not accepted: {error}.", fields={error.field: error.detail})


def _announcer(request: HttpRequest) -> User:
    user = account(request)
    throttle.limit(caller(request), "announcements", ANNOUNCERS_PER_MINUTE, reason="publish_rate")
    if not user.has_perm(PERMISSION):
        raise forbidden("You may not announce.")
    return user


def _editable(request: HttpRequest, announcement_id: int) -> Announcement:
    row = announcements.editable_by(_announcer(request)).filter(pk=announcement_id).first()
    if row is None:
        raise not_found()
    return row


def _team(named: str | int | None) -> Group | None:
    if named is None:
        return None
    found = Group.objects.filter(**{"pk" if isinstance(named, int) else "name": named}).first()
    if found is None:
        raise ApiError(422, "There is no such team.", fields={"team": f"unknown: {named}"})
    return found
