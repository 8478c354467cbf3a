"""What may stand in a title, a text and a link. Nothing here is HTML: pages show it as the text it is."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final
from urllib.parse import urlsplit

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from notifications.errors import InvalidContent
from notifications.models import BODY_MAX, KEY_MAX, KIND_MAX, TITLE_MAX, URL_MAX, Level

_KIND: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*", re.ASCII)

TURNS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""What sets the direction of the text around it: in a name it would turn whatever stands beside it."""

_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point (Unicode's DerivedCoreProperties) without category Cf, and the empty Braille pattern."""


def title(value: Any, error: type[InvalidContent]) -> str:
    """One line that is not blank; runs of white space become one space."""
    line = " ".join(_text("title", value, error).split())
    if is_blank(line):
        raise error("title", _("must not be blank"))
    _printable("title", line, error)
    return _at_most("title", line, TITLE_MAX, error)


def body(value: Any, error: type[InvalidContent]) -> str:
    text = _text("body", value, error).replace("\r\n", "\n").strip()
    _printable("body", text, error, also="\n\t")
    return _at_most("body", text, BODY_MAX, error)


def url(value: Any, error: type[InvalidContent]) -> str:
    address = _at_most("url", _text("url", value, error), URL_MAX, error)
    if not is_safe_url(address):
        raise error(
            "url", _("must be relative, or start with http:// or https://, and hold no spaces")
        )
    return address


def level(value: Any, error: type[InvalidContent]) -> str:
    if value not in Level.values:
        raise error("level", _("must be one of %(levels)s") % {"levels": ", ".join(Level.values)})
    return str(value)


def kind(value: Any, error: type[InvalidContent]) -> str:
    text = _at_most("kind", _text("kind", value, error), KIND_MAX, error)
    if _KIND.fullmatch(text) is None:
        raise error("kind", _("must be letters, digits and . _ : / - such as orders.late"))
    return text


def key(value: Any, error: type[InvalidContent]) -> str:
    text = _text("key", value, error)
    if not text:
        raise error("key", _("must not be empty"))
    _printable("key", text, error)
    return _at_most("key", text, KEY_MAX, error)


def is_safe_url(address: str) -> bool:
    """Relative to this site or http(s). Browsers read `\\` as `/` and skip control characters: both are refused."""
    if any(character <= " " or character in "\\\x7f" for character in address):
        return False
    if address.startswith("//") or not _is_encodable(address):
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.scheme in {"http", "https"}:
        return bool(parts.hostname)
    return not parts.scheme


def is_usable_url(address: str) -> bool:
    return len(address) <= URL_MAX and is_safe_url(address)


def printable_line(value: str) -> str:
    """The text on one line, without control characters, halves of pairs and what turns its surroundings."""
    value = TURNS.sub("", value)
    shown = (" " if unicodedata.category(each) in {"Cc", "Cs"} else each for each in value)
    return " ".join("".join(shown).split())


def is_blank(value: str) -> bool:
    """Whether there is nothing to see: white space, marks without a width such as U+200B, and empty letters alone."""
    shown = _UNSEEN.sub("", value)
    return all(each.isspace() or unicodedata.category(each) == "Cf" for each in shown)


def cut(value: str, most: int) -> str:
    """The line itself, or as much of it as fits with an ellipsis."""
    return value if len(value) <= most else value[: most - 1].rstrip() + "…"


def _text(field: str, value: Any, error: type[InvalidContent]) -> str:
    if isinstance(value, Promise):
        value = str(value)
    if not isinstance(value, str):
        raise error(field, _("must be text"))
    return value


def _printable(field: str, value: str, error: type[InvalidContent], also: str = "") -> None:
    if not _is_encodable(value) or any(
        unicodedata.category(character) == "Cc" and character not in also for character in value
    ):
        raise error(field, _("must not contain control characters"))


def _is_encodable(value: str) -> bool:
    """Lone surrogates, which JSON can smuggle in, fit into no database and no frame."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _at_most(field: str, value: str, most: int, error: type[InvalidContent]) -> str:
    if len(value) > most:
        detail = _("must have at most %(most)d characters, this has %(has)d")
        raise error(field, detail % {"most": most, "has": len(value)})
    return value
