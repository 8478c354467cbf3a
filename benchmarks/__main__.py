"""`make bench`, or `make bench ONLY="W1 rooms"`: prints tables and writes `benchmarks/results/latest.json`,
`{workload: {system: figures}}`, with what is to be known of the machine in `machine.json` beside it. What a run leaves
out stays there as the last one left it.

    W1     1,000 people read one topic, `publish_many` as fast as it goes
    W2     1,000 people read one topic, 20 single events a second: nothing to join
    W3     1,000 people, an event for one of them at a time, in batches and singly; a notification for 10,000
    W4     whispers to 1,000 people, each to one of them, beside the stock `async_to_sync(group_send)`
    W5     50 rooms of 20 people: posts stored, acknowledged and delivered
    W6     1,000 people come in with a cursor, and again, level, after a restart
    W7     what one of 5,000 idle sockets holds
    W8     1,000 people come back 500 events behind on one topic, while it goes on
    W9     W2 with 100, 1,000 and 5,000 people; publishing and catching up with 10,000,000 events in the log
    W10    W1 and W2 over 1, 2 and 4 server processes, with what Redis and PostgreSQL do for it
    W11    1,000 people by SSE, long poll and poll
    W12    dashboards and inboxes a second, the inbox with 100,000 rows
    rooms  how long a room of 100,000 messages takes to open

W1 and W2 run the whole product, signed in and on SQLite with `synchronous=FULL`: `hub`; with every event a write of
its own (`hub_uncoalesced`); by way of Twisted (`hub_plain`); on PostgreSQL with `fsync=on` (`hub_postgres`). Beside it,
given the same events, what people would take instead: nginx with nchan, `ws` and Socket.IO on Node, python-socketio,
and the tutorial of Channels, none of which stores anything or knows who is there. At W1 each of them is sent a batch as
single messages and, as `…_joined`, as one. `SYSTEMS="hub nchan"` runs some.

W3, W8 and W11 are the hub alone, on both databases, with what is wanted beside each figure; at W11 each transport is a
system of its own, such as `hub_sse`. Polls ask again as soon as they are answered.

Each figure is the median of `RUNS`. Latency counts from just before the publishing call, so the hub's holds the commit.
Fails when a delivery of the hub's is lost or doubled.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks import (
    broadcast,
    catching_up,
    chatting,
    connecting,
    disk,
    growth,
    open_room,
    pages,
    per_person,
    processes,
    transports,
)

RESULTS: Final = Path(__file__).parent / "results" / "latest.json"

Found = dict[str, dict[str, dict[str, float]]]
"""`{workload: {system: figures}}`"""


class Workloads(Protocol):
    """A module of workloads."""

    @property
    def SYSTEMS(self) -> Sequence[str]: ...

    def run(self, workloads: Collection[str], systems: Collection[str]) -> Found: ...
    def show(self, found: Found) -> None: ...


MODULES: Final[dict[str, Workloads]] = {
    "W1": broadcast,
    "W2": broadcast,
    "W3": per_person,
    "W4": per_person,
    "W5": chatting,
    "W6": connecting,
    "W7": connecting,
    "W8": catching_up,
    "W9": growth,
    "W10": processes,
    "W11": transports,
    "W12": pages,
}
ROOMS: Final = "rooms"


def main() -> int:
    wanted = _chosen("ONLY", [*MODULES, ROOMS])
    known = dict.fromkeys(system for module in MODULES.values() for system in module.SYSTEMS)
    systems = _chosen("SYSTEMS", list(known))
    load = os.getloadavg()[0]
    machine: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load_before": load,
        "commits_per_s": disk.commits_per_s(),
    }
    print(
        f"{machine['cores']} cores, load {load:.1f} before, {machine['commits_per_s']:,.0f} disk commits/s"
    )
    wrong = False
    for module in dict.fromkeys(MODULES[name] for name in wanted if name in MODULES):
        found = module.run([name for name in wanted if MODULES.get(name) is module], systems)
        module.show(found)
        _keep(found, machine)
        ours = [
            row for rows in found.values() for name, row in rows.items() if name.startswith("hub")
        ]
        wrong = wrong or any(row.get("lost") or row.get("doubled") for row in ours)
    slow = open_room.main() if ROOMS in wanted else 0
    return int(wrong or bool(slow))


def _keep(found: Found, machine: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    kept: Found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name, rows in found.items():
        kept[name] = kept.get(name, {}) | rows
    machine["at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for path, said in ((RESULTS, kept), (RESULTS.with_name("machine.json"), machine)):
        path.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def _chosen(variable: str, known: list[str]) -> list[str]:
    wanted = os.environ.get(variable, "").split() or known
    if unknown := set(wanted) - set(known):
        sys.exit(f"{variable}: no such {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return wanted


if __name__ == "__main__":
    sys.exit(main())
