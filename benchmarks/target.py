"""Figures beside what is wanted of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Line:
    """A figure of a workload; `least` or `most`: what is wanted, or the name of the figure that says so."""

    key: str
    words: str
    least: float | str | None = None
    most: float | str | None = None


def show(workload: str, rows: Mapping[str, Figures], lines: Sequence[Line]) -> None:
    """A ratio of 1 or more: as wanted."""
    print(f"{workload:<4} {'':<64} {'figure':>11} {'wanted':>11} {'ratio':>7}")
    for system, row in rows.items():
        for line in lines:
            if line.key in row:
                name = f"{system:<22} {line.words}"
                print(f"{'':<4} {name:<64} {_number(row[line.key]):>11} {_wanted(line, row)}")


def _wanted(line: Line, row: Figures) -> str:
    bound = line.most if line.least is None else line.least
    wanted = row.get(bound) if isinstance(bound, str) else bound
    if wanted is None:
        return ""
    figure = row[line.key]
    if line.most is None:
        return f">= {_number(wanted):>8} {figure / wanted:>6.2f}x"
    return f"<= {_number(wanted):>8} {wanted / figure if figure else inf:>6.2f}x"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"
