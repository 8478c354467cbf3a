"""A real server beside the test process: same database, same Redis, same keys, another process.

Tests that use it commit for real (no wrapping transaction, no flush): take `live_db`, make people with
`newcomer()`, and don't ask for `db`, `alice` and the like. pytest-django runs such tests after all that roll
back or flush, so what they leave behind disturbs nobody, and one server serves the whole run.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar
from urllib.parse import quote, urlencode

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import RequestFactory
from django.test.utils import setup_databases, teardown_databases
from pytest_django import DjangoDbBlocker

from tests.people import PASSWORD

Kind = Literal["daphne", "uvicorn", "gunicorn+daphne"]
P = ParamSpec("P")
T = TypeVar("T")

START_SECONDS = 30
STOP_SECONDS = 10
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Child:
    """One process of the hub, started again under the same address after a kill."""

    argv: list[str]
    env: dict[str, str]
    log: Path
    port: int | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, env=self.env, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )
        if self.port:
            self._wait_until_it_answers(self.port)

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> int:
        """Send the signal, wait for the end, return the exit code; a no-op for one that has ended."""
        if self.process is None:
            return 0
        self.process.send_signal(sign)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        return code

    def stop(self) -> int:
        return self.kill(signal.SIGTERM)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _wait_until_it_answers(self, port: int) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            probe = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                probe.request("GET", "/healthz")
                probe.getresponse().read()
            except OSError:
                time.sleep(0.05)
            else:
                return
            finally:
                probe.close()
        self.kill()
        pytest.fail(f"{' '.join(self.argv)} did not start:\n{self.said()[-4000:]}", pytrace=False)


@dataclass
class LiveServer:
    kind: Kind
    url: str  # pages and API
    stream_url: str  # /ws/ and /events/; differs from `url` only for gunicorn+daphne
    children: dict[str, Child] = field(default_factory=dict)

    @property
    def streams(self) -> Child:
        """The process that holds the sockets."""
        return self.children["asgi"]

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def ws(self, path: str = "/ws/", **query: str) -> str:
        """The WebSocket address; send `Origin: server.url` with a cookie."""
        return f"ws{self.stream_url.removeprefix('http')}{path}" + (
            f"?{urlencode(query)}" if query else ""
        )

    def events(self, transport: str, **query: str) -> str:
        """`transport`: poll, long-poll or stream."""
        return f"{self.stream_url}/events/{transport}" + (f"?{urlencode(query)}" if query else "")

    def said(self) -> str:
        return "\n".join(child.said() for child in self.children.values())


def children_of(parent: int) -> list[int]:
    """The ids of its child processes (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # one that ended meanwhile
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def database_url() -> str:
    """The test database of this process, in the hub's own spelling."""
    of = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{of['NAME']}"
    user = quote(str(of["USER"]), safe="")
    password = f":{quote(str(of['PASSWORD']), safe='')}" if of["PASSWORD"] else ""
    port = f":{of['PORT']}" if of["PORT"] else ""
    host = str(of["HOST"])
    if host.startswith("/"):  # a socket directory
        return f"postgres://{user}{password}@{port}/{quote(str(of['NAME']))}?host={quote(host)}"
    return f"postgres://{user}{password}@{host}{port}/{quote(str(of['NAME']))}"


def child_environment(port: int, **more: str) -> dict[str, str]:
    """What a `manage.py` or server process needs to be the same hub as this test process."""
    home = Path(settings.HUB_DATA_DIR)
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        "HUB_DATA_DIR": str(home),
        "HUB_PORT": str(port),
        "HUB_URL": f"http://127.0.0.1:{port}",
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "SECRET_KEY": settings.SECRET_KEY,
        "HUB_LAYER_KEY": settings.HUB_LAYER_KEY,
        "HUB_LAYER": settings.HUB_LAYER,
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "default",
        **more,
    }


@functools.cache
def collected_static() -> Path:
    """Static files under the test home, collected once per run."""
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"],
        cwd=ROOT,
        env=child_environment(8000),
        check=True,
    )
    return Path(settings.STATIC_ROOT)


