"""One room in several browsers: what is said, changed and taken back, and what a page shows after it was away."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import transaction
from playwright.sync_api import Locator, Page, Route, WebSocketRoute, expect
from websockets.exceptions import ConnectionClosed

from accounts import profiles
from chat import marks, messages, rooms, text
from chat.models import Message, Room
from tests.browser.test_pages import new_epoch, until, violations, wait_until_live
from tests.live import Aside, cookies_of, live_server, newcomer
from tests.reference_client import Ended, ReferenceClient

PageFor = Callable[..., Page]
SLOW = 20_000  # ms: a machine that does much else
NASTY = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
CORPUS = [
    NASTY,
    "[x](javascript:alert(1))",
    "<a href='javascript:alert(1)'>x</a>",
    "![x](x onerror=alert(1))",
    "<svg/onload=alert(1)>",
    "`<script>alert(1)</script>`",
    "```\n</code></pre><script>alert(1)</script>\n```",
    '[a](https://example.org/" onmouseover="alert(1))',
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "@<b>alice</b> **<i>x</i>**",
]


class Line:
    """A page's way to the hub. Once cut, nothing goes through until it is mended."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._is_cut = False
        self._sockets: list[WebSocketRoute] = []
        page.route_web_socket(re.compile(r"/ws/"), self._open)

    def _open(self, socket: WebSocketRoute) -> None:
        if self._is_cut:
            socket.close(code=4012)
            return
        socket.connect_to_server()
        self._sockets.append(socket)

    def cut(self) -> None:
        self._is_cut = True
        self._page.context.set_offline(True)
        for socket in self._sockets:
            socket.close(code=4012)
        self._sockets.clear()
        self._page.wait_for_selector("html[data-link=away]", state="attached")

    def mend(self) -> None:
        self._is_cut = False
        self._page.context.set_offline(False)
        self._page.evaluate("dispatchEvent(new Event('online'))")
        wait_until_live(self._page)


def held(page: Page, what: str) -> list[Route]:
    """What is asked for from now on, to be let go one by one."""
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)

    page.route(re.compile(what), hold)
    return asked


def make_room(owner: Any, members: Any = (), kind: str = "closed", name: str = "General") -> Room:
    return rooms.create(owner, kind, name, topic_line="What concerns all", members=list(members))


def say(user: Any, room: Room, *bodies: str) -> list[int]:
    """In one transaction: what takes time is to commit each."""
    with transaction.atomic():
        return [messages.post(user, room.pk, uuid.uuid4(), body)[0].pk for body in bodies]


def fill(user: Any, room: Room, *bodies: str) -> list[int]:
    """What was said before anybody looked: rows alone, for nobody hears of them."""
    made = Message.objects.bulk_create(
        Message(
            room=room,
            author=user,
            client_id=uuid.uuid4(),
            body=body,
            html=text.render(body, {})[0],
        )
        for body in bodies
    )
    Room.objects.filter(pk=room.pk).update(last_message=made[-1].pk)
    return [message.pk for message in made]


def numbered(first: int, last: int) -> list[str]:
    return [f"line {at}" for at in range(first, last + 1)]


def stored(room: Room) -> list[str]:
    return list(Message.objects.filter(room=room).order_by("pk").values_list("body", flat=True))


def read_up_to(user: Any, room: Room) -> int:
    return int(rooms.item(room, user)["read_up_to"])


def is_read_to_the_end(page: Page, room: Room, aside: Aside) -> bool:
    """The page says so once a second, as soon as it comes to it."""
    for _ in range(200):
        if aside(read_up_to, user_of(page), room) == aside(newest, room):
            return True
        page.wait_for_timeout(100)
    return False


def enter(page: Page, room: Room, at: int | None = None) -> None:
    page.goto(f"/rooms/{room.pk}/" + (f"at/{at}/" if at else ""))
    wait_until_live(page)


def user_of(page: Page) -> Any:
    return page.context.user  # type: ignore[attr-defined]


def composer(page: Page) -> Locator:
    return page.get_by_label("Message", exact=True)


def send(page: Page, body: str) -> None:
    composer(page).fill(body)
    composer(page).press("Enter")


def row(page: Page, text: str) -> Locator:
    return page.locator(".message", has=page.locator(".message-body", has_text=text))


def texts(page: Page) -> list[str]:
    return page.locator(".message-body").all_inner_texts()


def drawn(page: Page) -> list[str]:
    """Every message as its element is, without what follows the pointer."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('.message')].map((row) => {
             const copy = row.cloneNode(true);
             copy.querySelector('.message-acts')?.remove();
             return copy.outerHTML;
           })"""
    )
    return found


def is_at_end(page: Page) -> bool:
    return bool(
        page.locator(".room-log").evaluate(
            "(log) => log.scrollHeight - log.scrollTop - log.clientHeight < 3"
        )
    )


def scroll(page: Page, top: int) -> None:
    """And let the page hear of it."""
    page.locator(".room-log").evaluate(
        """async (log, top) => {
             log.scrollTop = top;
             await new Promise((heard) => requestAnimationFrame(heard));
           }""",
        top,
    )


def to_the_top(page: Page) -> None:
    for _ in range(30):
        scroll(page, 0)
        page.wait_for_timeout(250)
        if page.locator(".room-start").is_visible():
            break
    scroll(page, 0)
    expect(page.locator(".room-start")).to_be_in_viewport()


@pytest.fixture
def pair(page_for: PageFor, aside: Aside) -> tuple[Page, Page, Room]:
    """Alice and Bob in a room of theirs, both looking at it."""
    alice, bob = page_for("alice"), page_for("bob")
    room = aside(make_room, user_of(alice), [user_of(bob)])
    for page in (alice, bob):
        enter(page, room)
    return alice, bob, room


