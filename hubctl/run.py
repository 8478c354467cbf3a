"""`hubctl run`: a command as a job of the hub."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from hubctl import config
from hubctl.command import PASSED_ON, CannotStart, Command, Ended
from hubctl.errors import Unusable
from hubctl.progress import VARIABLE, Ear
from hubctl.report import UNRECORDED, Reporter, Result
from hubctl.terminal import sentence, warn

TITLE_MOST: Final = 200
"""Characters that the hub takes."""


@dataclass(frozen=True)
class Run:
    command: list[str]
    title: str | None
    key: str | None
    lease: int
    report_for: float


def run(wanted: Run) -> int:
    """The exit code of the command, whatever the hub does."""
    command: Command | None = None
    early: list[int] = []

    def stop() -> None:
        if command is not None:
            command.stop()

    def pass_on(number: int) -> None:
        if command is None:
            early.append(number)
        else:
            command.pass_on(number)

    reporter = _reporter(wanted, stop)
    ear = Ear(reporter.progress) if reporter else None
    environment = dict(os.environ)
    environment.pop(VARIABLE, None)
    if ear and ear.path:
        environment[VARIABLE] = ear.path
    try:
        with _signals(pass_on):
            command = Command(wanted.command, environment, reporter.log if reporter else _nowhere)
            for number in early:
                command.pass_on(number)
            if reporter and ear:
                reporter.start()
                ear.start()
            ended = command.wait()
        if reporter:
            _report(reporter, result_of(ended), wanted.report_for)
        return ended.exit_code
    except CannotStart as error:
        warn(error)
        if reporter:
            reporter.start()
            _report(reporter, Result(ok=False, error=str(error)), wanted.report_for)
        return error.exit_code
    finally:
        if ear:
            ear.close()


def result_of(ended: Ended) -> Result:
    took = duration(ended.seconds)
    words = f": {ended.last_words}" if ended.last_words else ""
    if ended.stopped:
        return Result(ok=False, error="Stopped, cancelled from the hub", took=took)
    if ended.signal:
        name = signal.Signals(ended.signal).name
        return Result(ok=False, error=f"Killed by {name}{words}", took=took)
    if ended.exit_code:
        return Result(ok=False, error=f"Exit code {ended.exit_code}{words}", took=took)
    return Result(ok=True, summary="Exit code 0", took=took)


def duration(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _reporter(wanted: Run, stop: Callable[[], None]) -> Reporter | None:
    """None without a configuration that works: the command runs all the same."""
    try:
        where = config.load()
    except Unusable as error:
        warn(f"{sentence(error)} {UNRECORDED}")
        return None
    title = (wanted.title or Path(wanted.command[0]).name)[:TITLE_MOST]
    return Reporter(where, title=title, key=wanted.key, lease=wanted.lease, stop=stop)


def _report(reporter: Reporter, result: Result, patience: float) -> None:
    """A signal ends the waiting."""
    with _signals(_interrupt):
        try:
            reporter.finish(result, patience)
        except KeyboardInterrupt:
            warn("the result may not have been reported: stopped waiting for the hub")


@contextmanager
def _signals(handle: Callable[[int], None]) -> Iterator[None]:
    """Those that are ignored, as under nohup, stay so, here and in the command."""

    def handler(number: int, frame: FrameType | None) -> None:
        handle(number)

    taken = [one for one in PASSED_ON if signal.getsignal(one) != signal.SIG_IGN]
    before = {one: signal.signal(one, handler) for one in taken}
    try:
        yield
    finally:
        for one, what in before.items():
            signal.signal(one, what)


def _interrupt(number: int) -> None:
    raise KeyboardInterrupt


def _nowhere(lines: list[str]) -> None:
    pass
