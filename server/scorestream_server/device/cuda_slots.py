"""The chunks of a call on their way to a card and back: two of them at once, each in memory of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorestream_server.device.base import Columns
from scorestream_server.device.cuda_calls import CudaCalls, DeviceArray, DeviceBlock, HostBlock
from scorestream_server.device.cuda_memory import write_header


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A chunk on its way: which rows of the call, and where its scores will be."""

    start: int
    rows: int
    plan: Any


class Slot:
    """One chunk's memory, and the event behind it."""

    def __init__(self, calls: CudaCalls, size: int) -> None:
        self.host: HostBlock = calls.allocate_host(size)
        try:
            self.device: DeviceBlock = calls.allocate(size)
        except BaseException:
            self.host.free()
            raise
        self.done = calls.event()
        self.chunk: Chunk | None = None

    def array(self, place: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> DeviceArray:
        """Return a part of its device memory."""
        return DeviceArray(self.device.address + place, shape, dtype)

    def free(self) -> None:
        """Give its memory back."""
        self.device.free()
        self.host.free()

    def fill(self, columns: Columns, widths: Sequence[int]) -> None:
        """Write its chunk's rows to pinned memory; the last chunk has been taken."""
        chunk = self.chunk
        assert chunk is not None  # noqa: S101  # set by the caller, one line before
        host = self.host.bytes
        write_header(host, self.device.address, chunk.plan, widths)
        for column, place in zip(columns, chunk.plan.columns, strict=True):
            target = host[place : place + chunk.rows * column.dtype.itemsize].view(column.dtype)
            np.copyto(target, column[chunk.start : chunk.start + chunk.rows])


def run_chunks(
    calls: CudaCalls,
    slots: Sequence[Slot],
    rows: int,
    step: int,
    send: Callable[[Slot, int, int], None],
    take: Callable[[Slot, Chunk], None],
) -> None:
    """Have rows computed, so many at a time.

    Args:
        calls: the card.
        slots: memory of chunks, used in turns.
        rows: how many there are.
        step: how many a chunk has.
        send: puts the way of a chunk on the stream: its slot, its first row, and how many it has.
        take: takes its results from the slot's pinned memory, once they are there.
    """

    def collect(slot: Slot) -> None:
        chunk, slot.chunk = slot.chunk, None
        if chunk is not None:
            calls.wait(slot.done)
            take(slot, chunk)

    for number, start in enumerate(range(0, rows, step)):
        slot = slots[number % len(slots)]
        collect(slot)
        send(slot, start, min(step, rows - start))
    for slot in sorted(slots, key=lambda slot: slot.chunk.start if slot.chunk else 0):
        collect(slot)
