"""E37, E88: ten thousand at once while the server looks away, and everybody coming back at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import pytest

from tests.faults.checker import Verdict
from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY, Load
from tests.faults.recorder import Recorder
from tests.faults.rig import rig
from tests.faults.test_delivery import HEAL, published, verdict_of
from tests.reference_client import Transport

STOCK: Final = 100
"""Messages that Channels' core layer keeps for one process."""

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(1800)]


async def burst(
    recorder: Recorder, n: int, planted: str, layer: str, capacity: int = 0
) -> tuple[Verdict, float]:
    """`n` events of one `publish_many` reach a server whose loop hangs for two seconds meanwhile."""
    stays = planted == "stock_core_layer"  # who asks again and again has the rest from the log
    clients: dict[Transport, int] = {"websocket": 4, "sse": 2}
    if not stays:
        clients |= {"long-poll": 2, "poll": 2}
    with rig(planted=planted, env={"HUB_LAYER": layer}) as hub:
        async with Load(hub.url, recorder, clients) as load:
            lines = await published(hub, "at_once", topic=EVERYBODY, n=n, capacity=capacity)
            level = await load.level(HEAL / 3 if stays else HEAL)
            return await verdict_of(load, recorder, lines), level


@pytest.mark.experiment("E37", quick=True)
@pytest.mark.parametrize("layer", ["pubsub", "core"])
async def test_ten_thousand_at_once_and_a_loop_that_hangs(
    layer: str, recorder: Recorder, counted: Callable[..., int], report: Report
):
    n = counted(10_000)
    verdict, level = await burst(recorder, n, "blocked_loop", layer)
    report(n=n, worst=f"{level:.1f} s until level; {verdict}")
    assert verdict.clean, verdict
    assert verdict.resets == 0
    assert level < HEAL


@pytest.mark.experiment("E37")
async def test_the_stock_core_layer_alone_loses_them(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    """Its capacity is a hundred messages; nobody looks into the log for the rest."""
    n = counted(10_000)
    verdict, _ = await burst(recorder, n, "stock_core_layer", "core", STOCK)
    report(control="stock_core_layer", caught=not verdict.clean, n=n, worst=str(verdict))
    assert not verdict.clean, "the experiment can't tell the stock layer from ours"


@pytest.mark.experiment("E88")
async def test_everybody_comes_back_at_once(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    clients, storms = counted(500), counted(5, least=2)
    worst = 0.0
    loop = asyncio.get_running_loop()
    with rig() as hub:
        async with Load(hub.url, recorder, {"websocket": clients}) as load:
            writing = asyncio.create_task(
                published(
                    hub, "stream", topics=[EVERYBODY, *load.own_topics], n=storms * 250, rate=20
                )
            )
            for _ in range(storms):
                await asyncio.sleep(2)
                before = [len(one.client.closed) for one in load.listeners]
                await asyncio.to_thread(hub.servers[0].kill)
                await asyncio.to_thread(hub.servers[0].start)
                began = loop.time()
                async with asyncio.timeout(2 * HEAL):
                    while not all(
                        one.client.state == "live" and len(one.client.closed) > closes
                        for one, closes in zip(load.listeners, before, strict=True)
                    ):
                        await asyncio.sleep(0.05)
                worst = max(worst, loop.time() - began)
            lines = await writing
            await load.level(HEAL)
            verdict = await verdict_of(load, recorder, lines)
    report(n=clients * storms, worst=f"all back within {worst:.1f} s; {verdict}")
    assert worst <= HEAL
    assert verdict.clean, verdict
    assert verdict.resets == 0
