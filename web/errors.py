"""Error pages that need neither the database nor a session: each says what is safe and the way back."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import floatformat
from django.template.loader import render_to_string
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from accounts import refusals
from accounts.throttle import TooFast

RETRY_AFTER: Final = 10  # seconds a client waits when we can't know better

_TOO_LARGE = (RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent)


def page(
    request: HttpRequest, status: int, *, safe: str = "", retry_after: int | None = None
) -> HttpResponse:
    """The page for 400, 403, 404, 413, 429, 500 or 503; `safe` says more exactly what happened."""
    title, usual, action = _words()[status]
    back = request.get_full_path() if status in {429, 500, 503} and request.method == "GET" else ""
    text = render_to_string(
        "web/error.html",
        {
            "status": status,
            "title": title,
            "safe": safe or usual,
            "action": action,
            "back": back,
            "form": _came_from(request) if status == 413 else "",
        },
    )
    response = HttpResponse(text, status=status)
    response["Cache-Control"] = "no-store"
    if status in {429, 503}:
        response["Retry-After"] = str(retry_after or RETRY_AFTER)
    return response


def too_large(request: HttpRequest, most: int) -> HttpResponse:
    """413 that says how many bytes are taken."""
    size = floatformat(most / 2**20, -1)
    return page(
        request,
        413,
        safe=_("Nothing was stored. What you send here may have at most %(size)s MiB.")
        % {"size": size},
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        refusals.count("body")
        return too_large(request, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
    return page(request, 413 if isinstance(exception, _TOO_LARGE) else 400)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return page(request, 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return page(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return page(request, 404)


def broken(request: HttpRequest) -> HttpResponse:
    return page(request, 500)


def passing(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    """What a later try may get through: 503 while the database is away, 429 for what came too fast.

    None: it is neither, and stays what it is.
    """
    if isinstance(exception, TooFast):
        return page(request, 429, retry_after=exception.retry_after)
    if isinstance(exception, (OperationalError, InterfaceError)):
        return page(request, 503)
    return None


def _came_from(request: HttpRequest) -> str:
    """The page of ours whose form was sent."""
    referrer = urlsplit(request.META.get("HTTP_REFERER", ""))
    is_ours = referrer.netloc == request.META.get("HTTP_HOST")
    safe = is_ours and url_has_allowed_host_and_scheme(referrer.path, allowed_hosts=None)
    return referrer.path if safe else ""


def _words() -> dict[int, tuple[str, str, str]]:
    return {
        400: (
            _("That form had gone stale"),
            _(
                "Nothing was changed. This happens when a page stays open while you sign in again in another tab, "
                "or when cookies are blocked."
            ),
            _("Go back, reload the page and send it once more."),
        ),
        403: (
            _("This isn’t open to you"),
            _("Nothing was changed, and nobody was told. Your account has no right to this page."),
            _("If you need it, ask an administrator of the hub."),
        ),
        404: (
            _("There’s nothing here"),
            _("The address may be mistyped, or what it led to was removed or is not yours to see."),
            _("Your inbox and announcements are where they were."),
        ),
        413: (
            _("That’s too large"),
            _("Nothing was stored. What you sent is larger than the hub takes at once."),
            _("Go back, make it smaller and send it again."),
        ),
        429: (
            _("A little too fast"),
            _(
                "Nothing was lost. There were too many tries in a short time, so the hub slows down for a moment."
            ),
            _("Wait a minute and try again."),
        ),
        500: (
            _("Something broke on our side"),
            _(
                "What was saved before is safe. What you just sent may not have been stored: look before you send it again."
            ),
            _(
                "The fault is logged. Try again; if it stays, tell an administrator when it happened."
            ),
        ),
        503: (
            _("The hub is catching its breath"),
            _(
                "Nothing that was saved is lost, and notifications wait for you. The database doesn’t answer just now."
            ),
            _("Try again in a few seconds."),
        ),
    }
