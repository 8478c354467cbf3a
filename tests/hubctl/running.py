"""hubctl as a process of its own, as people start it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 40.0  # seconds, also on a busy machine
NOWHERE = "http://127.0.0.1:1"  # nobody listens on port 1


@dataclass
class Hubctl:
    """What it would find in the environment; without a key of anybody's own nothing of the machine's."""

    url: str = NOWHERE
    key: str = "hub_nobody"

    def environment(self, **more: str) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("HUB") and not name.lower().endswith("_proxy")
        }
        home = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}
        given = {"HUB_URL": self.url, "HUB_API_KEY": self.key}
        return {**inherited, **home, **given, "PYTHONWARNINGS": "error", **more}

    def __call__(
        self, *arguments: str, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "hubctl", *arguments],
            cwd=ROOT,
            env=self.environment(**environment),
            input=stdin,
            capture_output=True,
            timeout=PATIENCE * 2,
            check=False,
        )

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "hubctl", *arguments],
            cwd=ROOT,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def read_until(pipe: IO[bytes] | None, mark: bytes) -> bytes:
    """What came on the pipe, up to and with the mark."""
    assert pipe is not None
    heard = bytearray()
    deadline = time.monotonic() + PATIENCE
    looked = 0  # megabytes may come: what was searched is not searched again
    while heard.find(mark, looked) < 0:
        looked = max(0, len(heard) - len(mark))
        assert time.monotonic() < deadline, f"{mark!r} did not come: …{heard[-500:]!r}"
        if select.select([pipe], [], [], 0.2)[0]:
            data = os.read(pipe.fileno(), 65536)
            assert data, f"{mark!r} did not come before the end: …{heard[-500:]!r}"
            heard += data
    return bytes(heard)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()
