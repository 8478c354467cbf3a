"""E150: many tabs of one person mark what they have read while others go on talking: it only ever goes forward, and every
tab counts what is left as the rows do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest
from django.contrib.auth.models import User

from chat import rooms
from chat.models import Kind, Membership, Message, Room
from consumers.database import in_database
from events import topics
from events.models import Event
from tests.faults.conftest import Report
from tests.faults.rig import Rig, rig
from tests.faults.test_delivery import published
from tests.live import cookies_of, newcomer
from tests.reference_client import Frame, ReferenceClient

SEED: Final = 20260150
TABS: Final = 20
EVENTS: Final = 2000
ROUND: Final = 10.0
"""Seconds of talking and marking, after which everybody must agree."""
PATIENCE: Final = 30.0

Count = tuple[int, int, int]
"""Read up to which message, and how many unread ones and mentions that leaves."""

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(900)]


class Tab:
    """Counts as a page does: the hub's own count, and what came after it."""

    def __init__(self, client: ReferenceClient, me: User, room: Room) -> None:
        self.client = client
        self.back: list[tuple[int, int]] = []
        """Where the hub said that the person had read less far than before."""
        self.marked = 0
        self.refused: list[Frame] = []
        self._me, self._room, self._topic = me, room, topics.room(room.pk)
        self._read_up_to = self._unread = self._mentions = self._counted_to = 0
        self._later: dict[int, bool] = {}

    @property
    def count(self) -> Count:
        named = self._mentions + sum(self._later.values())
        return self._read_up_to, self._unread + len(self._later), named

    def take(self, event: Frame) -> None:
        data = event["data"]
        if event["type"] == "room.read" and data["id"] == self._room.pk:
            if data["read_up_to"] <= self._read_up_to:
                self.back.append((self._read_up_to, data["read_up_to"]))
            self._read_up_to, self._unread = data["read_up_to"], data["unread"]
            self._mentions, self._counted_to = data["mentions"], data["last_message"]
            self._later = {id_: n for id_, n in self._later.items() if id_ > self._counted_to}
        elif (
            event["type"] == "message.created"
            and event["topic"] == self._topic
            and data["id"] > self._counted_to
            and data["author"]["id"] != self._me.pk
        ):
            self._later[data["id"]] = self._me.pk in data["mentions"]

    async def mark(self, dice: random.Random, seen: Marks, over: asyncio.Event) -> None:
        """Random positions among those that this tab has seen, again and again."""
        while not over.is_set():
            await asyncio.sleep(dice.uniform(0, 1.5))
            offset = dice.randint(0, max(self.client.offsets(self._topic), default=0))
            floor = seen.answered
            answer = await self.client.request(
                {"op": "read", "topic": self._topic, "offset": offset}
            )
            if not answer["ok"]:
                self.refused.append(answer)
                continue
            if answer["data"]["read_up_to"] < floor:
                self.back.append((floor, answer["data"]["read_up_to"]))
            self.marked += 1
            seen.offset = max(seen.offset, offset)
            seen.answered = max(seen.answered, answer["data"]["read_up_to"])


@dataclass
class Marks:
    """`offset`: the furthest position that was marked; `answered`: the furthest message that the hub has confirmed."""

    offset: int = 0
    answered: int = 0
    n: int = 0
    back: list[tuple[int, int]] = field(default_factory=list)
    refused: list[Frame] = field(default_factory=list)
    not_the_most: list[tuple[int, int]] = field(default_factory=list)
    never_agreed: list[dict[str, Any]] = field(default_factory=list)
    agreed: float = 0.0

    @property
    def clean(self) -> bool:
        return not (self.back or self.refused or self.not_the_most or self.never_agreed)

    def __str__(self) -> str:
        return (
            f"{self.n} marks, went back {len(self.back)} times, {len(self.refused)} refused {self.refused[:1] or ''}, last read is not the most"
            f" {self.not_the_most or 'never'}, counts differ {self.never_agreed or 'never'}, all agreed after"
            f" {self.agreed:.2f} s"
        )


