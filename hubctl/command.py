"""A command as a child: its output passed through and listened to, signals passed on, stopped when that is asked."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final

from hubctl.lines import LineCutter

PASSED_ON: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2),
)
TO_THE_GROUP: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
"""Those that mean "stop" reach what the command has started too; the others are for it alone."""
STOP_GRACE: Final = 10.0
"""Seconds from SIGTERM to SIGKILL."""
QUIET: Final = 0.5
"""Seconds without output after which a command that has ended has said everything, whoever still holds its pipe."""
LINGER: Final = 5.0
"""Seconds that such a holder is listened to at most."""
_CHUNK: Final = 65536
_PR_SET_PDEATHSIG: Final = 1

Hear = Callable[[list[str]], None]


class CannotStart(Exception):
    """`exit_code` as shells have it: 127 not found, 126 not executable."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Ended:
    exit_code: int
    signal: int | None
    """The one that killed it; then the exit code is 128 and its number."""
    seconds: float
    last_words: str
    """The last line on stderr that was not empty."""
    stopped: bool
    """By `stop`."""


class Command:
    """With a terminal as stdin it stays in the terminal's foreground, so that keys and questions work as without us;
    else it has a process group of its own."""

    def __init__(self, argv: list[str], environment: Mapping[str, str], hear: Hear) -> None:
        """Starts it. Raises CannotStart. `hear` is called with lines of the output, on threads of the pipes."""
        self._own_group = not os.isatty(0)
        self._hear = hear
        self._last_words = ""
        self._stopped_at: float | None = None
        self._ended = threading.Event()
        self._began = time.monotonic()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - what the caller asks for
                argv,
                env=dict(environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                process_group=0 if self._own_group else None,
                preexec_fn=_die_with_parent(),
            )
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            raise CannotStart(f"{argv[0]}: {error.strerror}", code) from None
        self._pipes = [
            threading.Thread(target=self._pass_through, args=args, daemon=True)
            for args in ((self._process.stdout, 1), (self._process.stderr, 2))
        ]

    def wait(self) -> Ended:
        """Until it has ended and said everything. Signals are passed on meanwhile."""
        for pipe in self._pipes:
            pipe.start()
        code = self._await_end()
        seconds = time.monotonic() - self._began
        self._ended.set()
        for pipe in self._pipes:
            pipe.join()
        if self._stopped_at is not None:
            self._await_the_group(self._stopped_at + STOP_GRACE)
        killer = -code if code < 0 else None
        return Ended(
            128 + killer if killer else code,
            killer,
            seconds,
            self._last_words,
            stopped=self._stopped_at is not None,
        )

    def _await_end(self) -> int:
        """A signal that comes just before a call that waits, or to another thread, does not end that call, and Python
        handles it only afterwards: so each of them writes to a pipe, and that is what is waited for."""
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        pipe_before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        handler_before = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        try:
            while (code := self._process.poll()) is None:
                os.read(woken, _CHUNK)
            return code
        finally:
            signal.signal(signal.SIGCHLD, handler_before)
            signal.set_wakeup_fd(pipe_before)
            os.close(wake)
            os.close(woken)

    def pass_on(self, number: int) -> None:
        if not self._own_group and number in {signal.SIGINT, signal.SIGQUIT}:
            return  # the terminal has told the command as well
        self._send(number, group=number in TO_THE_GROUP)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what is there after the grace."""
        if self._stopped_at is not None:
            return
        self._stopped_at = time.monotonic()
        self._send(signal.SIGTERM, group=True)
        killer = threading.Timer(STOP_GRACE, self._send, (signal.SIGKILL,), {"group": True})
        killer.daemon = True
        killer.start()

    def _await_the_group(self, deadline: float) -> None:
        """What the command had started may need a moment longer."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            while self._own_group and time.monotonic() < deadline:
                os.killpg(self._process.pid, 0)
                time.sleep(0.05)
            if self._own_group:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self, number: int, *, group: bool) -> None:
        if self._ended.is_set():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if group and self._own_group:
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._process.pid, number)

    def _pass_through(self, pipe: IO[bytes], to: int) -> None:
        """Bytes unchanged, and lines to `hear`. Who closes our output closes the command's."""
        cutter = LineCutter()
        with pipe:
            for data in self._chunks(pipe.fileno()):
                try:
                    _write(to, data)
                except OSError:
                    break
                self._say(cutter.feed(data), to)
        self._say(cutter.end(), to)

    def _chunks(self, pipe: int) -> Iterator[bytes]:
        """Until its end; or until the command has ended and what others still write there is not waited for."""
        emptied_at = None
        while emptied_at is None or time.monotonic() < emptied_at + LINGER:
            had_ended = self._ended.is_set()
            if not select.select([pipe], [], [], 0)[0]:
                if had_ended and emptied_at is None:
                    emptied_at = time.monotonic()
                if not select.select([pipe], [], [], QUIET)[0]:
                    if had_ended:
                        return
                    continue
            data = os.read(pipe, _CHUNK)
            if not data:
                return
            yield data

    def _say(self, lines: list[str], to: int) -> None:
        if to == 2:
            self._last_words = next(
                (line for line in reversed(lines) if line.strip()), self._last_words
            )
        if lines:
            self._hear(lines)


def _write(to: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(to, data) :]
        except BlockingIOError:  # whoever gave us this output has made it non-blocking
            select.select([], [to], [])


def _die_with_parent() -> Callable[[], None] | None:
    """Linux: the command gets SIGTERM when we are killed, which nobody could pass on. It would run on unseen, until
    its next output breaks it."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was faster
            os.kill(os.getpid(), signal.SIGTERM)

    return arrange
