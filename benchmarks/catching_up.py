"""W8: 1,000 people come back 500 events behind on one topic, while others go on hearing what happens on it."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

from benchmarks import hub, target
from benchmarks.broadcast import LOST, settle
from benchmarks.client import LoadClient, load_client
from benchmarks.hub import Hub
from benchmarks.target import Line

RUNS: Final = 3
PEOPLE: Final = 1000
BEHIND: Final = 500
WATCHING: Final = 100
"""People who are level all the time."""
RATE: Final = 20
LIVE: Final = 200
"""Single events, at `RATE` a second, from a moment before they come until after they are level."""
AHEAD: Final = 20
"""Of them, those that are out before the first one comes."""
IN_FLIGHT: Final = 100
TOPIC: Final = "group.dashboard"
SYSTEMS: Final = hub.SYSTEMS
WELCOME: Final = '"op":"welcome"'

Figures = dict[str, float]
Connections = list[tuple[str, ...]]

LINES: Final = [
    Line("level_s", "from the first that comes until all are level, s", most=5),
    Line("p50_ms", "live events meanwhile: p50, ms"),
    Line("p99_ms", "live events meanwhile: p99, ms", most=250),
    Line("calm_p99_ms", "just before: p99, ms"),
    Line("deliveries_per_s", "deliveries/s"),
    Line("cpu_us_per_delivery", "server CPU, us per delivery, connecting included"),
    Line("refused", "refused"),
    Line("lost", "lost"),
    Line("doubled", "doubled"),
]


def run(workloads: Collection[str], systems: Collection[str]) -> dict[str, dict[str, Figures]]:
    """`{workload: {system: figures}}`"""
    found: dict[str, dict[str, Figures]] = {name: {} for name in workloads}

    def measure(system: str, up: Hub) -> None:
        for workload in workloads:
            found[workload][system] = _measured(up)

    hub.on_each(systems, measure)
    return found


def show(found: dict[str, dict[str, Figures]]) -> None:
    for name, rows in found.items():
        target.show(name, rows, LINES)


def _measured(up: Hub) -> Figures:
    people = up.sockets(PEOPLE + WATCHING)
    with load_client(up.ports[0], people[PEOPLE:], ready=WELCOME) as watching:
        watching.connect(IN_FLIGHT)
        each = BEHIND + LIVE
        runs = [
            _come_back(up, people[:PEOPLE], watching, 1 + number * each) for number in range(RUNS)
        ]
    return hub.medians(runs)


def _come_back(up: Hub, people: Connections, watching: LoadClient, first: int) -> Figures:
    """`first`: the count of the first event that they have missed."""
    at = up.work("cursor", topics=[TOPIC])
    sockets = [(kind, f"{path}?cursor={at}", *rest) for kind, path, *rest in people]
    up.work("batches", topics=[TOPIC], n=BEHIND, size=100, first=first)
    live, last = first + BEHIND, first + BEHIND + LIVE - 1
    with load_client(up.ports[0], sockets, ready=WELCOME) as client:
        settle(watching)
        with up.working("singles", topics=[TOPIC], n=LIVE, rate=RATE, first=live) as publisher:
            calm = watching.level(live + AHEAD - 1, LOST)
            before, began = up.cpu(), time.monotonic_ns()
            connected = client.connect(IN_FLIGHT)
            # Whoever has the newest one from before they came has all: an event comes after the one before it.
            came = client.level(live + AHEAD - 1, LOST)
            cpu = up.cpu() - before
            meanwhile = watching.report()
            publisher.wait(600)
        after = client.level(last, LOST)
        watched = watching.level(last, LOST)
    deliveries = came["deliveries"]
    seconds = (came["last_ns"] - began) / 1e9
    doubled = sum(one["doubled"] for one in (came, after, calm, meanwhile, watched))
    got = came["deliveries"] + after["deliveries"]
    heard = calm["deliveries"] + meanwhile["deliveries"] + watched["deliveries"]
    return {
        "level_s": seconds,
        "p50_ms": meanwhile["p50_ms"],
        "p99_ms": meanwhile["p99_ms"],
        "calm_p99_ms": calm["p99_ms"],
        "deliveries_per_s": deliveries / seconds,
        "cpu_us_per_delivery": cpu / deliveries * 1e6,
        "refused": PEOPLE - connected["connections"],
        "lost": PEOPLE * (BEHIND + LIVE) + WATCHING * LIVE + doubled - got - heard,
        "doubled": doubled,
    }
