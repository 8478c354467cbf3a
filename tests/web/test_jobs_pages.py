from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import Answer
from notifications.models import Notification
from tasks import api, files, jobs, logs, queue, tracking
from tasks.errors import NoSuchJob, TooLarge
from tasks.models import File, Job, Outage, State
from tests.shop.tasks import stocktake

pytestmark = pytest.mark.django_db(transaction=True)

START = "/jobs/start/tests.shop.tasks.stocktake/"


@pytest.fixture
def as_alice(client: Client, alice: Any) -> Client:
    client.force_login(alice)
    return client


@pytest.fixture
def as_admin(admin: Any) -> Client:
    browser = Client()
    browser.force_login(admin)
    return browser


def queued(owner: Any, title: str = "Stocktake", kind: str = "tests.shop.tasks.stocktake") -> Job:
    message = queue.pack((), {"shelves": 1}, {})
    return jobs.create(kind=kind, title=title, owner=owner, message=message)


def started(owner: Any, title: str = "Stocktake", **progress: Any) -> Job:
    job = jobs.claim(queued(owner, title).pk, 1, 60)
    assert job is not None
    if progress:
        Job.objects.filter(pk=job.pk).update(**progress)
    return Job.objects.get(pk=job.pk)


def ended(owner: Any, state: State, title: str = "Stocktake", **more: Any) -> Job:
    job = jobs.finish(started(owner, title).pk, 1, state, **more)
    assert job is not None
    return job


def text(client: Client, address: str, **more: Any) -> str:
    answer = client.get(address, **more)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def test_the_list_shows_my_jobs_and_nobody_elses(as_alice, alice, bob):
    ended(alice, State.SUCCEEDED, "Mine")
    ended(bob, State.SUCCEEDED, "Of bob")
    said = text(as_alice, "/jobs/")
    assert "Mine" in said
    assert "Of bob" not in said
    assert "Of bob" not in text(as_alice, "/jobs/?whose=all")


def test_superusers_see_everybodys_and_their_own(as_admin, admin, alice):
    ended(alice, State.SUCCEEDED, "Of alice")
    ended(admin, State.SUCCEEDED, "My own")
    assert {"Of alice", "My own"} <= titles(as_admin, "/jobs/")
    assert titles(as_admin, "/jobs/?whose=own") == {"My own"}


def titles(client: Client, address: str) -> set[str]:
    return {item["title"] for item in client.get(address).context["items"]}


def test_the_list_is_filtered_by_state_and_kind(as_alice, alice):
    ended(alice, State.FAILED, "Broken", error="x")
    started(alice, "Under way")
    queued(alice, "Script", kind="external")
    assert titles(as_alice, "/jobs/?state=failed") == {"Broken"}
    assert titles(as_alice, "/jobs/?state=started") == {"Under way"}
    assert titles(as_alice, "/jobs/?kind=external") == {"Script"}
    assert titles(as_alice, "/jobs/?kind=external&state=failed") == set()


@pytest.mark.parametrize("nonsense", ["x", "'", "9" * 60, "<b>", "\x00"])
def test_nonsense_in_the_address_is_no_error(as_alice, alice, nonsense):
    for name in ("state", "kind", "before", "whose"):
        assert as_alice.get("/jobs/", {name: nonsense}).status_code == 200


def test_no_zero_byte_reaches_the_database(as_alice):
    assert as_alice.get("/jobs/", {"kind": "exter\x00nal"}).context["kind"] == "external"


def test_older_pages_are_a_link_away_and_keep_the_filter(as_alice, alice):
    for at in range(jobs.PAGE + 3):
        queued(alice, f"Job {at}")
    first = as_alice.get("/jobs/?state=queued")
    assert len(first.context["items"]) == jobs.PAGE
    link = f"?state=queued&amp;before={first.context['next']}"
    assert link in first.content.decode()
    older = as_alice.get("/jobs/", {"state": "queued", "before": first.context["next"]})
    assert [item["title"] for item in older.context["items"]] == ["Job 2", "Job 1", "Job 0"]


def test_an_empty_list_says_what_will_come(as_alice):
    said = text(as_alice, "/jobs/")
    assert "No jobs yet" in said
    assert "hubctl run" in said
    assert "No such jobs" in text(as_alice, "/jobs/?state=lost")


def test_a_title_is_shown_as_text(as_alice, alice):
    job = ended(alice, State.FAILED, "<b>bold</b>", error="<i>err</i>", summary="<u>sum</u>")
    logs.append(job.pk, 1, "<s>line</s>")
    for address in ("/jobs/", f"/jobs/{job.pk}/", "/"):
        said = text(as_alice, address)
        assert not any(tag in said for tag in ("<b>bold", "<i>err", "<u>sum", "<s>line"))


