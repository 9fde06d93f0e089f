"""Scores forests by the launches that a lane makes, on the host or on whatever else runs them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cuda_host.harness import HostModule, build
from cuda_host.log import KernelLog
from scorestream_server.device.cuda_compile import Program
from scorestream_server.device.cuda_forest import CudaForest
from scorestream_server.device.cuda_launch import (
    ROW_MULTIPLE,
    Launch,
    finish_launch,
    rank_launch,
    row_launch,
    stride_of,
    walk_launch,
)
from scorestream_server.device.cuda_reasons import CudaReasons, choose_launch, explain_launch
from scorestream_server.device.forest_arrays import Floats

_GUARD, _POISON = 256, 0xA5


class Poisoned:
    """Memory for a result, full of rubbish, between two stretches that nobody may write to."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = np.full(size + 2 * _GUARD + 64, _POISON, np.uint8)
        start = _GUARD + -(memory.ctypes.data + _GUARD) % 64
        self.array: NDArray[Any] = memory[start : start + size].view(dtype).reshape(shape)
        self._around = memory[:start], memory[start + size :]

    def check(self) -> None:
        """Assert that nothing wrote around the result."""
        assert all((part == _POISON).all() for part in self._around)


class KernelForests(ABC):
    """The three kernels, one at a time, on NumPy arrays; where they run is the subclass's affair.

    Attributes:
        shared_bytes: dynamic shared memory that a block may have.
    """

    shared_bytes: int

    @abstractmethod
    def run(
        self,
        program: Program,
        launch: Launch,
        result: NDArray[Any],
        columns: Sequence[Floats] = (),
        *,
        scratch: Sequence[NDArray[Any]] = (),
        backwards: bool = False,
    ) -> None:
        """Run a launch whose array arguments lie on the host.

        Args:
            program: where its kernel is from.
            launch: what to run.
            result: the argument that the kernel writes; it may change no other, but for those of `scratch`.
            columns: the rows, where the first argument is a table of their addresses.
            scratch: arguments that the kernel works in.
            backwards: see `HostModule.launch`; for the host alone.
        """

    def cells(self, forest: CudaForest, columns: Sequence[Floats]) -> NDArray[Any]:
        """Quantise all rows."""
        rows = len(columns[0])
        cells = Poisoned((forest.columns, stride_of(rows) + ROW_MULTIPLE), forest.cell)
        if forest.used_features:
            addresses = np.array([column.ctypes.data for column in columns], np.uint64)
            wide = np.array([column.dtype == np.float64 for column in columns], np.uint8)
            launch = rank_launch(forest, forest.arrays, addresses, wide, rows, cells.array, block=32)
            self.run(forest.programs()[0], launch, cells.array, columns)
        cells.check()
        return cells.array

    def sums(
        self,
        forest: CudaForest,
        cells: NDArray[Any],
        rows: int,
        kernel: str,
        *,
        block: int = 32,
        backwards: bool = False,
    ) -> Floats:
        """Return the sums of leaves by one of the three kernels, shape ``(outputs, rows)``."""
        sums = Poisoned((forest.outputs, cells.shape[1]), forest.leaf)
        if kernel == "walk_row":
            launch = row_launch(forest, forest.arrays, cells, sums.array, rows, block=block)
        else:
            staged = kernel == "walk_staged"
            launch = walk_launch(forest, forest.arrays, cells, sums.array, block=block, staged=staged)
        assert launch.kernel == kernel
        self.run(forest.programs()[1], launch, sums.array, backwards=backwards)
        sums.check()
        return sums.array[:, :rows]

    def finish(self, forest: CudaForest, sums: Floats) -> Floats:
        """Return scores, shape ``(rows, outputs)``, from sums of that shape."""
        rows = len(sums)
        memory = Poisoned((forest.outputs, stride_of(rows)), forest.leaf)
        memory.array[:, :rows] = sums.T
        padding = memory.array[:, rows:].tobytes()
        launch = finish_launch(forest, forest.arrays, memory.array, rows, block=32)
        self.run(forest.programs()[2], launch, memory.array)
        memory.check()
        assert memory.array[:, rows:].tobytes() == padding
        return memory.array[:, :rows].T

    def reasons(
        self,
        forest: CudaReasons,
        columns: Sequence[Floats],
        output: int,
        reasons: int,
        *,
        block: int = 32,
        backwards: bool = False,
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return features and contributions, shape ``(reasons, rows)``."""
        rows, stride = len(columns[0]), stride_of(len(columns[0]))
        rank, explain = forest.programs()
        cells = Poisoned((len(forest.arrays.columns), stride), forest.cell)
        if forest.used_features:
            addresses = np.array([column.ctypes.data for column in columns], np.uint64)
            wide = np.array([column.dtype == np.float64 for column in columns], np.uint8)
            launch = rank_launch(forest, forest.arrays, addresses, wide, rows, cells.array, block=32)
            self.run(rank, launch, cells.array, columns)
        memory = Poisoned((stride * forest.work_bytes(reasons),), np.uint8)

        def array(place: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
            size = int(np.prod(shape)) * dtype.itemsize
            return memory.array[place : place + size].view(dtype).reshape(shape)

        work = forest.work_arrays(reasons, stride, array)
        launch = explain_launch(forest, forest.arrays, cells.array, work, rows, output, block=block)
        stacks = (work.down, work.up, work.satisfied)
        self.run(explain, launch, work.owed, scratch=stacks, backwards=backwards)
        launch = choose_launch(forest, forest.arrays, work, rows, output, block=block)
        self.run(explain, launch, work.contributions, scratch=(work.features,), backwards=backwards)
        self.run(explain, launch, work.features, scratch=(work.contributions,), backwards=backwards)
        memory.check()
        return work.features[:, :rows], work.contributions[:, :rows]


class HostForests(KernelForests):
    """Builds programs for the host when they are first needed, and writes down which kernels ran."""

    shared_bytes = 227 * 1024

    def __init__(self, folder: Path, log: KernelLog) -> None:
        self._folder = folder
        self._log = log

    def run(
        self,
        program: Program,
        launch: Launch,
        result: NDArray[Any],  # noqa: ARG002  # the host writes it in place
        columns: Sequence[Floats] = (),  # noqa: ARG002  # their addresses are the host's already
        *,
        scratch: Sequence[NDArray[Any]] = (),  # noqa: ARG002  # likewise
        backwards: bool = False,
    ) -> None:
        self.module(program).launch(
            launch.kernel,
            launch.grid,
            launch.block,
            launch.shared_bytes,
            launch.arguments,
            backwards=backwards,
        )
        self._log.on_host.add((program.name, launch.kernel))

    def module(self, program: Program) -> HostModule:
        return build(program.source(), self._folder)
