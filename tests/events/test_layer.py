"""The channel layers: cheap and safe to send through from anywhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from channels.layers import channel_layers
from django.conf import settings

import events
from events import layer, redis_client
from tests.live import ROOT, child_environment

LAYERS = {"pubsub": "events.layer.PubSubLayer", "core": "events.layer.CoreLayer"}


@pytest.fixture(params=LAYERS)
def backend(request: pytest.FixtureRequest, settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYERS[request.param]}}
    channel_layers.backends.clear()
    yield layer.current()
    channel_layers.backends.clear()


def connections_made() -> int:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        return int(client.info("stats")["total_connections_received"])


def subscribed() -> int:
    """SUBSCRIBE commands that Redis has had."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        asked = client.info("commandstats").get("cmdstat_subscribe", {})
        return int(asked.get("calls", 0))


def test_a_worker_that_publishes_a_hundred_times_opens_no_connection_per_call(backend):
    async_to_sync(backend.group_send)("group.sales", {"type": "hub.event"})
    before = connections_made()
    for _ in range(100):
        async_to_sync(backend.group_send)("group.sales", {"type": "hub.event"})
    assert connections_made() - before <= 2  # one of them is this very question


def test_synchronous_code_makes_no_loop_to_whisper(monkeypatch):
    """A loop for one call, with the thread it gets, costs several times what it is made for."""
    made: list[asyncio.AbstractEventLoop] = []

    def make() -> asyncio.AbstractEventLoop:
        made.append(asyncio.DefaultEventLoopPolicy().new_event_loop())
        return made[-1]

    monkeypatch.setattr(asyncio.events, "new_event_loop", make)
    async_to_sync(layer.current().group_send)("group.sales", {"type": "hub.event"})
    assert len(made) == 1
    events.whisper("group.sales", "order.tick", {"n": 1})
    events.whisper_many([("group.sales", "order.tick", {"n": 2})])
    assert len(made) == 1


@pytest.mark.usefixtures("loop_redis")
async def test_many_whispers_of_one_call_come_in_order(backend, monkeypatch):
    monkeypatch.setattr(redis_client, "TIMEOUT", 20)  # whoever waits for a busy machine loses none
    redis_client._blocking.clear()
    layer.mark_receiving()
    channel = await backend.new_channel()
    topics = ["group.sales", "user.7"]
    for topic in topics:
        await backend.group_add(topic, channel)
    items = [(topics[n % 2], "order.tick", {"n": n}) for n in range(60)]
    await asyncio.to_thread(events.whisper_many, items)
    async with asyncio.timeout(60):
        got = [(await backend.receive(channel))["whisper"] for _ in items]
    for topic in topics:
        said = [one["data"]["n"] for one in got if one["topic"] == topic]
        assert said == [n for n in range(60) if topics[n % 2] == topic]
    redis_client._blocking.clear()
    await backend.flush()


def test_a_whisper_is_lost_in_silence_while_redis_is_away(backend, settings):
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    redis_client._blocking.clear()
    try:
        for _ in range(2):  # away, then resting
            events.whisper("group.sales", "order.tick", {"n": 1})
            events.whisper_many([("group.sales", "order.tick", {"n": 2})])
    finally:
        redis_client._blocking.clear()


async def test_a_whisper_that_would_hold_up_a_loop_is_refused(backend):
    with pytest.raises(RuntimeError, match="event loop"):
        events.whisper("group.sales", "order.tick", {"n": 1})


@pytest.mark.usefixtures("loop_redis")
async def test_a_reader_gets_what_another_thread_sent(backend):
    layer.mark_receiving()
    channel = await backend.new_channel()
    await backend.group_add("group.sales", channel)
    message = {"type": "hub.event", "n": 1, "text": "한국어"}

    def send() -> None:
        async_to_sync(backend.group_send)("group.sales", message)

    await asyncio.to_thread(send)
    async with asyncio.timeout(5):
        got = await backend.receive(channel)
    assert {name: got[name] for name in message} == message
    await backend.group_send("group.sales", message)
    await backend.send(channel, {**message, "n": 2})
    async with asyncio.timeout(5):
        assert [(await backend.receive(channel))["n"] for _ in range(2)] == [1, 2]
    await backend.group_discard("group.sales", channel)
    await backend.flush()


@pytest.mark.usefixtures("loop_redis")
async def test_many_groups_are_joined_at_once_and_left_again(backend):
    layer.mark_receiving()
    channel = await backend.new_channel()
    names = [f"user.{number}" for number in range(50)]
    await layer.join_groups(backend, names[:2], channel)
    await layer.join_groups(backend, names, channel)
    for name in (names[0], names[-1]):
        await backend.group_send(name, {"type": "hub.event", "topic": name})
    async with asyncio.timeout(5):
        heard = [(await backend.receive(channel))["topic"] for _ in range(2)]
    assert heard == [names[0], names[-1]]
    await layer.leave_groups(backend, names[1:], channel)
    for name in (names[-1], names[0]):
        await backend.group_send(name, {"type": "hub.event", "topic": name})
    async with asyncio.timeout(5):
        assert (await backend.receive(channel))["topic"] == names[0]
    await backend.flush()


@pytest.mark.usefixtures("loop_redis")
async def test_a_thousand_groups_cost_one_command(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYERS["pubsub"]}}
    channel_layers.backends.clear()
    backend = layer.current()
    layer.mark_receiving()
    channel = await backend.new_channel()
    before = await asyncio.to_thread(subscribed)
    await layer.join_groups(backend, [f"user.{number}" for number in range(1000)], channel)
    await backend.group_send("user.999", {"type": "hub.event", "n": 1})
    async with asyncio.timeout(5):
        assert (await backend.receive(channel))["n"] == 1  # by now all of it has got there
    assert await asyncio.to_thread(subscribed) - before == 1
    await backend.flush()
    channel_layers.backends.clear()


