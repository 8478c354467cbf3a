"""What people would take instead of the hub: brought here once, into `benchmarks/.peers/`, and run beside it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks.hub import ROOT, cpu_of, free_port, serving_redis, wait_for_port
from benchmarks.missing import Missing
from hub.local import redis

PROGRAMS: Final = Path(__file__).parent / "peers"
BROUGHT: Final = Path(__file__).parent / ".peers"
PATIENCE: Final = 180  # seconds, for whatever is brought
NCHAN: Final = "libnginx-mod-nchan"


@dataclass(frozen=True)
class Peer:
    """`events` and `singles`: how many it gets at saturation and at a calm rate, so that a run ends in seconds."""

    name: str
    server: Callable[[Path, int], list[str]]
    publisher: Callable[[str], list[str]]
    connection: tuple[str, ...]
    ready: str
    events: int
    singles: int


@dataclass
class Running:
    peer: Peer
    port: int
    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    def publish(self, *, n: int, size: int, rate: float, first: int, joined: bool) -> Any:
        said = {"n": n, "size": size, "rate": rate, "first": first, "joined": joined}
        command = [*self.peer.publisher(self.peer.name), json.dumps(said)]
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=120
        )
        return json.loads(done.stdout)

    def cpu(self) -> float:
        """Seconds of processor time, with the processes it has started."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return cpu_of(pid) + sum(cpu_of(int(child)) for child in children)


@contextlib.contextmanager
def running(peer: Peer) -> Iterator[Running]:
    """Raises Missing."""
    with tempfile.TemporaryDirectory(prefix="peer-bench-") as name, contextlib.ExitStack() as stack:
        home = Path(name)
        home.chmod(0o755)  # nginx's workers give up root
        port = free_port()
        address = redis.address(home)
        environment = {
            **os.environ,
            "PORT": str(port),
            "REDIS_URL": address,
            "REDIS": address.removeprefix("unix://"),
        }
        command = peer.server(home, port)
        stack.enter_context(serving_redis(home))
        with (home / "server.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        try:
            try:
                wait_for_port(port, process)
            except TimeoutError:
                said = (home / "server.log").read_text(errors="replace").strip().splitlines()
                raise Missing(f"it did not start: {said[-1] if said else ''}") from None
            yield Running(peer, port, process, environment)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)  # Daphne waits for consumers that wait for it
            process.kill()
            process.wait()


# --- what each one needs ----------------------------------------------------------------------------------------------


@cache
def _node() -> str:
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        raise Missing("Node and npm are not installed")
    BROUGHT.mkdir(exist_ok=True)
    for name in ("package.json", "socketio.js", "ws.js", "publish.js"):
        shutil.copy(PROGRAMS / name, BROUGHT)
    if not (BROUGHT / "node_modules" / "socket.io").exists():
        _bring([npm, "install", "--no-audit", "--no-fund", "--silent"])
    return found


@cache
def _python() -> str:
    home = BROUGHT / "venv"
    python = home / "bin" / "python"
    if not (home / "brought").exists():
        _bring([sys.executable, "-m", "venv", str(home)])
        packages = ["python-socketio", "uvicorn", "websockets", "redis", "hiredis"]
        _bring([str(python), "-m", "pip", "install", "-q", *packages])
        (home / "brought").touch()
    return str(python)


@cache
def _nchan() -> tuple[str, str]:
    """nginx and the module; the module is only unpacked, nothing of the machine's nginx changes."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        raise Missing("nginx is not installed")
    places = [Path("/"), BROUGHT / "nchan"]
    modules = [place / "usr/lib/nginx/modules/ngx_nchan_module.so" for place in places]
    if not any(module.exists() for module in modules):
        if shutil.which("apt-get") is None:
            raise Missing(f"there is no {NCHAN} but on Debian")
        with tempfile.TemporaryDirectory() as name:
            if not Path("/var/lib/apt/lists").exists() or not _can(["apt-cache", "show", NCHAN]):
                _bring(["apt-get", "-qq", "update"])
            _bring(["apt-get", "-qq", "download", NCHAN], name)
            [package] = Path(name).glob("*.deb")
            _bring(["dpkg-deb", "-x", str(package), str(BROUGHT / "nchan")])
    return nginx, str(next(module for module in modules if module.exists()))


def _can(command: list[str]) -> bool:
    return not subprocess.run(command, capture_output=True, check=False).returncode


def _bring(command: list[str], where: Path | str = BROUGHT) -> None:
    BROUGHT.mkdir(exist_ok=True)
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise Missing(f"{Path(command[0]).name} failed: {said[-1] if said else done.returncode}")


def _serve_tutorial(home: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "-v", "0"),
        "benchmarks.peers.tutorial:application",
    ]


def _serve_python_socketio(home: Path, port: int) -> list[str]:
    return [
        *(_python(), "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port)),
        *("--log-level", "warning", "benchmarks.peers.python_socketio:application"),
    ]


def _serve_node(name: str) -> Callable[[Path, int], list[str]]:
    return lambda home, port: [_node(), str(BROUGHT / f"{name}.js")]


def _serve_nchan(home: Path, port: int) -> list[str]:
    nginx, module = _nchan()
    text = (PROGRAMS / "nchan.conf").read_text(encoding="utf-8")
    text = text.replace("MODULE", module).replace("HOME", str(home)).replace("PORT", str(port))
    (home / "nginx.conf").write_text(text, encoding="utf-8")
    return [nginx, "-c", str(home / "nginx.conf"), "-p", str(home)]


def _by_python(name: str) -> list[str]:
    python = _python() if name == "python_socketio" else sys.executable
    return [python, "-m", "benchmarks.peers.publish", name]


def _by_node(name: str) -> list[str]:
    return [_node(), str(BROUGHT / "publish.js")]


_SOCKETIO: Final = ("sio", "/socket.io/?EIO=4&transport=websocket")
PEERS: Final = (
    Peer("nchan", _serve_nchan, _by_python, ("ws", "/sub"), "-", 1000, 100),
    Peer("ws", _serve_node("ws"), _by_python, ("ws", "/"), "-", 1000, 100),
    Peer("socketio", _serve_node("socketio"), _by_node, _SOCKETIO, '40{"sid"', 500, 100),
    Peer("python_socketio", _serve_python_socketio, _by_python, _SOCKETIO, '40{"sid"', 100, 40),
    Peer("tutorial", _serve_tutorial, _by_python, ("ws", "/ws/"), "-", 50, 20),
)
