"""Each idea of docs/concepts.md that no other test shows by itself."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import websockets
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django import urls
from django.conf import settings
from django.utils import timezone

import events
from accounts.authenticate import make_key
from consumers import scope as scopes
from consumers.database import in_database
from consumers.door import Visitor
from consumers.group import GroupSocket
from events import log, topics
from notifications import notify
from notifications.models import Notification
from notifications.tasks import prune
from tests.live import Child, LiveServer, child_environment, cookies_of, live_server, newcomer

pytestmark = pytest.mark.usefixtures("live_db")
PATIENCE = (
    60.0  # seconds until a test gives up; a worker alone takes ten to start on a busy machine
)


def key_of(user) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_key(user, 'concepts')[1]}"}


async def somebody() -> tuple[str, dict[str, str]]:
    """Their own topic and their key's header."""
    alice = await in_database(newcomer)
    return topics.user(alice.pk), await in_database(key_of, alice)


async def said(socket: websockets.ClientConnection, op: str, topic: str = "") -> dict[str, Any]:
    """The next frame of this kind, of this topic where one is named."""
    async with asyncio.timeout(PATIENCE):
        while True:
            value = json.loads(await socket.recv())
            for frame in value if isinstance(value, list) else [value]:
                if frame["op"] == op and (not topic or frame.get("topic") == topic):
                    return dict(frame)


async def test_a_poll_answers_at_once(hub_server: LiveServer):
    own, headers = await somebody()
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client:
        nothing = (await client.get(hub_server.events("poll"))).json()
        assert nothing["events"] == []
        await in_database(events.publish, own, "order.late", {"n": 1})
        something = (await client.get(hub_server.events("poll", cursor=nothing["cursor"]))).json()
    assert [event["data"] for event in something["events"]] == [{"n": 1}]


async def test_a_long_poll_waits_until_something_comes(hub_server: LiveServer):
    own, headers = await somebody()
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client:
        cursor = (await client.get(hub_server.events("poll"))).json()["cursor"]
        url = hub_server.events("long-poll", cursor=cursor, topics=own, wait="15")
        waiting = asyncio.create_task(client.get(url))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        began = time.monotonic()
        await in_database(events.publish, own, "order.late", {"n": 1})
        answer = (await waiting).json()
        assert time.monotonic() - began < 10
    assert [event["data"] for event in answer["events"]] == [{"n": 1}]


