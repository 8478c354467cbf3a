"""Frames: what goes to a client, what comes from one, and the codes a socket closes with.

`docs/protocol.md` has tables of both; a test compares them with what is made and understood here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Final, Literal

import orjson

from events.log import LoggedEvent

Kind = type | tuple[type, ...]

VERSION: Final = 1
MAX_FRAME: Final = 64 * 1024
"""Bytes of one text frame, in either direction."""
MAX_REF: Final = 200
"""Characters of a `ref`: it comes back with every answer."""
HEARTBEAT: Final = 25
"""Seconds between heartbeats: under the minute after which proxies and home routers cut a quiet connection."""

FROM_CLIENT: Final[Mapping[str, Mapping[str, Kind]]] = {
    "subscribe": {"topic": str},
    "unsubscribe": {"topic": str},
    "ping": {},
    "post": {"topic": str, "client_id": str, "body": str},
    "typing": {"topic": str},
    "read": {"topic": str, "offset": int},
    "visible": {"value": bool},
}
OPTIONAL: Final[Mapping[str, Mapping[str, Kind]]] = {
    "subscribe": {"cursor": (int, str), "present": bool}
}


class Close(IntEnum):
    """Why the hub closes a socket; the client decides by the number alone what to do next."""

    NORMAL = 1000
    FAULT = 1011
    ROOM_DELETED = 4000
    RESTARTING = 4012
    BAD_FRAMES = 4400
    NOT_SIGNED_IN = 4401
    FORBIDDEN = 4403
    TOO_SLOW = 4408
    TOO_MANY = 4409
    TOO_LARGE = 4413
    TOO_FAST = 4429


class BadFrame(ValueError):
    """A frame that says nothing the hub understands; carries the `ref` where one could be read."""

    def __init__(self, detail: str, ref: str | float | None = None) -> None:
        super().__init__(detail)
        self.ref = ref


@dataclass(frozen=True)
class Whisper:
    """`topic` is None when it is for one connection alone."""

    topic: str | None
    type: str
    data: Mapping[str, Any]

    @cached_property
    def json(self) -> str:
        about = {} if self.topic is None else {"topic": self.topic}
        return _members({**about, "type": self.type, "data": self.data})


ResetReason = Literal["expired", "ahead", "epoch"]


@dataclass(frozen=True)
class Reset:
    topic: str
    offset: int
    reason: ResetReason

    @cached_property
    def json(self) -> str:
        return _members({"topic": self.topic, "offset": self.offset, "reason": self.reason})


@dataclass(frozen=True)
class Revoked:
    topic: str

    @cached_property
    def json(self) -> str:
        return _members({"topic": self.topic})


class Run:
    """Events of one topic without a hole, and whispers between them, handed to all its readers together and encoded
    once for all of them.

    `before` and `last`: the offsets that a reader has before and after it; both 0 when there are whispers alone.
    """

    def __init__(self, topic: str, items: Sequence[LoggedEvent | Whisper]) -> None:
        self.topic = topic
        self.items = items
        self.events = [item for item in items if isinstance(item, LoggedEvent)]
        self.before = self.events[0].offset - 1 if self.events else 0
        self.last = self.events[-1].offset if self.events else 0
        self.size = sum(len(item.json) for item in items)

    @cached_property
    def frames(self) -> list[str]:
        return frames(self.items)

    @cached_property
    def wire(self) -> bytes:
        """Its frames as they go over the socket."""
        return b"".join(map(_framed, self.frames))

    @cached_property
    def blocks(self) -> str:
        return "".join(map(block, self.items))


Item = LoggedEvent | Whisper | Reset | Revoked
NAMES: Final[Mapping[type, str]] = {
    LoggedEvent: "event",
    Whisper: "whisper",
    Reset: "reset",
    Revoked: "revoked",
}


def frame(item: Item) -> str:
    return f'{{"op":"{NAMES[type(item)]}",{item.json}}}'


def block(item: Item) -> str:
    """The same in an event stream."""
    return f"event: {NAMES[type(item)]}\ndata: {plain(item)}\n\n"


def plain(item: Item) -> str:
    """The same object for HTTP, where something else names its kind."""
    return f"{{{item.json}}}"


def frames(items: Iterable[Item]) -> list[str]:
    """As few frames as hold the items in order: neighbouring events share one as an array."""
    done: list[str] = []
    waiting: list[str] = []
    size = 0

    def close() -> None:
        nonlocal size
        if waiting:
            done.append(waiting[0] if len(waiting) == 1 else f"[{','.join(waiting)}]")
            waiting.clear()
            size = 0

    for item in items:
        text = frame(item)
        if not isinstance(item, LoggedEvent):
            close()
            done.append(text)
            continue
        length = len(text.encode()) + 1
        if size + length > MAX_FRAME - 2:
            close()
        waiting.append(text)
        size += length
    close()
    return done


def welcome(
    *, user: Mapping[str, Any], connection: str, epoch: str, cursor: str, offsets: Mapping[str, int]
) -> str:
    return _text(
        {
            "op": "welcome",
            "protocol": VERSION,
            "user": user,
            "connection": connection,
            "epoch": epoch,
            "cursor": cursor,
            "offsets": offsets,
            "heartbeat": HEARTBEAT,
        }
    )


def heartbeat(cursor: str) -> str:
    return _text({"op": "heartbeat", "cursor": cursor})


def reply(ref: str | float | None, data: Mapping[str, Any]) -> str:
    return _text({"op": "reply", **_ref(ref), "ok": True, "data": data})


def refusal(ref: str | float | None, code: str, detail: str) -> str:
    return _text(
        {"op": "reply", **_ref(ref), "ok": False, "error": {"code": code, "detail": detail}}
    )


@dataclass(frozen=True)
class Command:
    op: str
    ref: str | float | None
    fields: Mapping[str, Any]


def parse(text: str) -> Command:
    """A client's frame, checked field by field. Raises BadFrame."""
    try:
        value = orjson.loads(text)
    except ValueError:
        raise BadFrame("the frame is not JSON.") from None
    if not isinstance(value, dict):
        raise BadFrame("the frame must be a JSON object.")
    ref = value.get("ref")
    if ref is not None and not _is(ref, (str, int, float)):
        raise BadFrame("ref must be text or a number.")
    if len(str(ref)) > MAX_REF:
        raise BadFrame(f"ref may have {MAX_REF} characters.")
    op = value.get("op")
    if not isinstance(op, str) or op not in FROM_CLIENT:
        raise BadFrame(f"op must be one of {', '.join(FROM_CLIENT)}.", ref)
    fields = {}
    for name, kind in FROM_CLIENT[op].items():
        if not _is(value.get(name), kind):
            raise BadFrame(f"{op} needs {name}: {_WORDS[kind]}.", ref)
        fields[name] = value[name]
    for name, kind in OPTIONAL.get(op, {}).items():
        if value.get(name) is not None:
            if not _is(value[name], kind):
                raise BadFrame(f"{name} must be {_WORDS[kind]}.", ref)
            fields[name] = value[name]
    return Command(op, ref, fields)


_WORDS: Final[Mapping[Kind, str]] = {
    str: "text",
    int: "a whole number",
    bool: "true or false",
    (int, str): "an offset or a cursor",
}


def _is(value: object, kind: Kind) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _ref(ref: str | float | None) -> dict[str, str | float]:
    return {} if ref is None else {"ref": ref}


def _members(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value).decode()[1:-1]


def _framed(text: str) -> bytes:
    """One unmasked, final text frame (RFC 6455, 5.2)."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def _text(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value).decode()
