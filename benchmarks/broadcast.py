"""W1 and W2: 1,000 people read one topic; the hub and its peers one after the other, each with a fresh server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from benchmarks import disk, hub, peer
from benchmarks.client import LoadClient, load_client
from benchmarks.hub import Hub
from benchmarks.missing import Missing
from benchmarks.peer import Peer

RUNS: Final = 3
PEOPLE: Final = 1000
BATCH: Final = 100
RATE: Final = 20
JOINED: Final = 5000
"""Events of a run where a peer is sent each batch as one message."""
QUIET: Final = 2.0
"""Seconds without anything before a run: everybody has heard who else came in."""
LOST: Final = 10.0
"""Seconds without a delivery after which what is missing counts as lost."""
TOPIC: Final = "group.dashboard"

Figures = dict[str, float]


class Publish(Protocol):
    def __call__(self, *, n: int, size: int, rate: float, first: int, joined: bool) -> Any: ...


@dataclass(frozen=True)
class Up:
    """A server with its people connected."""

    client: LoadClient
    cpu: Callable[[], float]
    publish: Publish
    people: int = PEOPLE


@dataclass(frozen=True)
class Ours:
    name: str
    environment: Mapping[str, str]
    program: str = "hub.server"
    events: int = 5000
    singles: int = 100


OURS: Final = (
    Ours("hub", {}),
    Ours("hub_uncoalesced", {}, "benchmarks.uncoalesced", 1000),
    Ours("hub_plain", {"HUB_FAST_WRITER": "0"}),
    Ours("hub_postgres", {}),
)
SYSTEMS: Final = [one.name for one in (*OURS, *peer.PEERS)]


def run(workloads: Collection[str], systems: Collection[str]) -> dict[str, dict[str, Figures]]:
    """`{workload: {system: figures}}`; says which peers were skipped, and why."""
    found: dict[str, dict[str, Figures]] = {name: {} for name in workloads}
    for system in (*OURS, *peer.PEERS):
        if system.name not in systems:
            continue
        try:
            with _up(system) as up:
                first = 1
                for workload in workloads:
                    for name, options in _rows(workload, system).items():
                        runs = []
                        for _ in range(RUNS):
                            settle(up.client)
                            runs.append(measured(up, first=first, **options))
                            first += options["n"]
                        row = hub.medians(runs)
                        found[workload][name] = row
                        rate, cost = row["deliveries_per_s"], row["cpu_us_per_delivery"]
                        print(f"{workload} {name}: {rate:,.0f}/s, {cost:.2f} us", flush=True)
        except Missing as why:
            print(f"skipped {system.name}: {why}", flush=True)
    return found


def _rows(workload: str, system: Ours | Peer) -> dict[str, dict[str, Any]]:
    if workload == "W2":
        calm = {"n": system.singles, "size": 1, "rate": RATE, "joined": False}
        return {system.name: calm}
    full = {"n": system.events, "size": BATCH, "rate": 0, "joined": False}
    if isinstance(system, Ours):
        return {system.name: full}
    return {
        system.name: full,
        f"{system.name}_joined": {**full, "n": JOINED, "joined": True},
    }


@contextlib.contextmanager
def _up(system: Ours | Peer) -> Iterator[Up]:
    with contextlib.ExitStack() as stack:
        if isinstance(system, Peer):
            other = stack.enter_context(peer.running(system))
            client = stack.enter_context(
                load_client(other.port, [system.connection] * PEOPLE, ready=system.ready)
            )
            up = Up(client, other.cpu, other.publish)
        else:
            up = _hub_up(system, stack)
        came = up.client.connect()
        if came["connections"] < PEOPLE:
            raise Missing(f"{PEOPLE - came['connections']:.0f} clients did not get in")
        yield up


def _hub_up(system: Ours, stack: contextlib.ExitStack) -> Up:
    database = stack.enter_context(disk.environment(system.name))
    ours = stack.enter_context(
        hub.running({**system.environment, **database}, program=system.program)
    )
    client = stack.enter_context(
        load_client(ours.ports[0], ours.sockets(PEOPLE), ready='"op":"welcome"')
    )
    return Up(client, ours.cpu, publisher(ours))


def publisher(ours: Hub) -> Publish:
    def publish(*, n: int, size: int, rate: float, first: int, joined: bool) -> Any:
        if rate:
            return ours.work("singles", topics=[TOPIC], n=n, rate=rate, first=first)
        return ours.work("batches", topics=[TOPIC], n=n, size=size, first=first)

    return publish


def settle(client: LoadClient) -> None:
    client.report()
    while True:
        time.sleep(QUIET)
        if not client.report()["bytes"]:
            return


def measured(up: Up, *, n: int, size: int, rate: float, first: int, joined: bool) -> Figures:
    before, client_before = up.cpu(), up.client.report()["client_cpu_s"]
    up.publish(n=n, size=size, rate=rate, first=first, joined=joined)
    came = up.client.level(first + n - 1, LOST)
    total = came["deliveries"]
    if not total:
        raise Missing("nothing was delivered")
    seconds = (came["last_ns"] - came["first_ns"]) / 1e9
    return {
        "events": n,
        "deliveries_per_s": total / seconds,
        "cpu_us_per_delivery": (up.cpu() - before) / total * 1e6,
        "p50_ms": came["p50_ms"],
        "p99_ms": came["p99_ms"],
        "frames_per_s": came["frames"] / seconds,
        "events_per_frame": total / came["frames"],
        "lost": n * up.people - total,
        "doubled": came["doubled"],
        "client_cpu_us_per_delivery": (came["client_cpu_s"] - client_before) / total * 1e6,
    }


def show(found: Mapping[str, dict[str, Figures]]) -> None:
    """Ratios are to the first row: above 1 the others are slower, or cost more."""
    for name, rows in found.items():
        if not rows:
            continue
        ours = next(iter(rows.values()))
        print(
            f"{name:<4} {'':<22} {'deliveries/s':>13} {'hub is':>7} {'cpu us':>8} {'x hub':>7} {'p50 ms':>8}"
            f" {'p99 ms':>8} {'frames/s':>9} {'per frame':>9} {'lost':>6} {'client us':>9}"
        )
        for system, row in rows.items():
            faster = ours["deliveries_per_s"] / row["deliveries_per_s"]
            dearer = row["cpu_us_per_delivery"] / ours["cpu_us_per_delivery"]
            print(
                f"{'':<4} {system:<22} {row['deliveries_per_s']:>13,.0f} {faster:>6.1f}x"
                f" {row['cpu_us_per_delivery']:>8.2f} {dearer:>7.1f} {row['p50_ms']:>8.1f} {row['p99_ms']:>8.1f}"
                f" {row['frames_per_s']:>9,.0f} {row['events_per_frame']:>9.1f} {row['lost']:>6.0f}"
                f" {row['client_cpu_us_per_delivery']:>9.2f}"
            )
