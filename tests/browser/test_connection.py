from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from events import log, topics
from tests.browser.conftest import ContextFor
from tests.live import Aside

KINDS = ["websocket", "sse", "long-poll", "poll"]
THREE_OR_MORE = re.compile(r"^([3-9]|\d\d+)$")  # a poll may bring two at once


def column(page: Page, kind: str, slot: str):
    return page.locator(f'[data-transport="{kind}"] [data-slot="{slot}"]')


def test_four_transports_are_measured_side_by_side_until_stopped(
    context_for: ContextFor, aside: Aside
):
    page = context_for("alice").new_page()
    page.goto("/connection/")
    page.get_by_role("button", name="Start").press("Enter")
    for kind in KINDS:
        expect(column(page, kind, "state")).to_have_text("Live")
    for kind in KINDS:
        expect(column(page, kind, "events")).to_have_text(THREE_OR_MORE, timeout=20_000)
        for figure in ("first", "p50", "p95"):
            assert column(page, kind, figure).inner_text().endswith("ms")
        assert column(page, kind, "bars").locator("i").count() >= 3
    requests = {kind: float(column(page, kind, "requests").inner_text()) for kind in KINDS}
    assert requests["websocket"] <= 0.5
    assert requests["sse"] <= 0.5
    assert requests["long-poll"] >= 0.9
    page.get_by_role("button", name="Stop").click()
    for kind in KINDS:
        expect(column(page, kind, "state")).to_have_text("Not started")
    mine = topics.user(page.context.user.pk)  # type: ignore[attr-defined]
    head = aside(log.heads, [mine])[mine]
    page.wait_for_timeout(1500)
    assert aside(log.heads, [mine])[mine] == head


def test_the_test_events_make_no_noise_on_other_pages(context_for: ContextFor):
    context = context_for("alice")
    comparing, other = context.new_page(), context.new_page()
    other.goto("/")
    comparing.goto("/connection/")
    comparing.get_by_role("button", name="Start").click()
    expect(column(comparing, "websocket", "events")).to_have_text("2", timeout=20_000)
    expect(other.locator(".toast")).to_have_count(0)
    assert other.locator("hub-bell .badge").is_hidden()


def test_it_says_so_when_a_transport_does_not_get_through(context_for: ContextFor):
    page = context_for("alice").new_page()
    page.route("**/events/stream*", lambda route: route.fulfill(status=502, body="no"))
    page.goto("/connection/")
    page.get_by_role("button", name="Start").click()
    expect(column(page, "sse", "state")).to_have_text("Does not get through; trying again")
    expect(column(page, "websocket", "state")).to_have_text("Live")


@pytest.mark.parametrize("language", ["en-US", "ko-KR"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_scrolls_sideways(context_for: ContextFor, language: str, width: int):
    context = context_for("alice", locale=language, viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto("/connection/")
    page.locator("hub-compare form button").click()
    expect(column(page, "poll", "state")).not_to_have_text("–")
    page.wait_for_timeout(1500)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
