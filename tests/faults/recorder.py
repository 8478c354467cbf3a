"""What happened, one JSON line each: calls and their ends, wire frames, applied events, faults."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

What = Literal[
    "invoke", "ok", "fail", "connected", "wire", "applied", "reset", "revoked", "closed", "fault"
]
Line = dict[str, Any]


class Recorder:
    """Every line has `t` (seconds, one clock for all processes of the machine), `what` and `who`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, what: What, who: str, **more: Any) -> None:
        line = json.dumps({"t": time.monotonic(), "what": what, "who": who, **more})
        with self._lock:
            self._file.write(line + "\n")

    def lines(self) -> Iterator[Line]:
        with self._lock:
            self._file.flush()
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)

    def close(self) -> None:
        with self._lock:
            self._file.close()
