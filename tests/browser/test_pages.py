from __future__ import annotations

import functools
import re
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db.models import QuerySet
from django.utils import timezone
from playwright.sync_api import Page, expect

from events import publish, topics
from notifications import announcements, inbox, notify
from notifications.models import Announcement
from tests.live import live_server, newcomer
from tests.people import PASSWORD
from tests.web.test_links import CASES

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
SIGNED_IN = [
    "/",
    "/wall/",
    "/inbox/",
    "/inbox/?state=unread",
    "/announcements/",
    "/jobs/",
    "/rooms/",
    "/rooms/new/",
    "/rooms/direct/",
    "/rooms/search/",
    "/rooms/search/?q=courier",
    "/settings/",
    "/connection/",
    "/accounts/password/change/",
    "/nothing-here/",
]
OPEN = ["/accounts/login/", "/accounts/password/reset/", "/accounts/password/reset/done/"]


def tell(user: Any, title: str, **more: Any) -> None:
    notify(to=user, kind="orders.late", title=title, **more)


def may_announce(user: Any) -> None:
    user.user_permissions.add(Permission.objects.get(codename="announce"))


def a_morning(user: Any) -> None:
    may_announce(user)
    for at, level in enumerate(["info", "success", "warning", "error"]):
        tell(user, f"Order {at}", level=level, body="It is late.", url="/orders/", actor=user)
        announcements.create(user, f"Notice {at}", body="Read me.", level=level)
    publish("group.dashboard", "orders.order.created", {"pk": 1, "title": "Order 1", "url": "/"})


def ids(user: Any) -> list[int]:
    return [item["id"] for item in inbox.page(user).items]


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        """async () => (await axe.run(document, { resultTypes: ['violations'] })).violations
             .flatMap(({ id, help, nodes }) => nodes.map(({ html, any }) =>
                `${id}: ${help}: ${html.slice(0, 200)} ${any[0]?.message ?? ''}`))"""
    )
    return list(found)


@functools.cache
def reader() -> Any:
    """Somebody with a full inbox, once for all tests that only look."""
    user = newcomer("alice")
    a_morning(user)
    return get_user_model().objects.get(pk=user.pk)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("address", SIGNED_IN)
def test_axe_finds_nothing(page_for, aside, address, theme):
    page = page_for(aside(reader), color_scheme=theme)
    page.goto(address)
    page.wait_for_timeout(200)
    assert violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_what_opens(page_for, aside, theme):
    page = page_for(aside(reader), color_scheme=theme)
    page.goto("/inbox/")
    page.locator(".inbox-link").first.click()
    page.keyboard.press("KeyX")
    assert violations(page) == []
    page.keyboard.press("Shift+Slash")
    assert violations(page) == []
    page.goto("/announcements/")
    page.locator(".compose summary").click()
    assert violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("address", OPEN)
def test_axe_finds_nothing_for_strangers(page_for, aside, address, theme):
    aside(one_administrator)
    page = page_for(None, color_scheme=theme)
    page.goto(address)
    assert violations(page) == []


@functools.cache
def one_administrator() -> None:
    """Without one, sign-in leads to the first-run page."""
    newcomer("admin", is_superuser=True, is_staff=True)


