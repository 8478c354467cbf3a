"""The browser's client against the real server: on a bare page, so that nothing but the client is seen."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, Page

from events import epoch, log, publish, publish_many, topics
from events.models import Topic
from tests.browser.conftest import ContextFor
from tests.live import Aside, LiveServer, live_server

BARE = "/healthz"
"""A document of ours without scripts, under the same policy as the pages."""

LOAD = """async () => {
  const { hub } = await import("/static/hub/client.js");
  window.hub = hub;
  window.seen = { event: [], whisper: [], reset: [], revoked: [], state: [], welcome: [] };
  for (const [name, values] of Object.entries(seen)) hub.on(name, (value) => values.push(structuredClone(value)));
}"""


PERSISTED = "{ persisted: true }"


def bare(
    context: BrowserContext, base: str = "", prepare: Callable[[Page], None] | None = None
) -> Page:
    page = context.new_page()
    if prepare is not None:
        prepare(page)
    page.goto(f"{base}{BARE}")
    page.evaluate(LOAD)
    return page


def start(page: Page, cursor: str | None, *extra: str) -> None:
    page.evaluate("([cursor, topics]) => hub.start({ cursor, topics })", [cursor, list(extra)])


def wait_for_state(page: Page, state: str, *, seconds: float = 15) -> None:
    page.wait_for_function("state => hub.state === state", arg=state, timeout=seconds * 1000)


def offsets(page: Page, topic: str) -> list[int]:
    found: list[int] = page.evaluate(
        "topic => seen.event.filter((e) => e.topic === topic).map((e) => e.offset)", topic
    )
    return found


def wait_for_offset(page: Page, topic: str, offset: int, *, seconds: float = 20) -> None:
    page.wait_for_function(
        "([topic, offset]) => seen.event.some((e) => e.topic === topic && e.offset === offset)",
        arg=[topic, offset],
        timeout=seconds * 1000,
    )


def cursor_for(user: User) -> str:
    return log.cursor([topics.user(user.pk), topics.DASHBOARD])


@pytest.fixture
def alice(context_for: ContextFor) -> BrowserContext:
    return context_for("alice")


def test_an_event_arrives_and_whom_it_is_not_for_sees_nothing(context_for, aside: Aside):
    alice, bob = context_for("alice"), context_for("bob")
    pages = {}
    for context in (alice, bob):
        pages[context] = bare(context)
        start(pages[context], aside(cursor_for, context.user))
        wait_for_state(pages[context], "live")
    mine = topics.user(alice.user.pk)
    aside(publish, mine, "test.first", {"text": "<b>한글</b>"})
    wait_for_offset(pages[alice], mine, 1)
    assert pages[alice].evaluate("seen.event[0].data.text") == "<b>한글</b>"
    aside(publish, topics.DASHBOARD, "test.all", {})
    head = aside(log.heads, [topics.DASHBOARD])[topics.DASHBOARD]
    for page in pages.values():
        wait_for_offset(page, topics.DASHBOARD, head)
    assert pages[bob].evaluate("seen.event.map((e) => e.topic)") == [topics.DASHBOARD]
    assert pages[alice].evaluate("hub.transport") == "websocket"


def test_what_happened_before_the_page_was_there_comes_with_its_cursor(alice, aside: Aside):
    mine = topics.user(alice.user.pk)
    cursor = aside(cursor_for, alice.user)
    aside(publish_many, [(mine, "test.many", {"n": n}) for n in range(700)])
    page = bare(alice)
    start(page, cursor)
    wait_for_offset(page, mine, 700)
    assert offsets(page, mine) == list(range(1, 701))


def test_two_people_get_each_event_once_and_in_order_while_the_server_is_killed(
    context_for, aside: Aside
):
    """SIGKILL twice while events flow; each page ends with the log's own list."""
    with live_server(static=True) as server:
        contexts = [context_for(name, server=server) for name in ("alice", "bob")]
        pages = [bare(context) for context in contexts]
        for page, context in zip(pages, contexts, strict=True):
            start(page, aside(cursor_for, context.user))
            wait_for_state(page, "live")
        mine = [topics.user(context.user.pk) for context in contexts]
        shared = aside(log.heads, [topics.DASHBOARD])[topics.DASHBOARD]
        for n in range(150):
            for topic in (*mine, topics.DASHBOARD):
                aside(publish, topic, "test.flow", {"n": n})
            if n in {30, 90}:
                server.streams.kill()
            if n in {45, 92}:
                server.streams.start()
        for page, topic in zip(pages, mine, strict=True):
            wait_for_offset(page, topic, 150, seconds=45)
            wait_for_offset(page, topics.DASHBOARD, shared + 150)
            assert offsets(page, topic) == list(range(1, 151))
            assert offsets(page, topics.DASHBOARD) == list(range(shared + 1, shared + 151))
            assert page.evaluate("seen.reset") == []


