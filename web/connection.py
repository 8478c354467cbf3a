"""`/connection/` compares the four transports from one browser, by events of the visitor's own that it times."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Final, cast

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from events import log, publish, topics
from web.views import page

PING: Final = "connection.ping"
PING_EVERY: Final = timedelta(seconds=0.5)
"""Least distance between two of one person; the page sends one a second."""
_RUN: Final = re.compile(r"[A-Za-z0-9-]{1,36}", re.ASCII)


@require_GET
@page
def compare(request: HttpRequest) -> HttpResponse:
    return render(request, "web/connection.html", {"place": "settings"})


@require_POST
@page
def ping(request: HttpRequest) -> HttpResponse:
    """Publish one timed event on the visitor's own topic: `run` names the comparison, `sent_at` is its clock (ms)."""
    topic = topics.user(cast(User, request.user).pk)
    run, sent_at = request.POST.get("run", ""), _number(request.POST.get("sent_at", ""))
    if _RUN.fullmatch(run) is None or sent_at is None:
        return JsonResponse(
            {"error": {"code": "bad_ping", "detail": _("That is no ping.")}}, status=400
        )
    newest = log.page(topic, None, 1)
    if (
        newest
        and newest[0].type == PING
        and timezone.now() - datetime.fromisoformat(newest[0].at) < PING_EVERY
    ):
        error = {"code": "too_fast", "detail": _("One a second is enough.")}
        return JsonResponse({"error": error}, status=429, headers={"Retry-After": "1"})
    publish(topic, PING, {"run": run, "sent_at": sent_at})
    return HttpResponse(status=204)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
