"""The doors' own few database threads.

Long-lived connections must not hold a thread and a database connection each, and must not queue behind each other
on the one thread that Channels shares: whatever a door asks of the database passes through here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from django.db import OperationalError, connection, connections

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K")

THREADS: Final = 6
OWN_THREADS: Final = 2
PATIENCE: Final = 2.5
"""Seconds a client waits for the database before it is told to come back."""

_LATE: Final = "the database did not answer in time"
MOST_KEYS: Final = 500
"""Gathered for one look of `together`."""

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="doors")
_own_pool = ThreadPoolExecutor(OWN_THREADS, thread_name_prefix="switchboard")


async def in_database(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run synchronous database work on the doors' threads, in no transaction."""
    return await _in_pool(_pool, lambda: _run(work, *args, **kwargs))


async def soon(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`in_database` for somebody who waits for an answer. Raises OperationalError after `PATIENCE` seconds."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await in_database(work, *args, **kwargs)
    except TimeoutError:
        raise OperationalError(_LATE) from None


async def together(work: Callable[[list[K]], R], keys: Collection[K]) -> R:
    """`soon(work, keys)`, once for all who ask the same at about the same time: after a restart everybody does.

    While one look is under way, the keys of who comes gather for the next; so no answer is older than its question,
    and it may say more than was asked. What can't be looked up for one of them fails for that one alone.
    """
    rounds = _rounds.setdefault(asyncio.get_running_loop(), {})
    last = rounds.get(work)
    if last is None or last.is_closed or len(last.keys) >= MOST_KEYS:
        last = rounds[work] = _Round(work, last)
        last.task.add_done_callback(partial(_forget, rounds, work))
    last.keys.update(dict.fromkeys(keys))
    last.askers += 1
    await asyncio.wait([last.task], timeout=PATIENCE)
    if not last.task.done():
        raise OperationalError(_LATE)
    try:
        found: R = last.task.result()
        return found
    except OperationalError:
        raise
    except Exception:
        if last.askers == 1:
            raise
    return await soon(work, list(keys))


class _Round:
    """One look of `together`; it begins when the one before it has ended, and nobody joins from then on."""

    def __init__(self, work: Callable[[list[Any]], Any], before: _Round | None) -> None:
        self.keys: dict[Any, None] = {}
        self.askers = 0
        self.is_closed = False
        self.task: asyncio.Task[Any] = asyncio.create_task(
            self._look(work, before.task if before else None)
        )

    async def _look(
        self, work: Callable[[list[Any]], Any], before: asyncio.Task[Any] | None
    ) -> Any:
        if before is not None:
            await asyncio.wait([before])
        self.is_closed = True
        return await in_database(work, list(self.keys))


def _forget(rounds: dict[Any, _Round], work: Any, done: asyncio.Task[Any]) -> None:
    if not done.cancelled():
        done.exception()  # who still waits hears of it; else asyncio would log a trace
    if work in rounds and rounds[work].task is done:
        del rounds[work]


_rounds: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, _Round]] = WeakKeyDictionary()


async def aside(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`in_database` for the switchboard's own look: it must not queue behind clients."""
    return await _in_pool(_own_pool, lambda: _run(work, *args, **kwargs))


async def _in_pool(pool: ThreadPoolExecutor, work: Callable[[], R]) -> R:
    """What is logged there is about what is done here."""
    return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, work)


def _run(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """A thread keeps its connection to SQLite, which takes longer to open than most looks take, for as long as it is
    the same file; PostgreSQL's goes back to the pool."""
    file = _sqlite_file()
    if file is None or file != getattr(_kept, "file", None):
        connections.close_all()
    _kept.file = file
    try:
        return work(*args, **kwargs)
    finally:
        if file is None or connection.errors_occurred:
            connections.close_all()


def _sqlite_file() -> tuple[int, int] | None:
    """Which file it is, whatever its name."""
    if connection.vendor != "sqlite":
        return None
    try:
        found = Path(connection.settings_dict["NAME"]).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_kept = threading.local()
