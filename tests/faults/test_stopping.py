"""E21: a server that is asked to stop lets nobody fall."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest

from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY, Load
from tests.faults.posting import posting
from tests.faults.recorder import Recorder
from tests.faults.rig import rig
from tests.faults.test_delivery import HEAL, published, verdict_of
from tests.live import Child

END: Final = 30.0
CLOSED: Final = 4012
REFUSALS: Final = (502, 503)
"""What a POST may be told instead, by nginx or by the hub."""

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(1800)]


def stop(child: Child) -> tuple[int | None, float]:
    """Send SIGTERM; the exit code, None when it had to be killed, and the seconds that took."""
    assert child.process is not None
    began = time.monotonic()
    child.process.send_signal(signal.SIGTERM)
    code: int | None
    try:
        code = child.process.wait(END)
    except subprocess.TimeoutExpired:
        code = None
    took = time.monotonic() - began
    child.kill()
    return code, took


@pytest.mark.experiment("E21")
async def test_a_rolling_restart_loses_nobody_and_no_request(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    rounds, sockets = counted(10), counted(500, least=20)
    ends: list[tuple[int | None, float]] = []
    with rig(servers=2, nginx=True) as hub:
        async with Load(hub.url, recorder, {"websocket": sockets}) as load:
            async with posting(hub.url) as posts:
                for _ in range(rounds):
                    for server in hub.servers:
                        await asyncio.sleep(2)
                        ends.append(await asyncio.to_thread(stop, server))
                        await asyncio.to_thread(server.start)
            heal = await load.level(HEAL)
            closes = Counter(code for one in load.listeners for code in one.client.closed)
            verdict = await verdict_of(load, recorder, [])
    told = closes[CLOSED] / max(closes.total(), 1)
    slowest = max(seconds for _, seconds in ends)
    report(
        n=len(ends),
        worst=f"{told:.1%} of {closes.total()} closes were 4012 ({dict(closes)}), exit within {slowest:.1f} s; {posts}; {heal:.1f} s until level; {verdict}",
    )
    assert closes.total() >= sockets * rounds
    assert told >= 0.99, closes
    assert not posts.wrong, (posts, posts.wrong[:5])
    assert posts.statuses.keys() <= {201, *REFUSALS}, posts
    assert posts.statuses[201] >= 0.9 * posts.statuses.total(), posts
    assert {code for code, _ in ends} == {0}, ends
    assert verdict.clean, verdict
    assert verdict.resets == 0


@pytest.mark.experiment("E21")
async def test_a_server_with_a_great_backlog_stops_in_time(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    """Thousands of events for everybody are under way when it is asked, in every outbox and in the layer's queue."""
    sockets = counted(1000)
    with rig() as hub:
        async with Load(hub.url, recorder, {"websocket": sockets}) as load:
            before = len(load.listeners)
            burst = asyncio.create_task(
                published(hub, "stream", topics=[EVERYBODY], n=4000, rate=0)
            )
            await asyncio.sleep(3)
            code, took = await asyncio.to_thread(stop, hub.servers[0])
            lines = await burst
            await asyncio.to_thread(hub.servers[0].start)
            closes = Counter(code for one in load.listeners for code in one.client.closed)
            heal = await load.level(4 * HEAL)
            verdict = await verdict_of(load, recorder, lines)
    report(
        n=before * len([line for line in lines if line["what"] == "ok"]),
        worst=f"exit {code} after {took:.1f} s with {sockets} clients, {dict(closes)}; {heal:.1f} s until level; {verdict}",
    )
    assert code == 0, took
    assert verdict.clean, verdict
    assert verdict.resets == 0
