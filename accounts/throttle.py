"""How often one credential may call something: a leaky bucket in Redis, in this process while Redis is away."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import redis

from accounts.errors import ApiError
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


def limit(credential: Credential, name: str, per_minute: int) -> None:
    """Count one call; raises TooFast beyond `per_minute` a minute. A full minute's worth may come at once."""
    who = f"key:{credential.key_id}" if credential.key_id else f"user:{credential.user_id}"
    wait = _take(f"{name}:{who}", per_minute)
    if wait > 0:
        raise TooFast(max(1, math.ceil(wait)))


def _take(bucket: str, per_minute: int) -> float:
    """Seconds to wait; 0: taken."""
    global _redis_after
    if time.monotonic() >= _redis_after:
        try:
            return _take_from_redis(bucket, per_minute)
        except redis.RedisError:
            _redis_after = time.monotonic() + _GIVE_UP
    return _take_here(bucket, per_minute)


def _take_from_redis(bucket: str, per_minute: int) -> float:
    key = f"{redis_client.prefix()}:rate:{bucket}"
    step = round(60_000_000 / per_minute)
    wait: Any = redis_client.blocking().eval(_SCRIPT, 1, key, step, 60_000_000)
    return float(wait) / 1_000_000


def _take_here(bucket: str, per_minute: int) -> float:
    now = time.monotonic()
    with _lock:
        empty = max(_local.pop(bucket, now), now)
        wait = empty + 60 / per_minute - now - 60
        _local[bucket] = empty if wait > 0 else empty + 60 / per_minute
        if len(_local) > _MOST_LOCAL:
            _local.popitem(last=False)
    return max(wait, 0.0)
