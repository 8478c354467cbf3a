"""W9: what a delivery costs at W2's rate with 100, 1,000 and 5,000 sockets; and whether a long log makes it slower.

`…_empty` and `…_full`: before and after `EVENTS` were put into the log, with the same server: how fast events are
published, one by one and in batches, with nobody listening; and how soon `BACK` people who come `BEHIND` events late
are level.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from typing import Any, Final

from benchmarks import broadcast, hub
from benchmarks.broadcast import RATE, TOPIC, Figures, Up
from benchmarks.client import load_client
from benchmarks.hub import Hub
from benchmarks.missing import Missing

RUNS: Final = 3
SOCKETS: Final = (100, 1000, 5000)
SINGLES: Final = 100
EVENTS: Final = 10_000_000
PER_TOPIC: Final = 10_000
"""What retention leaves of each."""
BACK: Final = 200
BEHIND: Final = 500
PUBLISHED: Final = 1000
BATCH: Final = 100
PATIENCE: Final = 60.0
SYSTEMS: Final = hub.SYSTEMS
WELCOME: Final = '"op":"welcome"'


def run(workloads: Collection[str], systems: Collection[str]) -> dict[str, dict[str, Figures]]:
    """`{workload: {system: figures}}`"""
    rows: dict[str, Figures] = {}

    def measure(system: str, up: Hub) -> None:
        if system == "hub":
            for sockets in SOCKETS:
                rows[f"{system}_{sockets}"] = _delivered(up, sockets)
                print(f"W9 {system}_{sockets} done", flush=True)
        rows[f"{system}_empty"] = _published(up)
        began = time.monotonic()
        up.work("fill_log", n=EVENTS, per_topic=PER_TOPIC)
        print(f"{EVENTS:,} events in {time.monotonic() - began:.0f} s", flush=True)
        rows[f"{system}_full"] = _published(up)

    hub.on_each(systems, measure)
    return dict.fromkeys(workloads, rows)


def _delivered(up: Hub, sockets: int) -> Figures:
    with load_client(up.ports[0], up.sockets(sockets), ready=WELCOME) as client:
        if (came := client.connect()["connections"]) < sockets:
            raise Missing(f"{sockets - came:.0f} clients did not get in")
        runs, first = [], 1
        for _ in range(RUNS):
            broadcast.settle(client)
            calm: dict[str, Any] = {
                "n": SINGLES,
                "size": 1,
                "rate": RATE,
                "first": first,
                "joined": False,
            }
            reached = Up(client, up.cpu, broadcast.publisher(up), sockets)
            runs.append(broadcast.measured(reached, **calm))
            first += SINGLES
    return {"sockets": sockets, **hub.medians(runs)}


def _published(up: Hub) -> Figures:
    """Published and read in one topic, which has a few thousand events itself; the median of each."""
    runs = []
    for _ in range(RUNS):
        one = up.work("singles", topics=[TOPIC], n=PUBLISHED, rate=0)
        at = up.work("cursor", topics=[TOPIC])
        many = up.work("batches", topics=[TOPIC], n=BEHIND, size=BATCH)
        runs.append(
            {
                "singles_per_s": PUBLISHED / one["seconds"],
                "batched_per_s": BEHIND / many["seconds"],
                "single_cpu_us": one["cpu_s"] / PUBLISHED * 1e6,
                "batched_cpu_us": many["cpu_s"] / BEHIND * 1e6,
                **_level(up, at),
            }
        )
    return hub.medians(runs)


def _level(up: Hub, at: str) -> Figures:
    people = [(kind, f"/ws/?cursor={at}", *rest) for kind, _, *rest in up.sockets(BACK)]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(load_client(up.ports[0], people, ready=WELCOME))
        cpu, began = up.cpu(), time.monotonic()
        client.connect()
        came = 0
        while came < BACK * BEHIND and time.monotonic() < began + PATIENCE:
            time.sleep(0.02)
            came += int(client.report()["deliveries"])
        return {
            "level_s": time.monotonic() - began,
            "level_cpu_s": up.cpu() - cpu,
            "lost": BACK * BEHIND - came,
        }


def show(found: dict[str, dict[str, Figures]]) -> None:
    """Ratios are to 1,000 sockets, and to the empty log."""
    for name, rows in found.items():
        for label, row in rows.items():
            system = label.rpartition("_")[0]
            if "sockets" in row:
                usual = (
                    rows[f"{system}_1000"]["cpu_us_per_delivery"] if f"{system}_1000" in rows else 0
                )
                ratio = row["cpu_us_per_delivery"] / usual if usual else 0
                said = (
                    f"{row['cpu_us_per_delivery']:.2f} us per delivery ({ratio:.2f})  p50 {row['p50_ms']:.1f}"
                    f"  p99 {row['p99_ms']:.1f} ms  lost {row['lost']:.0f}"
                )
            else:
                empty = rows[f"{system}_empty"]
                said = "  ".join(
                    f"{key} {value:,.2f} ({value / empty[key] if empty[key] else 1:.2f})"
                    for key, value in row.items()
                )
            print(f"{name:<4} {label:<22} {said}")
