"""Children are watched: started again with a growing pause, given up on when they die again and again."""

from __future__ import annotations

import os
import sys
import time

import pytest

from hub.local import processes
from hub.local.processes import Child, GaveUp


def child(code: str, said: list[str], **options: object) -> Child:
    command = [sys.executable, "-c", code]
    return Child("it", command, dict(os.environ), said.append, **options)  # type: ignore[arg-type]


def test_a_child_that_dies_again_and_again_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.01)
    said: list[str] = []
    it = child("print('my last words'); raise SystemExit(3)", said)
    it.start()
    with pytest.raises(GaveUp, match="died 6 times in a row"):
        watch(it)
    assert len(said) == processes.MOST_DEATHS - 1
    assert all("exit code 3" in line and "my last words" in line for line in said)
    pauses = [float(line.rsplit(" ", 2)[-2]) for line in said]
    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16]


def test_a_steady_life_makes_up_for_earlier_deaths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(processes, "STEADY", 0.0)
    said: list[str] = []
    it = child("pass", said)
    it.start()
    watch(it, until=lambda: len(said) > processes.MOST_DEATHS)
    it.kill()


def test_who_does_not_listen_is_killed_with_its_children() -> None:
    said: list[str] = []
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); "
    it = child(
        "import subprocess, sys;"
        f'subprocess.Popen([sys.executable, "-c", "{stubborn}time.sleep(60)"]).wait()',
        said,
        loud=True,
    )
    it.start()
    deadline = time.monotonic() + 20
    while not said and time.monotonic() < deadline:
        time.sleep(0.02)
    assert it.process is not None
    group = it.process.pid
    processes.stop([it], time.monotonic() + 0.3)
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.02)


def test_all_are_gone_at_the_deadline_however_many_are_deaf() -> None:
    said: list[str] = []
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); "
    runaway = (
        f"{deaf}import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(4)'], start_new_session=True); "
        "print('deaf', flush=True); time.sleep(60)"
    )
    family = [child(runaway, said, loud=True) for _ in range(3)]
    for it in family:
        it.start()
    deadline = time.monotonic() + 20
    while len(said) < len(family) and time.monotonic() < deadline:
        time.sleep(0.02)
    began = time.monotonic()
    processes.stop(family, began + 0.2)
    assert time.monotonic() - began < 1.5
    assert not any(it.alive() for it in family)


def watch(it: Child, until: object = None) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (callable(until) and until()):
        it.watch()
        time.sleep(0.005)
