"""Runs single launches on a card, on NumPy arrays: everything a launch touches is copied there and back."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuda_host.forests import KernelForests
from scorestream_server.device.cuda_calls import CudaCalls, DeviceArray
from scorestream_server.device.cuda_compile import Program
from scorestream_server.device.cuda_launch import Launch
from scorestream_server.device.cuda_memory import aligned
from scorestream_server.device.forest_arrays import Floats

_GUARD, _POISON = 256, 0xA5


class CardForests(KernelForests):
    """Kernels on a card. Behind every array lie bytes that nobody may write to.

    Args:
        calls: the card, attached to this thread.
    """

    def __init__(self, calls: CudaCalls) -> None:
        self.shared_bytes = calls.shared_bytes
        self._calls = calls
        self._stream = calls.stream(0)
        self._done = calls.event()

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
        if backwards:
            raise ValueError("a card runs threads in whatever order it likes")
        kernel = self._calls.load(program)[launch.kernel]
        arrays = [value for value in launch.arguments if isinstance(value, np.ndarray)]
        arrays += columns
        sizes = [aligned(array.nbytes) + _GUARD for array in arrays]
        *starts, size = itertools.accumulate(sizes, initial=0)
        host, card = self._calls.allocate_host(size), self._calls.allocate(size)
        try:
            addresses = {id(array): card.address + start for array, start in zip(arrays, starts, strict=True)}
            host.bytes[:] = _POISON
            for array, start in zip(arrays, starts, strict=True):
                host.bytes[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
            if columns:
                table = np.array([addresses[id(column)] for column in columns], np.uint64)
                start = starts[0]  # the table is the first argument
                host.bytes[start : start + table.nbytes] = table.view(np.uint8)
            before = host.bytes.copy()
            arguments = tuple(
                DeviceArray(addresses[id(value)], value.shape, value.dtype)
                if isinstance(value, np.ndarray)
                else value
                for value in launch.arguments
            )
            there = Launch(launch.kernel, launch.grid, launch.block, launch.shared_bytes, arguments)
            self._calls.copy_in(self._stream, card.address, host.bytes)
            self._calls.launch(self._stream, kernel, there)
            self._wait()
            self._calls.copy_out(self._stream, host.bytes, card.address)
            self._wait()
            for array in scratch:
                start = addresses[id(array)] - card.address
                before[start : start + array.nbytes] = host.bytes[start : start + array.nbytes]
            start = addresses[id(result)] - card.address
            end = start + result.nbytes
            result.reshape(-1).view(np.uint8)[:] = host.bytes[start:end]
            assert np.array_equal(before[:start], host.bytes[:start]), (
                f"{launch.kernel} wrote before its result"
            )
            assert np.array_equal(before[end:], host.bytes[end:]), f"{launch.kernel} wrote behind its result"
        finally:
            host.free()
            card.free()

    def _wait(self) -> None:
        self._calls.record(self._done, self._stream)
        self._calls.wait(self._done)
