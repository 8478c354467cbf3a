"""E80, E83, E84: who does not read, who shouts, who sends more than there is room for. Nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest
import websockets
from django.db import connection

from consumers import outbox
from consumers.database import in_database
from events import log
from events.models import Event
from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY
from tests.faults.rig import Rig, rig
from tests.faults.test_delivery import published
from tests.faults.test_fuzz import GOOD, PATIENCE, a_key, beside, frame, handshake, upgrade

MB: Final = 2**20
RATE: Final = 100
SIZE: Final = 2048
SLOW: Final = 50
HEALTHY: Final = 200
GROWTH: Final = 2 * MB
"""For each who does not read: 100 MB for 50."""

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(1800)]


# --- E80: slow readers ----------------------------------------------------------------------------------------------


@dataclass
class Sleeper:
    """A socket with a receive buffer of 4 KiB that stops reading after its welcome."""

    socket: websockets.ClientConnection
    cursor: str
    first: int


async def fall_asleep(hub: Rig, headers: dict[str, str]) -> Sleeper:
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", hub.servers[0].port))
    opened = await websockets.connect(
        f"ws{hub.url.removeprefix('http')}/ws/groups/dashboard/",
        sock=plain,
        additional_headers=headers,
        compression=None,
        max_queue=1,
        ping_interval=None,
        close_timeout=0.1,
    )
    welcome = json.loads(await opened.recv())
    opened.transport.pause_reading()
    return Sleeper(opened, welcome["cursor"], welcome["offsets"][EVERYBODY])


async def wake(hub: Rig, sleeper: Sleeper, headers: dict[str, str], head: int) -> list[int]:
    """The offsets that it gets when it comes back with its cursor."""
    found: list[int] = []
    async with websockets.connect(
        f"ws{hub.url.removeprefix('http')}/ws/groups/dashboard/?cursor={sleeper.cursor}",
        additional_headers=headers,
        max_size=None,
    ) as opened:
        async with asyncio.timeout(60):
            while sleeper.first + len(found) < head:
                value = json.loads(await opened.recv())
                found += [
                    one["offset"]
                    for one in (value if isinstance(value, list) else [value])
                    if one["op"] == "event"
                ]
    return found


class Reader(asyncio.Protocol):
    """Somebody who reads all there is, as cheaply as Python can: 20,000 frames a second must not be what is slow."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._request = handshake({**GOOD, **headers}, line="GET /ws/groups/dashboard/ HTTP/1.1")
        self._left = b""
        self._is_open = False
        self.first = -1
        self.got: list[tuple[int, str]] = []
        """Offset and mark of each event."""
        self.times: list[float] = []

    @property
    def position(self) -> int:
        return self.got[-1][0] if self.got else self.first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        left = self._left + data
        at = 0
        if not self._is_open:
            head, found, left = left.partition(b"\r\n\r\n")
            if not found:
                self._left = head
                return
            assert head.startswith(b"HTTP/1.1 101 "), head
            self._is_open = True
        while len(left) >= at + 2:
            length, begin = left[at + 1], at + 2
            if length >= 126:
                wide = 2 if length == 126 else 8
                begin += wide
                if len(left) < begin:
                    break
                length = int.from_bytes(left[begin - wide : begin])
            if len(left) < begin + length:
                break
            self._hear(left[at] & 15, left[begin : begin + length], now)
            at = begin + length
        self._left = left[at:]

    def _hear(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == 9:
            self.transport.write(frame(payload, opcode=10))
        if opcode != 1:
            return
        value = json.loads(payload)
        for said in value if isinstance(value, list) else [value]:
            if said["op"] == "welcome":
                self.first = said["offsets"][EVERYBODY]
            elif said["op"] == "event" and said["topic"] == EVERYBODY:
                self.got.append((said["offset"], said["data"]["mark"]))
                self.times.append(now)


@contextlib.asynccontextmanager
async def reading(hub: Rig, n: int) -> AsyncIterator[list[Reader]]:
    """So many of them, each its own person, all welcomed."""
    loop = asyncio.get_running_loop()
    port = hub.servers[0].port
    assert port is not None
    readers = []
    for _ in range(n):
        made = partial(Reader, await a_key())
        readers.append((await loop.create_connection(made, "127.0.0.1", port))[1])
    try:
        async with asyncio.timeout(60):
            while any(reader.first < 0 for reader in readers):
                await asyncio.sleep(0.05)
        yield readers
    finally:
        for reader in readers:
            reader.transport.abort()


async def level(readers: list[Reader]) -> int:
    """Wait until everybody has all that the log holds, 30 s at most; its head."""
    until = time.monotonic() + 30
    while True:
        is_numbered = not await in_database(Event.objects.filter(offset=None).exists)
        head = (await in_database(log.heads, [EVERYBODY]))[EVERYBODY]
        is_level = is_numbered and all(reader.position >= head for reader in readers)
        if is_level or time.monotonic() > until:
            return head
        await asyncio.sleep(0.1)


def marks_of_everybody(after: int) -> list[tuple[int | None, str]]:
    rows = Event.objects.filter(topic=EVERYBODY).exclude(offset__lte=after).order_by("offset")
    return [
        (offset, json.loads(data)["mark"]) for offset, data in rows.values_list("offset", "data")
    ]


@dataclass
class Slowness:
    grown: int = 0
    closed: int = 0
    dirty: int = 0
    p99: float = 0.0
    clean: bool = True

    def __str__(self) -> str:
        return (
            f"RSS +{self.grown / MB:.0f} MB, {self.closed} closed by 4408, {self.dirty} not clean after they came back,"
            f" healthy p99 {self.p99:.3f} s"
        )


async def slow_readers(
    part: float, seconds: float, *, fast: bool = True, planted: str = ""
) -> Slowness:
    """Events of 2 KB at 100 a second for so long, while some don't read; `fast`: with the server's fast writer."""
    found = Slowness()
    slow, healthy = sleepers_of(part), max(10, round(HEALTHY * part))
    with rig(planted=planted, env={"HUB_FAST_WRITER": str(int(fast))}) as hub:
        keys = [await a_key() for _ in range(slow)]
        async with reading(hub, healthy) as readers:
            sleepers = [await fall_asleep(hub, headers) for headers in keys]
            before = grown = hub.resident()

            async def watch() -> None:
                nonlocal grown
                while True:
                    grown = max(grown, await asyncio.to_thread(hub.resident))
                    await asyncio.sleep(0.2)

            watching = asyncio.create_task(watch())
            lines = await published(
                hub, "stream", topics=[EVERYBODY], n=round(seconds * RATE), rate=RATE, size=SIZE
            )
            head = await level(readers)
            if seconds > outbox.STUCK:
                await settled(hub, slow)
            watching.cancel()
            found.grown = grown - before
            found.closed = round(hub.metrics()['hub_refusals_total{reason="slow_reader"}'])
            for sleeper in sleepers:
                sleeper.socket.transport.abort()
            if not planted:
                for sleeper, headers in zip(sleepers, keys, strict=True):
                    offsets = await wake(hub, sleeper, headers, head)
                    found.dirty += offsets != list(range(sleeper.first + 1, head + 1))
        owed = await in_database(marks_of_everybody, min(reader.first for reader in readers))
        found.clean = all(
            reader.got
            == [(offset, mark) for offset, mark in owed if offset is None or offset > reader.first]
            for reader in readers
        )
        began = {
            mark: line["t"] for line in lines if line["what"] == "invoke" for mark in line["marks"]
        }
        times = sorted(
            when - began[mark]
            for reader in readers
            for (_, mark), when in zip(reader.got, reader.times, strict=True)
        )
        found.p99 = times[int(0.99 * len(times))]
    return found


def sleepers_of(part: float) -> int:
    return max(10, round(SLOW * part))


async def settled(hub: Rig, slow: int) -> None:
    """Wait until all of them are closed; whether they were is asked afterwards."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(outbox.STUCK + 10):
            while hub.metrics()['hub_refusals_total{reason="slow_reader"}'] < slow:
                await asyncio.sleep(0.5)


@pytest.mark.experiment("E80")
@pytest.mark.parametrize("fast", [True, False], ids=["fast_writer", "plain_writer"])
async def test_who_does_not_read_costs_little_and_is_closed(
    fast: bool, counted: Callable[..., int], in_full: bool, report: Report
):
    part = counted(100) / 100
    found = await slow_readers(part, 60 if in_full else outbox.STUCK + 4, fast=fast)
    slow = sleepers_of(part)
    report(n=slow, worst=str(found))
    assert found.clean
    assert found.grown <= slow * GROWTH, found
    assert found.closed == slow, found
    assert not found.dirty, found
    if in_full:
        assert found.p99 <= 1.0, found


@pytest.mark.experiment("E80")
@pytest.mark.skipif(connection.vendor != "sqlite", reason="no database is in it: it runs once")
async def test_buffers_without_bounds_are_noticed(
    counted: Callable[..., int], in_full: bool, report: Report
):
    part = counted(100) / 100
    seconds = 60 if in_full else outbox.STUCK + 4
    found = await slow_readers(part, seconds, planted="unbounded_buffers")
    slow = sleepers_of(part)
    caught = found.closed < slow or found.grown > slow * GROWTH
    report(control="unbounded_buffers", caught=caught, n=slow, worst=str(found))
    assert caught, found


# --- E83: who shouts --------------------------------------------------------------------------------------------------


async def post(shouting: websockets.ClientConnection) -> None:
    said = {"op": "post", "topic": "room.1", "client_id": "x", "body": "x" * 60_000}
    await shouting.send(json.dumps(said))


async def ping(shouting: websockets.ClientConnection) -> None:
    await shouting.ping(secrets.token_bytes(125))


@pytest.mark.experiment("E83")
@pytest.mark.parametrize("shout", [post, ping])
async def test_who_shouts_is_closed_and_nobody_else_is_cut(
    shout: Callable[[websockets.ClientConnection], Awaitable[None]],
    counted: Callable[..., int],
    in_full: bool,
    report: Report,
):
    seconds = 30 if in_full else 8
    closed: dict[int, int] = {}
    sent = 0
    others = counted(50, least=10)
    with rig() as hub:
        headers = await a_key()
        address = f"ws{hub.url.removeprefix('http')}/ws/"
        async with beside(hub) as bystander, asyncio.TaskGroup() as group:
            quiet = [
                await websockets.connect(address, additional_headers=await a_key())
                for _ in range(others)
            ]
            reading = [group.create_task(read_on(one)) for one in quiet]
            before = grown = hub.resident()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                try:
                    async with websockets.connect(
                        address, additional_headers=headers, compression=None, max_queue=None
                    ) as shouting:
                        while time.monotonic() < until:
                            await shout(shouting)
                            sent += 1
                            grown = max(grown, hub.resident())
                except websockets.ConnectionClosed as gone:
                    code = gone.rcvd.code if gone.rcvd else 1006
                    closed[code] = closed.get(code, 0) + 1
            cut = sum(one.close_code is not None for one in quiet)
            for task in reading:
                task.cancel()
            for one in quiet:
                one.transport.abort()
        refusals = hub.metrics()['hub_refusals_total{reason="frame_rate"}']
    worst = (
        f"RSS +{(grown - before) / MB:.0f} MB, {sent} messages, closed {closed}, {refusals:.0f} refused by 4429,"
        f" {cut} of {others} others cut, slowest ping beside {bystander.slowest:.2f} s"
    )
    report(n=sent, worst=worst)
    assert refusals >= 1, worst
    assert closed.keys() <= {4429, 1006}, (
        worst
    )  # who is still sending may meet a reset before it reads why
    assert closed.get(4429) or shout is ping, worst  # what it sends meanwhile is not even read
    assert cut == 0, worst
    assert grown - before <= 64 * MB, worst


async def read_on(one: websockets.ClientConnection) -> None:
    async for _ in one:
        pass


# --- E84: more than there is room for ---------------------------------------------------------------------------------


def one_frame() -> list[bytes]:
    return [frame(b"", length=50 * MB), *[os.urandom(MB)] * 50]


def fragments() -> list[bytes]:
    piece = frame(b"x" * 1024, opcode=0, fin=False)
    return [frame(b"x" * 1024, fin=False), *[piece * 100] * 500]


def a_header() -> list[bytes]:
    return [frame(b"", length=2**62), *[b"x" * MB] * 50]


@pytest.mark.experiment("E84", quick=True)
@pytest.mark.parametrize("pieces", [one_frame, fragments, a_header])
async def test_more_than_there_is_room_for_is_dropped(
    pieces: Callable[[], list[bytes]], report: Report
):
    async with asyncio.timeout(60):
        with rig() as hub:
            headers = await a_key()
            for _ in range(3):  # what every connection costs once is there
                _, writer = await upgrade(hub, headers)
                writer.transport.abort()
            async with beside(hub) as bystander:
                await asyncio.sleep(0.5)
                before = grown = hub.resident()
                sending = pieces()
                reader, writer = await upgrade(hub, headers)
                closing = asyncio.create_task(close_code(reader))
                try:
                    for piece in sending:
                        writer.write(piece)
                        await writer.drain()
                        grown = max(grown, hub.resident())
                except OSError:
                    pass  # cut off meanwhile
                code = await closing
                writer.transport.abort()
            refusals = hub.metrics()['hub_refusals_total{reason="frame_size"}']
    worst = f"RSS +{(grown - before) / MB:.1f} MB, closed {code}, slowest ping beside {bystander.slowest:.2f} s"
    report(n=1, worst=worst)
    assert refusals == 1
    assert code in {1009, 4413, 1006}, worst
    assert grown - before <= 8 * MB, worst


async def close_code(reader: asyncio.StreamReader) -> int:
    """The code of the first closing frame; 1006 when there was none."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                first, second = await reader.readexactly(2)
                length = second & 127
                if length == 126:
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                elif length == 127:
                    (length,) = struct.unpack("!Q", await reader.readexactly(8))
                payload = await reader.readexactly(length)
                if first & 15 == 8:
                    return int(struct.unpack("!H", payload[:2])[0])
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return 1006
