"""Who is here: one lease per connection and topic in Redis, kept alive by the server process that holds the connection.

There is no counter that a crash could leave wrong: a lease that nobody renews expires, and the sweep that takes it
away tells who left. A closing connection shortens its lease instead of ending it, so that a reconnect within
`GRACE` shows no flicker. Presence is a hint; nothing important depends on it.

A topic has its leases by expiry; its seats, `who/1/connection` of a page that is looked at and `who/0/connection` of
one that is not, in the order of their text, so that one look finds a person's; its people; and who of them is away.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import redis

from events import redis_client
from events.log import rfc3339
from events.whispering import awhisper

logger = logging.getLogger(__name__)

LEASE: Final = 45
"""Seconds a lease lives unrenewed: the longest that somebody is shown after their server died."""
RENEW: Final = 15
GRACE: Final = 8.0
"""Seconds between the last connection's end and `presence.left`; a reconnect takes a few."""
PER_CALL: Final = 200
"""Leases in one call: Redis serves nobody else meanwhile, for about a millisecond."""
PER_ROUND_TRIP: Final = 5
"""Calls in one round trip, well within the time-out."""

_PARTS: Final = ("leases", "seats", "people", "away")
_TURN: Final = """
local news = {}
local function tell(who, what, told)
    if told then
        table.insert(news, who); table.insert(news, what); table.insert(news, told)
    end
end
local function turn(who)
    local looks = redis.call('ZRANGEBYLEX', KEYS[2], '[' .. who .. '/1/', '(' .. who .. '/10', 'LIMIT', 0, 1)
    if #looks > 0 then
        if redis.call('SREM', KEYS[4], who) == 1 then tell(who, 'back', redis.call('HGET', KEYS[3], who)) end
    elseif redis.call('SADD', KEYS[4], who) == 1 then
        tell(who, 'away', redis.call('HGET', KEYS[3], who))
    end
end
local concerned = {}
"""
_HOLD: Final = f"""
{_TURN}
redis.call('SADD', KEYS[5], ARGV[1])
for i = 3, #ARGV, 4 do
    local who, connection, seen, told = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    redis.call('ZADD', KEYS[1], ARGV[2], who .. '/' .. connection)
    redis.call('ZREM', KEYS[2], who .. (seen == '1' and '/0/' or '/1/') .. connection)
    redis.call('ZADD', KEYS[2], 0, who .. '/' .. seen .. '/' .. connection)
    if redis.call('HSETNX', KEYS[3], who, told) == 1 then tell(who, 'joined', told) end
    concerned[who] = true
end
for who in pairs(concerned) do turn(who) end
return news
"""
_SWEEP: Final = f"""
{_TURN}
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, {PER_CALL})
for _, lease in ipairs(gone) do
    local who, connection = string.match(lease, '^([^/]+)/(.*)$')
    redis.call('ZREM', KEYS[1], lease)
    redis.call('ZREM', KEYS[2], who .. '/0/' .. connection, who .. '/1/' .. connection)
    concerned[who] = true
end
for who in pairs(concerned) do
    if #redis.call('ZRANGEBYLEX', KEYS[2], '[' .. who .. '/', '(' .. who .. '0', 'LIMIT', 0, 1) > 0 then
        turn(who)
    else
        tell(who, 'left', redis.call('HGET', KEYS[3], who))
        redis.call('HDEL', KEYS[3], who)
        redis.call('SREM', KEYS[4], who)
    end
end
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
    redis.call('SREM', KEYS[5], ARGV[1])
end
return {{#gone, news}}
"""


@dataclass(frozen=True, slots=True)
class Person:
    id: int
    name: str
    since: datetime
    away: bool = False


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
        with redis_client.blocking().pipeline(transaction=False) as pipe:
            pipe.hgetall(_key(topic, "people"))
            pipe.smembers(_key(topic, "away"))
            told, away = pipe.execute()
    except redis.RedisError as error:
        logger.debug("presence unknown (%s)", type(error).__name__)
        return []
    found = [_person(who, value, away=who in away) for who, value in told.items()]
    return sorted(found, key=lambda person: person.since)


async def hold(leases: Mapping[Lease, bool]) -> None:
    """Take these leases, or keep them alive; True: somebody looks at that page.

    Whispers `presence.joined` of a person's first one, `presence.changed` when none of theirs is looked at any more,
    or one is again.
    """
    async for topic, news in _in_few_round_trips(_HOLD, _calls(leases)):
        await _tell(topic, news)


async def release(leases: Mapping[Lease, float]) -> None:
    """These connections are here no more: each lease runs out after so many seconds unless the person comes back."""
    now = time.time()
    pending = iter(leases.items())
    while some := list(islice(pending, PER_CALL)):
        async with redis_client.of_loop().pipeline(transaction=False) as pipe:
            for lease, seconds in some:
                member = f"{lease.user_id}/{lease.connection}"
                pipe.zadd(_key(lease.topic, "leases"), {member: now + seconds}, xx=True)
            await pipe.execute()


async def sweep() -> None:
    """Take away what expired and whisper `presence.left`; of several processes one does it."""
    found: set[Any] = await redis_client.of_loop().smembers(_topics_key())
    names = sorted(raw.decode() for raw in found)
    while names:
        more = []
        calls = [(topic, [str(time.time())]) for topic in names]
        async for topic, (gone, news) in _in_few_round_trips(_SWEEP, iter(calls)):
            await _tell(topic, news)
            if gone >= PER_CALL:
                more.append(topic)
        names = more


async def _in_few_round_trips(
    script: str, calls: Iterator[tuple[str, Sequence[str]]]
) -> AsyncIterator[tuple[str, Any]]:
    """Run the script for each topic with its arguments; yields its answers."""
    while some := list(islice(calls, PER_ROUND_TRIP)):
        async with redis_client.of_loop().pipeline(transaction=False) as pipe:
            for topic, arguments in some:
                keys = [*(_key(topic, part) for part in _PARTS), _topics_key()]
                pipe.eval(script, len(keys), *keys, topic, *arguments)
            answers = await pipe.execute()
        for (topic, _), answer in zip(some, answers, strict=True):
            yield topic, answer


async def _tell(topic: str, news: Sequence[bytes]) -> None:
    for who, what, told in zip(news[::3], news[1::3], news[2::3], strict=True):
        person = _person(who, told)
        data = {"id": person.id, "name": person.name, "since": rfc3339(person.since)}
        match what:
            case b"joined" | b"left":
                await awhisper(topic, f"presence.{what.decode()}", data)
            case _:
                await awhisper(topic, "presence.changed", {**data, "away": what == b"away"})


def _calls(leases: Mapping[Lease, bool]) -> Iterator[tuple[str, Sequence[str]]]:
    by_topic = defaultdict(list)
    for lease, looked_at in leases.items():
        by_topic[lease.topic].append((lease, looked_at))
    for topic, held in by_topic.items():
        for start in range(0, len(held), PER_CALL):
            now = time.time()
            arguments = [str(now + LEASE)]
            for lease, looked_at in held[start : start + PER_CALL]:
                told = json.dumps({"name": lease.name, "since": now})
                seen = "1" if looked_at else "0"
                arguments += [str(lease.user_id), lease.connection, seen, told]
            yield topic, arguments


def _person(who: bytes, told: bytes, *, away: bool = False) -> Person:
    value = json.loads(told)
    return Person(int(who), value["name"], datetime.fromtimestamp(value["since"], UTC), away)


def _key(topic: str, part: str) -> str:
    return f"{redis_client.prefix()}:presence:{topic}:{part}"


def _topics_key() -> str:
    return f"{redis_client.prefix()}:presence:topics"
