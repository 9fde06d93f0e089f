"""How the CUDA kernels are launched: grids, blocks, shared memory, and the order and types of arguments.

Pure functions: arrays may be CuPy's, or NumPy's where the kernels run on the host in tests. What they return is what
a launch takes, so the tests prove the very calls that a device gets. All arrays lie on the device that runs the
kernels; rows of a chunk, at most 2**30, are padded to a *stride*, a multiple of `ROW_MULTIPLE`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from scorestream_server.device.cuda_compile import RANK_ROWS
from scorestream_server.device.cuda_forest import CudaArrays, CudaForest

ROW_MULTIPLE = 128
_WARP = 32
_BANK = 4
"""Bytes that a thread keeps of each column: one bank of shared memory."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch.

    Attributes:
        kernel: the entry function.
        grid: blocks in x and y.
        block: threads.
        shared_bytes: dynamic shared memory of a block. Above 48 KiB the kernel's attribute
            ``max_dynamic_shared_size_bytes`` must be raised first.
        arguments: arrays, and NumPy scalars of the exact types that the kernel takes.
    """

    kernel: str
    grid: tuple[int, int]
    block: int
    shared_bytes: int
    arguments: tuple[Any, ...]


def stride_of(rows: int) -> int:
    """Return the least stride that holds so many rows."""
    return -(-rows // ROW_MULTIPLE) * ROW_MULTIPLE


class Ranked(Protocol):
    """A forest whose rows are quantised; see `CudaForest`."""

    @property
    def used_features(self) -> int:
        """How many searches there are."""

    @property
    def category_floor(self) -> float:
        """See `RankTables`."""

    @property
    def strict(self) -> bool:
        """See `RankTables`."""


class RankArrays(Protocol):
    """What `rank.cu` reads; see `CudaArrays`."""

    @property
    def searches(self) -> Any:
        """Of each used feature."""

    @property
    def columns(self) -> Any:
        """Of the quantised rows."""

    @property
    def values(self) -> Any:
        """What is searched."""

    @property
    def buckets(self) -> Any:
        """Where searches begin."""

    @property
    def members(self) -> Any:
        """Of sets of categories."""


def rank_launch(
    forest: Ranked,
    arrays: RankArrays,
    addresses: Any,
    wide: Any,
    rows: int,
    cells: Any,
    *,
    block: int = 128,
) -> Launch:
    """Quantise rows. Skip it where `CudaForest.used_features` is 0.

    Args:
        forest: what to quantise for.
        arrays: ``forest.arrays``, on the device.
        addresses: uint64, shape ``(features,)``: where each feature's column starts, aligned to its type. A column
            is read from row 0 to ``rows``.
        wide: uint8, shape ``(features,)``: 1 for a float64 column, 0 for a float32 one.
        rows: how many there are, at least 1.
        cells: ``forest.cell``, shape ``(columns, stride)``: the result. Padding gets the cells of missing values.
        block: threads, a multiple of 32.
    """
    stride = cells.shape[1]
    grid = (-(-stride // (block * RANK_ROWS)), forest.used_features)
    tables = (arrays.searches, arrays.columns, arrays.values, arrays.buckets, arrays.members)
    scalars = (
        np.float64(forest.category_floor),
        np.int32(forest.strict),
        np.int32(rows),
        np.int32(stride),
    )
    return Launch("rank_rows", grid, block, 0, (addresses, wide, *tables, *scalars, cells))


def staged_bytes(forest: CudaForest, block: int) -> int:
    """Return the dynamic shared memory that `walk_launch` needs to stage cells in it."""
    return forest.columns * block * _BANK


def largest_staged_block(forest: CudaForest, shared_bytes: int, most: int = 256) -> int:
    """Return the most threads a block whose cells fit into shared memory; 0 where not even a warp's do."""
    if not forest.columns:
        return most
    return min(most, shared_bytes // (forest.columns * _BANK) // _WARP * _WARP)


def walk_launch(
    forest: CudaForest, arrays: CudaArrays, cells: Any, sums: Any, *, block: int, staged: bool
) -> Launch:
    """Sum the leaves of many rows.

    Args:
        forest: what to score with.
        arrays: ``forest.arrays``, on the device.
        cells: from `rank_launch`; any 16-byte aligned array of the type where there are no columns.
        sums: ``forest.leaf``, shape ``(outputs, stride)``, 16-byte aligned: the result. Padding is written too.
        block: threads, a multiple of 32.
        staged: whether cells are copied to shared memory first (`largest_staged_block`), or read where they are.
    """
    rows_of_block = block * _BANK // forest.cell.itemsize
    return Launch(
        "walk_staged" if staged else "walk_global",
        (-(-sums.shape[1] // rows_of_block), 1),
        block,
        staged_bytes(forest, block) if staged else 0,
        _walk_arguments(forest, arrays, cells, sums),
    )


def row_launch(
    forest: CudaForest, arrays: CudaArrays, cells: Any, sums: Any, rows: int, *, block: int = 256
) -> Launch:
    """Sum the leaves of few rows, a block each; only the first ``rows`` sums are written. See `walk_launch`."""
    shared_bytes = block * 8 + forest.columns * forest.cell.itemsize
    return Launch("walk_row", (rows, 1), block, shared_bytes, _walk_arguments(forest, arrays, cells, sums))


def finish_launch(
    forest: CudaForest, arrays: CudaArrays, sums: Any, rows: int, *, block: int = 256
) -> Launch:
    """Turn the sums of the first ``rows`` rows into scores, in place."""
    arguments = (
        sums,
        arrays.divisors,
        arrays.base_scores,
        arrays.classes,
        np.int32(len(arrays.classes)),
        np.int32(forest.outputs),
        np.int32(forest.post_number),
        np.float64(forest.sigmoid_alpha),
        np.float64(forest.ratio_c),
        np.int32(rows),
        np.int32(sums.shape[1]),
    )
    return Launch("finish_rows", (-(-rows // block), 1), block, 0, arguments)


def _walk_arguments(forest: CudaForest, arrays: CudaArrays, cells: Any, sums: Any) -> tuple[Any, ...]:
    return (
        arrays.nodes,
        arrays.trees,
        arrays.output_starts,
        arrays.leaves,
        cells,
        sums,
        np.int32(len(arrays.trees)),
        np.int32(forest.outputs),
        np.int32(forest.width),
        np.int32(forest.columns),
        np.int32(sums.shape[1]),
    )
