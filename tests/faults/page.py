"""What was measured, as a page: `docs/faults.md`."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

RIGS: Final = {"sqlite": "S", "postgresql": "R"}
TEN: Final = (
    "no_contiguity",
    "read_before_subscribe",
    "event_in_post_save",
    "cursor_by_row_id",
    "no_pulse",
    "unbounded_buffers",
    "clean_up_in_disconnect",
    "authorised_at_subscribe",
    "resume_without_authorisation",
    "presence_by_counter",
)
"""The defects of `tests/faults/planted.py` that must be caught, whichever others there are."""

HEAD: Final = """# Experiments

What the hub promises under fault, each row as last measured by `make faults` on two cores. Rig S is one server on
SQLite, rig R runs on PostgreSQL; both have a Redis of their own. `n` is the count of the fault, or of deliveries where
there is none. A control is the same experiment over a hub with one defect planted: it must be caught.

| experiment | rig | n | result | worst value | seed |
|---|---|---|---|---|---|
"""
PLANTED: Final = """
## Planted defects

Each replaces what makes one promise true by what a first attempt would have written. Of the first ten, {caught} are caught
wherever they were tried.

| defect | what it does | caught by | missed by |
|---|---|---|---|
"""
_CONTROL: Final = re.compile(r"\| (E\d+) control: (.+?) \| ([SR]) \| .* \| (caught|NOT CAUGHT) \|")


class Control(NamedTuple):
    experiment: str
    defect: str
    rig: str
    result: str


def line_of(row: Mapping[str, Any]) -> str:
    """Of what the fixture `report` wrote."""
    words = row["test"].removeprefix("test_").replace("_", " ")
    if row.get("control"):
        words = f"control: {row['control'].replace('_', ' ')}"
        result = "caught" if row["caught"] else "NOT CAUGHT"
    else:
        result = "pass" if row["passed"] else "FAIL"
    cells = [
        f"{row['experiment']} {words}",
        RIGS[row["rig"]],
        row.get("n", ""),
        result,
        row["worst"],
        row.get("seed", ""),
    ]
    return f"| {' | '.join(map(_cell, cells))} |\n"


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def lines_of(page: str, *, without: Iterable[str] = ()) -> list[str]:
    """The rows that stand there, but for those of these experiments."""
    gone = set(without)
    lines = page.splitlines(keepends=True)
    return [line for line in lines if line.startswith("| E") and line[2:].split()[0] not in gone]


def laid_out(lines: Iterable[str]) -> str:
    ordered = sorted(set(lines), key=lambda line: (int(line[3:].split()[0]), line))
    return HEAD + "".join(ordered) + planted(ordered)


def planted(lines: Iterable[str]) -> str:
    """Which experiment caught which defect, from the rows of the controls."""
    by_defect: dict[str, list[Control]] = defaultdict(list)
    for control in controls(lines):
        by_defect[control.defect].append(control)
    words = _defects()
    rows = []
    for defect in [*TEN, *sorted(by_defect.keys() - set(TEN))]:
        caught, missed = (
            _said(one for one in by_defect[defect] if one.result == result)
            for result in ("caught", "NOT CAUGHT")
        )
        cells = (defect.replace("_", " "), words.get(defect, ""), caught, missed)
        rows.append(f"| {' | '.join(cells)} |\n")
    return PLANTED.format(caught=len(TEN) - len(not_caught(lines))) + "".join(rows)


def controls(lines: Iterable[str]) -> Iterator[Control]:
    for line in lines:
        if found := _CONTROL.match(line):
            experiment, defect, rig, result = found.groups()
            yield Control(experiment, defect.replace(" ", "_"), rig, result)


def not_caught(lines: Iterable[str]) -> list[str]:
    """Those of the ten that nobody tried, or somebody missed."""
    results = defaultdict(set)
    for control in controls(lines):
        results[control.defect].add(control.result)
    return [defect for defect in TEN if results[defect] != {"caught"}]


def _said(some: Iterable[Control]) -> str:
    """`E03 (S), E04 (S, R)`; a dash for none."""
    rigs: dict[str, set[str]] = defaultdict(set)
    for one in some:
        rigs[one.experiment].add(one.rig)
    ordered = sorted(rigs, key=lambda name: int(name[1:]))
    return ", ".join(f"{one} ({', '.join(sorted(rigs[one]))})" for one in ordered) or "–"


def _defects() -> dict[str, str]:
    """What each does, in its own words; read, for to import them is to plant the server's reactor."""
    source = Path(__file__).with_name("planted.py").read_text(encoding="utf-8")
    functions = (one for one in ast.parse(source).body if isinstance(one, ast.FunctionDef))
    return {one.name: " ".join((ast.get_docstring(one) or "").split()) for one in functions}
