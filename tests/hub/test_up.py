"""`manage.py up` with real processes: one terminal runs the hub, and takes everything along when it ends."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLD_START = 60.0
STOP = 5.0


class Up:
    """One run of `manage.py up`, its lines, and every process below it."""

    def __init__(self, data_dir: Path, port: int, **variables: str) -> None:
        self.data_dir = data_dir
        self.port = port
        self.lines: list[str] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env={**clean, "HUB_DATA_DIR": str(data_dir), "HUB_PORT": str(port), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def wait_for(self, words: str, seconds: float = COLD_START) -> str:
        """The first line since the last call that holds these words."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                pytest.fail(f"never said {words!r}:\n{self.text()}", pytrace=False)
            if words in line:
                return line

    def text(self) -> str:
        return "".join(self.lines)

    def processes(self) -> dict[int, str]:
        """Whoever works on this data directory, by process id: the whole family, adopted or not."""
        mark = f"HUB_DATA_DIR={self.data_dir}\0".encode()
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                # Redis writes its title over the place where its environment was.
                ours = mark in (entry / "environ").read_bytes() or f"{self.data_dir}/" in command
                if command and ours:  # a zombie has no command
                    found[int(entry.name)] = command
            except OSError:
                continue
        return found

    def pid_of(self, words: str) -> int:
        return min(pid for pid, command in self.processes().items() if words in command)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self._listener.join()

    def end(self, number: signal.Signals = signal.SIGINT) -> float:
        """Send the signal; the seconds until the process has ended."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        return time.monotonic() - began

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.append(line)
                self._news.put(line)
        self._news.put(None)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture
def start(data_dir: Path) -> Iterator[Callable[..., Up]]:
    runs: list[Up] = []

    def begin(port: int | None = None, **variables: str) -> Up:
        home = Path(variables.pop("HUB_DATA_DIR", data_dir))
        runs.append(Up(home, port or free_port(), **variables))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def eventually(true: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


def test_a_first_start_makes_everything_and_ctrl_c_leaves_nothing(start: Callable[..., Up]) -> None:
    up = start(HUB_DEMO_PASSWORD="open-sesame-please")
    assert f"http://localhost:{up.port}" in up.wait_for("Hub is ready")
    assert "alice, bob, charlie, admin" in up.wait_for("open-sesame-please")

    status, body = get(up.port, "/readyz")
    assert (status, json.loads(body)["checks"]) == (
        200,
        {"database": "ok", "redis": "ok", "worker": "ok"},
    )
    up.wait_for("Ctrl-C")
    family = " ".join(up.processes().values())
    assert all(name in family for name in ("redis.sock", "worker", "beat"))
    assert up.end() < STOP
    assert up.process.returncode == 0
    assert up.processes() == {}


def test_a_second_start_finds_what_was_there(start: Callable[..., Up], tmp_path: Path) -> None:
    first = start(HUB_DATA_DIR=str(tmp_path), HUB_DEMO_PASSWORD="open-sesame-please")
    first.wait_for("open-sesame-please")
    assert first.end(signal.SIGTERM) < STOP
    second = start(HUB_DATA_DIR=str(tmp_path), HUB_DEMO_PASSWORD="too-late-for-that")
    second.wait_for("open-sesame-please")
    second.wait_for("HUB_DEMO_PASSWORD was ignored")
    assert second.end() < STOP
    assert second.processes() == {}
    assert "ignored" not in first.text()


def test_nobody_else_reads_the_data(start: Callable[..., Up], tmp_path: Path) -> None:
    home = tmp_path / "deep" / "hub"
    up = start(HUB_DATA_DIR=str(home))
    up.wait_for("Ctrl-C")
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "db.sqlite3-wal").exists()
    files = [path for path in home.rglob("*") if home / "static" not in path.parents]
    open_to_all = [path for path in files if path.is_file() and path.stat().st_mode & 0o077]
    assert open_to_all == []
    assert (
        home / "static"
    ).stat().st_mode & 0o777 == 0o755  # a proxy of another account serves them
    assert up.end() < STOP


def test_an_older_database_beside_its_mirror_is_noticed_before_anybody_publishes(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start(HUB_DATA_DIR=str(tmp_path))
    up.wait_for("Ctrl-C")
    up.end()
    mirror = tmp_path / "heads.json"
    with sqlite3.connect(tmp_path / "db.sqlite3") as database:
        (epoch,) = database.execute("SELECT value FROM hub_events_epoch").fetchone()
        mirror.write_text(json.dumps({epoch: {"user.1": [10**9, ""]}}), encoding="utf-8")
    database.close()
    manage = [sys.executable, "manage.py", "prepare"]
    variables = {"PATH": os.environ["PATH"], "HUB_DATA_DIR": str(tmp_path)}
    told = subprocess.run(
        manage, cwd=ROOT, env=variables, check=True, capture_output=True, text=True
    )
    assert "older than" in told.stderr
    with sqlite3.connect(tmp_path / "db.sqlite3") as database:
        assert database.execute("SELECT value FROM hub_events_epoch").fetchone() != (epoch,)
    database.close()


def test_a_second_hub_on_the_same_data_is_refused_in_one_line(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("Hub is ready")
    other = start()
    assert other.process.wait(20) == 1
    eventually(lambda: other.lines)
    assert len(other.lines) == 1
    assert "already running" in other.lines[0]
    assert get(up.port, "/healthz")[0] == 200


def test_a_port_in_use_is_one_line(start: Callable[..., Up]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = start(port)
        assert up.process.wait(20) == 1
        eventually(lambda: up.lines)
        assert len(up.lines) == 1
        assert f"Port {port} is in use" in up.lines[0]
        assert up.processes() == {}


def test_an_unreachable_redis_is_one_line(start: Callable[..., Up]) -> None:
    up = start(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert up.process.wait(20) == 1
    eventually(lambda: up.lines)
    assert len(up.lines) == 1
    assert "REDIS_URL" in up.lines[0]


def test_an_unreachable_database_is_one_line(start: Callable[..., Up]) -> None:
    up = start(DATABASE_URL=f"postgres://hub@127.0.0.1:{free_port()}/hub")
    assert up.process.wait(30) == 1
    eventually(lambda: up.lines)
    assert len(up.lines) == 1
    assert "DATABASE_URL" in up.lines[0]


def test_without_the_demo_it_says_where_the_administrator_is_made(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start(HUB_DATA_DIR=str(tmp_path), HUB_DEMO="0")
    line = up.wait_for("Make the administrator")
    path = line.split(f"http://localhost:{up.port}")[1].strip()
    assert path.startswith("/accounts/setup/?token=")
    up.wait_for("Ctrl-C")
    assert get(up.port, path)[0] == 200
    assert up.end() < STOP


def test_ctrl_c_ends_it_in_time_when_nobody_listens_any_more(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("Ctrl-C")
    for pid in up.processes():
        if pid != up.process.pid:
            os.kill(pid, signal.SIGSTOP)
    assert up.end() < STOP
    assert up.processes() == {}


def test_ctrl_c_ends_it_in_time_on_a_busy_machine(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("Ctrl-C")
    busy = [sys.executable, "-c", "while True: pass"]
    crowd = [subprocess.Popen(busy) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        time.sleep(0.5)  # until they are at it
        assert up.end() < STOP
    finally:
        for one in crowd:
            one.kill()
            one.wait()
    assert up.process.returncode == 0
    assert up.processes() == {}


def test_ctrl_c_ends_a_start_in_the_middle(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start(HUB_DATA_DIR=str(tmp_path))
    eventually((tmp_path / "static").exists, 30)  # thousands of small files, and it has begun
    assert up.end() < STOP
    assert up.process.returncode == 0
    assert up.processes() == {}


def test_ready_without_complaints_of_its_own_asking(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("Ctrl-C")
    assert "/readyz" not in up.text()


def test_a_process_that_dies_is_started_again(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("Ctrl-C")
    for words, name in ((f"--port {up.port}", "server"), (" worker", "worker")):
        os.kill(up.pid_of(words), signal.SIGKILL)
        up.wait_for(f"{name} was ended by SIGKILL", 10)
        up.wait_for(f"Starting {name} again", 10)
    eventually(lambda: answers(up.port), 30)
    assert up.process.poll() is None


def test_nothing_stays_when_it_is_killed_itself(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("Ctrl-C")
    up.end(signal.SIGKILL)
    eventually(lambda: not up.processes(), 10)


def answers(port: int) -> bool:
    try:
        return get(port, "/readyz")[0] == 200
    except OSError:
        return False
