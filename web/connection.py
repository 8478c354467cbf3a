"""`/connection/` compares the four transports from one browser, by events of the visitor's own that it times."""

from __future__ import annotations

import math
import re
from typing import Final, cast

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import throttle
from events import publish, topics
from web.views import page

PING: Final = "connection.ping"
PINGS: Final = (4, 2)
"""So many of one person in so many seconds; the page sends one a second."""
_RUN: Final = re.compile(r"[A-Za-z0-9-]{1,36}", re.ASCII)


@require_safe
@page
def compare(request: HttpRequest) -> HttpResponse:
    return render(request, "web/connection.html", {"place": "settings"})


@require_POST
@page
def ping(request: HttpRequest) -> HttpResponse:
    """Publish one timed event on the visitor's own topic: `run` names the comparison, `sent_at` is its clock (ms)."""
    user = cast(User, request.user)
    run, sent_at = request.POST.get("run", ""), _number(request.POST.get("sent_at", ""))
    if _RUN.fullmatch(run) is None or sent_at is None:
        return JsonResponse(
            {"error": {"code": "bad_ping", "detail": _("That is no ping.")}}, status=400
        )
    if wait := throttle.take(f"ping:user:{user.pk}", *PINGS):
        error = {"code": "too_fast", "detail": _("One a second is enough.")}
        return JsonResponse({"error": error}, status=429, headers={"Retry-After": str(wait)})
    publish(topics.user(user.pk), PING, {"run": run, "sent_at": sent_at})
    return HttpResponse(status=204)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
