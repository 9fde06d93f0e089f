"""The CPU as a device: a lane is a thread, and kernels let other threads run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device import forest_numpy
from scorestream_server.device.base import Columns
from scorestream_server.device.forest_arrays import Floats, ForestArrays
from scorestream_server.device.forest_planes import score_planes
from scorestream_server.device.plane_pack import PackedPlanes, PlaneScratch, fits_planes, pack_planes, plane_scratch
from scorestream_server.device.program import Program, Vector, evaluate
from scorestream_server.device.rank_pack import BLOCK


@dataclass(frozen=True, eq=False)
class CpuForest:
    """A forest, and its layout for the kernels that suit it."""

    forest: ForestArrays
    planes: PackedPlanes | None


@dataclass(eq=False)
class CpuLane:
    """One CPU thread's worth of work."""

    _scratch: dict[int, PlaneScratch] = field(default_factory=dict)

    def score_forest(self, forest: CpuForest, columns: Columns) -> NDArray[np.floating[Any]]:
        """Return the post-processed scores of all rows, shape ``(rows, outputs)``."""
        if forest.planes is None:
            return forest_numpy.score(forest.forest, columns)
        rows = len(columns[0]) if len(columns) else 0
        sums = np.empty((forest.forest.outputs, rows), forest.forest.leaves.dtype)
        model = forest.planes
        addresses = np.array([column.ctypes.data for column in columns], np.uint64)
        wide = np.array([column.dtype == np.float64 for column in columns], np.uint64)
        score_planes(*model, addresses, wide, rows, plane_scratch(model), np.empty((len(sums), BLOCK), sums.dtype), sums)
        return forest_numpy.post_process(forest.forest, sums.T)

    def evaluate(self, program: Program, columns: Sequence[Vector]) -> list[Vector]:
        """Return the outputs of a score-code program."""
        return evaluate(np, program, columns)


class CpuDevice:
    name = "cpu"

    def prepare_forest(self, forest: ForestArrays) -> CpuForest:
        return CpuForest(forest, pack_planes(forest) if fits_planes(forest) else None)

    def open_lane(self) -> CpuLane:
        return CpuLane()

    def warm_up(self) -> None:
        pass