def test_signs_in_and_returns_to_the_page_that_was_asked_for(page_for, aside):
    aside(one_administrator)
    alice = aside(newcomer, "alice")
    page = page_for(None)
    page.goto("/inbox/?state=unread")
    page.get_by_label("Username").fill(alice.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/inbox/\?state=unread$"))


def test_the_bell_rings_on_every_page_and_in_every_tab_at_once(context_for, aside):
    context = context_for("alice")
    tabs = [context.new_page() for _ in range(3)]
    for tab, address in zip(tabs, ["/", "/announcements/", "/settings/"], strict=True):
        tab.goto(address)
        wait_until_live(tab)
    aside(tell, context.user, "Order 7 is late")
    for tab in tabs:
        expect(tab.locator("hub-bell .badge")).to_contain_text("1")
        expect(tab).to_have_title(re.compile(r"^\(1\) "))
        expect(tab.locator(".toast")).to_contain_text("Order 7 is late")
    expect(tabs[0].locator("hub-needs li")).to_contain_text("Order 7 is late")
    aside(inbox.mark_all, context.user, 2**60)
    for tab in tabs:
        expect(tab.locator("hub-bell .badge")).to_be_hidden()
        expect(tab).not_to_have_title(re.compile(r"^\("))
    expect(tabs[0].locator("hub-needs")).to_contain_text("Nothing needs you")


def test_text_from_outside_is_shown_as_text(page_for, aside):
    page = page_for("alice")
    page.goto("/")
    wait_until_live(page)
    nasty = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    aside(tell, page.context.user, nasty, body=nasty)
    aside(announcements.create, page.context.user, nasty, body=nasty)
    bad = {"title": nasty, "url": "javascript:alert(3)"}
    aside(publish, "group.dashboard", "orders.order.created", bad)
    expect(page.locator("hub-needs .need-title")).to_have_text(nasty)
    expect(page.locator("hub-announcements .post-title").first).to_have_text(nasty)
    row = page.locator("hub-activity li", has_text=nasty).filter(has_text="order created").first
    expect(row).to_be_visible()
    assert row.locator("a").get_attribute("href") is None
    assert page.locator("main img, main script:not([type])").count() == 0


def test_read_state_follows_from_tab_to_tab(context_for, aside):
    context = context_for("alice")
    for at in range(3):
        aside(tell, context.user, f"Order {at}")
    here, there = context.new_page(), context.new_page()
    for page in (here, there):
        page.goto("/inbox/")
        wait_until_live(page)
    here.get_by_role("link", name="Order 1").click()
    expect(here.locator(".note-title")).to_have_text("Order 1")
    expect(row(there, "Order 1")).not_to_have_attribute("data-unread", "")
    expect(there.locator("hub-bell .badge")).to_contain_text("2")
    here.get_by_role("button", name="Mark unread").click()
    expect(row(there, "Order 1")).to_have_attribute("data-unread", "")
    here.get_by_role("button", name="Mark all read").click()
    expect(there.locator(".inbox-row[data-unread]")).to_have_count(0)


def test_the_inbox_goes_by_keyboard_whatever_the_layout(page_for, aside):
    page = page_for("alice")
    for at in range(4):
        aside(tell, page.context.user, f"Order {at}")
    page.goto("/inbox/")
    wait_until_live(page)
    for _ in range(2):
        page.keyboard.press("KeyJ")
    expect(row(page, "Order 2")).to_have_attribute("data-chosen", "")
    expect(page.locator(".note-title")).to_have_text("Order 2")
    korean(page, "KeyE", "ㄷ")
    expect(row(page, "Order 2")).not_to_have_attribute("data-unread", "")
    page.keyboard.press("KeyU")
    expect(row(page, "Order 2")).to_have_attribute("data-unread", "")
    page.keyboard.press("KeyX")
    page.keyboard.press("KeyK")
    page.keyboard.press("KeyX")
    expect(page.locator(".inbox-selected")).to_contain_text("2 selected")
    page.keyboard.press("KeyE")
    expect(page.locator(".inbox-row[data-unread]")).to_have_count(2)
    page.keyboard.press("Shift+KeyI")
    expect(page.locator(".inbox-row[data-unread]")).to_have_count(0)
    page.keyboard.press("Shift+Slash")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("KeyG")
    page.keyboard.press("KeyA")
    expect(page).to_have_url(re.compile("/announcements/$"))


def test_shortcuts_rest_while_somebody_types_and_can_be_switched_off(page_for, aside):
    page = page_for("alice")
    page.goto("/settings/")
    page.get_by_label("Display name").focus()
    page.keyboard.press("KeyG")
    page.keyboard.press("KeyI")
    page.keyboard.press("Shift+Slash")
    expect(page).to_have_url(re.compile("/settings/$"))
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_label("Display name").fill("Alice")
    page.get_by_label("Keyboard shortcuts").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".notice-success")).to_be_visible()
    page.locator("h1").click()
    page.keyboard.press("Shift+Slash")
    page.keyboard.press("KeyG")
    page.keyboard.press("KeyI")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(re.compile("/settings/#you$"))


def test_an_announcement_is_written_changed_and_removed_under_the_eyes_of_another(
    context_for, aside
):
    alice, bob = context_for("alice"), context_for("bob")
    aside(may_announce, alice.user)
    writer, reader, wall = alice.new_page(), bob.new_page(), bob.new_page()
    writer.goto("/announcements/")
    reader.goto("/announcements/")
    wall.goto("/wall/")
    for page in (writer, reader, wall):
        wait_until_live(page)
    title = f"Closed on Friday {alice.user.pk}"
    writer.get_by_text("Write an announcement").click()
    writer.get_by_label("Title").fill(title)
    writer.get_by_role("button", name="Announce", exact=True).click()
    for page in (writer, reader, wall):
        expect(page.locator(".post-title", has_text=title)).to_have_count(1)
    expect(reader.get_by_role("link", name="Edit")).to_have_count(0)
    writer.locator(".post", has_text=title).get_by_role("link", name="Edit").click()
    writer.get_by_label("Title").fill(f"{title}, really")
    writer.get_by_role("button", name="Save").click()
    for page in (reader, wall):
        expect(page.locator(".post-title", has_text=f"{title}, really")).to_have_count(1)
        expect(page.locator(".post", has_text=title).get_by_text("edited")).to_be_visible()
    writer.locator(".post", has_text=title).get_by_role("link", name="Remove").click()
    writer.get_by_role("dialog").get_by_role("button", name="Remove").click()
    for page in (writer, reader, wall):
        expect(page.locator(".post-title", has_text=title)).to_have_count(0)