async def test_a_stream_goes_on_and_on(hub_server: LiveServer):
    own, headers = await somebody()
    heard: list[int] = []
    async with (
        asyncio.timeout(PATIENCE),
        httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client,
        client.stream("GET", hub_server.events("stream", topics=own)) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("id: ") and len(heard) < 3:
                await in_database(events.publish, own, "order.late", {"n": len(heard) + 1})
            elif line.startswith("data: "):
                heard.append(json.loads(line.removeprefix("data: "))["data"]["n"])
                if heard == [1, 2, 3]:
                    return


async def test_a_socket_speaks_both_ways_on_the_port_of_the_pages(hub_server: LiveServer):
    own, headers = await somebody()
    async with websockets.connect(hub_server.ws(), additional_headers=headers) as socket:
        await said(socket, "welcome")
        await socket.send(json.dumps({"op": "ping", "ref": 1}))
        assert (await said(socket, "reply"))["ref"] == 1
        await in_database(events.publish, own, "order.late", {})
        assert (await said(socket, "event", own))["offset"] == 1
    async with httpx.AsyncClient() as client:
        page = await client.get(f"{hub_server.url}/accounts/login/", follow_redirects=True)
    assert page.headers["content-type"].startswith("text/html")
    assert page.status_code == 200


async def test_redis_forgets_and_the_log_does_not(hub_server: LiveServer):
    own, headers = await somebody()
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client:
        cursor = (await client.get(hub_server.events("poll"))).json()["cursor"]
        with redis.Redis.from_url(settings.REDIS_URL) as client_of_redis:
            heard = client_of_redis.pubsub()
            await in_database(events.publish, own, "order.late", {"n": 1})
            heard.psubscribe("*")  # a moment too late
            kinds = []
            while message := heard.get_message(timeout=0.5):
                if own.encode() in message["channel"]:
                    kinds.append(message["type"])
            assert "pmessage" not in kinds
            heard.close()
        answer = (await client.get(hub_server.events("poll", cursor=cursor))).json()
    assert [event["data"] for event in answer["events"]] == [{"n": 1}]


async def test_a_request_under_wsgi_is_heard_on_every_asgi_server(hub_server: LiveServer):
    own, headers = await somebody()
    admin = await in_database(newcomer, "admin", is_superuser=True)
    event = {"topic": topics.DASHBOARD, "type": "order.late", "data": {"about": own}}
    with live_server("gunicorn+daphne") as apart:
        async with (
            websockets.connect(hub_server.ws(), additional_headers=headers) as one,
            websockets.connect(apart.ws(), additional_headers=headers) as other,
            httpx.AsyncClient(headers=await in_database(key_of, admin)) as client,
        ):
            await said(one, "welcome")
            await said(other, "welcome")
            posted = await client.post(f"{apart.url}/api/v1/events", json=event)
            assert posted.status_code == 201, posted.text
            heard = [await said(socket, "event", topics.DASHBOARD) for socket in (one, other)]
    assert heard[0] == heard[1]
    assert heard[0]["data"] == {"about": own}


@pytest.fixture
def probe() -> Iterator[tuple[Any, list[GroupSocket]]]:
    """An application with one address, and the consumers that it made."""
    seen: list[GroupSocket] = []

    class Probe(GroupSocket):
        groups = [topics.DASHBOARD]

        async def welcome(self, visitor: Visitor) -> None:
            seen.append(self)
            await super().welcome(visitor)

    path: Callable[..., Any] = urls.path
    yield scopes.completed(URLRouter([path("ws/groups/<str:name>/", Probe.as_asgi())])), seen


async def connected(application: Any, user) -> tuple[WebsocketCommunicator, dict[str, Any]]:
    """A client in this process, and its welcome."""
    (name, session), *_ = (await in_database(cookies_of, user)).items()
    headers = [
        (b"host", b"localhost"),
        (b"origin", b"http://localhost"),
        (b"cookie", f"{name}={session}; theme=dark".encode()),
    ]
    client = WebsocketCommunicator(application, "/ws/groups/sales/", headers=headers)
    accepted, _ = await client.connect(timeout=PATIENCE)
    assert accepted
    return client, json.loads(await client.receive_from(timeout=PATIENCE))


@pytest.fixture
async def end_of_loop():
    """What this process's own switchboard holds is given back with the loop."""
    from consumers import switchboard
    from events import redis_client

    yield
    await switchboard.of_loop().stop()
    await redis_client.close()


@pytest.mark.usefixtures("end_of_loop")
async def test_the_scope_is_what_a_request_is_to_a_view(probe):
    application, seen = probe
    alice = await in_database(newcomer)
    client, _ = await connected(application, alice)
    scope = seen[0].scope
    assert scope["user"] == alice
    assert await in_database(lambda: scope["session"]["_auth_user_id"]) == str(alice.pk)
    assert scope["cookies"]["theme"] == "dark"
    assert (b"host", b"localhost") in scope["headers"]
    assert scope["url_route"]["kwargs"] == {"name": "sales"}
    await client.disconnect(timeout=PATIENCE)


@pytest.mark.usefixtures("end_of_loop")
async def test_each_connection_has_a_consumer_of_its_own(probe):
    application, seen = probe
    alice = await in_database(newcomer)
    clients = [await connected(application, alice) for _ in range(3)]
    assert len({id(consumer) for consumer in seen}) == 3
    assert len({welcome["connection"] for _, welcome in clients}) == 3
    later = [welcome["connection"].rpartition("~")[0] for _, welcome in clients[1:]]
    assert later[0] == later[1]  # the process's own channel
    for client, _ in clients:
        await client.disconnect(timeout=PATIENCE)


@pytest.mark.usefixtures("end_of_loop")
async def test_the_groups_of_a_class_are_served_to_who_may_read_them(probe):
    application, _ = probe
    alice = await in_database(newcomer)
    client, welcome = await connected(application, alice)
    assert set(welcome["offsets"]) == {"group.sales", topics.DASHBOARD}
    await client.disconnect(timeout=PATIENCE)
    await in_database(type(alice).objects.filter(pk=alice.pk).update, is_active=False)
    stranger = WebsocketCommunicator(application, "/ws/groups/sales/")
    await stranger.connect(timeout=PATIENCE)
    assert (await stranger.receive_output(timeout=PATIENCE))["code"] == 4401


async def test_a_process_joins_with_its_first_reader_and_leaves_after_its_last(
    hub_server: LiveServer,
):
    own, headers = await somebody()

    def readers() -> int:
        """Processes that have joined the group."""
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            names = [name for name in client.pubsub_channels() if name.endswith(own.encode())]
            return sum(count for _, count in client.pubsub_numsub(*names)) if names else 0

    async def become(count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while await in_database(readers) != count:
                await asyncio.sleep(0.05)

    assert await in_database(readers) == 0
    async with websockets.connect(hub_server.ws("/ws/me/"), additional_headers=headers) as one:
        await said(one, "welcome")
        async with websockets.connect(hub_server.ws("/ws/me/"), additional_headers=headers) as two:
            await said(two, "welcome")
            await become(1)
        await asyncio.sleep(0.2)
        assert await in_database(readers) == 1
    await become(0)


async def test_a_layer_in_memory_reaches_other_processes_only_by_the_pulse():
    own, headers = await somebody()
    with live_server(env={"HUB_LAYER": "memory"}) as server:
        async with websockets.connect(server.ws(), additional_headers=headers) as socket:
            await said(socket, "welcome")
            await in_database(events.publish, own, "order.late", {"n": 1})
            assert (await said(socket, "event", own))["data"] == {"n": 1}


async def test_a_task_of_a_worker_is_heard(hub_server: LiveServer):
    """The nightly tidying of inboxes, in a Celery worker: the open page sees the count fall."""
    alice = await in_database(newcomer)
    old = timezone.now() - timedelta(days=settings.HUB_NOTIFICATION_DAYS + 1)
    await in_database(notify, to=alice, kind="order.late", title="Order 7 is late")
    rows = Notification.objects.filter(recipient=alice)
    await in_database(rows.update, created_at=old)
    worker = Child(
        [
            *(sys.executable, "-m", "celery", "-A", "hub", "worker"),
            *("--concurrency", "1", "--without-gossip", "--without-mingle"),
        ],
        child_environment(8000),
        Path(settings.HUB_DATA_DIR) / "worker-docs.log",
    )
    headers = await in_database(key_of, alice)
    async with websockets.connect(hub_server.ws("/ws/me/"), additional_headers=headers) as socket:
        await said(socket, "welcome")
        worker.start()
        try:
            await in_database(prune.delay)
            event = await said(socket, "event", topics.user(alice.pk))
        finally:
            worker.stop()
    assert event["type"] == "notification.removed"
    assert event["data"]["unread"] == 0
    assert await in_database(log.heads, [event["topic"]]) == {event["topic"]: event["offset"]}
