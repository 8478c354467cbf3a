"""Pages. Each works without JavaScript; the elements in `static/hub/elements` keep it right while it is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from functools import partial, wraps
from itertools import groupby
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import formats, timezone, translation
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.i18n import JavaScriptCatalog

from accounts import access, audience, authenticate, profiles, sessions
from accounts.models import ApiKey, SignIn
from notifications import activity, announcements, inbox
from notifications.errors import AnnouncementChanged, InvalidContent, NoSuchNotification
from notifications.models import Announcement
from tasks import tracking
from tasks.models import EXTERNAL, TERMINAL
from web import agents, my_rooms
from web.context import open_frame
from web.dashboard import NEEDS_ME, RUNNING, snapshot
from web.forms import AnnouncementForm, ApiKeyForm, PreferencesForm, time_zones
from web.templatetags.hub import moment
from web.templatetags.jobs import kind_title

WORDS_KEPT: Final = 30 * 24 * 3600  # seconds; the address changes with the words
LANGUAGE_KEPT: Final = 365 * 24 * 3600  # seconds
_POSTS: Final = 30
_NEW_KEY: Final = "hub_new_key"  # in the session, from making a key until it is shown

View = Callable[..., HttpResponseBase]


def page(view: View) -> View:
    """For staff of the hub. The frame's cursor is taken before the view reads a row."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not audience.is_staff_of_hub(request.user):  # type: ignore[arg-type]
            raise PermissionDenied
        open_frame(request)
        response = view(request, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return login_required(guarded)


@require_safe
@page
def dashboard(request: HttpRequest) -> HttpResponse:
    return render(request, "web/dashboard.html", {"place": "dashboard", **_board(request)})


@require_safe
@page
def wall(request: HttpRequest) -> HttpResponse:
    return render(request, "web/wall.html", _board(request))


def _board(request: HttpRequest) -> dict[str, Any]:
    shown = snapshot(_me(request), open_frame(request))
    return {
        "snapshot": shown,
        "events_last_hour": sum(minute["count"] for minute in shown["per_minute"]),
        "may_announce": _me(request).has_perm(announcements.PERMISSION),
        "subjects": activity.subjects(),
        "kinds": {kind: kind_title(kind) for kind in (*tracking.kinds(), EXTERNAL)},
        "most_running": RUNNING,
        "most_needs": NEEDS_ME,
        "rooms_with_news": my_rooms.with_news(shown["rooms"]),
        "ended_today": [
            (state, state.label, sum(hour[state] for hour in shown["jobs"]["today"]))
            for state in TERMINAL
        ],
    }


@require_safe
@page
def inbox_page(request: HttpRequest, notification_id: int | None = None) -> HttpResponse:
    user = _me(request)
    state = "unread" if request.GET.get("state") == "unread" else "all"
    shown = inbox.page(user, state, before=whole(request.GET.get("before")))  # type: ignore[arg-type]
    items = shown.items
    chosen = None if notification_id is None else _notification(user, notification_id, items)
    return render(
        request,
        "web/inbox.html",
        {
            "place": "inbox",
            "state": state,
            "suffix": "?state=unread" if state == "unread" else "",
            "items": items,
            "days": _days(items),
            "newest": items[0]["id"] if items else 0,
            "next": shown.next,
            "chosen": chosen,
            "base": settings.HUB_URL,
        },
    )


@require_POST
@page
def mark(request: HttpRequest, notification_id: int) -> HttpResponse:
    try:
        inbox.mark(_me(request), notification_id, request.POST.get("read") != "0")
    except NoSuchNotification:
        raise Http404 from None
    return redirect(f"/inbox/{notification_id}/{_state(request)}")


@require_POST
@page
def mark_all(request: HttpRequest) -> HttpResponse:
    inbox.mark_all(_me(request), whole(request.POST.get("up_to")) or 0)
    return redirect(f"/inbox/{_state(request)}")


@require_http_methods(["GET", "HEAD", "POST"])
@page
def announcements_page(request: HttpRequest) -> HttpResponse:
    user = _me(request)
    may_announce = user.has_perm(announcements.PERMISSION)
    form = AnnouncementForm(request.POST or None)
    if request.method == "POST":
        if not may_announce:
            raise PermissionDenied
        if form.is_valid() and _announced(
            form, lambda: announcements.create(user, **form.cleaned_data)
        ):
            return redirect("web:announcements")
    before = whole(request.GET.get("before"))
    shown = announcements.snapshot(user, _POSTS, before)
    return render(
        request,
        "web/announcements.html",
        {
            "place": "announcements",
            **shown,
            "before": before,
            "form": form,
            "may_announce": may_announce,
        },
    )


@require_http_methods(["GET", "HEAD", "POST"])
@page
def announcement_edit(request: HttpRequest, announcement_id: int) -> HttpResponse:
    """What somebody else did to it meanwhile is shown first; what was typed is kept in any case."""
    user = _me(request)
    row = announcements.editable_by(user).filter(pk=announcement_id).first()
    if row is None:
        if request.method == "POST" and user.has_perm(announcements.PERMISSION):
            return _edit_of_removed(request)
        raise Http404  # what one may not touch answers like what does not exist
    before = {"title": row.title, "body": row.body, "level": row.level, "team": row.team_id}
    form = AnnouncementForm(request.POST or None, initial=before)
    store = partial(announcements.edit, row, seen=request.POST.get("seen"))
    try:
        if form.is_valid() and _announced(form, lambda: store(**form.cleaned_data)):
            return redirect("web:announcements")
    except Announcement.DoesNotExist:
        return _edit_of_removed(request)
    except AnnouncementChanged as change:
        row = change.row
    return _edit(request, form, row)


def _edit(request: HttpRequest, form: AnnouncementForm, row: Announcement) -> HttpResponse:
    version = announcements.version(row)
    is_changed = request.POST.get("seen", version) != version
    context = {
        "place": "announcements",
        "form": form,
        "present": announcements.item(row),
        "seen": version,  # it is shown beside what was typed: to save again replaces it
        "is_changed": is_changed,
    }
    status = 409 if is_changed else 200
    return render(request, "web/announcement_edit.html", context, status=status)


def _edit_of_removed(request: HttpRequest) -> HttpResponse:
    context = {"place": "announcements", "form": AnnouncementForm(request.POST), "is_removed": True}
    return render(request, "web/announcement_edit.html", context, status=404)


@require_http_methods(["GET", "HEAD", "POST"])
@page
def announcement_delete(request: HttpRequest, announcement_id: int) -> HttpResponse:
    row = _announcement(request, announcement_id)
    if request.method == "POST":
        announcements.delete(row)
        return redirect("web:announcements")
    return render(request, "web/announcement_delete.html", {"place": "announcements", "item": row})


@require_http_methods(["GET", "HEAD", "POST"])
@page
def settings_page(request: HttpRequest) -> HttpResponse:
    form = PreferencesForm(request.POST or None, instance=profiles.of(_me(request)))
    if form.is_valid():
        profile = form.save()
        response = redirect("/settings/")
        if profile.language:
            translation.activate(profile.language)
            remember_language(response, profile.language)
        messages.success(request, _("Saved."))
        return response
    secret = request.session.pop(_NEW_KEY, "") if request.method == "GET" else ""
    return _settings(request, form=form, secret=secret)


@require_POST
@page
def session_end(request: HttpRequest, signin_id: int) -> HttpResponse:
    if not access.end_session(_me(request), signin_id):
        raise Http404
    messages.success(request, _("The session is ended."))
    return redirect("/settings/#sessions")


@require_http_methods(["GET", "HEAD", "POST"])
@page
def key_create(request: HttpRequest) -> HttpResponse:
    """Leads to the settings, which show the secret once: to reload them makes no second key."""
    if request.method != "POST":
        return redirect("/settings/#keys")
    user = _me(request)
    form = ApiKeyForm(request.POST, allowed=_scopes(user))
    if not form.is_valid():
        return _settings(request, key_form=form)
    made = form.cleaned_data
    _key, secret = authenticate.make_key(user, made["name"], made["scopes"], days=made["expires"])
    request.session[_NEW_KEY] = secret
    return redirect("/settings/#new-key")


@require_POST
@page
def key_revoke(request: HttpRequest, key_id: int) -> HttpResponse:
    key = get_object_or_404(ApiKey, pk=key_id, user=_me(request))
    access.revoke(key)
    messages.success(request, _("The key is revoked. Scripts that use it are refused from now on."))
    return redirect("/settings/#keys")


@require_safe
def words(request: HttpRequest) -> HttpResponseBase:
    """The browser's translations, as a script of our own origin: the policy allows no inline one."""
    language = request.GET.get("l", "")
    if language not in dict(settings.LANGUAGES):
        language = settings.LANGUAGE_CODE
    with translation.override(language):
        response = JavaScriptCatalog.as_view(packages=["web"])(request)
    response["Cache-Control"] = f"public, max-age={WORDS_KEPT}"
    return response


def remember_language(response: HttpResponse, language: str) -> None:
    """The sign-in page of this browser speaks it too."""
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        language,
        max_age=LANGUAGE_KEPT,
        secure=settings.HUB_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _settings(
    request: HttpRequest,
    *,
    form: PreferencesForm | None = None,
    key_form: ApiKeyForm | None = None,
    secret: str = "",
) -> HttpResponse:
    user = _me(request)
    return render(
        request,
        "web/settings.html",
        {
            "place": "settings",
            "form": form or PreferencesForm(instance=profiles.of(user)),
            "key_form": key_form or ApiKeyForm(allowed=_scopes(user), initial={"scopes": ["read"]}),
            "secret": secret,
            "keys": ApiKey.objects.live().filter(user=user).order_by("-created_at"),
            "sessions": [
                _session(row, request.session.session_key) for row in sessions.list_for(user)[:50]
            ],
            "time_zones": time_zones(),
        },
    )


def _session(row: SignIn, current: str | None) -> dict[str, Any]:
    return {
        "pk": row.pk,
        "browser": agents.name(row.agent),
        "ip": row.ip,
        "created_at": row.created_at,
        "seen_at": row.seen_at,
        "is_this": row.session_key == current,
    }


def _scopes(user: User) -> list[str]:
    possible = authenticate.possible_scopes(user)
    return [scope for scope in authenticate.SCOPES if scope in possible]


def _announced(form: AnnouncementForm, store: Callable[[], object]) -> bool:
    try:
        store()
    except InvalidContent as error:
        form.add_error(error.field if error.field in form.fields else None, error.detail)
        return False
    return True


def _announcement(request: HttpRequest, announcement_id: int) -> Announcement:
    """What one may not touch answers like what does not exist."""
    return get_object_or_404(announcements.editable_by(_me(request)), pk=announcement_id)


def _notification(user: User, wanted: int, items: list[dict[str, Any]]) -> dict[str, Any]:
    for item in items:
        if item["id"] == wanted:
            return item
    for item in inbox.page(user, "all", 1, before=wanted + 1).items:
        if item["id"] == wanted:
            return item
    raise Http404


def _days(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items grouped by day in the person's time zone, newest first."""

    def day(item: dict[str, Any]) -> date:
        at = moment(item["at"])
        return timezone.localtime(at).date() if at else timezone.localdate()

    return [
        {"key": key.isoformat(), "label": day_label(key), "items": list(group)}
        for key, group in groupby(items, day)
    ]


def day_label(day: date) -> str:
    today = timezone.localdate()
    if day == today:
        return _("Today")
    if day == today - timedelta(days=1):
        return _("Yesterday")
    return formats.date_format(day, _("l j F") if day.year == today.year else _("j F Y"))


def _state(request: HttpRequest) -> str:
    return "?state=unread" if request.GET.get("state") == "unread" else ""


def whole(text: str | None) -> int | None:
    """A positive id from outside, or None."""
    if not text or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return int(text) or None


def _me(request: HttpRequest) -> User:
    user: User = request.user  # type: ignore[assignment]
    return user
