"""E00, E06, E22: what is committed is told, what is not is never heard of, whoever dies in between."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pytest

from consumers.database import in_database
from events.models import Event
from tests.faults.checker import Verdict
from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY, Load, share
from tests.faults.recorder import Line, Recorder
from tests.faults.rig import rig
from tests.faults.test_delivery import HEAL, published, verdict_of
from tests.reference_client import Transport
from tests.shop.models import Order

SEED: Final = 20260100
SHOP: Final = {"HUB_APPS": "tests.shop"}
PULSES: Final = 3.0
"""Seconds in which the pulse looks at least twice."""
FEW: Final[Mapping[Transport, int]] = {"websocket": 2}

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(1800)]


def rows(mark: str) -> set[str]:
    found = Order.objects.filter(name__startswith=mark)
    return {f"{name} created" for name in found.values_list("name", flat=True)}


def logged(mark: str) -> Counter[str]:
    """How often each mark that begins so stands in the log, also without an offset yet."""
    found = Event.objects.filter(topic=EVERYBODY, data__contains=f'"mark":"{mark}')
    return Counter(
        text.split('"mark":"')[1].split('"')[0] for text in found.values_list("data", flat=True)
    )


def heard(recorder: Recorder, mark: str) -> dict[str, Counter[str]]:
    """What each client applied."""
    found: dict[str, Counter[str]] = {}
    for line in recorder.lines():
        if line["what"] == "applied" and str(line["mark"]).startswith(mark):
            found.setdefault(line["who"], Counter())[line["mark"]] += 1
    return found


@dataclass
class Outcome:
    n: int
    kept: set[str]
    """Marks of the rows that are there."""
    told: Counter[str]
    clients: dict[str, Counter[str]]
    verdict: Verdict

    @property
    def rows_alone(self) -> int:
        """Rows that not everybody heard of."""
        return sum(
            any(one not in counts for counts in self.clients.values()) or not self.clients
            for one in self.kept
        )

    @property
    def events_alone(self) -> int:
        every = set(self.told).union(*self.clients.values())
        return len(every - self.kept)

    @property
    def clean(self) -> bool:
        return self.verdict.clean and not (
            self.rows_alone or self.events_alone or self.verdict.resets
        )

    def __str__(self) -> str:
        return (
            f"{len(self.kept)} with row and event, {self.n - len(self.kept)} with neither,"
            f" {self.rows_alone} rows alone, {self.events_alone} events alone"
        )


async def killed_in_the_handler(recorder: Recorder, n: int, planted: str = "") -> Outcome:
    mark = secrets.token_hex(4)
    with rig(env=SHOP, planted=planted) as hub:
        async with Load(hub.url, recorder, FEW) as load:
            lines = await published(hub, "doomed_saves", topic=EVERYBODY, n=n, mark=mark, seed=SEED)
            await asyncio.sleep(PULSES)  # the events of who died are found by the pulse
            await load.level(HEAL)
            verdict = await verdict_of(load, recorder, lines)
    assert len(lines) == n
    return Outcome(
        n,
        await in_database(rows, mark),
        await in_database(logged, mark),
        heard(recorder, mark),
        verdict,
    )


@pytest.mark.experiment("E00")
async def test_a_save_whose_process_is_killed_leaves_row_and_event_or_neither(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    kills = counted(200, least=16)
    outcome = await killed_in_the_handler(recorder, kills)
    report(n=kills, worst=str(outcome), seed=SEED)
    assert outcome.clean, f"{outcome}; {outcome.verdict}"
    assert set(outcome.told.values()) == {1}
    assert 0 < len(outcome.kept) < kills, "no kill came before the commit, or none after it"


@pytest.mark.experiment("E00")
@pytest.mark.parametrize("defect", ["save_not_atomic", "event_in_post_save"])
async def test_a_save_that_is_not_atomic_with_its_event_is_noticed(
    defect: str, recorder: Recorder, report: Report
):
    outcome = await killed_in_the_handler(recorder, 24, planted=defect)
    report(control=defect, caught=bool(outcome.rows_alone), n=outcome.n, worst=str(outcome))
    assert outcome.rows_alone, "the experiment can't tell a row whose event was lost"


async def half_ending_badly(
    recorder: Recorder, n: int, planted: str = ""
) -> tuple[Verdict, set[str], set[str], list[Line]]:
    """Returns the verdict, what was committed, what the log or anybody heard of, and the writer's lines."""
    mark = secrets.token_hex(4)
    with rig(env=SHOP, planted=planted) as hub:
        async with Load(hub.url, recorder, share(0.1)) as load:
            lines = await published(hub, "transactions", topic=EVERYBODY, n=n, mark=mark)
            await load.level(HEAL)
            await asyncio.sleep(1)  # a phantom comes after what is real, if at all
            verdict = await verdict_of(load, recorder, lines)
    committed = {one for line in lines if line["what"] == "ok" for one in line["marks"]}
    told = set(await in_database(logged, mark)).union(*heard(recorder, mark).values())
    return verdict, committed, told, lines


@pytest.mark.experiment("E06")
async def test_no_transaction_that_ends_badly_is_heard_of(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    n = counted(1000, least=20)
    verdict, committed, told, lines = await half_ending_badly(recorder, n)
    phantoms = told - committed
    report(n=n, worst=f"{len(phantoms)} phantoms; {verdict}")
    assert len(committed) == n
    assert sum(line["what"] == "fail" for line in lines) == n // 2
    assert not phantoms, sorted(phantoms)[:5]
    assert told == committed
    assert verdict.clean, verdict
    assert verdict.resets == 0


@pytest.mark.experiment("E06")
async def test_an_event_sent_before_the_commit_is_noticed(recorder: Recorder, report: Report):
    verdict, committed, told, _lines = await half_ending_badly(
        recorder, 40, planted="event_in_post_save"
    )
    phantoms = told - committed
    caught = bool(phantoms) and verdict.phantom > 0
    worst = f"{len(phantoms)} phantoms; {verdict}"
    report(control="event_in_post_save", caught=caught, n=40, worst=worst)
    assert caught, "the experiment can't tell an event whose transaction was undone"


@pytest.mark.experiment("E22")
async def test_what_a_killed_process_committed_is_told_by_the_others(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    """Killed between the commit and the flush, within the flush, and between the flush and the layer."""
    kills = counted(50, least=7)
    with rig() as hub, hub.accounts_watched():
        async with Load(hub.url, recorder, share(0.1)) as load:
            lines = await published(
                hub,
                "doomed_publishing",
                topics=[EVERYBODY, *load.own_topics],
                n=kills,
                mark=secrets.token_hex(4),
                pause=0.3,
            )
            await load.level(HEAL)
            verdict = await verdict_of(
                load, recorder, lines, timed=["websocket", "sse", "long-poll"]
            )
    heal = verdict.latency(1.0)
    report(n=kills, worst=f"{heal:.1f} s until heard; {verdict}")
    assert verdict.clean, verdict
    assert verdict.resets == 0
    assert heal <= PULSES, verdict
