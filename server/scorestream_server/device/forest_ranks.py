"""Kernels that quantise a block of rows by the tables of `rank_pack`."""

# Kernels have no annotations: numba infers their types, and types an intrinsic by its signature, not its arguments.
# ruff: noqa: ANN001, ANN201, ANN202, ARG001, D417
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from typing import Any, NamedTuple

import numba as nb
import numba.extending
import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import Floats
from scorestream_server.device.rank_pack import BLOCK, BUCKETS, CATEGORY_SET, THRESHOLD

_LAST_BUCKET = np.float64(BUCKETS - 1)
_U = np.uint64

intrinsic: Any = numba.extending.intrinsic
"""As its users see it: a call passes all arguments but the first, which is numba's own."""


class Pair(NamedTuple):
    """A float32 or a float64 array; the other one is empty. So one compiled kernel serves both types."""

    narrow: NDArray[np.float32]
    wide: NDArray[np.float64]


def pair(array: Floats) -> Pair:
    """Wrap a two-dimensional array."""
    if array.dtype == np.float32:
        return Pair(array.astype(np.float32, copy=False), np.empty((0, 1), np.float64))
    return Pair(np.empty((0, 1), np.float32), array.astype(np.float64, copy=False))


@intrinsic
def _float64_at(_, address, place):
    """Load a float64."""

    def build(_context, builder, _signature, arguments):
        at = builder.add(arguments[0], builder.shl(arguments[1], ir.Constant(ir.IntType(64), 3)))
        return builder.load(builder.inttoptr(at, ir.DoubleType().as_pointer()), align=8)

    return types.float64(types.uint64, types.uint64), build


@intrinsic
def _float32_at(_, address, place):
    """Load a float32 as a float64."""

    def build(_context, builder, _signature, arguments):
        at = builder.add(arguments[0], builder.shl(arguments[1], ir.Constant(ir.IntType(64), 2)))
        single = builder.load(builder.inttoptr(at, ir.FloatType().as_pointer()), align=4)
        return builder.fpext(single, ir.DoubleType())

    return types.float64(types.uint64, types.uint64), build


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def quantise(tables, addresses, wide, start, count, keys, ranks, columns):
    """Quantise the rows ``start:start + count``.

    Args:
        tables: `RankTables`.
        addresses: uint64, shape ``(features,)``: where each of the table's columns starts in memory.
        wide: uint64, shape ``(features,)``: 1 for a float64 column, 0 for a float32 one.
        start, count: uint64.
        keys, ranks: float64 and int32, shape ``(BLOCK,)``: memory to work in.
        columns: `Cells` of shape ``(C, BLOCK)``: the result. Rows from ``count`` on are left as they were.
    """
    for used in range(len(tables.features)):
        feature = tables.features[used]
        _rank_block(tables, used, addresses[feature], wide[feature], start, count, keys, ranks)
        for column in range(tables.column_starts[used], tables.column_starts[used + 1]):
            if len(columns.octets):
                _fill_column(tables, column, ranks, columns.octets[column])
            else:
                _fill_column(tables, column, ranks, columns.words[column])


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _rank_block(tables, used, address, wide, start, count, keys, ranks):
    """Write how many thresholds each value has passed (a category: its code); -1 where it is missing.

    The search goes step by step over all rows, not row by row over all steps: the rows' loads overlap.
    """
    values = tables.values[_U(tables.value_starts[used]) :]
    category = tables.is_category[used]
    _load_keys(address, wide, start, count, keys)
    if category:
        for row in range(count):
            keys[row] = np.trunc(keys[row]) if keys[row] > tables.category_floor else np.nan
    _first_ranks(
        tables.buckets[_U(used * BUCKETS) :], tables.low[used], tables.scale[used], count, keys, ranks
    )
    for step in range(tables.steps[used] - 1, -1, -1):
        probes = values[_U((1 << step) - 1) :]
        if tables.strict or category:
            for row in range(count):
                rank = ranks[row]
                ranks[row] = rank + (np.int32(keys[row] >= probes[_U(rank)]) << step)
        else:
            for row in range(count):
                rank = ranks[row]
                ranks[row] = rank + (np.int32(keys[row] > probes[_U(rank)]) << step)
    if category:
        for row in range(count):
            rank = ranks[row]
            ranks[row] = rank if rank > 0 and values[_U(max(rank, 1) - 1)] == keys[row] else 0
        # What is no category is not missing for all that.
        _load_keys(address, wide, start, count, keys)
    for row in range(count):
        ranks[row] = -1 if np.isnan(keys[row]) else ranks[row]


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _load_keys(address, wide, start, count, keys):
    if wide:
        for row in range(count):
            keys[row] = _float64_at(address, start + row)
    else:
        for row in range(count):
            keys[row] = _float32_at(address, start + row)


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _first_ranks(buckets, low, scale, count, keys, ranks):
    """Write the rank at the start of the part of the range that each value lies in."""
    for row in range(count):
        place = (keys[row] - low) * scale
        # Not max and min, which let a number that is none pass.
        place = place if place > 0.0 else 0.0  # noqa: FURB136 -- see above
        place = place if place < _LAST_BUCKET else _LAST_BUCKET  # noqa: FURB136 -- see above
        ranks[row] = buckets[_U(np.int64(place))]


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _fill_column(tables, column, ranks, cells):
    """Write one column, cut to what its cells hold."""
    low = tables.column_low[column]
    missing = tables.column_missing[column]
    kind = tables.column_kind[column]
    most = np.int32(255 if cells.itemsize == 1 else 65535)
    if kind == THRESHOLD:
        for row in range(_U(BLOCK)):
            rank = ranks[row]
            cells[row] = min(max((missing if rank < 0 else rank) - low, np.int32(0)), most)
    elif kind == CATEGORY_SET:
        for row in range(_U(BLOCK)):
            rank = ranks[row]
            cells[row] = tables.members[_U(low + (missing if rank < 0 else rank))]
    else:
        for row in range(_U(BLOCK)):
            rank = ranks[row]
            code = (missing if rank < 0 else rank) - low
            cells[row] = code if 0 < code <= most else 0


# Plain loops: numba takes seconds to compile NumPy's slices.


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def clear(sums):
    """Set a block's sums to 0."""
    for total in sums:
        for row in range(_U(BLOCK)):
            total[row] = 0


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def copy_out(sums, out, start, count):
    """Copy a block's sums, shape ``(outputs, BLOCK)``, to ``out``, shape ``(outputs, rows)``."""
    for output in range(len(sums)):
        for row in range(count):
            out[_U(output), start + row] = sums[_U(output), row]
