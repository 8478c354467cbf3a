"""`hubctl listen`: events as they come, over cuts and restarts."""

from __future__ import annotations

import json
import os
import random
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from hubctl import client
from hubctl.client import Hub
from hubctl.errors import Away, Refused, Unusable
from hubctl.sse import Block, blocks
from hubctl.terminal import local_time, out, out_json, printable, warn

PAUSE_MOST: Final = 20.0
STEADY: Final = 30.0
"""Seconds of life after which the pauses begin anew."""
SILENCE: Final = 40.0
"""Seconds: a comment comes every 15."""


@dataclass(frozen=True)
class Listening:
    topics: list[str]
    as_json: bool
    whispers: bool
    cursor_file: Path | None


def listen(hub: Hub, wanted: Listening) -> int:
    """Until it is stopped, or refused for good."""
    ear = _Ear(wanted)
    failures = 0
    while True:
        began = time.monotonic()
        pause: float | None = None
        try:
            ear.listen(hub)
            trouble = "the stream has ended"
        except httpx.HTTPError as error:
            trouble = str(client.away(error, hub.url))
        except Away as error:
            trouble, pause = str(error), error.retry_after
        if time.monotonic() - began >= STEADY:
            failures = 0
        if failures == 1:  # a restart of the hub is no news
            warn(f"{trouble}; trying on")
        if pause is None:
            pause = random.uniform(0, min(PAUSE_MOST, 0.5 * 2**failures))  # noqa: S311
        failures += 1
        time.sleep(pause)


class _Ear:
    def __init__(self, wanted: Listening) -> None:
        self._wanted = wanted
        self._left = set(wanted.topics)
        self._file = wanted.cursor_file
        self._cursor = _read(self._file) if self._file else None

    def listen(self, hub: Hub) -> None:
        """One connection, from where the last one ended."""
        with hub.stream(self._wanted.topics, self._cursor, SILENCE) as response:
            if response.status_code != 200:
                response.read()
                raise client.refusal(response)
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise Refused(f"what answers at {hub.url} is not the hub: check HUB_URL", 200)
            for block in blocks(response.iter_bytes()):
                if block.data:
                    self._take(block)
                if block.id:
                    self._go_on_from(block.id)

    def _take(self, block: Block) -> None:
        if block.event == "whisper" and not self._wanted.whispers:
            return
        what = json.loads(block.data)
        if self._wanted.as_json:
            out_json({"op": block.event, **what})
        else:
            out(_line(block.event, what))
        if block.event == "revoked":
            self._left.discard(what["topic"])
            if self._wanted.topics and not self._left:
                raise Refused(
                    "none of these topics exists for you: there is nothing to listen to", 403
                )

    def _go_on_from(self, cursor: str) -> None:
        """Only after what lies before it is printed: after a crash it is printed twice rather than never."""
        self._cursor = cursor
        if self._file:
            _write(self._file, cursor)


def _line(op: str, what: dict[str, Any]) -> str:
    topic = printable(str(what.get("topic", "")))
    if op == "reset":
        return (
            f"reset {topic} ({what['reason']}): what happened before offset {what['offset']} can't be told;"
            " look at its present state"
        )
    if op == "revoked":
        return f"revoked {topic}: it does not exist for you, or no longer"
    data = json.dumps(what["data"], ensure_ascii=False)
    at = local_time(what["at"]) if "at" in what else "whisper"
    return printable(f"{at}  {topic}  {what['type']}  {data}")


def _read(path: Path) -> str | None:
    try:
        cursor = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unusable(f"the cursor file {path} can't be read: {error.strerror}") from None
    if not re.fullmatch(r"[!-~]*", cursor):
        raise Unusable(f"{path} holds no cursor: remove it to begin from now")
    return cursor or None


def _write(path: Path, cursor: str) -> None:
    """At once or not at all."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8"
        ) as new:
            new.write(f"{cursor}\n")
        os.replace(new.name, path)  # noqa: PTH105 - as the pair of the line above
    except OSError as error:
        raise Unusable(f"the cursor file {path} can't be written: {error.strerror}") from None