def test_what_is_said_changed_and_taken_back_is_seen_by_both_at_once(pair, aside: Aside):
    alice, bob, room = pair
    send(alice, "Good **morning**")
    for page in (alice, bob):
        expect(page.locator(".message strong", has_text="morning").last).to_be_visible()
        expect(page.locator(".message[data-unsent]")).to_have_count(0)
    expect(composer(alice)).to_have_value("")
    composer(alice).press("ArrowUp")
    field = alice.get_by_label("Edit message")
    expect(field).to_have_value("Good **morning**")
    field.fill("Good evening")
    field.press("Enter")
    for page in (alice, bob):
        expect(row(page, "Good evening")).to_contain_text("edited")
    expect(composer(alice)).to_be_focused()
    row(bob, "Good evening").hover()
    expect(bob.get_by_role("button", name="Edit")).to_have_count(0)
    row(alice, "Good evening").hover()
    alice.get_by_role("button", name="Delete").click()
    alice.get_by_role("button", name="Keep it").click()
    row(alice, "Good evening").hover()
    alice.get_by_role("button", name="Delete").click()
    alice.get_by_role("button", name="Delete", exact=True).click()
    for page in (alice, bob):
        expect(page.locator(".message-body")).to_have_text("This message was deleted.")
    assert aside(stored, room) == [""]


def test_a_screen_reader_is_told_of_messages_once_and_of_no_buttons(pair):
    alice, bob, _room = pair
    alice.evaluate(
        """() => {
             window.told = [];
             const record = ({ addedNodes }) => {
               for (const node of addedNodes) {
                 const live = node.closest?.('[aria-live]').getAttribute('aria-live');
                 if (live === 'polite') told.push(node.className);
               }
             };
             new MutationObserver((changes) => changes.forEach(record)).observe(
               document.querySelector('.talk'), { childList: true, subtree: true });
           }"""
    )
    send(alice, "mine")
    expect(row(alice, "mine")).to_have_attribute("data-id", re.compile(r"\d+"))
    row(alice, "mine").hover()
    alice.get_by_role("button", name="Delete").click()
    expect(alice.get_by_role("button", name="Keep it")).to_be_focused()
    alice.get_by_role("button", name="Keep it").click()
    composer(alice).press("ArrowUp")
    expect(alice.get_by_label("Edit message")).to_be_focused()
    alice.get_by_label("Edit message").press("Escape")
    send(bob, "theirs")
    expect(row(alice, "theirs")).to_be_visible()
    assert alice.evaluate("told") == ["talk-day", "message", "message"]


def test_escape_leaves_a_message_as_it_was(pair):
    alice, bob, _room = pair
    send(alice, "As it was")
    expect(row(bob, "As it was")).to_be_visible()
    composer(alice).press("ArrowUp")
    alice.get_by_label("Edit message").fill("Something else")
    alice.get_by_label("Edit message").press("Escape")
    expect(row(alice, "As it was")).to_be_visible()
    expect(alice.get_by_label("Edit message")).to_have_count(0)
    expect(composer(alice)).to_be_focused()


def test_who_types_is_named_until_they_send(pair):
    alice, bob, _room = pair
    typing = alice.locator(".typing")
    composer(bob).press_sequentially("Hel")
    expect(typing).to_have_text("Bob is typing…")
    composer(bob).press("Enter")
    expect(row(alice, "Hel")).to_be_visible()
    expect(typing).to_have_text("")
    bob.wait_for_timeout(1100)  # it is said at most once a second
    composer(bob).press_sequentially("lo")
    expect(typing).to_have_text("Bob is typing…")
    expect(typing).to_have_text("", timeout=8000)
    expect(bob.locator(".typing")).to_have_text("")


def test_enter_sends_nothing_while_korean_is_being_composed(pair, aside: Aside):
    alice, _bob, room = pair
    composer(alice).fill("안녕하세요")
    for composing in ("{ isComposing: true }", "{ isComposing: false, keyCode: 229 }"):
        alice.evaluate(
            f"""() => {{
              const field = document.activeElement;
              field.dispatchEvent(new CompositionEvent('compositionstart', {{ bubbles: true }}));
              const event = new KeyboardEvent('keydown', {{ key: 'Enter', code: 'Enter', bubbles: true, cancelable: true }});
              for (const [name, value] of Object.entries({composing}))
                Object.defineProperty(event, name, {{ value }});
              field.dispatchEvent(event);
            }}"""
        )
    expect(composer(alice)).to_have_value("안녕하세요")
    composer(alice).press("Shift+Enter")
    composer(alice).press_sequentially("반갑습니다")
    composer(alice).press("Enter")
    expect(alice.locator(".message")).to_have_count(1)
    expect(alice.locator(".message[data-unsent]")).to_have_count(0)
    assert aside(stored, room) == ["안녕하세요\n반갑습니다"]


def test_a_draft_outlives_the_page_and_goes_when_it_is_sent(pair):
    alice, _bob, _room = pair
    composer(alice).fill("Half a sen")
    alice.reload()
    expect(composer(alice)).to_have_value("Half a sen")
    composer(alice).press("End")
    composer(alice).press_sequentially("tence")
    composer(alice).press("Enter")
    expect(row(alice, "Half a sentence")).to_be_visible()
    alice.reload()
    expect(composer(alice)).to_have_value("")


def test_tabs_share_a_draft_and_none_takes_it_back(pair):
    alice, _bob, _room = pair
    other = alice.context.new_page()
    other.goto(alice.url)
    wait_until_live(other)
    other.bring_to_front()
    composer(other).fill("important")
    expect(composer(alice)).to_have_value("important")
    other.close()
    alice.reload()
    expect(composer(alice)).to_have_value("important")
    other = alice.context.new_page()
    other.goto(alice.url)
    wait_until_live(other)
    expect(composer(other)).to_have_value("important")
    composer(alice).press("Enter")
    expect(row(alice, "important")).to_be_visible()
    expect(composer(other)).to_have_value("")
    other.reload()
    expect(composer(other)).to_have_value("")


def test_a_page_from_the_back_button_has_the_draft_as_it_is_by_now(pair):
    alice, _bob, room = pair
    composer(alice).fill("Half a sen")
    alice.evaluate(
        """(key) => {
             dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
             localStorage[key] = 'Half a sentence';
             dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
           }""",
        f"hub.draft.{user_of(alice).pk}.{room.pk}",
    )
    expect(composer(alice)).to_have_value("Half a sentence")
    wait_until_live(alice)


def draft_of(page: Page, room: Room) -> str | None:
    found: str | None = page.evaluate(
        "(key) => localStorage.getItem(key)", f"hub.draft.{user_of(page).pk}.{room.pk}"
    )
    return found


def until_stored(page: Page, room: Room, text: str | None) -> None:
    until(
        page,
        "([key, text]) => localStorage.getItem(key) === text",
        [f"hub.draft.{user_of(page).pk}.{room.pk}", text],
    )


