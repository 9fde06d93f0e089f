"""Memory, streams and events of the stand-in's cards."""

import ctypes
import threading
from collections import defaultdict
from typing import Any, Self

from .. import machine
from . import driver, nvrtc, runtime
from .runtime import CUDARuntimeError

__all__ = [
    "Event",
    "Memory",
    "PinnedMemory",
    "PinnedMemoryPointer",
    "Stream",
    "current_stream",
    "driver",
    "get_elapsed_time",
    "nvrtc",
    "runtime",
]

_entered: defaultdict[int, list["Stream"]] = defaultdict(list)


class _Memory:
    """Memory that goes back to its card when nobody refers to it any more."""

    def __init__(self, block: Any) -> None:
        self._block = block
        self.ptr: int = block.address

    def __del__(self) -> None:
        # What is raised here is lost, but written down.
        if hasattr(self, "_block"):
            with machine.told(CUDARuntimeError):
                self._block.free()


class Memory(_Memory):
    """Device memory."""

    def __init__(self, size: int) -> None:
        with machine.told(CUDARuntimeError):
            super().__init__(machine.current().allocate(size))


class PinnedMemory(_Memory):
    """Pinned host memory."""

    def __init__(self, size: int, flags: int = 0) -> None:
        with machine.told(CUDARuntimeError):
            super().__init__(machine.current().allocate_host(size))
        self.bytes = self._block.bytes


def PinnedMemoryPointer(mem: PinnedMemory, offset: int) -> Any:
    """Return a place in pinned memory as a buffer that keeps the memory alive."""
    size = len(mem.bytes) - offset
    made: Any = (ctypes.c_ubyte * size).from_address(mem.ptr + offset)
    made.mem = mem
    return made


class Stream:
    """A stream of the thread's card."""

    def __init__(
        self,
        null: bool = False,
        non_blocking: bool = False,
        ptds: bool = False,
        priority: int | None = None,
    ) -> None:
        if null or ptds or not non_blocking:
            raise NotImplementedError("a stream that waits for the null stream")
        with machine.told(CUDARuntimeError):
            self.work = machine.current().stream(priority or 0)
        self.ptr = id(self.work)
        runtime.streams[self.ptr] = self.work

    def __enter__(self) -> Self:
        _entered[threading.get_ident()].append(self)
        return self

    def __exit__(self, *args: object) -> None:
        _entered[threading.get_ident()].pop()


def current_stream() -> Any:
    """Return the stream that the thread has entered."""
    return _entered[threading.get_ident()][-1].work


class Event:
    """An event of the thread's card."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._timing = not disable_timing
        with machine.told(CUDARuntimeError):
            self._event = machine.current().event(timing=self._timing)

    def record(self, stream: Stream | None = None) -> None:
        with machine.told(CUDARuntimeError):
            machine.current().record(self._event, current_stream() if stream is None else stream.work)

    def synchronize(self) -> None:
        with machine.told(CUDARuntimeError):
            machine.current().wait(self._event)


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    if not (start_event._timing and end_event._timing):
        raise CUDARuntimeError(400)
    with machine.told(CUDARuntimeError):
        return machine.current().milliseconds(start_event._event, end_event._event)
