from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import connection

from tests.faults.recorder import Recorder

SCALES: Final = {"quick": 0.02, "tenth": 0.1, "full": 1.0}

Report = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--experiment", action="append", default=[], help="only this one, as E20")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """An experiment that is not of the quick tier runs from a tenth of the counts on."""
    wanted = config.getoption("--experiment")
    for item in items:
        mark = item.get_closest_marker("experiment")
        if mark is None:
            continue
        if wanted and mark.args[0] not in wanted:
            item.add_marker(pytest.mark.skip(reason="not asked for"))
        elif not wanted and _tier() == "quick" and not mark.kwargs.get("quick", False):
            item.add_marker(pytest.mark.skip(reason="not of the quick tier: make faults"))


def _tier() -> str:
    tier = os.environ.get("HUB_FAULTS", "quick")
    if tier not in SCALES:
        pytest.exit(f"HUB_FAULTS is {tier!r}: use one of {', '.join(SCALES)}", 2)
    return tier


@pytest.fixture
def counted() -> Callable[..., int]:
    """`counted(500, least=10)`: a count of the promises, in the part of it that this tier runs."""

    def part(full: int, least: int = 1) -> int:
        return max(least, round(full * SCALES[_tier()]))

    return part


@pytest.fixture
def in_full() -> bool:
    """Whether the promise's full counts run, with its times."""
    return _tier() == "full"


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path / "recording.jsonl")
    yield recorder
    recorder.close()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    """`report(n=500, worst="0.8 s")`: what an experiment measured, for `docs/faults.md`; the last call counts.

    A control says `control="no_pulse", caught=…` instead of passing. What fails before it has measured anything leaves a
    row as well.
    """
    measured: dict[str, Any] = {}

    def write(**values: Any) -> None:
        measured.clear()
        measured.update(values)

    yield write
    target = os.environ.get("HUB_FAULTS_REPORT")
    fault = getattr(request.node, "fault", None)
    if fault and not measured:
        measured["worst"] = f"nothing was measured: {fault}"
    if target and measured:
        line = {
            "experiment": request.node.get_closest_marker("experiment").args[0],
            "test": request.node.name,
            "rig": connection.vendor,
            "passed": bool(getattr(request.node, "passed", False)),
            **measured,
        }
        with Path(target).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    made = yield
    if made.when == "call":
        item.passed = made.passed  # type: ignore[attr-defined]
    if made.failed and call.excinfo is not None:
        item.fault = call.excinfo.exconly().splitlines()[0][:200]  # type: ignore[attr-defined]
    return made
