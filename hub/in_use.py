"""Who works with an SQLite database, so that nobody restores one under them. Of PostgreSQL one can ask it.

Connections come and go; a lock on a file beside the database is there for as long as the process is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from django.db import connection

_kept: list[int] = []


class Taken(Exception):
    """A hub is at work."""


def stay() -> None:
    """Keep restores away until this process ends, and with it whoever it forks. Ends it while one is under way."""
    if connection.vendor != "sqlite" or _kept:
        return
    try:
        _kept.append(_locked(fcntl.LOCK_SH))
    except BlockingIOError:
        raise SystemExit(
            "The database is being restored: start the hub when that is done."
        ) from None


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """No hub is at work meanwhile, and none starts. Raises Taken."""
    if connection.vendor != "sqlite":
        yield
        return
    try:
        lock = _locked(fcntl.LOCK_EX)
    except BlockingIOError:
        raise Taken from None
    try:
        yield
    finally:
        os.close(lock)


def _locked(kind: int) -> int:
    place = Path(f"{connection.settings_dict['NAME']}.lock")
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(place, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock
