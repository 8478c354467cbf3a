"""E90 and its neighbours: nothing that can be sent to the real server makes it fail, or disturbs who is beside.

What is malformed is made from one seed, so that a failure can be sent again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import websockets
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accounts.authenticate import make_key
from consumers import protocol
from consumers.database import in_database
from consumers.limits import BAD_FRAMES
from tests.faults.conftest import Report
from tests.faults.rig import Rig, rig
from tests.live import newcomer

SEED: Final = 20260190
AT_ONCE: Final = 20
PATIENCE: Final = 20.0

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(1800)]


# --- a healthy client beside ------------------------------------------------------------------------------------


@dataclass
class Bystander:
    """Pings over one socket all the while."""

    replies: int = 0
    slowest: float = 0.0
    lost: str = ""


@asynccontextmanager
async def beside(hub: Rig) -> AsyncIterator[Bystander]:
    """Somebody whose socket must live through it all; what the server said is asked at the end."""
    process = hub.servers[0].process
    assert process is not None
    bystander = Bystander()
    async with websockets.connect(
        f"ws{hub.url.removeprefix('http')}/ws/", additional_headers=await a_key()
    ) as socket:
        pinging = asyncio.create_task(keep_pinging(socket, bystander))
        yield bystander
        pinging.cancel()
        await asyncio.gather(pinging, return_exceptions=True)
    said = hub.servers[0].said()
    assert "Traceback" not in said, said[said.index("Traceback") - 500 :][:5000]
    assert '"level": "error"' not in said.lower(), said[-3000:]
    assert "Unhandled" not in said, said[-3000:]
    assert process.poll() is None
    assert not bystander.lost, bystander
    assert bystander.replies > 0


async def keep_pinging(socket: websockets.ClientConnection, bystander: Bystander) -> None:
    loop = asyncio.get_running_loop()
    try:
        while True:
            asked = loop.time()
            await socket.send('{"op":"ping","ref":"beside"}')
            while '"beside"' not in str(await socket.recv()):
                pass
            bystander.replies += 1
            bystander.slowest = max(bystander.slowest, loop.time() - asked)
            await asyncio.sleep(0.1)
    except websockets.ConnectionClosed as closed:
        bystander.lost = str(closed)


async def a_key() -> dict[str, str]:
    user = await in_database(newcomer)
    return {"Authorization": f"Bearer {(await in_database(make_key, user, 'fuzz'))[1]}"}


# --- E90: what a client says ------------------------------------------------------------------------------------

_words: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True),
    st.text(max_size=30),
    st.sampled_from(["room.1", "user.1", "group.dashboard", "x~room.1:1", "\x00", "\ud800"]),
)
_values: Final = st.recursive(
    _words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
_FIELDS: Final = ["topic", "cursor", "client_id", "body", "offset", "value", "ref", "present"]
_frames: Final = st.one_of(
    st.text(max_size=200),
    st.binary(max_size=200),
    _values,
    st.fixed_dictionaries(
        {"op": st.sampled_from([*protocol.FROM_CLIENT, "", "welcome", "event"]) | _values},
        optional=dict.fromkeys(_FIELDS, _values),
    ),
    st.integers(1, 5000).map(lambda depth: "[" * depth),
    st.integers(1, 3000).map(
        lambda digits: '{"op":"read","topic":"room.1","offset":' + "9" * digits + "}"
    ),
)


def as_sent(frame: Any) -> str | bytes:
    if isinstance(frame, str):
        return frame.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(frame, bytes):
        return frame
    return json.dumps(frame)


def malformed(n: int) -> list[str | bytes]:
    """So many of what hypothesis thinks of, the same on every run."""
    found: list[str | bytes] = []

    @settings(
        max_examples=n,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_frames)
    def think(frame: Any) -> None:
        found.append(as_sent(frame))

    think()
    return [found[number % len(found)] for number in range(n)]


@dataclass
class Answers:
    sent: int = 0
    replies: int = 0
    closed: dict[int, int] = field(default_factory=dict)
    silent: list[str | bytes] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.sent} sent, {self.replies} answered, closed {self.closed}, unanswered {len(self.silent)}"


def has_no_reply(frame: str | bytes) -> bool:
    """`typing` and `visible` have none when they are right."""
    try:
        return isinstance(frame, str) and protocol.parse(frame).op in {"typing", "visible"}
    except protocol.BadFrame:
        return False


async def talk(hub: Rig, frames: list[str | bytes], answers: Answers) -> None:
    """Each frame is followed by a ping of ours: what came before its reply is the answer to the frame."""
    left = iter(frames)
    headers = await a_key()
    frame = next(left, None)
    while frame is not None:
        async with websockets.connect(
            f"ws{hub.url.removeprefix('http')}/ws/me/",
            additional_headers=headers,
            max_size=None,
            compression=None,
        ) as socket:
            await socket.recv()
            try:
                while frame is not None:
                    answers.sent += 1
                    await socket.send(frame)
                    await socket.send('{"op":"ping","ref":"after-it"}')
                    answered = 0
                    async with asyncio.timeout(PATIENCE):
                        while '"after-it"' not in (said := str(await socket.recv())):
                            answered += '"reply"' in said
                    answers.replies += answered
                    if not answered and not has_no_reply(frame):
                        answers.silent.append(frame)
                    frame = next(left, None)
            except websockets.ConnectionClosed:
                code = socket.close_code or 1006
                answers.closed[code] = answers.closed.get(code, 0) + 1
                frame = next(left, None)


@pytest.mark.experiment("E90", quick=True)
async def test_whatever_a_client_says_is_answered_or_closed_with_4400(
    counted: Callable[..., int], report: Report
):
    frames = malformed(counted(10_000))
    answers = Answers()
    with rig() as hub:
        async with beside(hub) as bystander:
            await asyncio.gather(
                *(talk(hub, frames[at::AT_ONCE], answers) for at in range(AT_ONCE))
            )
    report(n=answers.sent, worst=f"{answers}; slowest ping beside {bystander.slowest:.2f} s")
    assert answers.sent == len(frames)
    assert not answers.silent, answers.silent[:5]
    assert answers.closed.keys() <= {4400}, answers
    assert answers.closed.get(4400, 0) >= answers.sent // (BAD_FRAMES * 3)


# --- bytes of WebSocket frames ------------------------------------------------------------------------------------


def frame(
    payload: bytes,
    opcode: int = 1,
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: int | None = None,
    form: int = 0,
    mask: bytes = b"mask",
) -> bytes:
    """One frame, as wrong as it is asked for. `form`: 126 or 127 where the length is written longer than it must be."""
    announced = len(payload) if length is None else length
    head = bytes([fin << 7 | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    if form == 127 or announced > 0xFFFF:
        head += bytes([bit | 127]) + struct.pack("!Q", announced & (2**64 - 1))
    elif form == 126 or announced > 125:
        head += bytes([bit | 126]) + struct.pack("!H", announced)
    else:
        head += bytes([bit | announced])
    if not masked:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


PING: Final = b'{"op":"ping"}'
BAD_UTF8: Final = [
    b"\xff",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    PING + b"\x80",
]
FRAMES: Final[list[Callable[[random.Random], bytes]]] = [
    lambda dice: frame(PING, masked=False),
    lambda dice: frame(PING, reserved=dice.randint(1, 7)),
    lambda dice: frame(PING, opcode=dice.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])),
    lambda dice: frame(PING, form=dice.choice([126, 127])),
    lambda dice: frame(PING, length=dice.choice([2**16, 2**24, 2**31, 2**32, 2**62])),
    lambda dice: frame(PING, length=2**63 + dice.randint(0, 2**62)),
    lambda dice: frame(PING, length=0),
    lambda dice: frame(PING)[: dice.randint(1, 18)],
    lambda dice: frame(b"x", opcode=dice.choice([8, 9, 10]), fin=False),
    lambda dice: frame(b"x" * dice.randint(126, 300), opcode=dice.choice([8, 9, 10])),
    lambda dice: frame(dice.choice(BAD_UTF8)),
    lambda dice: frame(b"\xe2", fin=False) + frame(b"\x28", opcode=0),
    lambda dice: frame(PING, opcode=0),
    lambda dice: frame(PING, opcode=0, fin=False) * dice.randint(1, 5),
    lambda dice: frame(b"{", fin=False) + frame(b"}"),
    lambda dice: frame(b"", fin=False) + frame(b"", opcode=0, fin=False) * dice.randint(1, 200),
    lambda dice: frame(b"{", fin=False) + frame(b"p", opcode=9) + frame(b"x", opcode=0),
    lambda dice: frame(b"\x03", opcode=8),
    lambda dice: frame(
        struct.pack("!H", dice.choice([0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])), 8
    ),
    lambda dice: frame(struct.pack("!H", 1000) + b"\xff\xfe", opcode=8),
    lambda dice: frame(struct.pack("!H", 1000), opcode=8) + frame(PING) * 3,
    lambda dice: frame(struct.pack("!H", 1000), opcode=8) * 3,
    lambda dice: frame(b"x", opcode=10) * dice.randint(1, 20),
    lambda dice: frame(PING, opcode=2),
    lambda dice: frame(b"x" * (protocol.MAX_FRAME + dice.randint(1, 1000))),
    lambda dice: dice.randbytes(dice.randint(1, 300)),
    lambda dice: changed(frame(PING) * 3, dice),
    lambda dice: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    lambda dice: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


def changed(good: bytes, dice: random.Random) -> bytes:
    bad = bytearray(good)
    for _ in range(dice.randint(1, 4)):
        bad[dice.randrange(len(bad))] = dice.randrange(256)
    return bytes(bad)


async def upgrade(
    hub: Rig, headers: dict[str, str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket by hand, just past the handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.servers[0].port)
    writer.write(handshake({**GOOD, **headers}))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return reader, writer


async def throw(hub: Rig, headers: dict[str, str], wrong: bytes, dice: random.Random) -> None:
    """Send it, in one piece or in two; then go, politely or not, at once or when the server has gone."""
    reader, writer = await upgrade(hub, headers)
    try:
        at = dice.randint(0, len(wrong))
        writer.write(wrong[:at])
        await writer.drain()
        writer.write(wrong[at:])
        await writer.drain()
        if dice.random() < 0.3:
            writer.write_eof()
        if dice.random() < 0.7:
            async with asyncio.timeout(dice.random() * 0.1):
                while await reader.read(65536):
                    pass
    except (OSError, TimeoutError):
        pass
    finally:
        writer.transport.abort()


async def throw_all(hub: Rig, n: int, one: Callable[[int], Any]) -> None:
    numbers = iter(range(n))

    async def keep_throwing() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(keep_throwing() for _ in range(AT_ONCE)))


@pytest.mark.experiment("E90", quick=True)
async def test_malformed_frames_of_bytes_end_their_own_connection_alone(
    counted: Callable[..., int], report: Report
):
    n, dice = counted(10_000, least=3 * len(FRAMES)), random.Random(SEED)
    with rig() as hub:
        async with beside(hub) as bystander:
            people = [await a_key() for _ in range(AT_ONCE)]

            async def one(number: int) -> None:
                wrong = FRAMES[number % len(FRAMES)](dice)
                await throw(hub, people[number % AT_ONCE], wrong, dice)

            await throw_all(hub, n, one)
            await emptied(hub, but=1)
    report(n=n, worst=f"0 tracebacks, slowest ping beside {bystander.slowest:.2f} s", seed=SEED)


async def emptied(hub: Rig, but: int) -> None:
    """Nobody is left in the server's books; who fell silent in the middle of a frame has been cut from our end."""
    async with asyncio.timeout(PATIENCE):
        while connections(hub) != but:
            await asyncio.sleep(0.1)


