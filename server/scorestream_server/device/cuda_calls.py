"""What lanes ask of CUDA: the few calls that `cuda.py` makes through CuPy, and that a test's double records.

Everything between two events of a stream happens later, in order; memory that is on its way must be left alone
until an event behind it has been waited for.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.cuda_compile import Program
from scorestream_server.device.cuda_launch import Launch


class OutOfDeviceMemory(Exception):  # noqa: N818  # a fact about the card, not a fault of the call
    """The card has no room for what was asked for; nothing else is wrong with it."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceArray:
    """A part of a block of device memory, as launches take it.

    Attributes:
        address: where it starts, aligned to its type.
        shape, dtype: what the kernels read there, in C order.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """How many bytes it has."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class DeviceBlock(Protocol):
    """Device memory, aligned to 256 bytes."""

    address: int
    size: int

    def free(self) -> None:
        """Give it back; nothing may be on its way there."""
        ...


class HostBlock(Protocol):
    """Pinned host memory."""

    bytes: NDArray[np.uint8]

    def free(self) -> None:
        """Give it back; nothing may be on its way there."""
        ...


class CudaCalls(Protocol):
    """One card. Streams, events and kernels are the implementation's own affair.

    Every method may raise `OutOfDeviceMemory` where it takes memory, and `DeviceFault` where the card is of no use
    to this process any more.
    """

    name: str
    """For example ``cuda:0``."""
    card: str
    """What its maker calls it, for example ``NVIDIA H100 80GB HBM3``."""
    shared_bytes: int
    """Dynamic shared memory that a block may have."""

    def attach(self) -> None:
        """Make this card the calling thread's; each thread does so once before anything else."""
        ...

    def memory(self) -> tuple[int, int]:
        """Return free and total bytes of device memory."""
        ...

    def allocate(self, size: int) -> DeviceBlock:
        """Take device memory. Slow: it waits for the whole card."""
        ...

    def allocate_host(self, size: int) -> HostBlock:
        """Take pinned host memory. Slow, too."""
        ...

    def load(self, program: Program) -> dict[str, Any]:
        """Return a program's kernels by name, compiled the first time."""
        ...

    def stream(self, priority: int) -> Any:
        """Make a stream that waits for no other; a higher priority goes first where both want the card."""
        ...

    def event(self, *, timing: bool = False) -> Any:
        """Make an event; with `timing`, for `milliseconds`."""
        ...

    def copy_in(self, stream: Any, target: int, source: NDArray[Any]) -> None:
        """Copy pinned host memory to an address on the device, when the stream comes to it."""
        ...

    def copy_out(self, stream: Any, target: NDArray[Any], source: int) -> None:
        """Copy from an address on the device to pinned host memory, when the stream comes to it."""
        ...

    def launch(self, stream: Any, kernel: Any, launch: Launch) -> None:
        """Run a kernel when the stream comes to it."""
        ...

    def record(self, event: Any, stream: Any) -> None:
        """Have an event happen when the stream comes to it."""
        ...

    def wait(self, event: Any) -> None:
        """Sleep until an event has happened."""
        ...

    def milliseconds(self, first: Any, second: Any) -> float:
        """Return the time between two events that have happened."""
        ...
