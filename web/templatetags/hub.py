"""Filters of the hub's own pages. `elements/` and `when.js` do the same in the browser; keep the pairs alike."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django import template
from django.utils import formats, timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from notifications import activity
from notifications.content import is_safe_url
from notifications.models import Level
from tasks.models import State
from web import context

register = template.Library()

_ADDRESS: Final = re.compile(
    r"\bhttps?://[a-z0-9][\w\-.~:/?#\[\]@!$&'()*+,;=%]*", re.ASCII | re.IGNORECASE
)
_OPENING: Final = {")": "(", "]": "["}
_AFTER: Final = ".,:;!?'"
"""What ends a sentence rather than an address. Of letters only ASCII counts: Korean particles follow without a space."""


@register.filter
def initials(name: str) -> str:
    return context.initials(name)


@register.filter
def safe_url(url: str) -> str:
    """An address that a link may lead to; for anything else, `javascript:` above all, nothing."""
    return url if url and is_safe_url(url) else ""


@register.filter
def linked(text: str) -> SafeString:
    """The text with its http(s) addresses as links, everything else escaped (`setLinked` in the browser)."""
    parts: list[str] = []
    at = 0
    for found in _ADDRESS.finditer(text):
        url = _without_the_end_of_the_sentence(found[0])
        if not is_safe_url(url):
            continue
        parts.append(escape(text[at : found.start()]))
        parts.append(
            format_html(
                '<a href="{}" target="_blank" rel="nofollow noopener noreferrer">{}</a>', url, url
            )
        )
        at = found.start() + len(url)
    return mark_safe("".join([*parts, escape(text[at:])]))  # noqa: S308 - every part is escaped


def _without_the_end_of_the_sentence(url: str) -> str:
    """A closing bracket belongs to the address only if it was opened there."""
    while url[-1] in _AFTER or (
        url[-1] in ")]" and url.count(url[-1]) > url.count(_OPENING[url[-1]])
    ):
        url = url[:-1]
    return url


@register.filter
def when(value: Any) -> SafeString | str:
    """A moment as <hub-time>: relative up to a day, absolute beyond, exact on hover."""
    at = moment(value)
    if at is None:
        return ""
    local = timezone.localtime(at)
    exact = formats.date_format(local, "DATETIME_FORMAT")
    return format_html(
        '<hub-time><time datetime="{}" title="{}">{}</time></hub-time>',
        at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        exact,
        _words(local),
    )


@register.filter
def verb(event_type: str) -> str:
    """What happened, in a word, from the end of an event's type."""
    return {
        "created": _("created"),
        "updated": _("updated"),
        "deleted": _("deleted"),
    }.get(event_type.rpartition(".")[2], "")


@register.filter
def subject(event_type: str) -> str:
    """What it happened to: `orders.order.created` is about an `order`, by the name of the model where it is watched.

    Other types stand for themselves.
    """
    head, _dot, last = event_type.rpartition(".")
    if last in {"created", "updated", "deleted"}:
        return activity.subjects().get(head) or head.rpartition(".")[2].replace("_", " ")
    if head == "job" and last in State.values:
        return str(State(last).label)
    return event_type


@register.filter
def level_icon(level: str) -> str:
    return level if level in Level.values else Level.INFO.value


@register.filter
def level_word(level: str) -> str:
    return str(Level(level_icon(level)).label)


def moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None


def _words(local: datetime) -> str:
    now = timezone.localtime()
    passed = now - local
    if timedelta(0) <= passed < timedelta(minutes=1):
        return _("now")
    if timedelta(0) <= passed < timedelta(hours=1):
        minutes = int(passed.total_seconds() // 60)
        return ngettext("%(count)d min", "%(count)d min", minutes) % {"count": minutes}
    if local.date() == now.date():
        return formats.date_format(local, "H:i")
    if local.year == now.year:
        return formats.date_format(local, _("j M, H:i"))
    return formats.date_format(local, _("j M Y"))
