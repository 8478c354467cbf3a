from __future__ import annotations

import json
import uuid

import pytest
from django.contrib.auth.models import User

from tasks import external, jobs
from tasks.models import Job, State
from tests.hubctl.running import end, read_until
from tests.live import live_server, newcomer


@pytest.fixture
def job(person: User) -> Job:
    return external.start(person, "Nightly backup 밤")


def test_lists_jobs_newest_first(hubctl, person) -> None:
    for title in ("one", "two"):
        external.finish(external.start(person, title), ok=title == "two")
    seen = [
        json.loads(line)
        for line in hubctl("jobs", "list", "--json", "--limit", "2").stdout.splitlines()
    ]
    assert [(job["title"], job["state"]) for job in seen] == [
        ("two", "succeeded"),
        ("one", "failed"),
    ]
    failed = hubctl("jobs", "list", "--state", "failed", "--limit", "1").stdout.decode()
    assert failed.startswith(f"{seen[1]['id']}  failed ")
    assert failed.endswith("  one\n")
    assert hubctl("jobs").stdout.decode().splitlines()[0].endswith("  two")


def test_shows_one(hubctl, job) -> None:
    external.progress(job, done=3, total=12, note="orders.sql")
    external.finish(job, ok=False, error="no room\nleft")
    shown = hubctl("jobs", "show", str(job.pk)).stdout.decode()
    assert "title:    Nightly backup 밤\n" in shown
    assert "progress: 3/12 orders.sql\n" in shown
    assert "error:    no room\n          left\n" in shown
    assert f"page:     {hubctl.url}/jobs/{job.pk}/\n" in shown
    assert json.loads(hubctl("jobs", "show", "--json", str(job.pk)).stdout)["total"] == 12


def test_prints_the_whole_log(hubctl, job) -> None:
    external.log(job, "".join(f"line {n}\n" for n in range(1, 2501)))
    external.log(job, "\nthe end\u202e")
    shown = hubctl("jobs", "log", str(job.pk)).stdout.decode()
    assert shown == "".join(f"line {n}\n" for n in range(1, 2501)) + "\nthe end \n"


def test_follows_a_log_to_its_end(hubctl, job) -> None:
    external.log(job, "first")
    follower = hubctl.start("jobs", "log", "-f", str(job.pk))
    try:
        read_until(follower.stdout, b"first\n")
        external.log(job, "second")
        read_until(follower.stdout, b"second\n")
        external.log(job, "third")
        external.finish(job, ok=True)
        assert follower.wait(40) == 0
        assert follower.stdout is not None
        assert follower.stdout.read() == b"third\n"
    finally:
        end(follower)


def test_asks_a_job_to_stop(hubctl, job) -> None:
    assert hubctl("jobs", "cancel", str(job.pk)).stdout == b"asked to stop\n"
    job.refresh_from_db()
    assert job.cancel_requested_at
    external.finish(job, ok=False)
    done = hubctl("jobs", "cancel", str(job.pk))
    assert (done.returncode, done.stderr.count(b"\n")) == (3, 1)


def test_starts_a_task_cancels_it_and_starts_it_again(hubctl, person) -> None:
    done = hubctl("jobs", "start", "--key", "export-1", "notifications.export", "format=csv")
    job = Job.objects.get(owner=person)
    assert done.stdout.decode() == f"{job.pk}  {hubctl.url}/jobs/{job.pk}/\n"
    assert (
        hubctl("jobs", "start", "--key", "export-1", "notifications.export", "format=csv").stdout
        == done.stdout
    )
    assert hubctl("jobs", "cancel", str(job.pk)).stdout == b"cancelled\n"
    assert hubctl("jobs", "retry", str(job.pk)).stdout == b"queued, attempt 2\n"
    jobs.cancel(job.pk, person)


def test_boxes_and_choices_arrive_as_they_are_meant(hubctl, person) -> None:
    task = "tests.shop.tasks.stocktake"
    with live_server("daphne", env={"HUB_APPS": "tests.shop"}) as server:
        hubctl.url = server.url
        for given, meant in [
            (["gently=true", "corners=s", "corners=n"], {"gently": True, "corners": ["s", "n"]}),
            (["gently=false", "corners=s"], {"gently": False, "corners": ["s"]}),
            ([], {"gently": False, "corners": []}),
        ]:
            done = hubctl("jobs", "start", "--json", task, "shelves=3", "pause=0.5", *given)
            assert done.returncode == 0, done.stderr
            job = Job.objects.get(pk=json.loads(done.stdout)["id"])
            kwargs = json.loads(job.message)["kwargs"]
            assert kwargs == {"shelves": 3, "pause": 0.5, **meant}
            jobs.cancel(job.pk, person)
        wrong = hubctl("jobs", "start", task, "shelves=3", "corners=up")
        assert (wrong.returncode, b"corners" in wrong.stderr) == (3, True)
    assert hubctl("jobs", "start", task, "key=x").returncode == 2


def test_starts_a_task_with_a_file(hubctl, person, tmp_path) -> None:
    (tmp_path / "staff.csv").write_text("username,name\nerin,Erin\n")
    done = hubctl(
        "jobs", "start", "--json", "staff.import", f"file=@{tmp_path}/staff.csv", "dry_run=true"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "staff.import"
    job = Job.objects.get(owner=person)
    assert '"dry_run": true' in job.message
    jobs.cancel(job.pk, person)


def test_says_which_argument_was_refused(hubctl) -> None:
    done = hubctl("jobs", "start", "notifications.export", "format=stone")
    assert done.returncode == 3
    assert b"format" in done.stderr
    assert hubctl("jobs", "start", "no.such.task").returncode == 3


def test_jobs_of_others_do_not_exist(hubctl, person) -> None:
    person.is_superuser = False
    person.save()
    job = external.start(newcomer("bob"), "Private")
    for verb in ("show", "log", "cancel", "retry"):
        for job_id in (job.pk, uuid.uuid4()):
            done = hubctl("jobs", verb, str(job_id))
            assert (done.returncode, done.stdout) == (3, b"")
    assert hubctl("jobs").stdout == b""
    job.refresh_from_db()
    assert (job.state, job.cancel_requested_at) == (State.STARTED, None)
