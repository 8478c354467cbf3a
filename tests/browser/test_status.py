from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_pages import until, violations
from tests.live import newcomer


def administrator():
    return newcomer("admin", is_superuser=True, is_staff=True)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(page_for, aside, theme):
    page = page_for(aside(administrator), color_scheme=theme)
    page.goto("/admin/hub/")
    expect(page.locator(".status-table tbody tr")).not_to_have_count(0)
    assert violations(page) == []


def test_figures_change_while_the_page_is_open(page_for, aside):
    page = page_for(aside(administrator))
    page.goto("/admin/hub/")
    page.evaluate("window.isTheSamePage = true")
    shown = page.locator("section[aria-labelledby=status-connections] .status-big")
    expect(shown).not_to_have_text("0", timeout=20_000)
    before = shown.text_content()
    other = page_for("bob")
    other.goto("/inbox/")
    expect(shown).not_to_have_text(before or "", timeout=20_000)
    assert page.evaluate("window.isTheSamePage")


def test_it_says_when_the_hub_does_not_answer_and_goes_on_when_it_does(page_for, aside):
    page = page_for(aside(administrator))
    page.goto("/admin/hub/")
    page.route("**/admin/hub/", lambda route: route.abort())
    expect(page.locator(".status-old")).to_be_visible(timeout=20_000)
    expect(page.locator(".status-old")).to_have_text(re.compile("does not answer"))
    page.unroute("**/admin/hub/")
    expect(page.locator(".status-fresh")).to_be_visible(timeout=20_000)


def test_the_keyboard_reaches_the_table(page_for, aside):
    page = page_for(aside(administrator), viewport={"width": 390, "height": 844})
    page.goto("/admin/hub/")
    page.locator(".status-scroll").focus()
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.status-scroll').scrollLeft > 0")
    page.wait_for_timeout(2500)  # drawn anew at least once
    assert page.evaluate("document.activeElement.className") == "status-scroll"
    assert page.evaluate("document.querySelector('.status-scroll').scrollLeft") > 0
