"""E155: who is shown as here is here, however tabs and servers end, and who stays is never said to have left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, WebSocketException
from websockets.typing import Origin

from chat import rooms
from chat.models import Kind
from consumers.database import in_database
from consumers.limits import BAD_FRAMES
from events import topics
from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY
from tests.faults.rig import Rig, rig
from tests.live import cookies_of, newcomer
from tests.reference_client import ReferenceClient

SEED: Final = 20260155
TABS: Final = 300
KILLS: Final = 20
PER_PERSON: Final = 5
STEADY: Final = 10
HEAL: Final = 60.0

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(900)]


@dataclass
class Attendance:
    """`came`, `went`: what was whispered of the steady people; each comes once and never goes."""

    opened: int = 0
    came: int = 0
    went: int = 0
    reconnects: int = 0
    ghosts: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    healed: float = 0.0

    @property
    def clean(self) -> bool:
        return not (self.came or self.went or self.ghosts or self.missing)

    def __str__(self) -> str:
        return (
            f"{self.opened} tabs opened; {sum(self.ghosts.values())} ghosts and {self.missing} missing"
            f" {self.healed:.0f} s after the last one ended; steady tabs came back {self.reconnects} times, and were said to"
            f" have come {self.came} and gone {self.went} times too many"
        )


@dataclass
class Tabs:
    """People whose tabs come and go; `hub` is reached by way of nginx."""

    hub: Rig
    room: str
    cookies: list[str]
    dice: random.Random
    opened: int = 0

    async def churn(self, cookie: str) -> None:
        while True:
            with contextlib.suppress(OSError, WebSocketException, InvalidHandshake, InvalidMessage):
                await self._one(cookie, self.dice.choice(ENDS))
            await asyncio.sleep(self.dice.uniform(0, 2))

    async def _one(self, cookie: str, end: Callable[[Any], Any]) -> None:
        async with connect(
            f"ws{self.hub.url.removeprefix('http')}/ws/?topics={self.room}",
            origin=Origin(self.hub.url),
            additional_headers={"Cookie": cookie},
            compression=None,
            ping_interval=None,
            close_timeout=1,
        ) as socket:
            self.opened += 1
            try:
                async with asyncio.timeout(self.dice.choice([0, 0.05, self.dice.uniform(1, 10)])):
                    async for _ in socket:
                        pass
            except TimeoutError:
                await end(socket)


async def close(socket: Any) -> None:
    await socket.close()


async def break_off(socket: Any) -> None:
    socket.transport.abort()


async def be_refused(socket: Any) -> None:
    """As a tab of another version might be: nothing that it says is understood."""
    for _ in range(BAD_FRAMES):
        await socket.send("?")
    async for _ in socket:
        pass


ENDS: Final = (close, break_off, be_refused)


async def attendance(
    hub: Rig, tabs: int, kills: int, *, seconds: float, steady: int = STEADY
) -> Attendance:
    """Tabs come and go for at least so many seconds while servers are killed, all but the last one, which a witness is
    connected to; the last kill takes its server for good."""
    found = Attendance()
    dice = random.Random(SEED)
    people = [await in_database(newcomer) for _ in range(max(2, tabs // PER_PERSON))]
    staying = [await in_database(newcomer, "steady") for _ in range(steady)]
    witness = await in_database(newcomer, "witness")
    room = await in_database(rooms.create, witness, Kind.OPEN, f"E155 {witness.username}")
    places = [EVERYBODY, topics.room(room.pk)]
    headers = [await in_database(cookie_of, user) for user in people]
    churning = Tabs(hub, places[1], headers, dice)
    async with contextlib.AsyncExitStack() as open_ones:
        seen = await open_ones.enter_async_context(
            page(hub, witness, places[1], hub.servers[-1].port)
        )
        stays = [
            await open_ones.enter_async_context(page(hub, user, places[1])) for user in staying
        ]
        began = time.monotonic()
        running = [
            asyncio.create_task(churning.churn(headers[number % len(headers)]))
            for number in range(tabs)
        ]
        for left in reversed(range(kills)):
            await asyncio.sleep(seconds / kills * dice.uniform(0.5, 1))
            victim = dice.choice(hub.servers[:-1])
            await asyncio.to_thread(victim.kill)
            if left:
                await asyncio.to_thread(victim.start)
        await asyncio.sleep(began + seconds - time.monotonic())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        found.opened = churning.opened
        over = time.monotonic()
        expected = {user.pk for user in [witness, *staying]}
        here = await present(hub, witness, places)
        while time.monotonic() < over + HEAL and any(one != expected for one in here.values()):
            await asyncio.sleep(0.5)
            here = await present(hub, witness, places)
        found.healed = time.monotonic() - over
        found.ghosts = {name: len(one - expected) for name, one in here.items() if one - expected}
        found.missing = sum(len(expected - one) for one in here.values())
        found.reconnects = sum(len(one.closed) for one in stays)
        said = [
            (one["type"], one["topic"], one["data"]["id"])
            for one in seen.whispers
            if one["type"] in {"presence.joined", "presence.left"}
        ]
        for user in staying:
            for name in places:
                found.came += max(0, said.count(("presence.joined", name, user.pk)) - 1)
                found.went += said.count(("presence.left", name, user.pk))
    return found


def cookie_of(user: User) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies_of(user).items())


@contextlib.asynccontextmanager
async def page(
    hub: Rig, user: User, room: str, port: int | None = None
) -> AsyncIterator[ReferenceClient]:
    """A tab that stays and comes back as the browser's does; `port`: of the one server that it goes to."""
    client = ReferenceClient(
        f"http://127.0.0.1:{port}" if port else hub.url,
        cookies=await in_database(cookies_of, user),
        origin=hub.url,
        topics=[room],
    )
    async with client:
        await client.until_live()
        yield client


async def present(hub: Rig, who: User, places: list[str]) -> dict[str, set[int]]:
    cookies = await in_database(cookies_of, who)
    url = f"http://127.0.0.1:{hub.servers[-1].port}"
    async with httpx.AsyncClient(
        base_url=url, cookies=cookies, trust_env=False, timeout=30
    ) as http:
        found = {}
        for name in places:
            answer = await http.get("/api/v1/presence", params={"topic": name})
            assert answer.status_code == 200, answer.text
            found[name] = {person["id"] for person in json.loads(answer.content)["people"]}
    return found


@pytest.mark.experiment("E155")
async def test_no_ghost_stays_and_nobody_who_stays_flickers(
    counted: Callable[..., int], in_full: bool, report: Report
):
    kills = counted(KILLS, least=3)
    with rig(servers=3, nginx=True) as hub:
        found = await attendance(hub, counted(TABS), kills, seconds=100 if in_full else 25)
    report(n=kills, worst=str(found), seed=SEED)
    assert found.reconnects, "no steady tab lost its server: nothing was tried"
    assert found.clean, found


@pytest.mark.experiment("E155")
@pytest.mark.skipif(connection.vendor != "sqlite", reason="no database is in it: it runs once")
@pytest.mark.parametrize("defect", ["presence_by_counter", "clean_up_in_disconnect"])
async def test_ghosts_are_noticed(defect: str, counted: Callable[..., int], report: Report):
    with rig(servers=3, nginx=True, planted=defect) as hub:
        found = await attendance(hub, counted(TABS), 1, seconds=15)
    report(control=defect, caught=not found.clean, n=1, worst=str(found))
    assert found.ghosts, "the experiment can't tell who is gone"
