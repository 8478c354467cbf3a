"""What docs/scaling.md shows is what the model says, and the model gives back the costs that its figures were made of."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields, replace
from typing import Any, Final

import pytest

from benchmarks import scaling
from benchmarks.scaling import MOST, Costs, Office
from consumers import attendance, switchboard

PAGE: Final = scaling.PAGE.read_text(encoding="utf-8")
COSTS: Final = Costs(
    **{field.name: float(number) for number, field in enumerate(fields(Costs), start=1)}
)


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(scaling.MEASURED.read_text(encoding="utf-8"))
    return found


def test_the_page_shows_what_the_program_prints(measured: dict[str, Any]) -> None:
    assert PAGE.count("```text\n") == 1
    assert scaling.on_page(scaling.tables(measured), PAGE) == PAGE


def test_the_page_names_what_gives_out_in_its_order(measured: dict[str, Any]) -> None:
    costs = Costs(**measured["costs"])
    parts = scaling.shares(costs, Office(), 1, 1)
    order = sorted(parts, key=lambda part: scaling.enough_for(costs, Office(), part))
    assert re.findall(r"^\d\. \*\*(\w+)\*\*", PAGE, re.MULTILINE) == order


def test_its_times_are_those_of_the_servers() -> None:
    assert scaling.WINDOW == switchboard.WINDOW
    assert scaling.SWEEP == attendance.SWEEP


def test_costs_are_found_in_the_figures_that_they_make() -> None:
    rows = {
        f"{scaling.SYSTEM}_{processes}_{load}": row
        for processes in (1, 2, 4)
        for load, row in figures(COSTS, processes, sockets=500).items()
    }
    assert asdict(scaling.fit(rows)) == pytest.approx(asdict(COSTS))


def figures(of: Costs, processes: int, sockets: int) -> dict[str, dict[str, float]]:
    """A minute of idling, and 100 events that came alone and ten in a frame."""
    here = {"servers_cpu_s": 5e-3, "redis_cpu_s": 1e-3, "database_cpu_s": 2e-3}
    """Each second, whoever is there."""
    nodes = {
        "servers_cpu_s": of.node_idle,
        "redis_cpu_s": of.redis_node_idle,
        "database_cpu_s": of.database_node_idle,
    }
    clients = {
        "servers_cpu_s": of.socket_idle,
        "redis_cpu_s": of.redis_socket_idle,
        "database_cpu_s": of.database_socket_idle,
    }
    rest = {"seconds": 60.0, "publisher_cpu_s": 0.0, "redis_bytes_out": 6000.0}

    def idling(readers: int) -> dict[str, float]:
        spent = {key: processes * nodes[key] + readers * clients[key] for key in here}
        return {key: 60 * (here[key] + 1e-6 * spent[key]) for key in here} | rest

    minute = idling(sockets)
    found = {
        "alone": {"sockets": 1, **idling(1)},
        "idle": {
            "sockets": sockets,
            "sweep_us": of.sweep,
            "redis_us_per_sweep": of.redis_sweep,
            **minute,
        },
    }
    for load, per_frame in {"singles": 1, "batches": 10}.items():
        written = sockets * (of.frame / per_frame + of.delivery)
        one = {
            "servers_cpu_s": processes * of.event + written,
            "redis_cpu_s": of.redis_publish + processes * of.redis_copy,
            "database_cpu_s": of.database_event,
            "publisher_cpu_s": of.publish,
            "redis_bytes_out": processes * of.copy_bytes * 1e6,
        }
        found[load] = {
            "seconds": 30.0,
            "events": 100,
            "events_per_frame": per_frame,
            **{key: minute[key] / 2 + 100e-6 * spent for key, spent in one.items()},
        }
    return found


def test_a_part_is_full_where_it_is_said_to_be(measured: dict[str, Any]) -> None:
    costs = Costs(**measured["costs"])
    for part in scaling.shares(costs, Office(), 1, 1):
        most = scaling.enough_for(costs, Office(), part)
        if most < MOST:
            assert is_enough(costs, part, most)
            assert not is_enough(costs, part, most * 21 // 20)


def is_enough(costs: Costs, part: str, sockets: int) -> bool:
    nodes = scaling.nodes_for(costs, Office(), sockets)
    return scaling.shares(costs, Office(), nodes, sockets)[part] <= 1


def test_presence_alone_grows_with_the_square() -> None:
    """Twice the people on twice the nodes: each node has as much to do as before, but for news of presence."""
    only = replace(COSTS, sweep=0.0)
    quiet = Office(to_all=0.0, comings=0.0, rooms=0.0)
    of_one, of_two = (scaling.shares(only, quiet, n, n * 1000)["node"] for n in (100, 200))
    assert of_two == pytest.approx(of_one, rel=0.01)
    noisy = replace(quiet, comings=1 / 3600)
    of_one, of_two = (scaling.shares(only, noisy, n, n * 1000)["node"] for n in (100, 200))
    assert of_two > of_one * 1.2
