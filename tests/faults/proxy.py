"""A TCP proxy on loopback that misbehaves when told: drops, refuses, delays, throttles, freezes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Final, Self, TypeVar

from tests.live import free_port

T = TypeVar("T")

CHUNK: Final = 16 * 1024


class Proxy:
    """`port` on 127.0.0.1 leads to `upstream`: a unix socket's path, or a port of the loopback.

    Runs on a thread of its own, so synchronous and asynchronous experiments use it alike. Every setter takes effect
    on the connections that exist as well as on new ones.
    """

    def __init__(self, upstream: str | int, port: int | None = None) -> None:
        self.port = port or free_port()
        self.accepted = 0
        self._upstream = upstream
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._delay = 0.0
        self._rate = 0.0
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._refuse())
        self._do(self._drop())
        self._do(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def open(self) -> int:
        """Connections that exist now."""
        return len(self._pairs)

    def delay(self, seconds: float) -> None:
        """Hold every piece back for so long, each way."""
        self._delay = seconds

    def throttle(self, bytes_per_second: float) -> None:
        """0 is without a limit."""
        self._rate = bytes_per_second

    def freeze(self) -> None:
        """Nothing passes and nothing is closed: a cable that was pulled."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def thaw(self) -> None:
        self._loop.call_soon_threadsafe(self._flowing.set)

    def drop(self) -> None:
        """Cut every connection; new ones are taken."""
        self._do(self._drop())

    def refuse(self) -> None:
        """Cut every connection and take no new ones, as if nobody were listening."""
        self._do(self._refuse())
        self._do(self._drop())

    def accept(self) -> None:
        self._do(self._listen())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, "127.0.0.1", self.port, backlog=512
            )

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await asyncio.sleep(0)

    async def _drop(self) -> None:
        for pair in tuple(self._pairs):
            for writer in pair:
                writer.transport.abort()

    async def _end_tasks(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            if isinstance(self._upstream, str):
                far_reader, far_writer = await asyncio.open_unix_connection(self._upstream)
            else:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._pairs.discard(pair)
            for end in pair:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(CHUNK):
                await self._flowing.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                if self._rate:
                    await asyncio.sleep(len(piece) / self._rate)
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
