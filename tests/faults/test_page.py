"""`docs/faults.md` from what the experiments reported."""

from __future__ import annotations

from typing import Any

from tests.faults import page, planted


def row(experiment: str = "E20", **more: Any) -> str:
    given = {"experiment": experiment, "test": "test_servers_are_killed", "rig": "sqlite"}
    return page.line_of({**given, "passed": True, "worst": "K clean", **more})


def control(experiment: str, defect: str, *, caught: bool = True, rig: str = "sqlite") -> str:
    return row(experiment, control=defect, caught=caught, rig=rig)


def test_what_failed_says_so() -> None:
    assert row() == "| E20 servers are killed | S |  | pass | K clean |  |\n"
    assert "| FAIL | 3 lost |" in row(passed=False, worst="3 lost")
    assert "| NOT CAUGHT |" in control("E30", "no_pulse", caught=False)


def test_a_row_stays_one_row_whatever_was_measured() -> None:
    assert row(worst="a | b\nc").count("\n") == 1
    assert page.lines_of(page.laid_out([row(worst="a | b")])) == [row(worst="a | b")]


def test_rows_stand_in_the_order_of_their_numbers() -> None:
    lines = [row("E100"), row("E11"), row("E02"), row("E02")]
    assert page.lines_of(page.laid_out(lines)) == [row("E02"), row("E11"), row("E100")]


def test_rows_of_other_experiments_are_kept() -> None:
    before = page.laid_out([row("E02"), row("E20"), control("E20", "no_pulse")])
    assert page.lines_of(before, without=["E20"]) == [row("E02")]


def test_each_defect_names_who_caught_it_and_who_missed_it() -> None:
    said = page.planted(
        [
            control("E100", "no_pulse"),
            control("E30", "no_pulse", rig="postgresql"),
            control("E30", "no_pulse"),
            control("E04", "no_contiguity", caught=False),
            control("E50", "keys_forgotten"),
        ]
    )
    assert "| E30 (R, S), E100 (S) | – |" in said
    assert "| – | E04 (S) |" in said
    assert "Whoever asks again" in said
    assert "Of the first ten, 1 are caught" in said


def test_ten_of_ten_are_caught_when_nobody_misses_one() -> None:
    lines = [control("E03", defect) for defect in page.TEN]
    assert page.not_caught(lines) == []
    assert page.not_caught([*lines, control("E04", "no_pulse", caught=False)]) == ["no_pulse"]
    assert page.not_caught(lines[1:]) == [page.TEN[0]]


def test_the_ten_can_be_planted_and_have_their_words() -> None:
    assert set(page.TEN) <= set(planted.DEFECTS)
    assert all(page._defects()[defect] for defect in planted.DEFECTS)
