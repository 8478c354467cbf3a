"""Server-sent events: bytes in, blocks out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    event: str
    data: str
    id: str | None
    """The position that it sets; a block may have nothing else."""


def blocks(chunks: Iterable[bytes]) -> Iterator[Block]:
    """Only whole ones: what a cut leaves unfinished is dropped. Lines end with LF or CRLF."""
    event, data, last_id = "message", list[str](), None
    begun = b""
    for chunk in chunks:
        *whole, begun = (begun + chunk).split(b"\n")
        for raw in whole:
            line = raw.removesuffix(b"\r").decode("utf-8", "replace")
            if not line:
                if data or last_id is not None:
                    yield Block(event, "\n".join(data), last_id)
                event, data, last_id = "message", [], None
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                event = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                last_id = value
