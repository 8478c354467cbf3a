"""How far the hub grows: what W10 measured, and a model of it at up to a hundred nodes and a million sockets.

    python -m benchmarks.scaling        prints what docs/scaling.md shows
    python -m benchmarks.scaling fit    after `make bench ONLY=W10`: takes the costs from it, and the page shows them

A node is one server process on a core of its own. The model adds up what each part has to do in a second: so many
events, each in every node that has a reader, and to each reader. What it assumes stands in `Office` and `Limits`.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from benchmarks.processes import per_event

MEASURED: Final = Path(__file__).with_name("costs.json")
RESULTS: Final = Path(__file__).parent / "results" / "latest.json"
PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"
SYSTEM: Final = "hub_postgres"
WINDOW: Final = 0.005
"""Seconds; `consumers/switchboard.py::WINDOW`."""
SWEEP: Final = 3.0
"""Seconds; `consumers/attendance.py::SWEEP`."""
COMMITS: Final = 2
"""Of an event that is published alone: its row, then its offset."""
PER_NODE: Final = 10_000
"""Sockets of one node at most, so that they are back within seconds when it starts again."""
BUSY: Final = 0.6
"""How full a node may be before there is another one."""
MOST_NODES: Final = 100
SIZES: Final = (1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 300_000, 1_000_000)
MOST: Final = max(SIZES)
"""Sockets up to which is looked where a part gives out."""


@dataclass(frozen=True)
class Costs:
    """Microseconds of processor time; `…_idle` in each second."""

    event: float
    """In each node that has a reader."""
    frame: float
    """Each write to a socket."""
    delivery: float
    """Each event in such a write."""
    publish: float
    """In the process that publishes one event alone."""
    sweep: float
    """Of a node: looking who has left a room."""
    node_idle: float
    socket_idle: float
    redis_publish: float
    redis_copy: float
    """For each node that an event goes to."""
    redis_sweep: float
    redis_node_idle: float
    redis_socket_idle: float
    database_event: float
    """Published alone."""
    database_node_idle: float
    database_socket_idle: float
    copy_bytes: float
    """That Redis sends to each node that an event goes to."""


@dataclass(frozen=True)
class Limits:
    node: float = 1.0
    """Cores; a Python process uses no more."""
    redis: float = 1.0
    """Cores; Redis runs commands on one."""
    database: float = 16.0
    """Cores of PostgreSQL's machine."""
    commits: float = 5_000.0
    """A second, each with a sync of its own; PostgreSQL joins those that come together, so this is too careful."""
    network: float = 1.25e9
    """Bytes a second out of Redis: 10 Gbit/s."""


@dataclass(frozen=True)
class Office:
    """What people do; each has one socket."""

    to_all: float = 1.0
    """Events a second that everybody reads, however many there are."""
    personal: float = 6 / 3600
    """Events a second to one person alone, for each."""
    posts: float = 12 / 3600
    """Messages a second in rooms, of each person."""
    room: int = 20
    """People in a room."""
    rooms: float = 0.5
    """Rooms that each has open."""
    comings: float = 2 / 3600
    """Times a second that somebody comes or goes, for each person; everybody on the dashboard is told."""
    leases: float = 1.0
    """Connections that Redis is told of every few seconds, of each person."""


OFFICES: Final = {
    "as it is": Office(),
    "no news of presence": Office(comings=0.0),
    "no presence": Office(comings=0.0, rooms=0.0, leases=0.0),
}


def shares(costs: Costs, office: Office, nodes: int, sockets: int) -> dict[str, float]:
    """How full each part is; above 1 it can't keep up."""
    limits = Limits()
    of_node = sockets / nodes
    to_all = office.to_all + sockets * office.comings
    personal, posts = sockets * office.personal, sockets * office.posts
    rooms = sockets * office.rooms / office.room
    reached = nodes * (1 - (1 - 1 / nodes) ** office.room)
    """Nodes that a room's people are on, when chance has put them there."""
    copies = to_all * nodes + personal + posts * reached
    stored = office.to_all + personal + posts
    rounds = to_all / (1 + to_all * (WINDOW + of_node * costs.frame / 1e6))
    """What comes while one goes through the readers goes out in the next one together."""
    alone = costs.frame + costs.delivery
    node = (
        copies / nodes * costs.event
        + of_node * (rounds * costs.frame + to_all * costs.delivery)
        + (personal + posts * office.room) / nodes * alone
        + posts / nodes * costs.publish
        + rooms / SWEEP * costs.sweep
        + costs.node_idle
        + of_node * costs.socket_idle
    )
    redis = (
        (to_all + personal + posts) * costs.redis_publish
        + copies * costs.redis_copy
        + nodes * rooms / SWEEP * costs.redis_sweep
        + nodes * costs.redis_node_idle
        + sockets * office.leases * costs.redis_socket_idle
    )
    database = (
        stored * costs.database_event
        + nodes * costs.database_node_idle
        + sockets * costs.database_socket_idle
    )
    return {
        "node": node / 1e6 / limits.node,
        "Redis": redis / 1e6 / limits.redis,
        "PostgreSQL": database / 1e6 / limits.database,
        "commits": stored * COMMITS / limits.commits,
        "network": copies * costs.copy_bytes / limits.network,
    }


