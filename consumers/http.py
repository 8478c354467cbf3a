"""What the three HTTP doors share: checks in front, errors as JSON, one connection of a person counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from django.db import Error as DatabaseError

from accounts.authenticate import InvalidKey
from consumers import door, farewell, switchboard
from consumers.database import soon
from consumers.door import BadQuery, Query, Visitor
from consumers.protocol import Item
from consumers.subscription import Sink, Subscription

logger = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Headers = list[tuple[bytes, bytes]]

_NO_STORE: Final[Headers] = [(b"cache-control", b"no-store")]


class Refused(Exception):
    """The answer is this status and sentence."""

    def __init__(self, status: int, code: str, detail: str, headers: Headers | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = headers or []


@dataclass(frozen=True)
class Request:
    """A checked request: who asks and for what."""

    visitor: Visitor
    query: Query
    allowed: tuple[str, ...]
    parting: list[Item]
    """What is said of the topics that may not be read."""


async def admit(scope: Mapping[str, Any]) -> Request:
    """Raises Refused."""
    if scope["method"] != "GET":
        raise Refused(
            405, "method_not_allowed", "Only GET is understood here.", [(b"allow", b"GET")]
        )
    headers = door.headers_of(scope)
    try:
        query = door.read_query(scope["query_string"])
        resumed = headers.get("last-event-id")
        if resumed and scope["path"].rstrip("/").endswith("/stream"):
            query = replace(query, cursor=door.read_cursor(resumed))
    except BadQuery as error:
        raise Refused(400, "bad_query", str(error)) from None
    try:
        visitor = await door.identify(headers.get("authorization"), scope.get("session_key"))
        if visitor is None:
            raise Refused(401, "unauthorized", "Sign in, or send an API key.")
        if visitor.credential.key_id is None and headers.get("sec-fetch-site") == "cross-site":
            raise Refused(403, "forbidden", "Another site may not read this with your session.")
        if "read" not in visitor.credential.scopes:
            raise Refused(403, "forbidden", "This API key has no read scope.")
        wanted = _wanted(query, visitor)
        if not switchboard.of_loop().may_ask(visitor.credential):
            raise Refused(429, "too_fast", "You ask too often.", [(b"retry-after", b"1")])
        allowed = await door.readable(visitor.credential, wanted)
        refused = [name for name in wanted if name not in allowed]
        parting: list[Item] = []
        if refused:
            parting, at = await soon(farewell.part, visitor.credential, refused, query.cursor)
            query = replace(query, cursor=at)
    except InvalidKey:
        raise Refused(
            401, "unauthorized", "This API key is not valid.", [(b"www-authenticate", b"Bearer")]
        ) from None
    except DatabaseError as error:
        logger.warning("The database is away (%s)", type(error).__name__)
        raise Refused(
            503,
            "unavailable",
            "The database does not answer in time; try again.",
            [(b"retry-after", b"2")],
        ) from None
    return Request(visitor, query, tuple(name for name in wanted if name in allowed), parting)


def _is_usual(query: Query) -> bool:
    """Whether it is, perhaps among others, about what the person reads without naming it."""
    return not query.topics or door.USUAL in query.topics


def _wanted(query: Query, visitor: Visitor) -> tuple[str, ...]:
    named = [name for name in query.topics if name != door.USUAL]
    usual = visitor.implied if _is_usual(query) else ()
    return tuple(dict.fromkeys([*usual, *named]))


async def look(request: Request, sink: Sink) -> tuple[Subscription, list[Item]]:
    """A subscription that only reads the log, once. Returns it and what to say first."""
    subscription = Subscription(switchboard.of_loop(), request.visitor.credential, sink)
    resets = await subscription.open(request.allowed, request.query.cursor, live=False)
    return subscription, [*request.parting, *resets]


async def subscribe(request: Request, sink: Sink) -> tuple[str, Subscription, list[Item]]:
    """Register and open a subscription. Returns its connection, itself, and what to say first. Raises Refused."""
    board = switchboard.of_loop()
    subscription = Subscription(board, request.visitor.credential, sink)
    if _is_usual(request.query):
        subscription.implied = frozenset(request.visitor.implied).intersection(request.allowed)
    try:
        connection = await board.register(subscription)
    except switchboard.TooManyConnections:
        raise Refused(
            429, "too_many", "You have too many connections.", [(b"retry-after", b"10")]
        ) from None
    try:
        resets = await subscription.open(request.allowed, request.query.cursor)
    except BaseException:
        board.unregister(connection)
        raise
    return connection, subscription, [*request.parting, *resets]


async def start(send: Send, status: int, content_type: str, headers: Headers | None = None) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type.encode()),
                (b"x-content-type-options", b"nosniff"),
                *_NO_STORE,
                *(headers or []),
            ],
        }
    )


async def answer(
    send: Send, body: bytes, status: int = 200, headers: Headers | None = None
) -> None:
    length = [(b"content-length", str(len(body)).encode()), *(headers or [])]
    await start(send, status, "application/json", length)
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, refusal: Refused) -> None:
    error = {"error": {"code": refusal.code, "detail": str(refusal)}}
    await answer(send, orjson.dumps(error), refusal.status, refusal.headers)


async def gone(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        continue


def guarded(
    handle: Callable[[dict[str, Any], Receive, Send], Awaitable[None]],
) -> Callable[[dict[str, Any], Receive, Send], Awaitable[None]]:
    """An ASGI application around a handler: refusals become answers, faults a 500 or the end of the stream."""

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        started = False

        async def noting(message: dict[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await handle(scope, receive, noting)
        except Refused as refusal:
            await refuse(send, refusal)
        except asyncio.CancelledError:
            raise
        except DatabaseError:
            if not started:
                detail = "The database does not answer in time; try again."
                await refuse(send, Refused(503, "unavailable", detail, [(b"retry-after", b"2")]))
        except Exception:
            logger.exception("A request failed")
            if not started:
                await refuse(send, Refused(500, "fault", "Something failed here; it is logged."))

    return application
