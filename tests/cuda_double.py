"""A card that is none: the calls that lanes make, recorded, run on the host, and held to CUDA's rules.

What is put on a stream runs late: only when somebody waits for an event behind it. Memory is filled with rubbish when
it is taken, and again when it is freed. So whoever reads before the event, changes what is still to be copied, frees
what is still in use, or takes memory while a stream works, is found out, by a `Broken` or by wrong scores.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuda_host.harness import HostModule, build
from scorestream_server.device.base import DeviceFault
from scorestream_server.device.cuda_calls import DeviceArray, OutOfDeviceMemory
from scorestream_server.device.cuda_compile import Program
from scorestream_server.device.cuda_launch import Launch

RUBBISH = 0xA5


class Broken(AssertionError):  # noqa: N818  # a fact about the caller
    """A rule of CUDA was broken."""


@dataclass(eq=False)
class Event:
    """An event; `at` is the number of the work behind which it stands."""

    stream: "Stream | None" = None
    at: int = 0


@dataclass(eq=False)
class Stream:
    """Work in order; `done` pieces of it have run."""

    priority: int
    work: list[Callable[[], None]] = field(default_factory=list)
    done: int = 0
    user: int = 0  # the thread that put the last piece there


class Block:
    """Device or pinned memory, aligned as CUDA's is."""

    def __init__(self, card: "Card", size: int, *, pinned: bool) -> None:
        memory = np.full(size + 256, RUBBISH, np.uint8)
        start = -memory.ctypes.data % 256
        self.bytes = memory[start : start + size]
        self.address = self.bytes.ctypes.data
        self.size = size
        self.pinned = pinned
        self._card = card
        card.blocks[self.address] = self

    def free(self) -> None:
        """Give it back."""
        self._card.freed(self)


