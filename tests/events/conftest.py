from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from events import redis_client


@pytest_asyncio.fixture
async def loop_redis() -> AsyncIterator[None]:
    """For tests whose own event loop talks to Redis: gives its connections back."""
    yield
    await redis_client.close()
