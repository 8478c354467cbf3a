"""Each limit from outside: a clear answer, its counter in `/metrics` rises, and the log says so."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import websockets
from django.contrib.auth.models import User

from accounts import attempts
from accounts.authenticate import make_key
from accounts.refusals import Reason
from chat.models import Kind, Room
from consumers import switchboard
from consumers.commands import MOST_SUBSCRIBED
from consumers.database import in_database
from consumers.limits import BAD_FRAMES, FRAME_WINDOW, FRAMES_PER_SECOND
from consumers.protocol import MAX_FRAME
from events import redis_client, topics
from events.publishing import MAX_DATA
from tests.live import LiveServer, cookies_of, newcomer
from tests.people import PASSWORD

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(60)]


def refused(server: LiveServer, reason: Reason) -> float:
    text = httpx.get(f"{server.url}/metrics", timeout=10).text
    found = re.search(rf'^hub_refusals_total{{reason="{reason}"}} (\S+)$', text, re.MULTILINE)
    assert found, reason
    return float(found[1])


@contextmanager
def counted(server: LiveServer, reason: Reason, times: int = 1) -> Iterator[None]:
    before, logged = refused(server, reason), noted(server, reason)
    yield
    assert refused(server, reason) - before == times
    assert noted(server, reason) - logged == times


def noted(server: LiveServer, reason: Reason) -> int:
    return server.said().count(f"a limit turned somebody away: {reason}")


def key_of(user: User) -> tuple[int, dict[str, str]]:
    row, key = make_key(user, "test")
    return row.pk, {"Authorization": f"Bearer {key}"}


async def someone() -> tuple[User, dict[str, str]]:
    user = await in_database(newcomer)
    return user, (await in_database(key_of, user))[1]


def connect(
    server: LiveServer, headers: dict[str, str], path: str = "/ws/", **query: str
) -> websockets.connect:
    return websockets.connect(
        server.ws(path, **query), additional_headers=headers, ping_interval=None, max_size=2**20
    )


async def close_code(socket: websockets.ClientConnection) -> int | None:
    async with asyncio.timeout(15):
        await socket.wait_closed()
    return socket.close_code


async def answer_to(socket: websockets.ClientConnection, **frame: Any) -> dict[str, Any]:
    await socket.send(json.dumps({"ref": "here", **frame}))
    async with asyncio.timeout(15):
        while True:
            value: Any = json.loads(await socket.recv())
            if isinstance(value, dict) and value.get("ref") == "here":
                return value


def fill(bucket: str, seconds: int) -> None:
    """As if all that may come at once had, and what leaks out in two seconds with it."""
    empty = time.time_ns() // 1000 + (seconds + 2) * 1_000_000
    redis_client.blocking().set(f"{redis_client.prefix()}:rate:{bucket}", empty, ex=seconds + 2)


def is_told(answer: httpx.Response, status: int, code: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert re.search(r"\w+ \w+.*\.$", error["detail"]), error
    if status == 429:
        assert int(answer.headers["Retry-After"]) >= 1


async def test_connections_of_a_person(hub_server: LiveServer):
    _, headers = await someone()
    asking = asyncio.Semaphore(30)

    async def stay(client: httpx.AsyncClient) -> httpx.Response:
        async with asking:
            request = client.build_request("GET", hub_server.events("stream"), headers=headers)
            return await client.send(request, stream=True)

    limits = httpx.Limits(max_connections=600)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:
        opened = await asyncio.gather(*(stay(client) for _ in range(400)))
        await asyncio.sleep(3)  # that many asked at once; the allowance of questions refills
        opened += await asyncio.gather(
            *(stay(client) for _ in range(switchboard.MOST_CONNECTIONS - 400))
        )
        assert {one.status_code for one in opened} == {200}
        with counted(hub_server, "connections", 3):
            for transport in ("stream", "long-poll"):
                answer = await client.get(hub_server.events(transport), headers=headers)
                is_told(answer, 429, "too_many")
            async with connect(hub_server, headers) as socket:
                assert await close_code(socket) == 4409
        for one in opened:
            await one.aclose()


async def test_frames_a_second(hub_server: LiveServer):
    _, headers = await someone()
    with counted(hub_server, "frame_rate"):
        async with connect(hub_server, headers) as socket:
            for _ in range(FRAMES_PER_SECOND * FRAME_WINDOW + 200):
                await socket.send('{"op":"visible","value":true}')
            assert await close_code(socket) == 4429


async def test_pings_a_second(hub_server: LiveServer):
    _, headers = await someone()
    with counted(hub_server, "frame_rate"):
        async with connect(hub_server, headers) as socket:
            for _ in range(FRAMES_PER_SECOND * FRAME_WINDOW + 200):
                await socket.ping()
            assert await close_code(socket) == 4429


async def test_frame_size(hub_server: LiveServer):
    _, headers = await someone()
    with counted(hub_server, "frame_size", 2):
        for pieces in (["x" * (MAX_FRAME + 1)], ["x" * 1000] * 66):
            async with connect(hub_server, headers) as socket:
                await socket.send(pieces)
                assert await close_code(socket) in {1009, 4413}


async def test_frames_that_say_nothing(hub_server: LiveServer):
    _, headers = await someone()
    with counted(hub_server, "bad_frames"):
        async with connect(hub_server, headers) as socket:
            for _ in range(BAD_FRAMES):
                await socket.send("nothing")
            assert await close_code(socket) == 4400
    with counted(hub_server, "bad_frames"):
        async with connect(hub_server, headers, "/ws/echo/") as socket:
            for _ in range(BAD_FRAMES):
                await socket.send(b"nothing")
            assert await close_code(socket) == 4400


async def test_topics_of_an_address(hub_server: LiveServer):
    _, headers = await someone()
    named = ",".join(f"room.{number}" for number in range(1, 102))
    with counted(hub_server, "topics", 2):
        url = hub_server.events("poll", topics=named)
        answer = await asyncio.to_thread(httpx.get, url, headers=headers)
        is_told(answer, 400, "bad_query")
        async with connect(hub_server, headers, topics=named) as socket:
            assert await close_code(socket) == 4400


async def test_topics_of_a_connection(hub_server: LiveServer):
    user, headers = await someone()

    def furnish() -> list[str]:
        rooms = [Room(kind=Kind.OPEN, name=f"r{n}", owner=user) for n in range(MOST_SUBSCRIBED)]
        return [topics.room(room.pk) for room in Room.objects.bulk_create(rooms)]

    names = await in_database(furnish)
    async with connect(hub_server, headers, "/ws/me/") as socket:
        for name in names[: MOST_SUBSCRIBED - 1]:
            assert (await answer_to(socket, op="subscribe", topic=name))["ok"]
        with counted(hub_server, "topics"):
            error = (await answer_to(socket, op="subscribe", topic=names[-1]))["error"]
        assert error["code"] == "too_many"
        assert (await answer_to(socket, op="ping"))["ok"]


def test_bodies(hub_server: LiveServer):
    _, headers = key_of(newcomer())
    with counted(hub_server, "body"):
        big = b"x" * 3 * 2**20
        answer = httpx.post(f"{hub_server.url}/api/v1/events", content=big, headers=headers)
        is_told(answer, 413, "too_large")


@pytest.fixture
def set_up(live_db: None) -> None:
    """An administrator is there: until then the sign-in page leads to the one that makes the first."""
    newcomer("admin", is_superuser=True, is_staff=True)


def sign_in(server: LiveServer, address: str, username: str, password: str) -> httpx.Response:
    """From this address of the loopback."""
    url = f"{server.url}/accounts/login/"
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(url).text)
        assert token
        form = {"username": username, "password": password, "csrfmiddlewaretoken": token[1]}
        return client.post(url, data=form, headers={"Origin": server.url})


@pytest.mark.usefixtures("set_up")
def test_sign_ins_of_an_account_and_its_owner_gets_in_from_elsewhere(hub_server: LiveServer):
    user = newcomer()
    with counted(hub_server, "sign_in"):
        answer = guess(hub_server, "127.0.0.21", user.username)
    assert int(answer.headers["Retry-After"]) >= 1
    assert "Too many attempts" in answer.text
    assert sign_in(hub_server, "127.0.0.22", user.username, PASSWORD).status_code == 302


@pytest.mark.usefixtures("set_up")
def test_sign_ins_from_an_address_and_whom_it_knows_gets_in(hub_server: LiveServer):
    user = newcomer()
    assert sign_in(hub_server, "127.0.0.23", user.username, PASSWORD).status_code == 302
    for number in range(attempts.FREE_PER_ADDRESS - 1):
        attempts.begin(f"nobody-{number}", "127.0.0.23")
    with counted(hub_server, "sign_in"):
        answer = guess(hub_server, "127.0.0.23", "another")
    assert int(answer.headers["Retry-After"]) >= 1
    assert sign_in(hub_server, "127.0.0.23", user.username, PASSWORD).status_code == 302


def guess(server: LiveServer, address: str, username: str) -> httpx.Response:
    """Wrong passwords until one of them is not looked at."""
    for _ in range(attempts.FREE + 5):
        answer = sign_in(server, address, username, "wrong")
        if answer.status_code != 200:
            break
    assert answer.status_code == 429
    return answer


def test_links_that_set_a_password(hub_server: LiveServer):
    fill("reset:from:127.0.0.24", 3600)
    url = f"{hub_server.url}/accounts/password/reset/"
    with (
        counted(hub_server, "password_reset"),
        httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.24")) as client,
    ):
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(url).text)
        assert token
        form = {"email": "x@example.org", "csrfmiddlewaretoken": token[1]}
        answer = client.post(url, data=form, headers={"Origin": hub_server.url})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_calls_of_a_key(hub_server: LiveServer):
    user = newcomer()
    number, headers = key_of(user)
    url = f"{hub_server.url}/api/v1/me"
    assert httpx.get(url, headers=headers).status_code == 200
    fill(f"api:key:{number}", 60)
    with counted(hub_server, "calls"):
        is_told(httpx.get(url, headers=headers), 429, "too_many_requests")
    _, another = key_of(user)
    assert httpx.get(url, headers=another).status_code == 200
    assert httpx.get(url, cookies=cookies_of(user)).status_code == 200


async def test_questions_to_the_doors(hub_server: LiveServer):
    _, headers = await someone()
    most = switchboard.ASKS_PER_SECOND * switchboard.ASK_WINDOW
    before = refused(hub_server, "calls")
    host, port = hub_server.host.split(":")

    async def keep_asking() -> list[bytes]:
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [f"{name}: {value}\r\n" for name, value in {"Host": "localhost", **headers}.items()]
        asked = f"GET /events/poll HTTP/1.1\r\n{''.join(lines)}\r\n".encode()
        answers = []
        for _ in range(most // 5):
            writer.write(asked)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert length
            await reader.readexactly(int(length[1]))
            answers.append(head)
        writer.close()
        return answers

    answers = [
        head for some in await asyncio.gather(*(keep_asking() for _ in range(10))) for head in some
    ]
    late = [head for head in answers if not head.startswith(b"HTTP/1.1 200 ")]
    assert late
    assert refused(hub_server, "calls") - before == len(late)
    assert all(head.startswith(b"HTTP/1.1 429 ") for head in late)
    assert all(b"\r\nretry-after: 1\r\n" in head.lower() for head in late)


def test_events_in_a_minute_and_their_size(hub_server: LiveServer):
    user = newcomer()
    _, headers = key_of(user)
    url = f"{hub_server.url}/api/v1/events"

    def publish(size: int) -> httpx.Response:
        event = {"topic": "group.sales", "type": "order.late", "data": {"text": "x" * size}}
        return httpx.post(url, json=event, headers=headers)

    assert publish(1).status_code == 201
    with counted(hub_server, "publish_size"):
        is_told(publish(MAX_DATA), 413, "too_large")
    fill(f"events:user:{user.pk}", 60)
    with counted(hub_server, "publish_rate"):
        is_told(publish(1), 429, "too_many_requests")