def nodes_for(costs: Costs, office: Office, sockets: int) -> int:
    """As few as keep each below `BUSY`, or all there may be."""
    least = math.ceil(sockets / PER_NODE)
    for nodes in range(least, MOST_NODES):
        if shares(costs, office, nodes, sockets)["node"] <= BUSY:
            return nodes
    return MOST_NODES


def enough_for(costs: Costs, office: Office, part: str) -> int:
    """Sockets up to which a part keeps up, with as many nodes as they need; `MOST`: no fewer than that."""

    def is_full(sockets: int) -> bool:
        nodes = nodes_for(costs, office, sockets)
        return shares(costs, office, nodes, sockets)[part] > 1

    least, most = 1, MOST
    if not is_full(most):
        return MOST
    while most - least > least / 100:
        middle = (least + most) // 2
        least, most = (least, middle) if is_full(middle) else (middle, most)
    return least


# --- from what was measured -------------------------------------------------------------------------------------------

Rows = Mapping[str, Mapping[str, float]]


def fit(rows: Rows) -> Costs:
    """From the rows of W10: what grows with the processes belongs to a node, what stays to the readers."""
    processes = _processes(rows)
    idle = {n: dict(rows[f"{SYSTEM}_{n}_idle"]) for n in processes}
    least = processes[0]
    sockets, alone_there = idle[least]["sockets"], rows[f"{SYSTEM}_{least}_alone"]

    def while_idle(key: str) -> tuple[float, float]:
        found = {n: row[key] / row["seconds"] * 1e6 for n, row in idle.items()}
        of_one = alone_there[key] / alone_there["seconds"] * 1e6
        return line(found)[0], max(0.0, found[least] - of_one) / (sockets - alone_there["sockets"])

    def of_event(load: str, key: str, unit: float = 1e6) -> dict[int, float]:
        found = {n: dict(rows[f"{SYSTEM}_{n}_{load}"]) for n in processes}
        return {n: per_event(row, idle[n])[key] * unit for n, row in found.items()}

    event, to_all = line(of_event("singles", "servers_cpu_s"))
    _, joined_to_all = line(of_event("batches", "servers_cpu_s"))
    per_frame = fmean(rows[f"{SYSTEM}_{n}_batches"]["events_per_frame"] for n in processes)
    alone, joined = to_all / sockets, joined_to_all / sockets
    frame = min(alone, max(0.0, (alone - joined) / (1 - 1 / per_frame)))
    redis_copy, redis_publish = line(of_event("singles", "redis_cpu_s"))
    node_idle, socket_idle = while_idle("servers_cpu_s")
    redis_node_idle, redis_socket_idle = while_idle("redis_cpu_s")
    database_node_idle, database_socket_idle = while_idle("database_cpu_s")
    return Costs(
        event=event,
        frame=frame,
        delivery=alone - frame,
        publish=fmean(of_event("singles", "publisher_cpu_s").values()),
        sweep=fmean(row["sweep_us"] for row in idle.values()),
        node_idle=node_idle,
        socket_idle=socket_idle,
        redis_publish=redis_publish,
        redis_copy=redis_copy,
        redis_sweep=fmean(row["redis_us_per_sweep"] for row in idle.values()),
        redis_node_idle=redis_node_idle,
        redis_socket_idle=redis_socket_idle,
        database_event=fmean(of_event("singles", "database_cpu_s").values()),
        database_node_idle=database_node_idle,
        database_socket_idle=database_socket_idle,
        copy_bytes=line(of_event("batches", "redis_bytes_out", 1.0))[0],
    )


def _processes(rows: Rows) -> list[int]:
    return sorted(
        int(name.split("_")[-2])
        for name in rows
        if name.startswith(f"{SYSTEM}_") and name.endswith("_idle")
    )


