"""The JSON API at `/api/v1/`: its routers, and the one shape of everything that goes wrong.

`{"error": {"code", "detail", "fields"?}}`, whatever the cause: a refusal, a body that is no JSON, an unknown
address, a method that is not there, a database that is away, a fault of ours. Never a trace.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, RawPostDataException
from django.http.multipartparser import MultiPartParserError
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser

import accounts.api
import chat.api
import notifications.api
import tasks.api
import web.api
from accounts import refusals
from accounts.api_body import json_object
from accounts.errors import CODES, ApiError
from events.errors import EventTooLarge, InvalidEvent
from hub import bodies

logger = logging.getLogger(__name__)

BODY_LIMIT: Final = 1024 * 1024
"""Bytes; where files are taken, more (`hub.bodies`)."""
RETRY_AFTER: Final = 5
"""Seconds after which a caller may try again when the database is away."""


class StrictParser(Parser):
    def parse_body(self, request: HttpRequest) -> Any:
        return json_object(request)


api = NinjaAPI(
    title="Hub",
    version="1",
    description="Notifications, announcements, jobs and events for staff. Scripts send an API key as `Authorization: Bearer …`.",
    urls_namespace="api",
    parser=StrictParser(),
)
api.add_router("", accounts.api.router)
api.add_router("", notifications.api.router)
api.add_router("", tasks.api.router)
api.add_router("", chat.api.router)
api.add_router("", web.api.router)


def answer(
    status: int,
    detail: str,
    *,
    code: str = "",
    fields: Mapping[str, str] | None = None,
    retry_after: int | None = None,
) -> HttpResponse:
    """An error in the API's shape."""
    error: dict[str, Any] = {"code": code or CODES.get(status, "error"), "detail": detail}
    if fields:
        error["fields"] = dict(fields)
    response = HttpResponse(
        json.dumps({"error": error}), status=status, content_type="application/json"
    )
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="hub"'
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


@api.exception_handler(ApiError)
def _refused(request: HttpRequest, error: ApiError) -> HttpResponse:
    return answer(
        error.status_code,
        error.message,
        code=error.code,
        fields=error.fields,
        retry_after=error.retry_after,
    )


@api.exception_handler(HttpError)
def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error.__cause__, ApiError):  # of the parser, wrapped
        return _refused(request, error.__cause__)
    return answer(error.status_code, error.message)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    fields = {_place(one["loc"]): str(one["msg"]) for one in error.errors}
    named = ", ".join(fields)
    return answer(422, f"Not accepted: {named}.", fields=fields)


@api.exception_handler(RequestDataTooBig)
def _too_much_text(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    refusals.count("body")
    return answer(413, "The form's texts are too large; nothing was changed.")


@api.exception_handler(MultiPartParserError)
@api.exception_handler(TooManyFieldsSent)
@api.exception_handler(TooManyFilesSent)
def _unreadable_form(request: HttpRequest, error: Exception) -> HttpResponse:
    return answer(400, "The body is no form that can be read.")


@api.exception_handler(EventTooLarge)
def _too_large(request: HttpRequest, error: EventTooLarge) -> HttpResponse:
    refusals.count("publish_size")
    return answer(413, str(error))


@api.exception_handler(InvalidEvent)
def _invalid_event(request: HttpRequest, error: InvalidEvent) -> HttpResponse:
    return answer(422, str(error))


@api.exception_handler(Http404)
def _absent(request: HttpRequest, error: Http404) -> HttpResponse:
    return answer(404, "There is no such thing, or it is not yours to see.")


@api.exception_handler(PermissionDenied)
def _denied(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
    return answer(403, "You may not do this.")


@api.exception_handler(OperationalError)
@api.exception_handler(InterfaceError)
def _database_away(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s: the database does not answer: %s", request.method, request.path, error)
    detail = "The database does not answer."
    if request.method not in {
        "GET",
        "HEAD",
    }:  # it may have gone after the commit, or after the first of several
        detail += " What you sent may or may not be stored: repeat it, a POST with the same `key`."
    return answer(503, detail, retry_after=RETRY_AFTER)


@api.exception_handler(Exception)
def _fault(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return answer(500, "Something broke on our side; it is logged.")


@csrf_exempt
def unknown(request: HttpRequest) -> HttpResponse:
    return answer(404, "There is no such address.")


def guarded(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """What the operations themselves can't answer: too large a body, a method that is not there."""

    def guard(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        limit = bodies.limit(request.method, request.path, request.content_type, BODY_LIMIT)
        if _is_too_large(request, limit):
            refusals.count("body")
            return answer(413, f"The body is larger than {limit} bytes.")
        try:
            response = view(request, *args, **kwargs)
        except Http404:
            return unknown(request)
        if response.status_code == 405:
            refusal = answer(405, f"{request.method} is not possible here.")
            refusal.headers["Allow"] = response.headers["Allow"]
            return refusal
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    guard.csrf_exempt = True  # type: ignore[attr-defined]
    return guard


def _routes() -> list[URLPattern | URLResolver]:
    routes, _app, _namespace = api.urls
    for route in routes:
        if isinstance(route, URLPattern):
            route.callback = guarded(route.callback)
    return routes


def _is_too_large(request: HttpRequest, limit: int) -> bool:
    if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
        return True
    if limit > BODY_LIMIT:
        return (
            False  # a form with files is read piece by piece, and only once it is known whose it is
        )
    try:
        return len(request.body) > BODY_LIMIT  # sent in chunks, without a length
    except RequestDataTooBig:
        return True
    except RawPostDataException:
        return False


def _place(location: tuple[Any, ...]) -> str:
    """`("body", "event", "data", "at")` as its sender knows it: `data.at`."""
    parts = [str(part) for part in location]
    source = parts.pop(0)
    if source == "body" and len(parts) > 1:
        parts.pop(0)
    return ".".join(parts) or source


urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", include((_routes(), "ninja"), namespace="api")),
    re_path("", unknown),
]