class Card:
    """A card of so many bytes; implements `cuda_calls.CudaCalls`.

    Attributes:
        log: what was called, in order: pairs of a call's name and what it was about.
        fault_at: the launch, counted from 1, at which the card breaks; 0: never.
        faster: kernels that seem to take half the time of others.
    """

    card = "a card that is none"

    def __init__(self, size: int, folder: Path, shared_bytes: int = 64 << 10, name: str = "cuda:0") -> None:
        self.name = name
        self.size = size
        self.shared_bytes = shared_bytes
        self.log: list[tuple[str, Any]] = []
        self.blocks: dict[int, Block] = {}
        self.streams: list[Stream] = []
        self.fault_at = 0
        self.faster: tuple[str, ...] = ()
        self.broken = False
        self._launches = 0
        self._folder = folder
        self._modules: dict[str, HostModule] = {}
        self._attached: set[int] = set()
        # What a stream runs late, it may run on any thread; the harness runs one kernel at a time.
        self._lock = threading.RLock()

    def calls(self, name: str) -> list[Any]:
        """Return what all calls of one name were about."""
        return [about for call, about in self.log if call == name]

    # -- what lanes call --------------------------------------------------------------------------------

    def attach(self) -> None:
        self._attached.add(threading.get_ident())
        self._note("attach", None)

    def memory(self) -> tuple[int, int]:
        self._note("memory", None)
        with self._lock:
            return self.size - self._used(), self.size

    def allocate(self, size: int) -> Block:
        with self._lock:
            self._check_idle("allocate")
            self._note("allocate", size)
            if self._used() + size > self.size:
                raise OutOfDeviceMemory(f"{size} bytes")
            return Block(self, size, pinned=False)

    def allocate_host(self, size: int) -> Block:
        with self._lock:
            self._check_idle("allocate_host")
            self._note("allocate_host", size)
            return Block(self, size, pinned=True)

    def load(self, program: Program) -> dict[str, Any]:
        with self._lock:
            self._note("load", program.name)
            source = program.source()
            if source not in self._modules:
                self._modules[source] = build(source, self._folder)
            return {kernel: (self._modules[source], kernel) for kernel in program.kernels}

    def stream(self, priority: int) -> Stream:
        self._note("stream", priority)
        self.streams.append(Stream(priority))
        return self.streams[-1]

    def event(self, *, timing: bool = False) -> Event:
        self._note("event", timing)
        return Event()

    def copy_in(self, stream: Stream, target: int, source: NDArray[Any]) -> None:
        before = source.copy()

        def run() -> None:
            if not np.array_equal(before, source):
                raise Broken("pinned memory was changed before it was copied in")
            self.part(target, before.nbytes)[:] = before.reshape(-1).view(np.uint8)

        self._pinned(source)
        self._later("copy_in", source.nbytes, stream, run)

    def copy_out(self, stream: Stream, target: NDArray[Any], source: int) -> None:
        self._pinned(target)
        self._later(
            "copy_out",
            target.nbytes,
            stream,
            lambda: np.copyto(target.view(np.uint8), self.part(source, target.nbytes)),
        )

    def launch(self, stream: Stream, kernel: tuple[HostModule, str], launch: Launch) -> None:
        module, name = kernel
        self._launches += 1
        if self._launches == self.fault_at:
            self.broken = True

        def run() -> None:
            if launch.shared_bytes > self.shared_bytes:
                raise Broken(f"{name} wants {launch.shared_bytes} bytes of shared memory")
            arguments = [self._argument(value) for value in launch.arguments]
            module.launch(name, launch.grid, launch.block, launch.shared_bytes, arguments)

        self._later("launch", launch, stream, run)

    def record(self, event: Event, stream: Stream) -> None:
        self._note("record", stream)
        event.stream, event.at = stream, len(stream.work)

    def wait(self, event: Event) -> None:
        self._note("wait", event.stream)
        if event.stream is None:
            return
        with self._lock:
            while event.stream.done < event.at:
                event.stream.work[event.stream.done]()
                event.stream.done += 1

    def milliseconds(self, first: Event, second: Event) -> float:
        for event in (first, second):
            if event.stream is None or event.stream.done < event.at:
                raise Broken("the time of an event that has not happened")
        launches = [about for call, about in self.log if call == "launch"]
        return 1.0 if launches[-1].kernel in self.faster else 2.0

    # -- rules ------------------------------------------------------------------------------------------

    def freed(self, block: Block) -> None:
        """Take a block back; a broken card takes nothing, and its process ends soon."""
        if self.broken:
            return
        with self._lock:
            self._note("free", block.size)
            self._check_idle("free")
            if self.blocks.pop(block.address, None) is not block:
                raise Broken("memory was freed twice")
            block.bytes[:] = RUBBISH

    def _note(self, call: str, about: Any) -> None:
        if self.broken:
            raise DeviceFault("an illegal memory access was encountered")
        if threading.get_ident() not in self._attached and call != "attach":
            raise Broken(f"{call} on a thread that never attached")
        self.log.append((call, about))

    def _later(self, call: str, about: Any, stream: Stream, run: Callable[[], None]) -> None:
        self._note(call, about)
        stream.user = threading.get_ident()
        stream.work.append(run)

    def _check_idle(self, call: str) -> None:
        # That another lane waits for a model to be loaded is no fault of this one.
        me = threading.get_ident()
        if any(stream.done < len(stream.work) for stream in self.streams if stream.user == me):
            raise Broken(f"{call} while work is on its way: it would wait for the whole card")

    def _used(self) -> int:
        return sum(block.size for block in self._device_blocks())

    def _device_blocks(self) -> Iterable[Block]:
        return (block for block in self.blocks.values() if not block.pinned)

    def _pinned(self, array: NDArray[Any]) -> None:
        self.part(array.ctypes.data, array.nbytes, pinned=True)

    def part(self, address: int, size: int, *, pinned: bool = False) -> NDArray[np.uint8]:
        """Return the memory from an address on: so many bytes, and with -1 the rest of its block."""
        with self._lock:
            for block in self.blocks.values():
                room = block.address + block.size - address
                if block.pinned == pinned and max(size, 0) <= room <= block.size:
                    return block.bytes[block.size - room :][: room if size < 0 else size]
        if pinned:
            raise Broken("a copy from or to memory that is not pinned")
        raise Broken("an access to device memory that is not taken")

    def _argument(self, value: Any) -> Any:
        if not isinstance(value, DeviceArray):
            return value
        if not value.nbytes:
            return np.zeros(0, value.dtype)
        return self.part(value.address, value.nbytes).view(value.dtype).reshape(value.shape)