def refuse_sockets(page: Page) -> None:
    """A proxy that knows no WebSockets: the handshake fails."""
    page.add_init_script(
        """window.WebSocket = class extends EventTarget {
          constructor() { super(); setTimeout(() => this.onclose({ code: 1006 })); }
          close() {}
        };"""
    )


def blocked(alice: BrowserContext, *paths: str) -> Page:
    def prepare(page: Page) -> None:
        refuse_sockets(page)
        for path in paths:
            page.route(f"**{path}*", lambda route: route.fulfill(status=502, body="no"))

    return bare(alice, prepare=prepare)


@pytest.mark.parametrize(
    ("transport", "paths"),
    [
        ("sse", []),
        ("long-poll", ["/events/stream"]),
        ("poll", ["/events/stream", "/events/long-poll"]),
    ],
)
def test_where_a_better_transport_does_not_get_through_the_next_one_shows_the_same(
    alice, aside: Aside, transport, paths
):
    mine = topics.user(alice.user.pk)
    page = blocked(alice, *paths)
    start(page, aside(cursor_for, alice.user))
    page.wait_for_function(
        "transport => hub.transport === transport && hub.state === 'live'",
        arg=transport,
        timeout=40_000,
    )
    for n in range(20):
        aside(publish, mine, "test.flow", {"n": n})
    wait_for_offset(page, mine, 20)
    assert offsets(page, mine) == list(range(1, 21))
    assert page.evaluate("seen.reset") == []
    page.evaluate("topic => hub.subscribe(topic)", topics.group("sales"))
    page.wait_for_function("hub.state === 'live' && hub.cursor.includes('group.sales')")
    before = aside(log.heads, [topics.group("sales")])[topics.group("sales")]
    aside(publish, topics.group("sales"), "test.sale", {})
    wait_for_offset(page, topics.group("sales"), before + 1)
    aside(publish, mine, "test.last", {})
    wait_for_offset(page, mine, 21)


def test_a_stream_whose_position_is_gone_is_reset_once_and_goes_on(alice, aside: Aside):
    mine = topics.user(alice.user.pk)
    page = blocked(alice)
    start(page, aside(cursor_for, alice.user))
    page.wait_for_function("hub.transport === 'sse' && hub.state === 'live'", timeout=40_000)
    page.evaluate(f"() => window.dispatchEvent(Object.assign(new Event('pagehide'), {PERSISTED}))")
    aside(publish_many, [(mine, "test.flow", {"n": n}) for n in range(5)])
    aside(Topic.objects.filter(name=mine).update, floor=3)
    page.evaluate(f"() => window.dispatchEvent(Object.assign(new Event('pageshow'), {PERSISTED}))")
    page.wait_for_function("seen.reset.length")
    wait_for_state(page, "live")
    aside(publish, mine, "test.last", {})
    wait_for_offset(page, mine, 6)
    assert page.evaluate("seen.reset") == [
        {"op": "reset", "topic": mine, "offset": 5, "reason": "expired"}
    ]
    assert page.evaluate("hub.transport") == "sse"


def test_signing_out_in_another_tab_is_seen_here(alice, aside: Aside):
    page = bare(alice)
    start(page, aside(cursor_for, alice.user))
    wait_for_state(page, "live")
    other = alice.new_page()
    other.goto("/accounts/login/")
    token = other.locator("input[name=csrfmiddlewaretoken]").first.input_value()
    other.evaluate(
        """token => fetch("/accounts/logout/", {
          method: "POST", body: new URLSearchParams({ csrfmiddlewaretoken: token }), redirect: "manual" })""",
        token,
    )
    wait_for_state(page, "signed-out")
    assert page.evaluate("hub.code") == 4401


