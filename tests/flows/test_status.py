"""`/admin/hub/`: two servers are one hub, who dies is not counted, and Redis may be away."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx
import pytest
from django.contrib.auth.models import User

from consumers.database import in_database
from hub.figures import LIFE
from tests.faults.rig import Rig, rig
from tests.live import collected_static, cookies_of, newcomer
from tests.reference_client import ReferenceClient

DASHBOARD = "group.dashboard"
EVENTS = 40

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(180)]


@pytest.fixture
def admin(live_db: None) -> User:
    return newcomer("admin", is_superuser=True, is_staff=True)


@pytest.fixture
def hub(live_db: None) -> Iterator[Rig]:
    collected_static()
    with rig(servers=2) as hub:
        yield hub


def page(hub: Rig, user: User, server: int = 0) -> str:
    """As one of the servers shows it, within three seconds."""
    url = f"http://127.0.0.1:{hub.servers[server].port}/admin/hub/"
    answer = httpx.get(url, cookies=cookies_of(user), timeout=3)
    assert answer.status_code == 200
    return answer.text


def big(text: str, heading: str) -> int:
    """The large figure of a tile."""
    tile = text.partition(f'id="{heading}"')[2]
    found = re.search(r'class="status-big count">([\d,]+)', tile)
    assert found is not None
    return int(found[1].replace(",", ""))


def processes(text: str) -> set[int]:
    return {int(pid) for pid in re.findall(r'<th scope="row" class="mono">.*? · (\d+)<', text)}


def until_shown(hub: Rig, user: User, wanted: set[int], seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while processes(text := page(hub, user)) != wanted:
        assert time.monotonic() < deadline, (processes(text), wanted)
        time.sleep(0.2)
    return text


async def read_on_every_server(hub: Rig) -> None:
    """One client each, until it has all of the events that come meanwhile."""
    async with AsyncExitStack() as clients:
        readers = []
        for server in hub.servers:
            cookies = await in_database(cookies_of, await in_database(newcomer))
            client = ReferenceClient(f"http://127.0.0.1:{server.port}", cookies=cookies)
            readers.append(await clients.enter_async_context(client))
            await client.until_live()
        await asyncio.to_thread(hub.write, "stream", topics=[DASHBOARD], n=EVENTS, rate=0)
        for client in readers:
            while len(client.offsets(DASHBOARD)) < EVENTS:
                await asyncio.sleep(0.05)


def test_the_page_brings_the_figures_of_all_servers_together(hub, admin):
    asyncio.run(read_on_every_server(hub))
    pids = {server.process.pid for server in hub.servers}
    for server in (0, 1):
        text = until_shown(hub, admin, pids, 30)
        deadline = time.monotonic() + 30
        while big(page(hub, admin, server), "status-account") < 2 * EVENTS:  # told every 2 s
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert "add up" in text
    hub.servers[1].kill()
    began = time.monotonic()
    until_shown(hub, admin, {hub.servers[0].process.pid}, 3 * LIFE)
    assert time.monotonic() - began > 1  # its lease had to run out


def test_the_page_answers_while_redis_hangs_and_while_it_is_gone(hub, admin):
    until_shown(hub, admin, {server.process.pid for server in hub.servers}, 30)
    hub.redis.freeze()
    try:
        text = page(hub, admin)
    finally:
        hub.redis.thaw()
    assert processes(text) == {hub.servers[0].process.pid}
    assert "Redis is away" in text
    hub.redis.kill()
    assert "Redis is away" in page(hub, admin)
    hub.redis.start()
    until_shown(hub, admin, {server.process.pid for server in hub.servers}, 30)
    assert os.getpid() not in processes(page(hub, admin))
