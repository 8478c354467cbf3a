"""`manage.py backup` and `restore`, as processes of their own over databases of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests.live import ROOT, child_environment, database_url

WORK = """
import django; django.setup()
from django.contrib.auth.models import User
import events
from events import log
from events.models import Event
"""

pytestmark = pytest.mark.usefixtures("live_db")


class Hub:
    def __init__(self, home: Path, database: str) -> None:
        self.home = home
        self.env = child_environment(8000, HUB_DATA_DIR=str(home), DATABASE_URL=database)
        for name in ("SECRET_KEY", "HUB_LAYER_KEY"):
            del self.env[name]

    def manage(self, *command: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "manage.py", *command]
        return subprocess.run(
            argv, env=self.env, cwd=ROOT, capture_output=True, text=True, check=False
        )

    def run(self, code: str) -> str:
        argv = [sys.executable, "-c", WORK + code]
        done = subprocess.run(
            argv, env=self.env, cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def filled(self) -> Hub:
        assert self.manage("migrate", "-v0").returncode == 0
        self.run(
            "User.objects.create(username='eve'); "
            "events.publish_many(('group.ops', 'order.late', {'n': n, 't': '\\\\ \\t\\n 한'}) for n in range(3000))"
        )
        return self

    def state(self) -> str:
        return self.run(
            "print(list(User.objects.values_list('username', 'pk')), Event.objects.count(), log.heads(['group.ops']),"
            " hash(tuple(Event.objects.order_by('id').values_list('id', 'offset', 'data', 'at'))))"
        )

    def epoch(self) -> str:
        return self.run("from events import epoch; print(epoch.current())")

    def secrets(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.home / "secrets").iterdir()}


@pytest.fixture
def hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Hub, Hub]]:
    """Two installations without tables."""
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    homes = [tmp_path / "one", tmp_path / "two"]
    with contextlib.ExitStack() as gone:
        if connection.vendor == "sqlite":
            yield tuple(Hub(home, f"sqlite:///{home}/db.sqlite3") for home in homes)  # type: ignore[misc]
            return
        made = []
        for home in homes:
            name = f"backup_{secrets.token_hex(4)}"
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0")
            gone.callback(_drop, name)
            here = str(connection.settings_dict["NAME"])
            made.append(Hub(home, database_url().replace(f"/{here}", f"/{name}", 1)))
        yield made[0], made[1]


def _drop(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_restored_hub_is_the_same_under_a_new_epoch(hubs: tuple[Hub, Hub], tmp_path: Path):
    one, two = hubs
    one.filled()
    file = tmp_path / "hub.backup"
    done = one.manage("backup", str(file))
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    done = two.manage("restore", str(file))
    assert done.returncode == 0, done.stderr
    assert two.state() == one.state()
    assert two.secrets() == one.secrets()
    assert two.epoch() != one.epoch()
    two.run("User.objects.create(username='new'); events.publish('group.ops', 'order.late', {})")
    assert two.run("print(log.heads(['group.ops'])['group.ops'])") == "3001"


def test_what_can_not_be_done_is_one_line_and_changes_nothing(
    hubs: tuple[Hub, Hub], tmp_path: Path
):
    one, two = hubs
    one.filled()
    file = tmp_path / "hub.backup"
    assert one.manage("backup", str(file)).returncode == 0
    before = file.read_bytes()
    refused(one.manage("backup", str(file)), "exists")
    assert file.read_bytes() == before
    refused(one.manage("backup", str(tmp_path / "none" / "hub.backup")), "No such file")
    refused(one.manage("restore", str(file)), "not empty")
    (tmp_path / "text").write_text("hello")
    refused(two.manage("restore", str(tmp_path / "text")), "no backup")
    refused(two.manage("restore", str(tmp_path / "none")), "can't be read")
    middle = len(before) // 2
    (tmp_path / "bad").write_bytes(before[:middle] + os.urandom(64) + before[middle + 64 :])
    refused(two.manage("restore", str(tmp_path / "bad")), "damaged")
    assert two.manage("restore", str(file)).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "bad",
        "hub.backup",
        "text",
    ]


def refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("CommandError: ")
    assert words in last
    assert "Traceback" not in done.stderr
