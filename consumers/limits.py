"""How much one connection may say."""

from __future__ import annotations

import time
from typing import Final

FRAMES_PER_SECOND: Final = 50
FRAME_WINDOW: Final = 10  # seconds over which that is an average
BAD_FRAMES: Final = 10
BAD_WINDOW: Final = 60  # seconds


class Allowance:
    """A bucket of `rate * window` that refills at `rate` a second."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, rate: float, window: float) -> None:
        self._rate = rate
        self._most = self._left = rate * window
        self._at = time.monotonic()

    def take(self) -> bool:
        """False: too fast."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def is_full(self) -> bool:
        """Nothing was taken for as long as it takes to refill."""
        return time.monotonic() - self._at > self._most / self._rate


class Strikes:
    """Counts what went wrong lately."""

    __slots__ = ("_most", "_times", "_window")

    def __init__(self, most: int, window: float) -> None:
        self._most = most
        self._window = window
        self._times: list[float] = []

    def strike(self) -> bool:
        """True: that was one too many."""
        now = time.monotonic()
        self._times = [*self._times, now][-self._most :]
        return len(self._times) == self._most and now - self._times[0] <= self._window
