"""`manage.py backup` and `restore`, as processes of their own over databases of their own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from django.db import connection

from tests.live import ROOT, Child, child_environment, database_url, free_port

WORK = """
import django; django.setup()
from django.contrib.auth.models import User
import events
from events import log
from events.models import Event
"""

BUSY = """
import hashlib, itertools, os, threading, uuid
from chat import messages, rooms
from django.db import connections
from tasks import files, jobs

user = User.objects.create(username='busy')
room = rooms.create(user, 'open', 'Busy')

def publish(n):
    events.publish('group.ops', 'order.late', {'n': n})
    return n

def talk(n):
    return messages.post(user, room.pk, uuid.uuid4(), f'message {n}')[0].pk

def make_a_file(n):
    job = jobs.claim(jobs.create(kind='busy', title='Busy', owner=user).pk, 1, 60)
    data = str(n).encode() * 300_000
    with files.result(job, hashlib.sha256(data).hexdigest(), 'text/plain') as out:
        out.write(data)
    jobs.finish(job.pk, 1, 'succeeded')
    return out.file.pk

def keep(work):
    for n in itertools.count():
        os.write(1, f'{work.__name__} {work(n)}\\n'.encode())  # a whole line, whoever else writes one
        connections.close_all()

for work in (publish, talk, make_a_file):
    threading.Thread(target=keep, args=(work,)).start()
threading.Event().wait()
"""

FOUND = """
import hashlib, json
from chat.models import Message
from tasks import files
from tasks.models import File, Job
print(json.dumps({
    'publish': [e.data['n'] for e in log.after('group.ops', 0, 10**6)],
    'talk': list(Message.objects.values_list('pk', flat=True)),
    'make_a_file': list(File.objects.exclude(complete_at=None).values_list('pk', flat=True)),
    'broken': [f.pk for f in File.objects.exclude(complete_at=None)
               if hashlib.sha256(b''.join(files.read(f))).hexdigest() != f.name],
    'offsets': [sorted(Event.objects.filter(topic=name).exclude(offset=None).values_list('offset', flat=True))
                for name in Event.objects.values_list('topic', flat=True).distinct()],
    'said': [json.loads(data)['id'] for data in Event.objects.filter(type='message.created').values_list('data', flat=True)],
}))
"""

LATE = """
import os, signal, sys
from django.db import migrations

