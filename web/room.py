"""`/rooms/<id>/`: what is said in one room, from its newest message or around any other, and posting by form."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, cast

from django.contrib import messages as flashes
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import throttle
from chat import messages, rooms
from chat.emoji import SHORTCODES
from chat.errors import InvalidChat, NoSuchMessage, NoSuchRoom, NotPossible
from chat.models import Involvement, Kind, Room
from events import log, topics
from web.rooms import counted
from web.templatetags.hub import moment
from web.views import day_label, page, whole

EMOJI_KEPT: Final = 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class Row:
    """A message as the list shows it: `day` stands above it when a day begins, then the unread line."""

    item: dict[str, Any]
    at: datetime
    day: str
    is_first: bool
    is_first_unread: bool


@require_safe
@page
def room_page(request: HttpRequest, room_id: int, message_id: int | None = None) -> HttpResponse:
    cursor = log.cursor([topics.room(room_id)])
    return _show(request, _find(request, room_id), cursor, message_id=message_id)


@require_POST
@page
def room_post(request: HttpRequest, room_id: int) -> HttpResponse:
    """The form's `client_id` makes one message of a form that is sent twice."""
    cursor = log.cursor([topics.room(room_id)])
    body = request.POST.get("body", "")
    client_id = _uuid(request.POST.get("client_id")) or uuid.uuid4()
    user = _me(request)
    try:
        throttle.limit_person(user.pk, messages.POSTS, messages.POSTS_PER_MINUTE)
        messages.post(user, room_id, client_id, body)
    except NoSuchRoom:
        raise Http404 from None
    except InvalidChat as error:
        said, status = error.detail, 422
    except NotPossible as error:
        said, status = str(error), 409
    except throttle.TooFast:
        said, status = _("That was a lot at once. Wait a moment and try again."), 429
    else:
        return redirect("web:room", room_id)
    room = _find(request, room_id)
    return _show(request, room, cursor, body=body, problem=said, status=status)


@require_POST
@page
@counted
def room_join(request: HttpRequest, room_id: int) -> HttpResponse:
    try:
        rooms.join(_find(request, room_id), _me(request))
    except NoSuchRoom:
        raise Http404 from None
    except NotPossible as error:
        flashes.error(request, str(error))
    return redirect("web:room", room_id)


@require_safe
def shortcodes(request: HttpRequest) -> HttpResponse:
    """What the composer completes after a colon."""
    response = JsonResponse(SHORTCODES)
    response["Cache-Control"] = f"public, max-age={EMOJI_KEPT}"
    return response


def _show(
    request: HttpRequest,
    room: Room,
    cursor: str,
    *,
    message_id: int | None = None,
    body: str = "",
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    user = _me(request)
    item = rooms.item(room, user)
    shown = _page(request, room, message_id)
    items = shown.items[::-1]
    first = messages.first_unread(room, user, item["read_up_to"]) if item["unread"] else None
    above = first - 1 if first is not None and items and first < items[0]["id"] else None
    return render(
        request,
        "web/room.html",
        {
            "place": "rooms",
            "room": item,
            "title": title(item, user.pk),
            "cursor": cursor,
            "rows": list(_rows(items, first)),
            "older": shown.older,
            "newer": shown.newer,
            "unread_above": above,
            "target": message_id,
            "manages": rooms.manages(user, room),
            "involvements": Involvement.choices,
            "body": body,
            "problem": problem,
            "client_id": uuid.uuid4(),
            "blank": _BLANK,
            "data": {
                "room": item,
                "items": items,
                "older": shown.older,
                "newer": shown.newer,
                "unread_from": first,
                "target": message_id,
                "superuser": user.is_superuser,
                "username": user.get_username(),
            },
        },
        status=status,
    )


_BLANK: Final[dict[str, Any]] = {
    "id": "",
    "author": None,
    "html": "",
    "edited_at": None,
    "deleted": False,
    "mentions": [],
}


def title(room: dict[str, Any], user_id: int) -> str:
    """What a room is called: its name, or the people of a direct one."""
    if room["kind"] != Kind.DIRECT:
        return str(room["name"])
    others = [person["name"] for person in room["members"] if person["id"] != user_id]
    return ", ".join(others) or _("You alone")


def _page(request: HttpRequest, room: Room, message_id: int | None) -> messages.Page:
    if message_id is None:
        before, after = whole(request.GET.get("before")), whole(request.GET.get("after"))
        return messages.page(room, before=before, after=after if before is None else None)
    try:
        return messages.around(room, message_id)
    except NoSuchMessage:
        raise Http404 from None


def _rows(items: Iterable[dict[str, Any]], first_unread: int | None) -> Iterator[Row]:
    """What one person says within a minute stands under one name; `roomgroups.js` says the same."""
    day, last = date.min, None
    for item in items:
        at = timezone.localtime(moment(item["at"]))
        begins_day = at.date() > day
        group = (item["author"] and item["author"]["id"], at.replace(second=0, microsecond=0))
        is_first = begins_day or group != last
        day, last = max(day, at.date()), group
        yield Row(
            item, at, day_label(day) if begins_day else "", is_first, item["id"] == first_unread
        )


def _find(request: HttpRequest, room_id: int) -> Room:
    try:
        return rooms.find(_me(request), room_id)
    except NoSuchRoom:
        raise Http404 from None


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None


def _me(request: HttpRequest) -> User:
    return cast(User, request.user)
