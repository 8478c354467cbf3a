"""`/rooms/` and all about rooms but what is said in them: the list, making, settings, who is in, finding."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, Final, cast
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import idempotency, throttle
from chat import names, rooms
from chat.api import CHANGES_PER_MINUTE
from chat.errors import InvalidChat, NoSuchRoom, NotAllowed, NotPossible
from chat.models import Kind, Membership, Room
from chat.search import QUERY_MAX, search
from events import log, topics
from web.context import open_frame
from web.room_forms import INVOLVEMENTS, KINDS, DirectForm, InviteForm, RoomEditForm, RoomForm
from web.templatetags.rooms import KIND_WORDS
from web.views import View, page, whole

TO_JOIN: Final = 100
"""Open rooms of one page of the list that one is not in."""
PEOPLE: Final = 25
"""Members of one page of a room's settings."""
_PLACE: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
"""Where a page of them begins (`chat.rooms.newest_first`)."""
ONCE: Final = "hub-once"
"""The field that tells a form sent twice from two forms."""
_ROUTE: Final = "rooms page"
"""Under which its answer is kept."""


def counted(view: View) -> View:
    """What a form changes about rooms counts with what the API changes."""

    @wraps(view)
    def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method == "POST":
            throttle.limit_person(_me(request).pk, "rooms", CHANGES_PER_MINUTE)
        return view(request, *args, **kwargs)

    return limited


# --- The list ----------------------------------------------------------------------------------------------------


@require_safe
@page
def rooms_page(request: HttpRequest) -> HttpResponse:
    user = _me(request)
    filtered = request.GET.get("q", "")[:200].replace("\0", "").strip()
    place = _PLACE.fullmatch(request.GET.get("before", ""))
    before = place[0] if place else ""
    mine = _matching(filtered, open_frame(request).rooms)
    to_join, following = _to_join(user, filtered, before)
    return render(
        request,
        "web/rooms.html",
        {
            "place": "rooms",
            "mine": mine,
            "to_join": to_join,
            "filtered": filtered,
            "before": before,
            "more": following and urlencode({"q": filtered, "before": following}),
            "kind_words": KIND_WORDS.items(),
        },
    )


def _to_join(user: User, text: str, before: str) -> tuple[list[dict[str, Any]], str | None]:
    """Open rooms that fit the filter, and the `before` of those that follow."""
    rows = rooms.to_join(user)
    for word in text.split():
        rows = rows.filter(Q(name__icontains=word) | Q(topic_line__icontains=word))
    shown, following = rooms.newest_first(rows, TO_JOIN, before)
    return [_open_room(room) for room in shown], following


def _open_room(room: Room) -> dict[str, Any]:
    return {"id": room.pk, "kind": room.kind, "title": room.name, "topic_line": room.topic_line}


