"""Filters of the jobs pages. `when.js` and `jobview.js` do the same in the browser; keep the pairs alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import template
from django.utils.translation import gettext as _

from tasks import durations, titles
from tasks.models import EXTERNAL, State
from web.templatetags.hub import moment

register = template.Library()

_SIZES: Final = ("B", "kB", "MB", "GB", "TB")


@register.filter
def state_word(state: str) -> str:
    return str(State(state).label) if state in State.values else ""


@register.filter
def kind_title(kind: str) -> str:
    """What a kind of job is called; nobody knows more of a script outside."""
    return _("Outside script") if kind == EXTERNAL else titles.of_kind(kind)


@register.filter
def took(job: Mapping[str, Any]) -> str:
    """How long it ran; nothing when it never began or has not ended."""
    began, ended = moment(job["started_at"]), moment(job["finished_at"])
    return (
        ""
        if began is None or ended is None
        else durations.in_words((ended - began).total_seconds())
    )


@register.filter
def figures(job: Mapping[str, Any]) -> str:
    """How far it is: "12,408 of 100,000 · 12 %", or "12,408" where nobody knows the total; nothing of nothing."""
    done, total = job["done"], job["total"]
    if not total:
        return number(done) if done else ""
    return _("%(done)s of %(total)s · %(percent)d %%") % {
        "done": number(done),
        "total": number(total),
        "percent": percent(job),
    }


@register.filter
def percent(job: Mapping[str, Any]) -> int:
    """Rounded down: nothing is at a hundred before it is done."""
    done, total = job["done"], job["total"]
    if total is None:
        return 0
    return min(100, 100 * done // total) if total > 0 else 100


@register.filter
def number(value: int) -> str:
    return f"{value:,}"


@register.filter
def size(count: float) -> str:
    """ "4.2 MB" """
    unit = 0
    while count >= 1000 and unit < len(_SIZES) - 1:
        count /= 1000
        unit += 1
    return f"{count:.{0 if unit == 0 or count >= 100 else 1}f} {_SIZES[unit]}"


@register.filter
def last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]
