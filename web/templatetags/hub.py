"""Filters of the hub's own pages. `elements/` and `when.js` do the same in the browser; keep the pairs alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from notifications.content import is_safe_url
from notifications.models import Level
from web import context

register = template.Library()


@register.filter
def initials(name: str) -> str:
    return context.initials(name)


@register.filter
def safe_url(url: str) -> str:
    """An address that a link may lead to; for anything else, `javascript:` above all, nothing."""
    return url if url and is_safe_url(url) else ""


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
    """What it happened to: `orders.order.created` is about an `order`; other types stand for themselves."""
    head, _dot, last = event_type.rpartition(".")
    if last in {"created", "updated", "deleted"}:
        return head.rpartition(".")[2].replace("_", " ")
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