def test_a_job_has_a_page_without_javascript(as_alice, alice):
    job = started(alice, done=250, total=1000, note="counting")
    logs.append(job.pk, 1, "first\nsecond")
    said = text(as_alice, f"/jobs/{job.pk}/")
    assert "250 of 1,000 · 25 %" in said
    assert 'value="250" max="1000"' in said
    assert "counting" in said
    assert '<div class="log-line" data-n="2" data-attempt="1">second</div>' in said
    assert f"/jobs/{job.pk}/cancel/" in said


def test_of_nothing_no_share_is_done(as_alice, alice):
    job = started(alice, done=0, total=0)
    for address in ("/jobs/", f"/jobs/{job.pk}/", "/"):
        said = text(as_alice, address)
        assert "0 of 0" not in said
        assert "100 %" not in said


def test_numbers_of_a_bar_are_no_words_in_any_language(as_alice, alice):
    job = started(alice, done=1250, total=100000)
    said = text(as_alice, f"/jobs/{job.pk}/", headers={"Accept-Language": "ko"})
    assert 'value="1250" max="100000"' in said


def test_of_a_long_log_the_page_brings_the_end(as_alice, alice):
    job = started(alice)
    logs.append(job.pk, 1, "\n".join(f"line {at}" for at in range(1, 1201)))
    said = text(as_alice, f"/jobs/{job.pk}/")
    assert 'data-head="1200"' in said
    assert ">line 1200<" in said
    assert ">line 900<" not in said


def test_the_whole_log_is_a_download_that_comes_in_pieces(as_alice, alice, monkeypatch):
    job = started(alice)
    logs.append(job.pk, 1, "\n".join(f"줄 {at}" for at in range(1, 1201)))
    for at in range(1201, 1206):
        logs.append(job.pk, 1, f"줄 {at}")
    monkeypatch.setattr(logs, "CHUNKS", 2)
    answer = as_alice.get(f"/jobs/{job.pk}/log.txt")
    pieces = list(answer.streaming_content)
    assert len(pieces) == 4
    assert b"".join(pieces).decode() == "".join(f"줄 {at}\n" for at in range(1, 1206))
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["Content-Type"].startswith("text/plain")


def test_a_failed_job_shows_its_error_and_can_be_tried_again(as_alice, alice):
    job = ended(alice, State.FAILED, error="Traceback\nValueError: no such shelf")
    said = as_alice.get(f"/jobs/{job.pk}/")
    assert said.context["may_retry"]
    assert '<p data-slot="error-last">ValueError: no such shelf</p>' in said.content.decode()
    answer = as_alice.post(f"/jobs/{job.pk}/retry/")
    assert answer["Location"] == f"/jobs/{job.pk}/"
    again = Job.objects.get(pk=job.pk)
    assert (again.state, again.attempt) == (State.QUEUED, 2)
    said = as_alice.get(f"/jobs/{job.pk}/")
    assert [attempt["number"] for attempt in said.context["attempts"]] == [2, 1]


def test_a_cancelled_job_says_so_and_not_that_it_failed(as_alice, alice):
    job = ended(alice, State.CANCELLED, error="Stopped by hand")
    said = text(as_alice, f"/jobs/{job.pk}/")
    assert '<h2 id="job-error-title" data-slot="error-title">Cancelled</h2>' in said
    assert '<p data-slot="error-last">Stopped by hand</p>' in said
    assert "The job failed" not in said
    assert "notice-error" not in said


@pytest.mark.parametrize(("verb", "module"), [("cancel", jobs), ("retry", tracking)])
def test_a_job_that_goes_while_it_is_steered_is_not_there(
    as_alice, alice, monkeypatch, verb, module
):
    def gone(*_: Any) -> None:
        raise NoSuchJob

    job = ended(alice, State.FAILED)
    monkeypatch.setattr(module, verb, gone)
    assert as_alice.post(f"/jobs/{job.pk}/{verb}/").status_code == 404


def test_what_can_not_be_tried_again_says_why(as_alice, alice):
    job = ended(alice, State.SUCCEEDED)
    answer = as_alice.post(f"/jobs/{job.pk}/retry/", follow=True)
    assert "The job has succeeded." in answer.content.decode()
    assert not answer.context["may_retry"]


def test_cancelling_asks_first(as_alice, alice):
    job = queued(alice)
    assert "Cancel this job?" in text(as_alice, f"/jobs/{job.pk}/cancel/")
    assert Job.objects.get(pk=job.pk).state == State.QUEUED
    answer = as_alice.post(f"/jobs/{job.pk}/cancel/")
    assert answer["Location"] == f"/jobs/{job.pk}/"
    assert Job.objects.get(pk=job.pk).state == State.CANCELLED
    refused = as_alice.post(f"/jobs/{job.pk}/cancel/")
    assert refused.status_code == 409
    assert "The job has ended already." in refused.content.decode()


