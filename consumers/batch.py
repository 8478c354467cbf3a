"""Poll and long poll answer with one JSON object; this collects what goes into it."""

from __future__ import annotations

import asyncio
from typing import Final

import orjson

from consumers.protocol import Close, Item, Reset, Revoked, Whisper, plain
from consumers.subscription import Subscription
from events.log import LoggedEvent

MOST_EVENTS: Final = 500


class Batch:
    """A sink that holds at most `MOST_EVENTS` events, and of whispers the latest of each topic, type and subject."""

    def __init__(self) -> None:
        self.ended: Close | None = None
        self.filled = asyncio.Event()
        self.whispered = asyncio.Event()
        self.more = False
        self._events: list[LoggedEvent] = []
        self._resets: list[Reset] = []
        self._revoked: list[Revoked] = []
        self._whispers: dict[tuple[str | None, str, object], Whisper] = {}

    def push(self, item: Item) -> bool:
        match item:
            case LoggedEvent():
                if len(self._events) >= MOST_EVENTS:
                    self.more = True
                    return False
                self._events.append(item)
            case Reset():
                self._resets.append(item)
            case Revoked():
                self._revoked.append(item)
            case Whisper():
                self._whispers[item.topic, item.type, item.data.get("id")] = item
                self.whispered.set()
                return True
        self.filled.set()
        return True

    def end(self, code: Close) -> None:
        self.ended = code
        self.filled.set()

    def encode(self, subscription: Subscription) -> bytes:
        parts = {
            "events": _array(self._events),
            "resets": _array(self._resets),
            "revoked": orjson.dumps([revoked.topic for revoked in self._revoked]).decode(),
            "whispers": _array(list(self._whispers.values())),
            "more": "true" if self.more else "false",
            "cursor": orjson.dumps(subscription.cursor()).decode(),
        }
        return ("{" + ",".join(f'"{name}":{value}' for name, value in parts.items()) + "}").encode()


def _array(items: list[LoggedEvent] | list[Reset] | list[Whisper]) -> str:
    return f"[{','.join(map(plain, items))}]"
