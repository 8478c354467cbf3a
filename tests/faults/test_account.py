"""E85: what readers are owed adds up at every moment: owed = delivered + dropped, with its reason, + pending."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import pytest
from django.contrib.auth.models import Group, User
from websockets.asyncio.client import connect
from websockets.typing import Origin

from consumers.database import in_database
from events import topics
from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY, Load, share
from tests.faults.recorder import Recorder
from tests.faults.rig import Rig, rig
from tests.live import cookies_of, newcomer

SECONDS: Final = 12
PATIENCE: Final = 20
RATE: Final = 60
BALLAST: Final = 30_000
"""Characters: who does not read them has something waiting after a second or two."""

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(180)]


def team_of(people: list[User]) -> str:
    group = Group.objects.create(name=secrets.token_hex(4))
    group.user_set.add(*people)
    return topics.team(group.pk)


def header_of(cookies: Mapping[str, str]) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


@contextlib.asynccontextmanager
async def who_never_reads(hub: Rig, topic: str, user: User) -> AsyncIterator[None]:
    headers = header_of(await in_database(cookies_of, user))
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    end.setblocking(False)
    port = hub.servers[0].port
    await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", port))
    async with connect(
        f"ws://127.0.0.1:{port}/ws/?topics={topic}",
        sock=end,
        origin=Origin(hub.url),
        additional_headers=headers,
        max_queue=1,
        ping_interval=None,
        close_timeout=0.1,
    ):
        yield


def hurt(
    hub: Rig,
    people: list[User],
    seconds: float,
    over: threading.Event,
) -> None:
    """One after the other loses the team, then the account; the second server dies and comes back. The last one, who
    never reads, loses the team once there is something waiting to be lost."""
    until = time.monotonic() + seconds + PATIENCE
    for number, user in enumerate(people):
        time.sleep(seconds / len(people) / 2)
        while user is people[-1] and not has_backlog(hub) and time.monotonic() < until:
            time.sleep(0.05)
        if number % 2:
            user.groups.clear()
        else:
            User.objects.filter(pk=user.pk).update(is_active=False)
        if number == len(people) // 2:
            hub.servers[1].kill()
            hub.servers[1].start()
    over.set()


def has_backlog(hub: Rig) -> bool:
    """Of who never reads: what others have is gone by the next look."""
    for _ in range(5):
        time.sleep(0.1)
        if hub.account().pending <= 100:
            return False
    return True


@pytest.mark.experiment("E85", quick=True)
async def test_what_is_owed_adds_up_at_every_moment(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    seconds = counted(SECONDS, least=3)
    with rig(servers=2, nginx=True) as hub:
        slow, *people = [await in_database(newcomer) for _ in range(7)]
        team = await in_database(team_of, [slow, *people])
        over = threading.Event()
        with hub.accounts_watched() as seen:
            async with (
                Load(hub.url, recorder, share(0.1)) as load,
                contextlib.AsyncExitStack() as others,
            ):
                for user in people:
                    headers = header_of(await in_database(cookies_of, user))
                    address = f"ws{hub.url.removeprefix('http')}/ws/?topics={team}"
                    await others.enter_async_context(
                        connect(address, origin=Origin(hub.url), additional_headers=headers)
                    )
                for user in (slow, slow, people[-1]):
                    await others.enter_async_context(who_never_reads(hub, team, user))
                hurting = asyncio.create_task(in_database(hurt, hub, people, seconds, over))
                n = seconds * RATE
                await asyncio.gather(
                    asyncio.to_thread(hub.write, "stream", topics=[EVERYBODY], n=n, rate=RATE),
                    asyncio.to_thread(
                        hub.write, "stream", topics=[team], n=n, rate=RATE, size=BALLAST
                    ),
                )
                await hurting
                assert over.is_set()
                await load.level(20)
                async with asyncio.timeout(
                    20
                ):  # before who never reads goes, and drops it as closed
                    while not any(
                        hub.account(number).dropped.get("revoked") for number in range(2)
                    ):
                        await asyncio.sleep(0.2)
            async with asyncio.timeout(20):
                while any(hub.account(number).pending for number in range(2)):
                    await asyncio.sleep(0.2)
        after = [hub.account(number) for number in range(2)]
    owed = sum(account.owed for account in after)
    dropped = sum(sum(account.dropped.values()) for account in after)
    report(
        n=f"{seen.looks} looks",
        worst=f"at most {seen.most_pending} pending, {owed} owed and {dropped} dropped in the end; balances {[account.balance for account in after]}",
    )
    assert seen.looks > 20
    assert seen.most_pending > 100, "nobody was slow: nothing was tried"
    assert after[0].dropped["closed"] > 0, after
    assert all(account.balance == 0 for account in after)