def test_a_job_that_is_to_stop_says_so_and_offers_it_no_more(as_alice, alice):
    job = started(alice)
    as_alice.post(f"/jobs/{job.pk}/cancel/")
    said = as_alice.get(f"/jobs/{job.pk}/")
    assert said.context["is_stopping"]
    assert not said.context["may_cancel"]


@pytest.mark.parametrize("method", ["get", "head"])
def test_looking_changes_nothing(as_alice, alice, method):
    job = started(alice)
    getattr(as_alice, method)(f"/jobs/{job.pk}/cancel/")
    assert getattr(as_alice, method)(f"/jobs/{job.pk}/retry/").status_code == 405
    assert getattr(as_alice, method)(START).status_code == 200
    assert Job.objects.get(pk=job.pk).cancel_requested_at is None
    assert Job.objects.count() == 1


def test_what_is_somebody_elses_is_not_there(as_alice, bob):
    job = ended(bob, State.FAILED, error="x")
    with files.result(job, "report.csv", "text/csv") as out:
        out.write("secret")
    for rest in ("", "cancel/", "log.txt", f"files/{out.file.pk}/"):
        assert as_alice.get(f"/jobs/{job.pk}/{rest}").status_code == 404
    for rest in ("cancel/", "retry/"):
        assert as_alice.post(f"/jobs/{job.pk}/{rest}").status_code == 404
    assert as_alice.get(f"/jobs/{uuid.uuid4()}/").status_code == 404


def test_a_file_belongs_to_its_own_job(as_alice, alice, bob):
    mine, theirs = started(alice), started(bob)
    with files.result(theirs, "report.csv", "text/csv") as out:
        out.write("secret")
    assert as_alice.get(f"/jobs/{mine.pk}/files/{out.file.pk}/").status_code == 404


def test_a_result_file_is_listed_and_downloaded(as_alice, alice):
    job = started(alice)
    with files.result(job, "보고서.csv", "text/csv") as out:
        out.write("name\n김서연\n")
    page = text(as_alice, f"/jobs/{job.pk}/")
    assert "보고서.csv" in page
    assert f'href="/jobs/{job.pk}/files/{out.file.pk}/"' in page
    answer = as_alice.get(f"/jobs/{job.pk}/files/{out.file.pk}/")
    assert b"".join(answer).decode() == "name\n김서연\n"
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"


# Starting by form.


def test_only_what_somebody_may_start_is_offered(as_alice, as_admin):
    mine = {task.name for task in as_alice.get("/jobs/").context["startable"]}
    assert "tests.shop.tasks.stocktake" in mine
    assert "tests.shop.tasks.managed" not in mine
    assert as_alice.get("/jobs/start/tests.shop.tasks.managed/").status_code == 404
    assert as_alice.get("/jobs/start/tests.shop.tasks.broken/").status_code == 404
    assert as_admin.get("/jobs/start/tests.shop.tasks.managed/").status_code == 200


def test_a_form_starts_a_job_and_leads_to_it(as_alice, alice):
    once = as_alice.get(START).context["once"]
    answer = as_alice.post(START, {"shelves": "3", "hub-once": once})
    job = Job.objects.get()
    assert answer["Location"] == f"/jobs/{job.pk}/"
    assert (job.owner, job.kind) == (alice, "tests.shop.tasks.stocktake")


def test_a_form_that_is_sent_twice_starts_one_job(as_alice):
    once = as_alice.get(START).context["once"]
    to = {as_alice.post(START, {"shelves": "3", "hub-once": once})["Location"] for _ in range(2)}
    assert to == {f"/jobs/{Job.objects.get().pk}/"}
    once = as_alice.get(START).context["once"]
    as_alice.post(START, {"shelves": "3", "hub-once": once})
    assert Job.objects.count() == 2


def test_the_key_of_a_form_is_its_senders_own(as_alice, as_admin):
    once = as_alice.get(START).context["once"]
    for browser in (as_alice, as_admin):
        browser.post(START, {"shelves": "3", "hub-once": once})
    assert Job.objects.count() == 2


@pytest.mark.parametrize("once", ["", "x", "\x00"])
def test_a_form_without_its_key_still_starts(as_alice, once):
    assert as_alice.post(START, {"shelves": "3", "hub-once": once}).status_code == 302


