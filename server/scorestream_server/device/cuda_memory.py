"""Where a lane's memory goes: a pure plan of the bytes that a chunk of rows needs, and of the chunks of a call."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.cuda_launch import ROW_MULTIPLE, stride_of

ALIGNMENT = 256
"""Every array of a chunk starts at a multiple of this, as a block of device memory does."""
LARGEST_COPY = 16 << 20
"""Bytes of a chunk's input at most: large enough to run the bus at its full rate, small enough that a second lane's
copy, kernels and answers overlap with it."""
SLOTS = 2
"""Chunks of a lane that may be on their way at once: one is filled while the other is copied and scored."""


def aligned(size: int) -> int:
    """Return the size rounded up to `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of a chunk's arrays in a slot's device memory, in bytes from its start.

    The first ``input_bytes`` are copied in at once: a table of the columns' addresses, then the columns. The
    pinned memory of the slot has the same layout for them.

    Attributes:
        stride: rows that every array has room for.
        wide: place of the flags that tell float64 columns.
        columns: place of each feature's column.
        cells: place of the quantised columns.
        sums: place of the sums, which become the scores.
        size: bytes in all.
    """

    stride: int
    wide: int
    columns: tuple[int, ...]
    input_bytes: int
    cells: int
    sums: int
    size: int


def layout(rows: int, widths: Sequence[int], cell_bytes: int, sum_bytes: int) -> Layout:
    """Lay out a chunk.

    Args:
        rows: how many rows it has.
        widths: bytes of a value of each feature's column.
        cell_bytes: bytes a row of quantised columns.
        sum_bytes: bytes a row of sums.
    """
    stride = stride_of(rows)
    wide = aligned(8 * len(widths))
    place = wide + aligned(len(widths))
    columns = []
    for width in widths:
        columns.append(place)
        place += stride * width
    cells = aligned(place)
    sums = cells + aligned(stride * cell_bytes)
    return Layout(stride, wide, tuple(columns), place, cells, sums, sums + aligned(stride * sum_bytes))


def chunk_rows(room: int, rows: int, widths: Sequence[int], cell_bytes: int, sum_bytes: int) -> int:
    """Return how many rows to send at a time; 0 where not even the fewest fit into ``room`` bytes."""
    row = sum(widths) + cell_bytes + sum_bytes
    fixed = layout(0, widths, cell_bytes, sum_bytes).size + 2 * ALIGNMENT
    fits = (room - fixed) // max(row, 1) // ROW_MULTIPLE * ROW_MULTIPLE
    wanted = max(LARGEST_COPY // max(sum(widths), 1) // ROW_MULTIPLE, 1) * ROW_MULTIPLE
    return max(0, min(stride_of(rows), fits, wanted))


def write_header(block: NDArray[np.uint8], base: int, plan: Layout, widths: Sequence[int]) -> None:
    """Write the columns' addresses on the device, and which of them are float64, to the start of a chunk.

    Args:
        block: the slot's pinned memory.
        base: the address of the slot's device memory.
        plan: the chunk's layout.
        widths: bytes of a value of each column.
    """
    count = len(widths)
    block[: 8 * count].view(np.uint64)[:] = np.array(plan.columns, np.uint64) + np.uint64(base)
    block[plan.wide : plan.wide + count] = np.array(widths) == 8
