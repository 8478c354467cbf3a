"""The pages of the documentation, and the fenced blocks in them.

A block that could be run says behind its language how a test treats it:

    run       run as it stands, against a live hub; it must succeed
    listen    run until it has printed an event that is published meanwhile
    file X    Python that is the file X of an app; the app is loaded and used
    from X    an excerpt of the file X, which a test of its own runs
    serve X   run until it serves, `all` or the `pages` and the API alone, then ended while somebody listens
    make      targets of the Makefile
    compose   commands for docker-compose.yml
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = {"sh", "bash", "shell", "console", "python", "py", "pycon", "js", "javascript"}
SHOWN = {"json", "text", "http"}
MARKS = {"run", "listen", "file", "from", "serve", "make", "compose"}

_FENCE = re.compile(
    r"^(?P<ticks>`{3,}|~{3,})(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=ticks)\s*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    mark: str
    target: str
    body: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """Without the fenced blocks."""
    return _FENCE.sub("", text_of(page))


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = text_of(page)
        for match in _FENCE.finditer(text):
            language, _, rest = match["info"].strip().partition(" ")
            mark, _, target = rest.partition(" ")
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, language, mark, target, match["body"]))
    return found


def marked(mark: str) -> list[Block]:
    return [block for block in blocks() if block.mark == mark]