@contextlib.contextmanager
def live_server(
    kind: Kind = "daphne",
    *,
    worker: bool = False,
    beat: bool = False,
    static: bool = False,
    env: Mapping[str, str] | None = None,
) -> Iterator[LiveServer]:
    """Start the hub on free ports of the loopback; stop it at the end.

    `worker` adds a Celery worker (two processes), `beat` the clock with its watchdog, `static` collects the static files first.
    `server.streams.kill(); server.streams.start()` brings the socket process back on the same port.
    """
    if static:
        collected_static()
    port = free_port()
    stream_port = free_port() if kind == "gunicorn+daphne" else port
    environment = child_environment(port, **(env or {}))
    server = LiveServer(kind, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{stream_port}")
    logs = Path(settings.HUB_DATA_DIR) / "logs"
    logs.mkdir(exist_ok=True)
    for name, argv, its_port in _processes(kind, port, stream_port, worker=worker, beat=beat):
        log = logs / f"{name}-{port}.log"
        server.children[name] = Child([sys.executable, *argv], environment, log, its_port)
    try:
        for child in server.children.values():
            child.start()
        yield server
    finally:
        for child in reversed(server.children.values()):
            child.stop()


def _processes(
    kind: Kind, port: int, stream_port: int, *, worker: bool, beat: bool
) -> Iterator[tuple[str, list[str], int | None]]:
    asgi = {
        "uvicorn": ["-m", "uvicorn", "hub.asgi:application", "--log-level", "warning"],
    }.get(kind, ["-m", "hub.server"])
    yield "asgi", [*asgi, "--host", "127.0.0.1", "--port", str(stream_port)], stream_port
    if kind == "gunicorn+daphne":
        bind = f"127.0.0.1:{port}"
        yield "wsgi", ["-m", "gunicorn", "hub.wsgi:application", "-w", "2", "-b", bind], port
    if worker:
        pool = ["--pool", "prefork", "--concurrency", "2", "--loglevel", "info"]
        yield "worker", ["-m", "celery", "-A", "hub", "worker", *pool], None
    if beat:
        schedule = Path(settings.HUB_DATA_DIR) / f"beat-{port}"
        yield "beat", ["-m", "celery", "-A", "hub", "beat", "--schedule", str(schedule)], None


@functools.cache
def _encoded_password() -> str:
    # Once and by name: the server process does not know the fast hasher of tests.settings.
    return PBKDF2PasswordHasher().encode(PASSWORD, "live")


def newcomer(name: str = "alice", **fields: object) -> User:
    """A committed account that no other test knows; signs in with PASSWORD, shows as `name`."""
    user: User = get_user_model()(
        username=f"{name}-{secrets.token_hex(4)}", first_name=name.title(), **fields
    )
    user.email = f"{user.username}@example.org"
    user.password = _encoded_password()
    user.save()
    return user


def session_of(user: User) -> str:
    """A new session, signed in as the sign-in page does it; the value of the session cookie."""
    request = RequestFactory().get("/")
    request.session = import_module(settings.SESSION_ENGINE).SessionStore()
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    request.session.save()
    return str(request.session.session_key)


def cookies_of(user: User) -> dict[str, str]:
    return {settings.SESSION_COOKIE_NAME: session_of(user)}


class Aside:
    """Runs sync code on one thread of its own, where no event loop runs.

    Playwright's sync API leaves a running loop in the test's thread, on which both the ORM and `publish` refuse.
    """

    def __init__(self) -> None:
        self.__pool = ThreadPoolExecutor(1, thread_name_prefix="aside")

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.__pool.submit(function, *args, **kwargs).result(60)

    def close(self) -> None:
        self.__pool.submit(connections.close_all).result(10)
        self.__pool.shutdown()


@contextlib.contextmanager
def database_of_tests() -> Iterator[None]:
    """The test database, whoever made it. pytest-django does only when some test of the run bears its mark or
    asks for `db`; and PostgreSQL drops none that a thread of this process still has a session in."""
    made_already = connection.settings_dict["NAME"] == connection.creation._get_test_db_name()  # type: ignore[attr-defined]
    made = [] if made_already else setup_databases(0, interactive=False, aliases={"default": None})
    connection.close()
    yield
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    teardown_databases(made, verbosity=0)


@pytest.fixture(scope="session")
def live_tables(django_db_setup: None) -> None:
    """The test database is there."""


@pytest.fixture
def live_db(live_tables: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Database access with real commits: nothing is wrapped, nothing is flushed."""
    with django_db_blocker.unblock():
        yield
        if connection.connection is not None:
            connection.close()


@pytest.fixture(scope="session")
def hub_server(live_tables: None, real_redis: str) -> Iterator[LiveServer]:
    """One Daphne for all tests of the run that don't hurt it; those that kill start their own."""
    with live_server(static=True) as server:
        yield server


@pytest.fixture
def aside(live_db: None) -> Iterator[Aside]:
    thread = Aside()
    yield thread
    thread.close()
