"""The doors' own few database threads.

Long-lived connections must not hold a thread and a database connection each, and must not queue behind each other
on the one thread that Channels shares: whatever a door asks of the database passes through here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from django.db import close_old_connections, connections

P = ParamSpec("P")
R = TypeVar("R")

THREADS: Final = 6

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="doors")


async def in_database(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run synchronous database work on the doors' threads, in no transaction."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_pool, lambda: _run(work, *args, **kwargs))


def _run(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    close_old_connections()
    try:
        return work(*args, **kwargs)
    finally:
        connections.close_all()