def connections(hub: Rig) -> float:
    """Over all transports."""
    found = hub.metrics().items()
    return sum(value for name, value in found if name.startswith("hub_connections{"))


# --- bytes of handshakes ------------------------------------------------------------------------------------------

GOOD: Final[dict[str, str]] = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
    "Sec-WebSocket-Version": "13",
}


def handshake(headers: dict[str, str], line: str = "GET /ws/ HTTP/1.1", end: str = "\r\n") -> bytes:
    text = line + end + "".join(f"{name}: {value}{end}" for name, value in headers.items()) + end
    return text.encode("latin-1")


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in GOOD.items() if key != name}


def pick(*values: str) -> Callable[[random.Random], str]:
    return lambda dice: dice.choice(values)


_odd: Final = pick(
    "", " ", "\x00", "\xff" * 20, ",", "x" * 5000, "a\tb", "%00", "é", "websocket, h2c"
)
_lines: Final = pick(
    "GET /ws/ HTTP/1.0",
    "GET /ws/ HTTP/9.9",
    "GET /ws/",
    "POST /ws/ HTTP/1.1",
    "get /ws/ HTTP/1.1",
    "CONNECT localhost:80 HTTP/1.1",
    "GET  /ws/  HTTP/1.1",
    "GET /ws/\x00 HTTP/1.1",
    "GET /ws/\xff\xfe HTTP/1.1",
    "GET http://evil.example/ws/ HTTP/1.1",
    "GET //ws/ HTTP/1.1",
    "GET /ws/../ws/me/ HTTP/1.1",
    "GET /ws/%ff%00%2e HTTP/1.1",
    "GET /ws/rooms/99999999999999999999999999/ HTTP/1.1",
    "GET /ws/jobs/none/ HTTP/1.1",
    "GET /ws/?topics=%ff&cursor=%00 HTTP/1.1",
    "GET /ws/?cursor=" + "x" * 9000 + " HTTP/1.1",
    "GET /nowhere/ HTTP/1.1",
    "GET * HTTP/1.1",
    " ",
    "\x00\x01\x02",
)
HANDSHAKES: Final[list[Callable[[random.Random], bytes]]] = [
    lambda dice: handshake(without(dice.choice(list(GOOD)))),
    lambda dice: handshake({**GOOD, dice.choice(list(GOOD)): _odd(dice)}),
    lambda dice: handshake(GOOD, _lines(dice)),
    lambda dice: handshake(
        {**GOOD, "Sec-WebSocket-Key": pick("", "x", "x" * 24, "x" * 23 + "=", "x" * 5000)(dice)}
    ),
    lambda dice: handshake(
        {**GOOD, "Sec-WebSocket-Version": pick("0", "7", "8", "12", "14", "-1", "13, 8", "x")(dice)}
    ),
    lambda dice: handshake(
        {**GOOD, "Sec-WebSocket-Protocol": pick("\xff", ",,,", "x" * 2000, "a b", "%zz")(dice)}
    ),
    lambda dice: handshake(
        {
            **GOOD,
            "Sec-WebSocket-Extensions": pick(
                "permessage-deflate; x",
                ";;;",
                "x" * 3000,
                "permessage-deflate; client_max_window_bits=99",
            )(dice),
        }
    ),
    lambda dice: handshake(
        {**GOOD, "Connection": pick("close", "keep-alive", "upgrade, upgrade", "")(dice)}
    ),
    lambda dice: handshake(
        {**GOOD, "Origin": pick("null", "http://", "http://[", "\xff", "file://", "x" * 4000)(dice)}
    ),
    lambda dice: handshake(
        {
            **GOOD,
            "Cookie": pick(
                "sessionid=", "sessionid=\x00", "=;;=", "x" * 8000, "sessionid=" + "é" * 40
            )(dice),
        }
    ),
    lambda dice: handshake(
        {
            **GOOD,
            "Authorization": pick(
                "Bearer", "Bearer \x00", "Basic eDp5", "\xff", "Bearer " + "x" * 9000
            )(dice),
        }
    ),
    lambda dice: handshake({**GOOD, "X-Long": "x" * dice.randint(10_000, 100_000)}),
    lambda dice: handshake({**GOOD, **{f"X-{n}": "x" for n in range(dice.randint(200, 1500))}}),
    lambda dice: (
        handshake(
            {
                **GOOD,
                "Content-Length": pick("5", "-1", "99999999999", "5, 6", "x", "+5", "0x5")(dice),
            }
        )
        + b"hello"
    ),
    lambda dice: (
        handshake(
            {**GOOD, "Transfer-Encoding": pick("chunked", "chunked, chunked", "x", "gzip")(dice)}
        )
        + b"zz\r\nnot a chunk\r\n"
    ),
    # Two requests in one, which a proxy and a server may read differently.
    lambda dice: (
        handshake({**GOOD, "Content-Length": "6", "Transfer-Encoding": "chunked"})
        + b"0\r\n\r\nGET /admin/ HTTP/1.1\r\n\r\n"
    ),
    lambda dice: (
        handshake({**GOOD, "Content-Length": "5"}).replace(
            b"\r\n\r\n", b"\r\nContent-Length: 6\r\n\r\n"
        )
        + b"hello!"
    ),
    lambda dice: handshake(GOOD).replace(b"\r\nUpgrade", b"\r\n Upgrade", 1),
    lambda dice: handshake(GOOD).replace(b": ", dice.choice([b" : ", b"", b":\x00", b"\t: "]), 1),
    lambda dice: handshake(GOOD, end=dice.choice(["\n", "\r"])),
    lambda dice: handshake(GOOD).replace(
        b"Host: localhost", dice.choice([b"Host: a\r\nHost: b", b"Host: evil\x00", b"Host: [::1"])
    ),
    lambda dice: handshake(GOOD).replace(b"\r\nUpgrade", b"\r\nUpgrade: websocket\r\nUpgrade", 1),
    lambda dice: handshake(GOOD).replace(b"\r\nUpgrade", b"\r\nX\xff_\x00: y\r\nUpgrade", 1),
    lambda dice: handshake(GOOD)[: dice.randint(1, 150)],
    lambda dice: changed(handshake(GOOD), dice),
    lambda dice: handshake(GOOD) + dice.randbytes(50),
    lambda dice: dice.randbytes(dice.randint(1, 500)),
    lambda dice: dice.randbytes(dice.randint(1, 100)) + b"\r\n\r\n",
    lambda dice: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(100),
    lambda dice: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + dice.randbytes(30),
]


