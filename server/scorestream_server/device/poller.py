"""One poller of device facts for everybody who watches; it takes no reading while nobody does."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from scorestream_server.domain.device import Device, WorkerUse

LEAST_SECONDS = 0.25
"""Shortest interval at which facts can be watched."""
MOST_SECONDS = 3600.0
FRESH_SECONDS = LEAST_SECONDS / 2
"""How old a reading may be that is given out again: however many watch, no more are taken than this allows."""


class Reader(Protocol):
    """Reads facts; it may block."""

    def read(self, workers: Sequence[WorkerUse]) -> tuple[Device, ...]:
        """Return all devices as they are now."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class DevicePoller:
    """Facts for many watchers at once; used on the event loop only.

    Args:
        open_reader: makes the reader, in the thread that will use it.
        workers: what the server's workers do now.
        clock: seconds; a test gives its own.
    """

    def __init__(
        self,
        open_reader: Callable[[], Reader],
        workers: Callable[[], Sequence[WorkerUse]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_reader = open_reader
        self._workers = workers
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "device-facts")
        self._reader: Future[Reader] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._latest: tuple[Device, ...] = ()
        self._read_at = float("-inf")

    async def read(self) -> tuple[Device, ...]:
        """Return all devices as they are now, or were a moment ago."""
        async with self._one_at_a_time:
            began = self._clock()
            if began - self._read_at >= FRESH_SECONDS:
                self._latest = await self._take()
                self._read_at = began
            return self._latest

    async def watch(self, interval: float) -> AsyncGenerator[tuple[Device, ...], None]:
        """Yield all devices at once, and then every `interval` seconds, without end."""
        while True:
            due = self._clock() + interval
            yield await self.read()
            await asyncio.sleep(due - self._clock())

    def close(self) -> None:
        """Close the reader behind whatever its thread still does, and do not wait for it."""
        reader = self._reader
        if reader is not None:
            self._thread.submit(lambda: reader.result().close())
        self._thread.shutdown(wait=False)

    async def _take(self) -> tuple[Device, ...]:
        # Opened at the first look, and then kept: cards keep their numbers, and one that is lost is missed.
        if self._reader is None:
            self._reader = self._thread.submit(self._open_reader)
        reader, workers = self._reader, self._workers()
        return await asyncio.wrap_future(self._thread.submit(lambda: reader.result().read(workers)))
