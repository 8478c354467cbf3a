"""The load client (`load.c`), compiled where it is run."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

SOURCE: Final = Path(__file__).with_name("load.c")


class NoCompiler(RuntimeError):
    """There is no C compiler; the text says what to install."""


class LoadClient:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def connect(self, in_flight: int = 50) -> dict[str, Any]:
        """`{connections, gone, seconds}`"""
        return self._ask(f"connect {in_flight}")

    def report(self) -> dict[str, Any]:
        """What came since the last report: `{deliveries, missing, doubled, refused, frames, bytes, first_ns, last_ns,
        p50_ms, p99_ms, connections, gone, client_cpu_s}`"""
        return self._ask("report")

    def level(self, n: int, patience: float) -> dict[str, Any]:
        """`report`, as soon as the count of every connection has reached `n`, or nothing came for `patience` seconds."""
        return self._ask(f"level {n} {patience}")

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextlib.contextmanager
def load_client(
    ports: int | Sequence[int],
    connections: Iterable[tuple[str, ...]],
    *,
    ready: str = "-",
    count: str | None = None,
) -> Iterator[LoadClient]:
    """`connections`: ("ws", "sio", "sse" or "poll", path, header line…) each; they take turns at the ports. `count`: what
    stands before an event's count, where it is not `"n":` with a time behind it."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        program = home / "load"
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise NoCompiler("The load client needs a C compiler: apt-get install gcc libc6-dev")
        subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True)
        lines = home / "connections"
        lines.write_text("".join("\t".join(one) + "\n" for one in connections), encoding="utf-8")
        numbers = ",".join(map(str, [ports] if isinstance(ports, int) else ports))
        process = subprocess.Popen(
            [str(program), numbers, str(lines), ready, *([count] if count else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield LoadClient(process)
        finally:
            process.kill()
            process.wait()
