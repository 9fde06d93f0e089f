"""Reasons of score code that is a sum of columns times constants: each term is what its column adds."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scorestream_server.device.base import Reasons
from scorestream_server.device.program import Node, Program, Vector
from scorestream_server.device.program_types import Op, Type

_Line = tuple[float, NDArray[np.float64]]
"""A constant, and a weight for each input."""


def line_of(program: Program) -> _Line | None:
    """Return a program's constant and its inputs' weights; None where it is no sum of inputs times constants.

    It has to have one output, a double. Whole numbers count as long as they are inputs: sums of them wrap around.
    """
    if len(program.outputs) != 1:
        return None
    lines: list[_Line | None] = []
    for node in program.nodes[: program.outputs[0].node + 1]:
        whole = any(program.nodes[place].op not in {Op.COLUMN, Op.CONST} for place in node.args)
        args = [lines[place] for place in node.args]
        if node.op is Op.CAST and whole:  # of a sum of whole numbers, or of a text
            args = [None]
        lines.append(_line(len(program.inputs), node, args))
    return lines[-1] if program.nodes[program.outputs[0].node].type is Type.FLOAT else None


def _line(inputs: int, node: Node, args: Sequence[_Line | None]) -> _Line | None:
    """Return the line of a node from those of its arguments."""
    if node.op is Op.COLUMN and node.type in {Type.INT, Type.FLOAT}:
        return 0.0, np.eye(1, inputs, node.value)[0]
    if node.op is Op.CONST and isinstance(node.value, int | float):
        return float(node.value), np.zeros(inputs)
    lines = [arg for arg in args if arg is not None]
    whole = len(lines) == len(args) > 0 and node.type is Type.FLOAT
    if not whole:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # a weight beyond any number is no weight
        found = _combined(node.op, lines[0], lines[-1])
    return found if found is not None and np.isfinite([found[0], *found[1]]).all() else None


def _combined(op: Op, one: _Line, other: _Line) -> _Line | None:
    (constant, weights), (second, others) = one, other
    found: _Line | None = None
    match op:
        case Op.CAST:
            found = constant, weights
        case Op.NEG:
            found = -constant, -weights
        case Op.ADD:
            found = constant + second, weights + others
        case Op.SUB:
            found = constant - second, weights - others
        case Op.MUL if not others.any():
            found = constant * second, weights * second
        case Op.MUL if not weights.any():
            found = constant * second, constant * others
        case Op.DIV if not others.any() and second:
            found = constant / second, weights / second
    return found


def reasons_of_line(line: _Line, vectors: Sequence[Vector], reasons: int) -> Reasons:
    """Return each row's reasons; what has no value has a contribution that is no number, and comes last."""
    constant, weights = line
    rows = len(vectors[0])
    contributions = np.empty((len(vectors), rows))
    for place, (vector, weight) in enumerate(zip(vectors, weights, strict=True)):
        contributions[place] = np.asarray(vector.values, np.float64) * weight
        if vector.null is not None:
            contributions[place][vector.null] = np.nan
    order = np.argsort(-np.abs(contributions), axis=0, kind="stable")[:reasons]  # puts NaN last
    chosen = np.take_along_axis(contributions, order, axis=0)
    return Reasons(order.astype(np.int32), chosen, np.full(rows, constant))


def null_for_nan(columns: Sequence[pa.Array]) -> list[pa.Array]:
    """Return columns of reasons with NULL as the contribution of what has no value."""
    return [
        pa.array(column.to_numpy(), from_pandas=True) if pa.types.is_floating(column.type) else column
        for column in columns
    ]
