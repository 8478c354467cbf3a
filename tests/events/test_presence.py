from __future__ import annotations

import asyncio

import pytest

from events import layer, presence
from events.presence import Lease

TOPIC = "group.dashboard"


@pytest.fixture(autouse=True)
def _clean(settings):
    settings.HUB_LAYER_KEY = f"{settings.HUB_LAYER_KEY}-presence"
    from channels.layers import channel_layers

    channel_layers.backends.clear()
    from events import redis_client

    with redis_client.blocking() as client:
        for key in client.scan_iter(f"{redis_client.prefix()}:*"):
            client.delete(key)
    yield
    channel_layers.backends.clear()


@pytest.fixture
def told(monkeypatch):
    said: list[tuple[str, int]] = []

    async def note(topic: str, kind: str, data) -> None:
        said.append((kind, data["id"]))

    monkeypatch.setattr(presence, "awhisper", note)
    return said


def lease(user: int, connection: str) -> Lease:
    return Lease(TOPIC, user, f"person {user}", connection)


async def here() -> list[int]:
    return [person.id for person in await asyncio.to_thread(presence.people, TOPIC)]


@pytest.mark.usefixtures("loop_redis")
async def test_the_first_tab_joins_and_the_last_one_leaves(told, monkeypatch):
    monkeypatch.setattr(presence, "GRACE", 0)
    layer.mark_receiving()
    for number in range(30):
        await presence.arrive(lease(1, f"c~{number}"))
    await presence.arrive(lease(2, "c~99"))
    assert told == [("presence.joined", 1), ("presence.joined", 2)]
    assert await here() == [1, 2]
    for number in range(29):
        await presence.depart(lease(1, f"c~{number}"))
    await presence.sweep()
    assert await here() == [1, 2]
    await presence.depart(lease(1, "c~29"))
    await presence.sweep()
    assert await here() == [2]
    assert told[2:] == [("presence.left", 1)]


@pytest.mark.usefixtures("loop_redis")
async def test_a_reconnect_does_not_flicker(told):
    await presence.arrive(lease(1, "old~1"))
    await presence.depart(lease(1, "old~1"))
    await presence.sweep()
    await presence.arrive(lease(1, "new~1"))
    await presence.sweep()
    assert told == [("presence.joined", 1)]


@pytest.mark.usefixtures("loop_redis")
async def test_whoever_a_dead_server_left_behind_is_swept(told, monkeypatch):
    monkeypatch.setattr(presence, "LEASE", -1)
    await presence.arrive(lease(1, "dead~1"))
    await presence.sweep()
    assert told == [("presence.joined", 1), ("presence.left", 1)]
    assert await here() == []


@pytest.mark.usefixtures("loop_redis")
async def test_an_emptied_redis_learns_again_who_is_here(told):
    from events import redis_client

    held = [lease(1, "c~1"), lease(2, "c~2")]
    await presence.renew(held)
    await redis_client.of_loop().flushall()
    assert await here() == []
    await presence.renew(held)
    assert await here() == [1, 2]


def test_without_redis_nobody_is_known_to_be_here(settings):
    from events import redis_client

    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    redis_client._blocking.clear()
    try:
        assert presence.people(TOPIC) == []
    finally:
        redis_client._blocking.clear()
