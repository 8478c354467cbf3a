"""What people type, and what it looks like."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from html import unescape
from typing import Any, Final

import nh3
from django.utils.translation import gettext as _

from chat import markdown
from chat.errors import InvalidChat
from chat.models import BODY_MAX
from notifications import content
from notifications.errors import InvalidContent

_BARE: Final = nh3.Cleaner(tags=set())


def line(field: str, value: Any, most: int, *, blank: bool = False) -> str:
    """One line; runs of white space become one space. Raises InvalidChat."""
    if blank and value == "":
        return ""
    try:
        found = content.title(value, InvalidContent)
    except InvalidContent as error:
        raise InvalidChat(field, error.detail) from None
    if content.TURNS.search(found):
        raise InvalidChat(field, _("must not contain control characters"))
    if len(found) > most:
        raise InvalidChat(field, _("must have at most %(most)d characters") % {"most": most})
    return found


def body(value: Any) -> str:
    """A message's text, composed, so that it is found however it was typed. Raises InvalidChat."""
    try:
        found = unicodedata.normalize("NFC", content.body(value, InvalidContent))
    except InvalidContent as error:
        raise InvalidChat("body", error.detail) from None
    if content.is_blank(found):
        raise InvalidChat("body", _("must not be blank"))
    if len(found) > BODY_MAX:
        raise InvalidChat("body", _("must have at most %(most)d characters") % {"most": BODY_MAX})
    return found


def mentioned(value: str) -> set[str]:
    """The usernames that may stand after an `@`, whether or not there are such people."""
    return markdown.called(value)


def render(value: str, people: Mapping[str, Mapping[str, Any]]) -> tuple[str, set[str]]:
    """Safe HTML, and who is named in it. `people`: whoever of `mentioned` may read the room, by username."""
    return markdown.render(value, people)


def plain(html: str) -> str:
    """What `render` made, on one line and without its layout, as it is read."""
    return content.printable_line(unescape(_BARE.clean(html)))


def excerpt(value: str, most: int) -> str:
    """The text on one line, cut with an ellipsis."""
    return content.cut(content.printable_line(value), most)
