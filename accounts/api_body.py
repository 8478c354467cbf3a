"""The JSON object in a request's body."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson
from django.http import HttpRequest

from accounts.errors import ApiError

_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
_BIGGEST: Final = 2**64 - 1


def json_object(request: HttpRequest) -> dict[str, Any]:
    """No lone surrogates, no NaN, no NUL: texts that a database refuses are refused before they get there. No whole
    numbers beyond 64 bits, which would be stored as others than were sent.

    It is read as JSON whatever it calls itself. Raises ApiError.
    """
    try:
        value = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise _unacceptable(f"{error}{_sent_as(request)}") from None
    if b"\\u0000" in request.body and _holds_nul(value):
        raise _unacceptable("NUL characters are not accepted")
    if _LONG_NUMBER.search(request.body):
        try:
            json.loads(request.body, parse_int=_whole)
        except RecursionError:
            raise _unacceptable("it is nested too deep") from None
    if not isinstance(value, dict):
        raise ApiError(422, "The body must be a JSON object.", fields={"body": "must be an object"})
    return value


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) <= _BIGGEST:
        raise _unacceptable("a whole number does not fit 64 bits; send it as text")
    return int(digits)


def _unacceptable(why: str) -> ApiError:
    return ApiError(400, f"The body is no JSON that we accept: {why}.")


def _sent_as(request: HttpRequest) -> str:
    """A word to whoever sends a form where none is taken."""
    kind = request.content_type
    if not kind or kind == "application/json" or kind.endswith("+json"):
        return ""
    return f"; it was sent as {kind[:100]}, send JSON with Content-Type: application/json"


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(_holds_nul, value))
