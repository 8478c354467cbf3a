"""E03: whatever comes between whatever, a client gets what follows its position, once, in order and without a hole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest
from django.db import connection

from consumers.cursor import Cursor
from tests.faults import planted
from tests.faults.conftest import Report
from tests.faults.stepping import EPOCH, HISTORY, TOPIC, Search, Setting, World, every, stepped

EVENTS: Final = 3
CURSORS: Final = [
    None,
    *(Cursor(EPOCH, {TOPIC: offset}) for offset in (HISTORY - 1, HISTORY, HISTORY + 1)),
    Cursor("e0", {TOPIC: HISTORY}),
]
"""From now, behind, level, one ahead unless somebody commits first, of another epoch."""

WIRE: Final = ("offsets", "goes on from")
"""How a fault begins that a client sees."""

Make = Callable[[Setting], World]

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    if connection.vendor != "sqlite":
        pytest.skip("no database is in it: it runs once")
    with stepped(monkeypatch) as make:
        yield make


def settings(events: int) -> Iterator[Setting]:
    for cursor in CURSORS:
        for is_warm in (False, True):
            for is_tight in (False, True):
                yield Setting(cursor, is_warm, is_tight, events)


def total(searches: list[Search]) -> str:
    return (
        f"{sum(len(one.faults) for one in searches)} faults in {sum(one.states for one in searches):,} states"
        f" of {len(searches)} settings, longest schedule {max(one.longest for one in searches)} steps"
    )


@pytest.mark.experiment("E03", quick=True)
def test_every_schedule_of_a_client_and_its_events(
    make: Make, counted: Callable[..., int], report: Report
):
    searches = [every(make, setting) for setting in settings(counted(EVENTS, least=2))]
    report(n=f"{sum(one.schedules for one in searches):,} schedules", worst=total(searches))
    assert [fault for one in searches for fault in one.faults][:1] == []


@pytest.mark.experiment("E03")
@pytest.mark.parametrize("defect", ["no_contiguity", "read_before_subscribe"])
def test_a_defect_shows_in_some_schedule(defect: str, make: Make, report: Report):
    with planted.planted(defect):
        searches = [every(make, setting) for setting in settings(2)]
    faults = [fault for one in searches for fault in one.faults if fault.startswith(WIRE)]
    report(
        control=defect,
        caught=bool(faults),
        n=f"{sum(one.schedules for one in searches):,} schedules",
        worst=f"{total(searches)}; first: {faults[:1]}",
    )
    assert faults, "no schedule shows the defect"


def test_schedules_are_counted_as_if_each_was_gone_through(make: Make):
    """The states that schedules share are told apart well enough: going through every single one finds as many."""
    for setting in settings(1):
        assert every(make, setting).schedules == one_by_one(make, setting)


def one_by_one(make: Make, setting: Setting) -> int:
    path: list[int] = []
    for count in range(1, 100_000):
        widths: list[int] = []
        with make(setting) as world:
            while actions := world.actions():
                if len(widths) == len(path):
                    path.append(0)
                world.do(actions[path[len(widths)]])
                widths.append(len(actions))
        while path and path[-1] + 1 == widths[len(path) - 1]:
            path.pop()
        if not path:
            return count
        path[-1] += 1
    raise AssertionError("too many")
