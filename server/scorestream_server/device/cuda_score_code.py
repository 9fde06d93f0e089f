"""Score code on a CUDA lane: the way of a chunk of columns through the fused kernel of a program."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.cuda_expression import expression_columns
from scorestream_server.device.cuda_memory import ALIGNMENT, LARGEST_COPY, aligned
from scorestream_server.device.program import Program, Vector
from scorestream_server.device.program_types import DTYPES

_COLUMN_BYTES = 16
"""Bytes of a column's entry in the kernel's table: the address of its values, and of its null mask."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a chunk's arrays are in a slot, in bytes from its start: table, inputs, then outputs.

    Attributes:
        inputs: of each input, the place of its values and of its null mask; -1 for no mask.
        outputs: of each output, likewise, always with a mask.
        input_bytes: what is copied in: everything before the outputs.
        size: bytes in all; what is behind ``input_bytes`` is copied out.
    """

    inputs: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...]
    input_bytes: int
    size: int


def places(rows: int, inputs: Sequence[Vector], program: Program) -> Places:
    """Lay out a chunk of so many rows."""
    widths = [(vector.values.dtype.itemsize, vector.null is not None) for vector in inputs]
    made = [(np.dtype(DTYPES[program.nodes[out.node].type]).itemsize, True) for out in program.outputs]
    sizes = [
        size
        for width, masked in (*widths, *made)
        for size in (aligned(rows * width), aligned(rows) if masked else 0)
    ]
    table = aligned(_COLUMN_BYTES * (len(widths) + len(made)))
    starts = list(itertools.accumulate(sizes, initial=table))
    pairs = list(zip(starts[0:-1:2], starts[1::2], strict=True))
    return Places(
        tuple(
            (value, mask if masked else -1) for (value, mask), (_, masked) in zip(pairs, widths, strict=False)
        ),
        tuple(pairs[len(widths) :]),
        starts[2 * len(widths)],
        starts[-1],
    )


def chunk_rows(room: int, rows: int, inputs: Sequence[Vector], program: Program) -> int:
    """Return how many rows to send at a time; 0 where not even the fewest fit into ``room`` bytes."""
    one = places(ALIGNMENT, inputs, program)
    table = aligned(_COLUMN_BYTES * (len(inputs) + len(program.outputs)))
    row = (one.size - table) / ALIGNMENT
    fits = int((room - table) / row) // ALIGNMENT * ALIGNMENT
    wanted = max(int(LARGEST_COPY / row) // ALIGNMENT, 1) * ALIGNMENT
    return max(0, min(rows, fits, wanted))


def write_inputs(
    host: NDArray[np.uint8], base: int, plan: Places, inputs: Sequence[Vector], start: int, rows: int
) -> None:
    """Write a chunk's table and columns to pinned memory.

    Args:
        host: the slot's pinned memory.
        base: the address of the slot's device memory.
        plan: the chunk's layout.
        inputs: all rows of the call.
        start: the first row of the chunk.
        rows: how many it has.
    """
    known = [(base + value, base + mask if mask >= 0 else 0) for value, mask in plan.inputs]
    table = expression_columns(known, [(base + value, base + mask) for value, mask in plan.outputs])
    host[: table.nbytes].view(np.uint64)[:] = table.reshape(-1)
    for vector, (value, mask) in zip(inputs, plan.inputs, strict=True):
        part = vector.values[start : start + rows]
        np.copyto(host[value : value + part.nbytes].view(part.dtype), part)
        if mask >= 0:
            np.copyto(host[mask : mask + rows], vector.null[start : start + rows], casting="unsafe")


def read_outputs(
    host: NDArray[np.uint8],
    plan: Places,
    values: Sequence[NDArray[np.generic]],
    masks: Sequence[NDArray[np.bool_]],
    start: int,
    rows: int,
) -> None:
    """Take a chunk's outputs from pinned memory; what was copied out begins at its start."""
    for (value, mask), out, null in zip(plan.outputs, values, masks, strict=True):
        first = value - plan.input_bytes
        out[start : start + rows] = host[first : first + rows * out.dtype.itemsize].view(out.dtype)
        null[start : start + rows] = host[mask - plan.input_bytes :][:rows].view(np.bool_)


def empty_outputs(program: Program, rows: int) -> tuple[list[NDArray[np.generic]], list[NDArray[np.bool_]]]:
    """Return arrays for a program's outputs, and for where they are NULL."""
    dtypes = [DTYPES[program.nodes[output.node].type] for output in program.outputs]
    return [np.empty(rows, dtype) for dtype in dtypes], [np.empty(rows, np.bool_) for _ in dtypes]
