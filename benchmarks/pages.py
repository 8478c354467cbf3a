"""W12: how many dashboards and inboxes one server process hands out, and how long an inbox of 100,000 rows takes to open.

Asked over loopback by `AT_ONCE` connections that stay open, for somebody with 20 rooms, 40 jobs, 10,000 events and an
inbox of `ROWS`; `…_alone` is one connection, whose median is how long it takes to open.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles
from typing import Final

from benchmarks import hub
from benchmarks.hub import Hub

RUNS: Final = 3
SECONDS: Final = 5.0
AT_ONCE: Final = 4
ROWS: Final = 100_000
PAGES: Final = {"dashboard": "/", "inbox": "/inbox/", "unread": "/inbox/?state=unread"}
SYSTEMS: Final = hub.SYSTEMS

Figures = dict[str, float]


def run(workloads: Collection[str], systems: Collection[str]) -> dict[str, dict[str, Figures]]:
    """`{workload: {system: figures}}`"""
    rows: dict[str, Figures] = {}

    def measure(system: str, up: Hub) -> None:
        cookie = up.work("desk", rows=ROWS)
        for page, path in PAGES.items():
            for name, at_once in ((page, AT_ONCE), (f"{page}_alone", 1)):
                _asked(up, path, cookie, 1, SECONDS / 5)  # what is kept in memory is there then
                runs = [_asked(up, path, cookie, at_once, SECONDS) for _ in range(RUNS)]
                row = rows[f"{system}_{name}"] = hub.medians(runs)
                print(f"W12 {system}_{name}: {row['requests_per_s']:,.0f}/s", flush=True)

    hub.on_each(systems, measure)
    return dict.fromkeys(workloads, rows)


def _asked(up: Hub, path: str, cookie: str, at_once: int, seconds: float) -> Figures:
    """In milliseconds, from the request to the last byte."""
    began, cpu, own = time.monotonic(), up.cpu(), time.process_time()

    def ask() -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", up.ports[0], timeout=60)
        took = []
        while (at := time.monotonic()) < began + seconds:
            connection.request("GET", path, headers={"Cookie": cookie})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path} answers {answer.status}")
            took.append((time.monotonic() - at) * 1e3)
        connection.close()
        return took

    with ThreadPoolExecutor(at_once) as pool:
        took = [one for some in pool.map(lambda _: ask(), range(at_once)) for one in some]
    return {
        "requests_per_s": len(took) / (time.monotonic() - began),
        "cpu_ms_per_request": (up.cpu() - cpu) / len(took) * 1e3,
        "p50_ms": median(took),
        "p99_ms": quantiles(took, n=100, method="inclusive")[-1] if len(took) > 1 else took[0],
        "client_cpu_ms_per_request": (time.process_time() - own) / len(took) * 1e3,
    }


def show(found: dict[str, dict[str, Figures]]) -> None:
    for name, rows in found.items():
        print(
            f"{name:<4} {'':<28} {'requests/s':>10} {'cpu ms':>7} {'p50 ms':>8} {'p99 ms':>8} {'client ms':>9}"
        )
        for label, row in rows.items():
            print(
                f"{'':<4} {label:<28} {row['requests_per_s']:>10,.1f} {row['cpu_ms_per_request']:>7.2f}"
                f" {row['p50_ms']:>8.1f} {row['p99_ms']:>8.1f} {row['client_cpu_ms_per_request']:>9.2f}"
            )