def test_the_edit_page_says_what_others_do_meanwhile_and_keeps_what_one_typed(page_for, aside):
    page = page_for("alice")
    aside(may_announce, page.context.user)
    item = aside(announcements.create, page.context.user, "As opened", body="First.")
    page.goto(f"/announcements/{item.pk}/edit/")
    wait_until_live(page)
    page.get_by_label("Title").fill("Mine")
    aside(announcements.edit, item, body="Theirs, see https://example.org/why")
    notice = page.get_by_text("Somebody changed this announcement")
    expect(notice).to_be_visible()
    expect(page.locator(".present").get_by_role("link")).to_have_text("https://example.org/why")
    assert violations(page) == []
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("yours is not saved yet")).to_be_visible()
    expect(page.get_by_label("Title")).to_have_value("Mine")
    aside(announcements.edit, item, body="Theirs again")
    expect(page.locator(".present")).to_contain_text("Theirs again")
    aside(announcements.delete, item)
    expect(page.get_by_text("This announcement was removed meanwhile")).to_be_visible()
    expect(page.get_by_role("button", name="Save")).to_be_hidden()
    page.get_by_role("button", name="Announce anew").click()
    expect(page).to_have_url(re.compile("/announcements/$"))
    expect(page.locator(".post-title", has_text="Mine").first).to_be_visible()


@pytest.mark.parametrize("is_created_first", [True, False])
@pytest.mark.parametrize("to_team", [True, False])
def test_an_announcement_that_moves_stays_on_the_page(
    context_for, aside, to_team, is_created_first
):
    """It is deleted on one topic and created on the other, and there is no order across topics."""
    alice = context_for("alice")
    aside(may_announce, alice.user)
    team = aside(team_of, alice.user)
    own, public = topics.team(team.pk), topics.ANNOUNCEMENTS
    old, new, target = (public, own, team) if to_team else (own, public, None)
    made = aside(
        announcements.create, alice.user, f"Moves {team.pk}", team=team if target is None else None
    )
    page, edit, dashboard = alice.new_page(), alice.new_page(), alice.new_page()
    for tab, address in (
        (page, "/announcements/"),
        (edit, f"/announcements/{made.pk}/edit/"),
        (dashboard, "/"),
    ):
        tab.goto(address)
        wait_until_live(tab)
    made.team, made.edited_at = target, timezone.now()
    quietly: QuerySet[Announcement] = QuerySet(Announcement).filter(
        pk=made.pk
    )  # what is told of it follows
    aside(quietly.update, team=made.team, edited_at=made.edited_at)
    happens = [
        (old, "announcement.deleted", {"id": made.pk}),
        (new, "announcement.created", aside(announcements.item, made)),
    ]
    for event in reversed(happens) if is_created_first else happens:
        aside(publish, *event)
    aside(announcements.create, alice.user, f"Afterwards {team.pk}", team=team)
    aside(announcements.create, alice.user, f"And to all {team.pk}")
    for tab in (page, dashboard):
        for title in ("Afterwards", "And to all", "Moves"):
            post = tab.locator(".post", has_text=f"{title} {team.pk}")
            expect(post).to_have_count(1)
        assert post.get_by_text(team.name).is_visible() is to_team
    expect(edit.get_by_text("Somebody changed this announcement")).to_be_visible()
    expect(edit.locator(".present [data-slot=team]")).to_have_text(
        team.name if to_team else "Everybody"
    )
    expect(edit.get_by_role("button", name="Save")).to_be_visible()


def test_a_superuser_sees_announcements_to_every_team_change(page_for, aside):
    team = aside(team_of, aside(newcomer, "bob"))
    made = aside(announcements.create, None, f"To {team.name}", team=team)
    page = page_for(aside(newcomer, "admin", is_superuser=True))
    page.goto("/announcements/")
    wait_until_live(page)
    aside(announcements.edit, made, body="As it is now")
    expect(page.locator(".post", has_text=f"To {team.name}")).to_contain_text("As it is now")


