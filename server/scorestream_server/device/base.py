"""The protocol that every device implements: `cpu.py` now, `cuda.py` beside it.

A *device* prepares a model once; a *lane* of it (a CPU thread, or a CUDA stream) computes with what was
prepared. A lane serves one call at a time and owns every buffer that it needs.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import ForestArrays
from scorestream_server.device.program import Program, Vector


class DeviceFault(Exception):  # noqa: N818  # a fact about the device, not of the call that met it
    """The device is of no use to this process any more: it has to end, and its partitions run elsewhere."""


Columns = Sequence[NDArray[Any]]
"""One contiguous one-dimensional array a feature, all of one length."""


class PreparedForest(Protocol):
    """A forest in the layout that a device's kernels read; what is in it is the device's own affair."""


class PreparedReasons(Protocol):
    """A forest in the layout of the kernels that explain; like `PreparedForest`."""


class Reasons(NamedTuple):
    """Why rows have the margins that they have.

    Attributes:
        features: int32, shape ``(reasons, rows)``: each row's features, the largest contribution first.
        contributions: float64, likewise: what each of them adds to the row's margin.
        bias: float64, shape ``(rows,)``: the margin of a row of which nothing is known. With all features' contributions
            it adds up to the margin.
    """

    features: NDArray[np.int32]
    contributions: NDArray[np.float64]
    bias: NDArray[np.float64]


class Lane(Protocol):
    """One stream of work on a device; used by one thread at a time.

    Every method may raise `DeviceFault`.
    """

    priority: int
    """The class of the job that it works for now (`domain.job.Priority`); for devices that can prefer one."""

    def score_forest(self, forest: PreparedForest, columns: Columns) -> NDArray[np.floating[Any]]:
        """Return the post-processed scores of all rows, shape ``(rows, outputs)``."""
        ...

    def explain_forest(
        self, forest: PreparedReasons, columns: Columns, *, output: int, reasons: int
    ) -> Reasons:
        """Return each row's `reasons` largest contributions to an output's margin; of equal ones the first features'."""
        ...

    def evaluate(self, program: Program, columns: Sequence[Vector]) -> list[Vector]:
        """Return the outputs of a score-code program, one vector an output, each as long as the inputs."""
        ...

    def take_notes(self) -> list[str]:
        """Return what a person should know of the calls since this was last asked for, such as a lack of memory."""
        ...


class Device(Protocol):
    """One GPU, or some CPU cores."""

    name: str
    """What a person calls it, for example ``cpu`` or ``cuda:0``."""

    def prepare_forest(self, forest: ForestArrays) -> PreparedForest:
        """Lay a forest out for this device's kernels."""
        ...

    def prepare_reasons(self, forest: ForestArrays) -> PreparedReasons:
        """Lay a forest out for this device's kernels that explain.

        Raises:
            Unexplained: it cannot be explained.
        """
        ...

    def open_lane(self) -> Lane:
        """Allocate a lane, on the thread that will use it; its buffers are made here and reused for every call."""
        ...

    def warm_up(self) -> None:
        """Compile or load every kernel, so that no user's first job pays for it."""
        ...
