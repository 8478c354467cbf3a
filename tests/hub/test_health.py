"""Alive, ready, measured: told to whoever asks, explained only to this machine and to administrators."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError
from django.test import Client, override_settings

from accounts import authenticate
from accounts.authenticate import make_key
from events.models import Event
from hub import health, sign_of_life
from hub.health import Part
from tasks import jobs
from tasks.queue import default_queue

pytestmark = pytest.mark.django_db(transaction=True)
AWAY = {"REMOTE_ADDR": "203.0.113.9"}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH", 0.0)


@pytest.fixture
def worker(real_redis: str) -> Iterator[None]:
    sign_of_life._give("worker@here")
    yield
    sign_of_life.forget()


def break_part(monkeypatch: pytest.MonkeyPatch, name: str, ask: Callable[[], str]) -> None:
    parts = [Part(name, ask) if part.name == name else part for part in health.PARTS]
    monkeypatch.setattr(health, "PARTS", parts)


def test_healthz_says_that_the_process_lives(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_ready_names_database_redis_and_worker(client: Client, worker: None) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": "ok", "redis": "ok", "worker": "ok"}


def test_without_a_worker_it_is_not_ready(client: Client, real_redis: str) -> None:
    sign_of_life.forget()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json() == {
        "status": "unavailable",
        "checks": {"database": "ok", "redis": "ok", "worker": "none answers"},
    }


def test_a_database_that_refuses_makes_it_unready(
    client: Client, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def cursor(self) -> None:
            raise OperationalError("no")

        def close(self) -> None: ...

    monkeypatch.setattr(health, "connection", Refusing())
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "OperationalError"


def test_a_part_that_hangs_makes_it_unready_within_a_second(
    client: Client, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    release = threading.Event()

    def hang() -> str:
        nonlocal asked
        asked += 1
        release.wait(20)
        return "ok"

    break_part(monkeypatch, "database", hang)
    try:
        for _ in range(3):
            began = time.monotonic()
            answer = client.get("/readyz")
            assert time.monotonic() - began < 1.2
            assert answer.status_code == 503
            assert "no answer" in answer.json()["checks"]["database"]
        assert asked == 1, "a part that hangs is not asked again"
    finally:
        release.set()


def test_a_check_that_fails_tells_its_reason_to_the_log_only(
    client: Client, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise RuntimeError("password=swordfish")

    break_part(monkeypatch, "redis", fail)
    answer = client.get("/readyz")
    assert answer.json()["checks"]["redis"] == "the check failed"
    assert b"swordfish" not in answer.content


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
@pytest.mark.parametrize(
    "headers",
    [
        AWAY,
        {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"HTTP_X_REAL_IP": "203.0.113.9"},
        {"HTTP_FORWARDED": "for=127.0.0.1"},
        {"REMOTE_ADDR": ""},
        {"HTTP_AUTHORIZATION": "Bearer hub_wrong"},
    ],
)
def test_a_stranger_sees_the_status_alone(
    client: Client, worker: None, path: str, headers: dict[str, str]
) -> None:
    answer = client.get(path, **headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_key_of_an_administrator_opens_the_details(
    client: Client, worker: None, admin: User, alice: User
) -> None:
    for owner, scopes, sees in (
        (admin, ["admin"], True),
        (admin, ["read"], False),
        (alice, ["read", "publish"], False),
    ):
        key = make_key(owner, "probe", scopes)[1]
        answer = client.get("/readyz", **AWAY, HTTP_AUTHORIZATION=f"Bearer {key}")  # type: ignore[arg-type]
        assert ("checks" in answer.json()) is sees


def test_a_key_that_nobody_can_look_up_holds_up_no_probe(
    client: Client, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def hang(*_: object) -> None:
        release.wait(20)

    monkeypatch.setattr(authenticate, "from_request_headers", hang)
    try:
        for _ in range(4):
            began = time.monotonic()
            answer = client.get("/readyz", HTTP_AUTHORIZATION="Bearer hub_any")
            assert time.monotonic() - began < 1.2
            assert answer.json() == {"status": "ok"}
    finally:
        release.set()


@pytest.mark.parametrize("trouble", [OperationalError, InterfaceError])
def test_a_key_in_times_of_trouble_is_a_strangers(
    client: Client, worker: None, monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(authenticate, "from_request_headers", fail)
    answer = client.get("/readyz", HTTP_AUTHORIZATION="Bearer hub_any")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_metrics_are_in_prometheus_text(client: Client, worker: None) -> None:
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'hub_ready{part="database"} 1.0' in answer.content.decode()


def test_metrics_say_what_waits(
    client: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE", 30.0)
    for queue in ("hub", "hub", "slow"):
        jobs.create(kind="test", owner=alice, queue=queue)
    Event.objects.create(topic="group.dashboard", type="test.waits", data="{}")
    assert waiting(client) == {
        'hub_waiting{queue="",what="events"} 1.0',
        'hub_waiting{queue="",what="letters"} 0.0',
        'hub_waiting{queue="hub",what="jobs"} 2.0',
        'hub_waiting{queue="slow",what="jobs"} 1.0',
        *(
            f'hub_waiting{{queue="{name}",what="messages"}} 0.0'
            for name in ("hub", "slow", default_queue())
        ),
    }


def test_metrics_are_told_while_the_database_hangs(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(health, "_WAITING", Part("waiting", over.wait))
    try:
        assert waiting(client) == set()
    finally:
        over.set()


def waiting(client: Client) -> set[str]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    lines = answer.content.decode().splitlines()
    return {line for line in lines if line.startswith("hub_waiting")}


@override_settings(ALLOWED_HOSTS=["hub.example.org"], SECURE_SSL_REDIRECT=True)
def test_a_probe_needs_no_host_no_https_and_no_session(client: Client) -> None:
    client.cookies["sessionid"] = "anything"
    answer = client.get("/healthz", HTTP_HOST="10.0.0.7:8000")
    assert answer.status_code == 200
    assert not answer.cookies
    assert "Vary" not in answer.headers


def test_only_get_and_head_are_answered(client: Client) -> None:
    assert client.post("/readyz").status_code == 405
    assert client.head("/healthz").status_code == 200
