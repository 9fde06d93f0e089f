"""The CPU as a device: a lane is a thread, and kernels let other threads run."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device import forest_numpy
from scorestream_server.device.base import Columns, PreparedForest, PreparedReasons, Reasons
from scorestream_server.device.forest_arrays import ForestArrays, PostProcessor
from scorestream_server.device.forest_planes import score_planes
from scorestream_server.device.forest_ranks import Pair, pair
from scorestream_server.device.forest_reasons import ReasonScratch, explain_rows, reason_scratch
from scorestream_server.device.forest_walk import score_walk
from scorestream_server.device.plane_pack import (
    PackedPlanes,
    PlaneScratch,
    fits_planes,
    pack_planes,
    plane_scratch,
)
from scorestream_server.device.program import Program, Vector, evaluate
from scorestream_server.device.rank_pack import BLOCK
from scorestream_server.device.reason_pack import PackedReasons, pack_reasons
from scorestream_server.device.walk_pack import PackedWalk, WalkScratch, pack_walk, walk_scratch

_KEPT_FORESTS = 4
"""Forests whose working memory a lane keeps; the one not used for longest goes first."""


@dataclass(frozen=True, eq=False)
class CpuForest:
    """A forest, and its layout for the kernel that suits it: None where only NumPy does.

    Shared by lanes; nothing in it ever changes.
    """

    forest: ForestArrays
    packed: PackedPlanes | PackedWalk | None


@dataclass(frozen=True, eq=False)
class CpuReasons:
    """A forest in the layout of the kernel that explains; shared by lanes, and never changed."""

    forest: ForestArrays
    packed: PackedReasons


@dataclass(frozen=True, eq=False)
class _Memory:
    scratch: PlaneScratch | WalkScratch
    sums: Pair


class CpuLane:
    """One CPU thread's worth of work, with the memory that it works in."""

    def __init__(self) -> None:
        self.priority = 0
        self._memory: OrderedDict[CpuForest, _Memory] = OrderedDict()
        self._reason_memory: tuple[CpuReasons, ReasonScratch] | None = None

    def score_forest(self, forest: PreparedForest, columns: Columns) -> NDArray[np.floating[Any]]:
        """Return the post-processed scores of all rows, shape ``(rows, outputs)``.

        Args:
            forest: what `CpuDevice.prepare_forest` returned.
            columns: float32 or float64, one a feature, all of one length, NaN where a value is missing.

        Raises:
            TypeError: the forest was prepared for another device.
            ValueError: the columns are not as above; kernels check no bounds.
        """
        if not isinstance(forest, CpuForest):
            raise TypeError("this forest was prepared for another device")
        packed = forest.packed
        columns = _all_readable(forest.forest, columns)
        if packed is None or not columns:
            return forest_numpy.score(forest.forest, columns)
        rows = len(columns[0])
        sums = np.empty((forest.forest.outputs, rows), forest.forest.leaves.dtype)
        addresses, wide = _places(columns)
        memory = self._memory_for(forest, packed)
        kernel = score_planes if isinstance(packed, PackedPlanes) else score_walk
        kernel(
            packed.ranks,
            packed.model,
            pair(packed.leaves),
            addresses,
            wide,
            rows,
            memory.scratch,
            memory.sums,
            pair(sums),
        )
        return forest_numpy.post_process(forest.forest, sums.T)

    def explain_forest(
        self, forest: PreparedReasons, columns: Columns, *, output: int, reasons: int
    ) -> Reasons:
        """Return each row's largest contributions; see `Lane.explain_forest`, and `score_forest` for the columns.

        Raises:
            TypeError, ValueError: as `score_forest`, or there are fewer features than reasons are asked for.
        """
        if not isinstance(forest, CpuReasons):
            raise TypeError("this forest was prepared for another device")
        packed = forest.packed
        columns = _all_readable(forest.forest, columns)
        if not 0 < reasons <= len(packed.model.slot_features):
            raise ValueError("a row has at least one reason, and no more than the model has features")
        rows = len(columns[0])
        addresses, wide = _places(columns)
        result = Reasons(
            np.empty((reasons, rows), np.int32), np.empty((reasons, rows)), np.full(rows, packed.bias[output])
        )
        if self._reason_memory is None or self._reason_memory[0] is not forest:
            self._reason_memory = forest, reason_scratch(packed)
        explain_rows(
            packed.ranks,
            packed.model,
            packed.output_trees[output],
            packed.divisors[output],
            addresses,
            wide,
            rows,
            self._reason_memory[1],
            result.features,
            result.contributions,
        )
        return result

    def evaluate(self, program: Program, columns: Sequence[Vector]) -> list[Vector]:
        """Return the outputs of a score-code program."""
        return evaluate(np, program, columns)

    def take_notes(self) -> list[str]:
        """Return nothing: a CPU has nothing to tell."""
        return []

    def _memory_for(self, forest: CpuForest, packed: PackedPlanes | PackedWalk) -> _Memory:
        memory = self._memory.get(forest)
        if memory is None:
            scratch = plane_scratch(packed) if isinstance(packed, PackedPlanes) else walk_scratch(packed)
            memory = _Memory(scratch, pair(np.empty((forest.forest.outputs, BLOCK), packed.leaves.dtype)))
            self._memory[forest] = memory
            if len(self._memory) > _KEPT_FORESTS:
                self._memory.popitem(last=False)
        self._memory.move_to_end(forest)
        return memory


