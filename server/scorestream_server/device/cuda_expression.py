"""Writes score code as one CUDA kernel a program: a thread a row, every node in registers.

The kernel's text is ``kernels/expression.cu`` with statements for the nodes in order. Nothing in them is a client's
text: variables are numbered, constants are written out as exact numbers.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scorestream_server.device import cuda_compile
from scorestream_server.device.cuda_launch import Launch
from scorestream_server.device.program import Node, Program
from scorestream_server.device.program_types import DTYPES, MICROSECONDS_A_DAY, Op, Type

MOST_STEPS = 3_072
"""Nodes, and members of IN's sets, that one kernel computes: enough for 500 terms with a default for NULL each.

NVRTC takes 1.5 to 3 seconds for those on one core, and its time grows with the square: twice as many took 17.
"""

BLOCK = 128
"""Threads of a block: 65,536 registers are enough for five blocks whatever a kernel needs."""

_COLUMNS_AT_ONCE = 16
"""Columns that a thread may load before it computes with them: enough to keep the memory busy."""

_CLASSES = {
    Type.BOOL: "Bool",
    Type.INT: "Int",
    Type.FLOAT: "Float",
    Type.DATE: "Int",
    Type.TIMESTAMP: "Int",
}
_STORED = {
    "bool": "unsigned char",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned int",
    "float32": "float",
    "float64": "double",
}
_FLAGS, _FLOATS = frozenset({"bool", "uint8"}), frozenset({"float32", "float64"})
_WIDTHS = {Type.BOOL: _FLAGS, Type.FLOAT: _FLOATS}
_WHOLES = frozenset(_STORED) - _FLOATS - {"bool"}

_ANY = frozenset(_CLASSES)
_NUMBERS = frozenset({Type.INT, Type.FLOAT})
_ORDERED = _ANY - {Type.BOOL}
_TAKES = {
    **dict.fromkeys((Op.ADD, Op.SUB, Op.MUL, Op.MOD, Op.NEG, Op.ABS, Op.SIGN), _NUMBERS),
    **dict.fromkeys((Op.DIV, Op.POWER, Op.ROUND, Op.FLOOR, Op.CEIL), frozenset({Type.FLOAT})),
    **dict.fromkeys((Op.EXP, Op.LN, Op.LOG2, Op.LOG10, Op.SQRT), frozenset({Type.FLOAT})),
    **dict.fromkeys((Op.MIN, Op.MAX), _ORDERED),
    **dict.fromkeys((Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE, Op.IN), _ANY),
    **dict.fromkeys((Op.AND, Op.OR, Op.NOT), frozenset({Type.BOOL})),
    **dict.fromkeys((Op.IS_NULL, Op.IF, Op.COALESCE), _ANY),
}
"""The type of the last argument that each operation's function takes; `_CASTS` has those of CAST."""
_CASTS = {
    **{(kind, Type.BOOL): "to_bool" for kind in (Type.INT, Type.FLOAT)},
    **{(kind, Type.INT): "to_int" for kind in (Type.BOOL, Type.FLOAT)},
    **{(kind, Type.FLOAT): "to_float" for kind in (Type.BOOL, Type.INT)},
    (Type.DATE, Type.TIMESTAMP): "to_timestamp",
    (Type.TIMESTAMP, Type.DATE): "to_date",
}


def supports(program: Program) -> bool:
    """Tell whether a kernel can compute a program; where not, `program.evaluate` does on the host.

    A kernel knows no text, and at most `MOST_STEPS` nodes, members of IN's sets counted as nodes.
    """
    kinds = {column.type for column in program.inputs} | {node.type for node in program.nodes}
    steps = sum(1 + (len(node.value) if node.op is Op.IN else 0) for node in program.nodes)
    return (
        Type.TEXT not in kinds
        and steps <= MOST_STEPS
        and all(_known(program, node) for node in program.nodes)
    )


def expression_program(program: Program, dtypes: Sequence[DTypeLike]) -> cuda_compile.Program:
    """Return the kernel that computes a program, ready to compile.

    Args:
        program: one that `supports`.
        dtypes: what each of ``program.inputs`` is stored as: bool or uint8 for a flag, float32 or float64 for a
            FLOAT, int8 to int64 or uint8 to uint32 for the rest. Equal programs and dtypes give equal kernels.

    Raises:
        ValueError: a dtype is none of these, or there is not one for each input.
    """
    names = [np.dtype(dtype).name for dtype in dtypes]
    for column, name in zip(program.inputs, names, strict=True):
        if name not in _WIDTHS.get(column.type, _WHOLES):
            raise ValueError(f"a kernel cannot read {column.type} from {name}")
    body = " \\\n    ".join(_statements(program, names))
    return cuda_compile.Program(
        f"expression {hashlib.sha256(body.encode()).hexdigest()[:12]}",
        "expression.cu",
        ("expression_rows",),
        (
            ("BLOCK", BLOCK),
            ("MICROSECONDS_A_DAY", f"{MICROSECONDS_A_DAY}ll"),
            ("BODY", body),
        ),
    )


