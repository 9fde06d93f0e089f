"""Wrappers of `CudaCalls` that look on: what lanes put on their streams, and when the card did it."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from scorestream_server.device.cuda_calls import CudaCalls
from scorestream_server.device.cuda_launch import Launch

COPY_IN, COPY_OUT = "copy in", "copy out"


class _Wrapped:
    """A card with some of its calls replaced."""

    def __init__(self, calls: CudaCalls) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)


class LastChunk(_Wrapped):
    """Remembers the launches behind the last copy to the card: what scoring a chunk takes; ``copies`` counts them."""

    def __init__(self, calls: CudaCalls) -> None:
        super().__init__(calls)
        self.copies = 0
        self.launches: list[tuple[Any, Launch]] = []

    def copy_in(self, stream: Any, target: int, source: NDArray[Any]) -> None:
        """Copy to the card."""
        self.copies += 1
        self.launches.clear()
        self._calls.copy_in(stream, target, source)

    def launch(self, stream: Any, kernel: Any, launch: Launch) -> None:
        """Run a kernel."""
        self.launches.append((kernel, launch))
        self._calls.launch(stream, kernel, launch)


@dataclass(frozen=True, slots=True)
class Interval:
    """A copy or a kernel on the card.

    Attributes:
        name: `COPY_IN`, `COPY_OUT`, or the kernel's name.
        lane: counted from 0, in the order of their first work.
        stream: counted likewise.
        size: bytes of a copy; 0 for a kernel.
        start, end: milliseconds. It may begin a few microseconds later than it says, where a stream had nothing to do.
        host_seconds: how long the call took that put it on the stream.
    """

    name: str
    lane: int
    stream: int
    size: int
    start: float
    end: float
    host_seconds: float


class Traced(_Wrapped):
    """Records an event before and behind every copy and every kernel."""

    def __init__(self, calls: CudaCalls) -> None:
        super().__init__(calls)
        self._begin: Any = None
        self._found: list[tuple[str, int, int, int, Any, Any, float]] = []

    def begin(self) -> None:
        """Forget what was before; times count from now on. Nothing may be on its way."""
        self._found.clear()
        self._begin = self._calls.event(timing=True)
        self._calls.record(self._begin, self._calls.stream(0))
        self._calls.wait(self._begin)

    def intervals(self) -> list[Interval]:
        """Return what was done since `begin`; all of it must have been waited for."""
        lanes: dict[int, int] = {}
        streams: dict[int, int] = {}
        return [
            Interval(
                name,
                lanes.setdefault(thread, len(lanes)),
                streams.setdefault(stream, len(streams)),
                size,
                self._calls.milliseconds(self._begin, first),
                self._calls.milliseconds(self._begin, last),
                took,
            )
            for name, thread, stream, size, first, last, took in self._found
        ]

    def copy_in(self, stream: Any, target: int, source: NDArray[Any]) -> None:
        """Copy to the card."""
        self._put(COPY_IN, source.nbytes, stream, lambda: self._calls.copy_in(stream, target, source))

    def copy_out(self, stream: Any, target: NDArray[Any], source: int) -> None:
        """Copy from the card."""
        self._put(COPY_OUT, target.nbytes, stream, lambda: self._calls.copy_out(stream, target, source))

    def launch(self, stream: Any, kernel: Any, launch: Launch) -> None:
        """Run a kernel."""
        self._put(launch.kernel, 0, stream, lambda: self._calls.launch(stream, kernel, launch))

    def _put(self, name: str, size: int, stream: Any, put: Callable[[], None]) -> None:
        first, last = self._calls.event(timing=True), self._calls.event(timing=True)
        self._calls.record(first, stream)
        start = time.perf_counter()
        put()
        took = time.perf_counter() - start
        self._calls.record(last, stream)
        self._found.append((name, threading.get_ident(), id(stream), size, first, last, took))


def busy(intervals: Iterable[Interval]) -> float:
    """Return the milliseconds in which at least one of the intervals ran."""
    total, end = 0.0, float("-inf")
    for interval in sorted(intervals, key=lambda one: one.start):
        total += max(0.0, interval.end - max(end, interval.start))
        end = max(end, interval.end)
    return total


def is_copy(interval: Interval) -> bool:
    """Tell copies from kernels."""
    return interval.name in (COPY_IN, COPY_OUT)


def chrome_trace(intervals: Sequence[Interval], card: str) -> dict[str, Any]:
    """Return the intervals in Chrome's trace format (open it in a browser's ``about:tracing`` or in Perfetto)."""
    lanes = sorted({(interval.lane, interval.stream) for interval in intervals})
    names = [
        {"name": "process_name", "ph": "M", "pid": lane, "args": {"name": f"lane {lane} on {card}"}}
        for lane in sorted({lane for lane, _ in lanes})
    ]
    names += [
        {"name": "thread_name", "ph": "M", "pid": lane, "tid": stream, "args": {"name": f"stream {stream}"}}
        for lane, stream in lanes
    ]
    events = [
        {
            "name": interval.name,
            "cat": "copy" if is_copy(interval) else "kernel",
            "ph": "X",
            "pid": interval.lane,
            "tid": interval.stream,
            "ts": interval.start * 1e3,
            "dur": (interval.end - interval.start) * 1e3,
            "args": {"bytes": interval.size},
        }
        for interval in intervals
    ]
    return {"traceEvents": [*names, *events], "displayTimeUnit": "ms"}