def recount(user: User, room: Room) -> Count:
    """From the rows alone."""
    read_up_to = Membership.objects.get(room=room, user=user).read_up_to
    left = Message.objects.filter(room=room, pk__gt=read_up_to, deleted_at=None)
    left = left.exclude(author=user)
    return read_up_to, left.count(), left.filter(mentions__user=user).count()


def furthest(room: Room, offset: int) -> int:
    """The last message whose event is at this offset or before it."""
    rows = Event.objects.filter(topic=topics.room(room.pk), type="message.created")
    data = rows.filter(offset__lte=offset).order_by("-offset").values_list("data", flat=True)
    return int(json.loads(data[0])["id"]) if data[:1] else 0


async def marking(hub: Rig, each: int, rounds: int) -> Marks:
    found = Marks()
    dice = random.Random(SEED)
    me, author = await in_database(newcomer), await in_database(newcomer, "bob")
    room = await in_database(rooms.create, author, Kind.CLOSED, f"E150 {me.username}", "", [me])
    cookies = await in_database(cookies_of, me)
    async with contextlib.AsyncExitStack() as open_ones:
        tabs: list[Tab] = []

        def hear(number: int) -> Callable[[Frame], None]:
            return lambda event: tabs[number].take(event)

        for number in range(TABS):
            client = ReferenceClient(
                hub.url,
                cookies=cookies,
                topics=[topics.room(room.pk)],
                on_event=hear(number),
            )
            tabs.append(Tab(client, me, room))
            await open_ones.enter_async_context(client)
            await client.until_live()
        http = await open_ones.enter_async_context(
            httpx.AsyncClient(base_url=hub.url, cookies=cookies, trust_env=False, timeout=30)
        )

        async def agree() -> dict[str, Any]:
            """Who counts otherwise than the rows do."""
            rows = await in_database(recount, me, room)
            item = (await http.get(f"/api/v1/rooms/{room.pk}")).json()
            api = item["read_up_to"], item["unread"], item["mentions"]
            counts = {"API": api, **{f"tab {at}": tab.count for at, tab in enumerate(tabs)}}
            return {who: (count, rows) for who, count in counts.items() if count != rows}

        for number in range(rounds):
            over = asyncio.Event()
            running = [asyncio.create_task(tab.mark(dice, found, over)) for tab in tabs]
            await published(
                hub,
                "talk",
                room=room.pk,
                author=author.pk,
                names=me.username,
                n=each,
                rate=each / ROUND,
                mark=f"{number} ",
            )
            over.set()
            await asyncio.gather(*running)
            ended = time.monotonic()
            while (differ := await agree()) and time.monotonic() < ended + PATIENCE:
                await asyncio.sleep(0.05)
            found.agreed = max(found.agreed, time.monotonic() - ended)
            if differ:
                found.never_agreed.append(differ)
            most = await in_database(furthest, room, found.offset)
            read_up_to = (await in_database(recount, me, room))[0]
            if read_up_to != most:
                found.not_the_most.append((read_up_to, most))
    for tab in tabs:
        found.n += tab.marked
        found.back += tab.back
        found.refused += tab.refused
    return found


@pytest.mark.experiment("E150")
async def test_what_is_read_goes_forward_and_every_tab_counts_alike(
    counted: Callable[..., int], in_full: bool, report: Report
):
    rounds = counted(6)
    each = math.ceil(counted(EVENTS) / rounds)
    with rig(servers=2, nginx=True) as hub:
        found = await marking(hub, each, rounds)
    report(n=f"{rounds * each} events, {found.n} marks", worst=str(found), seed=SEED)
    assert found.n > TABS, found
    assert found.clean, found
    if in_full:  # a tenth runs beside whatever else a machine has to do
        assert found.agreed <= 2.0, found
