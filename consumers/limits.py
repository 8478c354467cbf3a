"""How much one connection may say."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

FRAMES_PER_SECOND: Final = 50
FRAME_WINDOW: Final = 10  # seconds over which that is an average
BAD_FRAMES: Final = 10
BAD_WINDOW: Final = 60  # seconds


class Allowance:
    """A bucket of `rate * window` that refills at `rate` a second."""

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

    def __init__(self, most: int, window: float) -> None:
        self._window = window
        self._times: deque[float] = deque(maxlen=most)

    def strike(self) -> bool:
        """True: that was one too many."""
        now = time.monotonic()
        self._times.append(now)
        return len(self._times) == self._times.maxlen and now - self._times[0] <= self._window
