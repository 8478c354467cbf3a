"""`hubctl run` with a real hub: what people see of the command, and what is reported whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from accounts.authenticate import make_key
from tasks import jobs, logs, watchdog
from tasks.models import Job, State
from tests.hubctl.running import PATIENCE, Hubctl, end, read_until
from tests.live import LiveServer, live_server

SLEEP = "while :; do sleep 0.1; done"


def shell(script: str, *options: str) -> tuple[str, ...]:
    return ("run", *options, "--", "sh", "-c", script)


def only_job(person: User) -> Job:
    return Job.objects.get(owner=person)


def log_of(job: Job) -> str:
    return "".join(logs.whole(job))


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lease_of(person: User) -> datetime:
    until = only_job(person).lease_until
    assert until is not None
    return until


def wait_until_first_line_is_reported(person: User) -> None:
    """And hubctl knows: the heartbeat after it has come. Else it would send the line again, rather than lose it."""
    wait_until(lambda: Job.objects.filter(owner=person).exists())
    wait_until(lambda: log_of(only_job(person)) == "first\n")
    then = lease_of(person)
    wait_until(lambda: lease_of(person) > then)


@pytest.fixture
def running(hubctl: Hubctl) -> Iterator[Callable[..., object]]:
    """Starts hubctl in the background; ends it after the test."""
    started = []

    def start(*arguments: str, by: Hubctl = hubctl, **environment: str):
        started.append(by.start(*arguments, **environment))
        return started[-1]

    yield start
    for process in started:
        end(process)


@pytest.fixture
def own_server(person: User) -> Iterator[tuple[LiveServer, Hubctl]]:
    """One to be stopped and started."""
    with live_server() as server:
        yield server, Hubctl(server.url, make_key(person, "hubctl")[1])


def test_a_command_that_ends_well_is_a_job_that_succeeded(hubctl, person) -> None:
    done = hubctl(*shell("echo one; echo two 둘", "--title", "Nightly backup"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo 둘\n".encode(), b"")
    job = only_job(person)
    assert (job.title, job.kind, job.state) == ("Nightly backup", "external", State.SUCCEEDED)
    assert job.summary == "Exit code 0"
    assert log_of(job) == "one\ntwo 둘\n"


def test_a_command_that_fails_is_a_job_that_failed_with_its_last_words(hubctl, person) -> None:
    done = hubctl(*shell("echo working; echo the disk is full >&2; echo >&2; exit 3"))
    assert (done.returncode, done.stderr) == (3, b"the disk is full\n\n")
    job = only_job(person)
    assert (job.title, job.state) == ("sh", State.FAILED)
    assert job.error == "Exit code 3: the disk is full"


def test_a_command_that_was_killed_says_by_what(hubctl, person) -> None:
    assert hubctl(*shell("kill -9 $$")).returncode == 137
    assert only_job(person).error == "Killed by SIGKILL"


def test_a_command_that_is_not_there_is_a_job_that_failed(hubctl, person) -> None:
    assert hubctl("run", "--", "no-such-command").returncode == 127
    job = only_job(person)
    assert (job.state, job.error) == (State.FAILED, "no-such-command: No such file or directory")


def test_a_command_that_says_much_in_no_time_loses_no_line(hubctl, person) -> None:
    lines = 40_000
    script = f"yes {'x' * 79} | head -n {lines}"
    done = hubctl(*shell(script))
    assert done.stdout.count(b"\n") == lines
    job = only_job(person)
    assert job.log_lines == lines
    assert "missing" not in log_of(job)


def test_the_log_grows_while_the_command_runs(running, person) -> None:
    process = running(*shell(f"echo first; echo second >&2; {SLEEP}"))
    read_until(process.stderr, b"second\n")
    wait_until(lambda: Job.objects.filter(owner=person).exists())
    wait_until(lambda: sorted(log_of(only_job(person)).split()) == ["first", "second"])
    assert only_job(person).state == State.STARTED
    process.terminate()
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    wait_until(lambda: only_job(person).state == State.FAILED)
    assert "SIGTERM" in only_job(person).error


def test_much_output_arrives_in_order_and_complete(hubctl, person) -> None:
    assert hubctl("run", "--", "seq", "30000").returncode == 0
    assert log_of(only_job(person)) == "".join(f"{n}\n" for n in range(1, 30001))


def test_a_real_archive_is_made_and_its_list_is_the_log(hubctl, person, tmp_path) -> None:
    archive = tmp_path / "docs.tar.gz"
    done = hubctl("run", "--title", "Nightly backup", "--", "tar", "czvf", str(archive), "docs")
    assert done.returncode == 0
    job = only_job(person)
    assert job.state == State.SUCCEEDED
    assert log_of(job) == done.stdout.decode()
    packed = subprocess.run(["tar", "tzf", archive], capture_output=True, check=True).stdout
    assert packed == done.stdout


def test_a_title_that_is_no_text_does_no_harm(hubctl, person) -> None:
    assert hubctl("run", "--title", "back\udcffup", "--", "true").returncode == 0
    assert only_job(person).title == "back?up"


def test_progress_is_told_from_inside(hubctl, person) -> None:
    script = '"$0" -m hubctl progress 3 12 --note orders.sql'
    done = hubctl("run", "--", "sh", "-c", script, sys.executable)
    assert done.returncode == 0
    job = only_job(person)
    assert (job.done, job.total, job.note) == (3, 12, "orders.sql")


def test_the_lease_is_kept_by_a_quiet_command(running, person) -> None:
    process = running(*shell(SLEEP, "--lease", "5"))
    wait_until(lambda: Job.objects.filter(owner=person).exists())
    later = lease_of(person) + timedelta(seconds=2)
    wait_until(lambda: lease_of(person) > later)
    assert process.poll() is None


def test_cancelled_in_the_hub_the_command_and_what_it_started_are_stopped(running, person) -> None:
    process = running(*shell("trap 'echo stopping; exit 0' TERM; sleep 600 & wait", "--lease", "5"))
    wait_until(lambda: Job.objects.filter(owner=person).exists())
    jobs.cancel(only_job(person).pk, person)
    assert process.wait(PATIENCE) == 0
    job = only_job(person)
    assert job.state == State.CANCELLED
    assert "cancelled from the hub" in job.error
    assert log_of(job) == "stopping\n"


@pytest.mark.timeout(180)
def test_what_does_not_stop_when_cancelled_is_killed(running, person) -> None:
    process = running(*shell(f"trap '' TERM; {SLEEP}", "--lease", "5"))
    wait_until(lambda: Job.objects.filter(owner=person).exists())
    jobs.cancel(only_job(person).pk, person)
    assert process.wait(PATIENCE) == 128 + signal.SIGKILL
    assert only_job(person).state == State.CANCELLED


def test_killed_with_9_the_job_is_lost_within_its_lease(running, person) -> None:
    process = running(*shell(SLEEP, "--lease", "5"))
    wait_until(lambda: Job.objects.filter(owner=person).exists())
    process.kill()
    killed = time.monotonic()

    def is_lost() -> bool:
        watchdog.end_silent()
        return only_job(person).state == State.LOST

    wait_until(is_lost)
    assert time.monotonic() - killed < 15


def test_the_same_key_is_one_job(hubctl, person) -> None:
    for code in (0, 3):
        done = hubctl(*shell(f"echo said; exit {code}", "--key", "backup-1"))
        assert (done.returncode, done.stdout) == (code, b"said\n")
    assert b"the job has ended already as succeeded" in done.stderr
    job = only_job(person)
    assert (job.state, log_of(job)) == (State.SUCCEEDED, "said\n")


def test_a_key_that_may_not_is_said_and_the_command_runs(person, hub_server) -> None:
    reader = Hubctl(hub_server.url, make_key(person, "reader", ["read"])[1])
    done = reader(*shell("echo done; exit 3"))
    assert (done.returncode, done.stdout) == (3, b"done\n")
    assert b"recorded" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert not Job.objects.filter(owner=person).exists()


def test_a_hub_that_was_away_at_the_start_hears_everything(own_server, running, person) -> None:
    server, hubctl = own_server
    server.streams.kill()
    process = running(*shell("echo said; exit 3", "--title", "Nightly"), by=hubctl)
    read_until(process.stdout, b"said\n")
    read_until(process.stderr, b"Trying to report")
    server.streams.start()
    assert process.wait(PATIENCE) == 3
    job = only_job(person)
    assert (job.title, job.state, log_of(job)) == ("Nightly", State.FAILED, "said\n")


def test_a_hub_that_went_away_in_the_middle_hears_the_rest(
    own_server, running, person, tmp_path
) -> None:
    server, hubctl = own_server
    go = tmp_path / "go"
    script = f"echo first; while [ ! -e {go} ]; do sleep 0.1; done; echo second"
    process = running(*shell(script, "--lease", "30"), by=hubctl)
    wait_until_first_line_is_reported(person)
    server.streams.kill()
    go.touch()
    read_until(process.stdout, b"second\n")
    read_until(process.stderr, b"can't be reached")
    server.streams.start()
    assert process.wait(PATIENCE) == 0
    job = only_job(person)
    assert (job.state, log_of(job)) == (State.SUCCEEDED, "first\nsecond\n")


def test_a_job_given_up_meanwhile_is_filed_anew(own_server, running, person, tmp_path) -> None:
    server, hubctl = own_server
    go = tmp_path / "go"
    script = f"echo first; while [ ! -e {go} ]; do sleep 0.1; done; echo second; exit 3"
    process = running(*shell(script, "--title", "Nightly", "--lease", "5"), by=hubctl)
    wait_until_first_line_is_reported(person)
    server.streams.kill()

    def is_lost() -> bool:
        watchdog.end_silent()
        return only_job(person).state == State.LOST

    wait_until(is_lost)
    go.touch()
    server.streams.start()
    assert process.wait(PATIENCE) == 3
    lost = Job.objects.get(owner=person, state=State.LOST)
    anew = Job.objects.exclude(pk=lost.pk).get(owner=person)
    assert (anew.title, anew.state) == ("Nightly", State.FAILED)
    first, *rest = log_of(anew).splitlines()
    assert str(lost.pk) in first
    assert rest == ["second"]
    told, said = anew.error.splitlines()
    assert re.fullmatch(r"Ran for \d+\.\d s, of which the hub heard late", told)
    assert said == "Exit code 3"


def test_a_hub_that_hangs_delays_nothing(running, person, own_server) -> None:
    """It accepts and never answers."""
    server, hubctl = own_server
    assert server.streams.process is not None
    os.kill(server.streams.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = hubctl(*shell("echo said; exit 3", "--report-for", "3"))
        assert (done.returncode, done.stdout) == (3, b"said\n")
        assert time.monotonic() - began < 30
        assert b"not reported" in done.stderr
    finally:
        server.streams.kill()


def test_memory_stays_bounded_while_the_hub_is_away() -> None:
    away = Hubctl()
    process = away.start(*shell("seq 3000000; sleep 600"))
    try:
        read_until(process.stdout, b"\n3000000\n")
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        assert peak < 100_000  # kB; 23 MB of lines would need some hundred
    finally:
        process.terminate()
        end(process)
