"""Importing staff from a file: refused before it starts or gone through to the end, as often as one likes."""

from __future__ import annotations

import csv
import time
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile

from accounts import staff
from accounts.models import Profile, ResetRequest
from accounts.staff import Row
from events import redis_client
from hub import env
from tasks import files, jobs, queue, running, staff_file, staff_import, tracking
from tasks.errors import InvalidArguments, NotStartable
from tasks.models import File, Job, State

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "staff.import"


@pytest.fixture(autouse=True)
def empty_queue() -> Iterable[None]:
    yield
    prefix = current_app.conf.broker_transport_options["global_keyprefix"]
    redis_client.blocking().delete(f"{prefix}{queue.default_queue()}")


def start(owner: User, body: str | bytes, **fields: Any) -> Job:
    """As page and API do."""
    content = body.encode() if isinstance(body, str) else body
    upload = SimpleUploadedFile("staff.csv", content, "text/csv")
    return tracking.prepare(owner, NAME, fields, {"file": upload}).start(owner)


def run(job: Job) -> Job:
    """What a worker does with the job's message, in this process."""
    call = queue.unpack(job)
    headers: Any = {queue.JOB: str(job.pk), queue.ATTEMPT: job.attempt}
    current_app.tasks[job.kind].apply(call["args"], call["kwargs"], headers=headers, throw=False)
    job.refresh_from_db()
    return job


def report(job: Job) -> list[list[str]]:
    [file] = File.objects.filter(job=job, role=File.Role.RESULT, attempt=job.attempt)
    text = b"".join(files.read(file)).decode()
    return list(csv.reader(text.splitlines(keepends=True)))[1:]


def refusal(owner: User, body: str | bytes, **fields: Any) -> str:
    with pytest.raises(InvalidArguments) as refused:
        start(owner, body, **fields)
    assert not File.objects.exists()
    assert not Job.objects.exists()
    [sentence] = refused.value.fields.values()
    return sentence


def people() -> int:
    return User.objects.exclude(username="admin").count()


class TestRefusedBeforeItStarts:
    def test_unknown_columns_are_named(self, admin):
        sentence = refusal(admin, "username,phone,name,room\nnina,1,Nina,2\n")
        assert sentence == (
            "Unknown columns: phone, room; accepted are username, name, email, teams, active."
        )

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("name,email\nNina,n@example.org\n", "username is required"),
            ("username,name,name\nnina,a,b\n", "Columns twice: name"),
            ("username;name\nnina;Nina\n", "Commas must separate"),
            ("username\tname\nnina\tNina\n", "Commas must separate"),
            ("\n\n", "must name the columns"),
            ("username,name\r\n\r\n , \r\n", "no rows"),
            ("username,name\rnina,Nina\r", "must name the columns"),
            ("username\n" + "," * 70_000, "at most 65,536 characters"),
            ("", "empty"),
        ],
    )
    def test_what_is_no_list_of_staff(self, admin, body, says):
        assert says in refusal(admin, body)

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b"username,name\nnina,\0\n", "no text"),
            ("username,name\nnina,니나\n".encode("utf-16"), "no text"),
            ("username,name\nnina,이니나\n".encode("cp949"), "CSV UTF-8"),
            ("username,name\nnina,Niña\n".encode("latin-1"), "CSV UTF-8"),
            ("사번,이름\nnina,이니나\n".encode("cp949"), "CSV UTF-8"),
        ],
    )
    def test_what_is_no_text_in_utf_8(self, admin, body, says):
        assert says in refusal(admin, body)

    def test_a_wrong_byte_at_the_end_of_a_long_file(self, admin):
        body = (
            b"username,name\n" + b"".join(b"p%d,P\n" % n for n in range(60_000)) + b"x,\xb0\xa1\n"
        )
        assert "CSV UTF-8" in refusal(admin, body)

    def test_too_many_bytes(self, admin, monkeypatch):
        monkeypatch.setattr(files, "UPLOAD_MAX", 10 * 2**10)
        assert "at most 0 MiB" in refusal(admin, "username\n" + "x" * 10 * 2**10)

    def test_too_many_rows(self, admin, monkeypatch):
        monkeypatch.setattr(staff_file, "ROWS_MAX", 1000)
        assert "at most 1,000 rows" in refusal(admin, "username\n" + "x\n" * 1001)
        start(admin, "username\n" + "x\n" * 1000)

    def test_inviting_without_a_mail_server(self, admin, settings):
        settings.EMAIL_BACKEND = env.mail("")["EMAIL_BACKEND"]
        assert "no mail server" in refusal(admin, "username\nnina\n", invite="on")

    def test_everybody_but_superusers(self, alice):
        alice.is_staff = True
        with pytest.raises(NotStartable):
            start(alice, "username\nnina\n")

    def test_an_upload_that_lies_on_disk_is_read_where_it_lies(self, admin):
        with TemporaryUploadedFile("staff.csv", "text/csv", 0, None) as upload:
            upload.write(b"username,name\n" + b"nina,Nina\n" * 9)
            upload.size = upload.tell()
            prepared = tracking.prepare(admin, NAME, {}, {"file": upload})
        assert "".join(files.lines(prepared.kwargs["file"])).count("Nina") == 9


