"""The CPU as a device: a lane is a thread, and kernels let other threads run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device import forest_numpy
from scorestream_server.device.base import Columns
from scorestream_server.device.forest_arrays import ForestArrays
from scorestream_server.device.program import Program, Vector, evaluate


class CpuLane:
    """One CPU thread's worth of work."""

    def score_forest(self, forest: ForestArrays, columns: Columns) -> NDArray[np.floating[Any]]:
        """Return the post-processed scores of all rows, shape ``(rows, outputs)``."""
        return forest_numpy.score(forest, columns)

    def evaluate(self, program: Program, columns: Sequence[Vector]) -> list[Vector]:
        """Return the outputs of a score-code program."""
        return evaluate(np, program, columns)


class CpuDevice:
    name = "cpu"

    def prepare_forest(self, forest: ForestArrays) -> ForestArrays:
        return forest

    def open_lane(self) -> CpuLane:
        return CpuLane()

    def warm_up(self) -> None:
        pass
