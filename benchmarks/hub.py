"""The full product on loopback, for the workloads: its own data directory, Redis, database and server processes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import disk
from benchmarks.missing import Missing
from hub.local import redis

ROOT: Final = Path(__file__).resolve().parent.parent
START_SECONDS: Final = 60
SYSTEMS: Final = ("hub", "hub_postgres")
"""By their databases: SQLite with `synchronous=FULL`, PostgreSQL with `fsync=on`."""
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class Hub:
    home: Path
    environment: dict[str, str]
    ports: list[int]
    program: str = "hub.server"
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        for port in self.ports:
            command = [sys.executable, "-m", self.program, "--port", str(port)]
            log = (self.home / f"server-{port}.log").open("ab")
            self.servers.append(
                subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
            )
        for port in self.ports:
            wait_for(f"http://127.0.0.1:{port}/healthz")

    def stop(self) -> None:
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
        for server in self.servers:
            server.wait(30)
        self.servers.clear()

    def cpu(self) -> float:
        """Seconds of processor time that all server processes have taken."""
        return sum(cpu_of(server.pid) for server in self.servers)

    def sockets(self, people: int, path: str = "/ws/") -> list[tuple[str, ...]]:
        """Connections of so many new people, each signed in, for the load client."""
        return self.connections([cookie for _, cookie in self.work("people", n=people)], path)

    def connections(
        self, cookies: Iterable[str], path: str = "/ws/", kind: str = "ws"
    ) -> list[tuple[str, ...]]:
        """One for each of these sessions."""
        origin = f"Origin: {self.environment['HUB_URL']}"
        return [(kind, path, f"Cookie: {cookie}", origin) for cookie in cookies]

    def work(self, name: str, **arguments: Any) -> Any:
        """Run a function of `benchmarks/inside.py` in a process of the hub's; what it printed as JSON."""
        with self.working(name, **arguments) as process:
            said, _ = process.communicate(timeout=600)
        if process.returncode:
            raise RuntimeError(f"{name} failed")
        return json.loads(said)

    @contextlib.contextmanager
    def working(self, name: str, **arguments: Any) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "benchmarks.inside", name, json.dumps(arguments)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running(
    environment: Mapping[str, str], *, servers: int = 1, program: str = "hub.server"
) -> Iterator[Hub]:
    """With these settings beside those of production; on SQLite in the data directory unless they name a database."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as name, contextlib.ExitStack() as stack:
        home = Path(name)
        ports = [free_port() for _ in range(servers)]
        variables = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "hub.settings",
            "HUB_DATA_DIR": name,
            "HUB_URL": f"http://127.0.0.1:{ports[0]}",
            "HUB_LOG_LEVEL": "WARNING",
            "HUB_DEMO": "0",
            "DATABASE_URL": "",
            "REDIS_URL": redis.address(home),
            "SECRET_KEY": secrets.token_hex(32),
            "HUB_LAYER_KEY": secrets.token_hex(32),
            **environment,
        }
        stack.enter_context(serving_redis(home))
        hub = Hub(home, variables, ports, program)
        hub.work("prepare")
        stack.callback(hub.stop)
        hub.start()
        yield hub


def on_each(systems: Collection[str], measure: Callable[[str, Hub], None]) -> None:
    """Each of `SYSTEMS` that is wanted, by its name and running; of what can't be run, that is said."""
    for system in SYSTEMS:
        if system in systems:
            try:
                with disk.environment(system) as environment, running(environment) as up:
                    measure(system, up)
            except Missing as why:
                print(f"skipped {system}: {why}", flush=True)


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: median(one[key] for one in runs) for key in runs[0]}


@contextlib.contextmanager
def serving_redis(home: Path) -> Iterator[None]:
    with (home / "redis.log").open("wb") as log:
        process = subprocess.Popen(redis.command(home), stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Raises TimeoutError, at once when the process has ended."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise TimeoutError from None
            time.sleep(0.05)
        else:
            return


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_of_family(pid: int) -> float:
    """`cpu_of` with the processes it has started, also those that have ended."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    found = sum(map(int, stat[11:15])) / TICKS
    for child in children:
        with contextlib.suppress(OSError):  # ended since
            found += cpu_of(int(child))
    return found
