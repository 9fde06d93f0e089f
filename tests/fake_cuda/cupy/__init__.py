"""CuPy as far as `device/cuda.py` uses it, for a machine without a GPU.

A folder with this package and `pynvml.py` in front of the module path gives a real server two cards. Each call is
handed to a `cuda_double.Card`, which runs kernels on the host and checks CUDA's rules. The names, the order of the
arguments and the errors are real CuPy's: `tests/unit/test_fake_cuda.py` compares them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from cuda_double import Broken
from cuda_host.harness import build
from scorestream_server.device.cuda_calls import DeviceArray
from scorestream_server.device.cuda_launch import Launch

from . import cuda, machine
from .cuda.driver import CUDADriverError

_BAD_VALUE = 1
_BAD_IMAGE = 200
_WITHOUT_ASKING = 48 << 10
"""Bytes of shared memory that a launch may have where the kernel's attribute was not raised."""


class RawKernel:
    """A kernel of a module on the card that was current when it was got."""

    def __init__(self, code: Any, name: str) -> None:
        self._card = machine.current()
        self._module = code
        self._name = name
        self.max_dynamic_shared_size_bytes = _WITHOUT_ASKING

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDADriverError(_BAD_VALUE)
        with machine.told(CUDADriverError):
            parameters = self._module.parameters(self._name)
            arguments = tuple(self._argument(*pair) for pair in zip(parameters, args, strict=True))
            launch = Launch(self._name, grid[:2], block[0], shared_mem, arguments)
            machine.before_launch(self._card)
            self._card.launch(cuda.current_stream(), (self._module, self._name), launch)

    def _argument(self, parameter: Any, value: Any) -> Any:
        if not parameter.pointer:
            return value
        if type(value) is not np.uint64:
            raise Broken(f"{self._name} takes an address and got {value!r}")
        dtype = np.dtype(np.uint8 if parameter.kind == "V" else f"{parameter.kind}{parameter.size}")
        # A pointer says nothing of an array's size: it may read up to the end of the block.
        room = len(self._card.part(int(value), -1))
        return DeviceArray(int(value), (room // dtype.itemsize,), dtype)


class RawModule:
    """Kernels from a file; what `nvrtc.getCUBIN` gave is their source."""

    def __init__(self, code: str | None = None, *, path: str | None = None) -> None:
        if path is None:
            raise TypeError("here, a module comes from a file")
        self._path = path

    def get_function(self, name: str) -> RawKernel:
        text = Path(self._path).read_bytes()
        if not text.startswith(cuda.nvrtc.MAGIC):
            raise CUDADriverError(_BAD_IMAGE)
        with machine.told(CUDADriverError):
            machine.current()._note("load", name)
            return RawKernel(build(text.removeprefix(cuda.nvrtc.MAGIC).decode(), machine.KERNELS), name)
