"""What is new in rooms, on every page of two people: the rail, the list, the title, toasts; and the pages about rooms."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable
from string import ascii_letters
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Locator, Page, ViewportSize, expect

from chat import marks, messages, rooms
from chat.models import Involvement, Membership, Room
from tests.browser.test_news import NOTIFICATIONS
from tests.browser.test_pages import korean, new_epoch, until, violations, wait_until_live
from tests.live import Aside, newcomer
from web.rooms import TO_JOIN

PageFor = Callable[..., Page]
SLOW = 20_000  # ms: a machine that does much else


def say(user: Any, room: Room, body: str = "Hello") -> int:
    return messages.post(user, room.pk, uuid.uuid4(), body)[0].pk


def make(owner: Any, name: str, members: Any = (), kind: str = "closed") -> Room:
    return rooms.create(owner, kind, f"{name} {uuid.uuid4().hex[:6]}", "", list(members))


def direct(user: Any, other: Any) -> Room:
    return rooms.direct(user, [other])[0]


def user_of(page: Page) -> Any:
    return page.context.user  # type: ignore[attr-defined]


def enter(page: Page, address: str) -> Page:
    page.goto(address)
    wait_until_live(page)
    return page


def badge(page: Page) -> Locator:
    return page.locator("hub-rooms-count .badge")


def in_rail(page: Page, room: Room) -> Locator:
    return page.locator(f".rail-rooms [data-id='{room.pk}']")


def row(page: Page, room: Room) -> Locator:
    return page.locator(f"[data-slot=my-rooms] [data-id='{room.pk}']")


def to_join(page: Page, room: Room) -> Locator:
    return page.locator(f"[data-slot=open-rooms] [data-id='{room.pk}']")


def counted(user: Any) -> tuple[int, int]:
    found = rooms.totals(user)
    return found["unread"], found["mentions"]


def shown(page: Page) -> tuple[int, int]:
    """As the store of the page has it: unread and mentions of all rooms that are not muted."""
    found: list[int] = page.evaluate(
        """async () => {
             const loaded = performance.getEntriesByType('resource').map(({ name }) => name);
             const { roomsWithNews } = await import(loaded.find((name) => /\\/rooms\\b[^/]*js$/.test(name)));
             const sum = (what) => roomsWithNews().reduce((all, { count }) => all + count[what], 0);
             return [sum('unread'), sum('mentions')];
           }"""
    )
    return found[0], found[1]


@pytest.fixture
def bob(aside: Aside) -> Any:
    return aside(newcomer, "bob")


def test_an_invitation_shows_at_once_and_a_removal_too(page_for: PageFor, aside: Aside, bob):
    page = enter(page_for("alice"), "/rooms/")
    elsewhere = enter(page.context.new_page(), "/settings/")
    expect(page.get_by_text("You are in no room yet")).to_be_visible()
    room = aside(make, bob, "Night shift")
    aside(say, bob, room, "Before she came")
    aside(rooms.invite, room, [user_of(page)], bob)
    expect(row(page, room)).to_contain_text(room.name)
    expect(page.get_by_text("You are in no room yet")).to_be_hidden()
    expect(badge(page)).to_be_hidden()
    aside(say, bob, room, "Welcome")
    for tab in (page, elsewhere):
        expect(badge(tab)).to_contain_text("1")
        expect(in_rail(tab, room)).to_contain_text(room.name)
    expect(row(page, room).locator("[data-slot=news]")).to_contain_text("1")
    aside(rooms.remove, room, user_of(page), bob)
    expect(row(page, room)).to_have_count(0)
    for tab in (page, elsewhere):
        expect(in_rail(tab, room)).to_have_count(0)
        expect(badge(tab)).to_be_hidden()
    aside(say, bob, room, "Behind her back")
    page.wait_for_timeout(500)
    expect(badge(page)).to_be_hidden()


def test_what_is_unread_rises_and_is_read_in_all_tabs(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    room = aside(make, bob, "Prices", [user_of(page)])
    enter(page, "/rooms/")
    other = enter(page.context.new_page(), "/inbox/")
    for body in ("one", "two", "for @" + user_of(page).username):
        aside(say, bob, room, body)
    for tab in (page, other):
        expect(badge(tab)).to_have_text(re.compile("^3"))
        expect(badge(tab)).not_to_have_class(re.compile("badge-quiet"))
        expect(tab.locator("hub-rooms-count .rooms-at")).to_be_visible()
    expect(row(page, room)).to_have_attribute("data-unread", "")
    expect(page).to_have_title(re.compile(r"^\(1\) "))  # the mention, which is in the inbox
    row(page, room).get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"/rooms/{room.pk}/$"))
    expect(badge(page)).to_be_hidden(timeout=SLOW)
    expect(badge(other)).to_be_hidden()
    expect(in_rail(other, room)).to_have_count(0)
    expect(other).not_to_have_title(re.compile(r"^\("))


def test_a_room_that_one_looks_at_has_no_news(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    room = aside(direct, bob, user_of(page))
    enter(page, f"/rooms/{room.pk}/")
    aside(say, bob, room, "I am here")
    expect(page.get_by_text("I am here").first).to_be_visible()
    expect(badge(page)).to_be_hidden()
    expect(page.locator(".toast")).to_have_count(0)
    expect(page).not_to_have_title(re.compile(r"^\("))


def test_news_order_the_list(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    first, second = (aside(make, bob, name, [user_of(page)]) for name in ("First", "Second"))
    enter(page, "/rooms/")
    titles = page.locator("[data-slot=my-rooms] [data-slot=title]")
    expect(titles).to_have_text([second.name, first.name])
    row(page, second).get_by_role("link").focus()
    aside(say, bob, first)
    expect(titles).to_have_text([first.name, second.name])
    expect(row(page, second).get_by_role("link")).to_be_focused()
    aside(rooms.edit, first, bob, name="Renamed", topic_line="About this")
    expect(row(page, first)).to_contain_text("Renamed")
    expect(row(page, first)).to_contain_text("About this")
    aside(rooms.edit, first, bob, archived=True)
    expect(row(page, first).get_by_text("Archived")).to_be_visible()


def test_a_muted_room_is_silent_everywhere_in_every_tab(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    room = aside(make, bob, "Loud", [user_of(page)])
    aside(rooms.involve, room, user_of(page), Involvement.EVERYTHING)
    enter(page, "/rooms/")
    other = enter(page.context.new_page(), f"/rooms/{room.pk}/settings/")
    aside(say, bob, room, "Heard")
    expect(page.locator(".toast")).to_contain_text("Heard")
    expect(badge(page)).to_contain_text("1")
    other.get_by_label("Nothing").check()
    other.locator("#you").get_by_role("button", name="Save").click()
    expect(other.locator(".notice-success")).to_be_visible()
    expect(row(page, room).get_by_title("Muted")).to_be_visible()
    expect(badge(page)).to_be_hidden()
    expect(row(page, room).locator("[data-slot=news]")).to_be_hidden()
    before = page.locator(".toast").count()
    aside(say, bob, room, "Not heard, @" + user_of(page).username)
    page.wait_for_timeout(700)
    expect(badge(page)).to_be_hidden()
    expect(in_rail(page, room)).to_have_count(0)
    assert page.locator(".toast").count() <= before
    expect(page).not_to_have_title(re.compile(r"^\("))
    aside(rooms.involve, room, user_of(page), Involvement.MENTIONS)
    expect(badge(page)).to_contain_text("2")


def test_a_direct_message_is_told_of_once_with_who_says_what(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    room = aside(direct, bob, user_of(page))
    enter(page, "/settings/")
    aside(say, bob, room, "Are you there?")
    toast = page.locator(".toast")
    expect(toast.get_by_role("link")).to_have_text("Bob")
    expect(toast).to_contain_text("Are you there?")
    expect(page).to_have_title(re.compile(r"^\(1\) "))
    aside(say, bob, room, "<b>Hello?</b>")
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text("2 new messages in")
    expect(toast).to_contain_text("<b>Hello?</b>")
    aside(marks.read_messages, user_of(page), room.pk, 2**60)
    expect(toast).to_have_count(0)
    expect(page).not_to_have_title(re.compile(r"^\("))
    aside(say, bob, room, "@" + user_of(page).username)
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text("mentioned you")


def test_only_a_hidden_tab_shows_a_message_of_the_browsers(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    page.add_init_script(NOTIFICATIONS)
    room, quiet = aside(direct, bob, user_of(page)), aside(make, bob, "Q", [user_of(page)])
    enter(page, f"/rooms/{room.pk}/")
    aside(say, bob, room, "Seen")
    expect(page.get_by_text("Seen").first).to_be_visible()
    page.evaluate("hide()")
    aside(say, bob, quiet, "Nobody is told of this")
    aside(say, bob, room, "Not seen")
    until(page, "shown.length === 1")
    page.wait_for_timeout(300)
    assert page.evaluate("shown") == ["Bob"]


def test_counts_are_what_a_recount_says_whatever_happens(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    alice = user_of(page)
    here, there = (aside(make, bob, name, [alice]) for name in ("Here", "There"))
    early = [aside(say, bob, here, f"@{alice.username} {at}") for at in range(3)]
    enter(page, "/settings/")
    assert shown(page) == (3, 3)
    late = [aside(say, bob, there, f"line {at}") for at in range(4)]
    aside(messages.edit, bob, there.pk, late[1], f"for @{alice.username}")
    aside(messages.delete, bob, there.pk, late[0])
    aside(messages.delete, bob, here.pk, early[2])
    aside(messages.edit, bob, here.pk, early[1], "for nobody")
    aside(marks.read_messages, alice, here.pk, early[0])
    aside(say, alice, here, "Mine")
    for _ in range(100):
        if shown(page) == aside(counted, alice):
            break
        page.wait_for_timeout(200)
    assert shown(page) == aside(counted, alice) == (4, 1)


def test_after_a_reset_the_rooms_are_asked_for_anew(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    room = aside(make, bob, "Prices", [user_of(page)])
    enter(page, "/rooms/")
    aside(say, bob, room, "Before")
    expect(badge(page)).to_contain_text("1")
    aside(new_epoch)
    aside(say, bob, room, "After")
    added = aside(make, bob, "Added", [user_of(page)])
    expect(badge(page)).to_contain_text("2", timeout=SLOW)
    expect(row(page, added)).to_be_visible(timeout=SLOW)


def test_open_rooms_come_to_be_joined_and_go_when_they_are(page_for: PageFor, aside: Aside, bob):
    page = enter(page_for("alice"), "/rooms/")
    room = aside(make, bob, "Lobby", (), "open")
    expect(to_join(page, room)).to_be_visible(timeout=SLOW)
    join = to_join(page, room).get_by_role("button", name=f"Join {room.name}")
    join.click()
    expect(page).to_have_url(re.compile(f"/rooms/{room.pk}/$"))
    enter(page, "/rooms/")
    expect(row(page, room)).to_be_visible()
    expect(to_join(page, room)).to_have_count(0)
    aside(rooms.remove, room, user_of(page), user_of(page))
    expect(to_join(page, room)).to_be_visible(timeout=SLOW)


def test_the_list_goes_by_keyboard(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    first, second = (aside(make, bob, name, [user_of(page)]) for name in ("First", "Second"))
    enter(page, "/settings/")
    korean(page, "KeyG", "ㅎ")
    korean(page, "KeyR", "ㄱ")
    expect(page).to_have_url(re.compile("/rooms/$"))
    wait_until_live(page)
    page.keyboard.press("KeyJ")
    expect(row(page, second).get_by_role("link")).to_be_focused()
    page.keyboard.press("KeyJ")
    expect(row(page, first).get_by_role("link")).to_be_focused()
    page.keyboard.press("KeyK")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/rooms/{second.pk}/$"))


def test_the_filter_narrows_the_list_as_one_types(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    prices, lunch = (aside(make, bob, name, [user_of(page)]) for name in ("Prices", "Lunch"))
    enter(page, "/rooms/")
    field = page.get_by_placeholder("Filter rooms")
    field.fill("LUNCH")
    expect(row(page, prices)).to_be_hidden()
    expect(row(page, lunch)).to_be_visible()
    field.fill("nothing like it")
    expect(page.get_by_text("No room is called that")).to_be_visible()
    field.fill(lunch.name)
    field.press("Enter")
    expect(page).to_have_url(re.compile(f"/rooms/{lunch.pk}/$"))


def lobbies(owner: Any) -> list[Room]:
    return [make(owner, f"Lobby-{at}-", (), "open") for at in range(TO_JOIN + 1)]


def test_the_filter_finds_open_rooms_beyond_those_of_the_page(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    oldest, *_others = aside(lobbies, bob)
    enter(page, "/rooms/")
    expect(to_join(page, oldest)).to_have_count(0)
    page.get_by_placeholder("Filter rooms").fill(oldest.name)
    expect(to_join(page, oldest)).to_be_visible()
    expect(page.get_by_role("link", name="More rooms")).to_have_count(0)
    page.get_by_placeholder("Filter rooms").fill("")
    page.get_by_role("link", name="More rooms").click()
    expect(to_join(page, oldest)).to_be_visible()


def test_a_room_is_made_with_people_chosen_by_keyboard(page_for: PageFor, aside: Aside, bob):
    charlie = aside(newcomer, "charlie")
    page = enter(page_for("alice"), "/rooms/new/")
    page.get_by_label("Name").fill("Night shift")
    page.get_by_text("Closed", exact=True).click()
    people = page.get_by_role("combobox", name="People to invite")
    for user, name in ((bob, "Bob"), (charlie, "Charlie")):
        people.press_sequentially(user.username)
        expect(page.get_by_role("option")).to_have_count(1)
        expect(people).to_have_attribute("aria-expanded", "true")
        people.press("ArrowDown")
        people.press("Enter")
        expect(page.locator(".chip", has_text=name)).to_be_visible()
    people.press("Backspace")
    expect(page.locator(".chip")).to_have_count(1)
    people.press_sequentially(charlie.username)
    page.get_by_role("option").click()
    assert violations(page) == []
    page.get_by_role("button", name="Make the room").click()
    expect(page).to_have_url(re.compile(r"/rooms/\d+/$"))
    expect(page.locator("h1")).to_have_text("Night shift")
    expect(page.locator("hub-room-people")).to_contain_text("Bob")
    expect(page.locator("hub-room-people")).to_contain_text("Charlie")


def test_enter_does_not_send_the_form_while_a_korean_name_is_composed(page_for: PageFor):
    page = enter(page_for("alice"), "/rooms/direct/")
    people = page.get_by_role("combobox")
    people.fill("김")
    for sign in ({"isComposing": True}, {"keyCode": 229}):
        people.evaluate(
            """(field, sign) => field.dispatchEvent(new KeyboardEvent('keydown',
                 { key: 'Enter', bubbles: true, cancelable: true, ...sign }))""",
            sign,
        )
    expect(page.locator(".chip")).to_have_count(0)
    expect(page).to_have_url(re.compile("/rooms/direct/$"))


def test_a_mistake_keeps_whom_one_chose(page_for: PageFor, bob):
    page = enter(page_for("alice"), "/rooms/direct/")
    people = page.get_by_role("combobox")
    people.press_sequentially(bob.username)
    page.get_by_role("option").click()
    people.press_sequentially("nemo")
    page.get_by_role("button", name="Go to the room").click()
    expect(page.get_by_text("Nobody here is called nemo.")).to_be_visible()
    expect(page.locator(".chip")).to_contain_text("Bob")
    expect(page.get_by_role("combobox")).to_have_value("nemo")
    page.get_by_role("combobox").fill("")
    page.get_by_role("button", name="Go to the room").click()
    expect(page).to_have_url(re.compile(r"/rooms/\d+/$"))


def test_the_owner_settles_who_is_in_and_others_see_it(page_for: PageFor, aside: Aside, bob):
    page, other = page_for("alice"), page_for(bob)
    room = aside(make, user_of(page), "Prices", [bob])
    charlie = aside(newcomer, "charlie")
    enter(page, f"/rooms/{room.pk}/settings/")
    enter(other, f"/rooms/{room.pk}/settings/")
    page.get_by_role("combobox", name="Invite people").press_sequentially(charlie.username)
    page.locator(".picker-list li").click()
    page.get_by_role("button", name="Invite", exact=True).click()
    expect(page.get_by_text("1 person invited.")).to_be_visible()
    for tab in (page, other):
        expect(tab.locator(".people-lines .line")).to_have_count(3)
    page.get_by_role("textbox", name="Name").fill("Costs")
    page.get_by_role("button", name="Save").last.click()
    expect(other.locator("h1")).to_have_text("Costs")
    page.get_by_text("Hand the room over").click()
    page.get_by_label("Who should own it?").select_option(str(bob.pk))
    page.get_by_role("button", name="Hand it over").click()
    expect(page.get_by_text("The room is handed over.")).to_be_visible()
    expect(page.get_by_role("button", name="Archive the room")).to_have_count(0)
    expect(other.get_by_role("button", name="Archive the room")).to_be_visible()
    other.get_by_role("button", name="Remove Alice").click()
    expect(page.get_by_text("You can no longer read this room.")).to_be_visible(timeout=SLOW)


def crowd(room: Room, count: int) -> None:
    names = ["".join(secrets.choice(ascii_letters) for _ in range(20)) for _ in range(count)]
    people = User.objects.bulk_create(
        User(username=name, first_name="Kim", last_name=f"{n:03}") for n, name in enumerate(names)
    )
    Membership.objects.bulk_create(Membership(room=room, user=one) for one in people)


@pytest.mark.parametrize("size", [{"width": 1280, "height": 800}, {"width": 390, "height": 844}])
def test_one_of_five_hundred_members_is_found_and_taken_out_by_keyboard(
    page_for: PageFor, aside: Aside, size: ViewportSize
):
    page = page_for("alice")
    page.set_viewport_size(size)
    room = aside(make, user_of(page), "Prices", [])
    aside(crowd, room, 500)
    enter(page, f"/rooms/{room.pk}/settings/")
    lines = page.locator(".people-lines .line")
    expect(lines).to_have_count(25)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    page.get_by_role("searchbox", name="Find people of this room").focus()
    page.keyboard.type("kim 41")
    expect(lines).to_have_count(15)
    expect(page.get_by_role("status").filter(has_text="1–15 of 15")).to_have_count(1)
    page.keyboard.type("7")
    expect(lines).to_have_text([re.compile("Kim 417")])
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Remove Kim 417")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("is no longer in the room.")).to_be_visible()
    expect(page.get_by_role("searchbox", name="Find people of this room")).to_have_value("kim 417")
    expect(lines).to_have_count(0)
    page.get_by_role("searchbox", name="Find people of this room").fill("")
    page.get_by_role("link", name="Next people").press("Enter")
    expect(lines.first).to_contain_text("Kim 024")
    assert violations(page) == []


def test_what_one_types_into_settings_is_not_lost_to_somebody_elses_change(
    page_for: PageFor, aside: Aside, bob
):
    page = page_for("alice")
    room = aside(make, user_of(page), "Prices", [bob])
    enter(page, f"/rooms/{room.pk}/settings/")
    page.get_by_label("Topic").fill("Half a sent")
    aside(rooms.remove, room, bob, bob)
    expect(page.locator(".people-lines .line")).to_have_count(1)
    expect(page.get_by_label("Topic")).to_have_value("Half a sent")


def test_the_people_of_a_room_are_right_again_once_the_focus_has_left_them(
    page_for: PageFor, aside: Aside, bob
):
    page = page_for("alice")
    room = aside(make, user_of(page), "Prices", [bob])
    enter(page, f"/rooms/{room.pk}/settings/")
    button = page.get_by_role("button", name="Remove Bob")
    button.focus()
    aside(rooms.invite, room, [aside(newcomer, "charlie")], user_of(page))
    expect(page.locator("#people-title .count")).to_have_text("3")
    expect(button).to_be_focused()
    expect(page.locator(".people-lines .line")).to_have_count(2)
    page.get_by_label("Topic").focus()
    expect(page.locator(".people-lines .line")).to_have_count(3)


def test_a_room_is_left_and_deleted_by_way_of_a_question(page_for: PageFor, aside: Aside, bob):
    page, other = page_for("alice"), page_for(bob)
    room = aside(make, bob, "Prices", [user_of(page)])
    enter(page, f"/rooms/{room.pk}/settings/")
    page.get_by_role("link", name="Leave the room").click()
    page.get_by_role("button", name="Leave the room").click()
    expect(page.get_by_text(f"You left {room.name}.")).to_be_visible()
    enter(other, f"/rooms/{room.pk}/settings/")
    other.get_by_role("link", name="Delete the room").click()
    assert violations(other) == []
    other.get_by_role("button", name="Delete the room").click()
    expect(other.get_by_text(f"{room.name} is deleted.")).to_be_visible()
    expect(row(other, room)).to_have_count(0)


def test_the_settings_of_a_room_that_is_gone_lead_to_the_rooms(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    room = aside(make, user_of(page), "Prices", [])
    enter(page, f"/rooms/{room.pk}/settings/")
    aside(rooms.delete, room)
    notice = page.locator(".notice", has_text="You can no longer read this room.")
    expect(notice).to_be_visible(timeout=SLOW)
    assert page.evaluate(
        """() => {
             const above = document.querySelector('.page-settings > .head').getBoundingClientRect();
             const notice = document.querySelector('.page-settings > .notice');
             return notice.getBoundingClientRect().top - above.bottom >= 8;
           }"""
    )
    expect(page.get_by_role("link", name="Back to the room")).to_have_count(0)
    page.locator("main").get_by_role("link", name="Rooms", exact=True).click()
    expect(page).to_have_url(re.compile("/rooms/$"))


def test_the_dashboard_shows_rooms_with_news_live(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    room = aside(make, bob, "Prices", [user_of(page)])
    enter(page, "/")
    tile = page.locator(".tile-rooms")
    expect(tile).to_contain_text("Nothing new in your rooms.")
    sum_before = page.locator("[data-slot=sum]").inner_text()
    for _ in range(3):
        aside(say, bob, room)
    expect(tile.locator("li")).to_contain_text(room.name)
    expect(tile.locator("[data-slot=news]")).to_contain_text("3")
    expect(tile.locator("[data-rooms-count]")).to_have_text("1")
    assert page.locator("[data-slot=sum]").inner_text() == sum_before
    aside(marks.read_messages, user_of(page), room.pk, 2**60)
    expect(tile).to_contain_text("Nothing new in your rooms.")


def test_everything_works_without_javascript(context_for, aside: Aside, bob):
    context = context_for("alice", java_script_enabled=False)
    page = context.new_page()
    page.goto("/rooms/")
    page.get_by_role("link", name="New room").click()
    page.get_by_label("Name").fill("Plain")
    page.get_by_label("People to invite").fill(f"{bob.username}, nemo")
    page.get_by_role("button", name="Make the room").click()
    expect(page.get_by_text("Nobody here is called nemo.")).to_be_visible()
    page.get_by_label("People to invite").fill(bob.username)
    page.get_by_role("button", name="Make the room").click()
    page.goto(page.url + "settings/")
    page.get_by_label("Everything").check()
    page.locator("#you").get_by_role("button", name="Save").click()
    expect(page.get_by_label("Everything")).to_be_checked()
    page.get_by_role("button", name="Remove Bob").click()
    expect(page.locator(".people-lines .line")).to_have_count(1)
    page.get_by_role("button", name="Archive the room").click()
    page.get_by_role("button", name="Use it again").click()
    page.get_by_role("link", name="Delete the room").click()
    page.get_by_role("button", name="Delete the room").click()
    expect(page.get_by_text("Plain is deleted.")).to_be_visible()


def test_search_leads_to_the_message(page_for: PageFor, aside: Aside, bob):
    page = page_for("alice")
    room = aside(make, bob, "Prices", [user_of(page)])
    wanted = aside(say, bob, room, "The courier leaves at 11:30")
    enter(page, "/rooms/")
    page.get_by_role("link", name="Search messages").click()
    page.get_by_label("Search for").fill("courier")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=re.compile("courier leaves")).click()
    expect(page).to_have_url(re.compile(f"/rooms/{room.pk}/at/{wanted}/$"))


def test_on_a_phone_the_bar_has_all_places_and_nothing_scrolls_sideways(
    page_for: PageFor, aside: Aside, bob
):
    page = page_for("alice", viewport={"width": 390, "height": 844}, has_touch=True)
    room = aside(make, bob, "A room with quite a long name that no phone is wide enough for", [user_of(page)])  # fmt: skip
    for _ in range(120):
        aside(say, bob, room)
    for address in ("/rooms/", "/rooms/new/", "/rooms/direct/", f"/rooms/{room.pk}/settings/", "/"):
        enter(page, address)
        links = page.locator(".rail .rail-link:visible")
        expect(links).to_have_count(6)
        for link in links.all():
            box = link.bounding_box()
            assert box is not None
            assert box["width"] >= 44
            assert box["x"] + box["width"] <= 390
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(badge(page)).to_have_text(re.compile(r"^99\+"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_pages_with_rooms(page_for: PageFor, aside: Aside, bob, theme):
    page = page_for("alice", color_scheme=theme)
    me = user_of(page)
    owned = aside(make, me, "Mine", [bob])
    closed = aside(make, bob, "Theirs", [me])
    muted, archived = (aside(make, me, name, [bob]) for name in ("Muted", "Archived"))
    aside(make, bob, "Lobby", (), "open")
    aside(say, bob, closed, f"The courier, @{me.username}")
    aside(say, bob, aside(direct, bob, me), "Hello")
    aside(rooms.involve, muted, me, Involvement.NOTHING)
    aside(rooms.edit, archived, me, archived=True)
    for address in (
        "/rooms/",
        f"/rooms/{owned.pk}/settings/",
        f"/rooms/{closed.pk}/settings/",
        f"/rooms/{owned.pk}/leave/",
        f"/rooms/{owned.pk}/delete/",
        "/rooms/search/?q=courier",
        "/",
    ):
        enter(page, address)
        assert violations(page) == [], address