def test_who_starts_and_steers_too_fast_is_told_when_to_go_on(as_alice, alice, monkeypatch):
    failed, running = ended(alice, State.FAILED), started(alice)
    monkeypatch.setattr(api, "STEERINGS_PER_MINUTE", 1)
    assert as_alice.post(START, {"shelves": "3"}).status_code == 302
    before = Job.objects.count()
    refused = as_alice.post(START, {"shelves": "4"})
    assert (refused.status_code, Job.objects.count()) == (429, before)
    assert 0 < int(refused["Retry-After"]) <= 60
    said = refused.content.decode()
    assert "Nothing was changed; try again in" in said
    assert 'value="4"' in said
    cancel = as_alice.post(f"/jobs/{running.pk}/cancel/")
    assert (cancel.status_code, "try again in" in cancel.content.decode()) == (429, True)
    again = as_alice.post(f"/jobs/{failed.pk}/retry/", follow=True)
    assert "try again in" in again.content.decode()
    states = dict(Job.objects.values_list("pk", "state"))
    assert (states[running.pk], states[failed.pk]) == (State.STARTED, State.FAILED)
    api_too = as_alice.post(
        f"/api/v1/jobs/{failed.pk}/retry", headers={"Origin": "http://testserver"}
    )
    assert api_too.status_code == 429


def test_an_upload_of_a_start_that_fails_is_not_left_behind(as_admin, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise TooLarge("no more")

    save: Any = Answer.save

    def refuse_later(answer: Answer, **options: Any) -> None:
        """When the job is there, and the answer is to be kept."""
        refuse() if "update_fields" in options else save(answer, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "_plain", refuse)
        assert as_admin.post(IMPORT, {"file": staff_csv()}).status_code == 200
    assert (Job.objects.count(), File.objects.count()) == (0, 0)
    as_admin.raise_request_exception = False
    with monkeypatch.context() as patch:
        patch.setattr(Answer, "save", refuse_later)
        as_admin.post(IMPORT, {"file": staff_csv()})
    assert (Job.objects.count(), File.objects.count()) == (0, 0)
    as_admin.post(IMPORT, {"file": staff_csv()})
    assert (Job.objects.count(), File.objects.count()) == (1, 1)


def test_errors_stand_at_their_fields_and_nothing_starts(as_alice):
    answer = as_alice.post(START, {"shelves": "0", "gently": "on", "hub-once": str(uuid.uuid4())})
    said = answer.content.decode()
    assert answer.status_code == 200
    assert 'aria-invalid="true"' in said
    assert "errorlist" in said
    assert 'value="0"' in said
    assert Job.objects.count() == 0


IMPORT = "/jobs/start/staff.import/"


def staff_csv(text: str = "username,name\nseoyeon,김서연\n") -> SimpleUploadedFile:
    return SimpleUploadedFile("staff.csv", text.encode(), "text/csv")


def test_an_upload_goes_with_its_form_and_sent_twice_leaves_one_file(as_admin):
    form = as_admin.get(IMPORT)
    assert 'enctype="multipart/form-data"' in form.content.decode()
    once = form.context["once"]
    sent = [
        as_admin.post(IMPORT, {"file": staff_csv(), "hub-once": once})["Location"] for _ in range(2)
    ]
    job = Job.objects.get()
    assert sent == [f"/jobs/{job.pk}/"] * 2
    assert File.objects.get().job == job


def test_a_file_that_is_refused_starts_nothing_and_says_why_at_its_field(as_admin):
    answer = as_admin.post(IMPORT, {"file": staff_csv("who,what\n1,2\n"), "dry_run": "on"})
    assert answer.status_code == 200
    assert answer.context["form"].errors["file"]
    assert "checked" in answer.content.decode()
    assert (Job.objects.count(), File.objects.count()) == (0, 0)


def test_when_nobody_takes_jobs_it_is_said_before_one_starts(as_alice):
    assert as_alice.get("/jobs/").context["workers_away"] is None
    Outage.objects.create(began_at="2026-01-01T00:00:00Z")
    for address in ("/jobs/", START):
        assert as_alice.get(address).context["workers_away"] is not None


# Beside the pages.


def test_the_rail_counts_my_jobs_that_wait_or_run(as_alice, alice, bob):
    mine = [started(alice), queued(alice)]
    ended(alice, State.SUCCEEDED)
    started(bob)
    page = as_alice.get("/settings/")
    assert set(page.context["frame"].jobs) == {str(job.pk) for job in mine}
    assert page.context["frame"].jobs_short == "2"


def test_a_notification_leads_to_the_job(as_alice, alice):
    job = ended(alice, State.FAILED, error="x")
    note = Notification.objects.get(recipient=alice)
    assert f'href="/jobs/{job.pk}/"' in text(as_alice, f"/inbox/{note.pk}/")


def test_a_list_costs_few_queries_however_long(as_alice, alice, django_assert_max_num_queries):
    for at in range(jobs.PAGE):
        ended(alice, State.SUCCEEDED, f"Job {at}")
    as_alice.get("/jobs/")
    with django_assert_max_num_queries(20):
        as_alice.get("/jobs/")


def test_a_started_job_is_the_task_that_was_asked_for(alice):
    job = stocktake.start(owner=alice, shelves=2)
    assert jobs.item(job)["title"] == "Stocktake"
    assert File.objects.count() == 0