def line(points: Mapping[int, float]) -> tuple[float, float]:
    """Slope and height at zero of the straight line nearest to the points, neither below zero."""
    x, y = fmean(points), fmean(points.values())
    spread = sum((at - x) ** 2 for at in points)
    slope = sum((at - x) * (value - y) for at, value in points.items()) / spread
    slope = min(max(0.0, slope), y / x)
    return slope, y - slope * x


# --- what is shown ----------------------------------------------------------------------------------------------------


def tables(measured: Mapping[str, Any]) -> str:
    costs = Costs(**measured["costs"])
    return "\n\n".join(
        "\n".join(part) for part in (_measured(measured), _growth(costs, Office()), _enough(costs))
    )


def _measured(measured: Mapping[str, Any]) -> Iterator[str]:
    costs: Mapping[str, float] = measured["costs"]
    yield (
        f"MEASURED  {measured['at']}: {measured['sockets']:,.0f} sockets on {measured['processes']} server processes,"
        f" {measured['cores']} cores, load {measured['load']:.0f} beside"
    )
    yield f"{'us of processor time':<40} {'server':>10} {'Redis':>10} {'PostgreSQL':>10}"
    for words, names in {
        "an event, published alone": ("publish", "redis_publish", "database_event"),
        "in each node that has a reader": ("event", "redis_copy", ""),
        "a write to a socket": ("frame", "", ""),
        "an event in it": ("delivery", "", ""),
        "a look who has left a room": ("sweep", "redis_sweep", ""),
        "a node, each second": ("node_idle", "redis_node_idle", "database_node_idle"),
        "a socket, each second": ("socket_idle", "redis_socket_idle", "database_socket_idle"),
    }.items():
        cells = (f"{costs[name]:>10,.1f}" if name else f"{'':>10}" for name in names)
        yield f"{words:<40} {' '.join(cells)}".rstrip()


def _growth(costs: Costs, office: Office) -> Iterator[str]:
    yield "MODELLED  how full each part is"
    head = " ".join(f"{part:>10}" for part in shares(costs, office, 1, 1))
    yield f"{'sockets':>10} {'nodes':>6} {head}   fullest"
    for sockets in SIZES:
        nodes = nodes_for(costs, office, sockets)
        found = shares(costs, office, nodes, sockets)
        cells = " ".join(f"{share:>10.0%}" for share in found.values())
        fullest = max(found, key=lambda part: found[part])
        bar = "#" * min(20, math.ceil(found[fullest] * 10))
        yield f"{sockets:>10,} {nodes:>6} {cells}   {bar} {fullest}"


def _enough(costs: Costs) -> Iterator[str]:
    yield f"MODELLED  sockets up to which a part is enough, of {MOST:,} on up to {MOST_NODES} nodes"
    yield f"{'':<12} {' '.join(f'{name:>20}' for name in OFFICES)}"
    for part in shares(costs, Office(), 1, 1):
        found = (enough_for(costs, office, part) for office in OFFICES.values())
        yield f"{part:<12} {' '.join(f'{_rounded(sockets):>20}' for sockets in found)}"


def _rounded(sockets: int) -> str:
    if sockets >= MOST:
        return "enough"
    size = 10 ** max(0, len(str(sockets)) - 2)
    return f"{sockets // size * size:,}"


def on_page(text: str, page: str) -> str:
    """The page with these tables in its one block of plain text."""
    return re.sub(
        r"(?<=^```text\n).*?(?=^```$)", lambda _: text + "\n", page, flags=re.MULTILINE | re.DOTALL
    )


def main() -> int:
    if sys.argv[1:] == ["fit"]:
        rows = json.loads(RESULTS.read_text(encoding="utf-8"))["W10"]
        machine = json.loads(RESULTS.with_name("machine.json").read_text(encoding="utf-8"))
        said = _kept(rows, machine)
        MEASURED.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(on_page(tables(said), page), encoding="utf-8")
    elif sys.argv[1:]:
        sys.exit("usage: python -m benchmarks.scaling [fit]")
    print(tables(json.loads(MEASURED.read_text(encoding="utf-8"))))
    return 0


def _kept(rows: Rows, machine: Mapping[str, Any]) -> dict[str, Any]:
    processes = _processes(rows)
    return {
        "at": machine["at"],
        "cores": machine["cores"],
        "load": machine["load_before"],
        "sockets": rows[f"{SYSTEM}_{processes[0]}_idle"]["sockets"],
        "processes": ", ".join(map(str, processes)),
        "costs": {name: float(f"{value:.3g}") for name, value in asdict(fit(rows)).items()},
    }


if __name__ == "__main__":
    sys.exit(main())
