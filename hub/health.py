"""`/healthz`, `/readyz` and `/metrics`: answered before sessions, hosts and redirects come into play.

Each part is asked at most once at a time, in a thread of its own, and a caller waits for none longer than
`PATIENCE`: a database that hangs makes the hub not ready, it does not make this page hang.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Final, Generic, TypeVar

import redis
from django.db import Error as DatabaseTrouble
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Gauge,
    generate_latest,
)

from accounts import authenticate
from consumers import metrics
from events import redis_client
from hub import sign_of_life, waiting
from hub.waiting import Waiting

logger = logging.getLogger(__name__)

PATIENCE: Final = 0.9
"""Seconds that a request waits for all parts together."""
FRESH: Final = 0.5
"""Seconds for which an answer is given again without asking."""

T = TypeVar("T")
GetResponse = Callable[[HttpRequest], HttpResponseBase]

_lookups = ThreadPoolExecutor(2, thread_name_prefix="health-key")
REGISTRY.register(metrics.Readers())
_ready = Gauge("hub_ready", "1 when this part answers", ["part"])


class Part(Generic[T]):
    """Something that the hub can't do without, and the question that shows how it is."""

    def __init__(self, name: str, ask: Callable[[], T]) -> None:
        self.name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._answer: Future[T] | None = None
        self._asked_at = 0.0

    def answer(self) -> Future[T]:
        """What `ask` says; the answer on its way, when there is one."""
        with self._lock:
            now = time.monotonic()
            if self._answer is not None and (
                not self._answer.done() or now - self._asked_at < FRESH
            ):
                return self._answer
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"health-{self.name}")
            self._asked_at = now
            self._answer = self._pool.submit(self._ask)
            return self._answer


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseTrouble as error:
        return type(error).__name__
    finally:
        connection.close()
    return "ok"


def _redis() -> str:
    try:
        redis_client.blocking().ping()
    except redis.RedisError as error:
        return type(error).__name__
    return "ok"


def _worker() -> str:
    try:
        return "ok" if sign_of_life.seen() else "none answers"
    except redis.RedisError:
        return "unknown"


def _what_waits() -> Waiting:
    try:
        return waiting.now()
    finally:
        connection.close()


PARTS: Final = (Part("database", _database), Part("redis", _redis), Part("worker", _worker))
"""Each says "ok", or what is wrong."""
_WAITING: Final = Part("waiting", _what_waits)


def readiness() -> dict[str, str]:
    """Each part by name: "ok", or a few words on what is wrong."""
    answers = {part.name: part.answer() for part in PARTS}
    wait_for(answers.values(), timeout=PATIENCE)
    states = {}
    for name, answer in answers.items():
        if not answer.done():
            states[name] = f"no answer within {PATIENCE:g} s"
        elif answer.exception() is not None:
            logger.error("The check of %s failed", name, exc_info=answer.exception())
            states[name] = "the check failed"
        else:
            states[name] = answer.result()
        _ready.labels(name).set(states[name] == "ok")
    return states


def answer(get_response: GetResponse) -> GetResponse:
    """Middleware, the first of all."""
    pages = {"/healthz": _healthz, "/readyz": _readyz, "/metrics": _metrics}

    def middleware(request: HttpRequest) -> HttpResponseBase:
        page = pages.get(request.path_info)
        if page is None:
            return get_response(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
        response = page(request)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return middleware


def _healthz(request: HttpRequest) -> HttpResponse:
    return _json({"status": "ok"})


def _readyz(request: HttpRequest) -> HttpResponse:
    may_see_details = _asks_for_details(request)
    states = readiness()
    ready = all(state == "ok" for state in states.values())
    body: dict[str, object] = {"status": "ok" if ready else "unavailable"}
    if may_see_details():
        body["checks"] = states
    return _json(body, 200 if ready else 503)


def _metrics(request: HttpRequest) -> HttpResponse:
    if not _asks_for_details(request)():
        return _json({"status": "ok"})
    until = time.monotonic() + PATIENCE
    what_waits = _WAITING.answer()
    readiness()
    wait_for([what_waits], timeout=max(0.0, until - time.monotonic()))
    text = generate_latest()
    if what_waits.done() and what_waits.exception() is None:
        text += _text_of(what_waits.result())
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


def _text_of(now: Waiting) -> bytes:
    """Of the whole hub, whichever process is asked; missing while the database is away."""
    registry = CollectorRegistry()
    said = "What waits to be done: events, letters, jobs and messages of a queue"
    gauge = Gauge("hub_waiting", said, ["what", "queue"], registry=registry)
    gauge.labels("events", "").set(now.events)
    gauge.labels("letters", "").set(now.letters)
    for what, by_queue in (("jobs", now.jobs), ("messages", now.messages)):
        for name, n in by_queue.items():
            gauge.labels(what, name).set(n)
    return generate_latest(registry)


def _json(body: dict[str, object], status: int = 200) -> HttpResponse:
    response = HttpResponse(json.dumps(body), content_type="application/json", status=status)
    if status == 503:
        response.headers["Retry-After"] = "2"
        response._has_been_logged = True  # type: ignore[attr-defined] # Django would, as an error, for each question
    return response


def _asks_for_details(request: HttpRequest) -> Callable[[], bool]:
    """The answer, when it is wanted: a key is looked up meanwhile, and counts for nothing if that takes too long."""
    authorization = request.headers.get("Authorization")
    if authorization is None:
        is_local = _is_local(request)
        return lambda: is_local
    until = time.monotonic() + PATIENCE
    looked_up = _lookups.submit(_is_administrator, authorization)

    def answer() -> bool:
        try:
            return looked_up.result(max(until - time.monotonic(), 0.0))
        except TimeoutError:
            looked_up.cancel()
            return False

    return answer


def _is_administrator(authorization: str) -> bool:
    try:
        credential = authenticate.from_request_headers(authorization, None)
    except (authenticate.InvalidKey, DatabaseTrouble):
        return False
    finally:
        connection.close()
    return credential is not None and "admin" in credential.scopes


def _is_local(request: HttpRequest) -> bool:
    """The direct peer is this machine, and it speaks for itself: a proxy leaves one of these headers."""
    forwarded = (
        "HTTP_X_FORWARDED_FOR",
        "HTTP_X_REAL_IP",
        "HTTP_X_FORWARDED_PROTO",
        "HTTP_FORWARDED",
        "HTTP_VIA",
    )
    if any(name in request.META for name in forwarded):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR") or "").is_loopback
    except ValueError:
        return False