def test_a_position_the_log_no_longer_has_is_reset_and_its_events_kept_until_the_snapshot(
    alice, aside: Aside
):
    mine = topics.user(alice.user.pk)
    of_now = aside(epoch.current)
    aside(publish, mine, "test.old", {})
    page = bare(alice)
    page.evaluate("() => { hub.on('reset', ({ topic }) => hub.hold(topic)); }")
    start(page, f"{of_now}~{mine}:999")
    wait_for_state(page, "live")
    page.wait_for_function("seen.reset.length")
    assert page.evaluate("seen.reset[0].reason") == "ahead"
    for _ in range(3):
        aside(publish, mine, "test.new", {})
    page.wait_for_function("topic => hub.cursor.includes(`${topic}:4`)", arg=mine)
    assert offsets(page, mine) == []
    page.evaluate("([topic, cursor]) => hub.release(topic, cursor)", [mine, f"{of_now}~{mine}:2"])
    assert offsets(page, mine) == [3, 4]


def test_a_restored_log_is_noticed_and_gone_on_with(alice, aside: Aside):
    mine = topics.user(alice.user.pk)
    page = bare(alice)
    start(page, aside(cursor_for, alice.user))
    wait_for_state(page, "live")
    aside(publish, mine, "test.before", {})
    wait_for_offset(page, mine, 1)
    renewed = aside(epoch.renew)
    page.wait_for_function(
        "topic => seen.reset.some((r) => r.topic === topic && r.reason === 'epoch')", arg=mine
    )
    aside(publish, mine, "test.after", {})
    wait_for_offset(page, mine, 2)
    # No heartbeat has named the new epoch yet: the position is refused once more, and nothing is lost by it.
    page.evaluate("() => { hub.on('welcome', () => { window.again = true; }); }")
    page.evaluate(f"() => window.dispatchEvent(Object.assign(new Event('pagehide'), {PERSISTED}))")
    page.evaluate(f"() => window.dispatchEvent(Object.assign(new Event('pageshow'), {PERSISTED}))")
    page.wait_for_function("window.again")
    aside(publish, mine, "test.last", {})
    wait_for_offset(page, mine, 3)
    assert page.evaluate("hub.cursor").startswith(f"{renewed}~")
    assert offsets(page, mine) == [1, 2, 3]


def test_a_topic_that_may_not_be_read_is_reported(alice, context_for, aside: Aside):
    bob = topics.user(context_for("bob").user.pk)
    page = bare(alice)
    start(page, aside(cursor_for, alice.user), bob)
    wait_for_state(page, "live")
    page.wait_for_function("seen.revoked.length")
    page.evaluate("topic => hub.subscribe(topic)", bob)
    page.wait_for_function("seen.revoked.length === 2")
    assert page.evaluate("seen.revoked.map((r) => r.topic)") == [bob, bob]


def test_requests_are_answered(alice, aside: Aside):
    page = bare(alice)
    start(page, aside(cursor_for, alice.user))
    wait_for_state(page, "live")
    assert "at" in page.evaluate("hub.request({ op: 'ping' })")
    refused = page.evaluate("hub.request({ op: 'nonsense' }).catch((error) => error.code)")
    assert refused == "bad_frame"


def test_a_slow_and_breaking_line_costs_time_and_no_event(alice, hub_server, aside: Aside):
    mine = topics.user(alice.user.pk)
    with SlowLine(hub_server) as line:
        page = bare(alice, line.url)
        start(page, aside(cursor_for, alice.user))
        wait_for_state(page, "live", seconds=20)
        for n in range(60):
            aside(publish, mine, "test.slow", {"n": n, "text": "x" * 2000})
            if n % 20 == 10:
                line.cut()
        wait_for_offset(page, mine, 60, seconds=45)
        assert offsets(page, mine) == list(range(1, 61))


class SlowLine:
    """A TCP proxy in front of the server: 30 ms each way, 100 kB/s, and it can cut every connection."""

    def __init__(self, server: LiveServer) -> None:
        host, _, port = server.stream_url.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> SlowLine:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def cut(self) -> None:
        while self._open:
            _hang_up(self._open.pop())

    def _start(self, run: Callable[..., None], *args: socket.socket) -> None:
        self._threads.append(threading.Thread(target=run, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                self._start(self._pump, client, server)
                self._start(self._pump, server, client)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(3000):
                time.sleep(0.03)
                other.sendall(data)
        _hang_up(other)
        _hang_up(one)
        one.close()


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