def test_a_page_that_is_loaded_again_takes_the_draft_from_where_it_is_stored(pair):
    alice, _bob, room = pair
    composer(alice).fill("stale text")
    until_stored(alice, room, "stale text")
    alice.goto("/inbox/")
    other = alice.context.new_page()
    other.context.user = user_of(alice)
    enter(other, room)
    expect(composer(other)).to_have_value("stale text")
    composer(other).press("Enter")
    expect(row(other, "stale text")).to_have_attribute("data-id", re.compile(r"\d+"))
    until_stored(other, room, None)
    alice.go_back()
    wait_until_live(alice)
    expect(composer(alice)).to_have_value("")
    composer(alice).fill("old words")
    until_stored(alice, room, "old words")
    alice.goto("/inbox/")
    composer(other).fill("new longer words")
    until_stored(other, room, "new longer words")
    alice.go_back()
    wait_until_live(alice)
    expect(composer(alice)).to_have_value("new longer words")
    alice.goto("/inbox/")
    assert draft_of(other, room) == "new longer words"


def test_what_could_not_be_stored_is_there_after_a_reload_and_the_back_button(pair):
    alice, _bob, room = pair
    full = "() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }"
    noted = "(text) => Object.values(history.state ?? {}).includes(text)"
    composer(alice).fill("stored")
    until_stored(alice, room, "stored")
    alice.add_init_script(f"if (sessionStorage.full) ({full})()")
    alice.evaluate("sessionStorage.full = 'yes'")
    alice.evaluate(full)
    composer(alice).fill("stored and not")
    until(alice, noted, "stored and not")
    alice.reload()
    expect(composer(alice)).to_have_value("stored and not")
    composer(alice).fill("stored and not yet")
    until(alice, noted, "stored and not yet")
    alice.goto("/inbox/")
    assert draft_of(alice, room) == "stored"
    alice.evaluate("sessionStorage.removeItem('full')")
    alice.go_back()
    expect(composer(alice)).to_have_value("stored and not yet")
    until_stored(alice, room, "stored and not yet")
    assert not alice.evaluate(noted, "stored and not yet")


def test_a_browser_that_stores_nothing_has_a_draft_until_it_is_sent(pair):
    alice, _bob, room = pair
    alice.add_init_script(
        "Storage.prototype.setItem = Storage.prototype.removeItem = () => { throw new Error('no'); };"
    )
    enter(alice, room)
    composer(alice).fill("half a sentence")
    noted = "() => Object.values(history.state ?? {}).includes('half a sentence')"
    until(alice, noted)
    alice.reload()
    expect(composer(alice)).to_have_value("half a sentence")
    wait_until_live(alice)
    composer(alice).press("Enter")
    expect(row(alice, "half a sentence")).to_have_attribute("data-id", re.compile(r"\d+"))
    alice.reload()
    wait_until_live(alice)
    expect(composer(alice)).to_have_value("")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("", "This is empty."),
        (" \n ", "This is empty."),
        ("\u200b\u3164", "This is empty."),
        ("e\u0301" * 4000 + "x", "This is too long by 1 characters."),
    ],
    ids=["nothing", "spaces", "invisible", "long"],
)
def test_an_edit_that_would_be_refused_is_said_to_be_so(pair, change: str, why: str):
    alice, _bob, _room = pair
    send(alice, "to be emptied")
    expect(row(alice, "to be emptied")).to_be_visible()
    expect(alice.locator(".message[data-unsent]")).to_have_count(0)
    composer(alice).press("ArrowUp")
    field = alice.get_by_label("Edit message")
    field.fill(change)
    field.press("Enter")
    expect(alice.locator(".message-editor .problem")).to_contain_text(why)
    expect(field).to_be_focused()
    if not change.strip():
        return
    composer(alice).fill(change)
    composer(alice).press("Enter")
    expect(alice.locator(".composer .problem")).to_contain_text(why)


@pytest.mark.parametrize(
    ("locale", "why"),
    [
        ("en", "The room is archived: nothing new is said there."),
        ("ko", "보관된 대화방이라 새로 쓸 수 없어요."),
    ],
)
def test_an_edit_in_a_room_archived_meanwhile_says_so(
    page_for: PageFor, aside: Aside, locale: str, why: str
):
    page = page_for("alice", locale=locale)
    room = aside(make_room, user_of(page))
    aside(say, user_of(page), room, "at first")
    enter(page, room)
    page.locator("#composer-body").press("ArrowUp")
    field = page.locator(".message-editor textarea")
    field.fill("too late")
    aside(rooms.edit, room, user_of(page), archived=True)
    field.press("Enter")
    expect(page.locator(".message-editor .problem")).to_have_text(why)
    expect(field).to_have_value("too late")


def test_a_change_to_what_is_deleted_meanwhile_comes_to_the_composer_once(pair, aside: Aside):
    alice, _bob, room = pair
    send(alice, "at first")
    expect(row(alice, "at first")).to_have_attribute("data-id", re.compile(r"\d+"))
    composer(alice).press("ArrowUp")
    asked = held(alice, "/messages/")
    with alice.expect_request(re.compile("/messages/")):
        alice.get_by_label("Edit message").fill("too late")
        alice.get_by_label("Edit message").press("Enter")
    aside(messages.delete, user_of(alice), room.pk, aside(newest, room))
    expect(composer(alice)).to_have_value("too late")
    while not asked:
        alice.wait_for_timeout(10)
    asked[0].continue_()
    expect(alice.locator(".toast", has_text="The message is deleted.")).to_be_visible()
    expect(composer(alice)).to_have_value("too late")
    for width, height in ((1440, 900), (1024, 768), (390, 844)):
        alice.set_viewport_size({"width": width, "height": height})
        assert alice.evaluate(
            """() => {
                 const [toast, head, foot] = ['.toast', '.room-head', '.room-foot'].map((found) =>
                   document.querySelector(found).getBoundingClientRect());
                 return toast.top >= head.bottom && toast.bottom <= foot.top;
               }"""
        )
        alice.get_by_role("button", name="Send").click(trial=True)


