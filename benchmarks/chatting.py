"""W5: 50 rooms of 20 people, who all have them open; each post is stored, acknowledged and delivered to all 20."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from typing import Any, Final

from benchmarks import hub
from benchmarks.hub import ROOT, Hub
from benchmarks.missing import Missing

RUNS: Final = 3
ROOMS: Final = 50
MEMBERS: Final = 20
POSTS: Final = 3000
CALM: Final = 200
"""Posts a second, for ten seconds."""
IN_FLIGHT: Final = 2
"""Posts of one room that are on their way at saturation."""
QUIET: Final = 3.0
SYSTEMS: Final = hub.SYSTEMS

Figures = dict[str, float]


def run(workloads: Collection[str], systems: Collection[str]) -> dict[str, dict[str, Figures]]:
    """`{workload: {system: figures}}`; `…_calm` is at `CALM` posts a second."""
    rows: dict[str, Figures] = {}
    hub.on_each(systems, lambda system, up: rows.update(_measured(system, up)))
    return dict.fromkeys(workloads, rows)


def _measured(system: str, up: Hub) -> dict[str, Figures]:
    loads = {
        system: {"posts": POSTS, "rate": 0, "in_flight": IN_FLIGHT},
        f"{system}_calm": {"posts": CALM * 10, "rate": CALM, "in_flight": 0},
    }
    rows: dict[str, Figures] = {}
    with _talk(up) as talk:
        for name, load in loads.items():
            runs = []
            for _ in range(RUNS):
                time.sleep(QUIET)
                before = up.cpu()
                figures = talk(load)
                figures["cpu_ms_per_post"] = (up.cpu() - before) / load["posts"] * 1e3
                runs.append(figures)
            rows[name] = hub.medians(runs)
            print(f"W5 {name}: {rows[name]['posts_per_s']:,.0f} posts/s", flush=True)
    return rows


@contextlib.contextmanager
def _talk(up: Hub) -> Iterator[Any]:
    """What asks the load client, with everybody connected. Raises Missing."""
    made = up.work("rooms", rooms=ROOMS, members=MEMBERS)
    lines = up.home / "talking"
    with lines.open("w", encoding="utf-8") as file:
        for room, cookie in made:
            print(json.dumps([f"/ws/?topics={room}", f"Cookie: {cookie}", room]), file=file)
    command = [sys.executable, "-m", "benchmarks.talking", str(up.ports[0]), str(lines)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(load: dict[str, Any]) -> Figures:
        stdin.write(json.dumps(load) + "\n")
        stdin.flush()
        said: Figures = json.loads(stdout.readline())
        return said

    try:
        came = int(stdout.readline())
        if came < len(made):
            raise Missing(f"{len(made) - came} clients did not get in")
        yield ask
    finally:
        process.kill()
        process.wait()


def show(found: dict[str, dict[str, Figures]]) -> None:
    for name, rows in found.items():
        print(
            f"{name:<4} {'':<22} {'posts/s':>8} {'ack p50':>8} {'ack p99':>8} {'p50 ms':>8} {'p99 ms':>8}"
            f" {'cpu ms/post':>11} {'refused':>7} {'lost':>5} {'doubled':>7} {'client us':>9}"
        )
        for system, row in rows.items():
            print(
                f"{'':<4} {system:<22} {row['posts_per_s']:>8,.0f} {row['acknowledged_p50_ms']:>8.1f}"
                f" {row['acknowledged_p99_ms']:>8.1f} {row['p50_ms']:>8.1f} {row['p99_ms']:>8.1f}"
                f" {row['cpu_ms_per_post']:>11.2f} {row['refused']:>7.0f} {row['lost']:>5.0f} {row['doubled']:>7.0f}"
                f" {row['client_cpu_us_per_delivery']:>9.1f}"
            )
