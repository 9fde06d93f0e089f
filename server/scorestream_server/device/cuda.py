"""CUDA through CuPy: the only module that imports it, and only a worker process imports this module.

CuPy's memory pools are not used: lanes take their memory once (`cuda_lane.py`). CuPy's compiler is not used either:
it flushes denormal numbers to zero (`cuda_compile.py`).
"""

import contextlib
import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cupy
import numpy as np
from cupy.cuda import driver, nvrtc, runtime
from numpy.typing import NDArray

from scorestream_server.device.base import DeviceFault
from scorestream_server.device.cuda_calls import DeviceArray, OutOfDeviceMemory
from scorestream_server.device.cuda_compile import OPTIONS, Program, compile_program
from scorestream_server.device.cuda_device import CudaDevice, opening
from scorestream_server.device.cuda_launch import Launch

_NO_MEMORY = 2
"""cudaErrorMemoryAllocation, and CUDA_ERROR_OUT_OF_MEMORY."""


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn CUDA's errors into ours. Any error but a lack of memory may stick to the process: it has to end."""
    try:
        yield
    except (runtime.CUDARuntimeError, driver.CUDADriverError) as error:
        if error.status == _NO_MEMORY:
            raise OutOfDeviceMemory(str(error)) from error
        raise DeviceFault(str(error)) from error


class _Block:
    """Device memory, taken from CUDA itself."""

    def __init__(self, size: int, attach: Callable[[], None]) -> None:
        self._memory: Any = cupy.cuda.Memory(size)
        self._attach = attach
        self.address = int(self._memory.ptr)
        self.size = size

    def free(self) -> None:
        """Give it back, on any thread: the last to forget a model may be one that never attached."""
        # There, CUDA would open the process' first card for it, and hold some of its memory from then on.
        with contextlib.suppress(DeviceFault, OutOfDeviceMemory):
            self._attach()
        self._memory = None


class _Pinned:
    """Pinned host memory, taken from CUDA itself: CuPy's pool rounds up to powers of two."""

    def __init__(self, size: int) -> None:
        pointer = cupy.cuda.PinnedMemoryPointer(cupy.cuda.PinnedMemory(size), 0)
        # The array keeps the memory alive.
        self.bytes: NDArray[np.uint8] = np.frombuffer(pointer, np.uint8, size)

    def free(self) -> None:
        """Give it back."""
        self.bytes = np.zeros(0, np.uint8)


class CupyCalls:
    """One card through CuPy; implements `cuda_calls.CudaCalls`.

    Args:
        ordinal: the card's number among those that this process sees.
        cache: folder for compiled kernels.
    """

    def __init__(self, ordinal: int, cache: Path) -> None:
        self._ordinal = ordinal
        self._cache = cache
        self._kernels: dict[str, dict[str, Any]] = {}
        self._loading = threading.Lock()
        self.name = f"cuda:{ordinal}"
        self.attach()
        with _told():
            properties = runtime.getDeviceProperties(ordinal)
        self.card: str = properties["name"].decode()
        self.shared_bytes = int(properties["sharedMemPerBlockOptin"])
        self._architecture = properties["major"] * 10 + properties["minor"]
        try:
            self._compiler = nvrtc.getVersion()
        except RuntimeError as error:  # CuPy says in its own words which library is not there
            raise DeviceFault(
                f"{error}. CUDA's compiler, NVRTC, comes with scorestream's extras cuda12 and cuda13."
            ) from error

    def attach(self) -> None:
        """Make this card the calling thread's."""
        with _told():
            runtime.setDevice(self._ordinal)

    def memory(self) -> tuple[int, int]:
        """Return free and total bytes of device memory."""
        with _told():
            free, total = runtime.memGetInfo()
        return int(free), int(total)

    def allocate(self, size: int) -> _Block:
        """Take device memory."""
        with _told():
            return _Block(size, self.attach)

    def allocate_host(self, size: int) -> _Pinned:
        """Take pinned host memory."""
        with _told():
            return _Pinned(size)

    def load(self, program: Program) -> dict[str, Any]:
        """Return a program's kernels by name, compiled the first time on this machine."""
        source = program.source()
        # Lanes load the models of different jobs at once, and those share programs.
        with self._loading:
            if source not in self._kernels:
                self._kernels[source] = self._open(program, source)
            return self._kernels[source]

    def stream(self, priority: int) -> Any:
        """Make a stream; CUDA cuts priorities to those that the card has, and lower numbers go first there."""
        with _told():
            return cupy.cuda.Stream(non_blocking=True, priority=-priority)

    def event(self, *, timing: bool = False) -> Any:
        """Make an event whose waiters sleep."""
        with _told():
            return cupy.cuda.Event(block=True, disable_timing=not timing)

    def copy_in(self, stream: Any, target: int, source: NDArray[Any]) -> None:
        """Copy pinned host memory to the device."""
        with _told():
            kind = runtime.memcpyHostToDevice
            runtime.memcpyAsync(target, source.ctypes.data, source.nbytes, kind, stream.ptr)

    def copy_out(self, stream: Any, target: NDArray[Any], source: int) -> None:
        """Copy device memory to pinned host memory."""
        with _told():
            kind = runtime.memcpyDeviceToHost
            runtime.memcpyAsync(target.ctypes.data, source, target.nbytes, kind, stream.ptr)

    def launch(self, stream: Any, kernel: Any, launch: Launch) -> None:
        """Run a kernel."""
        arguments = tuple(
            np.uint64(value.address) if isinstance(value, DeviceArray) else value
            for value in launch.arguments
        )
        with _told(), stream:
            kernel((*launch.grid, 1), (launch.block, 1, 1), arguments, shared_mem=launch.shared_bytes)

    def record(self, event: Any, stream: Any) -> None:
        """Have an event happen when the stream comes to it."""
        with _told():
            event.record(stream)

    def wait(self, event: Any) -> None:
        """Sleep until an event has happened."""
        with _told():
            event.synchronize()

    def milliseconds(self, first: Any, second: Any) -> float:
        """Return the time between two events."""
        with _told():
            return float(cupy.cuda.get_elapsed_time(first, second))

    def _open(self, program: Program, source: str) -> dict[str, Any]:
        about = repr((source, OPTIONS, self._architecture, self._compiler))
        path = self._cache / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.cubin"
        if path.exists():
            # What a crash of the machine left damaged is compiled anew.
            with contextlib.suppress(DeviceFault):
                return self._kernels_of(path, program)
        cubin = compile_program(nvrtc, program, self._architecture).cubin
        with tempfile.NamedTemporaryFile(dir=self._cache, suffix=".tmp", delete=False) as temporary:
            temporary.write(cubin)
        Path(temporary.name).replace(path)
        return self._kernels_of(path, program)

    def _kernels_of(self, path: Path, program: Program) -> dict[str, Any]:
        with _told():
            module = cupy.RawModule(path=str(path))
            kernels = {name: module.get_function(name) for name in program.kernels}
            for kernel in kernels.values():
                kernel.max_dynamic_shared_size_bytes = self.shared_bytes
        return kernels


def open_cuda(ordinal: int, cache: Path, lanes: int, budget: Callable[[int], int]) -> CudaDevice:
    """Return a card as a device.

    Args:
        ordinal: its number among those that this process sees.
        cache: folder for compiled kernels and measurements.
        lanes: how many lanes will be opened.
        budget: from the card's total memory to the bytes that this process may use.

    Raises:
        DeviceFault: it cannot be used; the message says why.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with opening():
        calls = CupyCalls(ordinal, cache)
        total = calls.memory()[1]
    return CudaDevice(calls, budget(total), lanes, cache)