def last(apps, editor):
    people = apps.get_model("auth", "User").objects.count()
    print(people, "people", file=sys.stderr, flush=True)
    if os.environ["LATE"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ["LATE"] == "fails":
        apps.get_model("auth", "User").objects.filter(nothing=1)

class Migration(migrations.Migration):
    dependencies = [("auth", "0012_alter_user_first_name_max_length"), ("hub_accounts", "0001_initial")]
    operations = [
        migrations.RunSQL("ALTER TABLE hub_accounts_profile ADD COLUMN late integer"),
        migrations.RunPython(last),
    ]
"""
"""Of an app that a hub got after it was backed up: it changes a table whose restored rows refer to others."""

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(300)]


class Hub:
    def __init__(self, home: Path, database: str) -> None:
        self.home = home
        self.env = child_environment(8000, HUB_DATA_DIR=str(home), DATABASE_URL=database)
        for name in ("SECRET_KEY", "HUB_LAYER_KEY"):
            del self.env[name]

    def manage(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "manage.py", *command]
        return subprocess.run(
            argv, env=self.env | env, cwd=ROOT, capture_output=True, text=True, check=False
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

    def is_used(self) -> bool:
        if connection.vendor == "sqlite":
            with (self.home / "db.sqlite3.lock").open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
                return False
        name = self.env["DATABASE_URL"].partition("?")[0].rpartition("/")[2]
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = %s", [name])
            return bool(cursor.fetchone()[0])

    def becomes(self, used: bool) -> None:
        """Wait until that is noticed of who has just come, or was just killed."""
        deadline = time.monotonic() + 60
        while self.is_used() is not used:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @contextlib.contextmanager
    def running(self, *command: str, port: int | None = None) -> Iterator[None]:
        child = Child([sys.executable, *command], self.env, self.home / "child.log", port)
        child.start()
        try:
            yield
        finally:
            child.stop()


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


@pytest.mark.parametrize("how", ["fails", "killed"])
def test_a_restore_that_ends_at_its_last_step_has_restored_nothing(
    how: str, hubs: tuple[Hub, Hub], tmp_path: Path
):
    one, two = hubs
    one.filled()
    file = tmp_path / "hub.backup"
    assert one.manage("backup", str(file)).returncode == 0
    migrations = tmp_path / "app" / "late" / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "__init__.py").touch()
    (migrations.parent / "__init__.py").touch()
    (migrations / "0001_initial.py").write_text(LATE)
    late = {"HUB_APPS": "late", "PYTHONPATH": str(tmp_path / "app")}
    assert two.manage("check", **late, LATE="").returncode == 0
    own = two.secrets()
    done = two.manage("restore", str(file), **late, LATE=how)
    assert done.returncode == (1 if how == "fails" else -9), done.stderr
    assert "1 people" in done.stderr  # all rows were there
    assert two.secrets() == own
    two.becomes(used=False)
    done = two.manage("restore", str(file), **late, LATE="")
    assert done.returncode == 0, done.stderr
    assert two.state() == one.state()
    assert two.secrets() == one.secrets() != own
    assert two.epoch() != one.epoch()
    assert "[X] 0001_initial" in two.manage("showmigrations", "late", **late, LATE="").stdout
    assert [path.name for path in two.home.iterdir() if "restore" in path.name] == []


def test_nothing_is_restored_under_a_hub(hubs: tuple[Hub, Hub], tmp_path: Path):
    one, two = hubs
    file = tmp_path / "hub.backup"
    assert one.manage("migrate", "-v0").returncode == 0
    assert one.manage("backup", str(file)).returncode == 0
    assert two.manage("migrate", "-v0").returncode == 0
    port = free_port()
    with two.running("-m", "hub.server", "--port", str(port), port=port):
        refused(two.manage("restore", str(file)), "stop")
    two.becomes(used=False)
    if connection.vendor == "sqlite":  # elsewhere a worker sees all of it at once, or nothing
        with two.running("-m", "celery", "-A", "hub", "worker", "-c", "1"):
            two.becomes(used=True)
            refused(two.manage("restore", str(file)), "stop")
        two.becomes(used=False)
    done = two.manage("restore", str(file))
    assert done.returncode == 0, done.stderr


def test_no_hub_starts_while_one_is_restored(hubs: tuple[Hub, Hub]):
    """PostgreSQL shows it nothing before all is there."""
    if connection.vendor != "sqlite":
        pytest.skip("rows of one transaction")
    _, two = hubs
    two.home.mkdir()
    with (two.home / "db.sqlite3.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (
            ("-m", "hub.server", "--port", str(free_port())),
            ("-m", "celery", "-A", "hub", "worker"),
            ("-m", "celery", "-A", "hub", "beat", "--schedule", str(two.home / "beat")),
            ("manage.py", "up", "--port", str(free_port())),
        ):
            done = subprocess.run(
                [sys.executable, *command],
                env=two.env,
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 1, done.stderr
            assert done.stderr.strip().splitlines()[-1].startswith("The database is being restored")


def test_a_backup_of_a_busy_hub_has_all_that_was_acknowledged_before(
    hubs: tuple[Hub, Hub], tmp_path: Path
):
    one, two = hubs
    assert one.manage("migrate", "-v0").returncode == 0
    acknowledged: dict[str, list[int]] = {"publish": [], "talk": [], "make_a_file": []}

    def listen(lines: IO[str]) -> None:
        for line in lines:
            work, number = line.split()
            acknowledged[work].append(int(number))

    argv = [sys.executable, "-c", WORK + BUSY]
    with subprocess.Popen(argv, env=one.env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as busy:
        try:
            assert busy.stdout is not None
            listener = threading.Thread(target=listen, args=(busy.stdout,))
            listener.start()
            deadline = time.monotonic() + 200
            while min(map(len, acknowledged.values())) < 5 or len(acknowledged["publish"]) < 100:
                assert busy.poll() is None and time.monotonic() < deadline, acknowledged
                time.sleep(0.05)
            before = {work: list(numbers) for work, numbers in acknowledged.items()}
            done = one.manage("backup", str(tmp_path / "hub.backup"))
            assert done.returncode == 0, done.stderr
            meanwhile = len(acknowledged["publish"]) - len(before["publish"])
        finally:
            busy.kill()
        listener.join()
    assert meanwhile > 0, "nothing was written beside the backup"
    done = two.manage("restore", str(tmp_path / "hub.backup"))
    assert done.returncode == 0, done.stderr
    found = json.loads(two.run(FOUND))
    for work, numbers in before.items():
        assert set(numbers) <= set(found[work]), work
    assert found["broken"] == []
    assert found["publish"] == list(range(len(found["publish"])))
    assert all(offsets == list(range(1, len(offsets) + 1)) for offsets in found["offsets"])
    assert sorted(found["said"]) == sorted(found["talk"])  # numbered or still to be


def refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("CommandError: ")
    assert words in last
    assert "Traceback" not in done.stderr
