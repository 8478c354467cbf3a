"""What the live elements do at odd moments: another person's sign-in, a night's sleep, a flood of marks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import Permission
from playwright.sync_api import Page, expect

from notifications import announcements, inbox, notify, notifying
from tests.browser.test_pages import until, wait_until_live
from tests.live import Aside, cookies_of, newcomer

PageFor = Callable[..., Page]

# Stands in for the browser's own; `hide()` makes the tab one that nobody looks at.
NOTIFICATIONS = """
globalThis.shown = [];
globalThis.Notification = class extends EventTarget {
  static permission = 'granted';
  constructor(title) { super(); shown.push(title); }
  close() {}
};
globalThis.hide = () => {
  Object.defineProperty(document, 'hidden', { value: true });
  document.dispatchEvent(new Event('visibilitychange'));
};
"""


def tell(user: Any, title: str, **more: Any) -> None:
    notify(to=user, kind="orders.late", title=title, **more)


def may_announce(user: Any) -> None:
    user.user_permissions.add(Permission.objects.get(codename="announce"))


def read_all_one_by_one(user: Any) -> None:
    for item in inbox.page(user, limit=60).items:
        inbox.mark(user, item["id"], True)


def later(page: Page, minutes: int) -> None:
    """The browser's clock goes on: what was told a moment ago is old to it."""
    page.evaluate(
        "(ms) => { const now = Date.now; Date.now = () => now.call(Date) + ms; }", minutes * 60_000
    )


def test_a_page_does_not_go_on_as_the_person_who_signed_in_elsewhere(
    page_for: PageFor, aside: Aside
):
    page = page_for("alice")
    page.goto("/inbox/")
    wait_until_live(page)
    bob = aside(newcomer, "bob")
    aside(tell, bob, "For bob alone")
    base = page.evaluate("location.origin")
    cookies = aside(cookies_of, bob)
    page.context.add_cookies([{"name": n, "value": v, "url": base} for n, v in cookies.items()])
    page.evaluate(
        """() => { for (const name of ['pagehide', 'pageshow'])
             dispatchEvent(new PageTransitionEvent(name, { persisted: true })); }"""
    )
    expect(page.locator("body")).to_have_attribute("data-user", str(bob.pk))
    expect(page.locator(".inbox-row")).to_contain_text("For bob alone")
    wait_until_live(page)