def test_what_is_written_without_a_connection_is_stored_once_when_there_is_one(
    page_for: PageFor, aside: Aside
):
    page = page_for("alice")
    line = Line(page)
    room = aside(make_room, user_of(page))
    enter(page, room)
    line.cut()
    send(page, "first")
    send(page, "second")
    expect(page.locator(".message[data-unsent=waiting]")).to_have_count(2)
    page.wait_for_timeout(500)
    assert aside(stored, room) == []
    line.mend()
    expect(page.locator(".message[data-id]")).to_have_count(2, timeout=SLOW)
    expect(page.locator(".message[data-unsent]")).to_have_count(0)
    assert texts(page) == ["first", "second"]
    assert aside(stored, room) == ["first", "second"]


def test_what_was_not_stored_before_a_reload_is_sent_after_it_with_the_same_id(
    page_for: PageFor, aside: Aside
):
    page = page_for("alice")
    room = aside(make_room, user_of(page))
    enter(page, room)
    sent = {"body": "From before", "at": "2026-01-01T00:00:00Z"}
    client_id = str(uuid.uuid4())
    key = f"hub.outbox.{user_of(page).pk}.{room.pk}.{client_id}"
    page.evaluate("([key, sent]) => { localStorage[key] = JSON.stringify(sent); }", [key, sent])
    aside(messages.post, user_of(page), room.pk, uuid.UUID(client_id), "From before")
    page.reload()
    expect(page.locator(".message[data-id]")).to_have_count(1)
    expect(page.locator(".message[data-unsent]")).to_have_count(0)
    until(page, "(key) => !(key in localStorage)", key)
    assert aside(stored, room) == ["From before"]


def test_a_killed_server_stores_what_is_posted_once_and_in_order(page_for: PageFor, aside: Aside):
    with live_server(static=True) as server, ThreadPoolExecutor(1) as talking:
        page = page_for("alice", server=server)
        others = [aside(newcomer, f"other{at}") for at in range(10)]
        room = aside(make_room, user_of(page), others)
        enter(page, room)
        cookies = [aside(cookies_of, user) for user in others]
        over = threading.Event()
        talk = talking.submit(asyncio.run, talk_all(server.url, room, cookies, over))
        for at in range(1, 21):
            send(page, f"line {at}")
            if at == 8:
                expect(page.locator(".message:not([data-mine])").nth(10)).to_be_visible()
                server.streams.kill()
            elif at == 14:
                server.streams.start()
        expect(page.locator(".message[data-mine][data-id]")).to_have_count(20, timeout=3 * SLOW)
        over.set()
        acknowledged = dict(talk.result(60))
        assert len({author for author, *_ in acknowledged.values()}) == 10
        expect(page.locator(".message[data-id]")).to_have_count(
            20 + len(acknowledged), timeout=SLOW
        )
        expect(page.locator(".message[data-unsent]")).to_have_count(0)
        bodies = aside(stored, room)
        assert texts(page) == bodies
        assert [body for body in bodies if body.startswith("line")] == numbered(1, 20)
        assert aside(stored_by_others, room, user_of(page)) == acknowledged


Posted = tuple[str, tuple[int, int]]  # the client's id; its author and the id the hub gave it


async def talk_all(
    url: str, room: Room, cookies: list[dict[str, str]], over: threading.Event
) -> list[Posted]:
    """Each of these people says a line now and then. Returns what the hub acknowledged: all that they said."""
    talks = await asyncio.gather(*(talk_on(url, room, one, over) for one in cookies))
    return [posted for talk in talks for posted in talk]


async def talk_on(
    url: str, room: Room, cookies: dict[str, str], over: threading.Event
) -> list[Posted]:
    said: list[Posted] = []
    async with ReferenceClient(url, cookies=cookies) as client:
        while not over.is_set():
            frame = {
                "op": "post",
                "topic": f"room.{room.pk}",
                "client_id": str(uuid.uuid4()),
                "body": "and I",
            }
            stored = await acknowledged(client, frame)
            said.append((frame["client_id"], (stored["author"]["id"], stored["id"])))
            await asyncio.sleep(0.5)
    return said


async def acknowledged(client: ReferenceClient, frame: dict[str, str]) -> dict[str, Any]:
    """What is not acknowledged is sent once more on the next connection, with its id."""
    while True:
        await client.until_live(60)
        try:
            reply = await client.request(frame)
        except (Ended, ConnectionClosed, TimeoutError):
            await asyncio.sleep(0.1)
            continue
        assert reply["ok"]
        stored: dict[str, Any] = reply["data"]
        return stored


def stored_by_others(room: Room, user: Any) -> dict[str, tuple[int, int]]:
    rows = Message.objects.filter(room=room).exclude(author=user)
    return {str(row.client_id): (row.author_id or 0, row.pk) for row in rows}


def test_what_is_refused_turns_red_and_can_be_discarded(pair, aside: Aside):
    alice, bob, room = pair
    aside(rooms.edit, room, user_of(alice), archived=True)
    expect(bob.get_by_text("This room is archived")).to_be_visible()
    expect(composer(bob)).to_be_hidden()
    bob.evaluate("document.querySelector('.composer').hidden = false")
    send(bob, "Too late")
    failed = bob.locator(".message[data-unsent=failed]")
    expect(failed).to_contain_text("Not sent: the room is archived.")
    aside(rooms.edit, room, user_of(alice), archived=False)
    failed.get_by_role("button", name="Retry").click()
    expect(row(alice, "Too late")).to_be_visible()
    aside(rooms.edit, room, user_of(alice), archived=True)
    expect(composer(bob)).to_be_hidden()
    bob.evaluate("document.querySelector('.composer').hidden = false")
    send(bob, "Never mind")
    failed.get_by_role("button", name="Discard").click()
    expect(failed).to_have_count(0)
    bob.reload()
    expect(row(bob, "Never mind")).to_have_count(0)


