"""A CUDA card as a device: forests laid out in its memory, and its lanes."""

import contextlib
import gc
import hashlib
import itertools
import logging
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.base import DeviceFault
from scorestream_server.device.cuda_calls import CudaCalls, DeviceArray, DeviceBlock, OutOfDeviceMemory
from scorestream_server.device.cuda_compile import (
    CudaCompileError,
    finish_program,
    rank_program,
    walk_program,
)
from scorestream_server.device.cuda_forest import CudaArrays, Unfit, pack_cuda
from scorestream_server.device.cuda_lane import CudaLane, no_room
from scorestream_server.device.cuda_memory import aligned
from scorestream_server.device.cuda_prepared import PreparedCudaForest, PreparedCudaReasons
from scorestream_server.device.cuda_reasons import CudaReasonArrays, pack_cuda_reasons
from scorestream_server.device.cuda_tuning import Shapes
from scorestream_server.device.forest_arrays import ForestArrays

logger = logging.getLogger(__name__)
Arrays = TypeVar("Arrays", CudaArrays, CudaReasonArrays)

LARGEST_ARENA = 128 << 20
"""Device memory of a lane at most: two chunks of 16 MiB with everything that scoring them takes."""
LANES_SHARE = 0.5
"""The part of the budget that lanes may take; the rest is for models."""


def arena_bytes(budget: int, lanes: int) -> int:
    """Return how much device memory each lane begins with."""
    return min(LARGEST_ARENA, int(budget * LANES_SHARE) // lanes)


@contextlib.contextmanager
def opening() -> Iterator[None]:
    """Turn whatever keeps a card from being opened into a `DeviceFault` that a person can act on."""
    try:
        yield
    except OutOfDeviceMemory as error:
        raise DeviceFault(
            f"it has no memory to begin with ({error}); other programs hold it, and nvidia-smi tells which"
        ) from error
    except CudaCompileError as error:
        raise DeviceFault(f"this CUDA has no kernels for it: {error}") from error


class CudaDevice:
    """One card; implements `device.base.Device`.

    Args:
        calls: the card.
        budget: bytes of device memory that this process may use.
        lanes: how many lanes will be opened.
        cache: folder for what was measured.
    """

    def __init__(self, calls: CudaCalls, budget: int, lanes: int, cache: Path) -> None:
        self.name = calls.name
        self._calls = calls
        self._budget = budget
        self._arena = arena_bytes(budget, lanes)
        self._shapes = Shapes(cache / "shapes.json")
        self._lanes: weakref.WeakSet[CudaLane] = weakref.WeakSet()
        self._uploading = threading.Lock()
        self._models: weakref.WeakSet[PreparedCudaForest | PreparedCudaReasons] = weakref.WeakSet()

    def prepare_forest(self, forest: ForestArrays) -> PreparedCudaForest:
        """Lay a forest out in the card's memory; lanes give theirs up for it where there is too little.

        Raises:
            ScorestreamError: RESOURCE_EXHAUSTED, where it does not fit all the same.
            DeviceFault: the card is of no use to this process any more.
        """
        packed = pack_cuda(forest)
        if isinstance(packed, Unfit):
            logger.warning("a model is scored by NumPy, not on %s: %s", self.name, packed.reason)
            return PreparedCudaForest(forest, None, None, None, {}, "")
        kernels: dict[str, Any] = {}
        for program in packed.programs():
            kernels |= self._calls.load(program)
        with self._uploading:
            block, arrays = self._upload(packed.arrays)
        digest = hashlib.sha256()
        for array in packed.arrays:
            digest.update(array.tobytes())
        prepared = PreparedCudaForest(forest, packed, arrays, block, kernels, digest.hexdigest()[:32])
        weakref.finalize(prepared, block.free)
        self._models.add(prepared)
        return prepared

    def prepare_reasons(self, forest: ForestArrays) -> PreparedCudaReasons:
        """Lay a forest out in the card's memory, for its reasons; see `prepare_forest`.

        Raises:
            Unexplained: it cannot be explained.
            ScorestreamError, DeviceFault: as `prepare_forest`.
        """
        packed = pack_cuda_reasons(forest)
        kernels: dict[str, Any] = {}
        for program in packed.programs():
            kernels |= self._calls.load(program)
        with self._uploading:
            block, arrays = self._upload(packed.arrays)
        prepared = PreparedCudaReasons(forest, packed, arrays, block, kernels)
        weakref.finalize(prepared, block.free)
        self._models.add(prepared)
        return prepared

    def open_lane(self) -> CudaLane:
        """Allocate a lane on the thread that will use it; smaller where the card has too little memory.

        Raises:
            DeviceFault: there is no room for the smallest lane, or the card is of no use to this process.
        """
        with opening():
            self._calls.attach()
            lane = CudaLane(self._calls, self._arena, self._shapes)
        self._lanes.add(lane)
        return lane

    def warm_up(self) -> None:
        """Compile the kernels of the usual models, or load them from the cache; others follow with their models.

        Raises:
            DeviceFault: they cannot be compiled for this card, or not be loaded.
        """
        with opening():
            self._calls.attach()
            for leaf in (np.float32, np.float64):
                self._calls.load(walk_program(np.uint8, np.uint32, leaf, vector=False))
                self._calls.load(finish_program(leaf))
            self._calls.load(rank_program(np.uint8))

    def _upload(self, packed: Arrays) -> tuple[DeviceBlock, Arrays]:
        packed_arrays: tuple[NDArray[Any], ...] = packed
        sizes = [aligned(max(array.nbytes, 1)) for array in packed_arrays]
        starts = list(itertools.accumulate(sizes, initial=0))
        block = self._room(starts[-1])
        try:
            staging = self._calls.allocate_host(starts[-1])
            try:
                arrays: list[Any] = []
                for start, array in zip(starts, packed_arrays, strict=False):
                    place = staging.bytes[start : start + array.nbytes]
                    place[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                    arrays.append(DeviceArray(block.address + start, array.shape, array.dtype))
                stream, done = self._calls.stream(0), self._calls.event()
                self._calls.copy_in(stream, block.address, staging.bytes[: starts[-1]])
                self._calls.record(done, stream)
                self._calls.wait(done)
            finally:
                staging.free()
        except OutOfDeviceMemory as error:  # of pinned memory, or for the stream itself
            block.free()
            raise no_room(self._calls, f"a model of {starts[-1]:,} bytes could not be copied") from error
        return block, type(packed)(*arrays)

    def _room(self, size: int) -> DeviceBlock:
        """Take memory for a model."""
        while True:
            held = sum(model.block.size for model in self._models if model.block is not None)
            lanes = sum(lane.arena for lane in self._lanes)
            if held + lanes + size <= self._budget:
                with contextlib.suppress(OutOfDeviceMemory):
                    return self._calls.allocate(size)
            # Models that nobody uses any more may only wait for the collector.
            gc.collect()
            if held > sum(model.block.size for model in self._models if model.block is not None):
                continue
            shrunk = [lane.give_way() for lane in list(self._lanes)]
            if not any(shrunk):
                what = f"a model of {size:,} bytes does not fit beside {held:,} of other models"
                raise no_room(self._calls, what)
