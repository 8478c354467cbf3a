"""W3 and W4: events, notifications and whispers for 1,000 people, each to themselves, from one process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from statistics import median
from typing import Any, Final

from benchmarks import disk, hub, target
from benchmarks.broadcast import LOST, settle
from benchmarks.client import LoadClient, load_client
from benchmarks.hub import Hub
from benchmarks.target import Line

RUNS: Final = 3
PEOPLE: Final = 1000
OTHERS: Final = 9000
"""People who are notified, too, and are not connected."""
BATCHED: Final = 10_000
SINGLES: Final = 2000
CALM: Final = 1000
"""Single events at half the rate that is wanted."""
WHISPERS: Final = 20_000
WHISPERED: Final = 5000
"""Whispers of one call each."""
STOCK: Final = 1000
"""Messages by the stock `async_to_sync(group_send)`."""
SYSTEMS: Final = (*hub.SYSTEMS, "stock")
WELCOME: Final = '"op":"welcome"'
IN_FLIGHT: Final = 100

OF_COMMITS: Final = 0.35
SINGLES_WANTED: Final = 800
STOCK_WANTED: Final = 4

Figures = dict[str, float]


class People:
    """A hub with `PEOPLE` signed in, and the counts of what they were sent."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        made = hub.work("people", n=PEOPLE)
        self.cookies = [cookie for _, cookie in made]
        self.topics = [f"user.{person}" for person, _ in made]
        self._first = 1

    @contextlib.contextmanager
    def connected(self, count: str | None = None) -> Iterator[LoadClient]:
        sockets = self.hub.connections(self.cookies)
        with load_client(self.hub.ports[0], sockets, ready=WELCOME, count=count) as client:
            came = client.connect(IN_FLIGHT)
            if came["connections"] < PEOPLE:
                raise RuntimeError(f"{PEOPLE - came['connections']} clients did not get in")
            yield client

    def measured(self, client: LoadClient, work: str, n: int, **options: Any) -> Figures:
        """The median of `RUNS`; `n`, a multiple of the people, is what they get between them."""
        return _median(lambda: self._measured(client, work, n, **options))

    def _measured(self, client: LoadClient, work: str, n: int, **options: Any) -> Figures:
        settle(client)
        before, client_before = self.hub.cpu(), client.report()["client_cpu_s"]
        said = self.hub.work(work, topics=self.topics, n=n, first=self._first, **options)
        self._first += n // PEOPLE
        came = client.level(self._first - 1, LOST)
        return {
            "sent_per_s": n / said["seconds"],
            "sender_cpu_us": said["cpu_s"] / n * 1e6,
            "deliveries_per_s": _rate(came, said),
            "cpu_us_per_delivery": (self.hub.cpu() - before) / n * 1e6,
            "p50_ms": came["p50_ms"],
            "p99_ms": came["p99_ms"],
            "lost": n + came["doubled"] - came["deliveries"],
            "doubled": came["doubled"],
            "client_cpu_us_per_delivery": (came["client_cpu_s"] - client_before) / n * 1e6,
        }


def _rate(came: Mapping[str, Any], said: Mapping[str, Any]) -> float:
    """Deliveries a second, from the first call to the last delivery."""
    return float(came["deliveries"] / max(came["last_ns"] - said["began_ns"], 1) * 1e9)


def _median(run: Callable[[], Figures]) -> Figures:
    """What must not be, lost and doubled, is the sum."""
    runs = [run() for _ in range(RUNS)]
    return {
        key: (sum if key in {"lost", "doubled"} else median)([one[key] for one in runs])
        for key in runs[0]
    }


# --- W3 ---------------------------------------------------------------------------------------------------------------


def events(people: People) -> dict[str, Figures]:
    with people.connected() as client:
        batches = people.measured(client, "batches", BATCHED, size=100)
        larger = people.measured(client, "batches", BATCHED, size=1000)
        commits = median(disk.commits_per_s(0.5) for _ in range(RUNS))
        wanted = min(OF_COMMITS * commits, SINGLES_WANTED)
        singles = people.measured(client, "singles", SINGLES)
        calm = people.measured(client, "singles", CALM, rate=wanted / 2)
    people.hub.work("accounts", n=OTHERS)
    with people.connected(count='"unread":') as client:
        notified = _notified(people, client)
    return {
        "hub": {
            **batches,
            "by_1000_deliveries_per_s": larger["deliveries_per_s"],
            "by_1000_cpu_us_per_delivery": larger["cpu_us_per_delivery"],
            "singles_per_s": singles["deliveries_per_s"],
            "singles_wanted_per_s": wanted,
            "singles_cpu_us_per_delivery": singles["cpu_us_per_delivery"],
            "commits_per_s": commits,
            "calm_per_s": wanted / 2,
            "p50_ms": calm["p50_ms"],
            "p99_ms": calm["p99_ms"],
            **notified,
            **{
                key: sum(one[key] for one in (batches, larger, singles, calm, notified))
                for key in ("lost", "doubled")
            },
        }
    }