def test_fifty_marks_cost_the_dashboard_few_requests(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    user = page.context.user  # type: ignore[attr-defined]
    for at in range(50):
        aside(tell, user, f"Order {at}")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/")
    wait_until_live(page)
    expect(page.locator("hub-needs li")).to_have_count(20)
    aside(read_all_one_by_one, user)
    expect(page.locator("hub-needs li")).to_have_count(0, timeout=15_000)
    refills = [url for url in asked if "/api/v1/dashboard" in url]
    assert len(refills) < 20, len(refills)


def test_pages_that_stay_open_do_not_grow_for_ever(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    user = page.context.user  # type: ignore[attr-defined]
    posts = page.context.new_page()
    aside(tell_often, user, 60)
    aside(announce_often, 30)
    page.goto("/inbox/")
    posts.goto("/announcements/")
    for each in (page, posts):
        wait_until_live(each)
    aside(tell_often, user, 70)
    aside(announce_often, 40)
    rows = page.locator(".inbox-days .inbox-row")
    expect(rows.first).to_contain_text("Told 69")
    expect(rows).to_have_count(100)
    oldest = aside(told_at, user, 100)
    expect(rows.last).to_have_attribute("data-id", str(oldest))
    page.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(130)
    aside(tell, user, "The last one")
    expect(rows.first).to_contain_text("The last one")
    expect(rows).to_have_count(130)
    shown = posts.locator(".post")
    expect(shown.first).to_contain_text("Said 39")
    expect(shown).to_have_count(60)
    last = int(shown.last.get_attribute("data-id") or 0)
    posts.get_by_role("link", name="Older").click()
    expect(shown.first).not_to_have_attribute("data-id", str(last))
    assert int(shown.first.get_attribute("data-id") or 0) < last


def tell_often(user: Any, count: int) -> None:
    drafts = [notifying.draft(kind="orders.late", title=f"Told {at}") for at in range(count)]
    notifying.deliver((draft, user) for draft in drafts)


def told_at(user: Any, place: int) -> int:
    """The id of the newest, the second newest, … notification."""
    return inbox.page(user, limit=place).notifications[-1].pk


def announce_often(count: int) -> None:
    for at in range(count):
        announcements.create(None, f"Said {at}")


def test_after_a_night_one_notification_says_how_many_came(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    page.add_init_script(NOTIFICATIONS)
    page.goto("/settings/")
    wait_until_live(page)
    page.evaluate("hide()")
    user = page.context.user  # type: ignore[attr-defined]
    aside(tell, user, "Fresh")
    until(page, "shown.length === 1")
    later(page, 10)
    for at in range(5):
        aside(tell, user, f"Of the night {at}")
    until(page, "shown.length === 2")
    page.wait_for_timeout(500)
    assert page.evaluate("shown") == ["Fresh", "5 new notifications"]


def test_a_browser_that_only_has_the_name_is_told_apart(page_for: PageFor, aside: Aside):
    page = page_for("alice", permissions=["notifications"])
    page.add_init_script(
        NOTIFICATIONS.replace("super();", "super(); throw new TypeError('Illegal constructor');")
    )
    page.goto("/settings/")
    wait_until_live(page)
    expect(page.locator("[data-when=on]")).to_be_visible()
    page.evaluate("hide()")
    aside(tell, page.context.user, "Not seen")  # type: ignore[attr-defined]
    until(page, "localStorage['hub.browser-notifications'] === 'unsupported'")
    page.reload()
    expect(page.locator("[data-when=unsupported]")).to_be_visible()
    expect(page.locator("[data-when=on]")).to_be_hidden()


def test_errors_stay_until_closed_and_the_focus_goes_back(page_for: PageFor):
    page = page_for("alice")
    page.goto("/settings/")
    wait_until_live(page)
    page.clock.install()
    link = page.locator(".rail-link").first
    link.focus()
    for text in ("First", "Second", "Second"):
        page.evaluate("(text) => document.querySelector('hub-toasts').error(text)", text)
    page.clock.run_for(60_000)
    toasts = page.locator(".toast")
    expect(toasts).to_have_count(2)
    toasts.first.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(toasts).to_have_count(1)
    expect(toasts.get_by_role("button")).to_be_focused()
    page.keyboard.press("Enter")
    expect(toasts).to_have_count(0)
    expect(link).to_be_focused()


def test_a_toast_waits_for_whoever_is_in_it(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    page.goto("/settings/")
    wait_until_live(page)
    page.clock.install()
    aside(tell, page.context.user, "Late")  # type: ignore[attr-defined]
    toast = page.locator(".toast")
    toast.get_by_role("button").focus()
    toast.hover()
    page.mouse.move(1, 1)
    page.clock.run_for(30_000)
    expect(toast).to_have_count(1)
    page.locator(".rail-link").first.focus()
    page.clock.run_for(10_000)
    expect(toast).to_have_count(0)


def test_the_list_of_keys_opens_over_no_other_dialog(page_for: PageFor):
    page = page_for("alice")
    page.goto("/settings/")
    wait_until_live(page)
    keys = page.locator("dialog.keys")
    page.keyboard.press("Shift+Slash")
    expect(keys).to_be_visible()
    page.keyboard.press("Shift+Slash")
    expect(keys).to_be_hidden()
    page.evaluate("() => document.body.appendChild(document.createElement('dialog')).showModal()")
    page.keyboard.press("Shift+Slash")
    expect(keys).to_be_hidden()


def test_a_korean_reader_is_refused_in_korean(page_for: PageFor):
    page = page_for("alice", locale="ko-KR")
    page.route(
        re.compile("/api/v1/inbox/"),
        lambda route: route.fulfill(
            status=429,
            json={"error": {"code": "too_many_requests", "detail": "Too many at once."}},
        ),
    )
    page.goto("/inbox/")
    wait_until_live(page)
    module = page.locator("script[type=module]").get_attribute("src")
    said = page.evaluate(
        """async (module) => {
             const { send } = await import(new URL('api.js', new URL(module, location)));
             return send('POST', '/inbox/read', { up_to: 1 }).catch((error) => error.message);
           }""",
        module,
    )
    assert said.startswith("한꺼번에 요청이 너무 많았어요")


def test_the_title_follows_what_is_open(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    aside(tell, page.context.user, "Order 7")  # type: ignore[attr-defined]
    page.goto("/inbox/")
    wait_until_live(page)
    expect(page).to_have_title("(1) Inbox · Hub")
    page.locator(".inbox-link").click()
    expect(page).to_have_title("Order 7 · Hub")
    page.go_back()
    expect(page).to_have_title("Inbox · Hub")


def test_a_draft_is_nobody_elses(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    aside(may_announce, page.context.user)  # type: ignore[attr-defined]
    page.goto("/announcements/")
    wait_until_live(page)
    page.locator(".compose summary").click()
    page.locator(".compose [name=title]").fill("Not yet said")
    page.reload()
    expect(page.locator(".compose [name=title]")).to_have_value("Not yet said")
    bob = aside(newcomer, "bob")
    aside(may_announce, bob)
    base = page.evaluate("location.origin")
    cookies = aside(cookies_of, bob)
    page.context.add_cookies([{"name": n, "value": v, "url": base} for n, v in cookies.items()])
    page.reload()
    wait_until_live(page)
    expect(page.locator(".compose [name=title]")).to_have_value("")


def test_a_second_click_on_copy_gives_the_button_its_word_back(page_for: PageFor):
    page = page_for("alice", permissions=["clipboard-read", "clipboard-write"])
    page.goto("/settings/")
    page.get_by_text("Make an API key").click()
    page.get_by_label("What is it for?").fill("Backup")
    page.get_by_role("button", name="Make the key").click()
    wait_until_live(page)
    word = page.locator('hub-copy [data-slot="word"]')
    before = word.inner_text()
    button = page.locator("hub-copy button")
    button.click()
    expect(word).not_to_have_text(before)
    button.click()
    page.wait_for_timeout(2500)
    expect(word).to_have_text(before)
