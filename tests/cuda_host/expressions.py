"""Computes score code on the host by the kernels and launches that a device would get."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuda_host.forests import Poisoned
from cuda_host.harness import HostModule, build
from cuda_host.log import KernelLog
from scorestream_server.device import cuda_compile
from scorestream_server.device.cuda_expression import (
    expression_columns,
    expression_launch,
    expression_program,
)
from scorestream_server.device.program import Program, Vector, evaluate
from scorestream_server.device.program_types import DTYPES, Op, Type

INEXACT = frozenset({Op.EXP, Op.LN, Op.LOG2, Op.LOG10, Op.POWER})
"""What different mathematical libraries compute with different last bits."""

Case = tuple[Program, Sequence[Vector]]
_START = 'extern "C"'


@dataclass(frozen=True)
class HostExpressions:
    """Builds the kernels of many programs at once, and writes down which ran."""

    folder: Path
    log: KernelLog

    def check(self, cases: Sequence[Case]) -> None:
        """Assert that the kernels give what `evaluate` gives, bit by bit where that is promised."""
        for (program, vectors), results in zip(cases, self.run(cases), strict=True):
            for output, result, expected in zip(
                program.outputs, results, evaluate(np, program, vectors), strict=True
            ):
                _assert_same(program, output.node, result, expected)

    def run(self, cases: Sequence[Case]) -> list[list[Vector]]:
        """Compute programs over columns by kernels, all in one library; the columns keep their own widths."""
        kernels = [
            expression_program(program, [vector.values.dtype for vector in vectors])
            for program, vectors in cases
        ]
        module = build(_together(kernels), self.folder)
        results = [_launch(module, number, *case) for number, case in enumerate(cases)]
        self.log.on_host.update((kernel.name, "expression_rows") for kernel in kernels)
        return results


def _together(kernels: Sequence[cuda_compile.Program]) -> str:
    """Return one source with the kernels of many programs, each under a name with its number."""
    functions, kernel = kernels[0].source().split(_START)
    parts = [functions]
    for number, program in enumerate(kernels):
        body = dict(program.defines)["BODY"]
        named = kernel.replace("expression_rows(", f"expression_rows_{number}(")
        parts.append(f"#undef BODY\n#define BODY {body}\n{_START}{named}")
    return "\n".join(parts)


def _launch(module: HostModule, number: int, program: Program, vectors: Sequence[Vector]) -> list[Vector]:
    rows = len(vectors[0])
    inputs = [
        (vector.values, None if vector.null is None else vector.null.view(np.uint8)) for vector in vectors
    ]
    kinds = [program.nodes[output.node].type for output in program.outputs]
    outputs = [(Poisoned((rows,), _stored(kind)), Poisoned((rows,), np.uint8)) for kind in kinds]
    columns = expression_columns(
        [(_address(values), 0 if null is None else _address(null)) for values, null in inputs],
        [(_address(values.array), _address(null.array)) for values, null in outputs],
    )
    launch = expression_launch(columns, rows)
    module.launch(
        f"{launch.kernel}_{number}", launch.grid, launch.block, launch.shared_bytes, launch.arguments
    )
    for values, null in outputs:
        values.check()
        null.check()
        assert null.array.max() <= 1
    return [
        Vector(values.array.view(DTYPES[kind]), null.array.view(np.bool_))
        for kind, (values, null) in zip(kinds, outputs, strict=True)
    ]


def _stored(kind: Type) -> str:
    return "uint8" if kind is Type.BOOL else DTYPES[kind]


def _address(array: NDArray[Any]) -> int:
    assert array.flags.c_contiguous
    return array.ctypes.data


def _assert_same(program: Program, place: int, result: Vector, expected: Vector) -> None:
    node = program.nodes[place]
    null = np.zeros(len(expected), np.bool_) if expected.null is None else expected.null
    told = (
        f"node {place}: {node.op} of {[program.nodes[arg] for arg in node.args]} as {node.type}, {node.value}"
    )
    np.testing.assert_array_equal(result.null, null, told)
    ours, theirs = result.values[~null], expected.values[~null]
    if node.type is not Type.FLOAT:
        np.testing.assert_array_equal(ours, theirs, told)
    elif _exact(program, place):
        known = ~np.isnan(theirs)
        np.testing.assert_array_equal(np.isnan(ours), ~known, told)
        # Bits, because 0.0 and -0.0 compare equal.
        np.testing.assert_array_equal(ours[known].view(np.uint64), theirs[known].view(np.uint64), told)
    else:
        # The last of a denormal's few bits is more than any tolerance.
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-310, err_msg=told)


def _exact(program: Program, place: int) -> bool:
    needed = {place}
    for before in range(place, -1, -1):
        if before in needed:
            needed.update(program.nodes[before].args)
    return all(program.nodes[one].op not in INEXACT for one in needed)
