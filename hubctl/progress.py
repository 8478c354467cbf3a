"""`hubctl progress` inside a command tells the `hubctl run` around it, over a socket that HUB_JOB names.

Not the hub: the command needs no key for this, and it works before the hub has answered and while it is away.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

VARIABLE: Final = "HUB_JOB"
_NOTE_MOST: Final = 200
_BIGGEST: Final = 2**63 - 1

Progress = tuple[int, int | None, str]


class Ear:
    """Listens in a private directory; `path` is None where that is not possible."""

    path: str | None

    def __init__(self, hear: Callable[[Progress], None]) -> None:
        self._hear = hear
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._home: str | None = None
        self.path = None
        with contextlib.suppress(OSError):  # no room, or too long a path
            self._home = tempfile.mkdtemp(prefix="hubctl-")
            path = str(Path(self._home, "job"))
            self._socket.bind(path)
            self.path = path

    def start(self) -> None:
        if self.path is not None:
            threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._socket.close()
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)

    def _listen(self) -> None:
        while True:
            try:
                heard = json.loads(self._socket.recv(4096))
                self._hear((heard["done"], heard["total"], heard["note"]))
            except OSError:
                return
            except (ValueError, KeyError, TypeError):
                continue


def tell(path: str, done: int, total: int | None, note: str) -> None:
    """Nothing happens when nobody listens any more: a command never fails because of its progress."""
    said = {
        "done": min(done, _BIGGEST),
        "total": None if total is None else min(total, _BIGGEST),
        "note": note[:_NOTE_MOST],
    }
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to,
    ):
        to.setblocking(False)
        to.sendto(json.dumps(said).encode(), path)
