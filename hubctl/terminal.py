"""Text for people: what others wrote never steers the terminal."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any


def out(text: str) -> None:
    """A line, at once: whoever reads a pipe wants it now."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def out_json(value: Any) -> None:
    out(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def warn(text: object) -> None:
    sys.stderr.write(f"hubctl: {printable(str(text))}\n")
    sys.stderr.flush()


def sentence(text: object) -> str:
    """Ends as a sentence does, so that another can follow."""
    said = str(text)
    return said if said.endswith((".", "?", "!")) else f"{said}."


def printable(text: str) -> str:
    """Without line breaks, escape sequences and other controls; tabs stay."""
    return "".join(one if one.isprintable() or one == "\t" else " " for one in text)


def local_time(at: str | None) -> str:
    """`2026-11-22 09:52:58` in the time zone of this machine; `-` for none."""
    if not at:
        return "-"
    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
