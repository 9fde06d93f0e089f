"""Reason codes on a card: how a forest is laid out for ``kernels/reasons.cu``, and how the kernels are launched."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.cuda_compile import Program, rank_program, reasons_program
from scorestream_server.device.cuda_forest import rank_arrays
from scorestream_server.device.cuda_launch import Launch
from scorestream_server.device.forest_arrays import ForestArrays
from scorestream_server.device.reason_pack import PackedReasons, ReasonModel, pack_reasons

_EDGE = np.dtype(
    [
        ("share", np.float64),
        ("earlier_share", np.float64),
        *((name, np.int32) for name in ("column", "highest", "right", "slot", "level", "earlier")),
    ]
)
_FACTORS = 5
_MOST_TILE = 32
_SHARED_BYTES = 40 << 10
"""Of the 48 KiB that every card has for a block without being asked; at the most points, eight edges' factors."""


class CudaReasonArrays(NamedTuple):
    """What the kernels read: NumPy arrays, or their copies on a device; see ``reasons.cu`` and `CudaArrays`."""

    searches: NDArray[np.uint8]
    columns: NDArray[np.int32]
    values: NDArray[np.float64]
    buckets: NDArray[np.int32]
    members: NDArray[np.uint8]
    edges: NDArray[np.uint8]
    steps: NDArray[np.uint32]
    step_starts: NDArray[np.int64]
    tree_points: NDArray[np.int32]
    leaves: NDArray[np.float64]
    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    output_trees: NDArray[np.int32]
    slot_features: NDArray[np.int32]


class WorkArrays(NamedTuple):
    """A chunk's memory on the device, one array behind the other; see ``reasons.cu``."""

    contributions: Any
    features: Any
    owed: Any
    down: Any
    up: Any
    satisfied: Any


@dataclass(frozen=True, slots=True, eq=False)
class CudaReasons:
    """A forest for the CUDA kernels of reason codes.

    Attributes:
        arrays: what the kernels read.
        packed: how it is laid out, and the figures of each output.
    """

    arrays: CudaReasonArrays
    packed: PackedReasons

    cell = np.dtype(np.uint16)

    @property
    def used_features(self) -> int:
        """How many features are searched."""
        return len(self.arrays.searches)

    @property
    def category_floor(self) -> float:
        """See `RankTables`."""
        return self.packed.ranks.category_floor

    @property
    def strict(self) -> bool:
        """See `RankTables`."""
        return self.packed.ranks.strict

    @property
    def slots(self) -> int:
        """How many features may be reasons."""
        return len(self.arrays.slot_features)

    @property
    def cell_bytes(self) -> int:
        """Bytes a row of quantised columns."""
        return len(self.arrays.columns) * self.cell.itemsize

    def result_bytes(self, reasons: int) -> int:
        """Return the bytes a row of so many reasons."""
        return reasons * 12

    def work_bytes(self, reasons: int) -> int:
        """Return the bytes a row of reasons and of all memory that finding them takes."""
        stacks = self.packed.levels * (16 * self.packed.points + 1)
        return self.result_bytes(reasons) + 8 * self.slots + stacks

    def work_arrays(self, reasons: int, stride: int, array: Callable[..., Any]) -> WorkArrays:
        """Return a chunk's memory: `work_bytes` a row, its result at the start.

        Args:
            reasons: how many a row.
            stride: rows that there is room for, a multiple of 128.
            array: makes an array of a place in the chunk's memory, a shape and a type.
        """
        stack = (self.packed.levels, self.packed.points, stride)
        shapes: list[tuple[tuple[int, ...], Any]] = [
            ((reasons, stride), np.float64),
            ((reasons, stride), np.int32),
            ((self.slots, stride), np.float64),
            (stack, np.float64),
            (stack, np.float64),
            ((self.packed.levels, stride), np.uint8),
        ]
        place, arrays = 0, []
        for shape, kind in shapes:
            arrays.append(array(place, shape, np.dtype(kind)))
            place += math.prod(shape) * np.dtype(kind).itemsize
        return WorkArrays(*arrays)

    def programs(self) -> tuple[Program, Program]:
        """Return the programs that quantise rows, and that explain them."""
        return rank_program(self.cell), reasons_program()


def pack_cuda_reasons(forest: ForestArrays) -> CudaReasons:
    """Lay a forest out.

    Raises:
        Unexplained: it cannot be explained.
    """
    packed = pack_reasons(forest)
    model = packed.model
    return CudaReasons(
        CudaReasonArrays(
            *rank_arrays(packed.ranks, forest.narrow),
            values=packed.ranks.values,
            buckets=packed.ranks.buckets,
            members=packed.ranks.members,
            edges=_edge_bytes(model),
            steps=model.steps,
            step_starts=model.step_starts,
            tree_points=model.tree_points,
            leaves=model.values,
            points=model.points,
            weights=model.weights,
            output_trees=np.concatenate(packed.output_trees).astype(np.int32),
            slot_features=model.slot_features,
        ),
        packed,
    )


def explain_launch(
    forest: CudaReasons,
    arrays: CudaReasonArrays,
    cells: Any,
    work: WorkArrays,
    rows: int,
    output: int,
    *,
    block: int = 128,
) -> Launch:
    """Find what every feature adds to an output's margin.

    Args:
        forest: what to explain.
        arrays: ``forest.arrays``, on the device.
        cells: uint16, shape ``(columns, stride)``, from `rank_launch`.
        work: memory of `CudaReasons.work_arrays`; ``owed`` is the result.
        rows: how many there are, at least 1.
        output: which one.
        block: threads, a multiple of 32.
    """
    packed = forest.packed
    points = packed.points
    tile = max(1, min(_MOST_TILE, _SHARED_BYTES // (8 * _FACTORS * points)))
    first = sum(len(trees) for trees in packed.output_trees[:output])
    model = (
        arrays.edges,
        arrays.steps,
        arrays.step_starts,
        arrays.tree_points,
        arrays.leaves,
        arrays.points,
        arrays.weights,
        arrays.output_trees,
    )
    counts = (
        first,
        len(packed.output_trees[output]),
        forest.slots,
        len(packed.model.share),
        points,
        tile,
        rows,
        work.owed.shape[1],
    )
    return Launch(
        "explain_rows",
        (-(-rows // block), 1),
        block,
        8 * _FACTORS * points * tile,
        (
            *model,
            cells,
            work.down,
            work.up,
            work.satisfied,
            work.owed,
            *(np.int32(count) for count in counts),
        ),
    )


def choose_launch(
    forest: CudaReasons,
    arrays: CudaReasonArrays,
    work: WorkArrays,
    rows: int,
    output: int,
    *,
    block: int = 128,
) -> Launch:
    """Choose each row's largest contributions; see `explain_launch`."""
    reasons, stride = work.features.shape
    counts = (forest.slots, reasons, rows, stride)
    arguments = (
        work.owed,
        arrays.slot_features,
        work.contributions,
        work.features,
        np.float64(forest.packed.divisors[output]),
        *(np.int32(count) for count in counts),
    )
    return Launch("choose_reasons", (-(-rows // block), 1), block, 0, arguments)


def _edge_bytes(model: ReasonModel) -> NDArray[np.uint8]:
    edges = np.zeros(len(model.share), _EDGE)
    for name in _EDGE.names or ():
        edges[name] = getattr(model, name)
    return edges.view(np.uint8).reshape(-1, _EDGE.itemsize)
