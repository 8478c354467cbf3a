"""What each server process says of itself, where all of them can read it: a key with a lease in Redis.

    figures.keep_telling()      in a server: every two seconds, until the process ends
    figures.of_all()            whoever has told something within the last seconds

There are no sums in Redis that a crash could leave wrong: who is gone stops telling, and its figures go with it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import redis

from accounts import refusals
from consumers import switchboard
from consumers.ledger import Figures
from events import redis_client

logger = logging.getLogger(__name__)

PULSE: Final = 2.0
"""Seconds between two tellings."""
LIFE: Final = 8
"""Seconds after which what a process told is forgotten."""
REMEMBERED: Final = 60
"""Pulses of which the deliveries are kept."""


@dataclass(frozen=True)
class Node:
    """One server process at one moment."""

    name: str
    """Host and process id."""
    up: float
    """Seconds that it runs."""
    readers: Figures
    refusals: dict[str, int]
    delivered: tuple[int, ...] = ()
    """In each of the last pulses, the newest last."""

    @property
    def connected(self) -> int:
        return sum(self.readers.connections.values())

    def as_json(self) -> str:
        # `asdict` would make nonsense of the counters in it before Python 3.12.
        return json.dumps({**vars(self), "readers": vars(self.readers)})

    @classmethod
    def from_json(cls, text: str | bytes) -> Node:
        told: dict[str, Any] = json.loads(text)
        readers = told["readers"]
        figures = Figures(**{**readers, "buckets": tuple(readers["buckets"])})
        return cls(**{**told, "readers": figures, "delivered": tuple(told["delivered"])})


class Teller:
    """Of this process."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = 0
        self._delivered: deque[int] = deque([0] * REMEMBERED, REMEMBERED)
        self._thread: threading.Thread | None = None

    def node(self) -> Node:
        found = switchboard.figures_of_process()  # one: a server has one loop
        return Node(
            name=f"{socket.gethostname()} · {os.getpid()}",
            up=time.monotonic() - self._began,
            readers=found[0] if found else Figures(),
            refusals=refusals.counts(),
            delivered=tuple(self._delivered),
        )

    def tell(self) -> None:
        """Raises `redis.RedisError`."""
        node = self.node()
        self._delivered.append(node.readers.delivered - self._before)
        self._before = node.readers.delivered
        node = replace(node, delivered=tuple(self._delivered))
        with redis_client.blocking().pipeline(transaction=False) as pipe:
            pipe.sadd(_names(), node.name)
            pipe.set(_key(node.name), node.as_json(), ex=LIFE)
            pipe.execute()

    def keep_telling(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._tell_for_ever, name="figures", daemon=True)
            self._thread.start()

    @property
    def is_telling(self) -> bool:
        return self._thread is not None

    def _tell_for_ever(self) -> None:
        while True:
            try:
                self.tell()
            except redis.RedisError as error:
                logger.debug("no figures told: %s", error)
            except Exception:
                logger.exception("the figures of this process can't be told")
            time.sleep(PULSE)


teller = Teller()


def keep_telling() -> None:
    """From a thread of its own, for as long as this process lives."""
    teller.keep_telling()


def of_this_process() -> list[Node]:
    """Where it is one that tells; else nothing."""
    return [teller.node()] if teller.is_telling else []


def of_all() -> list[Node]:
    """By name, this process as it is now. Raises `redis.RedisError`."""
    client = redis_client.blocking()
    names = sorted(map(_text, client.smembers(_names())))
    told = dict(zip(names, client.mget(map(_key, names)) if names else [], strict=True))
    gone = [name for name, text in told.items() if text is None]
    if gone:
        client.srem(_names(), *gone)
    nodes = {name: Node.from_json(text) for name, text in told.items() if text is not None}
    nodes |= {node.name: node for node in of_this_process()}
    return [nodes[name] for name in sorted(nodes)]


def total(nodes: Iterable[Node]) -> Node:
    """All of them as if they were one."""
    sum_of = Node("", 0.0, Figures(), {}, (0,) * REMEMBERED)
    for node in nodes:
        sum_of = Node(
            "",
            max(sum_of.up, node.up),
            sum_of.readers + node.readers,
            _added(sum_of.refusals, node.refusals),
            tuple(a + b for a, b in zip(sum_of.delivered, node.delivered, strict=True)),
        )
    return sum_of


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in [*one, *other]}


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _names() -> str:
    return f"{redis_client.prefix()}:servers"


def _key(name: str) -> str:
    return f"{redis_client.prefix()}:server:{name}"
