"""A PostgreSQL that was restarted costs no request; one that is busy does not keep requests waiting."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.utils import ConnectionHandler

from hub import env, serving
from tests.faults.proxy import Proxy
from tests.faults.rig import postgres_socket
from tests.live import database_url

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="about PostgreSQL: set TEST_DATABASE_URL"
    ),
]


@pytest.fixture
def pooled() -> Iterator[Any]:
    """A connection as a server has it: from a pool."""
    with from_pool() as one:
        yield one


@contextlib.contextmanager
def from_pool(**where: object) -> Iterator[Any]:
    found = env.database(os.environ["DATABASE_URL"], Path(settings.HUB_DATA_DIR))
    found["NAME"] = connection.settings_dict[
        "NAME"
    ]  # the address names a database that need not exist
    handler = ConnectionHandler({"default": found | where})
    one = handler["default"]
    assert isinstance(one, DatabaseWrapper)
    yield one
    one.close()
    one.close_pool()


def ask(one: Any, question: str) -> Any:
    with one.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


def test_a_connection_that_a_restart_killed_is_not_lent_again(pooled: Any) -> None:
    killed = ask(pooled, "SELECT pg_backend_pid()")
    pooled.close()
    other = DatabaseWrapper({**pooled.settings_dict, "OPTIONS": {}}, alias="other")
    try:
        assert ask(other, f"SELECT pg_terminate_backend({killed}, 5000)")
    finally:
        other.close()
    assert ask(pooled, "SELECT pg_backend_pid()") != killed


def test_a_server_that_was_away_is_asked_again_soon() -> None:
    with (
        Proxy(postgres_socket()) as proxy,
        from_pool(HOST="127.0.0.1", PORT=proxy.port) as pooled,
    ):
        assert ask(pooled, "SELECT 1") == 1
        proxy.refuse()
        away = time.monotonic() + 8  # a pool left to itself asks after 1, 3, 7 and 15 seconds
        while time.monotonic() < away:
            pooled.close()
            with pytest.raises(OperationalError):
                ask(pooled, "SELECT 1")
        proxy.accept()
        back = time.monotonic()
        while not answers(pooled):
            pass
        assert time.monotonic() - back < 5


def answers(one: Any) -> bool:
    one.close()
    try:
        return bool(ask(one, "SELECT 1"))
    except OperationalError:
        return False


def test_commands_and_workers_may_take_their_time(pooled: Any) -> None:
    assert ask(pooled, "SHOW statement_timeout") == "0"
    assert ask(pooled, "SHOW lock_timeout") == "5s"
    assert ask(pooled, "SHOW idle_in_transaction_session_timeout") == "30s"


@pytest.mark.parametrize("server", ["hub.asgi", "hub.wsgi"])
def test_a_server_may_not(server: str, tmp_path: Path) -> None:
    program = (
        f"import {server}\n"
        "from django.db import connection\n"
        "with connection.cursor() as cursor:\n"
        "    for name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'):\n"
        "        cursor.execute(f'SHOW {name}')\n"
        "        print(cursor.fetchone()[0])\n"
        "connection.close()\n"
        "connection.close_pool()\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program],
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database_url(),
            "HUB_DATA_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert shown.stdout.split() == ["5s", "2s", "30s"]


def test_bounds_are_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, str] = connection.settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "options", "-c lock_timeout=5s")
    serving.bound_statements()
    serving.bound_statements()
    assert options["options"] == f"-c lock_timeout=5s {serving.BOUNDS}"