def test_after_a_sleep_the_page_shows_exactly_the_same_room(page_for: PageFor, aside: Aside):
    sleeper, fresh = page_for("alice"), page_for("bob")
    alice, bob = user_of(sleeper), user_of(fresh)
    line = Line(sleeper)
    room = aside(make_room, alice, [bob])
    early = aside(fill, bob, room, *numbered(1, 30))
    aside(marks.read_messages, alice, room.pk, early[-1])
    enter(sleeper, room)
    expect(row(sleeper, "line 30")).to_be_visible()
    line.cut()
    aside(sleep_through, bob, room, early)
    line.mend()
    expect(row(sleeper, "line 330")).to_be_visible(timeout=SLOW)
    expect(sleeper.locator(".message[data-edited]")).not_to_have_count(0)
    assert is_at_end(sleeper)
    expect(sleeper.locator(".message[data-deleted]")).to_have_count(2)
    same_person = page_for(alice)
    enter(same_person, room)
    slept, loaded = drawn(sleeper), drawn(same_person)
    assert len(loaded) == 50
    assert slept[-49:] == loaded[1:]  # the first of a page begins a group
    for page in (same_person, sleeper):
        to_the_top(page)
    slept, loaded = drawn(sleeper), drawn(same_person)
    assert len(slept) == 300
    assert slept == loaded


def sleep_through(user: Any, room: Room, early: list[int]) -> None:
    late = [pk for at in range(31, 331, 50) for pk in say(user, room, *numbered(at, at + 49))]
    for pk in (*early[:2], *late[:3]):
        messages.edit(user, room.pk, pk, f"changed {pk} to `code`")
    for pk in (early[3], late[5], late[-5]):
        messages.delete(user, room.pk, pk)


def newest(room: Room) -> int:
    return Message.objects.filter(room=room).latest("pk").pk


def test_a_position_that_can_not_be_continued_is_made_good_by_a_fresh_look(
    page_for: PageFor, aside: Aside
):
    page = page_for("alice")
    line = Line(page)
    user = user_of(page)
    room = aside(make_room, user)
    aside(say, user, room, *numbered(1, 5))
    enter(page, room)
    line.cut()
    aside(say, user, room, *numbered(6, 9))
    aside(new_epoch)
    line.mend()
    expect(page.locator(".message")).to_have_count(9, timeout=SLOW)
    aside(say, user, room, "and on")
    expect(page.locator(".message")).to_have_count(10)
    assert texts(page) == [*numbered(1, 9), "and on"]


