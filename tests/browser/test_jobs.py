"""Jobs while somebody watches: a real worker runs them, real browsers look on."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import APIResponse, Locator, Page, Route, expect

from accounts import profiles
from events import log as events_log
from events import publish, topics, whisper
from notifications import notify
from tasks import jobs, logs
from tasks.models import Attempt, Job, State
from tests.browser.test_pages import new_epoch, violations, wait_until_live
from tests.live import Aside, LiveServer, live_server, newcomer
from tests.shop.tasks import broken, stocktake

PageFor = Callable[..., Page]
START = "/jobs/start/tests.shop.tasks.stocktake/"
SLOW = 30_000  # ms: a worker on a busy machine


@pytest.fixture(scope="module")
def worked(live_tables: None, real_redis: str) -> Iterator[LiveServer]:
    """A server with a worker that knows the shop's tasks."""
    with live_server(worker=True, static=True, env={"HUB_APPS": "tests.shop"}) as server:
        yield server


def start(owner: Any, shelves: int, pause: float = 0) -> str:
    return str(stocktake.start(owner=owner, shelves=shelves, pause=pause).pk)


def fail(owner: Any) -> str:
    return str(broken.start(owner=owner).pk)


def by_hand(owner: Any, title: str = "By hand", kind: str = "external") -> str:
    """A job that no worker touches: the test itself moves it."""
    job = jobs.create(kind=kind, title=title, owner=owner)
    jobs.claim(job.pk, 1, 3600)
    return str(job.pk)


def move(job_id: str, done: int, total: int | None = 100, note: str = "") -> None:
    job = Job.objects.get(pk=job_id)
    Job.objects.filter(pk=job_id).update(done=done, total=total, note=note)
    now = events_log.rfc3339(job.queued_at)
    said = {"id": job_id, "attempt": job.attempt, "done": done, "total": total, "note": note}
    whisper(topics.job(job_id), "job.progress", {**said, "at": now})
    job.refresh_from_db()
    whisper(topics.DASHBOARD, "job.progress", jobs.short(job))


def say(job_id: str, *lines: str) -> None:
    logs.append(uuid.UUID(job_id), Job.objects.get(pk=job_id).attempt, "\n".join(lines))


