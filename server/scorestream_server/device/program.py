"""Score code in the form that devices run: typed nodes in order, with no text and no names to resolve.

A front end (`scoring/expression.py`) makes a `Program`; `evaluate` runs it with NumPy, or with any array module
that looks like it. A device may also generate a kernel of its own from the nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from scorestream_server.device.operations import OPERATIONS
from scorestream_server.device.program_types import DTYPES, Op, Pair, Type, constant

BLOCK_ROWS = 8192
"""Rows computed at a time, so that the temporaries stay in the processor's second-level cache."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One column of values.

    Attributes:
        values: one-dimensional. Numbers, flags, dates (days) and timestamps (microseconds) are arrays of the
            device (NumPy's on a CPU), of any width that holds them; text is an Arrow string array.
        null: a boolean array of the same length, True where the value is NULL, or None where no value is;
            always None for text, whose nulls Arrow keeps.
    """

    values: Any
    null: Any = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Input:
    """One column that a program reads."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Attributes:
        op: what it does.
        type: the type of its result.
        args: the places of its arguments among the program's nodes, all before its own.
        value: what the operation needs to know beside its arguments (see `Op`); hashable.
    """

    op: Op
    type: Type
    args: tuple[int, ...] = ()
    value: Any = None


@dataclass(frozen=True, slots=True)
class Output:
    """One column that a program makes: its name, and the place of the node that gives it."""

    name: str
    node: int


@dataclass(frozen=True, slots=True)
class Program:
    """Typed nodes in an order in which arguments come first; what two outputs share is there once."""

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]


def apply(xp: Any, nodes: Sequence[Node], node: Node, args: Sequence[Pair]) -> Pair:
    """Compute one node, neither a column nor a constant, from its arguments."""
    return OPERATIONS[node.op](xp, node, nodes[node.args[-1]].type, *args)


def evaluate(xp: Any, program: Program, columns: Sequence[Vector]) -> list[Vector]:
    """Run a program over columns.

    Args:
        xp: NumPy, or an array module like it that holds the columns. (Programs with text need NumPy.)
        program: what to compute.
        columns: one vector for each of ``program.inputs``, in their order, all of one length.

    Returns:
        One vector for each of ``program.outputs``, in arrays of their own.
    """
    rows = len(columns[0]) if columns else 0
    results = [_Result(xp, program.nodes[output.node].type, rows) for output in program.outputs]
    last_use = _last_use(program)
    with np.errstate(all="ignore"):
        constants: list[Pair | None] = [
            constant(xp, node.type, node.value) if node.op is Op.CONST else None for node in program.nodes
        ]
        for start in range(0, rows, BLOCK_ROWS):
            block = slice(start, min(start + BLOCK_ROWS, rows))
            values = constants.copy()
            for place, node in enumerate(program.nodes):
                if node.op is Op.COLUMN:
                    values[place] = _read(xp, columns[node.value], node.type, block)
                elif node.op is not Op.CONST:
                    args = [values[arg] for arg in node.args]
                    values[place] = apply(xp, program.nodes, node, args)  # type: ignore[arg-type]  # computed before
                for arg in last_use[place]:
                    values[arg] = None  # gives its memory, still in the cache, to the next temporary
            for result, output in zip(results, program.outputs, strict=True):
                result.put(block, values[output.node])  # type: ignore[arg-type]  # outputs are never freed
    return [result.vector() for result in results]


def _last_use(program: Program) -> list[list[int]]:
    """Return, for each node, the nodes whose values nothing reads after it."""
    last = {arg: place for place, node in enumerate(program.nodes) for arg in node.args}
    for output in program.outputs:
        last.pop(output.node, None)
    freed: list[list[int]] = [[] for _ in program.nodes]
    for arg, place in last.items():
        freed[place].append(arg)
    return freed


def _read(xp: Any, column: Vector, kind: Type, block: slice) -> Pair:
    values = column.values[block]
    if kind is Type.TEXT:
        return values, None
    null = None if column.null is None else column.null[block]
    return xp.asarray(values, DTYPES[kind]), null if null is not None and null.any() else None


class _Result:
    """Collects the blocks of one output."""

    def __init__(self, xp: Any, kind: Type, rows: int) -> None:
        self._xp = xp
        self._rows = rows
        self._chunks: list[Any] = []
        self._values = None if kind is Type.TEXT else xp.empty(rows, DTYPES[kind])
        self._null: Any = None

    def put(self, block: slice, pair: Pair) -> None:
        values, null = pair
        if self._values is None:
            same = isinstance(values, pa.Scalar)
            self._chunks.append(pa.repeat(values, block.stop - block.start) if same else values)
            return
        self._values[block] = values
        if null is not None:
            if self._null is None:
                self._null = self._xp.zeros(self._rows, "bool")
            self._null[block] = null

    def vector(self) -> Vector:
        if self._values is None:
            return Vector(pa.chunked_array(self._chunks, pa.string()).combine_chunks())
        return Vector(self._values, self._null)