@pytest.mark.experiment("E90", quick=True)
async def test_malformed_handshakes_are_refused_and_leave_nothing_behind(
    counted: Callable[..., int], report: Report
):
    n, dice = counted(2_000, least=3 * len(HANDSHAKES)), random.Random(SEED)
    let_in: list[bytes] = []
    with rig() as hub:
        async with beside(hub) as bystander:

            async def one(number: int) -> None:
                wrong = HANDSHAKES[number % len(HANDSHAKES)](dice)
                if b'"welcome"' in await said_to(hub, wrong, dice):
                    let_in.append(wrong)

            await throw_all(hub, n, one)
            await emptied(hub, but=1)
    report(n=n, worst=f"0 tracebacks, slowest ping beside {bystander.slowest:.2f} s", seed=SEED)
    assert not let_in, let_in[:3]


async def said_to(hub: Rig, wrong: bytes, dice: random.Random) -> bytes:
    """What the server answers within a moment; a fault of its own fails."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.servers[0].port)
    said = b""
    try:
        writer.write(wrong)
        await writer.drain()
        if dice.random() < 0.3:
            writer.write_eof()
        async with asyncio.timeout(0.3):
            while piece := await reader.read(65536):
                said += piece
    except (OSError, TimeoutError):
        pass
    finally:
        writer.transport.abort()
    assert not re.match(rb"HTTP/\S+ 5(?!05)", said), (wrong, said[:500])
    return said