def test_what_is_being_edited_outlives_its_row(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    line = Line(page)
    user = user_of(page)
    room = aside(make_room, user)
    aside(say, user, room, "at first")
    enter(page, room)
    composer(page).press("ArrowUp")
    page.get_by_label("Edit message").fill("half a change")
    line.cut()
    aside(say, user, room, *numbered(1, 60))
    aside(new_epoch)
    line.mend()
    expect(row(page, "line 60")).to_be_visible(timeout=SLOW)
    expect(row(page, "at first")).to_have_count(0)
    expect(composer(page)).to_have_value("half a change")
    composer(page).press("Enter")
    expect(row(page, "half a change")).to_be_visible()
    expect(page.locator(".message[data-unsent]")).to_have_count(0)
    assert aside(stored, room)[-1] == "half a change"


def test_the_last_message_of_ones_own_is_edited_wherever_one_reads(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    user = user_of(page)
    room = aside(make_room, user)
    said = aside(say, user, room, *numbered(1, 120))
    enter(page, room, at=said[20])
    expect(row(page, "line 120")).to_have_count(0)
    composer(page).press("ArrowUp")
    expect(page.get_by_label("Edit message")).to_have_value("line 120")


def test_what_is_sent_while_reading_further_up_is_seen_at_once(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    line = Line(page)
    user = user_of(page)
    room = aside(make_room, user)
    said = aside(say, user, room, *numbered(1, 120))
    enter(page, room, at=said[20])
    line.cut()
    send(page, "from further up")
    waiting = page.locator(".message[data-unsent=waiting]")
    expect(waiting).to_be_in_viewport()
    expect(page.locator(".toast")).to_contain_text("could not be fetched")
    line.mend()
    expect(page.locator(".message[data-unsent]")).to_have_count(0, timeout=SLOW)
    assert aside(stored, room)[-1] == "from further up"
    expect(row(page, "from further up")).to_be_in_viewport()
    expect(page).to_have_url(re.compile(f"/rooms/{room.pk}/$"))
    page.reload()
    expect(row(page, "from further up")).to_be_in_viewport()


def test_who_reads_further_up_is_told_and_not_moved(pair, aside: Aside):
    alice, _bob, room = pair
    aside(say, user_of(alice), room, *numbered(1, 60))
    expect(row(alice, "line 60")).to_be_visible()
    assert is_at_end(alice)
    bob = pair[1]
    aside(say, user_of(bob), room, "from bob")
    expect(row(alice, "from bob")).to_be_visible()
    assert is_at_end(alice)
    scroll(alice, 300)
    seen = alice.locator(".message", has_text="line 20").first
    before = seen.bounding_box()
    said = aside(say, user_of(bob), room, *numbered(61, 73))
    pill = alice.locator(".room-pill")
    expect(pill).to_have_text("13 new")
    aside(messages.delete, user_of(bob), room.pk, said[-1])
    expect(pill).to_have_text("12 new")
    assert seen.bounding_box() == before
    assert aside(read_up_to, user_of(alice), room) < aside(newest, room)
    pill.click()
    expect(pill).to_be_hidden()
    expect(row(alice, "line 72")).to_be_in_viewport()
    assert is_read_to_the_end(alice, room, aside)


def test_history_is_paged_both_ways_from_any_message(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    user = user_of(page)
    room = aside(make_room, user)
    said = aside(fill, user, room, *numbered(1, 200))
    enter(page, room, at=said[99])
    target = page.locator(".message[data-target]")
    expect(target).to_have_text(re.compile("line 100"))
    expect(target).to_be_in_viewport()
    aside(say, user, room, "said meanwhile")
    expect(page.locator(".room-pill")).to_be_visible()
    page.locator(".message").nth(3).scroll_into_view_if_needed()
    expect(page.locator(".message-body").first).to_have_text("line 1", timeout=SLOW)
    for _ in range(100):
        scroll(page, 2**20)
        page.wait_for_timeout(100)
        if row(page, "said meanwhile").count():
            break
    scroll(page, 2**20)
    expect(row(page, "said meanwhile")).to_be_in_viewport()
    assert texts(page) == [*numbered(1, 200), "said meanwhile"]
    expect(page.locator(".room-pill")).to_be_hidden()
    scroll(page, 0)
    expect(page.locator(".room-start")).to_be_in_viewport()


def test_a_very_long_room_is_cut_at_the_far_end_and_read_on_without_a_hole(
    page_for: PageFor, aside: Aside
):
    page = page_for("alice")
    user = user_of(page)
    room = aside(make_room, user)
    aside(fill, user, room, *numbered(1, 420))
    enter(page, room)
    to_the_top(page)
    expect(page.locator(".message-body").first).to_have_text("line 1")
    assert texts(page) == numbered(1, 300)
    page.locator(".room-pill").click()
    expect(row(page, "line 420")).to_be_in_viewport()
    assert texts(page)[-50:] == numbered(371, 420)
    aside(say, user, room, "and on")
    expect(row(page, "and on")).to_be_in_viewport()


def test_the_unread_line_stays_until_one_leaves(pair, aside: Aside):
    alice, bob, room = pair
    aside(say, user_of(bob), room, "seen")
    expect(row(alice, "seen")).to_be_visible()
    alice.goto("/settings/")
    wait_until_live(alice)
    aside(marks.read_messages, user_of(alice), room.pk, 2**40)
    aside(say, user_of(bob), room, "not seen", "nor this")
    enter(alice, room)
    line = alice.locator(".talk-new")
    expect(line).to_have_count(1)
    assert line.evaluate("(line) => line.nextElementSibling.innerText").endswith("not seen")
    assert is_read_to_the_end(alice, room, aside)
    expect(line).to_have_count(1)
    alice.reload()
    expect(row(alice, "nor this")).to_be_visible()
    expect(line).to_have_count(0)


def test_more_unread_than_a_page_opens_at_the_newest_and_leads_to_the_first(
    page_for: PageFor, aside: Aside
):
    page = page_for("bob")
    alice = aside(newcomer, "alice")
    room = aside(make_room, alice, [user_of(page)])
    seen = aside(fill, alice, room, *numbered(1, 60))[-1]
    aside(marks.read_messages, user_of(page), room.pk, seen)
    aside(fill, alice, room, *numbered(61, 190))
    enter(page, room)
    line = page.locator(".talk-new")
    above = page.get_by_role("link", name="New messages begin further up")
    expect(row(page, "line 190")).to_be_in_viewport()
    expect(above).to_be_visible()
    expect(line).to_have_count(0)
    above.click()
    expect(line).to_be_in_viewport()
    expect(above).to_be_hidden()
    expect(page.locator(".talk-new + .message")).to_be_focused()
    first = "(line) => line.nextElementSibling.innerText.trim().endsWith('line 61')"
    assert line.evaluate(first)
    page.goto("/settings/")
    wait_until_live(page)
    aside(marks.read_messages, user_of(page), room.pk, 2**40)
    aside(fill, alice, room, *numbered(191, 260))
    enter(page, room)
    expect(above).to_be_visible()
    for _ in range(10):
        scroll(page, 0)
        page.wait_for_timeout(250)
        if line.count():
            break
    assert line.evaluate(first.replace("61", "191"))
    expect(above).to_be_hidden()


def look(page: Page, *, away: bool) -> None:
    page.evaluate(
        """(away) => {
             Object.defineProperty(document, 'hidden', { value: away, configurable: true });
             document.dispatchEvent(new Event('visibilitychange'));
           }""",
        away,
    )


@pytest.mark.parametrize("away", [True, False])
def test_what_a_fetch_leaves_out_is_found_further_up(page_for: PageFor, aside: Aside, away: bool):
    """More than a page, while nobody looked or the laptop slept."""
    page = page_for("bob")
    bob, alice = user_of(page), aside(newcomer, "alice")
    line = Line(page)
    room = aside(make_room, alice, [bob])
    aside(say, alice, room, *numbered(1, 60))
    enter(page, room)
    expect(row(page, "line 60")).to_be_in_viewport()
    assert is_read_to_the_end(page, room, aside)
    look(page, away=away)
    line.cut()
    aside(say, bob, room, "said by phone")
    aside(say, alice, room, *numbered(61, 180))
    aside(new_epoch)
    line.mend()
    expect(row(page, "line 180")).to_be_attached(timeout=SLOW)
    above = page.get_by_role("link", name="New messages begin further up")
    expect(above).to_be_visible()
    look(page, away=False)
    assert is_read_to_the_end(page, room, aside)
    above.click()
    unread = page.locator(".talk-new")
    expect(unread).to_be_in_viewport()
    expect(above).to_be_hidden()
    assert unread.evaluate("(line) => line.nextElementSibling.innerText.trim().endsWith('line 61')")
    aside(new_epoch)
    aside(say, alice, room, "and on")
    page.locator(".room-pill").click()
    expect(row(page, "and on")).to_be_in_viewport(timeout=SLOW)
    expect(above).to_be_hidden()


def test_what_a_hidden_tab_lets_go_of_is_found_further_up(page_for: PageFor, aside: Aside):
    page = page_for("bob")
    alice = aside(newcomer, "alice")
    room = aside(make_room, alice, [user_of(page)])
    aside(say, alice, room, "before")
    enter(page, room)
    look(page, away=True)
    aside(say, alice, room, *numbered(1, 320))
    expect(row(page, "line 320")).to_be_attached(timeout=SLOW)
    look(page, away=False)
    page.get_by_role("link", name="New messages begin further up").click()
    unread = page.locator(".talk-new")
    expect(unread).to_be_in_viewport()
    assert unread.evaluate("(line) => line.nextElementSibling.innerText.trim().endsWith('line 1')")


def test_messages_are_reached_and_changed_by_keyboard(pair):
    alice, bob, _room = pair
    for body in ("one", "two"):
        send(alice, body)
        expect(row(bob, body)).to_be_visible()
    expect(alice.locator(".message[data-unsent]")).to_have_count(0)
    alice.locator(".room-log").focus()
    alice.keyboard.press("ArrowUp")
    expect(row(alice, "two")).to_be_focused()
    alice.keyboard.press("KeyK")
    expect(row(alice, "one")).to_be_focused()
    alice.keyboard.press("KeyE")
    alice.get_by_label("Edit message").fill("one!")
    alice.keyboard.press("Enter")
    expect(row(bob, "one!")).to_be_visible()
    expect(composer(alice)).to_be_focused()
    alice.locator(".room-log").focus()
    alice.keyboard.press("ArrowUp")
    alice.keyboard.press("Delete")
    expect(alice.get_by_role("button", name="Keep it")).to_be_focused()
    alice.keyboard.press("Escape")
    expect(row(alice, "two")).to_be_focused()
    alice.keyboard.press("Delete")
    alice.keyboard.press("Shift+Tab")
    alice.keyboard.press("Enter")
    expect(row(bob, "two")).to_have_count(0)
    expect(composer(alice)).to_be_focused()


def test_people_and_emoji_are_completed(pair, aside: Aside):
    alice, bob, _room = pair
    name = user_of(bob).username
    composer(alice).press_sequentially("Hello @bo")
    option = alice.get_by_role("option")
    expect(option).to_have_count(1)
    expect(option).to_contain_text("Bob")
    assert violations(alice) == []
    composer(alice).press("Tab")
    expect(composer(alice)).to_have_value(f"Hello @{name} ")
    composer(alice).press_sequentially(":tad")
    expect(option.first).to_contain_text(":tada:")
    composer(alice).press("Enter")
    expect(composer(alice)).to_have_value(f"Hello @{name} 🎉 ")
    composer(alice).press("Enter")
    expect(bob.locator(".message[data-mention]")).to_contain_text("🎉")
    expect(bob.locator(".mention[data-me]")).to_have_text(f"@{name}")
    expect(alice.locator(".message[data-mention]")).to_have_count(0)


@pytest.mark.parametrize("key", ["Enter", "Escape"])
def test_a_name_asked_for_is_forgotten_by_whoever_goes_on(pair, key: str):
    alice, _bob, _room = pair
    asked = held(alice, r"/api/v1/people")
    composer(alice).fill("hi ")
    composer(alice).press("End")
    with alice.expect_request(re.compile(r"/api/v1/people")):
        composer(alice).press("@")
    composer(alice).press(key)
    expect(composer(alice)).to_have_value({"Enter": "", "Escape": "hi @"}[key])
    while not asked:
        alice.wait_for_timeout(10)
    with alice.expect_response(re.compile(r"/api/v1/people")) as answer:
        asked[0].continue_()
    answer.value.finished()
    alice.evaluate("() => new Promise((heard) => setTimeout(heard, 100))")
    expect(alice.get_by_role("option")).to_have_count(0)


def test_who_is_here_stands_at_the_side(pair):
    alice, bob, _room = pair
    here = alice.locator("[data-slot=here] .person")
    expect(here).to_have_text([re.compile("Alice"), re.compile("Bob")])
    bob.close()
    expect(here).to_have_count(1, timeout=SLOW)
    expect(alice.locator("[data-slot=others]")).to_contain_text("Bob")


def test_a_phone_has_the_composer_at_hand_and_people_behind_a_button(
    page_for: PageFor, aside: Aside
):
    page = page_for("alice", viewport={"width": 390, "height": 844}, has_touch=True)
    user = user_of(page)
    room = aside(make_room, user)
    aside(fill, user, room, *numbered(1, 40), "x" * 300, "```\n" + "y" * 300 + "\n```")
    enter(page, room)
    assert is_at_end(page)
    box = composer(page).bounding_box()
    bar = page.locator(".rail").bounding_box()
    assert box is not None
    assert bar is not None
    assert box["y"] + box["height"] <= bar["y"]
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert page.evaluate("document.scrollingElement.scrollHeight") <= 844
    expect(page.locator(".room-side")).to_be_hidden()
    page.locator(".room-people-button").click()
    expect(page.locator(".room-side")).to_contain_text("Alice")
    assert violations(page) == []
    page.locator(".room-side").get_by_role("button", name="Close").click()
    expect(page.locator(".room-side")).to_be_hidden()
    send(page, "from the phone")
    expect(row(page, "from the phone")).to_be_in_viewport()


def test_a_long_name_leaves_the_others_their_place_on_a_phone(page_for: PageFor, aside: Aside):
    page = page_for("alice", viewport={"width": 390, "height": 844}, has_touch=True)
    other = aside(newcomer, "bob")
    aside(call, other, "Bartholomew Featherstonehaugh-Cholmondeley von Berger")
    room = aside(make_room, user_of(page), [other], name="Warehouse")
    aside(say, other, room, "Something")
    enter(page, room)
    author = page.locator(".message-author")
    assert author.evaluate("(name) => name.getClientRects()[0].height < 30")
    page.goto("/rooms/search/?q=Something")
    for part in (".hit-room", ".hit-time"):
        assert page.locator(part).evaluate("(it) => it.scrollWidth <= it.clientWidth + 1")


def call(user: Any, name: str) -> None:
    profile = profiles.of(user)
    profile.display_name = name
    profile.save()


def nasty_room(owner: Any, other: Any) -> Room:
    call(other, "<b onmouseover=alert(1)>Bob</b>")
    return make_room(owner, [other], name=NASTY[:80])


def test_nothing_that_people_write_is_run(page_for: PageFor, aside: Aside):
    alice, bob = page_for("alice"), page_for("bob")
    room = aside(nasty_room, user_of(alice), user_of(bob))
    policy: list[str] = []
    dialogs: list[str] = []
    for page in (alice, bob):
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        page.on(
            "console",
            lambda said: policy.append(said.text) if "Content Security" in said.text else None,
        )
        enter(page, room)
    aside(say, user_of(bob), room, *CORPUS)
    send(alice, NASTY)
    for page in (alice, bob):
        expect(page.locator(".message[data-id]")).to_have_count(len(CORPUS) + 1)
    live = texts(alice)
    alice.reload()
    wait_until_live(alice)
    expect(alice.locator(".message[data-id]")).to_have_count(len(CORPUS) + 1)
    assert texts(alice) == live
    assert NASTY in live
    for page in (alice, bob):
        assert (
            page.locator("main img, main iframe, .talk :is(script, style, svg image)").count() == 0
        )
        assert page.locator(".talk [onerror], .talk [onload], .talk [onmouseover]").count() == 0
        assert not any(
            (link.get_attribute("href") or "").lower().startswith("javascript")
            for link in page.locator(".talk a").all()
        )
        assert not page.title().startswith("run")
    assert (policy, dialogs) == ([], [])


def test_html_that_should_never_come_is_rebuilt_without_what_runs(page_for: PageFor):
    page = page_for("alice")
    page.goto("/settings/")
    wait_until_live(page)
    module = page.locator("script[type=module]").last.get_attribute("src")
    found = page.evaluate(
        """async (module) => {
             const { richText } = await import(new URL('richtext.js', new URL(module, location)));
             const html = `<p onclick="x()">a<img src=x onerror="x()"><b>b</b><script>x()<\\/script>
               <a href="javascript:x()">c</a><a href="/inbox/">d</a><a href="https://example.org/">e</a>
               <span class="mention" data-user="7">@me</span><span class="other">f</span>
               <style>p {}</style><iframe srcdoc="x"></iframe><svg><a href="x">g</a></svg></p>`;
             const made = document.createElement('div');
             made.append(richText(html, 7));
             return made.innerHTML.replace(/\\s+/g, ' ');
           }""",
        module,
    )
    assert found == (
        '<p dir="auto">ab c<a href="/inbox/">d</a><a href="https://example.org/" target="_blank" '
        'rel="nofollow noopener noreferrer">e</a> <span class="mention" data-me="">@me</span>f '
        "g</p>"
    )


def test_a_deleted_room_leaves_a_sentence_and_what_one_was_writing(pair, aside: Aside):
    alice, bob, room = pair
    send(alice, "soon gone")
    bob.reload()
    expect(row(bob, "soon gone")).to_be_visible()
    wait_until_live(bob)
    composer(alice).press("ArrowUp")
    alice.get_by_label("Edit message").fill("changed in vain")
    composer(bob).fill("Half a sen")
    aside(rooms.delete, room)
    for page in (alice, bob):
        expect(page.get_by_text("This room was deleted.")).to_be_visible()
        expect(page.locator(".message")).to_have_count(0)
        assert "soon gone" not in page.content()
        assert page.evaluate(
            "document.querySelector('.room-head').offsetWidth"
            " === document.querySelector('.room').offsetWidth"
        )
        assert violations(page) == []
    expect(composer(bob)).to_have_value("Half a sen")
    expect(composer(alice)).to_have_value("changed in vain")
    bob.get_by_role("link", name="Go to your rooms").click()


def test_who_is_taken_out_sees_nothing_more(pair, aside: Aside):
    alice, bob, room = pair
    send(alice, "before")
    expect(row(bob, "before")).to_be_visible()
    aside(rooms.remove, room, user_of(bob), user_of(alice))
    expect(bob.get_by_text("You can no longer read this room.")).to_be_visible(timeout=SLOW)
    expect(bob.locator(".message")).to_have_count(0)
    send(alice, "after")
    expect(row(alice, "after")).to_be_visible()
    bob.wait_for_timeout(500)
    assert "after" not in bob.locator("main").inner_text()


def test_the_name_and_the_topic_follow_whoever_changes_them(pair, aside: Aside):
    alice, bob, room = pair
    aside(rooms.edit, room, user_of(alice), name="Renamed", topic_line="Something else")
    for page in (alice, bob):
        expect(page.get_by_role("heading", name="Renamed")).to_be_visible()
        expect(page.locator(".room-line")).to_have_text("Something else")
        expect(page).to_have_title(re.compile("Renamed · Hub$"))
        expect(page.get_by_text("Only the members of this room read")).to_be_visible()
    aside(rooms.edit, room, user_of(alice), kind="open")
    for page in (alice, bob):
        expect(page.get_by_text("Everybody may read and join this room.")).to_be_visible()
        expect(page.get_by_text("Only the members of this room read")).to_be_hidden()


def test_who_looks_into_an_open_room_joins_by_a_button(page_for: PageFor, aside: Aside):
    alice, bob = page_for("alice"), page_for("bob")
    room = aside(make_room, user_of(alice), [], "open")
    enter(bob, room)
    bob.get_by_role("button", name="Join").click()
    expect(bob.get_by_text("You are only looking in")).to_be_hidden()
    expect(bob.locator("[data-slot=involvement]")).to_have_text("Mentions")
    expect(bob.get_by_role("log", name="Messages")).to_be_focused()


def test_without_a_websocket_the_room_lives_on(page_for: PageFor, aside: Aside):
    page = page_for("alice")
    page.route_web_socket(re.compile("/ws/"), lambda socket: socket.close(code=1011))
    user, other = user_of(page), aside(newcomer, "bob")
    room = aside(make_room, user, [other])
    page.goto(f"/rooms/{room.pk}/")
    wait_until_live_somehow(page)
    send(page, "by post")
    expect(page.locator(".message[data-id]")).to_have_count(1, timeout=SLOW)
    aside(say, other, room, "heard")
    expect(row(page, "heard")).to_be_visible(timeout=SLOW)
    assert is_read_to_the_end(page, room, aside)
    assert aside(stored, room) == ["by post", "heard"]


def wait_until_live_somehow(page: Page) -> None:
    page.wait_for_selector("html[data-link=live]", state="attached", timeout=SLOW)


def test_without_scripts_a_room_is_read_and_written_in(page_for: PageFor, aside: Aside):
    page = page_for("alice", java_script_enabled=False)
    user = user_of(page)
    room = aside(make_room, user)
    aside(fill, user, room, *numbered(1, 60))
    page.goto(f"/rooms/{room.pk}/")
    page.get_by_role("link", name="Older").click()
    assert texts(page) == numbered(1, 10)
    composer(page).fill("by form")
    page.get_by_role("button", name="Send").click()
    assert texts(page)[-1] == "by form"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_a_room(page_for: PageFor, aside: Aside, theme: str):
    page = page_for("alice", color_scheme=theme)
    user, other = user_of(page), aside(newcomer, "bob")
    room = aside(make_room, user, [other])
    name = user.username
    said = aside(fill, user, room, *numbered(1, 60), "```\n" + "y" * 300 + "\n```", "> quoted")
    aside(say, other, room, f"@{name} **look** at `this`", "https://example.org/")
    aside(messages.edit, user, room.pk, said[58], "edited")
    aside(messages.delete, user, room.pk, said[57])
    enter(page, room)
    expect(page.locator(".talk-new")).to_be_visible()
    assert violations(page) == []
    row(page, "> quoted").or_(row(page, "quoted")).first.hover()
    page.get_by_role("button", name="Delete").click()
    assert violations(page) == []
    page.get_by_role("button", name="Keep it").click()
    composer(page).press("ArrowUp")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.locator(".room-involve summary").click()
    assert violations(page) == []
