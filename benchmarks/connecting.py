"""W6 and W7: 1,000 people come in with a cursor, and come back after a restart; what an idle socket holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from benchmarks import hub
from benchmarks.client import load_client
from benchmarks.hub import Hub

RUNS: Final = 3
PEOPLE: Final = 1000
IDLE: Final = 5000
IN_FLIGHT: Final = 100
MISSED: Final = 10
"""Events published while the server is down, which everybody is owed."""
TOPIC: Final = "group.dashboard"
SYSTEMS: Final = hub.SYSTEMS
WELCOME: Final = '"op":"welcome"'

Figures = dict[str, float]


def run(workloads: Collection[str], systems: Collection[str]) -> dict[str, dict[str, Figures]]:
    """`{workload: {system: figures}}`"""
    found: dict[str, dict[str, Figures]] = {name: {} for name in workloads}
    for workload in workloads:

        def measure(system: str, up: Hub, workload: str = workload) -> None:
            found[workload][system] = WORKLOADS[workload](up)

        hub.on_each(systems, measure)
    return found


def coming_in(up: Hub) -> Figures:
    """Each run with new connections of the same people, with a cursor that is level."""
    people = up.sockets(PEOPLE)
    runs, first = [], 1
    for _ in range(RUNS):
        at = up.work("cursor", topics=[TOPIC])
        sockets = [(kind, f"/ws/?cursor={at}", *rest) for kind, _, *rest in people]
        with load_client(up.ports[0], sockets, ready=WELCOME) as client:
            before = up.cpu()
            came = client.connect(IN_FLIGHT)
            figures = {
                "connects_per_s": came["connections"] / came["seconds"],
                "cpu_ms_per_connect": (up.cpu() - before) / PEOPLE * 1e3,
                "refused": PEOPLE - came["connections"],
            }
            up.stop()
        up.work("batches", topics=[TOPIC], n=MISSED, size=MISSED, first=first)
        up.start()
        with load_client(up.ports[0], sockets, ready=WELCOME) as client:
            began = time.monotonic()
            client.connect(IN_FLIGHT)
            came_after = _deliveries(client.report, PEOPLE * MISSED)
            figures["level_after_restart_s"] = time.monotonic() - began
            figures["lost"] = PEOPLE * MISSED - came_after
        first += MISSED
        runs.append(figures)
    return hub.medians(runs)


def idle(up: Hub) -> Figures:
    """Resident memory that `IDLE` sockets add, once their catching up and presence are over."""
    few, many = 100, IDLE
    people = up.sockets(few + many)
    with load_client(up.ports[0], people[:few], ready=WELCOME) as warm:
        warm.connect(IN_FLIGHT)
        time.sleep(3)
        before = _resident_kib(up.servers[0].pid)
        with load_client(up.ports[0], people[few:], ready=WELCOME) as client:
            came = client.connect(IN_FLIGHT)
            time.sleep(10)
            held = client.report()["connections"]
            after = _resident_kib(up.servers[0].pid)
    return {
        "held": held,
        "connects_per_s": came["connections"] / came["seconds"],
        "kib_per_socket": (after - before) / held,
    }


def _deliveries(report: Callable[[], dict[str, Any]], owed: int) -> int:
    came, deadline = 0, time.monotonic() + 30
    while came < owed and time.monotonic() < deadline:
        came += int(report()["deliveries"])
        time.sleep(0.02)
    return came


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0])


WORKLOADS: Final[dict[str, Callable[[Hub], Figures]]] = {"W6": coming_in, "W7": idle}


def show(found: dict[str, dict[str, Figures]]) -> None:
    for name, rows in found.items():
        for system, row in rows.items():
            said = "  ".join(f"{key} {value:,.2f}" for key, value in row.items())
            print(f"{name:<4} {system:<22} {said}")
