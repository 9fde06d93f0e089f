"""Builds CUDA source with the host's C++ compiler, and runs its kernels on NumPy arrays.

So kernels are proved where there is no GPU: what is compiled is the very text that NVRTC gets. See ``cuda_host.h`` for
what a kernel may use.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_HEADER = Path(__file__).parent / "cuda_host.h"
_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(")
_STATIC_SHARED = re.compile(r"(?<!extern )__shared__")
_OPTIONS = (
    "-std=c++17",
    "-O2",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fPIC",
    # Its longjmp refuses to go to another stack.
    "-U_FORTIFY_SOURCE",
    "-shared",
    "-Wl,-z,defs",
    "-w",
)
_MOST_ARGUMENTS = 64
_OUTCOMES = {
    1: "a thread wrote behind the block's shared memory",
    2: "some threads of a block ended while others waited at a barrier",
    3: "no device takes such a launch: look at the grid, the block and the shared memory",
}


class KernelError(Exception):
    """A kernel, or its launch, broke a rule of CUDA."""


def compiler() -> str | None:
    """Return the host's C++ compiler; None where there is none."""
    return next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)


class Parameter(NamedTuple):
    """A parameter of a kernel: NumPy's letter and bytes of a value (V and 0: a struct), and whether it points to it."""

    pointer: bool
    kind: str
    size: int

    def __str__(self) -> str:
        return f"{'array of ' if self.pointer else ''}{self.kind}{self.size}"


class HostModule:
    """Kernels that run on the host.

    Args:
        library: what `build` made.
        kernels: the names of its kernels.
    """

    def __init__(self, library: Path, kernels: Sequence[str]) -> None:
        # Holds the interpreter lock: a launch works in memory that all modules share.
        self._library = ctypes.PyDLL(str(library))
        self.kernels = tuple(kernels)

    def launch(
        self,
        kernel: str,
        grid: tuple[int, ...],
        block: int | tuple[int, ...],
        shared_bytes: int,
        arguments: Sequence[Any],
        *,
        backwards: bool = False,
    ) -> None:
        """Run a kernel to its end.

        Args:
            kernel: its name.
            grid: blocks, in one to three dimensions.
            block: threads, likewise.
            shared_bytes: dynamic shared memory of a block. It is filled with 0xa5 before each block.
            arguments: contiguous arrays, and NumPy scalars of the exact types of the kernel's parameters.
            backwards: whether a block's threads run from the last to the first between barriers. A kernel whose
                result depends on it has a race.

        Raises:
            TypeError: the arguments are not those of the kernel.
            KernelError: the kernel overran its shared memory or missed a barrier, or the launch is impossible.
        """
        self._check(kernel, arguments)
        # A pointer's value, or a scalar's: the launch takes the address of each.
        values = [
            np.array(argument.ctypes.data, np.uint64)
            if isinstance(argument, np.ndarray)
            else np.array(argument)
            for argument in arguments
        ]
        addresses = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        sides = block if isinstance(block, tuple) else (block,)
        code = self._library[f"cuda_host_launch_{kernel}"](
            addresses, _three(grid), _three(sides), ctypes.c_uint(shared_bytes), ctypes.c_bool(backwards)
        )
        if code:
            raise KernelError(f"{kernel}: {_OUTCOMES[code]}")

    def parameters(self, kernel: str) -> list[Parameter]:
        """Return what a kernel takes."""
        codes = (ctypes.c_int * _MOST_ARGUMENTS)()
        count = self._library[f"cuda_host_types_{kernel}"](codes)
        return [Parameter(bool(code >> 16), chr(code >> 8 & 0xFF), code & 0xFF) for code in codes[:count]]

    def _check(self, kernel: str, arguments: Sequence[Any]) -> None:
        parameters = self.parameters(kernel)
        if len(parameters) != len(arguments):
            raise TypeError(f"{kernel} takes {len(parameters)} arguments, not {len(arguments)}")
        for place, (wanted, argument) in enumerate(zip(parameters, arguments, strict=True)):
            given = argument.dtype
            # A pointer to a struct takes any bytes.
            fits = wanted.kind == "V" or (given.kind, given.itemsize) == (wanted.kind, wanted.size)
            if wanted.pointer != isinstance(argument, np.ndarray) or not fits:
                raise TypeError(
                    f"argument {place} of {kernel} is {type(argument).__name__} {given}, not {wanted}"
                )
            if wanted.pointer and not argument.flags.c_contiguous:
                raise TypeError(f"argument {place} of {kernel} is not contiguous")


def build(source: str, folder: Path) -> HostModule:
    """Compile CUDA source for the host.

    Args:
        source: what NVRTC would get, its defines in front.
        folder: where to keep the library; one that is there already is used again.

    Raises:
        RuntimeError: there is no compiler, or it refuses the source; the message holds what it said.
        ValueError: the source has shared memory other than ``dynamic_shared``.
    """
    command = compiler()
    if command is None:
        raise RuntimeError("there is no C++ compiler here")
    if _STATIC_SHARED.search(source):
        raise ValueError("on the host, shared memory must be `extern __shared__ ... dynamic_shared[]`")
    kernels = _KERNEL.findall(source)
    text = "\n".join(
        ['#include "cuda_host.h"', source, *(f"CUDA_HOST_KERNEL({kernel})" for kernel in kernels), ""]
    )
    digest = hashlib.sha256(text.encode() + _HEADER.read_bytes()).hexdigest()[:20]
    library = folder / f"{digest}.so"
    if not library.exists():
        # Several processes may build the same: each finds no file, or a whole one.
        written = library.with_suffix(f".{os.getpid()}.cpp")
        unnamed = written.with_suffix(".tmp")
        written.write_text(text)
        done = subprocess.run(
            [command, *_OPTIONS, f"-I{_HEADER.parent}", "-o", str(unnamed), str(written)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"the host's compiler refuses the kernels:\n{done.stderr}")
        unnamed.replace(library)
    return HostModule(library, kernels)


def _three(sides: tuple[int, ...]) -> Any:
    return (ctypes.c_uint * 3)(*sides, *[1] * (3 - len(sides)))