def _matching(text: str, items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """`hub-rooms` does the same, and `_to_join` the database."""
    words = text.casefold().split()
    return [
        item
        for item in items
        if all(word in f"{item['title']} {item['topic_line']}".casefold() for word in words)
    ]


# --- New ones ----------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@page
@counted
def room_new(request: HttpRequest) -> HttpResponse:
    user = _me(request)
    if request.method != "POST":
        return _new(request, RoomForm(), str(uuid.uuid4()))
    once = str(_uuid(request.POST.get(ONCE)) or uuid.uuid4())
    form = RoomForm(request.POST)
    if form.is_valid():
        given = form.cleaned_data

        def make() -> tuple[int, Any]:
            room = rooms.create(
                user, given["kind"], given["name"], given["topic_line"], given["members"]
            )
            return 201, {"id": room.pk}

        try:
            _status, made = idempotency.once(user.pk, _ROUTE, once, make)
            return redirect("web:room", made["id"])
        except InvalidChat as error:
            _refuse(form, error)
    return _new(request, form, once, status=422)


def _new(request: HttpRequest, form: RoomForm, once: str, status: int = 200) -> HttpResponse:
    context = {"place": "rooms", "form": form, "once": once, "kinds": KINDS}
    return render(request, "web/room_new.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@page
@counted
def room_direct(request: HttpRequest) -> HttpResponse:
    """Leads to the room that these people have already, if there is one."""
    user = _me(request)
    form = DirectForm(request.POST or None, me=user)
    if form.is_valid():
        try:
            room, _is_new = rooms.direct(user, form.cleaned_data["members"])
            return redirect("web:room", room.pk)
        except InvalidChat as error:
            _refuse(form, error)
    context = {"place": "rooms", "form": form}
    status = 422 if request.method == "POST" else 200
    return render(request, "web/room_direct.html", context, status=status)


# --- Settings ----------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@page
@counted
def room_settings(request: HttpRequest, room_id: int) -> HttpResponse:
    """Name, topic and kind; or, by the button `archived`, whether anything new may be said."""
    user = _me(request)
    if request.method != "POST":
        return _settings(request, room_id)
    form = RoomEditForm(request.POST)
    with _managed(request, room_id) as room:
        if (archived := request.POST.get("archived")) is not None:
            done = _("The room is archived.") if archived == "1" else _("The room is in use again.")
            act = partial(rooms.edit, room, user, archived=archived == "1")
            return _do(request, room_id, done, act)
        if form.is_valid():
            try:
                rooms.edit(room, user, **form.cleaned_data)
                messages.success(request, _("Saved."))
                return redirect("web:room_settings", room_id)
            except InvalidChat as error:
                _refuse(form, error)
            except NotPossible as error:
                form.add_error(None, str(error))
    return _settings(request, room_id, form=form, status=422)


@require_POST
@page
@counted
def room_involve(request: HttpRequest, room_id: int) -> HttpResponse:
    room = _find(request, room_id)
    value = request.POST.get("involvement", "")
    return _do(
        request, room_id, _("Saved."), lambda: rooms.involve(room, _me(request), value), "you"
    )


@require_POST
@page
@counted
def room_member(request: HttpRequest, room_id: int) -> HttpResponse:
    """Invite people, take one out (`remove`) or hand the room over (`owner`)."""
    user = _me(request)
    form = InviteForm(request.POST)
    with _managed(request, room_id) as room:
        if "owner" in request.POST:
            heir = _member(room, request.POST["owner"])
            done = _("The room is handed over.")
            return _do(
                request, room_id, done, partial(rooms.edit, room, user, owner=heir), "people"
            )
        if "remove" in request.POST:
            gone = _member(room, request.POST["remove"])
            done = _("%(who)s is no longer in the room.") % {"who": gone.get_username()}
            act = partial(rooms.remove, room, gone, by=user)
            return _do(request, room_id, done, act, "people")
        if form.is_valid():
            invited = form.cleaned_data["members"]
            try:
                rooms.invite(room, invited, by=user)
                count = len(invited)
                done = ngettext("%(count)d person invited.", "%(count)d people invited.", count)
                messages.success(request, done % {"count": count})
                return redirect(f"/rooms/{room_id}/settings/#people")
            except InvalidChat as error:
                _refuse(form, error)
            except NotPossible as error:
                form.add_error("members", str(error))
    return _settings(request, room_id, invite=form, status=422)


@require_http_methods(["GET", "HEAD", "POST"])
@page
@counted
def room_leave(request: HttpRequest, room_id: int) -> HttpResponse:
    user = _me(request)
    room = _find(request, room_id)
    if not Membership.objects.filter(room=room, user=user).exists():
        return redirect("web:room_settings", room_id)
    if request.method == "POST":
        try:
            rooms.remove(room, user, by=user)
            messages.success(request, _("You left %(room)s.") % {"room": room.name})
            return redirect("web:rooms")
        except NotPossible as error:
            messages.error(request, str(error))
            return redirect("web:room_settings", room_id)
    context = {
        "place": "rooms",
        "room": room,
        "is_owner": room.owner_id == user.pk,
        "heir": rooms.heir(room, user),
        "is_last": not Membership.objects.filter(room=room).exclude(user=user).exists(),
    }
    return render(request, "web/room_leave.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@page
@counted
def room_delete(request: HttpRequest, room_id: int) -> HttpResponse:
    with _managed(request, room_id) as room:
        title = names.of([room], _me(request))[room.pk]
        if request.method == "POST":
            rooms.delete(room)
            messages.success(request, _("%(room)s is deleted.") % {"room": title})
            return redirect("web:rooms")
    context = {"place": "rooms", "room": room, "title": title}
    return render(request, "web/room_delete.html", context)


def _settings(
    request: HttpRequest,
    room_id: int,
    *,
    form: RoomEditForm | None = None,
    invite: InviteForm | None = None,
    status: int = 200,
) -> HttpResponse:
    user = _me(request)
    cursor = log.cursor([topics.room(room_id)])
    room = _find(request, room_id)
    item = rooms.item(room, user)
    edited = {"name": room.name, "topic_line": room.topic_line, "kind": room.kind}
    manages = rooms.manages(user, room)
    return render(
        request,
        "web/room_settings.html",
        {
            "place": "rooms",
            "room": item,
            "cursor": cursor,
            "title": names.of([room], user)[room.pk],
            "is_direct": room.kind == Kind.DIRECT,
            "manages": manages,
            "may_edit": manages and room.kind != Kind.DIRECT,
            "form": form or RoomEditForm(initial=edited),
            "invite": invite or InviteForm(),
            "kinds": KINDS,
            "involvements": INVOLVEMENTS,
            "heirs": [one for one in item["members"] if one != item["owner"]],
            **_people(request, item),
            "without": ",".join(str(one["id"]) for one in item["members"]),
        },
        status=status,
    )


def _people(request: HttpRequest, room: dict[str, Any]) -> dict[str, Any]:
    """Those of the members whom the page shows: the owner first, then by name."""
    who = request.GET.get("who", "")[:200].replace("\0", "").strip()
    words = who.removeprefix("@").casefold().split()
    fitting = [
        one
        for one in room["members"]
        if all(word in f"{one['name']} {one['username']}".casefold() for word in words)
    ]
    fitting.sort(key=lambda one: (one != room["owner"], one["name"].casefold(), one["id"]))
    shown = Paginator(fitting, PEOPLE).get_page(request.GET.get("people"))
    said = _("Nobody in this room is called that.")
    if fitting:
        said = _("%(first)d–%(last)d of %(count)d") % {
            "first": shown.start_index(),
            "last": shown.end_index(),
            "count": len(fitting),
        }
    place = {"who": who, "people": shown.number if shown.number > 1 else ""}
    return {
        "people": shown,
        "who": who,
        "is_long": len(room["members"]) > PEOPLE,
        "said_of_people": said,
        "place_of_people": urlencode({name: value for name, value in place.items() if value}),
    }


# --- Finding -----------------------------------------------------------------------------------------------------


@require_safe
@page
def room_search(request: HttpRequest) -> HttpResponse:
    user = _me(request)
    query = request.GET.get("q", "").strip()
    room_id, before = whole(request.GET.get("room")), whole(request.GET.get("before"))
    mine = open_frame(request).rooms
    choices = {room["id"]: room["title"] for room in mine}
    if room_id is not None and room_id not in choices:
        room = _find(request, room_id)
        choices[room_id] = names.of([room], user)[room_id]
    problem, found = "", None
    try:
        found = search(user, query, room_id, before=before)
    except NoSuchRoom:
        raise Http404 from None
    except InvalidChat as error:
        problem = error.detail
    context = {
        "place": "rooms",
        "query": query,
        "most": QUERY_MAX,
        "room_id": room_id,
        "choices": choices.items(),
        "found": found,
        "hits": list(zip(found.hits, found.items, strict=True)) if found else [],
        "before": before,
        "problem": problem,
    }
    return render(request, "web/rooms_search.html", context, status=422 if problem else 200)


# --- Common ------------------------------------------------------------------------------------------------------


def _do(
    request: HttpRequest, room_id: int, done: str, act: Callable[[], object], place: str = ""
) -> HttpResponse:
    """What has no field to put an error beside says it above the page that it leads back to."""
    try:
        act()
        messages.success(request, done)
    except NoSuchRoom:
        raise Http404 from None
    except (NotPossible, InvalidChat) as error:
        messages.error(request, error.detail if isinstance(error, InvalidChat) else str(error))
    query = f"?{request.GET.urlencode()}" if request.GET else ""
    return redirect(f"/rooms/{room_id}/settings/{query}" + (f"#{place}" if place else ""))


def _refuse(form: Form, error: InvalidChat) -> None:
    form.add_error(error.field if error.field in form.fields else None, error.detail)


def _find(request: HttpRequest, room_id: int) -> Room:
    try:
        return rooms.find(_me(request), room_id)
    except NoSuchRoom:
        raise Http404 from None


@contextmanager
def _managed(request: HttpRequest, room_id: int) -> Iterator[Room]:
    """One that this person reads and manages, held; superusers manage others by the API."""
    _find(request, room_id)
    try:
        with rooms.managed(_me(request), room_id) as room:
            yield room
    except NoSuchRoom:
        raise Http404 from None
    except NotAllowed:
        raise PermissionDenied from None


def _member(room: Room, text: str) -> User:
    people = get_user_model()._default_manager.filter(hub_memberships__room=room)
    found = people.filter(pk=whole(text) or 0).first()
    if found is None:
        raise Http404
    return found


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None


def _me(request: HttpRequest) -> User:
    return cast(User, request.user)
