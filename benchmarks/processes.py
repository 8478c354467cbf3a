"""W10: 1,000 readers of one topic spread over 1, 2 and 4 server processes, with one database and one Redis.

A row for each number of processes and kind of load, `hub_postgres_2_batches` say, with what all servers, Redis and
PostgreSQL used meanwhile; `…_idle` is what they use when nothing is published, which `show` takes off, and `…_alone` when
one reader is all there is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import redis

from benchmarks import broadcast, disk, hub
from benchmarks.broadcast import BATCH, RATE, Figures, Up
from benchmarks.client import LoadClient, load_client
from benchmarks.hub import Hub, cpu_of_family
from benchmarks.missing import Missing

RUNS: Final = 3
PROCESSES: Final = (1, 2, 4)
IDLE: Final = 30.0
"""Seconds of idling: two rounds of presence, ten of rights, thirty pulses."""
LOADS: Final[dict[str, dict[str, Any]]] = {
    "batches": {"n": 5000, "size": BATCH, "rate": 0, "joined": False},
    "singles": {"n": 200, "size": 1, "rate": RATE, "joined": False},
}
ROOMS: Final = 200
TIMES: Final = 50
"""How often it is looked who has left so many rooms."""
SYSTEMS: Final = hub.SYSTEMS
IN_FLIGHT: Final = 20
WELCOME: Final = '"op":"welcome"'
COUNTER: Final = "pg_stat_statements"
USED: Final[tuple[str, ...]] = (
    *(
        "servers_cpu_s",
        "publisher_cpu_s",
        "redis_cpu_s",
        "redis_commands",
        "redis_publishes",
        "redis_bytes_out",
    ),
    *("statements", "database_cpu_s"),
)


@dataclass
class Spread:
    """A hub whose readers are spread over its server processes, and what everything in it has used."""

    ours: Hub
    told: redis.Redis
    statements: psycopg.Connection[Any] | None
    publisher_cpu_s: float = 0.0

    def over(self, processes: int) -> None:
        self.ours.stop()
        while len(self.ours.ports) < processes:
            self.ours.ports.append(hub.free_port())
        self.ours.start()

    def publish(self, **options: Any) -> None:
        self.publisher_cpu_s += broadcast.publisher(self.ours)(**options)["cpu_s"]

    def used(self) -> Figures:
        """So far, by all servers, the publisher, Redis and PostgreSQL."""
        said: Any = self.told.info("all")
        found = {
            "seconds": time.monotonic(),
            "servers_cpu_s": self.ours.cpu(),
            "publisher_cpu_s": self.publisher_cpu_s,
            "redis_cpu_s": said["used_cpu_user"] + said["used_cpu_sys"],
            "redis_commands": said["total_commands_processed"],
            "redis_publishes": said.get("cmdstat_publish", {"calls": 0})["calls"],
            "redis_bytes_out": said["total_net_output_bytes"],
        }
        if self.statements is not None:
            [calls] = self.statements.execute(f"SELECT sum(calls) FROM {COUNTER}").fetchone() or [0]
            found["statements"] = float(calls)
            found["database_cpu_s"] = cpu_of_family(_parent_of(self.statements.info.backend_pid))
        return found

    def since(self, before: Figures) -> Figures:
        return {key: value - before[key] for key, value in self.used().items()}


def run(workloads: Collection[str], systems: Collection[str]) -> dict[str, dict[str, Figures]]:
    """`{workload: {system: figures}}`"""
    rows: dict[str, Figures] = {}
    for system in SYSTEMS:
        if system not in systems:
            continue
        try:
            with _spread(system) as spread:
                people = spread.ours.sockets(broadcast.PEOPLE)
                for processes in PROCESSES:
                    spread.over(processes)
                    ports = spread.ours.ports
                    if processes == PROCESSES[0]:
                        with load_client(ports, people[:1], ready=WELCOME) as client:
                            rows[f"{system}_{processes}_alone"] = _alone(spread, client)
                    with load_client(ports, people, ready=WELCOME) as client:
                        for name, row in _rows(spread, client):
                            rows[f"{system}_{processes}_{name}"] = row
                            print(f"W10 {system}_{processes}_{name} done", flush=True)
        except Missing as why:
            print(f"skipped {system}: {why}", flush=True)
    return dict.fromkeys(workloads, rows)


@contextlib.contextmanager
def _spread(system: str) -> Iterator[Spread]:
    with contextlib.ExitStack() as stack:
        environment = stack.enter_context(disk.environment(system, preload=COUNTER))
        ours = stack.enter_context(hub.running(environment))
        statements = None
        if environment:
            statements = stack.enter_context(psycopg.connect(environment["DATABASE_URL"]))
            statements.autocommit = True
            statements.execute(f"CREATE EXTENSION {COUNTER}")
        told = stack.enter_context(redis.Redis.from_url(ours.environment["REDIS_URL"]))
        yield Spread(ours, told, statements)


def _rows(spread: Spread, client: LoadClient) -> Iterator[tuple[str, Figures]]:
    people = broadcast.PEOPLE
    _come_in(client, people)
    yield "idle", {"sockets": people, **_idling(spread)}
    up = Up(client, spread.ours.cpu, spread.publish)
    first = 1
    for name, options in LOADS.items():
        runs = []
        for _ in range(RUNS):
            broadcast.settle(client)
            before = spread.used()
            figures = broadcast.measured(up, first=first, **options)
            runs.append({"sockets": people, **figures, **spread.since(before)})
            first += options["n"]
        yield name, hub.medians(runs)


def _alone(spread: Spread, client: LoadClient) -> Figures:
    _come_in(client, 1)
    return {"sockets": 1, **_at_rest(spread)}


def _come_in(client: LoadClient, people: int) -> None:
    came = client.connect(IN_FLIGHT)["connections"]
    if came < people:
        raise Missing(f"{people - came} clients did not get in")
    broadcast.settle(client)


def _at_rest(spread: Spread) -> Figures:
    before = spread.used()
    time.sleep(IDLE)
    return spread.since(before)


def _idling(spread: Spread) -> Figures:
    idle = _at_rest(spread)
    before = spread.used()
    swept = spread.ours.work("presence_in_rooms", rooms=ROOMS, times=TIMES)
    rooms = spread.since(before)
    of_redis = rooms["redis_cpu_s"] - idle["redis_cpu_s"] / idle["seconds"] * rooms["seconds"]
    return {
        **idle,
        "sweep_us": swept["cpu_s"] / ROOMS / TIMES * 1e6,
        "redis_us_per_sweep": of_redis / ROOMS / TIMES * 1e6,
    }


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
    """Ratios are to one process. What Redis and the database did is per event, and of the others per second."""
    for name, rows in found.items():
        print(
            f"{name:<4} {'':<24} {'deliveries/s':>12} {'cpu us':>7} {'x one':>6} {'p50 ms':>7} {'p99 ms':>7} {'lost':>5}"
            f" {'doubled':>7} {'publishes':>9} {'redis us':>8} {'statements':>10} {'database us':>11} {'servers us':>10}"
        )
        for label, row in rows.items():
            system, processes, load = label.rsplit("_", 2)
            if load in {"idle", "alone"}:
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