def say_unheard(job_id: str, *lines: str) -> None:
    """As `say`, with the whisper lost on its way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "whisper", lambda *_: None)
        say(job_id, *lines)


def end(job_id: str, state: State, **more: Any) -> None:
    job = Job.objects.get(pk=job_id)
    jobs.finish(job.pk, job.attempt, state, **more)


def numbered(first: int, last: int) -> list[str]:
    return [f"line {at}" for at in range(first, last + 1)]


def state(page: Page) -> Locator:
    return page.locator(".job-about .state")


def lines(page: Page) -> Locator:
    return page.locator(".log-line")


def value(page: Page) -> float:
    return float(page.locator(".way progress").evaluate("(bar) => bar.position"))


def is_at_end(page: Page) -> bool:
    return bool(
        page.locator(".log").evaluate(
            "(log) => log.scrollHeight - log.scrollTop - log.clientHeight < 3"
        )
    )


def test_two_browsers_watch_the_same_run_from_start_to_end(
    page_for: PageFor, context_for: Any, aside: Aside, worked: LiveServer
):
    starter = page_for("alice", server=worked)
    user = starter.context.user  # type: ignore[attr-defined]
    watcher = page_for(user, server=worked)
    starter.goto("/jobs/")
    starter.get_by_text("Start a job").click()
    starter.get_by_role("link", name="Stocktake").click()
    starter.get_by_label("Shelves").fill("100")
    starter.get_by_label("Seconds each").fill("0.08")
    starter.get_by_role("button", name="Start").click()
    expect(starter).to_have_url(re.compile(r"/jobs/[0-9a-f-]{36}/$"))
    watcher.goto(starter.url)
    for page in (starter, watcher):
        expect(state(page)).to_have_text("Running", timeout=SLOW)
        expect(page.locator("[data-slot=figures]")).to_contain_text("of 100", timeout=SLOW)
        expect(page.locator("[data-slot=note]")).to_have_text("counting")
        expect(page.locator("hub-jobs-count .badge")).to_contain_text("1")
    seen = value(watcher)
    expect(watcher.locator("[data-slot=left]")).to_contain_text("left", timeout=SLOW)
    expect(watcher.locator("[data-slot=rate]")).to_contain_text("/s")
    assert value(watcher) >= seen
    for page in (starter, watcher):
        expect(state(page)).to_have_text("Succeeded", timeout=SLOW)
        expect(page.locator(".job-summary .prose")).to_have_text("100 shelves counted")
        expect(page.locator("[data-slot=figures]")).to_have_text("100 of 100 · 100 %")
        expect(lines(page)).to_have_count(100)
        expect(lines(page).last).to_have_text("shelf 100")
        expect(page.locator("hub-jobs-count .badge")).to_be_hidden()
        expect(page.locator(".toast")).to_contain_text("Stocktake")
        assert is_at_end(page)
    with watcher.expect_download() as download:
        watcher.get_by_role("link", name="shelves.csv").click()
    assert download.value.path().read_text().splitlines()[-1] == "100"


def test_a_job_is_cancelled_and_tried_again_under_the_eyes_of_another_tab(
    context_for: Any, aside: Aside, worked: LiveServer
):
    context = context_for("alice", server=worked)
    job = aside(start, context.user, 2000, 0.05)
    here, there = context.new_page(), context.new_page()
    for page in (here, there):
        page.goto(f"/jobs/{job}/")
        wait_until_live(page)
        expect(state(page)).to_have_text("Running", timeout=SLOW)
    here.get_by_role("link", name="Cancel the job").click()
    here.get_by_role("dialog").get_by_role("button", name="Let it run").click()
    expect(here.get_by_text("Cancelling")).to_be_hidden()
    here.get_by_role("link", name="Cancel the job").click()
    here.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    for page in (here, there):
        expect(state(page)).to_have_text("Cancelled", timeout=SLOW)
        expect(page.get_by_role("link", name="Cancel the job")).to_be_hidden()
    there.get_by_role("button", name="Try again").click()
    for page in (here, there):
        expect(state(page)).to_have_text("Running", timeout=SLOW)
        expect(page.locator("[data-slot=attempt]")).to_have_text("attempt 2")
        expect(page.locator(".attempt")).to_have_count(2)
        expect(page.locator(".log-line[data-begins]")).to_have_count(1, timeout=SLOW)
    here.get_by_role("link", name="Cancel the job").click()
    here.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(state(there)).to_have_text("Cancelled", timeout=SLOW)


def test_a_failure_stands_first_on_the_dashboard_and_leads_to_its_error(
    page_for: PageFor, aside: Aside, worked: LiveServer
):
    page = page_for("alice", server=worked)
    page.goto("/")
    wait_until_live(page)
    user = page.context.user  # type: ignore[attr-defined]
    failed = page.locator(".legend [data-slot=failed]")
    before = int(failed.inner_text())
    job = aside(fail, user)
    row = page.locator("hub-needs li").first
    expect(row).to_contain_text("Broken scales", timeout=SLOW)
    expect(failed).to_have_text(str(before + 1))
    aside(tell_of_orders, user)
    expect(page.locator("hub-needs li")).to_have_count(4)
    expect(row).to_contain_text("Broken scales")
    page.reload()
    expect(row).to_contain_text("Broken scales")
    assert int(failed.inner_text()) >= before + 1
    row.get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"/jobs/{job}/$"))
    expect(page.locator("[data-slot=error-last]")).to_have_text("ValueError: the scales are broken")
    assert violations(page) == []


def test_a_job_that_is_tried_again_leaves_what_needs_me(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    page.goto("/")
    wait_until_live(page)
    user = page.context.user  # type: ignore[attr-defined]
    job = aside(by_hand, user, "Recount", "shop.recount")
    aside(end, job, State.LOST)
    needs = page.locator("hub-needs li")
    expect(needs).to_contain_text("Recount: lost")
    aside(jobs.retry, uuid.UUID(job))
    expect(needs).to_have_count(0)
    page.reload()
    expect(needs).to_have_count(0)
    aside(jobs.claim, uuid.UUID(job), 2, 3600)
    wait_until_live(page)
    aside(end, job, State.FAILED, error="ValueError: no scales")
    expect(needs).to_contain_text("ValueError: no scales")
    expect(needs).to_have_count(1)


def tell_of_orders(user: Any) -> None:
    for at in range(3):
        notify(to=user, kind="orders.late", title=f"Order {at}")


def test_what_is_read_leaves_the_dashboard_by_a_button(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    aside(tell_of_orders, page.context.user)  # type: ignore[attr-defined]
    page.goto("/")
    wait_until_live(page)
    row = page.locator("hub-needs li", has_text="Order 1")
    row.hover()
    row.get_by_role("button", name="Mark read").click()
    expect(row).to_have_count(0)
    expect(page.locator("[data-needs-count]")).to_have_text("2")
    expect(page.locator("hub-needs li")).to_have_count(2)


def test_the_dashboard_shows_own_jobs_in_full_and_others_in_short(page_for: PageFor, aside: Aside):
    mine, theirs = page_for("alice"), page_for("bob")
    owner = mine.context.user  # type: ignore[attr-defined]
    for page in (mine, theirs):
        page.goto("/")
        wait_until_live(page)
    title = f"Stock of {owner.username}"
    job = aside(by_hand, owner, title)
    own = mine.locator(f".run[data-id='{job}']")
    short = theirs.locator(f".run[data-id='{job}']")
    for _again in ("live", "after a reload"):
        aside(move, job, 40)
        expect(own).to_contain_text(title)
        expect(own).to_contain_text("40 %")
        expect(own.get_by_role("link")).to_have_attribute("href", f"/jobs/{job}/")
        expect(short).to_contain_text("Outside script")
        expect(short).to_contain_text(owner.first_name)
        expect(short).to_contain_text("40 %")
        expect(short.locator("a[href]")).to_have_count(0)
        assert title not in theirs.content()
        for page in (mine, theirs):
            page.reload()
            wait_until_live(page)
    done = mine.locator(".legend [data-slot=succeeded]")
    before = int(done.inner_text())
    aside(end, job, State.SUCCEEDED)
    for row in (own, short):
        expect(row).to_have_count(0)
    expect(done).not_to_have_text(str(before))


def test_superusers_see_when_jobs_of_others_will_end(page_for: PageFor, aside: Aside):
    theirs = page_for("bob")
    job = aside(by_hand, theirs.context.user, "Count of bob")  # type: ignore[attr-defined]
    aside(half_done, job)
    page = page_for(aside(newcomer, "admin", is_superuser=True))
    page.goto("/")
    wait_until_live(page)
    row = page.locator(f".run[data-id='{job}']")
    expect(row).to_contain_text("Count of bob")
    expect(row).to_contain_text("50 % · about 10 min left")
    aside(move, job, 60)
    expect(row).to_contain_text("60 %")
    expect(row).to_contain_text("Count of bob")
    expect(row).to_contain_text(theirs.context.user.first_name)  # type: ignore[attr-defined]


def half_done(job_id: str) -> None:
    began = timezone.now() - timedelta(minutes=10)
    Job.objects.filter(pk=job_id).update(started_at=began, done=50, total=100)


def test_of_nothing_no_share_is_done(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    job = aside(by_hand, page.context.user, "Nothing to do")  # type: ignore[attr-defined]
    aside(move, job, 0, 0, "looking")
    page.goto(f"/jobs/{job}/")
    wait_until_live(page)
    aside(move, job, 0, 0, "still looking")
    expect(page.locator("[data-slot=note]")).to_have_text("still looking")
    expect(page.locator("[data-slot=figures]")).to_have_text("")
    expect(page).to_have_title(re.compile("^Nothing to do"))


def test_a_late_answer_takes_nothing_back_that_was_whispered(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    job = aside(by_hand, page.context.user, "Nothing to do")  # type: ignore[attr-defined]
    aside(move, job, 0, 0, "looking")
    held: list[tuple[Route, APIResponse]] = []
    page.route(f"**/api/v1/jobs/{job}", lambda route: held.append((route, route.fetch())))
    note = page.locator("[data-slot=note]")
    with page.expect_request(f"**/api/v1/jobs/{job}"):
        page.goto(f"/jobs/{job}/")
    wait_until_live(page)
    while not held:
        page.wait_for_timeout(10)
    aside(move, job, 0, 0, "still looking")
    expect(note).to_have_text("still looking")
    with page.expect_response(f"**/api/v1/jobs/{job}"):
        for route, answer in held:
            route.fulfill(response=answer)
    page.evaluate("() => new Promise((shown) => setTimeout(shown))")
    expect(note).to_have_text("still looking")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_an_attempt_is_one_row_on_a_phone(page_for: PageFor, aside: Aside, language: str):
    page = page_for("alice", viewport={"width": 360, "height": 700})
    user = page.context.user  # type: ignore[attr-defined]
    job = aside(twice, user, language)
    page.goto(f"/jobs/{job}/")
    wait_until_live(page)
    expect(page.locator(".attempt [data-slot=took]").last).to_be_visible()
    rows = page.evaluate(
        """() => [...document.querySelectorAll('.attempt')].map((row) =>
          ['.attempt-number', '.state', '[data-slot=took]', 'time'].map((part) => {
            const { top, bottom } = row.querySelector(part).getBoundingClientRect();
            return (top + bottom) / 2;
          }))"""
    )
    assert len(rows) == 2
    for middles in rows:
        assert max(middles) - min(middles) < 4


def twice(owner: Any, language: str) -> str:
    profile = profiles.of(owner)
    profile.language = language
    profile.save()
    job = by_hand(owner, "Recount", "shop.recount")
    end(job, State.LOST)
    jobs.retry(uuid.UUID(job))
    jobs.claim(uuid.UUID(job), 2, 3600)
    end(job, State.SUCCEEDED, summary="12,408 counted")
    ago = timezone.now() - timedelta(days=3)
    took = ago + timedelta(hours=2, minutes=57)
    Attempt.objects.filter(job__pk=job).update(queued_at=ago, started_at=ago, finished_at=took)
    return job


def test_at_1440_everything_stands_on_the_dashboard_without_scrolling(
    page_for: PageFor, aside: Aside
):
    page = page_for("alice", viewport={"width": 1440, "height": 900})
    for at in range(4):
        aside(by_hand, page.context.user, f"Job {at}")  # type: ignore[attr-defined]
    page.goto("/")
    wait_until_live(page)
    assert page.evaluate("document.scrollingElement.scrollHeight") <= 900
    for tile in page.locator(".tile").all():
        box = tile.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 901
        assert box["height"] > 100


def test_a_log_follows_until_one_scrolls_up_and_jumps_back(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    job = aside(by_hand, page.context.user)  # type: ignore[attr-defined]
    aside(say, job, *numbered(1, 200))
    page.goto(f"/jobs/{job}/")
    wait_until_live(page)
    aside(say, job, *numbered(201, 203))
    expect(lines(page).last).to_have_text("line 203")
    assert is_at_end(page)
    jump = page.locator("[data-slot=jump]")
    expect(jump).to_be_hidden()
    page.locator(".log").evaluate("(log) => log.scrollBy(0, -400)")
    expect(jump).to_be_visible()
    top = page.locator(".log").evaluate("(log) => log.scrollTop")
    aside(say, job, *numbered(204, 210))
    expect(lines(page).last).to_have_text("line 210")
    assert page.locator(".log").evaluate("(log) => log.scrollTop") == top
    jump.click()
    expect(jump).to_be_hidden()
    assert is_at_end(page)
    aside(say, job, "after the jump")
    expect(lines(page).last).to_have_text("after the jump")
    assert is_at_end(page)


def test_lines_that_no_whisper_brought_are_fetched(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    job = aside(by_hand, page.context.user)  # type: ignore[attr-defined]
    page.goto(f"/jobs/{job}/")
    wait_until_live(page)
    aside(say, job, "first")
    expect(lines(page)).to_have_text(["first"])
    aside(say_unheard, job, "second", "third")
    aside(say, job, "fourth")
    expect(lines(page)).to_have_text(["first", "second", "third", "fourth"])
    aside(say, job, *(f"{at} {'long ' * 400}" for at in range(30)))  # too long to be whispered
    expect(lines(page)).to_have_count(34)
    aside(say_unheard, job, "the last")
    aside(end, job, State.SUCCEEDED)
    expect(lines(page).last).to_have_text("the last")
    assert [
        int(n) for n in lines(page).evaluate_all("(all) => all.map((one) => one.dataset.n)")
    ] == [*range(1, 36)]


def test_of_a_hundred_thousand_lines_the_page_holds_few_and_shows_any(
    page_for: PageFor, aside: Aside
):
    page = page_for("alice")
    job = aside(by_hand, page.context.user)  # type: ignore[attr-defined]
    aside(say_unheard, job, *numbered(1, 60_000))
    page.goto(f"/jobs/{job}/")
    wait_until_live(page)
    expect(lines(page).last).to_have_text("line 60000")
    aside(say_unheard, job, *numbered(60_001, 99_999))
    aside(say, job, "line 100000")
    expect(lines(page).last).to_have_text("line 100000")
    assert lines(page).count() <= 2000
    log = page.locator(".log")
    for _ in range(8):
        first = int(lines(page).first.get_attribute("data-n") or 0)
        log.evaluate("(log) => { log.scrollTop = 0; }")
        expect(lines(page).first).not_to_have_attribute("data-n", str(first))
    shown = [int(n) for n in lines(page).evaluate_all("(all) => all.map((one) => one.dataset.n)")]
    assert shown == [*range(shown[0], shown[-1] + 1)]
    assert len(shown) <= 2000
    assert shown[0] <= 100_000 - 8 * 500
    page.locator("[data-slot=jump]").click()
    expect(lines(page).last).to_have_text("line 100000")
    assert is_at_end(page)


def test_what_was_missed_while_the_server_was_away_is_there_again(page_for: PageFor, aside: Aside):
    with live_server(static=True) as server:
        page = page_for("alice", server=server)
        listed = page.context.new_page()
        job = aside(by_hand, page.context.user)  # type: ignore[attr-defined]
        page.goto(f"/jobs/{job}/")
        listed.goto("/jobs/")
        for each in (page, listed):
            wait_until_live(each)
        server.streams.kill()
        aside(move, job, 70, 100, "unheard")
        aside(say_unheard, job, "while nobody listened")
        server.streams.start()
        expect(page.locator("[data-slot=figures]")).to_have_text("70 of 100 · 70 %", timeout=40_000)
        expect(page.locator("[data-slot=note]")).to_have_text("unheard")
        expect(lines(page)).to_have_text(["while nobody listened"])
        expect(listed.locator(".job")).to_contain_text("70 %", timeout=40_000)
        aside(end, job, State.SUCCEEDED, summary="All done")
        expect(state(page)).to_have_text("Succeeded")
        expect(listed.locator(".job .state")).to_have_text("Succeeded")


def test_a_running_job_that_nothing_is_heard_of_is_asked_for(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    job = aside(by_hand, page.context.user)  # type: ignore[attr-defined]
    page.goto(f"/jobs/{job}/")
    wait_until_live(page)
    page.clock.install()
    aside(store, job, 33)
    aside(say_unheard, job, "not whispered")
    page.clock.run_for(12_000)
    expect(page.locator("[data-slot=figures]")).to_have_text("33 of 100 · 33 %")
    expect(lines(page)).to_have_text(["not whispered"])


def store(job_id: str, done: int) -> None:
    Job.objects.filter(pk=job_id).update(done=done, total=100)


def test_a_job_page_goes_on_in_a_new_log(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    job = aside(by_hand, page.context.user)  # type: ignore[attr-defined]
    page.goto(f"/jobs/{job}/")
    wait_until_live(page)
    aside(new_epoch)
    aside(end, job, State.FAILED, error="after the restore")
    expect(state(page)).to_have_text("Failed", timeout=15_000)
    expect(page.locator("[data-slot=error-last]")).to_have_text("after the restore")


def test_the_list_lives(page_for: PageFor, aside: Aside):
    page, running = page_for("alice"), None
    user = page.context.user  # type: ignore[attr-defined]
    page.goto("/jobs/")
    running = page.context.new_page()
    running.goto("/jobs/?state=started")
    for each in (page, running):
        wait_until_live(each)
    expect(page.get_by_text("No jobs yet")).to_be_visible()
    first = aside(by_hand, user, "First")
    second = aside(by_hand, user, "Second")
    for each in (page, running):
        expect(each.locator(".job-title")).to_have_text(["Second", "First"])
    aside(move, first, 25)
    row = page.locator(f".job[data-id='{first}']")
    expect(row).to_contain_text("25 %")
    aside(end, first, State.FAILED, error="x")
    expect(row.locator(".state")).to_have_text("Failed")
    expect(row.locator("progress")).to_be_hidden()
    expect(running.locator(".job-title")).to_have_text(["Second"])
    aside(end, second, State.SUCCEEDED)
    expect(running.get_by_text("No such jobs")).to_be_visible()
    page.get_by_label("State").select_option("failed")
    expect(page).to_have_url(re.compile("state=failed"))
    expect(page.locator(".job-title")).to_have_text(["First"])


def test_superusers_watch_everybodys_jobs(page_for: PageFor, aside: Aside):
    page = page_for(aside(newcomer, "admin", is_superuser=True))
    bob = aside(newcomer, "bob")
    page.goto("/jobs/")
    wait_until_live(page)
    job = aside(by_hand, bob, "Of bob")
    row = page.locator(f".job[data-id='{job}']")
    expect(row).to_contain_text("Of bob")
    aside(move, job, 55)
    expect(row).to_contain_text("55 %")
    aside(end, job, State.SUCCEEDED)
    expect(row.locator(".state")).to_have_text("Succeeded")


def test_a_title_from_outside_is_text_on_every_live_page(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    page.goto("/jobs/")
    wait_until_live(page)
    nasty = "<img src=x onerror=alert(1)>"
    job = aside(by_hand, page.context.user, nasty)  # type: ignore[attr-defined]
    expect(page.locator(".job-title").first).to_have_text(nasty)
    page.goto(f"/jobs/{job}/")
    wait_until_live(page)
    aside(say, job, nasty)
    aside(move, job, 1, 2, nasty)
    expect(lines(page)).to_have_text([nasty])
    aside(end, job, State.FAILED, error=nasty, summary=nasty)
    expect(page.locator("[data-slot=error-last]")).to_have_text(nasty)
    assert page.locator("main img").count() == 0


def test_that_nobody_takes_jobs_is_said_and_unsaid(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    page.goto("/jobs/")
    wait_until_live(page)
    banner = page.get_by_text("No worker takes jobs at the moment")
    expect(banner).to_be_hidden()
    away = {"since": "2026-01-01T00:00:00Z"}
    aside(publish, topics.DASHBOARD, "hub.workers_away", away)
    expect(banner).to_be_visible()
    assert violations(page) == []
    aside(publish, topics.DASHBOARD, "hub.workers_back", {})
    expect(banner).to_be_hidden()


def test_a_double_click_starts_one_job(page_for: PageFor, aside: Aside, worked: LiveServer):
    page = page_for("alice", server=worked)
    page.goto(START)
    page.get_by_label("Shelves").fill("2")
    page.get_by_role("button", name="Start").dblclick()
    expect(page).to_have_url(re.compile(r"/jobs/[0-9a-f-]{36}/$"))
    assert aside(count, page.context.user) == 1  # type: ignore[attr-defined]


def count(user: Any) -> int:
    return Job.objects.filter(owner=user).count()


def test_jobs_work_without_javascript(context_for: Any, aside: Aside, worked: LiveServer):
    a_job = re.compile(r"/jobs/[0-9a-f-]{36}/$")
    context = context_for("alice", server=worked, java_script_enabled=False)
    page = context.new_page()
    page.goto("/jobs/")
    page.get_by_text("Start a job").click()
    page.get_by_role("link", name="Stocktake").click()
    page.get_by_label("Shelves").fill("5000")
    page.get_by_label("Seconds each").fill("0.05")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("link", name="Cancel the job").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page).to_have_url(a_job)  # to go on earlier would take the form back
    for _ in range(60):
        page.reload()
        if state(page).inner_text() == "Cancelled":
            break
        page.wait_for_timeout(500)
    expect(state(page)).to_have_text("Cancelled")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".attempt")).to_have_count(2)
    page.get_by_role("link", name="Cancel the job").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page).to_have_url(a_job)  # to go on earlier would take the form back
    page.goto("/jobs/")
    page.get_by_label("State").select_option("succeeded")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No such jobs")).to_be_visible()


def test_jobs_are_a_chord_away(page_for: PageFor):
    page = page_for("alice")
    page.goto("/settings/")
    wait_until_live(page)
    page.keyboard.press("KeyG")
    page.keyboard.press("KeyJ")
    expect(page).to_have_url(re.compile("/jobs/$"))


def a_busy_day(user: Any) -> dict[str, str]:
    made = {"running": by_hand(user, "Import of " + "everything and more " * 8)}
    move(made["running"], 40, 100, "row 40")
    say(made["running"], *numbered(1, 60))
    made["endless"] = by_hand(user, "Without a total")
    for name in ("failed", "lost", "succeeded", "cancelled"):
        made[name] = by_hand(user, f"A job that {name}", "tests.shop.tasks.stocktake")
        error = "Traceback\n  File x\nValueError: no" if name == "failed" else ""
        end(made[name], State(name), error=error, summary="Done" if name == "succeeded" else "")
    return made


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(page_for: PageFor, aside: Aside, worked: LiveServer, theme: str):
    page = page_for("alice", server=worked, color_scheme=theme)
    made = aside(a_busy_day, page.context.user)  # type: ignore[attr-defined]
    for address in ["/", "/wall/", "/jobs/", *(f"/jobs/{job}/" for job in made.values()), START]:
        page.goto(address)
        page.wait_for_timeout(200)
        assert violations(page) == [], address
    page.goto(f"/jobs/{made['running']}/")
    page.locator(".log").evaluate("(log) => log.scrollBy(0, -200)")
    page.get_by_role("link", name="Cancel the job").click()
    assert violations(page) == []
    page.goto(f"/jobs/{made['running']}/cancel/")
    assert violations(page) == []
    page.goto("/jobs/")
    page.get_by_text("Start a job").focus()
    page.keyboard.press("Enter")
    entry = page.get_by_role("link", name="Stocktake")
    expect(entry).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(entry).to_be_hidden()
    expect(page.locator(".menu summary")).to_be_focused()
