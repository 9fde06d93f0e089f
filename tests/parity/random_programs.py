"""Random typed programs of score code over nasty values, with every node an output."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuda_host.expressions import INEXACT
from scorestream_server.device.program import Input, Node, Output, Program, Vector
from scorestream_server.device.program_types import DTYPES, Op, Type

KINDS = (Type.BOOL, Type.INT, Type.FLOAT, Type.DATE, Type.TIMESTAMP)
_INF, _NAN = float("inf"), float("nan")
_DAY = 86_400_000_000
_HALVES = [0.5, 0.49999999999999994, 1.5, 2.5, 0.005, 1.125, 150.0, 4503599627370497.5, 0.1, 3.0]
_LARGE = [2.0**53, 2.0**63, 9223372036854774784.0, 1e19, 1e300, 1.7976931348623157e308, _INF]
_TINY = [0.0, 5e-324, 1e-310, 2.2250738585072014e-308]
NASTY: dict[Type, list[Any]] = {
    Type.BOOL: [True, False],
    Type.INT: [0, 1, -1, 2, -2, 3, -7, 10, 2**31, -(2**31), 2**53 + 1, 2**62, 2**63 - 1, -(2**63), 1 - 2**63],
    Type.FLOAT: [
        _NAN,
        *(sign * value for sign in (1, -1) for value in (1.0, 2.0, *_HALVES, *_LARGE, *_TINY)),
    ],
    Type.DATE: [
        0,
        1,
        -1,
        19_723,
        2**31 - 1,
        -(2**31),
        *(s * d for s in (1, -1) for d in (106_751_991, 106_751_992)),
    ],
    Type.TIMESTAMP: [0, 1, -1, _DAY, -_DAY, _DAY - 1, -_DAY - 1, 2**63 - 1, -(2**63)],
}


@dataclass(frozen=True)
class Signature:
    """An operation on arguments of some types; ``values`` are what its node may hold."""

    op: Op
    args: tuple[Type, ...]
    type: Type
    values: tuple[Any, ...] = (None,)


def _signatures() -> list[Signature]:
    numbers, real, flag = (Type.INT, Type.FLOAT), Type.FLOAT, Type.BOOL
    ordered = KINDS[1:]
    casts = [
        (flag, Type.INT),
        (flag, real),
        (Type.INT, flag),
        (Type.INT, real),
        (real, flag),
        (real, Type.INT),
    ]
    casts += [(Type.DATE, Type.TIMESTAMP), (Type.TIMESTAMP, Type.DATE)]
    sets = {kind: tuple(tuple(NASTY[kind][:count]) for count in (1, 2, 9)) for kind in KINDS}
    return [
        *(Signature(op, (kind, kind), kind) for op in (Op.ADD, Op.SUB, Op.MUL, Op.MOD) for kind in numbers),
        *(Signature(op, (kind,), kind) for op in (Op.NEG, Op.ABS, Op.SIGN) for kind in numbers),
        *(Signature(op, (real, real), real) for op in (Op.DIV, Op.POWER)),
        *(
            Signature(op, (real,), real)
            for op in (Op.FLOOR, Op.CEIL, Op.SQRT, Op.EXP, Op.LN, Op.LOG2, Op.LOG10)
        ),
        Signature(Op.ROUND, (real,), real, (0, 1, 2, 15, -1, -2, -15)),
        *(Signature(op, (kind, kind), kind) for op in (Op.MIN, Op.MAX) for kind in ordered),
        *(
            Signature(op, (kind, kind), flag)
            for op in (Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE)
            for kind in KINDS
        ),
        *(Signature(op, (flag, flag), flag) for op in (Op.AND, Op.OR)),
        Signature(Op.NOT, (flag,), flag),
        *(Signature(Op.IS_NULL, (kind,), flag) for kind in KINDS),
        *(Signature(Op.IN, (kind,), flag, sets[kind]) for kind in KINDS),
        *(Signature(Op.IF, (flag, kind, kind), kind) for kind in KINDS),
        *(Signature(Op.COALESCE, (kind, kind), kind) for kind in KINDS),
        *(Signature(Op.CAST, (source,), target) for source, target in casts),
    ]


SIGNATURES = _signatures()
_EXACT = [signature for signature in SIGNATURES if signature.op not in INEXACT]


def program_of(kinds: list[Type], nodes: list[Node]) -> Program:
    """Return a program with every node an output."""
    inputs = tuple(Input(f"column {place}", kind) for place, kind in enumerate(kinds))
    outputs = tuple(Output(f"output {place}", place) for place in range(len(nodes)))
    return Program(inputs, tuple(nodes), outputs)


def every_operation() -> Program:
    """Return a program with every operation on two columns of each type, and their three constants."""
    kinds = [kind for kind in KINDS for _ in range(3)]
    nodes = [Node(Op.COLUMN, kind, (), place) for place, kind in enumerate(kinds)]
    for signature in SIGNATURES:
        # The three columns of a type one after another.
        args = tuple(3 * KINDS.index(kind) + place for place, kind in enumerate(signature.args))
        nodes += [Node(signature.op, signature.type, args, value) for value in signature.values]
    for kind in KINDS:
        nodes += [Node(Op.CONST, kind, (), value) for value in (*NASTY[kind], None)]
    return program_of(kinds, nodes)


def random_program(seed: int, size: int) -> Program:
    """Return a program of ``size`` operations on columns, constants and one another; none of them `INEXACT`."""
    rng = np.random.default_rng(seed)
    kinds = [kind for kind in KINDS for _ in range(2)]
    nodes = [Node(Op.COLUMN, kind, (), place) for place, kind in enumerate(kinds)]
    for kind in KINDS:
        values = [*NASTY[kind], None]
        nodes += [Node(Op.CONST, kind, (), values[place]) for place in rng.integers(len(values), size=3)]
    for _ in range(size):
        signature = _EXACT[rng.integers(len(_EXACT))]
        args = []
        for kind in signature.args:
            places = [place for place, node in enumerate(nodes) if node.type is kind]
            # Half the time one of the latest, so that programs grow deep.
            args.append(int(rng.choice(places[-3:] if rng.random() < 0.5 else places)))
        value = signature.values[rng.integers(len(signature.values))]
        nodes.append(Node(signature.op, signature.type, tuple(args), value))
    return program_of(kinds, nodes)


def nasty_columns(program: Program, rows: int, seed: int, *, nulls: float = 0.2) -> list[Vector]:
    """Return columns of a program's inputs, with a share of nulls; none has a mask where that is 0."""
    rng = np.random.default_rng(seed)
    return [_nasty_column(column.type, rows, rng, nulls) for column in program.inputs]


def _nasty_column(kind: Type, rows: int, rng: np.random.Generator, nulls: float) -> Vector:
    values: NDArray[Any] = rng.choice(np.array(NASTY[kind], DTYPES[kind]), rows)
    if kind is Type.FLOAT:
        values = np.where(rng.random(rows) < 0.3, rng.standard_normal(rows) * 100, values)
    elif kind is Type.INT:
        values = np.where(rng.random(rows) < 0.3, rng.integers(-(2**63), 2**63 - 1, rows), values)
    return Vector(values, rng.random(rows) < nulls if nulls else None)