def team_of(user: Any) -> Group:
    team = Group.objects.create(name=f"Team of {user.pk}")
    user.groups.add(team)
    return team


def test_a_one_time_link_in_the_admin_is_copied_by_a_button(context_for, aside):
    context = context_for(
        aside(newcomer, "admin", is_superuser=True, is_staff=True),
        permissions=["clipboard-read", "clipboard-write"],
    )
    page = context.new_page()
    page.goto(f"/admin/auth/user/{aside(newcomer, 'bob').pk}/invitation/")
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("One-time link")
    width = link.bounding_box()["width"]
    assert width > 600
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == link.input_value()


def test_a_removed_announcement_leaves_the_activity_list(page_for, aside):
    page = page_for("alice")
    page.goto("/")
    wait_until_live(page)
    title = f"Taken back {page.context.user.pk}"
    early = aside(announcements.create, page.context.user, f"{title} early")
    rows = page.locator("hub-activity li", has_text=title)
    expect(rows).to_have_count(1)
    page.reload()
    wait_until_live(page)
    expect(rows).to_have_count(1)
    late = aside(announcements.create, page.context.user, f"{title} late")
    expect(rows).to_have_count(2)
    aside(announcements.delete, early)
    expect(rows).to_have_count(1)
    aside(announcements.delete, late)
    expect(rows).to_have_count(0)


def test_back_leads_to_the_notification_before(page_for, aside):
    page = page_for("alice")
    for at in range(3):
        aside(tell, page.context.user, f"Order {at}")
    page.goto("/inbox/")
    wait_until_live(page)
    title = page.locator(".note-title")
    for at in (2, 0, 1):
        page.locator(".inbox-link", has_text=f"Order {at}").click()
        expect(title).to_have_text(f"Order {at}")
    page.go_back()
    expect(title).to_have_text("Order 0")
    page.go_back()
    expect(title).to_have_text("Order 2")
    page.go_forward()
    expect(title).to_have_text("Order 0")
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator(".note-back").click()
    expect(page).to_have_url(re.compile("/inbox/$"))
    expect(page.locator(".inbox-list")).to_be_visible()


def test_the_browser_links_the_same_addresses_as_the_server(page_for):
    page = page_for("alice")
    page.goto("/inbox/")
    wait_until_live(page)
    module = page.locator("script[type=module]").get_attribute("src")
    for text, addresses in CASES:
        found = page.evaluate(
            """async ([text, module]) => {
                 const { setLinked } = await import(new URL('dom.js', new URL(module, location)));
                 const root = document.createElement('div');
                 root.innerHTML = '<p data-slot="body"></p>';
                 setLinked(root, 'body', text);
                 return [root.textContent, [...root.querySelectorAll('*')].slice(1)
                   .map((link) => [link.tagName, link.getAttribute('href')])];
               }""",
            [text, module],
        )
        assert found == [text, [["A", address] for address in addresses]]


