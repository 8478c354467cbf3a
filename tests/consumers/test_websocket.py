"""What only a socket has: frames, replies, limits, close codes, focused addresses, Origin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from websockets.asyncio.client import ClientConnection

import events
from accounts import refusals
from accounts.authenticate import make_key
from consumers import outbox, websocket
from consumers.database import in_database
from consumers.echo import EchoSocket
from consumers.limits import FRAME_WINDOW, FRAMES_PER_SECOND, Allowance
from consumers.protocol import Whisper
from events import topics
from tests.live import LiveServer, cookies_of, newcomer

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(60)]
ALL_ADDRESSES = ["/ws/", "/ws/me/", "/ws/groups/dashboard/", "/ws/echo/"]


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_key(user, 'test')[1]}"}


async def someone(name: str = "alice") -> tuple[User, dict[str, str]]:
    user = await in_database(newcomer, name)
    return user, await in_database(bearer, user)


def connect(server: LiveServer, path: str, headers: dict[str, str], **query: str) -> Any:
    return websockets.connect(
        server.ws(path, **query), additional_headers=headers, max_size=2**20, ping_interval=None
    )


async def hear(socket: ClientConnection) -> dict[str, Any]:
    """The next frame; who comes and goes in other tests is not for this one."""
    async with asyncio.timeout(10):
        while True:
            value: dict[str, Any] = json.loads(await socket.recv())
            if "type" not in value or not value["type"].startswith("presence."):
                return value


async def ask(socket: ClientConnection, **frame: Any) -> dict[str, Any]:
    await socket.send(json.dumps(frame))
    return await hear(socket)


async def close_code(socket: ClientConnection) -> int:
    async with asyncio.timeout(15):
        await socket.wait_closed()
    assert socket.close_code is not None
    return socket.close_code


async def test_welcome_says_who_one_is_and_where_each_topic_goes_on(hub_server):
    alice, headers = await someone()
    team = await in_database(Group.objects.create, name=f"team {alice.username}")
    await in_database(alice.groups.add, team)
    await in_database(events.publish, topics.user(alice.pk), "order.late", {})
    async with connect(hub_server, "/ws/", headers) as socket:
        welcome = await hear(socket)
    assert welcome["op"] == "welcome"
    assert welcome["protocol"] == 1
    assert welcome["user"]["id"] == alice.pk
    assert welcome["offsets"][topics.user(alice.pk)] == 1
    assert set(welcome["offsets"]) >= {*topics.groups(), topics.team(team.pk)}
    assert welcome["cursor"].startswith(welcome["epoch"] + "~")
    assert welcome["heartbeat"] == 25


async def test_the_welcome_comes_first_whatever_is_whispered_meanwhile(hub_server):
    _, headers = await someone()
    over = asyncio.Event()

    async def keep_whispering() -> None:
        while not over.is_set():
            await in_database(events.whisper, topics.DASHBOARD, "report.ready", {})

    whispering = asyncio.create_task(keep_whispering())
    first = []
    for _ in range(20):
        async with connect(hub_server, "/ws/groups/dashboard/", headers) as socket:
            first.append(json.loads(await socket.recv())["op"])
    over.set()
    await whispering
    assert set(first) == {"welcome"}


async def test_replies_carry_the_ref_of_their_question(hub_server):
    _, headers = await someone()
    async with connect(hub_server, "/ws/", headers) as socket:
        await hear(socket)
        for ref in ["a", 7, ""]:
            answer = await ask(socket, op="ping", ref=ref)
            assert (answer["op"], answer["ref"], answer["ok"]) == ("reply", ref, True)
            assert answer["data"]["at"].endswith("Z")
        assert "ref" not in await ask(socket, op="ping")


async def test_subscribe_and_unsubscribe(hub_server):
    alice, headers = await someone()
    own = topics.user(alice.pk)
    await in_database(events.publish_many, [(own, "order.late", {"n": n}) for n in range(3)])
    async with connect(hub_server, "/ws/groups/dashboard/", headers) as socket:
        welcome = await hear(socket)
        answer = await ask(socket, op="subscribe", topic=own, cursor=1, ref=1)
        assert answer["data"] == {"topic": own, "offset": 1, "epoch": welcome["epoch"]}
        missed: Any = await hear(socket)
        assert [event["offset"] for event in missed] == [2, 3]
        assert (await ask(socket, op="unsubscribe", topic=own, ref=2))["data"] == {}
        await in_database(events.publish, own, "order.late", {})
        assert (await ask(socket, op="ping", ref=3))["ref"] == 3  # and nothing before it
        answer = await ask(socket, op="subscribe", topic=own, cursor=99, ref=4)
        assert answer["data"]["offset"] == 4
        assert await hear(socket) == {"op": "reset", "topic": own, "offset": 4, "reason": "ahead"}
        answer = await ask(socket, op="subscribe", topic=own, cursor=f"ffff~{own}:2", ref=5)
        assert (await hear(socket))["reason"] == "epoch"


async def test_subscribing_twice_shows_nothing_twice(hub_server):
    alice, headers = await someone()
    own = topics.user(alice.pk)
    async with connect(hub_server, "/ws/me/", headers) as socket:
        await hear(socket)
        await in_database(events.publish, own, "order.late", {})
        assert (await hear(socket))["offset"] == 1
        assert (await ask(socket, op="subscribe", topic=own, ref=1))["data"]["offset"] == 1
        await in_database(events.publish, own, "order.late", {})
        assert (await hear(socket))["offset"] == 2


@pytest.mark.parametrize(
    "topic", ["user.1", "room.1", "team.1", "group.none", "access", "rubbish", ""]
)
async def test_foreign_absent_and_malformed_topics_are_refused_alike(hub_server, topic):
    _, headers = await someone()
    async with connect(hub_server, "/ws/", headers) as socket:
        await hear(socket)
        answer = await ask(socket, op="subscribe", topic=topic, ref=1)
        assert (answer["ok"], answer["error"]["code"]) == (False, "forbidden")
        for op in ["post", "read", "typing"]:
            answer = await ask(
                socket, op=op, topic=topic, client_id="x", body="hi", offset=1, ref=2
            )
            assert (answer["ok"], answer["error"]["code"]) == (False, "forbidden")


async def test_focused_addresses_serve_one_subject(hub_server):
    alice, headers = await someone()
    for path, topic in [
        ("/ws/me/", topics.user(alice.pk)),
        ("/ws/groups/dashboard/", topics.DASHBOARD),
        ("/ws/groups/sales/", "group.sales"),
    ]:
        async with connect(hub_server, path, headers) as socket:
            assert list((await hear(socket))["offsets"]) == [topic]
    async with connect(hub_server, "/ws/me/", headers, topics="group.sales,user.1") as socket:
        assert set((await hear(socket))["offsets"]) == {topics.user(alice.pk), "group.sales"}
        assert await hear(socket) == {"op": "revoked", "topic": "user.1"}


@pytest.mark.parametrize(
    "path",
    [
        "/ws/groups/none/",
        "/ws/rooms/1/",
        "/ws/rooms/x/",
        "/ws/jobs/0f8fad5b-d9cb-469f-a165-70867728950e/",
        "/ws/jobs/1/",
        "/ws/nowhere/",
    ],
)
async def test_a_subject_that_may_not_be_read_closes_with_4403(hub_server, path):
    _, headers = await someone()
    async with connect(hub_server, path, headers) as socket:
        assert await close_code(socket) == 4403


@pytest.mark.parametrize("path", ALL_ADDRESSES)
async def test_strangers_are_closed_with_4401(hub_server, path):
    for headers in [{}, {"Authorization": "Bearer nonsense"}, {"Cookie": "sessionid=nonsense"}]:
        async with connect(hub_server, path, headers) as socket:
            assert await close_code(socket) == 4401


@pytest.mark.parametrize("path", ALL_ADDRESSES)
async def test_only_our_own_pages_may_use_the_cookie(hub_server, path):
    alice, _ = await someone()
    cookie = await in_database(cookies_of, alice)
    session = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookie.items())}
    host = hub_server.host
    for origin in [
        None,
        "null",
        "",
        "http://evil.example",
        f"https://{host}",
        f"http://{host}.evil.example",
        f"http://{host}@evil.example",
        "http://[",
        f"http://{host}/",
        f"http://{host}, http://evil.example",
    ]:
        headers = session if origin is None else {**session, "Origin": origin}
        try:
            async with connect(hub_server, path, headers) as socket:
                assert await close_code(socket) == 4403, origin
        except (
            websockets.InvalidStatus
        ) as refused:  # Daphne's own refusal of an Origin that is no URL
            assert refused.response.status_code in {400, 403}, origin
    async with connect(hub_server, path, {**session, "Origin": hub_server.url}) as socket:
        if path == "/ws/echo/":
            await socket.send("한국어")
            assert await socket.recv() == "한국어"
        else:
            assert (await hear(socket))["op"] == "welcome"


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "nonsense",
        "[]",
        "1",
        "null",
        '{"op":"fly"}',
        '{"op":null}',
        '{"op":"subscribe"}',
        '{"op":"subscribe","topic":1}',
        '{"op":"subscribe","topic":"user.1","cursor":true}',
        '{"op":"visible","value":"yes"}',
        '{"op":"read","topic":"room.1","offset":1.5}',
        '{"op":"ping","ref":[1]}',
        b"\x00\x01",
    ],
)
async def test_a_frame_that_says_nothing_gets_a_reply_that_says_so(hub_server, frame):
    _, headers = await someone()
    async with connect(hub_server, "/ws/", headers) as socket:
        await hear(socket)
        await socket.send(frame)
        answer = await hear(socket)
        assert (answer["op"], answer["ok"], answer["error"]["code"]) == (
            "reply",
            False,
            "bad_frame",
        )
        assert len(answer["error"]["detail"]) > 10


async def test_ten_bad_frames_in_a_minute_are_too_many(hub_server):
    _, headers = await someone()
    async with connect(hub_server, "/ws/", headers) as socket:
        for _ in range(10):
            await socket.send("nonsense")
        assert await close_code(socket) == 4400


@pytest.mark.parametrize("path", ["/ws/", "/ws/echo/"])
async def test_a_frame_over_the_limit_closes_and_says_why(hub_server, path):
    _, headers = await someone()
    for frame in ["x" * (64 * 1024 + 1), "x" * 2**20, b"x" * 2**20]:
        async with connect(hub_server, path, headers) as socket:
            if path == "/ws/":
                await hear(socket)
            await socket.send(frame)
            assert await close_code(socket) in {1009, 4413}


async def test_a_frame_of_just_the_limit_is_taken(hub_server):
    _, headers = await someone()
    async with connect(hub_server, "/ws/echo/", headers) as socket:
        text = "x" * (64 * 1024)
        await socket.send(text)
        assert await socket.recv() == text


async def test_who_talks_too_fast_is_closed_with_4429_and_nobody_else_notices(hub_server):
    _, headers = await someone()
    _, others = await someone("bob")
    async with (
        connect(hub_server, "/ws/", headers) as socket,
        connect(hub_server, "/ws/", others) as bystander,
    ):
        await hear(bystander)
        for _ in range(700):
            await socket.send('{"op":"visible","value":true}')
        assert await close_code(socket) == 4429
        assert (await ask(bystander, op="ping"))["ok"]


@pytest.mark.parametrize("transport", ["websocket", "stream"])
async def test_who_does_not_read_costs_the_server_little_and_misses_nothing(hub_server, transport):
    """Twelve megabytes wait for each of eight clients: in the log, not in the server."""
    alice, headers = await someone()
    own = topics.user(alice.pk)
    count, clients = 600, 8
    process = hub_server.streams.process
    assert process is not None

    def publish() -> None:
        for _ in range(0, count, 50):
            events.publish_many([(own, "order.late", {"text": "x" * 20_000})] * 50)

    seen: list[list[int]] = [[] for _ in range(clients)]
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(unread(hub_server, transport, headers, own))
            for _ in range(clients)
        ]
        before = resident(process.pid)
        await in_database(publish)
        await asyncio.sleep(1.5)
        assert resident(process.pid) - before < 45 * 2**20  # reading a page of it takes some, too
        async with asyncio.timeout(40):
            for offsets, reader in zip(seen, readers, strict=True):
                while len(offsets) < count:
                    offsets += await anext(reader)
    assert seen == [list(range(1, count + 1))] * clients


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


@asynccontextmanager
async def unread(
    server: LiveServer, transport: str, headers: dict[str, str], own: str
) -> AsyncIterator[AsyncIterator[list[int]]]:
    """A connection that takes nothing from its socket until somebody asks for the next offsets."""
    if transport == "websocket":
        async with websockets.connect(
            server.ws("/ws/me/"), additional_headers=headers, max_size=2**20, max_queue=1
        ) as socket:
            await hear(socket)
            yield _offsets_of_frames(socket)
    else:
        async with (
            httpx.AsyncClient(timeout=40, headers=headers) as client,
            client.stream("GET", server.events("stream", topics=own)) as response,
        ):
            yield _offsets_of_blocks(response)


async def _offsets_of_frames(socket: ClientConnection) -> AsyncIterator[list[int]]:
    async for text in socket:
        value = json.loads(text)
        yield [one["offset"] for one in (value if isinstance(value, list) else [value])]


async def _offsets_of_blocks(response: httpx.Response) -> AsyncIterator[list[int]]:
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield [json.loads(line[6:])["offset"]]


async def test_the_five_hundred_and_first_socket_of_a_person_is_refused(hub_server):
    _, headers = await someone()
    async with AsyncExitStack() as stack:
        echo = await stack.enter_async_context(connect(hub_server, "/ws/echo/", headers))
        await echoes(echo)
        for size in [19, *[20] * 24]:
            opened = await asyncio.gather(
                *(
                    stack.enter_async_context(connect(hub_server, "/ws/me/", headers))
                    for _ in range(size)
                )
            )
            await asyncio.gather(*(hear(socket) for socket in opened))
        for path in ["/ws/me/", "/ws/echo/"]:
            async with connect(hub_server, path, headers) as socket:
                assert await close_code(socket) == 4409
    async with asyncio.timeout(10):
        while True:
            async with connect(hub_server, "/ws/me/", headers) as socket:
                try:
                    assert (await hear(socket))["op"] == "welcome"
                    break
                except websockets.ConnectionClosed:
                    await asyncio.sleep(0.05)


async def test_one_connection_can_be_told_something_alone(hub_server):
    _, headers = await someone()
    async with (
        connect(hub_server, "/ws/", headers) as socket,
        connect(hub_server, "/ws/", headers) as other,
    ):
        welcome = await hear(socket)
        await hear(other)
        await in_database(events.send, welcome["connection"], "report.ready", {"n": 1})
        assert await hear(socket) == {"op": "whisper", "type": "report.ready", "data": {"n": 1}}
        assert (await ask(other, op="ping"))["op"] == "reply"
        await in_database(events.send, "gone~1", "report.ready", {})


async def test_the_very_first_connections_can_be_told_alone_too(live_tables):
    from tests.live import live_server

    _, headers = await someone()
    with live_server("daphne") as server:
        async with AsyncExitStack() as stack:
            sockets = await asyncio.gather(
                *(stack.enter_async_context(connect(server, "/ws/", headers)) for _ in range(4))
            )
            for socket in sockets:
                name = (await hear(socket))["connection"]
                await in_database(events.send, name, "report.ready", {"to": name})
                assert (await hear(socket))["data"] == {"to": name}


async def echoes(socket: ClientConnection) -> None:
    """It is in: the door has let it pass."""
    async with asyncio.timeout(10):
        await socket.send("hello")
        assert await socket.recv() == "hello"


async def test_a_lost_right_to_be_here_ends_an_echo_like_every_other_socket(hub_server):
    alice, _ = await someone()
    cookies = await in_database(cookies_of, alice)
    (session_key,) = cookies.values()
    headers = {"Cookie": f"sessionid={session_key}", "Origin": hub_server.url}
    async with (
        connect(hub_server, "/ws/echo/", headers) as socket,
        connect(hub_server, "/ws/echo/", await in_database(bearer, alice)) as other,
    ):
        await echoes(socket)
        await echoes(other)
        await in_database(Session.objects.filter(pk=session_key).delete)
        assert await close_code(socket) == 4401
        await echoes(other)
        alice.is_active = False
        await in_database(alice.save)
        assert await close_code(other) == 4401


async def test_a_writer_that_fails_is_told_of_and_ends_its_socket(monkeypatch, caplog):
    def fail(_: Any) -> list[str]:
        raise ValueError("no frame")

    monkeypatch.setattr(websocket, "_texts", fail)
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    socket = websocket.HubSocket()
    socket.scope, socket.base_send, socket._closed = {}, send, False
    socket.push(Whisper(None, "report.ready", {}))
    await socket._write()
    assert sent == [{"type": "websocket.close", "code": 1011}]
    assert "no frame" in caplog.text


def nothing_taken() -> tuple[list[Any], Callable[[Any], Awaitable[None]]]:
    """What a server was given to send, and its `send`, which waits for a client that does not read."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "websocket.send":
            await asyncio.Event().wait()

    return sent, send


