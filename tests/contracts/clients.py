"""One small client per transport behind one interface, so that one suite can hold all four to the same promises."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import websockets

from tests.live import LiveServer

TRANSPORTS = ["websocket", "stream", "long-poll", "poll"]
LOST = 1006
PATIENCE = 15.0  # seconds until a test gives up; passing ones take milliseconds


class Turned(Exception):
    """The hub refused or ended the connection: an HTTP status or a close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Heard:
    """What a client got, in order."""

    events: list[dict[str, Any]] = field(default_factory=list)
    resets: list[dict[str, Any]] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    whispers: list[dict[str, Any]] = field(default_factory=list)
    cursor: str = ""
    turned: int | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def offsets(self, topic: str) -> list[int]:
        return [event["offset"] for event in self.events if event["topic"] == topic]

    async def until(self, fulfilled: Callable[[Heard], bool]) -> Heard:
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(lambda: fulfilled(self))
        return self

    async def note(self) -> None:
        async with self.changed:
            self.changed.notify_all()


@contextlib.asynccontextmanager
async def listening(
    transport: str,
    server: LiveServer,
    *,
    topics: str = "",
    cursor: str = "",
    headers: dict[str, str] | None = None,
) -> AsyncIterator[Heard]:
    """A connected client. A poller takes its first cursor before this yields, so that "from now" means the same."""
    heard = Heard()
    query = {"topics": topics, "cursor": cursor}
    task = asyncio.create_task(_guarded(transport, server, query, headers or {}, heard))
    try:
        async with asyncio.timeout(PATIENCE):
            await heard.ready.wait()
        if heard.turned is not None:
            raise Turned(heard.turned)
        yield heard
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _guarded(
    transport: str, server: LiveServer, query: dict[str, str], headers: dict[str, str], heard: Heard
) -> None:
    talk = {"websocket": _websocket, "stream": _stream, "long-poll": _long_poll, "poll": _poll}
    try:
        await talk[transport](server, query, headers, heard)
    except websockets.ConnectionClosed as closed:
        heard.turned = closed.rcvd.code if closed.rcvd else 1006
    except Turned as turned:
        heard.turned = turned.code
    except (OSError, httpx.HTTPError, websockets.WebSocketException):
        heard.turned = LOST  # the server died, perhaps in the middle of the handshake
    heard.ready.set()
    await heard.note()


async def _websocket(
    server: LiveServer, query: dict[str, str], headers: dict[str, str], heard: Heard
) -> None:
    async with websockets.connect(
        server.ws(**{key: value for key, value in query.items() if value}),
        additional_headers=headers,
        max_size=2**20,
    ) as socket:
        async for text in socket:
            value = json.loads(text)
            for frame in value if isinstance(value, list) else [value]:
                op = frame.pop("op")
                match op:
                    case "welcome":
                        heard.cursor = frame["cursor"]
                        heard.ready.set()
                    case "event":
                        heard.events.append(frame)
                        heard.cursor = _moved(heard.cursor, frame)
                    case "reset":
                        heard.resets.append(frame)
                        heard.cursor = _moved(heard.cursor, frame)
                    case "revoked":
                        heard.revoked.append(frame["topic"])
                    case "whisper":
                        heard.whispers.append(frame)
            await heard.note()
        raise Turned(socket.close_code or 1006)


async def first_cursor(
    transport: str, server: LiveServer, *, headers: dict[str, str], **query: str
) -> tuple[list[str], str]:
    """What a client holds that is cut off at its first cursor: the kinds of what it has got by then, and the cursor."""
    if transport == "websocket":
        async with websockets.connect(server.ws(**query), additional_headers=headers) as socket:
            return [], json.loads(await socket.recv())["cursor"]
    async with httpx.AsyncClient(timeout=PATIENCE, headers=headers) as client:
        if transport != "stream":
            wait = {"wait": "0"} if transport == "long-poll" else {}
            body = (await client.get(server.events(transport, **query, **wait))).json()
            return ["reset"] * len(body["resets"]) + ["event"] * len(body["events"]), body["cursor"]
        kinds: list[str] = []
        async with client.stream("GET", server.events("stream", **query)) as response:
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kinds.append(value)
                elif name == "id":
                    return kinds, value
    raise AssertionError("the stream ended before its first cursor")


def _moved(cursor: str, frame: dict[str, Any]) -> str:
    epoch, *parts = cursor.split("~")
    positions = dict(part.rsplit(":", 1) for part in parts)
    positions[frame["topic"]] = str(frame["offset"])
    return "~".join([epoch, *(f"{topic}:{offset}" for topic, offset in positions.items())])


async def _stream(
    server: LiveServer, query: dict[str, str], headers: dict[str, str], heard: Heard
) -> None:
    async with (
        httpx.AsyncClient(timeout=PATIENCE) as client,
        client.stream("GET", server.events("stream", **query), headers=headers) as response,
    ):
        if response.status_code != 200:
            raise Turned(response.status_code)
        kind = ""
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "id":
                heard.cursor = value
                heard.ready.set()
                await heard.note()
            elif name == "data":
                _put(heard, kind, json.loads(value))
                if kind == "whisper":  # what moves the cursor counts once its `id:` is here
                    await heard.note()
    raise Turned(0)


def _put(heard: Heard, kind: str, value: Any) -> None:
    if kind == "revoked":
        heard.revoked.append(value["topic"])
    else:
        {"event": heard.events, "reset": heard.resets, "whisper": heard.whispers}[kind].append(
            value
        )


async def _long_poll(
    server: LiveServer, query: dict[str, str], headers: dict[str, str], heard: Heard
) -> None:
    await _ask_on(server, "long-poll", 0.0, query, headers, heard)


async def _poll(
    server: LiveServer, query: dict[str, str], headers: dict[str, str], heard: Heard
) -> None:
    await _ask_on(server, "poll", 0.1, query, headers, heard)


async def _ask_on(
    server: LiveServer,
    transport: str,
    pause: float,
    query: dict[str, str],
    headers: dict[str, str],
    heard: Heard,
) -> None:
    async with httpx.AsyncClient(timeout=40, headers=headers) as client:
        first = True
        while True:
            wait = {"wait": "0" if first else "25"} if transport == "long-poll" else {}
            answer = await client.get(server.events(transport, **query, **wait))
            if answer.status_code != 200:
                raise Turned(answer.status_code)
            body = answer.json()
            heard.events += body["events"]
            heard.resets += body["resets"]
            heard.whispers += body["whispers"]
            heard.revoked += [topic for topic in body["revoked"] if topic not in heard.revoked]
            heard.cursor = query["cursor"] = body["cursor"]
            heard.ready.set()
            await heard.note()
            first = body["more"]
            await asyncio.sleep(0 if body["more"] else pause)
