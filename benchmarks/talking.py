"""The load client of W5: people in rooms, who post and see their posts acknowledged and everybody's delivered.

`python -m benchmarks.talking PORT FILE`: each line of FILE is a JSON array `[path, header line, topic]`, one connection
of one person; all connect at once. Then each line of JSON on stdin is answered by one: `{"posts", "rate", "in_flight"}`
by figures. `rate` is in posts a second, room after room; 0: every room has `in_flight` on their way. It has
nothing of the hub's but its frames, and no library, so that it costs little.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
import sys
import time
import uuid
from itertools import groupby
from pathlib import Path
from typing import Any, Final

TOLD: Final = re.compile(rb'"body":"(\d+) (\d+) ')
ANSWERED: Final = re.compile(rb'"op":"reply","ref":"(\d+)","ok":(true|false)')
PADDING: Final = "x" * 40
LOST: Final = 10.0
"""Seconds without anything after which what is missing counts as lost."""


class Person(asyncio.Protocol):
    def __init__(self, talk: Talk, path: str, header: str, topic: str) -> None:
        self.topic = topic
        self.is_in = False
        self.heard: set[bytes] = set()
        self._talk = talk
        self._hello = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{talk.port}\r\n{header}\r\n"
            f"Origin: http://127.0.0.1:{talk.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        self._held = b""
        self._is_open = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._hello.encode())

    def post(self, number: int) -> None:
        frame = {
            "op": "post",
            "ref": str(number),
            "topic": self.topic,
            "client_id": str(uuid.uuid4()),
            "body": f"{number} {time.monotonic_ns()} {PADDING}",
        }
        self._say(1, json.dumps(frame).encode())

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        if not self._is_open:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._held = head
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                raise RuntimeError(f"refused: {head[:60]!r}")
            self._is_open = True
        while (cut := _frame(data)) is not None:
            opcode, payload, data = cut
            if opcode == 1:
                self._take(payload)
            elif opcode == 9:
                self._say(10, payload)
            elif opcode == 8:
                self._talk.gone += 1
        self._held = data

    def _take(self, payload: bytes) -> None:
        at = time.monotonic_ns()
        if not self.is_in and b'"op":"welcome"' in payload:
            self.is_in = True
        for number, ok in ANSWERED.findall(payload):
            self._talk.answered(int(number), at, ok == b"true")
        # The answer, which its author gets, holds the message, too.
        if not payload.startswith(b'{"op":"reply"'):
            for number, sent in TOLD.findall(payload):
                self._talk.told(self, number, int(sent), at)

    def _say(self, opcode: int, payload: bytes) -> None:
        """Masked with zeros, which is a mask like any other."""
        size = len(payload)
        length = struct.pack("!B", 0x80 | size) if size < 126 else struct.pack("!BH", 0xFE, size)
        self._transport.write(bytes([0x80 | opcode]) + length + bytes(4) + payload)


def _frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """The first whole frame, and what follows it."""
    if len(data) < 10 and (len(data) < 2 or len(data) < 2 + (data[1] & 127)):
        return None
    size, start = data[1] & 127, 2
    if size == 126:
        size, start = struct.unpack_from("!H", data, 2)[0], 4
    elif size == 127:
        size, start = struct.unpack_from("!Q", data, 2)[0], 10
    end = start + size
    return (data[0] & 15, data[start:end], data[end:]) if len(data) >= end else None


class Talk:
    def __init__(self, port: int) -> None:
        self.port = port
        self.gone = 0
        self._rooms: list[list[Person]] = []
        self._next = 1
        self._begin(0)

    async def come(self, lines: list[tuple[str, str, str]]) -> int:
        """How many are in."""
        loop = asyncio.get_running_loop()
        people = [Person(self, *line) for line in lines]
        for person in people:
            await loop.create_connection(lambda made=person: made, "127.0.0.1", self.port)  # type: ignore[misc]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            if all(person.is_in for person in people):
                break
        self._rooms = [list(some) for _, some in groupby(people, lambda person: person.topic)]
        return sum(person.is_in for person in people)

    async def talk(self, posts: int, rate: float, in_flight: int) -> dict[str, float]:
        cpu = time.process_time()
        self._begin(posts)
        began = time.monotonic()
        if rate:
            for number in range(posts):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                self._post()
        else:
            self._refills = True
            for _ in range(min(posts, in_flight * len(self._rooms))):
                self._post()
        owed = posts * len(self._rooms[0])
        while time.monotonic() < self._last + LOST:
            await asyncio.sleep(0.05)
            if len(self._delays) >= owed and len(self._answers) >= posts:
                break
        return {
            "posts": posts,
            "posts_per_s": posts / (self._last - began),
            "p50_ms": _part(self._delays, 0.5),
            "p99_ms": _part(self._delays, 0.99),
            "acknowledged_p50_ms": _part(self._answers, 0.5),
            "acknowledged_p99_ms": _part(self._answers, 0.99),
            "refused": posts - len(self._answers),
            "lost": owed - len(self._delays),
            "doubled": self._doubled,
            "gone": self.gone,
            "client_cpu_us_per_delivery": (time.process_time() - cpu) / max(1, owed) * 1e6,
        }

    def answered(self, number: int, at: int, is_stored: bool) -> None:
        sent = self._sent.pop(number)
        if is_stored:
            self._answers.append((at - sent) / 1e6)
        if self._refills and self._left:
            self._post()

    def told(self, person: Person, number: bytes, sent: int, at: int) -> None:
        if number in person.heard:
            self._doubled += 1
            return
        person.heard.add(number)
        self._delays.append((at - sent) / 1e6)
        self._last = time.monotonic()

    def _begin(self, posts: int) -> None:
        self._left = posts
        self._refills = False
        self._sent: dict[int, int] = {}
        self._answers: list[float] = []
        self._delays: list[float] = []
        self._doubled = 0
        self._last = time.monotonic()

    def _post(self) -> None:
        """In the next room, by whoever has not posted there for longest."""
        number, self._next = self._next, self._next + 1
        self._left -= 1
        turn, room = divmod(number, len(self._rooms))
        people = self._rooms[room]
        self._sent[number] = time.monotonic_ns()
        people[turn % len(people)].post(number)


def _part(values: list[float], part: float) -> float:
    return sorted(values)[int(len(values) * part)] if values else 0.0


async def main(port: int, lines: list[tuple[str, str, str]]) -> None:
    talk = Talk(port)
    print(await talk.come(lines), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await talk.talk(**json.loads(line))), flush=True)


if __name__ == "__main__":
    connections = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
    asyncio.run(main(int(sys.argv[1]), [json.loads(line) for line in connections]))