def _all_readable(forest: ForestArrays, columns: Columns) -> list[NDArray[Any]]:
    """Return columns as kernels read them, which check no bounds."""
    if len(columns) != forest.num_features or len({len(column) for column in columns}) > 1:
        raise ValueError("a forest takes one column a feature, all of one length")
    return [_readable(column, narrow=bool(cast)) for column, cast in zip(columns, forest.narrow, strict=True)]


def _places(columns: Columns) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return where columns start in memory, and 1 for each that is float64."""
    addresses = np.array([column.ctypes.data for column in columns], np.uint64)
    return addresses, np.array([column.dtype == np.float64 for column in columns], np.uint64)


def _readable(column: NDArray[Any], *, narrow: bool) -> NDArray[Any]:
    """Return a column as kernels read it; itself, as a rule."""
    if column.dtype not in (np.float32, np.float64):
        raise ValueError(f"a column is {column.dtype}, must be float32 or float64")
    return np.ascontiguousarray(column, np.float32 if narrow else column.dtype)


class CpuDevice:
    """The cores of this machine; implements `device.base.Device`."""

    name = "cpu"

    def prepare_forest(self, forest: ForestArrays) -> CpuForest:
        """Lay a forest out for the kernel that scores it fastest."""
        return CpuForest(forest, pack_planes(forest) if fits_planes(forest) else pack_walk(forest))

    def prepare_reasons(self, forest: ForestArrays) -> CpuReasons:
        """Lay a forest out for the kernel that explains; see `Device.prepare_reasons`."""
        return CpuReasons(forest, pack_reasons(forest))

    def open_lane(self) -> CpuLane:
        """Return a lane; it allocates its memory when it first scores with a forest, and keeps it."""
        return CpuLane()

    def warm_up(self) -> None:
        """Compile the kernels, or load them from numba's cache."""
        forest = _smallest_forest()
        lane = self.open_lane()
        for packed in (pack_planes(forest), pack_walk(forest)):
            lane.score_forest(CpuForest(forest, packed), [np.zeros(1, np.float32)])
        lane.explain_forest(self.prepare_reasons(forest), [np.zeros(1, np.float32)], output=0, reasons=1)


def _smallest_forest() -> ForestArrays:
    """Return one tree of one split."""
    return ForestArrays(
        num_features=1,
        classes=(1,),
        tree_starts=np.array([0, 3], np.int64),
        left=np.array([1, -1, -1], np.int32),
        right=np.array([2, -1, -1], np.int32),
        feature=np.zeros(3, np.int32),
        threshold=np.zeros(3, np.float32),
        narrow=np.ones(1, np.bool_),
        default_left=np.zeros(3, np.bool_),
        categorical=np.zeros(3, np.bool_),
        category_starts=np.zeros(4, np.int64),
        categories=np.zeros(0, np.uint32),
        leaves=np.zeros((3, 1), np.float32),
        tree_output=np.zeros(1, np.int32),
        output_step=np.ones(1, np.int32),
        base_scores=np.zeros(1),
        average=False,
        strict=True,
        fractions_above_minus_one=False,
        postprocessor=PostProcessor.IDENTITY,
        sigmoid_alpha=1.0,
        ratio_c=1.0,
        covers=np.array([2.0, 1.0, 1.0]),
    )
