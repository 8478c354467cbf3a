"""The example of docs/concepts.md: a stock Channels consumer gets the same events, and a stranger gets nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator
from django.conf import settings

import events
from consumers.database import in_database
from events import redis_client, topics
from tests.live import Child, child_environment, cookies_of, free_port, newcomer

LAYERS = {"pubsub": "events.layer.PubSubLayer", "core": "events.layer.CoreLayer"}


@pytest.fixture(scope="module", params=LAYERS)
def hub(request: pytest.FixtureRequest, live_tables: None, real_redis: str) -> Iterator[str]:
    """The host and port of Daphne with the example; this process publishes through the same layer."""
    before = settings.CHANNEL_LAYERS
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYERS[request.param]}}
    channel_layers.backends.clear()
    port = free_port()
    daphne = [sys.executable, "-m", "daphne", "-p", str(port), "-v", "0"]
    server = Child(
        [*daphne, "examples.stock_consumer:application"],
        child_environment(port, HUB_LAYER=request.param),
        Path(settings.HUB_DATA_DIR) / f"stock-{port}.log",
        port,
    )
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop()
    assert "Traceback" not in server.said(), server.said()[-4000:]
    settings.CHANNEL_LAYERS = before
    channel_layers.backends.clear()


def signed_in(user, hub: str) -> dict[str, str]:
    cookies = "; ".join(f"{name}={value}" for name, value in cookies_of(user).items())
    return {"Cookie": cookies, "Origin": f"http://{hub}"}


@pytest.mark.usefixtures("live_db")
async def test_what_is_published_arrives_with_its_offset(hub):
    alice = await in_database(newcomer)
    headers = await in_database(signed_in, alice, hub)
    async with websockets.connect(f"ws://{hub}/ws/stock/", additional_headers=headers) as socket:
        await in_database(events.whisper, topics.DASHBOARD, "order.tick", {"n": 0})
        for n in (1, 2):
            event = await in_database(events.publish, topics.DASHBOARD, "order.late", {"n": n})
            got = json.loads(await socket.recv())
            assert (got["topic"], got["type"], got["data"]) == (event.topic, event.type, {"n": n})
            stored = await in_database(type(event).objects.get, pk=event.pk)
            assert got["offset"] == stored.offset


@pytest.mark.usefixtures("live_db")
async def test_the_hubs_own_doors_are_served_beside_it(hub):
    alice = await in_database(newcomer)
    headers = await in_database(signed_in, alice, hub)
    async with (
        websockets.connect(f"ws://{hub}/ws/", additional_headers=headers) as ours,
        websockets.connect(f"ws://{hub}/ws/stock/", additional_headers=headers) as stock,
    ):
        assert json.loads(await ours.recv())["op"] == "welcome"
        await in_database(events.publish, topics.DASHBOARD, "order.late", {"for": alice.pk})
        frame = json.loads(await ours.recv())
        while frame["op"] != "event":
            frame = json.loads(await ours.recv())
        assert frame.pop("op") == "event"
        assert json.loads(await stock.recv()) == frame


@pytest.mark.usefixtures("live_db")
async def test_strangers_and_foreign_pages_are_refused(hub):
    alice = await in_database(newcomer)
    headers = await in_database(signed_in, alice, hub)
    nobody = {"Origin": headers["Origin"]}
    elsewhere = {**headers, "Origin": "https://evil.example"}
    for sent in (nobody, elsewhere):
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await websockets.connect(f"ws://{hub}/ws/stock/", additional_headers=sent)
        assert refusal.value.response.status_code == 403


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("layer", LAYERS)
async def test_a_stranger_never_joins_the_group(settings, monkeypatch, layer):
    from channels.layers import get_channel_layer

    from examples.stock_consumer import application

    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYERS[layer]}}
    channel_layers.backends.clear()
    joined: list[str] = []

    async def group_add(group: str, channel: str) -> None:
        joined.append(group)

    monkeypatch.setattr(get_channel_layer(), "group_add", group_add)
    origin = [(b"origin", b"http://localhost"), (b"host", b"localhost")]
    stranger = WebsocketCommunicator(application, "/ws/stock/", headers=origin)
    connected, _ = await stranger.connect(timeout=5)
    assert not connected
    assert joined == []
    await stranger.wait()
    await redis_client.close()
    channel_layers.backends.clear()
