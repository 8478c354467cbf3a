"""The output of a command as lines of text, and those of them that wait to be sent."""

from __future__ import annotations

import codecs
import threading
from collections import deque
from typing import Final

LINE_MOST: Final = 4000
"""Characters the hub keeps of one line; a longer one becomes several."""
UNSENT_MOST: Final = 1024 * 1024
"""Bytes of log kept while the hub is away."""


class LineCutter:
    """Bytes in, whole lines out. Of a line that was written over with carriage returns the last version counts."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""

    def feed(self, data: bytes) -> list[str]:
        *whole, begun = (self._begun + self._decoder.decode(data)).split("\n")
        if len(begun) > LINE_MOST:  # a progress bar, or a line without an end
            begun = begun.rpartition("\r")[2] or begun[-1]
            while len(begun) > LINE_MOST:
                whole.append(begun[:LINE_MOST])
                begun = begun[LINE_MOST:]
        self._begun = begun
        return [part for line in whole for part in _parts(line)]

    def end(self) -> list[str]:
        """What came after the last line feed."""
        rest = self._begun + self._decoder.decode(b"", final=True)
        self._begun = ""
        return _parts(rest) if rest else []


def _parts(line: str) -> list[str]:
    line = line.rstrip("\r").rpartition("\r")[2].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return [line[at : at + LINE_MOST] for at in range(0, len(line), LINE_MOST)] or [""]


class Backlog:
    """Lines on their way to the hub. When there are too many the oldest go, and a line says how many they were."""

    def __init__(self, most: int = UNSENT_MOST) -> None:
        self._most = most
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._lock = threading.Lock()
        self.size = 0

    def add(self, lines: list[str]) -> None:
        with self._lock:
            for line in lines:
                encoded = line.encode("utf-8", "replace") + b"\n"
                self._lines.append(encoded)
                self.size += len(encoded)
            while self.size > self._most:
                self.size -= len(self._lines.popleft())
                self._dropped += 1

    def take(self, most: int) -> str:
        """The oldest lines, at most so many bytes of them; empty when there are none."""
        with self._lock:
            taken = []
            if self._dropped:
                taken.append(
                    f"[hubctl: {self._dropped} lines are missing here: more came than could be sent]\n".encode()
                )
                self._dropped = 0
            room = most
            while self._lines and (len(self._lines[0]) <= room or room == most):
                room -= len(self._lines[0])
                taken.append(self._lines.popleft())
            self.size -= most - room
            return b"".join(taken).decode()
