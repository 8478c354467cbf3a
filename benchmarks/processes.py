"""W10: 1,000 readers of one topic spread over 1, 2 and 4 server processes, with one database and one Redis.

A row for each number of processes and kind of load, `hub_postgres_2_batches` say, with what all servers, Redis and
PostgreSQL used meanwhile; `…_idle` is what they use when nothing is published, which `show` takes off.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg
import redis

from benchmarks import broadcast, disk, hub
from benchmarks.broadcast import BATCH, RATE, Figures, Up
from benchmarks.client import load_client
from benchmarks.hub import Hub, cpu_of_family
from benchmarks.peer import Missing

RUNS: Final = 3
PROCESSES: Final = (1, 2, 4)
IDLE: Final = 30.0
"""Seconds of idling: two rounds of presence, ten of rights, thirty pulses."""
LOADS: Final[dict[str, dict[str, Any]]] = {
    "batches": {"n": 5000, "size": BATCH, "rate": 0, "joined": False},
    "singles": {"n": 200, "size": 1, "rate": RATE, "joined": False},
}
SYSTEMS: Final = ("hub", "hub_postgres")
COUNTER: Final = "pg_stat_statements"
USED: Final[tuple[str, ...]] = (
    *("servers_cpu_s", "redis_cpu_s", "redis_commands", "redis_publishes", "redis_bytes_out"),
    *("statements", "database_cpu_s"),
)


@dataclass(frozen=True)
class Spread:
    up: Up
    used: Callable[[], Figures]
    """So far, by all servers, Redis and PostgreSQL."""


def run(workloads: Collection[str], systems: Collection[str]) -> dict[str, dict[str, Figures]]:
    """`{workload: {system: figures}}`"""
    rows: dict[str, Figures] = {}
    for system in SYSTEMS:
        if system not in systems:
            continue
        for processes in PROCESSES:
            try:
                with _spread(system, processes) as spread:
                    for name, row in _measured(spread):
                        rows[f"{system}_{processes}_{name}"] = row
                        print(f"W10 {system}_{processes}_{name} done", flush=True)
            except Missing as why:
                print(f"skipped {system}: {why}", flush=True)
                break
    return dict.fromkeys(workloads, rows)


def _measured(spread: Spread) -> Iterator[tuple[str, Figures]]:
    broadcast.settle(spread.up.client)
    before = spread.used()
    time.sleep(IDLE)
    yield "idle", {"sockets": broadcast.PEOPLE, **_since(before, spread)}
    first = 1
    for name, options in LOADS.items():
        runs = []
        for _ in range(RUNS):
            broadcast.settle(spread.up.client)
            before = spread.used()
            figures = broadcast.measured(spread.up, first=first, **options)
            runs.append({"sockets": broadcast.PEOPLE, **figures, **_since(before, spread)})
            first += options["n"]
        yield name, {key: median(one[key] for one in runs) for key in runs[0]}


def _since(before: Figures, spread: Spread) -> Figures:
    return {key: value - before[key] for key, value in spread.used().items()}


@contextlib.contextmanager
def _spread(system: str, processes: int) -> Iterator[Spread]:
    people = broadcast.PEOPLE
    with contextlib.ExitStack() as stack:
        environment = {}
        if system == "hub_postgres":
            environment["DATABASE_URL"] = stack.enter_context(disk.postgres(preload=COUNTER))
            if not environment["DATABASE_URL"]:
                raise Missing("there is no PostgreSQL")
        ours = stack.enter_context(hub.running(environment, servers=processes))
        statements = None
        if environment:
            statements = stack.enter_context(psycopg.connect(environment["DATABASE_URL"]))
            statements.autocommit = True
            statements.execute(f"CREATE EXTENSION {COUNTER}")
        told = stack.enter_context(redis.Redis.from_url(ours.environment["REDIS_URL"]))
        client = stack.enter_context(
            load_client(ours.ports, ours.sockets(people), ready='"op":"welcome"')
        )
        if (came := client.connect()["connections"]) < people:
            raise Missing(f"{people - came:.0f} clients did not get in")
        up = Up(client, ours.cpu, broadcast.publisher(ours))
        yield Spread(up, lambda: _used(ours, told, statements))


def _used(ours: Hub, told: redis.Redis, statements: psycopg.Connection[Any] | None) -> Figures:
    said: Any = told.info("all")
    found = {
        "seconds": time.monotonic(),
        "servers_cpu_s": ours.cpu(),
        "redis_cpu_s": said["used_cpu_user"] + said["used_cpu_sys"],
        "redis_commands": said["total_commands_processed"],
        "redis_publishes": said.get("cmdstat_publish", {"calls": 0})["calls"],
        "redis_bytes_out": said["total_net_output_bytes"],
    }
    if statements is not None:
        [calls] = statements.execute(f"SELECT sum(calls) FROM {COUNTER}").fetchone() or [0]
        found["statements"] = float(calls)
        found["database_cpu_s"] = cpu_of_family(_parent_of(statements.info.backend_pid))
    return found


def _parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("PPid:")[1].split()[0])


def per_event(row: Figures, idle: Figures) -> Figures:
    """What one more event costs: the row's consumption without that of idling meanwhile."""
    return {
        key: (row[key] - idle[key] / idle["seconds"] * row["seconds"]) / row["events"]
        for key in USED
        if key in row
    }


def show(found: Mapping[str, Mapping[str, Figures]]) -> None:
    """Ratios are to one process. What Redis and the database did is per event, and of `idle` per second."""
    for name, rows in found.items():
        print(
            f"{name:<4} {'':<24} {'deliveries/s':>12} {'cpu us':>7} {'x one':>6} {'p50 ms':>7} {'p99 ms':>7} {'lost':>5}"
            f" {'doubled':>7} {'publishes':>9} {'redis us':>8} {'statements':>10} {'database us':>11} {'servers us':>10}"
        )
        for label, row in rows.items():
            system, processes, load = label.rsplit("_", 2)
            if load == "idle":
                line = " " * 56
                spent = {key: row[key] / row["seconds"] for key in USED if key in row}
            else:
                one = rows[f"{system}_{PROCESSES[0]}_{load}"]["cpu_us_per_delivery"]
                line = (
                    f"{row['deliveries_per_s']:>12,.0f} {row['cpu_us_per_delivery']:>7.2f}"
                    f" {row['cpu_us_per_delivery'] / one:>6.2f} {row['p50_ms']:>7.1f} {row['p99_ms']:>7.1f}"
                    f" {row['lost']:>5.0f} {row['doubled']:>7.0f}"
                )
                spent = per_event(row, rows[f"{system}_{processes}_idle"])
            print(
                f"{'':<4} {label:<24} {line} {spent['redis_publishes']:>9.2f} {spent['redis_cpu_s'] * 1e6:>8.0f}"
                f" {spent.get('statements', 0):>10.2f} {spent.get('database_cpu_s', 0) * 1e6:>11.0f}"
                f" {spent['servers_cpu_s'] * 1e6:>10.0f}"
            )
