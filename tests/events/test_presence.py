from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

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
    said: list[tuple[Any, ...]] = []

    async def note(topic: str, kind: str, data: Mapping[str, Any]) -> None:
        about = (data["away"],) if kind == "presence.changed" else ()
        said.append((kind, data["id"], *about))

    monkeypatch.setattr(presence, "awhisper", note)
    return said


def lease(user: int, connection: str) -> Lease:
    return Lease(TOPIC, user, f"person {user}", connection)


async def arrive(lease: Lease, *, looked_at: bool = True) -> None:
    await presence.hold({lease: looked_at})


async def depart(lease: Lease, grace: float = presence.GRACE) -> None:
    await presence.release({lease: grace})


async def here() -> list[int]:
    return [person.id for person in await asyncio.to_thread(presence.people, TOPIC)]


@pytest.mark.usefixtures("loop_redis")
async def test_the_first_tab_joins_and_the_last_one_leaves(told):
    layer.mark_receiving()
    for number in range(30):
        await arrive(lease(1, f"c~{number}"))
    await arrive(lease(2, "c~99"))
    assert told == [("presence.joined", 1), ("presence.joined", 2)]
    assert await here() == [1, 2]
    for number in range(29):
        await depart(lease(1, f"c~{number}"), grace=0)
    await presence.sweep()
    assert await here() == [1, 2]
    await depart(lease(1, "c~29"), grace=0)
    await presence.sweep()
    assert await here() == [2]
    assert told[2:] == [("presence.left", 1)]


@pytest.mark.usefixtures("loop_redis")
async def test_a_reconnect_does_not_flicker(told):
    await arrive(lease(1, "old~1"))
    await depart(lease(1, "old~1"))
    await presence.sweep()
    await arrive(lease(1, "new~1"))
    await presence.sweep()
    assert told == [("presence.joined", 1)]


@pytest.mark.usefixtures("loop_redis")
async def test_whoever_a_dead_server_left_behind_is_swept(told, monkeypatch):
    monkeypatch.setattr(presence, "LEASE", -1)
    await arrive(lease(1, "dead~1"))
    await presence.sweep()
    assert told == [("presence.joined", 1), ("presence.left", 1)]
    assert await here() == []


@pytest.mark.usefixtures("loop_redis")
async def test_an_emptied_redis_learns_again_who_is_here(told):
    from events import redis_client

    held = {lease(1, "c~1"): True, lease(2, "c~2"): True}
    await presence.hold(held)
    await redis_client.of_loop().flushall()
    assert await here() == []
    await presence.hold(held)
    assert await here() == [1, 2]


@pytest.mark.usefixtures("loop_redis")
async def test_away_is_whoever_looks_at_none_of_their_pages(told):
    await arrive(lease(1, "c~1"))
    await arrive(lease(1, "c~2"))
    await arrive(lease(11, "c~3"), looked_at=False)
    assert told == [("presence.joined", 1), ("presence.joined", 11), ("presence.changed", 11, True)]
    del told[:]
    await arrive(lease(1, "c~1"), looked_at=False)
    assert told == []
    await presence.hold({lease(1, "c~1"): False, lease(1, "c~2"): False})
    assert told == [("presence.changed", 1, True)]
    found = await asyncio.to_thread(presence.people, TOPIC)
    assert {person.id: person.away for person in found} == {1: True, 11: True}
    await presence.hold({lease(1, "c~1"): False, lease(1, "c~2"): True})
    assert told[1:] == [("presence.changed", 1, False)]


@pytest.mark.usefixtures("loop_redis")
async def test_closing_the_page_one_looked_at_leaves_one_away_for_as_long_as_another_is_open(told):
    await arrive(lease(1, "c~1"))
    await arrive(lease(1, "c~2"), looked_at=False)
    await depart(lease(1, "c~1"), grace=0)
    await presence.sweep()
    await depart(lease(1, "c~2"), grace=0)
    await presence.sweep()
    assert told == [
        ("presence.joined", 1),
        ("presence.changed", 1, True),
        ("presence.left", 1),
    ]
    await arrive(lease(1, "c~1"))
    assert told[3:] == [("presence.joined", 1)]


@pytest.mark.usefixtures("loop_redis")
async def test_a_page_that_was_gone_before_it_was_told_is_not_made_up(told):
    await depart(lease(1, "c~1"))
    assert await here() == []
    await presence.sweep()
    assert told == []


@pytest.mark.usefixtures("loop_redis")
async def test_nothing_is_kept_of_a_topic_that_everybody_left():
    from events import redis_client

    await presence.hold({lease(1, "c~1"): True, lease(2, "c~2"): False})
    await presence.release({lease(1, "c~1"): 0, lease(2, "c~2"): 0})
    await presence.sweep()
    client = redis_client.of_loop()
    assert [key async for key in client.scan_iter(f"{redis_client.prefix()}:presence*")] == []


@pytest.mark.usefixtures("loop_redis")
async def test_thousands_are_kept_and_swept_in_few_round_trips(told, monkeypatch):
    from events import redis_client

    client = redis_client.of_loop()
    held = {
        Lease(f"room.{number % 50 + 1}", number, "somebody", f"c~{number}"): True
        for number in range(1, 5001)
    }
    await presence.hold(held)
    assert len(told) == 5000
    trips = 0
    execute = type(client.pipeline()).execute

    async def counted(pipe: Any, *args: Any) -> Any:
        nonlocal trips
        trips += 1
        return await execute(pipe, *args)

    monkeypatch.setattr(type(client.pipeline()), "execute", counted)
    began = time.monotonic()
    await presence.hold(held)
    assert trips <= 10
    assert time.monotonic() - began < 2
    trips = 0
    await presence.release(dict.fromkeys(held, 0))
    await presence.sweep()
    assert trips <= 25 + 10
    assert len(told) == 10_000


def test_without_redis_nobody_is_known_to_be_here(settings):
    from events import redis_client

    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    redis_client._blocking.clear()
    try:
        assert presence.people(TOPIC) == []
    finally:
        redis_client._blocking.clear()
