"""The cursor: `epoch~topic:offset~topic:offset…`, one text that says how far a client has read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from events import log, topics

MAX_LENGTH: Final = 8 * 1024  # characters
_EPOCH: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_OFFSET: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_MOST: Final = 2**63 - 1


class BadCursor(ValueError):
    """The text is no cursor; says why."""


@dataclass(frozen=True)
class Cursor:
    epoch: str
    positions: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return log.write_cursor(self.epoch, self.positions)


def read(text: str) -> Cursor:
    """Raises BadCursor; a well-formed one may still name topics or offsets that do not exist."""
    if len(text) > MAX_LENGTH:
        raise BadCursor(f"cursor is longer than {MAX_LENGTH} characters.")
    epoch, *parts = text.split("~")
    if _EPOCH.fullmatch(epoch) is None:
        raise BadCursor("cursor must start with an epoch: epoch~topic:offset~topic:offset…")
    positions = {}
    for part in parts:
        topic, _, digits = part.rpartition(":")
        if topics.parse(topic) is None or _OFFSET.fullmatch(digits) is None:
            raise BadCursor(
                "cursor must read epoch~topic:offset~topic:offset…, offsets whole numbers."
            )
        if int(digits) > _MOST:
            raise BadCursor("an offset in the cursor is too large.")
        if topic in positions:
            raise BadCursor("a topic stands in the cursor twice.")
        positions[topic] = int(digits)
    return Cursor(epoch, positions)
