"""What the readers of one process are owed, and what became of it: owed = delivered + dropped + pending, always.

A reading is one client's position in one topic. What a line hears of while a client reads it is owed to that client,
from its position on; each event of it is in the end delivered, which is written to the connection, or dropped for a
reason. Lines, positions and writers count independently of each other, and per batch, so that a delivery costs
nothing and an event that went missing between them shows.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from events.log import LoggedEvent

Reason = Literal["closed", "left", "revoked", "reset", "ended"]
"""Why something owed was not delivered: the connection ended first (the log keeps it, who comes back is owed it
anew), the client left the topic, lost the right to it, must fetch its state again, or the topic is no more."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds from an event's publication to its hand-over; one more bucket holds what took longer."""


class Ledger:
    """Plain numbers, touched by the loop's thread alone."""

    def __init__(self) -> None:
        self.owed = 0
        """Less what readers had from the log before their line heard of it (`Figures.of` adds that)."""
        self.delivered = 0
        self.dropped: Counter[str] = Counter()
        self.resets: Counter[str] = Counter()
        self.gaps = 0
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def drop(self, reason: Reason, n: int) -> None:
        if n:
            self.dropped[reason] += n

    def hand_over(self, events: Iterable[LoggedEvent]) -> None:
        """Note how long ago these were published."""
        now = time.time()
        for event in events:
            try:
                took = max(0.0, now - datetime.fromisoformat(event.at).timestamp())
            except ValueError:
                continue
            self.buckets[bisect_left(BUCKETS, took)] += 1
            self.seconds += took


@dataclass(frozen=True)
class Figures:
    """A process at one moment."""

    connections: Mapping[str, int] = field(default_factory=dict)  # by transport
    owed: int = 0
    delivered: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    pending: int = 0
    slow_now: int = 0
    """Connections that have no room right now."""
    gaps: int = 0
    resets: Mapping[str, int] = field(default_factory=dict)
    buckets: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    seconds: float = 0.0

    def __add__(self, other: Figures) -> Figures:
        """Both processes as one."""
        return Figures(
            connections=Counter(self.connections) + Counter(other.connections),
            owed=self.owed + other.owed,
            delivered=self.delivered + other.delivered,
            dropped=Counter(self.dropped) + Counter(other.dropped),
            pending=self.pending + other.pending,
            slow_now=self.slow_now + other.slow_now,
            gaps=self.gaps + other.gaps,
            resets=Counter(self.resets) + Counter(other.resets),
            buckets=tuple(map(sum, zip(self.buckets, other.buckets, strict=True))),
            seconds=self.seconds + other.seconds,
        )

    @property
    def balance(self) -> int:
        """0, or the account does not add up."""
        return self.owed - self.delivered - sum(self.dropped.values()) - self.pending
