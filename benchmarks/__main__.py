"""`make bench`, or `make bench ONLY="W1 rooms"`: prints a table and writes `benchmarks/results/latest.json`.

    W1     1,000 people read one topic, `publish_many` as fast as it goes
    W2     1,000 people read one topic, 20 single events a second: nothing to join
    rooms  how long a room of 100,000 messages takes to open

W1 and W2 run the whole product, signed in and on SQLite with `synchronous=FULL`, once with frames straight to the
socket (`hub`) and once by way of Twisted (`hub_plain`); each figure is the median of `RUNS`. Latency counts from just
before the publishing call, so it holds the commit. Fails when a delivery is lost or doubled.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import open_room
from benchmarks.client import LoadClient, load_client
from benchmarks.hub import Hub, running

RUNS: Final = 3
PEOPLE: Final = 1000
QUIET: Final = 2.0
"""Seconds without anything before a run: everybody has heard who else came in."""
RESULTS: Final = Path(__file__).parent / "results" / "latest.json"
TOPIC: Final = "group.dashboard"
SYSTEMS: Final[dict[str, dict[str, str]]] = {"hub": {}, "hub_plain": {"HUB_FAST_WRITER": "0"}}

Figures = dict[str, float]


def main() -> int:
    wanted = os.environ.get("ONLY", "").split() or ["W1", "W2", "rooms"]
    unknown = set(wanted) - {*WORKLOADS, "rooms"}
    if unknown:
        print(f"no such workload: {', '.join(sorted(unknown))}; there are W1, W2 and rooms")
        return 2
    found: dict[str, dict[str, Figures]] = {name: {} for name in wanted if name in WORKLOADS}
    if found:
        for system, environment in SYSTEMS.items():
            for name, figures in broadcast(list(found), environment).items():
                found[name][system] = figures
        show(found)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    wrong = any(one["lost"] or one["doubled"] for rows in found.values() for one in rows.values())
    slow = open_room.main() if "rooms" in wanted else 0
    return int(wrong or bool(slow))


def broadcast(names: list[str], environment: dict[str, str]) -> dict[str, Figures]:
    """Each of these workloads over one hub with `PEOPLE` signed in and connected."""
    with running(environment) as hub:
        address = hub.environment["HUB_URL"]
        sockets = [
            ("ws", "/ws/", f"Cookie: {cookie}", f"Origin: {address}")
            for _, cookie in hub.work("people", n=PEOPLE)
        ]
        with load_client(hub.ports[0], sockets, ready='"op":"welcome"') as client:
            client.connect()
            first = 1
            results = {}
            for name in names:
                runs = []
                for _ in range(RUNS):
                    settle(client)
                    runs.append(WORKLOADS[name](hub, client, first))
                    first += int(runs[-1]["events"])
                results[name] = {key: median(run[key] for run in runs) for key in runs[0]}
            return results


def settle(client: LoadClient) -> None:
    while True:
        client.report()
        time.sleep(QUIET)
        if not client.report()["bytes"]:
            return


def saturation(hub: Hub, client: LoadClient, first: int) -> Figures:
    return measured(
        hub, client, 5000, lambda n: hub.work("batches", topics=[TOPIC], n=n, size=100, first=first)
    )


def singly(hub: Hub, client: LoadClient, first: int) -> Figures:
    return measured(
        hub, client, 100, lambda n: hub.work("singles", topics=[TOPIC], n=n, rate=20, first=first)
    )


WORKLOADS: Final[dict[str, Callable[[Hub, LoadClient, int], Figures]]] = {
    "W1": saturation,
    "W2": singly,
}


def measured(hub: Hub, client: LoadClient, events: int, publish: Callable[[int], Any]) -> Figures:
    before, client_before = hub.cpu(), client.report()["client_cpu_s"]
    publish(events)
    owed = events * PEOPLE
    came: list[dict[str, Any]] = []
    while sum(one["deliveries"] for one in came) < owed and len(came) < 60:
        time.sleep(0.5)
        came.append(client.report())
    total = sum(one["deliveries"] for one in came)
    some = [one for one in came if one["deliveries"]]
    seconds = (max(one["last_ns"] for one in some) - min(one["first_ns"] for one in some)) / 1e9
    return {
        "events": events,
        "deliveries_per_s": total / seconds,
        "cpu_us_per_delivery": (hub.cpu() - before) / total * 1e6,
        "p50_ms": max(one["p50_ms"] for one in some),
        "p99_ms": max(one["p99_ms"] for one in some),
        "events_per_frame": total / sum(one["frames"] for one in some),
        "lost": owed - total,
        "doubled": sum(one["doubled"] for one in came),
        "client_cpu_us_per_delivery": (came[-1]["client_cpu_s"] - client_before) / total * 1e6,
    }


def show(found: dict[str, dict[str, Figures]]) -> None:
    for name, rows in found.items():
        ours = rows["hub"]
        print(
            f"{name:<6} {'':<11} {'deliveries/s':>13} {'cpu us':>8} {'p50 ms':>8} {'p99 ms':>8} {'per frame':>10} {'lost':>6}  x hub"
        )
        for system, row in rows.items():
            ratio = row["cpu_us_per_delivery"] / ours["cpu_us_per_delivery"]
            print(
                f"{'':<6} {system:<11} {row['deliveries_per_s']:>13,.0f} {row['cpu_us_per_delivery']:>8.2f}"
                f" {row['p50_ms']:>8.1f} {row['p99_ms']:>8.1f} {row['events_per_frame']:>10.1f} {row['lost']:>6.0f}  {ratio:.1f}"
            )


if __name__ == "__main__":
    sys.exit(main())
