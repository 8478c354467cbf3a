"""Reads a recording and the log, and says what was lost, doubled, reordered, made up or handed to strangers."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from events.models import Event
from tests.faults.recorder import Line, Recorder

Key = tuple[str, str]  # who, topic
Applied = tuple[int, str | None]  # offset, mark
Log = dict[int, str | None]  # offset: mark

NOWHERE: Final = "not in the log"
GRACE: Final = 5.0
"""Seconds after a revoking commit in which something may still arrive; more without Redis."""


@dataclass
class Verdict:
    """`lost`: (who, topic, offset) that the log holds and the client never applied. `phantom`: applied with other
    content than the log's row, or without one. `gaps`: places on the wire, within one connection, where an offset
    was left out. Times in seconds; latency is from just before the publishing call to the application, a silence, of who
    had to come back after a fault, from that fault to the next event."""

    lost: list[tuple[str, str, int]] = field(default_factory=list)
    dup_app: int = 0
    dup_wire: int = 0
    reordered: int = 0
    gaps: int = 0
    phantom: int = 0
    foreign: int = 0
    resets: int = 0
    applied: int = 0
    latencies: list[float] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (
            self.lost or self.dup_app or self.reordered or self.gaps or self.phantom or self.foreign
        )

    def latency(self, part: float) -> float:
        """Of so great a part of the deliveries at most; 0 when none was timed."""
        return _most_of(part, self.latencies)

    def silence(self, part: float) -> float:
        """The same of the silences."""
        return _most_of(part, self.silences)

    def __str__(self) -> str:
        faults = {
            "lost": len(self.lost),
            "doubled": self.dup_app,
            "reordered": self.reordered,
            "gaps": self.gaps,
            "phantom": self.phantom,
            "foreign": self.foreign,
        }
        said = [f"{count} {name}" for name, count in faults.items() if count] or ["K clean"]
        if self.lost:
            said.append(f"first lost {self.lost[:3]}")
        said.append(f"{self.applied} applied")
        if self.dup_wire:
            said.append(f"{self.dup_wire} repeats on the wire")
        if self.resets:
            said.append(f"{self.resets} resets")
        if self.latencies:
            said.append(f"p50 {self.latency(0.5):.3f} s, p99 {self.latency(0.99):.3f} s")
        if self.silences:
            n = len(self.silences)
            said.append(f"{n} silent after a fault, p99 {self.silence(0.99):.1f} s")
        return ", ".join(said)


def _most_of(part: float, values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def check(
    recorder: Recorder,
    owed: Mapping[str, Mapping[str, int]],
    *,
    published: Iterable[Line] = (),
    until: Mapping[tuple[str, str], float] | None = None,
    timed: Iterable[str] = (),
    grace: float = GRACE,
) -> Verdict:
    """`owed`: for each client the topics it may read and its first position in each.

    `published`: the writers' lines, whose `invoke` times are where latency begins, for clients whose name starts
    with one of `timed` (all when empty). `until`: when a client's right to a topic ended, on the recorder's clock;
    from then on it is owed nothing, and `grace` seconds later it may get nothing.
    """
    verdict = Verdict()
    ended = until or {}
    prefixes = tuple(timed)
    began = {
        mark: line["t"] for line in published if line["what"] == "invoke" for mark in line["marks"]
    }
    applied: dict[Key, list[Applied]] = defaultdict(list)
    wire: dict[Key, list[int]] = defaultdict(list)
    last: dict[str, dict[str, int]] = defaultdict(dict)
    skipped: dict[Key, int] = {}
    silent = _Silences()
    for line in recorder.lines():
        silent.hear(line)
        key = (line["who"], line.get("topic", ""))
        if line["what"] in {"wire", "applied"}:
            over = key in ended and line["t"] > ended[key] + grace
            if over or key[1] not in owed.get(key[0], {}):
                verdict.foreign += 1
        if line["what"] == "connected":
            last.pop(key[0], None)
        elif line["what"] == "wire":
            before = last[key[0]].get(key[1])
            verdict.gaps += before is not None and line["offset"] > before + 1
            last[key[0]][key[1]] = line["offset"]
            wire[key].append(line["offset"])
        elif line["what"] == "applied":
            applied[key].append((line["offset"], line["mark"]))
            if line["mark"] in began and (not prefixes or key[0].startswith(prefixes)):
                verdict.latencies.append(line["t"] - began[line["mark"]])
        elif line["what"] == "reset":
            verdict.resets += 1
            skipped[key] = max(skipped.get(key, 0), line["offset"])
            last[key[0]].pop(key[1], None)
    verdict.silences = silent.found
    log = _log({topic for topics in owed.values() for topic in topics})
    for who, topics in owed.items():
        for topic, first in topics.items():
            key = (who, topic)
            _judge(
                verdict,
                key,
                applied[key],
                log[topic],
                max(first, skipped.get(key, 0)),
                key in ended,
            )
            verdict.dup_wire += len(wire[key]) - len(set(wire[key]))
    return verdict


class _Silences:
    """From a fault until who lost its connection by it applies something again."""

    def __init__(self) -> None:
        self.found: list[float] = []
        self._fault: float | None = None
        self._since: dict[str, float] = {}
        self._over: dict[str, float] = {}

    def hear(self, line: Line) -> None:
        who = line["who"]
        if line["what"] == "fault":
            self._fault = line["t"]
        elif line["what"] == "connected" and self._fault not in {None, self._over.get(who)}:
            self._since.setdefault(who, self._fault)
        elif line["what"] == "applied" and who in self._since:
            self._over[who] = since = self._since.pop(who)
            self.found.append(line["t"] - since)


def _judge(
    verdict: Verdict, key: Key, applied: list[Applied], log: Log, first: int, may_lack: bool
) -> None:
    offsets = [offset for offset, _ in applied]
    seen = set(offsets)
    verdict.applied += len(offsets)
    verdict.dup_app += len(offsets) - len(seen)
    verdict.reordered += sum(b < a for a, b in itertools.pairwise(offsets))
    verdict.phantom += sum(log.get(offset, NOWHERE) != mark for offset, mark in applied)
    if not may_lack:
        verdict.lost += [(*key, offset) for offset in sorted(log.keys() - seen) if offset > first]


def _log(topics: set[str]) -> dict[str, Log]:
    rows: dict[str, Log] = {topic: {} for topic in topics}
    found = Event.objects.filter(topic__in=topics, offset__isnull=False)
    for topic, offset, raw in found.values_list("topic", "offset", "data"):
        assert offset is not None
        rows[topic][offset] = json.loads(raw).get("mark")
    return rows
