"""What the present work is about, for every line it logs: a request, a task and its job.

    with about.saying(request_id=about.new_id()):
        logger.warning("…")     the line carries request_id

Tasks of asyncio and what `sync_to_async` runs inherit it; a thread of our own is started with `contextvars`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_NOTHING: Final[Mapping[str, str]] = {}
_about: ContextVar[Mapping[str, str]] = ContextVar("hub_about", default=_NOTHING)


def now() -> Mapping[str, str]:
    """Names and ids; as `extra` of a line that is logged elsewhere."""
    return _about.get()


@contextmanager
def saying(**ids: str) -> Iterator[None]:
    """Meanwhile, and besides what is said already."""
    token = _about.set({**_about.get(), **ids})
    try:
        yield
    finally:
        _about.reset(token)


def say(**ids: str) -> None:
    """From here on, and nothing else."""
    _about.set(ids)


def new_id() -> str:
    return secrets.token_hex(8)
