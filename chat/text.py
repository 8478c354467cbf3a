"""What people type, and what it looks like."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any, Final

from django.utils.translation import gettext as _

from chat.errors import InvalidChat
from chat.models import BODY_MAX
from notifications import content
from notifications.errors import InvalidContent

_MENTION: Final = re.compile(r"(?<![\w@.+-])@([\w.+-]{1,150})")


def line(field: str, value: Any, most: int, *, blank: bool = False) -> str:
    """One line; runs of white space become one space. Raises InvalidChat."""
    if blank and value == "":
        return ""
    try:
        found = content.title(value, InvalidContent)
    except InvalidContent as error:
        raise InvalidChat(field, error.detail) from None
    if len(found) > most:
        raise InvalidChat(field, _("must have at most %(most)d characters") % {"most": most})
    return found


def body(value: Any) -> str:
    """A message's text. Raises InvalidChat."""
    try:
        found = content.body(value, InvalidContent)
    except InvalidContent as error:
        raise InvalidChat("body", error.detail) from None
    if not found:
        raise InvalidChat("body", _("must not be blank"))
    if len(found) > BODY_MAX:
        raise InvalidChat("body", _("must have at most %(most)d characters") % {"most": BODY_MAX})
    return found


def mentioned(value: str) -> set[str]:
    """The usernames that stand after an `@`, whether or not there are such people."""
    return {found.rstrip(".") for found in _MENTION.findall(value)}


def render(value: str, people: Mapping[str, Mapping[str, Any]]) -> str:
    """Safe HTML. `people`: whoever of `mentioned` may read the room, by username."""
    return f"<p>{html.escape(value)}</p>"


def excerpt(value: str, most: int) -> str:
    """The text on one line, cut with an ellipsis."""
    return content.cut(content.printable_line(value), most)
