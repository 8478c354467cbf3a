from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from consumers import cursor as server_cursor
from events import log, publish, publish_many, topics
from tests.live import Aside, LiveServer, cookies_of, live_server, newcomer
from tests.reference_client import (
    Cursor,
    Delivery,
    EventStream,
    ReferenceClient,
    after_close,
    code_of_status,
    parse_cursor,
    pause,
    write_cursor,
)

TRANSPORTS = ["websocket", "sse", "long-poll", "poll"]


def vectors(name: str) -> Any:
    """The browser's client reads the same files (tests/js/vectors.test.js)."""
    path = Path(__file__).parent.parent / "vectors" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", vectors("cursor")["good"], ids=lambda v: v["text"])
def test_a_good_cursor_is_read_and_written_back(vector):
    assert parse_cursor(vector["text"]) == Cursor(vector["epoch"], vector["offsets"])
    assert write_cursor(vector["epoch"], vector["offsets"]) == vector["text"]


@pytest.mark.parametrize("text", vectors("cursor")["bad"])
def test_a_bad_cursor_is_none(text):
    assert parse_cursor(text) is None


@pytest.mark.parametrize("vector", vectors("cursor")["good"], ids=lambda v: v["text"])
def test_the_server_writes_a_cursor_as_the_clients_do(vector):
    assert log.write_cursor(vector["epoch"], vector["offsets"]) == vector["text"]
    assert str(server_cursor.read(vector["text"])) == vector["text"]


def test_every_end_has_its_consequence():
    closing = vectors("closing")
    assert {code: after_close(int(code)) for code in closing["codes"]} == closing["codes"]
    assert {s: code_of_status(int(s)) for s in closing["statuses"]} == closing["statuses"]


@pytest.mark.parametrize("vector", vectors("closing")["pauses"], ids=str)
def test_the_back_off_grows_and_heeds_retry_after(vector):
    found = pause(vector["code"], vector["n"], vector["dice"], vector.get("retry_after", 0))
    assert found == vector["seconds"]


@pytest.mark.parametrize("vector", vectors("delivery"), ids=lambda v: v["name"])
def test_delivery(vector):
    emitted: list[list[Any]] = []
    again: list[list[Any]] = []
    lost: list[str] = []
    delivery = Delivery(
        vector["cursor"],
        lambda event: emitted.append([event["topic"], event["offset"]]),
        lambda reset: again.append([reset["topic"], reset["offset"]]),
        lambda reset: lost.append(reset["topic"]),
    )
    for step in vector["steps"]:
        whole = take(delivery, step)
        assert (emitted, whole, again, lost) == (
            step["emits"],
            step.get("whole", True),
            step.get("again", []),
            step.get("lost", []),
        ), step
        emitted.clear()
        again.clear()
        lost.clear()
    assert delivery.cursor == vector["end"]


def take(delivery: Delivery, step: dict[str, Any]) -> bool:
    match step:
        case {"event": [topic, offset]}:
            return delivery.take({"topic": topic, "offset": offset})
        case {"covers": text}:
            return delivery.covers(text)
        case {"welcome": [epoch, offsets]}:
            delivery.welcome(epoch, offsets)
        case {"reset": [topic, offset, reason]}:
            delivery.reset(topic, offset, reason)
        case {"hold": topic}:
            delivery.hold(topic)
        case {"release": [topic, text]}:
            delivery.release(topic, text)
        case {"forget": topic}:
            delivery.forget(topic)
        case _:
            raise AssertionError(step)
    return True


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_stream_is_taken_apart_wherever_it_is_cut(ends, size):
    text = "retry: 2000\n\n: hello\n\nevent: event\ndata: {\ndata:  1}\n\nid: e1~user.7:1\n\nid\n\n:\n\n"
    text = text.replace("\n", ends)
    stream = EventStream()
    blocks = [
        block for at in range(0, len(text), size) for block in stream.push(text[at : at + size])
    ]
    assert blocks[:3] == [
        {"retry": "2000"},
        {"event": "event", "data": "{\n 1}"},
        {"id": "e1~user.7:1"},
    ]


