"""A client as the browser's is, in Python: resume, dedupe, back-off. Checked against the same vectors.

    client = ReferenceClient(server.url, cookies=cookies_of(alice), cursor=cursor, transport="sse")
    async with client:
        await client.until(lambda: len(client.applied) == 500)

`applied` is what an application would have seen: each event once, in order per topic. One client keeps to one
transport; falling through the four is the browser's own affair.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

Frame = dict[str, Any]
Transport = Literal["websocket", "sse", "long-poll", "poll"]
State = Literal["connecting", "live", "waiting", "signed-out", "stopped"]

OPENING: Final = 8.0  # seconds from opening to the first sign of life
SILENCE: Final = 30.0  # seconds a stream may say nothing; a comment comes every 15
STEADY: Final = 30.0  # seconds live until n starts anew
SETTLED: Final = 5.0  # seconds live until a 4401 is a new one
WAIT: Final = 25  # seconds the server may keep a long poll
POLL_EVERY: Final = 2.0
MOST_HELD: Final = 5000

# --- the cursor: static/hub/cursor.js -----------------------------------------------------------------------------

_EPOCH: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_ENTRY: Final = re.compile(r"([a-z]+\.[A-Za-z0-9_-]{1,100}):(0|[1-9][0-9]{0,15})", re.ASCII)
_SAFE: Final = 2**53 - 1


@dataclass
class Cursor:
    epoch: str
    offsets: dict[str, int]


def parse_cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    epoch, *entries = text.split("~")
    if _EPOCH.fullmatch(epoch) is None:
        return None
    offsets: dict[str, int] = {}
    for entry in entries:
        match = _ENTRY.fullmatch(entry)
        if match is None or match[1] in offsets or int(match[2]) > _SAFE:
            return None
        offsets[match[1]] = int(match[2])
    return Cursor(epoch, offsets)


def write_cursor(epoch: str, offsets: Mapping[str, int]) -> str:
    return "~".join([epoch, *(f"{topic}:{offsets[topic]}" for topic in sorted(offsets))])


# --- the end of a connection: static/hub/closing.js -----------------------------------------------------------------

_AFTER: Final = {
    1009: "stop",
    4000: "stop",
    4400: "stop",
    4401: "sign-in",
    4403: "stop",
    4409: "stop",
    4413: "stop",
    4429: "wait",
}
_OF_STATUS: Final = {
    400: 4400,
    401: 4401,
    403: 4403,
    413: 4413,
    414: 4413,
    429: 4429,
    431: 4413,
}
_PATIENCE: Final = 5.0
_LONGEST: Final = 20.0


def after_close(code: int) -> str:
    return _AFTER.get(code, "resume")


def code_of_status(status: int) -> int:
    return _OF_STATUS.get(status, 1011 if status >= 500 else 1006)


def back_off(n: int, dice: float) -> float:
    return dice * min(_LONGEST, 0.5 * float(2 ** min(n, 10)))


def pause(code: int, n: int, dice: float, retry_after: float = 0) -> float:
    least = max(_PATIENCE, retry_after) if after_close(code) == "wait" else retry_after
    return least + back_off(n, dice)


# --- what has come: static/hub/delivery.js --------------------------------------------------------------------------


@dataclass
class _Hold:
    least: int
    holders: int = 1
    events: list[Frame] = field(default_factory=list)
    floor: float = float("inf")
    useless: str | None = None


class Delivery:
    def __init__(
        self,
        cursor: str | None,
        emit: Callable[[Frame], None],
        again: Callable[[Frame], None] = lambda reset: None,
        lost: Callable[[Frame], None] = lambda reset: None,
    ) -> None:
        read = parse_cursor(cursor)
        self._epoch = read.epoch if read else None
        self._positions = read.offsets if read else {}
        self._epoch_is_over = False
        self._awaited: set[str] = set()
        self._former: str | None = None
        self._held: dict[str, _Hold] = {}
        self._emit = emit
        self._again = again
        self._lost = lost
        self._renewed: set[str] = set()

    @property
    def cursor(self) -> str | None:
        if self._awaited:
            return self._former
        return None if self._epoch is None else write_cursor(self._epoch, self._positions)

    @property
    def topics(self) -> list[str]:
        return list(self._positions)

    def welcome(self, epoch: str, offsets: Mapping[str, int]) -> None:
        if self._epoch is not None and (epoch != self._epoch or self._awaited):
            self._former = self.cursor
            self._awaited |= set(self._positions)
            self._positions.clear()
            for hold in self._held.values():
                hold.events = []
        self._epoch = epoch
        self._epoch_is_over = False
        self._renewed.clear()
        for topic, offset in offsets.items():
            self.begin(topic, offset)

    def begin(self, topic: str, offset: int) -> None:
        if topic in self._positions:
            return
        self._positions[topic] = offset
        if topic in self._held:
            self._held[topic].least = offset

    def take(self, event: Frame) -> bool:
        topic, offset = event["topic"], event["offset"]
        position = self._positions.get(topic)
        if position is not None and offset <= position:
            return True
        if position is not None and offset > position + 1:
            return False
        self._positions[topic] = offset
        self._pass(event)
        return True

    def covers(self, text: str) -> bool:
        theirs = parse_cursor(text)
        if theirs is None:
            return True
        past = set(self._awaited)
        if self._epoch is None or self._epoch_is_over:
            if self._epoch_is_over and theirs.epoch != self._epoch:
                past |= set(self._positions) - self._renewed
            self._epoch = theirs.epoch
            self._epoch_is_over = False
            self._renewed.clear()
        if theirs.epoch != self._epoch:
            return False
        self._awaited.clear()
        for topic in sorted(past - set(theirs.offsets)):
            self.forget(topic)
            self._lost({"topic": topic, "offset": 0, "reason": "epoch"})
        return all(o <= self._positions.get(t, o) for t, o in theirs.offsets.items())

    def learn(self, text: str) -> None:
        theirs = parse_cursor(text)
        if theirs is None:
            return
        self._epoch = self._epoch or theirs.epoch
        if theirs.epoch == self._epoch:
            for topic, offset in theirs.offsets.items():
                self.begin(topic, offset)

    def reset(self, topic: str, offset: int, reason: str) -> None:
        self._positions[topic] = offset
        if topic in self._awaited:
            self._awaited.remove(topic)
        elif reason == "epoch":
            self._epoch_is_over = True
            self._renewed.add(topic)
        self._held.pop(topic, None)

    def forget(self, topic: str) -> None:
        self._awaited.discard(topic)
        self._positions.pop(topic, None)
        self._held.pop(topic, None)

    def hold(self, topic: str) -> None:
        if topic in self._held:
            self._held[topic].holders += 1
        else:
            self._held[topic] = _Hold(self._positions.get(topic, 0))

    def release(self, topic: str, text: str | None) -> None:
        hold = self._held.get(topic)
        if hold is None:
            return
        snapshot = parse_cursor(text)
        offset = snapshot.offsets.get(topic) if snapshot else None
        if snapshot and snapshot.epoch != self._epoch and not self._epoch_is_over:
            hold.useless = "epoch"
        elif offset is not None and offset < hold.least:
            hold.useless = hold.useless or "expired"
        hold.floor = min(hold.floor, offset or 0)
        hold.holders -= 1
        if hold.holders > 0:
            return
        del self._held[topic]
        known = self._positions.get(topic)
        position = known or 0
        if hold.useless:
            self._again({"topic": topic, "offset": position, "reason": hold.useless})
            return
        if known is not None or hold.floor > 0:
            self._positions[topic] = max(position, int(hold.floor))
        for event in hold.events:
            if event["offset"] > hold.floor:
                self._pass(event)

    def _pass(self, event: Frame) -> None:
        hold = self._held.get(event["topic"])
        if hold is None:
            self._emit(event)
        elif len(hold.events) < MOST_HELD:
            hold.events.append(event)
        else:
            hold.useless = hold.useless or "expired"


# --- the client: static/hub/client.js -------------------------------------------------------------------------------


class Ended(Exception):
    """A connection is over, for this reason."""

    def __init__(self, code: int, retry_after: float = 0) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after


class EventStream:
    """Takes `text/event-stream` apart as it comes."""

    def __init__(self) -> None:
        self._rest = ""
        self._fields: dict[str, str] = {}

    def push(self, text: str) -> list[dict[str, str]]:
        *lines, self._rest = re.split(r"\r\n|\n|\r(?!$)", self._rest + text)
        blocks = []
        for line in lines:
            if not line:
                if self._fields:
                    blocks.append(self._fields)
                self._fields = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "data" and name in self._fields:
                    value = f"{self._fields[name]}\n{value}"
                self._fields[name] = value
        return blocks


class ReferenceClient:
    def __init__(
        self,
        url: str,
        *,
        transport: Transport = "websocket",
        cookies: Mapping[str, str] | None = None,
        key: str | None = None,
        origin: str | None = None,
        cursor: str | None = None,
        topics: Iterable[str] = (),
        path: str = "/ws/",
        poll_every: float = POLL_EVERY,
        dice: Callable[[], float] = random.random,
        on_frame: Callable[[Frame], None] = lambda frame: None,
        on_event: Callable[[Frame], None] = lambda event: None,
        on_reset: Callable[[Frame], None] = lambda reset: None,
        on_state: Callable[[State], None] = lambda state: None,
    ) -> None:
        """`url` is where `/ws/` and `/events/` are; `on_frame` sees the wire, repeats and all."""
        self.transport = transport
        self.applied: list[Frame] = []
        self.resets: list[Frame] = []
        self.revoked: list[str] = []
        self.whispers: list[Frame] = []
        self.closed: list[int] = []  # how each connection ended
        self.state: State = "connecting"
        self.delivery = Delivery(cursor, self._apply, self._reset_again)
        self._url = url.rstrip("/")
        self._path = path
        self._topics = list(topics)
        self._poll_every = poll_every
        self._dice = dice
        self._on_frame, self._on_event, self._on_reset = on_frame, on_event, on_reset
        self._on_state = on_state
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        if cookies:
            self._headers["Cookie"] = "; ".join(f"{n}={v}" for n, v in cookies.items())
        self._origin = None if key else (origin or self._url)
        self._n = 0
        self._retried_sign_in = False
        self._live_since: float | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        self._refs = 0
        self._replies: dict[int, asyncio.Future[Frame]] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def cursor(self) -> str | None:
        return self.delivery.cursor

    def offsets(self, topic: str) -> list[int]:
        return [event["offset"] for event in self.applied if event["topic"] == topic]

    async def until(self, true: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until it is true. Raises TimeoutError, or what ended the client."""
        async with asyncio.timeout(seconds):
            while not true():
                if self._task is not None and self._task.done():
                    self._task.result()
                    raise AssertionError(f"the client {self.state}: {self.closed[-3:]}")
                self._changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.5)

    async def until_live(self, seconds: float = 20) -> None:
        await self.until(lambda: self.state == "live", seconds)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def run(self) -> None:
        """Connect, and come back, until the server says stop or the session is gone."""
        while True:
            self._say("connecting")
            ending = await self._once()
            live_for = 0.0 if self._live_since is None else time.monotonic() - self._live_since
            self._live_since = None
            self.closed.append(ending.code)
            if live_for >= STEADY:
                self._n = 0
            if live_for >= SETTLED:
                self._retried_sign_in = False
            then = after_close(ending.code)
            if then == "stop":
                return self._say("stopped")
            if then == "sign-in":
                if self._retried_sign_in:
                    return self._say("signed-out")
                self._retried_sign_in = True
                continue
            self._say("waiting")
            await asyncio.sleep(pause(ending.code, self._n, self._dice(), ending.retry_after))
            self._n += 1

    async def request(self, frame: Frame, seconds: float = 10) -> Frame:
        """Over the WebSocket: the whole reply, also one that says no. Raises Ended when the connection ends before."""
        if self._socket is None:
            raise Ended(1006)
        self._refs += 1
        reply = self._replies[self._refs] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({**frame, "ref": self._refs}))
        return await asyncio.wait_for(reply, seconds)

    async def _once(self) -> Ended:
        try:
            if self.transport == "websocket":
                await self._websocket()
            else:
                await self._over_http()
        except Ended as ending:
            return ending
        return Ended(1006)

    # --- the four transports

    async def _websocket(self) -> None:
        query = {"cursor": self.cursor, "topics": ",".join(self._topics)}
        address = httpx.URL(
            f"ws{self._url.removeprefix('http')}{self._path}",
            params={name: value for name, value in query.items() if value},
        )
        try:
            self._socket = await connect(
                str(address),
                origin=self._origin,  # type: ignore[arg-type]
                additional_headers=self._headers,
                compression=None,
                max_size=None,
                open_timeout=OPENING,
                ping_interval=None,
                close_timeout=1,
            )
        except (OSError, InvalidHandshake, InvalidMessage):
            raise Ended(1006) from None
        try:
            await self._read(self._socket)
        except ConnectionClosed as closed:
            raise Ended(closed.rcvd.code if closed.rcvd else 1006) from None
        finally:
            socket, self._socket = self._socket, None
            self._fail_requests()
            await socket.close()

    async def _read(self, socket: ClientConnection) -> None:
        patience = OPENING
        while True:
            try:
                async with asyncio.timeout(patience):
                    text = await socket.recv()
            except TimeoutError:
                raise Ended(1006) from None
            parsed = json.loads(text)
            for frame in parsed if isinstance(parsed, list) else [parsed]:
                if frame["op"] == "welcome":
                    patience = 2.0 * frame["heartbeat"]
                    self._on_frame(frame)
                    self.delivery.welcome(frame["epoch"], frame["offsets"])
                    self._live()
                else:
                    self._take(frame)

    async def _over_http(self) -> None:
        limits = httpx.Timeout(OPENING, read=SILENCE if self.transport == "sse" else WAIT + 10)
        async with httpx.AsyncClient(
            base_url=self._url, headers=self._headers, timeout=limits, verify=False, trust_env=False
        ) as http:
            try:
                if self.transport == "sse":
                    await self._sse(http)
                else:
                    await self._polling(http)
            except httpx.TransportError:
                raise Ended(1006) from None

    async def _sse(self, http: httpx.AsyncClient) -> None:
        query = self._query()
        async with http.stream(
            "GET", "/events/stream", params=query, headers={"Accept": "text/event-stream"}
        ) as response:
            _check(response, "text/event-stream")
            stream = EventStream()
            async for text in response.aiter_text():
                self._live()
                for block in stream.push(text):
                    self._block(block)

    def _block(self, block: Mapping[str, str]) -> None:
        if "data" in block:
            parsed = json.loads(block["data"])
            for frame in parsed if isinstance(parsed, list) else [parsed]:
                self._take({**frame, "op": block["event"]})
        if "id" in block:
            self._take({"op": "heartbeat", "cursor": block["id"]})
            self.delivery.learn(block["id"])

    async def _polling(self, http: httpx.AsyncClient) -> None:
        wait = 0
        while True:
            if self.transport == "long-poll":
                answer = await self._ask(http, "/events/long-poll", wait=str(wait))
                wait = WAIT
            else:
                answer = await self._ask(http, "/events/poll")
            self._live()
            self._spread(answer)
            if self.transport == "poll" and not answer["more"]:
                await asyncio.sleep(self._poll_every)

    async def _ask(self, http: httpx.AsyncClient, path: str, **more: str) -> Frame:
        response = await http.get(path, params={**self._query(), **more})
        _check(response, "application/json")
        answer: Frame = response.json()
        return answer

    def _query(self) -> dict[str, str]:
        query = {"cursor": self.cursor or ""}
        if self._topics:
            query["topics"] = ",".join(["*", *self._topics])
        return {name: value for name, value in query.items() if value}

    def _spread(self, answer: Frame) -> None:
        for reset in answer["resets"]:
            self._take({**reset, "op": "reset"})
        for event in answer["events"]:
            self._take({**event, "op": "event"})
        for topic in answer["revoked"]:
            self._take({"op": "revoked", "topic": topic})
        for whisper in answer["whispers"]:
            self._take({**whisper, "op": "whisper"})
        self._take({"op": "heartbeat", "cursor": answer["cursor"]})
        self.delivery.learn(answer["cursor"])

    # --- what comes in

    def _take(self, frame: Frame) -> None:
        """Raises Ended when something is missing on this connection."""
        self._on_frame(frame)
        match frame["op"]:
            case "event":
                if not self.delivery.take(frame):
                    raise Ended(1006)
            case "heartbeat":
                if not self.delivery.covers(frame["cursor"]):
                    raise Ended(1006)
            case "whisper":
                self.whispers.append(frame)
            case "reset":
                self.delivery.reset(frame["topic"], frame["offset"], frame["reason"])
                self.resets.append(frame)
                self._on_reset(frame)
            case "revoked":
                self.delivery.forget(frame["topic"])
                self._topics = [topic for topic in self._topics if topic != frame["topic"]]
                self.revoked.append(frame["topic"])
            case "reply":
                reply = self._replies.pop(frame.get("ref", 0), None)
                if reply is not None and not reply.done():
                    reply.set_result(frame)
        self._changed.set()

    def _apply(self, event: Frame) -> None:
        self.applied.append(event)
        self._on_event(event)

    def _reset_again(self, reset: Frame) -> None:
        self._on_reset(reset)

    def _live(self) -> None:
        if self._live_since is None:
            self._live_since = time.monotonic()
            self._say("live")

    def _say(self, state: State) -> None:
        self.state = state
        self._on_state(state)
        self._changed.set()

    def _fail_requests(self) -> None:
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(Ended(1006))
        self._replies.clear()


def _check(response: httpx.Response, content_type: str) -> None:
    if response.status_code != 200:
        asked = response.headers.get("Retry-After", "")
        raise Ended(code_of_status(response.status_code), float(asked) if asked.isdigit() else 0.0)
    if not response.headers.get("Content-Type", "").startswith(content_type):
        raise Ended(1006)