def test_an_ended_session_leads_to_sign_in_and_back_to_the_same_place(context_for, aside):
    aside(one_administrator)
    context = context_for("alice")
    page = context.new_page()
    page.goto("/inbox/?state=unread")
    wait_until_live(page)
    aside(end_all, context.user)
    expect(page).to_have_url(re.compile("/accounts/login/"), timeout=20_000)
    page.get_by_label("Username").fill(context.user.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/inbox/\?state=unread$"))


def test_a_session_is_ended_from_another_one(context_for, aside):
    aside(one_administrator)
    here = context_for("alice")
    there = context_for(here.user)
    page, other = here.new_page(), there.new_page()
    other.goto("/")
    wait_until_live(other)
    page.goto("/settings/")
    page.get_by_role("button", name="End this session", exact=True).click()
    expect(page.locator(".notice-success")).to_be_visible()
    expect(other).to_have_url(re.compile("/accounts/login/"), timeout=20_000)


def test_a_key_is_shown_once(page_for):
    page = page_for("alice")
    page.goto("/settings/")
    page.get_by_text("Make an API key").click()
    page.get_by_label("What is it for?").fill("Backup")
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator(".secret-code").inner_text()
    assert len(secret) > 30
    page.goto("/settings/")
    assert secret not in page.content()
    page.get_by_role("button", name="Revoke Backup").click()
    expect(page.locator("#keys .line")).to_have_count(0)


def test_only_one_hidden_tab_shows_a_browser_notification(context_for, aside):
    context = context_for("alice", permissions=["notifications"])
    context.add_init_script(
        """globalThis.shown = [];
           globalThis.Notification = class extends EventTarget {
             static permission = 'granted';
             constructor(title) { super(); shown.push(title); }
             close() {}
           };
           globalThis.hide = () => {
             Object.defineProperty(document, 'hidden', { value: true });
             document.dispatchEvent(new Event('visibilitychange'));
           };"""
    )
    tabs = [context.new_page() for _ in range(3)]
    for tab in tabs:
        tab.goto("/settings/")
        wait_until_live(tab)
    aside(tell, context.user, "Seen")
    for tab in tabs:
        expect(tab.locator(".toast")).to_contain_text("Seen")
    assert [tab.evaluate("shown") for tab in tabs] == [[], [], []]
    for tab in tabs:
        tab.evaluate("hide()")
    aside(tell, context.user, "Not seen")
    for tab in tabs:
        expect(tab.locator(".toast", has_text="Not seen")).to_be_attached()
    tabs[0].wait_for_timeout(500)
    assert [title for tab in tabs for title in tab.evaluate("shown")] == ["Not seen"]


def test_lists_and_forms_work_without_javascript(context_for, aside):
    context = context_for("alice", java_script_enabled=False)
    aside(a_morning, context.user)
    page = context.new_page()
    page.goto("/inbox/?state=unread")
    page.get_by_role("link", name="Order 3").click()
    page.get_by_role("button", name="Mark read").click()
    expect(page.get_by_role("button", name="Mark unread")).to_be_visible()
    page.goto("/inbox/")
    page.get_by_role("button", name="Mark all read").click()
    expect(page.locator(".inbox-row[data-unread]")).to_have_count(0)
    page.goto("/announcements/")
    page.get_by_text("Write an announcement").click()
    title = f"Without script {context.user.pk}"
    page.get_by_label("Title").fill(title)
    page.get_by_role("button", name="Announce", exact=True).click()
    expect(page.locator(".post-title", has_text=title)).to_have_count(1)
    page.locator(".post", has_text=title).get_by_role("link", name="Remove").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.locator(".post-title", has_text=title)).to_have_count(0)


def test_a_lost_connection_is_said_quietly_and_nothing_is_missed(page_for, aside):
    with live_server(static=True) as server:
        page = page_for("alice", server=server)
        page.goto("/inbox/")
        wait_until_live(page)
        bar = page.locator("hub-connection")
        expect(bar).to_be_hidden()
        server.streams.kill()
        expect(bar).to_contain_text("Reconnecting… you’ll get what you missed")
        below = page.locator(".inbox-head").bounding_box()
        over = bar.bounding_box()
        assert below is not None
        assert over is not None
        assert over["y"] + over["height"] <= below["y"]
        aside(tell, page.context.user, "While nobody listened")
        server.streams.start()
        expect(row(page, "While nobody listened")).to_be_visible(timeout=40_000)
        expect(bar).to_be_hidden()


def test_the_page_shows_what_a_reset_brings(page_for, aside):
    """The newest of everything comes from the snapshot, whatever events were lost."""
    page = page_for("alice")
    page.goto("/inbox/")
    wait_until_live(page)
    aside(tell, page.context.user, "Before the restore")
    expect(row(page, "Before the restore")).to_be_visible()
    aside(new_epoch)
    aside(tell, page.context.user, "After the restore")
    expect(row(page, "After the restore")).to_be_visible(timeout=15_000)
    expect(row(page, "Before the restore")).to_be_visible()


def new_epoch() -> None:
    from django.core.management import call_command

    call_command("new_epoch", verbosity=0)


def end_all(user: Any) -> None:
    from accounts import access
    from accounts.models import SignIn

    for signin in SignIn.objects.filter(user=user):
        access.end(signin)


def row(page: Page, title: str) -> Any:
    return page.locator(".inbox-row", has=page.get_by_text(title, exact=True))


def korean(page: Page, code: str, letter: str) -> None:
    """What a Korean layout sends: the code of the key, another letter."""
    page.evaluate(
        """([code, key]) => document.activeElement.dispatchEvent(
             new KeyboardEvent('keydown', { code, key, bubbles: true, cancelable: true }))""",
        [code, letter],
    )


def wait_until_live(page: Page) -> None:
    page.wait_for_selector("html[data-link=live]", state="attached")


def until(page: Page, holds: str, arg: object = None, *, seconds: float = 30) -> None:
    """As `wait_for_function`, which the pages' CSP forbids as soon as it has to look a second time."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(holds, arg):
        assert time.monotonic() < deadline, holds
        page.wait_for_timeout(50)