# Against the real server.


def start_of(user: User) -> str:
    return log.cursor([topics.user(user.pk), topics.DASHBOARD])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_transport_brings_the_same(
    hub_server: LiveServer, aside: Aside, transport, wait_less
):
    alice = aside(newcomer)
    mine = topics.user(alice.pk)
    cursor = aside(start_of, alice)
    aside(publish_many, [(mine, "test.before", {"n": n}) for n in range(600)])
    client = ReferenceClient(
        hub_server.stream_url,
        transport=transport,
        cookies=aside(cookies_of, alice),
        cursor=cursor,
        topics=[topics.group("sales"), "user.999999"],
        poll_every=0.1,
    )
    async with client:
        await client.until(lambda: len(client.offsets(mine)) == 600)
        for n in range(20):
            await sync_to_async(publish)(mine, "test.flow", {"n": n})
        await client.until(lambda: len(client.offsets(mine)) == 620)
    assert client.offsets(mine) == list(range(1, 621))
    assert client.revoked == ["user.999999"]
    assert client.resets == []
    assert client.closed == []


@pytest.fixture
def wait_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.reference_client.WAIT", 2)


async def test_clients_of_every_kind_lose_and_repeat_nothing_when_the_server_is_killed(
    live_tables: None, aside: Aside, wait_less
):
    people = [aside(newcomer, name) for name in ("alice", "bob", "charlie", "dora")]
    with live_server() as server:
        clients = [
            ReferenceClient(
                server.stream_url,
                transport=transport,  # type: ignore[arg-type]
                cookies=aside(cookies_of, user),
                cursor=aside(start_of, user),
                poll_every=0.2,
            )
            for user, transport in zip(people, TRANSPORTS, strict=True)
        ]
        before = aside(log.heads, [topics.DASHBOARD])[topics.DASHBOARD]
        async with clients[0], clients[1], clients[2], clients[3]:
            for client in clients:
                await client.until_live()
            for n in range(100):
                await asyncio.to_thread(flow, aside, people, n)
                if n in {20, 60}:
                    server.streams.kill()
                if n in {30, 61}:
                    await asyncio.to_thread(server.streams.start)
            for client, user in zip(clients, people, strict=True):
                mine = topics.user(user.pk)
                await client.until(
                    lambda c=client, m=mine: (  # type: ignore[misc]
                        len(c.offsets(m)) == 100 and len(c.offsets(topics.DASHBOARD)) == 100
                    ),
                    60,
                )
                assert client.offsets(mine) == list(range(1, 101))
                assert client.offsets(topics.DASHBOARD) == list(range(before + 1, before + 101))
                assert client.resets == []


def flow(aside: Aside, people: list[User], n: int) -> None:
    for user in people:
        aside(publish, topics.user(user.pk), "test.flow", {"n": n})
    aside(publish, topics.DASHBOARD, "test.flow", {"n": n})


async def test_a_session_that_ends_is_signed_out_on_every_transport(
    hub_server: LiveServer, aside: Aside, wait_less
):
    alice = aside(newcomer)
    cookies = aside(cookies_of, alice)
    clients = [
        ReferenceClient(
            hub_server.stream_url,
            transport=transport,  # type: ignore[arg-type]
            cookies=cookies,
            poll_every=0.2,
        )
        for transport in TRANSPORTS
    ]
    async with clients[0], clients[1], clients[2], clients[3]:
        for client in clients:
            await client.until_live()
        aside(deactivate, alice)
        for client in clients:
            await client.until(lambda c=client: c.state == "signed-out", 15)  # type: ignore[misc]


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


async def test_a_request_gets_its_reply(hub_server: LiveServer, aside: Aside):
    alice = aside(newcomer)
    client = ReferenceClient(hub_server.stream_url, cookies=aside(cookies_of, alice))
    async with client:
        await client.until_live()
        assert (await client.request({"op": "ping"}))["ok"] is True
        refused = await client.request({"op": "subscribe", "topic": "user.999999"})
        assert (refused["ok"], refused["error"]["code"]) == (False, "forbidden")
