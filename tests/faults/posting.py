"""Somebody who publishes over HTTP at a steady rate, whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import httpx

from accounts.authenticate import make_key
from consumers.database import in_database
from events.models import Event
from tests.faults.load import EVERYBODY
from tests.live import newcomer

PER_SECOND: Final = 20
PATIENCE: Final = 30.0
BETWEEN: Final = 5.0
LONGEST: Final = 20.0
"""Seconds until a request that failed is sent again with its key: the first time those that the hub's Retry-After says,
doubled from one try to the next."""


@dataclass
class Answer:
    mark: str
    status: int
    """0: the connection ended without an answer."""
    seconds: float
    at: float


@dataclass
class Posts:
    answers: list[Answer] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    """The marks that were answered by 2xx in the end."""
    asked: set[str] = field(default_factory=set)
    rows: Counter[str] = field(default_factory=Counter)
    """How many events the log holds of each mark, once it is over."""

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    @property
    def wrong(self) -> list[str]:
        """Accepted without exactly one row, refused with one, or more than one."""
        return sorted(
            mark for mark in self.asked if self.rows[mark] != (1 if mark in self.accepted else 0)
        )

    @property
    def broken(self) -> list[str]:
        """Accepted without exactly one row: the word was given and not kept."""
        return sorted(mark for mark in self.accepted if self.rows[mark] != 1)

    def slowest(self, part: float = 1.0, *, status: int | None = None, since: float = 0.0) -> float:
        """Of so great a part of the answers, to what was asked since then, at most."""
        times = sorted(
            one.seconds
            for one in self.answers
            if one.at >= since and (status is None or one.status == status)
        )
        return times[min(len(times) - 1, int(part * len(times)))] if times else 0.0

    def __str__(self) -> str:
        shown = ", ".join(
            f"{n} × {status or 'no answer'}" for status, n in sorted(self.statuses.items())
        )
        return f"POST: {shown}; p95 {self.slowest(0.95):.2f} s, at most {self.slowest():.2f} s, {len(self.wrong)} wrong"


@contextlib.asynccontextmanager
async def posting(
    url: str, *, again: bool = False, rate: float = PER_SECOND
) -> AsyncIterator[Posts]:
    """`rate` POSTs a second meanwhile, each over a connection of its own and with a key of its own. `again`: what fails
    is sent again with the same key until it is accepted."""
    user = await in_database(newcomer, "poster", is_superuser=True, is_staff=True)
    _, secret = await in_database(make_key, user, "posts")
    posts = Posts()
    over = asyncio.Event()
    # No connections are kept: each POST meets whatever listens now.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {secret}"}
    http = httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=PATIENCE, trust_env=False
    )

    async def one(mark: str) -> None:
        posts.asked.add(mark)
        body = {"topic": EVERYBODY, "type": "test.fault", "data": {"mark": mark}, "key": mark}
        pause = BETWEEN
        while True:
            began = time.monotonic()
            try:
                status = (await http.post("/api/v1/events", json=body)).status_code
            except httpx.TransportError:
                status = 0
            posts.answers.append(Answer(mark, status, time.monotonic() - began, began))
            if 200 <= status < 300:
                posts.accepted.add(mark)
                return
            if not again:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST)

    async def keep() -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                if over.is_set():
                    return
                group.create_task(one(f"{user.pk}-post-{number}"))
                await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))

    keeping = asyncio.create_task(keep())
    try:
        yield posts
    finally:
        over.set()
        try:
            async with asyncio.timeout(2 * PATIENCE):
                await keeping
        finally:
            await http.aclose()
    posts.rows.update(await in_database(_marks, f"{user.pk}-post-"))


def _marks(prefix: str) -> list[str]:
    rows = Event.objects.filter(topic=EVERYBODY, data__contains=prefix)
    return [json.loads(data)["mark"] for data in rows.values_list("data", flat=True)]
