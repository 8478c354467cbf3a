"""W11: the same 1,000 people by each transport."""

from __future__ import annotations

import time
from collections.abc import Collection
from statistics import median
from typing import Any, Final

from benchmarks import hub, target
from benchmarks.broadcast import LOST, settle
from benchmarks.client import LoadClient, load_client
from benchmarks.hub import Hub
from benchmarks.target import Line

RUNS: Final = 3
PEOPLE: Final = 1000
EVENTS: Final = 2000
BATCH: Final = 100
RATE: Final = 20
CALM: Final = 60
IN_FLIGHT: Final = 100
TOPIC: Final = "group.dashboard"
TRANSPORTS: Final = {
    "websocket": ("ws", "/ws/", '"op":"welcome"'),
    "sse": ("sse", "/events/stream", "id: "),
    "long_poll": ("poll", "/events/long-poll", '"cursor":"'),
    "poll": ("poll", "/events/poll", '"cursor":"'),
}
STREAMS: Final = ("websocket", "sse")
SYSTEMS: Final = (
    *("hub_websocket", "hub_sse", "hub_long_poll", "hub_poll"),
    *("hub_postgres_sse", "hub_postgres_long_poll", "hub_postgres_poll"),
)
WANTED: Final = {"sse": 4.0}
"""Microseconds of server CPU per delivery, when streams are saturated."""

Figures = dict[str, float]

LINES: Final = [
    Line("deliveries_per_s", "saturated: deliveries/s"),
    Line("cpu_us_per_delivery", "saturated: server CPU, us per delivery", most="wanted_cpu_us"),
    Line("calm_cpu_us_per_delivery", "20 events/s: server CPU, us per delivery"),
    Line("p50_ms", "20 events/s: p50, ms"),
    Line("p99_ms", "20 events/s: p99, ms"),
    Line("requests_per_s", "20 events/s: requests/s"),
    Line("events_per_answer", "20 events/s: events in an answer"),
    Line("cpu_ms_per_request", "20 events/s: server CPU, ms per request"),
    Line("refused", "answers that refused"),
    Line("lost", "lost"),
    Line("doubled", "doubled"),
]


def run(workloads: Collection[str], systems: Collection[str]) -> dict[str, dict[str, Figures]]:
    """`{workload: {system: figures}}`"""
    found: dict[str, dict[str, Figures]] = {name: {} for name in workloads}
    wanted = {
        system: {
            row: name
            for name in TRANSPORTS
            if (row := f"{system}_{name}") in SYSTEMS and row in systems
        }
        for system in hub.SYSTEMS
    }

    def measure(system: str, up: Hub) -> None:
        cookies = [cookie for _, cookie in up.work("people", n=PEOPLE)]
        for workload in workloads:
            for row, name in wanted[system].items():
                found[workload][row] = _by(name, up, cookies)

    hub.on_each([system for system, rows in wanted.items() if rows], measure)
    return found


def show(found: dict[str, dict[str, Figures]]) -> None:
    for name, rows in found.items():
        target.show(name, rows, LINES)


def _by(transport: str, up: Hub, cookies: list[str]) -> Figures:
    """Streams when they are saturated, and at a calm rate. Polls at the latter alone: who asks on and on without a pause
    saturates the server at any."""
    kind, path, ready = TRANSPORTS[transport]
    with load_client(up.ports[0], up.connections(cookies, path, kind), ready=ready) as client:
        came = client.connect(IN_FLIGHT)
        if came["connections"] < PEOPLE:
            raise RuntimeError(f"{PEOPLE - came['connections']} clients did not get in")
        counting = _Counting(up, client)
        streams: list[Figures] = []
        if transport in STREAMS:
            settle(client)
            streams = [counting.run("batches", EVENTS, size=BATCH) for _ in range(RUNS)]
            settle(client)
        calm = [counting.run("singles", CALM, rate=RATE) for _ in range(RUNS)]
    figures = {
        "p50_ms": median(one["p50_ms"] for one in calm),
        "p99_ms": median(one["p99_ms"] for one in calm),
        "calm_cpu_us_per_delivery": median(one["cpu_us_per_delivery"] for one in calm),
        **{
            key: sum(one[key] for one in (*streams, *calm))
            for key in ("refused", "lost", "doubled")
        },
    }
    if streams:
        figures |= {
            key: median(one[key] for one in streams)
            for key in ("deliveries_per_s", "cpu_us_per_delivery", "client_cpu_us_per_delivery")
        }
    else:
        figures |= {
            key: median(one[key] for one in calm)
            for key in ("requests_per_s", "cpu_ms_per_request", "events_per_answer")
        }
    if transport in WANTED:
        figures["wanted_cpu_us"] = WANTED[transport]
    return figures


class _Counting:
    """Runs of one client, whose counts rise from one to the next."""

    def __init__(self, up: Hub, client: LoadClient) -> None:
        self._up = up
        self._client = client
        self._sent = 0

    def run(self, work: str, n: int, **options: Any) -> Figures:
        before, client_before = self._up.cpu(), self._client.report()["client_cpu_s"]
        began = time.monotonic()
        said = self._up.work(work, topics=[TOPIC], n=n, first=self._sent + 1, **options)
        self._sent += n
        came = self._client.level(self._sent, LOST)
        seconds, cpu = time.monotonic() - began, self._up.cpu() - before
        return {
            "deliveries_per_s": came["deliveries"] / (came["last_ns"] - said["began_ns"]) * 1e9,
            "cpu_us_per_delivery": cpu / (n * PEOPLE) * 1e6,
            "client_cpu_us_per_delivery": (came["client_cpu_s"] - client_before)
            / (n * PEOPLE)
            * 1e6,
            "p50_ms": came["p50_ms"],
            "p99_ms": came["p99_ms"],
            "requests_per_s": came["frames"] / seconds,
            "cpu_ms_per_request": cpu / max(came["frames"], 1) * 1e3,
            "events_per_answer": came["deliveries"] / max(came["frames"], 1),
            "refused": came["refused"],
            "lost": n * PEOPLE + came["doubled"] - came["deliveries"],
            "doubled": came["doubled"],
        }