async def test_a_client_that_does_not_take_a_write_is_closed_as_too_slow(monkeypatch):
    monkeypatch.setattr(outbox, "STUCK", 0.05)
    sent, send = nothing_taken()
    socket = websocket.HubSocket()
    socket.scope, socket.base_send, socket._closed = {"user": User(pk=1)}, send, False
    socket.push(Whisper(None, "report.ready", {}))
    await socket._write()
    assert sent[1:] == [{"type": "websocket.close", "code": 4408}]


async def test_an_echo_that_is_not_taken_is_closed_as_too_slow_and_counted(monkeypatch):
    monkeypatch.setattr(outbox, "STUCK", 0.05)
    sent, send = nothing_taken()
    socket = EchoSocket()
    socket.scope, socket.base_send, socket._closed = {}, send, False
    socket._frames = Allowance(FRAMES_PER_SECOND, FRAME_WINDOW)
    before = refusals.counts()["slow_reader"]
    await socket.dispatch({"type": "websocket.receive", "text": "x"})
    assert sent[1:] == [{"type": "websocket.close", "code": 4408}]
    assert refusals.counts()["slow_reader"] == before + 1


async def test_a_restart_tells_the_sockets_to_come_back(live_tables):
    from tests.live import live_server

    _, headers = await someone()
    with live_server("daphne") as server:
        async with (
            connect(server, "/ws/", headers) as socket,
            connect(server, "/ws/echo/", headers) as echo,
        ):
            await hear(socket)
            await echoes(echo)
            stopped = asyncio.create_task(asyncio.to_thread(server.streams.stop))
            assert await close_code(socket) == 4012
            assert await close_code(echo) == 4012
            assert await stopped == 0


async def test_http_doors_take_get_alone(hub_server):
    async with httpx.AsyncClient() as client:
        for path in ["poll", "long-poll", "stream"]:
            answer = await client.post(hub_server.events(path))
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        answer = await client.get(hub_server.events("nowhere"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_another_site_cannot_read_events_with_the_cookie(hub_server):
    alice, _ = await someone()
    cookies = await in_database(cookies_of, alice)
    async with httpx.AsyncClient(cookies=cookies) as client:
        for path in ["poll", "long-poll", "stream"]:
            answer = await client.get(
                hub_server.events(path), headers={"Sec-Fetch-Site": "cross-site"}
            )
            assert answer.status_code == 403
