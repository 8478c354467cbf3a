"""`hubctl run` where no hub is: the command must not notice."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubctl.run import duration
from tests.hubctl.running import PATIENCE, ROOT, Hubctl, end, read_until

run = Hubctl()
AWAY = ("run", "--report-for", "0", "--")


def shell(script: str, *options: str) -> tuple[str, ...]:
    return ("run", "--report-for", "0", *options, "--", "sh", "-c", script)


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exits_as_the_command_does(code) -> None:
    assert run(*shell(f"exit {code}")).returncode == code


@pytest.mark.parametrize("number", [9, 15])
def test_a_command_killed_by_a_signal_is_128_and_its_number(number) -> None:
    assert run(*shell(f"kill -{number} $$")).returncode == 128 + number


def test_what_cannot_be_started_is_127_or_126(tmp_path) -> None:
    done = run(*AWAY, "no-such-command")
    assert done.returncode == 127
    assert b"no-such-command: No such file" in done.stderr
    (tmp_path / "script").touch()
    assert run(*AWAY, str(tmp_path / "script")).returncode == 126


def test_output_passes_unchanged_byte_for_byte() -> None:
    noise = bytes(range(256)) * 4000 + b"no line feed at the end"
    done = run(*AWAY, "cat", stdin=noise)
    assert done.stdout == noise
    done = run(*shell("cat >&2"), stdin=noise)
    # What hubctl itself has to say may come in between.
    assert re.sub(rb"hubctl: [^\n]*\n", b"", done.stderr) == noise


def test_output_comes_when_it_is_written() -> None:
    process = run.start(*shell("echo first; echo second >&2; sleep 60"))
    try:
        read_until(process.stdout, b"first\n")
        read_until(process.stderr, b"second\n")
        assert process.poll() is None
        process.terminate()
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    finally:
        end(process)


def test_the_command_has_our_input_and_environment_and_its_own_options() -> None:
    done = run(
        *shell('read line; echo "$line $MOOD $0 $1"'), "--", "--title", stdin=b"in\n", MOOD="good"
    )
    assert done.stdout == b"in good -- --title\n"


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"])
def test_signals_are_passed_on(name) -> None:
    script = f"trap 'echo got {name}; exit 7' {name}; echo up; while :; do sleep 0.1; done"
    process = run.start(*shell(script))
    try:
        read_until(process.stdout, b"up\n")
        process.send_signal(getattr(signal, f"SIG{name}"))
        read_until(process.stdout, f"got {name}\n".encode())
        assert process.wait(PATIENCE) == 7
    finally:
        end(process)


SIGNALLED_ASIDE = """
import signal, sys, threading
from hubctl.cli import main

def signalled() -> None:
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

threading.Thread(target=signalled, daemon=True).start()
sys.exit(main(sys.argv[1:]))
"""


def test_a_signal_that_interrupts_nothing_is_passed_on() -> None:
    script = "trap 'echo got it; exit 7' USR1; echo up; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        [sys.executable, "-c", SIGNALLED_ASIDE, *shell(script)],
        cwd=ROOT,
        env=run.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        read_until(process.stdout, b"up\n")
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        read_until(process.stdout, b"got it\n")
        assert process.wait(PATIENCE) == 7
    finally:
        end(process)


def test_stopping_it_stops_what_the_command_has_started() -> None:
    process = run.start(*shell("sleep 600 & echo $!; wait"))
    try:
        child = int(read_until(process.stdout, b"\n"))
        process.terminate()
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            wait_for_the_end_of(child)
    finally:
        end(process)


def test_ignored_signals_stay_ignored() -> None:
    """As under nohup."""
    inner = "trap '' HUP; exec \"$@\""
    hubctl = [sys.executable, "-m", "hubctl", *shell("kill -HUP $$; echo alive")]
    done = run(*AWAY, "sh", "-c", inner, "sh", *hubctl)
    assert done.stdout == b"alive\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_killed_with_9_it_takes_the_command_along() -> None:
    process = run.start(
        *AWAY, sys.executable, "-uc", "import os, time; print(os.getpid()); time.sleep(600)"
    )
    try:
        child = int(read_until(process.stdout, b"\n"))
        process.kill()
        with pytest.raises(ProcessLookupError):
            wait_for_the_end_of(child)
    finally:
        end(process)


def wait_for_the_end_of(pid: int) -> None:
    """Raises ProcessLookupError once it has ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":  # an orphan may wait to be reaped
            raise ProcessLookupError
        time.sleep(0.05)


def test_what_the_command_leaves_running_is_not_waited_for() -> None:
    began = time.monotonic()
    done = run(*shell("sleep 100 & echo said"))
    assert done.stdout == b"said\n"
    assert time.monotonic() - began < 50


def test_a_reader_that_goes_away_ends_the_command_as_without_us() -> None:
    process = run.start(*AWAY, "yes")
    try:
        read_until(process.stdout, b"y\n")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE) == 128 + signal.SIGPIPE
        process.stdout = None
    finally:
        end(process)


def test_a_missing_configuration_is_said_and_the_command_runs() -> None:
    done = Hubctl(url="")(*shell("echo done; exit 5"))
    assert (done.returncode, done.stdout) == (5, b"done\n")
    assert b"unrecorded" in done.stderr


def test_it_does_not_wait_longer_for_the_hub_than_it_was_told() -> None:
    began = time.monotonic()
    done = run("run", "--report-for", "3", "--", "true")
    assert done.returncode == 0
    assert 3 <= time.monotonic() - began < 30
    assert b"the result was not reported" in done.stderr


def test_a_signal_ends_the_waiting_for_the_hub_and_the_exit_code_stays() -> None:
    process = run.start("run", "--report-for", "600", "--", "sh", "-c", "exit 3")
    try:
        read_until(process.stderr, b"Trying to report")
        process.terminate()
        assert process.wait(PATIENCE) == 3
    finally:
        end(process)


def test_a_progress_outside_of_a_run_does_nothing() -> None:
    for done in (run("progress", "3", "10"), run("progress", "3", HUB_JOB="/nonexistent/job")):
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_durations_are_said_briefly() -> None:
    assert [duration(s) for s in (0.04, 59.9, 200, 3600 * 2 + 330)] == [
        "0.0 s",
        "59.9 s",
        "3 min 20 s",
        "2 h 5 min",
    ]


def test_at_a_terminal_keys_and_answers_reach_the_command_once() -> None:
    script = "trap 'n=$((n+1))' INT; read x; echo got $x; sleep 1; echo told $n; exit 9"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "hubctl", *shell(script)],
            run.environment(),
        )
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        os.write(terminal, b"hello\n")
        read_until(screen, b"got hello")
        os.write(terminal, b"\x03")
        read_until(screen, b"told 1")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