class TestImporting:
    def test_a_file_with_everything(self, admin, alice):
        body = (
            "\ufeffActive,username, Email,name,teams\r\n"
            "yes,nina,nina@example.org,이니나,Ops;Night\r\n"
            '1,omar,,"Omar\n, ""the"" Oak",\r\n'
            "\r\n"
            ",alice,,Alice Bae,Ops\r\n"
            "no,admin,,,\r\n"
            "maybe,pia,,,\r\n"
            ",nina,,,\r\n"
            ",NINA,,,\r\n"
            ",zoe,zoe,,\r\n"
            ",=cmd,,,\r\n"
            ",only,two\r\n"
            ",bob,,,,,\r\n"
        )
        job = run(start(admin, body))
        assert job.state == State.SUCCEEDED
        assert job.summary == "3 created, 1 changed, 0 unchanged, 7 errors, 2 teams made"
        assert (job.done, job.total) == (11, 11)
        found = report(job)
        assert [line[:3] for line in found] == [
            ["2", "nina", "created"],
            ["3", "omar", "created"],
            ["6", "alice", "changed"],
            ["7", "admin", "error"],
            ["8", "pia", "error"],
            ["9", "nina", "error"],
            ["10", "NINA", "error"],
            ["11", "zoe", "error"],
            ["12", "'=cmd", "error"],
            ["13", "only", "error"],
            ["14", "bob", "created"],
        ]
        reasons = {line[0]: line[3] for line in found}
        assert "line 2 has it already" in reasons["9"]
        assert "line 2 has it already" in reasons["10"]
        assert reasons["11"].startswith("email: ")
        assert reasons["13"] == "it has 3 cells, the first line 5."
        assert reasons["2"] == ""
        nina, omar = User.objects.get(username="nina"), User.objects.get(username="omar")
        assert (nina.first_name, omar.first_name) == ("이니나", 'Omar , "the" Oak')
        admin.refresh_from_db()
        assert admin.is_active

    def test_a_line_that_cannot_be_read_does_not_end_it(self, admin):
        body = 'username,name\nnina,Nina\nomar,"Om"ar\npia,"Pia\nzoe,"Zoe"\nbob,Bob\n'
        job = run(start(admin, body))
        assert job.summary.startswith("2 created, 0 changed, 0 unchanged, 2 errors")
        errors = {line[0]: line[3] for line in report(job) if line[2] == "error"}
        assert errors.keys() == {"3", "4"}
        assert errors["4"].startswith("lines 4 to 5: it can't be read")

    def test_again_changes_nothing_and_reports_nothing(self, admin):
        body = _list(2000)
        first = run(start(admin, body))
        assert first.summary == "2,000 created, 0 changed, 0 unchanged, 0 errors, 8 teams made"
        assert people() == Profile.objects.exclude(user=admin).count() == 2000
        assert User.groups.through.objects.count() == 4000
        again = run(start(admin, body))
        assert again.summary == "0 created, 0 changed, 2,000 unchanged, 0 errors, 0 teams made"
        assert report(again) == []
        assert people() == 2000

    def test_a_dry_run_reports_the_same_and_writes_nothing(self, admin, alice, settings):
        settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
        body = _list(250) + "alice,Alice Bae,,T1,\nadmin,,,,no\n"
        foreseen = run(start(admin, body, dry_run="on", invite="on"))
        said = "250 created, 1 changed, 0 unchanged, 1 error, 8 teams made, 250 invited"
        assert foreseen.summary == f"Dry run, nothing was written: {said}"
        assert (people(), Group.objects.count(), ResetRequest.objects.count()) == (1, 0, 0)
        real = run(start(admin, body, invite="on"))
        assert real.summary == said
        assert report(real) == report(foreseen)
        assert ResetRequest.objects.count() == 250

    def test_what_a_crash_left_is_finished_by_a_retry(self, admin, settings, monkeypatch):
        settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
        job = start(admin, _list(350), invite="on")
        with monkeypatch.context() as window:
            window.setattr(staff, "apply", _after(2, _crash))
            assert run(job).state == State.FAILED
        assert people() == 200
        tracking.retry(job.pk)
        job.refresh_from_db()
        run(job)
        assert job.summary.startswith("150 created, 0 changed, 200 unchanged, 0 errors")
        assert people() == Profile.objects.exclude(user=admin).count() == 350
        assert ResetRequest.objects.count() == 350
        assert len(report(job)) == 150

    def test_one_that_is_cancelled_stops_between_two_batches_and_reports(self, admin, monkeypatch):
        job = start(admin, _list(350))

        def cancel() -> None:
            jobs.cancel(job.pk, by=admin)
            accompanied: Any = running._current.get()
            deadline = time.monotonic() + 10
            while accompanied._stop_asked_at is None and time.monotonic() < deadline:
                time.sleep(0.02)

        monkeypatch.setattr(staff, "apply", _after(2, cancel))
        assert run(job).state == State.CANCELLED
        assert people() == Profile.objects.exclude(user=admin).count() == 300
        assert len(report(job)) == 300

    def test_a_file_that_is_kept_no_longer_fails_with_a_sentence(self, admin):
        job = start(admin, "username\nnina\n")
        File.objects.all().delete()
        assert run(job).state == State.FAILED
        assert job.error == "The uploaded file is kept no longer: start a new import with it."

    def test_a_file_that_nobody_checked_fails_with_a_sentence(self, admin):
        upload = files.store("staff.csv", "text/csv", [b"username,phone\nnina,1\n"])
        job = run(staff_import.import_staff.start(owner=admin, file=upload.pk))
        assert (job.state, job.error.partition(":")[0]) == (State.FAILED, "Unknown columns")

    def test_rows_with_many_teams_go_in_smaller_batches(self):
        teams = ";".join(f"T{n}" for n in range(50))
        lines = ["username,teams\n", *(f"p{n},{teams}\n" for n in range(30))]
        batches = list(staff_import._batches(staff_file.records(lines)))
        assert [len(batch) for batch in batches] == [10, 10, 10]

    def test_a_file_of_any_length_takes_the_same_memory(self):
        def peak(rows: int) -> int:
            lines = (f"person{n},A Name Of {n}\n" for n in range(-1, rows))
            next(lines)
            tracemalloc.start()
            for batch in staff_import._batches(staff_file.records(_headed(lines))):
                assert all(isinstance(line.row, Row) for line in batch)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return most

        short = peak(2_000)
        assert short < 10 * 2**20
        assert peak(20_000) < short + 2**18


def _headed(lines: Iterable[str]) -> Iterable[str]:
    yield "username,name\n"
    yield from lines


def _list(count: int) -> str:
    rows = (f"p{n},Person {n},p{n}@example.org,T{n % 7};All,yes" for n in range(count))
    return "\n".join(["username,name,email,teams,active", *rows, ""])


def _after(calls: int, happens: Any) -> Any:
    """`staff.apply`, and this happens with the call after so many: before it, so that a crash leaves that one out."""
    apply = staff.apply
    left = calls

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == -1:
            happens()
        return apply(*args, **kwargs)

    return counting


def _crash() -> None:
    raise RuntimeError("the machine is gone")


def test_a_row_of_one_cell_has_one_cell():
    [record] = staff_file.records(iter(["username,name\n", "erin\n"]))
    assert record.error == "it has 1 cell, the first line 2."