@pytest.mark.usefixtures("loop_redis")
async def test_an_idle_reader_is_not_taken_for_dead(backend):
    """redis-py 8 ends a quiet connection after 5 s unless it is told not to."""
    layer.mark_receiving()
    channel = await backend.new_channel()
    await backend.group_add("group.sales", channel)
    waiting = asyncio.create_task(backend.receive(channel))
    await asyncio.sleep(6.5)
    assert not waiting.done()
    await backend.group_send("group.sales", {"type": "hub.event", "n": 1})
    async with asyncio.timeout(5):
        assert (await waiting)["n"] == 1
    await backend.flush()


@pytest.mark.usefixtures("loop_redis")
async def test_what_goes_over_redis_is_encrypted(backend):
    layer.mark_receiving()
    channel = await backend.new_channel()
    await backend.group_add("group.sales", channel)
    seen: list[bytes] = []

    def watch(started: threading.Event) -> None:
        client: Any = redis.Redis.from_url(settings.REDIS_URL)
        with client.monitor() as monitor:
            started.set()
            for command in monitor.listen():
                seen.append(command["command"].encode())
                if "STOP" in command["command"]:
                    return

    started = threading.Event()
    thread = threading.Thread(target=watch, args=(started,))
    thread.start()
    await asyncio.to_thread(started.wait, 5)
    await backend.group_send("group.sales", {"type": "hub.event", "text": "salary list"})
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.echo("STOP")
    await asyncio.to_thread(thread.join, 5)
    assert len(seen) > 1
    assert not any(b"salary" in command for command in seen)
    await backend.flush()


def test_after_a_failure_the_layer_rests_instead_of_waiting_each_time(backend, settings):
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    redis_client._blocking.clear()
    try:
        with pytest.raises(redis.ConnectionError):
            async_to_sync(backend.group_send)("group.sales", {"type": "hub.event"})
        with pytest.raises(layer.LayerResting):
            async_to_sync(backend.group_send)("group.sales", {"type": "hub.event"})
    finally:
        redis_client._blocking.clear()


@pytest.mark.usefixtures("loop_redis")
async def test_two_installations_on_one_redis_do_not_hear_each_other(backend, settings):
    keys = [settings.HUB_LAYER_KEY, "another installation's key"]
    layers, channels = [], []
    for key in keys:
        settings.HUB_LAYER_KEY = key
        layers.append(type(backend)())
        channels.append(await layers[-1].new_channel())
        await layers[-1].group_add("group.sales", channels[-1])
    for turn in (0, 1, 1, 0):
        settings.HUB_LAYER_KEY = keys[turn]
        await layers[turn].group_send("group.sales", {"type": "hub.event", "of": turn})
    async with asyncio.timeout(20):
        for turn in (0, 1):
            heard = [(await layers[turn].receive(channels[turn]))["of"] for _ in range(2)]
            assert heard == [turn, turn]  # the other's came between or before them, had they come
    for one in layers:
        await one.flush()


def test_a_frozen_redis_holds_up_a_publisher_for_less_than_a_second(backend, settings, tmp_path):
    import socket

    frozen = socket.socket(socket.AF_UNIX)
    frozen.bind(str(tmp_path / "frozen.sock"))
    frozen.listen(8)  # connects, and never answers
    settings.REDIS_URL = f"unix://{tmp_path}/frozen.sock"
    redis_client._blocking.clear()
    try:
        began = time.monotonic()
        with pytest.raises((redis.RedisError, TimeoutError)):
            async_to_sync(backend.group_send)("group.sales", {"type": "hub.event"})
        assert time.monotonic() - began < 1
    finally:
        redis_client._blocking.clear()
        frozen.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("loop_redis")
async def test_a_management_command_publishes_and_what_it_sent_is_announced(backend):
    layer.mark_receiving()
    channel = await backend.new_channel()
    await backend.group_add("group.sales", channel)
    code = "import events; events.publish('group.sales', 'order.late', {'by': 'command'})"
    kind = next(name for name, path in LAYERS.items() if type(backend).__name__ in path)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "manage.py", "shell", "-c", code],
        cwd=ROOT,
        env=child_environment(8000, HUB_LAYER=kind),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    async with asyncio.timeout(5):
        got = await backend.receive(channel)
    assert (got["type"], got["event"]["offset"]) == ("hub.event", 1)
    assert got["event"]["data"] == {"by": "command"}
    await backend.flush()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("loop_redis")
async def test_publishing_reaches_a_stock_reader_of_the_group(backend):
    layer.mark_receiving()
    channel = await backend.new_channel()
    await backend.group_add("group.sales", channel)
    await events.apublish("group.sales", "order.late", {"n": 1})
    async with asyncio.timeout(5):
        got = await backend.receive(channel)
    assert got["type"] == "hub.event"
    assert {"topic", "offset", "type", "data", "at"} == set(got["event"])
    assert got["event"]["offset"] == 1
    await events.awhisper("group.sales", "order.tick", {"n": 2})
    async with asyncio.timeout(5):
        got = await backend.receive(channel)
    assert got["type"] == "hub.whisper"
    assert got["whisper"] == {"topic": "group.sales", "type": "order.tick", "data": {"n": 2}}
    await backend.flush()
