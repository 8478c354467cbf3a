"""`/admin/hub/`: how the hub is doing, for superusers; every figure is one of `/metrics`, of all server processes together.

It answers whatever is away: without Redis with the figures of the process that was asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import redis
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from consumers.ledger import BUCKETS
from hub import figures, health, waiting
from hub.figures import PULSE, Node
from tasks import durations

Words = Mapping[str, str | Promise]

WIDTH: Final = 600
HEIGHT: Final = 100
"""Of a chart, in its own units; the page stretches it."""

TRANSPORTS: Final[Words] = {
    "websocket": gettext_lazy("WebSocket"),
    "sse": gettext_lazy("Server-sent events"),
    "long poll": gettext_lazy("Long poll"),
}
PARTS: Final[Words] = {
    "database": gettext_lazy("Database"),
    "redis": "Redis",
    "worker": gettext_lazy("Worker"),
}
DROPPED: Final[Words] = {
    "closed": gettext_lazy("The connection ended first"),
    "left": gettext_lazy("The client left the topic"),
    "revoked": gettext_lazy("The right to it was lost"),
    "reset": gettext_lazy("The client fetched its state again"),
    "ended": gettext_lazy("The topic is no more"),
}
RESETS: Final[Words] = {
    "expired": gettext_lazy("Away for longer than the log reaches back"),
    "ahead": gettext_lazy("Ahead of the log"),
    "epoch": gettext_lazy("From another log"),
}
REFUSALS: Final[Words] = {
    "connections": gettext_lazy("Too many connections of one person"),
    "frame_rate": gettext_lazy("Too many frames a second"),
    "frame_size": gettext_lazy("Too large a frame"),
    "bad_frames": gettext_lazy("Frames that can’t be read"),
    "slow_reader": gettext_lazy("Too slow a reader"),
    "topics": gettext_lazy("Too many topics"),
    "body": gettext_lazy("Too large a body"),
    "uploads": gettext_lazy("Too many uploads at once"),
    "sign_in": gettext_lazy("Too many sign-in attempts"),
    "password_reset": gettext_lazy("Too many password resets"),
    "calls": gettext_lazy("Too many calls"),
    "publish_rate": gettext_lazy("Published too fast"),
    "publish_size": gettext_lazy("Too large an event"),
}


@dataclass(frozen=True)
class Bar:
    """A row: what, how many, and where its bar begins and how long it is, of 100."""

    name: str | Promise
    count: int
    part: float
    start: float = 0
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """Of a histogram, in the units of its chart."""

    name: str
    count: int
    x: float
    y: float
    width: float
    height: float


@require_safe
@never_cache
def show(request: HttpRequest) -> HttpResponse:
    if not (request.user.is_active and request.user.is_superuser):
        raise PermissionDenied
    states = health.readiness()
    nodes = _all_nodes() if states["redis"] == "ok" else None
    has_redis = nodes is not None
    if nodes is None:
        states["redis"] = "away"  # or went since it was asked
        nodes = figures.of_this_process()
    all_of_them = figures.total(nodes)
    readers = all_of_them.readers
    events = sum(readers.buckets)
    shown = {
        "parts": [
            (name, _state(states[part]), _said(states[part])) for part, name in PARTS.items()
        ],
        "is_alone": not has_redis,
        "readers": readers,
        "connections": _shares(TRANSPORTS, readers.connections),
        "connected": sum(readers.connections.values()),
        "rate": _rate(all_of_them.delivered[-1]),
        "line": _line(all_of_them.delivered),
        "peak": _rate(max(all_of_them.delivered)),
        "seconds_shown": round(len(all_of_them.delivered) * PULSE),
        "handed_over": events,
        "p50": _within(readers.buckets, 0.5),
        "p99": _within(readers.buckets, 0.99),
        "columns": _columns(readers.buckets),
        "account": _shares(
            {
                "delivered": gettext_lazy("delivered"),
                "dropped": gettext_lazy("dropped"),
                "pending": gettext_lazy("on the way"),
            },
            {
                "delivered": readers.delivered,
                "dropped": sum(readers.dropped.values()),
                "pending": readers.pending,
            },
        ),
        "queues": _queues(readers.pending, has_redis),
        "drops": _bars(DROPPED, readers.dropped),
        "resets": _bars(RESETS, readers.resets),
        "refusals": _bars(REFUSALS, all_of_them.refusals),
        "nodes": [(node, durations.in_words(node.up)) for node in nodes],
        "width": WIDTH,
        "height": HEIGHT,
    }
    return render(request, "hub/status.html", shown)


def _state(answer: str) -> str:
    return {"ok": "good", "unknown": "warn"}.get(answer, "bad")


def _said(answer: str) -> str:
    return {"ok": _("answers"), "unknown": _("not known now")}.get(answer, _("does not answer"))


def _all_nodes() -> list[Node] | None:
    try:
        return figures.of_all()
    except redis.RedisError:
        return None


def _queues(on_the_way: int, has_redis: bool) -> list[Bar]:
    now = waiting.now(has_redis=has_redis)
    counts = [
        (_("Events on the way to readers"), on_the_way),
        (_("Events without a number yet"), now.events),
        (_("Notifications to be put into inboxes"), now.letters),
        *((_("Jobs that wait in %(queue)s") % {"queue": name}, n) for name, n in now.jobs.items()),
        *(
            (_("Messages for workers in %(queue)s") % {"queue": name}, n)
            for name, n in now.messages.items()
        ),
    ]
    most = max(1, *(n for _name, n in counts))
    return [Bar(name, n, 100 * n / most) for name, n in counts]


def _bars(words: Words, counts: Mapping[str, int]) -> list[Bar]:
    """What happened at all, the most frequent first."""
    most = max(1, *counts.values()) if counts else 1
    found = [Bar(words.get(key, key), n, 100 * n / most) for key, n in counts.items() if n]
    return sorted(found, key=lambda bar: -bar.count)


def _shares(words: Words, counts: Mapping[str, int]) -> list[Bar]:
    """Parts of one bar: each begins where the one before ends."""
    whole, start = max(1, sum(counts.values())), 0.0
    shares = []
    for key, name in words.items():
        part = 100 * counts.get(key, 0) / whole
        shares.append(Bar(name, counts.get(key, 0), part, start, key))
        start += part
    return shares


def _line(counts: tuple[int, ...]) -> str:
    """The points of a polyline."""
    most = max(1, *counts)
    step = WIDTH / max(1, len(counts) - 1)
    return " ".join(
        f"{at * step:.1f},{HEIGHT - n / most * HEIGHT:.1f}" for at, n in enumerate(counts)
    )


def _columns(buckets: tuple[int, ...]) -> list[Column]:
    most, step = max(1, *buckets), WIDTH / len(buckets)
    names = [*map(_time, BUCKETS), "> " + _time(BUCKETS[-1])]
    columns = []
    for at, (name, n) in enumerate(zip(names, buckets, strict=True)):
        height = max(n / most * HEIGHT, 2 if n else 0)
        columns.append(Column(name, n, at * step + 2, HEIGHT - height, step - 4, height))
    return columns


def _within(buckets: Iterable[int], part: float) -> str:
    """So many of the events were handed over within the time that is returned; "" when there were none."""
    counts = list(buckets)
    wanted, seen = part * sum(counts), 0
    for bound, n in zip([*BUCKETS, None], counts, strict=True):
        seen += n
        if seen and seen >= wanted:
            return f"≤ {_time(bound)}" if bound is not None else f"> {_time(BUCKETS[-1])}"
    return ""


def _rate(count: int) -> str:
    """Of one pulse, a second."""
    return f"{count / PULSE:,.0f}" if count >= 10 * PULSE or not count else f"{count / PULSE:.1f}"


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:g} ms"
    return _("%(n)g s") % {"n": seconds}
