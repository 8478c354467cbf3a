"""The doors' own few database threads.

Long-lived connections must not hold a thread and a database connection each, and must not queue behind each other
on the one thread that Channels shares: whatever a door asks of the database passes through here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from django.db import OperationalError, connections

P = ParamSpec("P")
R = TypeVar("R")

THREADS: Final = 6
OWN_THREADS: Final = 2
PATIENCE: Final = 2.5
"""Seconds a client waits for the database before it is told to come back."""

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="doors")
_own_pool = ThreadPoolExecutor(OWN_THREADS, thread_name_prefix="switchboard")


async def in_database(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run synchronous database work on the doors' threads, in no transaction."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_pool, lambda: _run(work, *args, **kwargs))


async def soon(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`in_database` for somebody who waits for an answer. Raises OperationalError after `PATIENCE` seconds."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await in_database(work, *args, **kwargs)
    except TimeoutError:
        raise OperationalError("the database did not answer in time") from None


async def aside(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`in_database` for the switchboard's own look: it must not queue behind clients."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_own_pool, lambda: _run(work, *args, **kwargs))


def _run(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return work(*args, **kwargs)
    finally:
        connections.close_all()
