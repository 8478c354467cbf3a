"""Who is here: one lease per connection in Redis, kept alive by the server process that holds the connection.

There is no counter that a crash could leave wrong: a lease that nobody renews expires, and the sweep that takes it
away tells who left. A closing connection shortens its lease instead of ending it, so that a reconnect within
`GRACE` shows no flicker. Presence is a hint; nothing important depends on it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import redis

from events import redis_client
from events.log import rfc3339
from events.whispering import awhisper

logger = logging.getLogger(__name__)

LEASE: Final = 45
"""Seconds a lease lives unrenewed: the longest that somebody is shown after their server died."""
RENEW: Final = 15
GRACE: Final = 8
"""Seconds between the last connection's end and `presence.left`; a reconnect takes a few."""

_TAKE: Final = """
local first = redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1] .. '/' .. ARGV[2])
redis.call('SADD', KEYS[3], ARGV[5])
return first
"""
_SWEEP: Final = """
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if #gone == 0 then return {} end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
local here = {}
for _, lease in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    here[string.match(lease, '^[^/]+')] = true
end
local left = {}
for _, lease in ipairs(gone) do
    local who = string.match(lease, '^[^/]+')
    if not here[who] then
        here[who] = true
        local told = redis.call('HGET', KEYS[2], who)
        redis.call('HDEL', KEYS[2], who)
        if told then table.insert(left, who); table.insert(left, told) end
    end
end
return left
"""


@dataclass(frozen=True, slots=True)
class Person:
    id: int
    name: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """One connection of one person at one topic."""

    topic: str
    user_id: int
    name: str
    connection: str


def people(topic: str) -> list[Person]:
    """Who is here, longest first. Nobody when Redis is away."""
    try:
        told: dict[bytes, bytes] = redis_client.blocking().hgetall(_key(topic, "people"))  # type: ignore[assignment]
    except redis.RedisError as error:
        logger.debug("presence unknown (%s)", type(error).__name__)
        return []
    found = [_person(int(user_id), value) for user_id, value in told.items()]
    return sorted(found, key=lambda person: person.since)


async def arrive(lease: Lease) -> None:
    """Take the lease; `presence.joined` is whispered for a person's first one."""
    told = json.dumps({"name": lease.name, "since": time.time()})
    if await _take(lease, told):
        await awhisper(lease.topic, "presence.joined", _as_data(_person(lease.user_id, told)))


async def renew(leases: Collection[Lease]) -> None:
    """Keep the leases of this process alive; one that Redis forgot is taken anew."""
    for lease in leases:
        await arrive(lease)


async def depart(lease: Lease) -> None:
    """The connection ended: the lease runs out after `GRACE` unless the person comes back."""
    await redis_client.of_loop().zadd(
        _key(lease.topic, "leases"), {_member(lease): time.time() + GRACE}
    )


async def sweep() -> None:
    """Take away what expired and whisper `presence.left`; of several processes one does it."""
    client = redis_client.of_loop()
    topics: set[Any] = await client.smembers(_topics_key())
    for raw in topics:
        topic = raw.decode()
        left: list[bytes] = await client.eval(
            _SWEEP, 2, _key(topic, "leases"), _key(topic, "people"), str(time.time())
        )
        for who, told in zip(left[::2], left[1::2], strict=True):
            person = _person(int(who), told)
            await awhisper(topic, "presence.left", _as_data(person))


async def _take(lease: Lease, told: str) -> bool:
    first: Any = await redis_client.of_loop().eval(
        _TAKE,
        3,
        _key(lease.topic, "leases"),
        _key(lease.topic, "people"),
        _topics_key(),
        str(lease.user_id),
        lease.connection,
        told,
        str(time.time() + LEASE),
        lease.topic,
    )
    return bool(first)


def _person(user_id: int, told: bytes | str) -> Person:
    value = json.loads(told)
    return Person(user_id, value["name"], datetime.fromtimestamp(value["since"], UTC))


def _as_data(person: Person) -> dict[str, Any]:
    return {"id": person.id, "name": person.name, "since": rfc3339(person.since)}


def _member(lease: Lease) -> str:
    return f"{lease.user_id}/{lease.connection}"


def _key(topic: str, what: str) -> str:
    return f"{redis_client.prefix()}:presence:{topic}:{what}"


def _topics_key() -> str:
    return f"{redis_client.prefix()}:presence:topics"
