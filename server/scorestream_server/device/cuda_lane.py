"""A CUDA lane: streams, pinned and device memory of its own, and the way of a chunk through them.

    host      fill slot 0 | fill slot 1 | wait 0, take, fill 0 | wait 1, take, fill 1 | ...
    stream    copy in 0, quantise, walk, finish, copy out 0, event 0 | the same for 1 | ...

Nothing is allocated and nothing waits for the whole card once a lane is open; other lanes' copies and kernels
run meanwhile.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device import cuda_score_code, forest_numpy
from scorestream_server.device.base import Columns, PreparedForest, PreparedReasons, Reasons
from scorestream_server.device.cuda_calls import (
    CudaCalls,
    DeviceArray,
    OutOfDeviceMemory,
)
from scorestream_server.device.cuda_expression import expression_launch, expression_program, supports
from scorestream_server.device.cuda_forest import CudaForest
from scorestream_server.device.cuda_launch import Launch, finish_launch, rank_launch, row_launch, walk_launch
from scorestream_server.device.cuda_memory import SLOTS, chunk_rows, layout
from scorestream_server.device.cuda_prepared import PreparedCudaForest, PreparedCudaReasons
from scorestream_server.device.cuda_reasons import (
    choose_launch,
    explain_launch,
)
from scorestream_server.device.cuda_score_code import empty_outputs, places, read_outputs, write_inputs
from scorestream_server.device.cuda_slots import Chunk, Slot, run_chunks
from scorestream_server.device.cuda_tuning import Shape, Shapes, shapes
from scorestream_server.device.forest_arrays import ForestArrays
from scorestream_server.device.program import Program, Vector, evaluate
from scorestream_server.domain.errors import ErrorCode, ScorestreamError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

SMALLEST_ARENA = 1 << 20
PROGRAMS_KEPT = 32
"""Score-code programs whose kernels a lane has at hand."""


class CudaLane:
    """One lane of a card; used by one thread at a time.

    Args:
        calls: the card.
        arena: bytes of device memory, and of pinned memory, that it may take.
        best_shapes: what was measured before.
    """

    def __init__(self, calls: CudaCalls, arena: int, best_shapes: Shapes) -> None:
        self._calls = calls
        self._shapes = best_shapes
        self._using = threading.Lock()
        self._notes: list[str] = []
        self._slots: list[Slot] = []
        self._streams: dict[int, Any] = {}
        self._programs: dict[tuple[int, tuple[np.dtype[Any], ...]], tuple[Program, Any]] = {}
        self._clock = (calls.event(timing=True), calls.event(timing=True))
        self.priority = 0
        self._arena = arena
        while True:
            try:
                self._allocate()
            except OutOfDeviceMemory:
                if not self._smaller():
                    raise
            else:
                break

    @property
    def arena(self) -> int:
        """Bytes of device memory that it has now."""
        return self._arena

    def score_forest(self, forest: PreparedForest, columns: Columns) -> NDArray[np.floating[Any]]:
        """Return the post-processed scores of all rows, shape ``(rows, outputs)``; see `Lane.score_forest`.

        Raises:
            ScorestreamError: RESOURCE_EXHAUSTED, where the card has no room for the smallest chunk.
            DeviceFault: the card is of no use to this process any more.
        """
        if not isinstance(forest, PreparedCudaForest):
            raise TypeError("this forest was prepared for another device")
        _check_columns(forest.forest, columns)
        packed = forest.packed
        if packed is None or not columns:
            return forest_numpy.score(forest.forest, columns)
        return self._with_memory(lambda: self._score(forest, packed, columns))

    def explain_forest(
        self, forest: PreparedReasons, columns: Columns, *, output: int, reasons: int
    ) -> Reasons:
        """Return each row's largest contributions; see `Lane.explain_forest`.

        Raises:
            ScorestreamError, DeviceFault: as `score_forest`.
        """
        if not isinstance(forest, PreparedCudaReasons):
            raise TypeError("this forest was prepared for another device")
        _check_columns(forest.forest, columns)
        if not 0 < reasons <= forest.packed.slots:
            raise ValueError("a row has at least one reason, and no more than the model has features")
        return self._with_memory(lambda: self._explain(forest, columns, output, reasons))

    def evaluate(self, program: Program, columns: Sequence[Vector]) -> list[Vector]:
        """Return the outputs of a score-code program; NumPy computes what its kernel cannot, such as text.

        Raises:
            ScorestreamError, DeviceFault: as `score_forest`.
        """
        kernel = self._program_kernel(program, columns)
        if kernel is None:
            return evaluate(np, program, columns)
        return self._with_memory(lambda: self._compute(program, kernel, columns))

    def take_notes(self) -> list[str]:
        """Return what a person should know of the calls since this was last asked for."""
        notes, self._notes = self._notes, []
        return notes

    def give_way(self) -> bool:
        """Halve this lane's memory for the good of others, between two calls; False where it is small already."""
        with self._using:
            return self._shrink()

    # -- the way of a chunk -----------------------------------------------------------------------------

    def _score(
        self, prepared: PreparedCudaForest, forest: CudaForest, columns: Columns
    ) -> NDArray[np.floating[Any]]:
        rows, widths = len(columns[0]), [column.dtype.itemsize for column in columns]
        sizes = (forest.columns * forest.cell.itemsize, forest.outputs * forest.leaf.itemsize)
        step = self._step(lambda room: chunk_rows(room, rows, widths, *sizes), rows, len(columns))
        out = np.empty((forest.outputs, rows), forest.leaf)
        stream = self._stream()

        def send(slot: Slot, start: int, count: int) -> None:
            slot.chunk = Chunk(start, count, layout(count, widths, *sizes))
            slot.fill(columns, widths)
            self._send(stream, slot, prepared, forest)

        def take(slot: Slot, chunk: Chunk) -> None:
            size = len(out) * chunk.plan.stride * out.dtype.itemsize
            scores = slot.host.bytes[:size].view(out.dtype).reshape(len(out), chunk.plan.stride)
            out[:, chunk.start : chunk.start + chunk.rows] = scores[:, : chunk.rows]

        with self._drained_in_the_end():
            run_chunks(self._calls, self._slots, rows, step, send, take)
        return out.T

    def _explain(self, prepared: PreparedCudaReasons, columns: Columns, output: int, reasons: int) -> Reasons:
        forest, arrays, calls = prepared.packed, prepared.arrays, self._calls
        rows, widths = len(columns[0]), [column.dtype.itemsize for column in columns]
        sizes = (forest.cell_bytes, forest.work_bytes(reasons))
        step = self._step(lambda room: chunk_rows(room, rows, widths, *sizes), rows, len(columns))
        bias = np.full(rows, forest.packed.bias[output])
        result = Reasons(np.empty((reasons, rows), np.int32), np.empty((reasons, rows)), bias)
        stream = self._stream()

        def send(slot: Slot, start: int, count: int) -> None:
            plan = layout(count, widths, *sizes)
            slot.chunk = Chunk(start, count, plan)
            slot.fill(columns, widths)
            addresses = slot.array(0, (len(columns),), np.dtype(np.uint64))
            wide = slot.array(plan.wide, (len(columns),), np.dtype(np.uint8))
            cells = slot.array(plan.cells, (len(arrays.columns), plan.stride), forest.cell)
            work = forest.work_arrays(
                reasons, plan.stride, lambda place, *what: slot.array(plan.sums + place, *what)
            )
            launches = [
                explain_launch(forest, arrays, cells, work, count, output),
                choose_launch(forest, arrays, work, count, output),
            ]
            if forest.used_features:
                launches.insert(0, rank_launch(forest, arrays, addresses, wide, count, cells))
            calls.copy_in(stream, slot.device.address, slot.host.bytes[: plan.input_bytes])
            for launch in launches:
                calls.launch(stream, prepared.kernels[launch.kernel], launch)
            size = plan.stride * forest.result_bytes(reasons)
            calls.copy_out(stream, slot.host.bytes[:size], slot.device.address + plan.sums)
            calls.record(slot.done, stream)

        def take(slot: Slot, chunk: Chunk) -> None:
            place, there = 0, slice(chunk.start, chunk.start + chunk.rows)
            for out in (result.contributions, result.features):
                size = reasons * chunk.plan.stride * out.dtype.itemsize
                found = slot.host.bytes[place : place + size].view(out.dtype).reshape(reasons, -1)
                out[:, there] = found[:, : chunk.rows]
                place += size

        with self._drained_in_the_end():
            run_chunks(self._calls, self._slots, rows, step, send, take)
        return result

    def _program_kernel(self, program: Program, columns: Sequence[Vector]) -> Any:
        """Return a program's kernel, compiled the first time; None where NumPy has to compute it."""
        if not columns or not len(columns[0]) or not supports(program):
            return None
        dtypes = tuple(vector.values.dtype for vector in columns)
        key = (id(program), dtypes)
        if key not in self._programs:
            try:
                source = expression_program(program, dtypes)
            except ValueError:  # a width that no kernel reads
                source = None
            kernels = self._calls.load(source) if source is not None else {}
            if len(self._programs) == PROGRAMS_KEPT:
                del self._programs[next(iter(self._programs))]
            # The program is kept along, so that no other one gets its id.
            self._programs[key] = (program, kernels.get("expression_rows"))
        return self._programs[key][1]

    def _compute(self, program: Program, kernel: Any, columns: Sequence[Vector]) -> list[Vector]:
        rows = len(columns[0])
        step = self._step(
            lambda room: cuda_score_code.chunk_rows(room, rows, columns, program), rows, len(columns)
        )
        values, masks = empty_outputs(program, rows)
        stream, calls = self._stream(), self._calls

        def send(slot: Slot, start: int, count: int) -> None:
            plan = places(count, columns, program)
            slot.chunk = Chunk(start, count, plan)
            write_inputs(slot.host.bytes, slot.device.address, plan, columns, start, count)
            table = slot.array(0, (len(columns) + len(program.outputs), 2), np.dtype(np.uint64))
            calls.copy_in(stream, slot.device.address, slot.host.bytes[: plan.input_bytes])
            calls.launch(stream, kernel, expression_launch(table, count))
            out_bytes = plan.size - plan.input_bytes
            calls.copy_out(stream, slot.host.bytes[:out_bytes], slot.device.address + plan.input_bytes)
            calls.record(slot.done, stream)

        def take(slot: Slot, chunk: Chunk) -> None:
            read_outputs(slot.host.bytes, chunk.plan, values, masks, chunk.start, chunk.rows)

        with self._drained_in_the_end():
            run_chunks(self._calls, self._slots, rows, step, send, take)
        return [
            Vector(value, null if null.any() else None) for value, null in zip(values, masks, strict=True)
        ]

    def _step(self, rows_for: Callable[[int], int], rows: int, columns: int) -> int:
        """Return how many rows to send at a time; `rows_for` says how many fit into so many bytes."""
        if not self._slots:
            self._allocate()
        step = rows_for(self._slots[0].device.size)
        if rows and not step:
            raise OutOfDeviceMemory(f"a lane of {self._arena:,} bytes is too small for {columns} columns")
        return max(step, 1)

    def _send(self, stream: Any, slot: Slot, prepared: PreparedCudaForest, forest: CudaForest) -> None:
        """Put a chunk's whole way on the stream."""
        chunk, arrays, calls = slot.chunk, prepared.arrays, self._calls
        assert chunk is not None  # noqa: S101  # as above
        assert arrays is not None  # noqa: S101  # a packed forest has them
        plan, features = chunk.plan, len(chunk.plan.columns)
        addresses = slot.array(0, (features,), np.dtype(np.uint64))
        wide = slot.array(plan.wide, (features,), np.dtype(np.uint8))
        cells = slot.array(plan.cells, (forest.columns, plan.stride), forest.cell)
        sums = slot.array(plan.sums, (forest.outputs, plan.stride), forest.leaf)
        calls.copy_in(stream, slot.device.address, slot.host.bytes[: plan.input_bytes])
        if forest.used_features:
            self._launch(stream, prepared, rank_launch(forest, arrays, addresses, wide, chunk.rows, cells))
        self._launch(stream, prepared, self._walk(stream, prepared, forest, cells, sums, chunk.rows))
        self._launch(stream, prepared, finish_launch(forest, arrays, sums, chunk.rows))
        calls.copy_out(stream, slot.host.bytes[: sums.nbytes], sums.address)
        calls.record(slot.done, stream)

    def _walk(
        self,
        stream: Any,
        prepared: PreparedCudaForest,
        forest: CudaForest,
        cells: DeviceArray,
        sums: DeviceArray,
        rows: int,
    ) -> Launch:
        """Return the sum of leaves in the best shape, measured on this chunk where it is not known."""
        arrays = prepared.arrays
        assert arrays is not None  # noqa: S101  # a packed forest has them

        def launch(shape: Shape) -> Launch:
            if shape.kernel == "row":
                return row_launch(forest, arrays, cells, sums, rows, block=shape.block)
            staged = shape.kernel == "staged"
            return walk_launch(forest, arrays, cells, sums, block=shape.block, staged=staged)

        def measure(shape: Shape) -> float:
            # The first run loads the kernel's code; the second is what counts.
            for event in (None, *self._clock):
                if event is not None:
                    self._calls.record(event, stream)
                if event is not self._clock[1]:
                    self._launch(stream, prepared, launch(shape))
            self._calls.wait(self._clock[1])
            return self._calls.milliseconds(*self._clock)

        fitting = shapes(forest, rows, self._calls.shared_bytes)
        return launch(self._shapes.best(prepared.digest, self._calls.card, rows, fitting, measure))

    def _launch(self, stream: Any, prepared: PreparedCudaForest, launch: Launch) -> None:
        self._calls.launch(stream, prepared.kernels[launch.kernel], launch)

    def _stream(self) -> Any:
        if self.priority not in self._streams:
            self._streams[self.priority] = self._calls.stream(self.priority)
        return self._streams[self.priority]

    def _with_memory(self, work: Callable[[], Result]) -> Result:
        """Do what takes a lane's memory; with less of it where the card has no more."""
        with self._using:
            while True:
                try:
                    return work()
                except OutOfDeviceMemory as error:
                    self._drain()
                    if not self._shrink():
                        raise no_room(self._calls, str(error)) from error

    # -- memory -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _drained_in_the_end(self) -> Iterator[None]:
        """Leave nothing on its way, however the block ends: the next call uses the same memory."""
        try:
            yield
        finally:
            self._drain()

    def _drain(self) -> None:
        for slot in self._slots:
            chunk, slot.chunk = slot.chunk, None
            if chunk is not None:
                self._calls.record(slot.done, self._stream())
                self._calls.wait(slot.done)

    def _allocate(self) -> None:
        for _ in range(SLOTS):
            self._slots.append(Slot(self._calls, self._arena // SLOTS))

    def _smaller(self) -> bool:
        """Let go of the memory and plan for half of it; False where that is too little."""
        for slot in self._slots:
            slot.free()
        self._slots.clear()
        if self._arena // 2 < SMALLEST_ARENA:
            return False
        self._arena //= 2
        return True

    def _shrink(self) -> bool:
        if self._arena // 2 < SMALLEST_ARENA:
            return False
        while self._smaller():
            with contextlib.suppress(OutOfDeviceMemory):
                self._allocate()
                note = f"{self._calls.name} ran out of memory: a lane went on with {self._arena >> 10:,} KiB"
                logger.warning(note)
                self._notes.append(note)
                return True
        return False


def _check_columns(forest: ForestArrays, columns: Columns) -> None:
    if len(columns) != forest.num_features or len({len(column) for column in columns}) > 1:
        raise ValueError("a forest takes one column a feature, all of one length")
    if any(column.dtype not in (np.float32, np.float64) for column in columns):
        raise ValueError("a column must be float32 or float64")


def no_room(calls: CudaCalls, what: str) -> ScorestreamError:
    """Return the error of a job that a card has no room for."""
    free, total = calls.memory()
    return ScorestreamError(
        ErrorCode.RESOURCE_EXHAUSTED,
        "DEVICE_OUT_OF_MEMORY",
        f"{calls.name} has no room: {what}. {free >> 20:,} of its {total >> 20:,} MiB are free; other programs may "
        "hold the rest. Free some, give the server more (--gpu-memory), or score with --device cpu.",
        metadata={"device": calls.name, "free_bytes": str(free), "total_bytes": str(total)},
    )
