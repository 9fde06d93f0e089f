"""The CUDA kernels as programs: which there are, their source text, and their compilation by NVRTC.

NVRTC needs no GPU. It is passed in (``cupy.cuda.nvrtc``), so this module imports no CuPy. CuPy's own compilation is
not used: it flushes denormal numbers to zero, and a threshold may be one.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from scorestream_server.device.forest_arrays import PostProcessor
from scorestream_server.device.rank_pack import BUCKETS, CATEGORY, CATEGORY_SET, THRESHOLD
from scorestream_server.device.reason_pack import DOWN, LEAF, UP

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""The compute capabilities, times ten, that the kernels are proved to compile for."""

RANK_ROWS = 4
"""Rows that a thread of the quantising kernel takes."""

POST_NUMBERS = {kind: number for number, kind in enumerate(PostProcessor)}
"""The number by which the finishing kernel knows each post-processor."""

OPTIONS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")
"""Scores must be those of the CPU: no multiplication is fused with an addition, no denormal number becomes 0."""

_C_TYPES = {"uint8": "unsigned char", "uint16": "unsigned short", "float32": "float", "float64": "double"}
_FOLDER = Path(__file__).parent / "kernels"

_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True, slots=True)
class Program:
    """One source file with its defines: a variant of the kernels in it.

    Attributes:
        name: what a person calls it, for example ``walk uint8 32 float32``.
        file: its source in ``kernels/``.
        kernels: the entry functions.
        defines: names and values, put in front of the source.
    """

    name: str
    file: str
    kernels: tuple[str, ...]
    defines: tuple[tuple[str, str | int], ...]

    def source(self) -> str:
        """Return the text that is compiled; equal texts give equal kernels."""
        defines = "".join(f"#define {name} {value}\n" for name, value in self.defines)
        return defines + (_FOLDER / self.file).read_text()


@dataclass(frozen=True, slots=True)
class Resources:
    """What one compiled kernel needs: registers a thread, and bytes."""

    registers: int
    shared: int
    stack: int
    spilled: int


@dataclass(frozen=True, slots=True)
class Compiled:
    """Machine code for one architecture; ``resources`` by kernel."""

    cubin: bytes
    resources: dict[str, Resources]


class CudaCompileError(Exception):
    """NVRTC refused a program; the message holds its log."""


def rank_program(cell: DTypeLike) -> Program:
    """Return the kernel that quantises rows into uint8 or uint16."""
    constants = {
        "BUCKETS": BUCKETS,
        "THRESHOLD": THRESHOLD,
        "CATEGORY": CATEGORY,
        "CATEGORY_SET": CATEGORY_SET,
    }
    return Program(
        f"rank {np.dtype(cell)}",
        "rank.cu",
        ("rank_rows",),
        (("CELL", _c_type(cell)), ("RANK_ROWS", RANK_ROWS), *constants.items()),
    )


def walk_program(cell: DTypeLike, node: DTypeLike, leaf: DTypeLike, *, vector: bool) -> Program:
    """Return the kernels that sum leaves.

    Args:
        cell: uint8 or uint16.
        node: uint32 (with uint8 only) or uint64.
        leaf: float32 or float64.
        vector: whether a leaf has several values.
    """
    bits = np.dtype(node).itemsize * 8
    return Program(
        f"walk {np.dtype(cell)} {bits}-bit nodes {np.dtype(leaf)}{' vectors' if vector else ''}",
        "walk.cu",
        ("walk_staged", "walk_global", "walk_row"),
        (
            ("CELL", _c_type(cell)),
            ("NODE_BITS", bits),
            ("LEAF", _c_type(leaf)),
            ("VECTOR_LEAVES", int(vector)),
        ),
    )


def finish_program(leaf: DTypeLike) -> Program:
    """Return the kernel that turns sums of float32 or float64 leaves into scores."""
    kinds = ((f"POST_{kind.name}", number) for kind, number in POST_NUMBERS.items())
    return Program(
        f"finish {np.dtype(leaf)}", "finish.cu", ("finish_rows",), (("LEAF", _c_type(leaf)), *kinds)
    )


def reasons_program() -> Program:
    """Return the kernels that explain scores."""
    steps = (("LEAF_STEP", LEAF), ("DOWN_STEP", DOWN), ("UP_STEP", UP))
    return Program("reasons", "reasons.cu", ("explain_rows", "choose_reasons"), steps)


def all_programs() -> list[Program]:
    """Return every program that any forest may need."""
    leaves = (np.float32, np.float64)
    widths = ((np.uint8, np.uint32), (np.uint8, np.uint64), (np.uint16, np.uint64))
    return [
        *(rank_program(cell) for cell in (np.uint8, np.uint16)),
        *(
            walk_program(cell, node, leaf, vector=vector)
            for cell, node in widths
            for leaf in leaves
            for vector in (False, True)
        ),
        *(finish_program(leaf) for leaf in leaves),
        reasons_program(),
    ]


def compile_program(nvrtc: Any, program: Program, architecture: int) -> Compiled:
    """Compile a program to machine code.

    Args:
        nvrtc: the module ``cupy.cuda.nvrtc``.
        program: what to compile.
        architecture: a compute capability times ten, for example 90.

    Raises:
        CudaCompileError: NVRTC does not know the architecture, or refuses the program.
    """
    options = (f"-arch=sm_{architecture}", "--ptxas-options=-v", *OPTIONS)
    handle = nvrtc.createProgram(program.source(), program.file, (), ())
    try:
        try:
            nvrtc.compileProgram(handle, options)
        except nvrtc.NVRTCError as error:
            log = nvrtc.getProgramLog(handle)
            message = f"cannot compile {program.name!r} for sm_{architecture}: {error}\n{log}"
            raise CudaCompileError(message) from error
        return Compiled(nvrtc.getCUBIN(handle), _resources(nvrtc.getProgramLog(handle)))
    finally:
        nvrtc.destroyProgram(handle)


def _resources(log: str) -> dict[str, Resources]:
    """Read what the assembler says about each kernel."""
    found = {}
    _, *parts = _ENTRY.split(log)
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        spills, registers, shared = _SPILLS.search(text), _REGISTERS.search(text), _SHARED.search(text)
        if spills and registers:
            stack, stores, loads = map(int, spills.groups())
            static = int(shared[1]) if shared else 0
            found[name] = Resources(int(registers[1]), static, stack, stores + loads)
    return found


def _c_type(dtype: DTypeLike) -> str:
    return _C_TYPES[np.dtype(dtype).name]
