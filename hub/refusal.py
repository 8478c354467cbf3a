"""What the server itself answers to a request that it does not hand on to Django."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, parse_cookie
from django.utils import translation
from django.utils.translation import gettext as _

from hub import bodies, headers
from hub.api import answer
from tasks.files import UPLOAD_MAX
from web import errors

AGAIN: Final = 5
"""Seconds after which the next one may be tried."""
_JSON: Final = "application/json"
_HTML: Final = "text/html"
_PROGRAMS: Final = ("/api/", "/events/", "/ws/")
"""Addresses at which nobody gets a page."""


@dataclass(frozen=True)
class TooLarge:
    limit: int
    """Bytes of a body."""


@dataclass(frozen=True)
class TooMany:
    """Large bodies are under way already, as many as are taken at once."""


@dataclass(frozen=True)
class NobodyKnown:
    """Who sends a large body has neither a session nor a key."""


@dataclass(frozen=True)
class DatabaseAway:
    """Whether they have can't be told."""


@dataclass(frozen=True)
class Restarting:
    """The server is about to end."""


Refusal = TooLarge | TooMany | NobodyKnown | DatabaseAway | Restarting


def response(refusal: Refusal, path: str, sent: Mapping[str, str]) -> HttpResponse:
    """JSON; a page in the hub's look to a browser that asked for a page. `sent`: headers by name in small letters."""
    request = _request(path, sent)
    is_page = not path.startswith(_PROGRAMS) and request.get_preferred_type([_JSON, _HTML]) == _HTML
    with translation.override(translation.get_language_from_request(request)):
        made = _page(refusal, request) if is_page else _json(refusal)
    headers.protect(made)
    made.headers["Connection"] = "close"
    return made


def _json(refusal: Refusal) -> HttpResponse:
    match refusal:
        case TooLarge(limit):
            return answer(413, f"A request may hold {limit} bytes; nothing was changed.")
        case TooMany():
            detail = "Too many large files are on their way; nothing was changed."
            return answer(503, detail, retry_after=AGAIN)
        case DatabaseAway():
            detail = "The database does not answer. Nothing was changed."
            return answer(503, detail, retry_after=AGAIN)
        case Restarting():
            return answer(503, "The hub restarts. Nothing was changed.", retry_after=AGAIN)
    return answer(401, "Sign in, or send an API key.")


def _page(refusal: Refusal, request: HttpRequest) -> HttpResponse:
    match refusal:
        case TooLarge(limit):
            # Beside the file there is room for the form around it, of which nobody knows.
            return errors.too_large(request, UPLOAD_MAX if limit == bodies.WITH_FILES else limit)
        case TooMany():
            safe = _("Nothing was stored. Too many large files are on their way just now.")
            return errors.page(request, 503, safe=safe, retry_after=AGAIN)
        case DatabaseAway() | Restarting():
            return errors.page(request, 503, retry_after=AGAIN)
    return redirect_to_login(request.path)


def _request(path: str, sent: Mapping[str, str]) -> HttpRequest:
    request = HttpRequest()
    request.method, request.path, request.path_info = "POST", path, path
    request.META = {f"HTTP_{name.upper().replace('-', '_')}": sent[name] for name in sent}
    request.COOKIES = parse_cookie(sent.get("cookie", ""))
    return request
