"""Poll and long poll answer with one JSON object; this collects what goes into it."""

from __future__ import annotations

import asyncio
from typing import Final

import orjson

from consumers.protocol import Close, Item, Reset, Revoked, Run, Whisper, plain
from consumers.subscription import Subscription
from events.log import LoggedEvent

MOST_EVENTS: Final = 500
MOST_BYTES: Final = 1024 * 1024
"""Of events in one answer; `more` says that there are more right now."""


class Batch:
    """A sink that holds at most `MOST_EVENTS` events, and of whispers the latest of each topic, type and subject."""

    transport = "long poll"

    def __init__(self) -> None:
        self.ended: Close | None = None
        self.filled = asyncio.Event()
        self.whispered = asyncio.Event()
        self.more = False
        self._events: list[LoggedEvent] = []
        self._resets: list[Reset] = []
        self._revoked: list[Revoked] = []
        self._whispers: dict[tuple[str | None, str, str], Whisper] = {}
        self._bytes = 0
        self._on_its_way = 0

    def push(self, item: Item) -> bool:
        match item:
            case LoggedEvent():
                size = len(item.json)
                if self._events and (
                    len(self._events) >= MOST_EVENTS or self._bytes + size > MOST_BYTES
                ):
                    self.more = True
                    return False
                self._events.append(item)
                self._bytes += size
            case Reset():
                self._resets.append(item)
            case Revoked():
                self._revoked.append(item)
            case Whisper():
                self._whispers[item.topic, item.type, str(item.data.get("id"))] = item
                self.whispered.set()
                return True
        self.filled.set()
        return True

    def push_run(self, run: Run) -> bool:
        return False  # event by event: an answer holds so many at most

    def drop(self, topic: str | None = None) -> int:
        before = len(self._events)
        self._events = [event for event in self._events if topic and event.topic != topic]
        self._whispers = {
            key: whisper for key, whisper in self._whispers.items() if topic and key[0] != topic
        }
        return before - len(self._events)

    def queued(self) -> int:
        return len(self._events) + self._on_its_way

    def end(self, code: Close) -> None:
        self.ended = code
        self.filled.set()

    def encode(self, subscription: Subscription) -> bytes:
        """The answer. What comes from here on is not in it."""
        parts = {
            "events": _array(self._events),
            "resets": _array(self._resets),
            "revoked": orjson.dumps([revoked.topic for revoked in self._revoked]).decode(),
            "whispers": _array(list(self._whispers.values())),
            "more": "true" if self.more else "false",
            "cursor": orjson.dumps(subscription.cursor()).decode(),
        }
        self._on_its_way, self._events = len(self._events), []
        return ("{" + ",".join(f'"{name}":{value}' for name, value in parts.items()) + "}").encode()

    def written(self) -> int:
        """The answer is written. Returns how many events it held."""
        events, self._on_its_way = self._on_its_way, 0
        return events


def _array(items: list[LoggedEvent] | list[Reset] | list[Whisper]) -> str:
    return f"[{','.join(map(plain, items))}]"
