"""Child processes that are started, watched, started again and stopped together."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

FIRST_PAUSE: Final = 0.5
"""Seconds before a dead process is started again; doubled each time."""
LONGEST_PAUSE: Final = 15.0
STEADY: Final = 60.0
"""Seconds after which a process counts as well again."""
MOST_DEATHS: Final = 6
"""This many deaths in a row, none of them after a steady life: give up."""
LAST_LINES: Final = 15

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

Say = Callable[[str], None]


class GaveUp(Exception):
    """A process died again and again; the text holds its name."""


@dataclass
class Child:
    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    say: Say
    ends_by: signal.Signals = signal.SIGTERM
    loud: bool = False
    """Lines are passed on as they come; always kept for the last words."""

    process: subprocess.Popen[bytes] | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    started_at: float = 0.0
    start_at: float | None = None
    deaths: int = 0
    _reader: threading.Thread | None = None

    def start(self) -> None:
        self.lines.clear()
        self.start_at = None
        self.started_at = time.monotonic()
        # A group of its own: Ctrl-C in the terminal reaches us alone, and we stop the rest in order.
        self.process = subprocess.Popen(  # noqa: S603 - our own command lines
            self.command,
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # one system call, no lock is taken
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def watch(self) -> None:
        """Notice a death, and start again when the pause is over. Raises `GaveUp`."""
        if self.process is not None:
            if self.process.poll() is None:
                return
            self._died(self.process.returncode)
        elif self.start_at is not None and time.monotonic() >= self.start_at:
            self.start()

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """Ask the process to end."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(self.ends_by)

    def kill(self) -> None:
        """End the process and whatever it started."""
        self.strike()
        self.bury()

    def strike(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def bury(self) -> None:
        if self.process is not None:
            self.process.wait()
            self.process = None

    def last_words(self) -> str:
        if self._reader is not None:
            self._reader.join(0.5)
        return "\n".join(f"    {line}" for line in self.lines) or "    (it said nothing)"

    def _died(self, code: int) -> None:
        lived = time.monotonic() - self.started_at
        self.deaths = 1 if lived >= STEADY else self.deaths + 1
        words = self.last_words()
        self.kill()
        ended = f"{self.name} {_how(code)} after {lived:.0f} s; its last lines:\n{words}"
        if self.deaths >= MOST_DEATHS:
            raise GaveUp(f"{ended}\n{self.name} died {self.deaths} times in a row: giving up.")
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.deaths - 1))
        self.start_at = time.monotonic() + pause
        self.say(f"{ended}\nStarting {self.name} again in {pause:g} s.")

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                self.lines.append(line)
                if self.loud:
                    self.say(f"{self.name:>7} | {line}")


def stop(children: Sequence[Child], deadline: float) -> None:
    """Ask these to end, all at once; at `deadline` (monotonic) by force, with whatever they started."""
    for child in children:
        child.end()
    while any(child.alive() for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    for child in children:
        child.strike()
    for child in children:
        child.bury()


def _end_with_parent() -> None:
    """Linux tells the child when we die without a chance to say so (kill -9)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
