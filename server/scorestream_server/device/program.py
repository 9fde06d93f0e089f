"""Score code in the form that devices run: typed nodes in order, with no text and no names to resolve.

A front end (`scoring/expression.py`) makes a `Program`; `evaluate` runs it with NumPy, or with any array module
that looks like it. A device may also generate a kernel of its own from the nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from scorestream_server.device.operations import IN_PLACE, OPERATIONS
from scorestream_server.device.program_types import DTYPES, Op, Pair, Type, constant

BLOCK_ROWS = 65_536
"""Rows computed at a time: temporaries of 512 KiB stay in the cache, and an operation outweighs its call."""


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
    """Typed nodes in an order in which arguments come first; what two outputs share is there once.

    Attributes:
        errors: reasons for which a row may have no outputs. Where there are any, one more output follows, an INT: the
            place of a row's reason, from 1, or NULL. A reason is a text, or the place of the output that has it, a
            TEXT behind that one.
    """

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    errors: tuple[str | int, ...] = ()


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
    steps = _steps(program)
    with np.errstate(all="ignore"):
        constants: dict[int, Pair] = {
            place: constant(xp, node.type, node.value)
            for place, node in enumerate(program.nodes)
            if node.op is Op.CONST
        }
        for start in range(0, rows, BLOCK_ROWS):
            block = slice(start, min(start + BLOCK_ROWS, rows))
            slots = {
                output.node: result.slot(block)
                for output, result in zip(program.outputs, results, strict=True)
            }
            values = constants.copy()
            for step in steps:
                values[step.place] = step.run(xp, columns, values, slots, block)
                for arg in step.frees:
                    del values[arg]  # gives its memory, still in the cache, to the next temporary
            for result, output in zip(results, program.outputs, strict=True):
                result.put(block, values[output.node])
    return [result.vector() for result in results]


@dataclass(frozen=True, slots=True)
class _Step:
    """A node with what is known about it before any row is.

    Attributes:
        place: the node's place.
        node: the node.
        kind: the type of its last argument.
        frees: the nodes whose values nothing reads after this one.
        reuse: an argument whose array may be overwritten with the result.
    """

    place: int
    node: Node
    kind: Type
    frees: tuple[int, ...]
    reuse: int | None

    def run(
        self, xp: Any, columns: Sequence[Vector], values: dict[int, Pair], slots: dict[int, Any], block: slice
    ) -> Pair:
        node = self.node
        if node.op is Op.COLUMN:
            return _read(xp, columns[node.value], node.type, block)
        args = [values[arg] for arg in node.args]
        if node.op not in IN_PLACE:
            return OPERATIONS[node.op](xp, node, self.kind, *args)
        out = slots.get(self.place)
        if out is None and self.reuse is not None:
            out = values[self.reuse][0]
        if out is not None and not np.ndim(out):
            out = None  # what it would overwrite is one value for all rows
        return OPERATIONS[node.op](xp, node, self.kind, *args, out=out)


def _steps(program: Program) -> list[_Step]:
    nodes = program.nodes
    last = {arg: place for place, node in enumerate(nodes) for arg in node.args}
    for output in program.outputs:
        last.pop(output.node, None)
    frees: list[list[int]] = [[] for _ in nodes]
    for arg, place in last.items():
        if nodes[arg].op is not Op.CONST:
            frees[place].append(arg)
    steps = []
    for place, node in enumerate(nodes):
        if node.op is not Op.CONST:
            # Only what such an operation made is nobody else's: a column's array is the caller's.
            own = [arg for arg in frees[place] if nodes[arg].op in IN_PLACE and nodes[arg].type is node.type]
            kind = nodes[node.args[-1]].type if node.args else node.type
            steps.append(_Step(place, node, kind, tuple(frees[place]), own[0] if own else None))
    return steps


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
        self._slot: Any = None

    def slot(self, block: slice) -> Any:
        """Return where a block's values go, so that they can be computed right there; None for text."""
        self._slot = None if self._values is None else self._values[block]
        return self._slot

    def put(self, block: slice, pair: Pair) -> None:
        values, null = pair
        if self._values is None:
            same = isinstance(values, pa.Scalar)
            self._chunks.append(pa.repeat(values, block.stop - block.start) if same else values)
            return
        if values is not self._slot:
            self._slot[...] = values
        if null is not None:
            if self._null is None:
                self._null = self._xp.zeros(self._rows, "bool")
            self._null[block] = null

    def vector(self) -> Vector:
        if self._values is None:
            return Vector(pa.chunked_array(self._chunks, pa.string()).combine_chunks())
        return Vector(self._values, self._null)