def _notified(people: People, client: LoadClient) -> Figures:
    """Seconds from the call until the last of those connected has its notification. Each has one more unread then."""
    unread = iter(range(1, RUNS + 1))

    def run() -> Figures:
        settle(client)
        said = people.hub.work("announce", title="The night shift has ended")
        if said["calls"] != PEOPLE + OTHERS:
            raise RuntimeError(f"{said['calls']} people were notified")
        came = client.level(next(unread), LOST)
        return {
            "notify_s": (came["last_ns"] - said["began_ns"]) / 1e9,
            "notify_call_s": said["seconds"],
            "lost": PEOPLE + came["doubled"] - came["deliveries"],
            "doubled": came["doubled"],
        }

    return _median(run)


# --- W4 ---------------------------------------------------------------------------------------------------------------


def whispers(people: People) -> dict[str, Figures]:
    with people.connected() as client:
        single = people.measured(client, "whispers", WHISPERED)
        many = people.measured(client, "whispers_at_once", WHISPERS, size=1000)
        calm = people.measured(client, "whispers", CALM, rate=CALM / 4)
    stock = _median(lambda: _sent(people.hub.work("stock", topics=people.topics, n=STOCK)))
    ours = {
        **single,
        "wanted_per_s": STOCK_WANTED * stock["sent_per_s"],
        "many_sent_per_s": many["sent_per_s"],
        "many_deliveries_per_s": many["deliveries_per_s"],
        "many_sender_cpu_us": many["sender_cpu_us"],
        "many_cpu_us_per_delivery": many["cpu_us_per_delivery"],
        "p50_ms": calm["p50_ms"],
        "p99_ms": calm["p99_ms"],
        **{key: sum(one[key] for one in (single, many, calm)) for key in ("lost", "doubled")},
    }
    return {"hub": ours, "stock": stock}


def _sent(said: Mapping[str, Any]) -> Figures:
    n = said["calls"]
    return {"sent_per_s": n / said["seconds"], "sender_cpu_us": said["cpu_s"] / n * 1e6}


# ----------------------------------------------------------------------------------------------------------------------

WORKLOADS: Final[dict[str, Callable[[People], dict[str, Figures]]]] = {"W3": events, "W4": whispers}
LINES: Final = {
    "W3": [
        Line("deliveries_per_s", "publish_many by 100: events/s, end to end", least=6000),
        Line("by_1000_deliveries_per_s", "publish_many by 1,000: events/s, end to end"),
        Line("sender_cpu_us", "the publisher's CPU, us each, by 100"),
        Line("cpu_us_per_delivery", "server CPU, us each, by 100"),
        Line("singles_per_s", "publish: events/s, end to end", least="singles_wanted_per_s"),
        Line("commits_per_s", "disk commits/s"),
        Line("calm_per_s", "publish at half of what is wanted: events/s"),
        Line("p50_ms", "then p50, ms"),
        Line("p99_ms", "then p99, ms", most=50),
        Line("notify_s", "notify everybody: until the last has it, s", most=3),
        Line("lost", "lost"),
        Line("doubled", "doubled"),
    ],
    "W4": [
        Line("sent_per_s", "one call each: calls/s", least="wanted_per_s"),
        Line("sender_cpu_us", "the sender's CPU, us each"),
        Line("many_sent_per_s", "1,000 in one call: whispers/s", least=20_000),
        Line("many_deliveries_per_s", "1,000 in one call: whispers/s, end to end"),
        Line("many_sender_cpu_us", "the sender's CPU, us each, then"),
        Line("many_cpu_us_per_delivery", "server CPU, us each, then"),
        Line("p50_ms", "at 250 calls/s: p50, ms"),
        Line("p99_ms", "at 250 calls/s: p99, ms"),
        Line("lost", "lost"),
    ],
}


def run(workloads: Collection[str], systems: Collection[str]) -> dict[str, dict[str, Figures]]:
    """`{workload: {system: figures}}`"""
    found: dict[str, dict[str, Figures]] = {name: {} for name in workloads}
    databases = set(systems) if "W3" in workloads else {"hub"}.intersection(systems)

    def measure(system: str, up: Hub) -> None:
        people = People(up)
        for workload in workloads:
            if system == "hub" or workload == "W3":  # a whisper touches no database
                rows = WORKLOADS[workload](people)
                found[workload] |= {system if name == "hub" else name: rows[name] for name in rows}

    hub.on_each(databases, measure)
    return found


def show(found: dict[str, dict[str, Figures]]) -> None:
    for name, rows in found.items():
        target.show(name, rows, LINES[name])
