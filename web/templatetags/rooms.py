"""Filters of lists of rooms. `roomsview.js` does the same in the browser; keep the pair alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import template
from django.utils.translation import gettext_lazy as _

from chat.models import Kind
from web import context, my_rooms

register = template.Library()  # the rows of <template>s are of no room
KIND_WORDS: Final = {
    Kind.OPEN.value: _("Open room"),
    Kind.CLOSED.value: _("Closed room"),
    Kind.DIRECT.value: _("Direct room"),
}


@register.filter
def short(count: int | str) -> str:
    """What a badge says; nothing for none."""
    return context.short(count) if isinstance(count, int) and count else ""


@register.filter
def is_muted(room: Mapping[str, Any]) -> bool:
    return bool(room) and my_rooms.is_muted(room)


@register.filter
def is_to_me(room: Mapping[str, Any]) -> bool:
    return bool(room) and my_rooms.is_to_me(room)


@register.filter
def kind_word(kind: str) -> str:
    return str(KIND_WORDS[kind]) if kind in KIND_WORDS else ""