def expression_columns(
    inputs: Sequence[tuple[int, int]], outputs: Sequence[tuple[int, int]]
) -> NDArray[np.uint64]:
    """Return what a kernel knows of its columns, shape ``(inputs + outputs, 2)``; copy it to the device.

    Args:
        inputs: for each of the program's inputs, the addresses of its values, of the dtype given to
            `expression_program`, and of its null mask: uint8, not 0 where the value is NULL. 0 instead of the address
            of a mask says that no value is.
        outputs: for each of the program's outputs, the addresses where its values go, float64 for FLOAT, uint8 (0 or
            1) for BOOL, int64 for the rest, and where its null mask goes: uint8, 1 where the value is NULL, else 0.
            Where a value is NULL, any may stand.
    """
    return np.array([*inputs, *outputs], np.uint64).reshape(-1, 2)


def expression_launch(columns: Any, rows: int) -> Launch:
    """Compute a program.

    Args:
        columns: `expression_columns`, on the device, 16-byte aligned. Each array there is aligned to its type and has
            at least ``rows`` values; results overlap nothing else.
        rows: how many there are, from 1 to 2**30.
    """
    return Launch("expression_rows", (-(-rows // BLOCK), 1), BLOCK, 0, (columns, np.int32(rows)))


def _known(program: Program, node: Node) -> bool:
    if node.op in {Op.COLUMN, Op.CONST}:
        return True
    kind = program.nodes[node.args[-1]].type
    return (kind, node.type) in _CASTS if node.op is Op.CAST else kind in _TAKES.get(node.op, frozenset())


def _statements(program: Program, dtypes: Sequence[str]) -> list[str]:
    statements = []
    done: set[int] = set()
    loads = 0
    needs = _registers(program)
    for column, output in enumerate(program.outputs, len(program.inputs)):
        for place in _order(program, output.node, needs, done):
            statements += _compute(program, place, dtypes)
            if program.nodes[place].op is Op.COLUMN:
                loads += 1
                if loads % _COLUMNS_AT_ONCE == 0:
                    # Nothing is loaded ahead of a fence. Without one, the assembler loads hundreds of columns first and
                    # spills kilobytes (sm_100, sm_120).
                    statements.append("__threadfence_block();")
        stored = _STORED[DTYPES[program.nodes[output.node].type]]
        statements.append(f"store<{stored}>(columns, {column}, row, v{output.node});")
    return statements


def _registers(program: Program) -> list[int]:
    """Return how many values are alive at once, at least, while each node is computed (Sethi and Ullman's number)."""
    needs: list[int] = []
    for node in program.nodes:
        args = sorted((needs[arg] for arg in node.args), reverse=True)
        alive = max((need + before for before, need in enumerate(args)), default=1)
        needs.append(0 if node.op is Op.CONST else max(alive, 1))
    return needs


def _order(program: Program, last: int, needs: Sequence[int], done: set[int]) -> list[int]:
    """Return the nodes that one still needs, itself last, the arguments that need most registers first.

    Programs list all branches of a CASE before they choose among them; in that order the values of hundreds of
    branches would be alive together.
    """
    order = []
    waiting = [last]
    while waiting:
        place = waiting[-1]
        args = [arg for arg in program.nodes[place].args if arg not in done]
        if args:
            waiting.append(max(args, key=lambda arg: needs[arg]))
            continue
        waiting.pop()
        if place not in done:
            done.add(place)
            order.append(place)
    return order


def _compute(program: Program, place: int, dtypes: Sequence[str]) -> list[str]:
    """Return the statements that compute one node."""
    node = program.nodes[place]
    result = f"{_CLASSES[node.type]} v{place} ="
    args = [f"v{arg}" for arg in node.args]
    listed = ", ".join(args)
    if node.op is Op.COLUMN:
        return [
            f"{result} load<{_CLASSES[node.type]}, {_STORED[dtypes[node.value]]}>(columns, {node.value}, row);"
        ]
    if node.op is Op.CONST:
        null = node.value is None
        value = _literal(node.type, 0 if null else node.value)
        return [f"{result} {{{value}, {'true' if null else 'false'}}};"]
    if node.op is Op.CAST:
        return [f"{result} {_CASTS[program.nodes[node.args[0]].type, node.type]}({listed});"]
    if node.op is Op.IN:
        kind = program.nodes[node.args[0]].type
        tests = [f"v{place}.value |= {listed}.value == {_literal(kind, member)};" for member in node.value]
        return [f"{result} in_none({listed});", *tests]
    if node.op is Op.ROUND:
        how = "round_whole" if not node.value else "round_places" if node.value > 0 else "round_tens"
        scale = f", {_literal(Type.FLOAT, 10.0 ** abs(node.value))}" if node.value else ""
        return [f"{result} {how}({listed}{scale});"]
    return [f"{result} op_{node.op}({listed});"]


def _literal(kind: Type, value: bool | int | float) -> str:  # noqa: PYI041  # says what a constant may be
    """Write a constant as C++ that has exactly this value."""
    exact = np.dtype(DTYPES[kind]).type(value)
    if kind is Type.BOOL:
        return "true" if exact else "false"
    if kind is not Type.FLOAT:
        # The least int64 has no literal: C++ reads it as a positive number that is negated.
        return f"(long long)0x{int(exact) % 2**64:x}ull"
    number = float(exact)
    return number.hex() if math.isfinite(number) else f"from_bits(0x{exact.view(np.uint64):x}ull)"
