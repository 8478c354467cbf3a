"""How often one person may call something: a leaky bucket in Redis, in this process while Redis is away."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import redis

from accounts import refusals
from accounts.errors import ApiError
from accounts.refusals import Reason
from events import redis_client

if TYPE_CHECKING:
    from accounts.authenticate import Credential

_GIVE_UP: Final = 5.0
"""Seconds for which Redis is not asked again after it failed to answer."""
_MOST_LOCAL: Final = 10_000

# KEYS[1] holds the moment, in microseconds of Redis' clock, at which the bucket will be empty again.
_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local step, room = tonumber(ARGV[1]), tonumber(ARGV[2])
local empty = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = empty + step - now - room
if wait > 0 then return wait end
redis.call('SET', KEYS[1], string.format('%.0f', empty + step), 'PX', math.ceil(room / 1000) + 1000)
return 0
"""

_lock = threading.Lock()
_local: OrderedDict[str, float] = OrderedDict()
_redis_after = 0.0


class TooFast(ApiError):
    def __init__(self, retry_after: int) -> None:
        super().__init__(429, f"Too fast: try again in {retry_after} s.", retry_after=retry_after)


def limit(
    credential: Credential, name: str, per_minute: int, cost: int = 1, reason: Reason = "calls"
) -> None:
    """`limit_person` for whoever calls with this credential."""
    limit_person(credential.user_id, name, per_minute, cost, reason)


def limit_person(
    user_id: int, name: str, per_minute: int, cost: int = 1, reason: Reason = "calls"
) -> None:
    """Count one call that weighs `cost`; raises TooFast beyond `per_minute` a minute.

    A person has one bucket for a name, whatever they call with: keys, sessions, forms. A full minute's worth may come
    at once, and what weighs more than that counts as a full minute's worth.
    """
    wait = take(f"{name}:user:{user_id}", per_minute, cost=cost, reason=reason)
    if wait > 0:
        raise TooFast(wait)


def take(bucket: str, most: int, seconds: int = 60, cost: int = 1, reason: Reason = "calls") -> int:
    """Whole seconds to wait, counted as a refusal; 0: taken. `most` fit into the bucket, and as many leak out in
    `seconds`."""
    step, room = seconds / most * min(cost, most), float(seconds)
    wait = math.ceil(_take(bucket, step, room))
    if wait:
        refusals.count(reason)
    return wait


def _take(bucket: str, step: float, room: float) -> float:
    global _redis_after
    if time.monotonic() >= _redis_after:
        try:
            return _take_from_redis(bucket, step, room)
        except redis.RedisError:
            _redis_after = time.monotonic() + _GIVE_UP
    return _take_here(bucket, step, room)


def _take_from_redis(bucket: str, step: float, room: float) -> float:
    key = f"{redis_client.prefix()}:rate:{bucket}"
    wait: Any = redis_client.blocking().eval(
        _SCRIPT, 1, key, math.floor(step * 1_000_000), round(room * 1_000_000)
    )
    return float(wait) / 1_000_000


def _take_here(bucket: str, step: float, room: float) -> float:
    now = time.monotonic()
    with _lock:
        empty = max(_local.pop(bucket, now), now)
        wait = empty + step - now - room
        if wait < 1e-6:  # what floating point makes of nothing
            empty, wait = empty + step, 0.0
        _local[bucket] = empty
        if len(_local) > _MOST_LOCAL:
            _local.popitem(last=False)
    return wait
