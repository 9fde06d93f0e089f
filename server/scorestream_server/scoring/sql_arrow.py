"""Turn a predicate's program into an Arrow expression: the filter of a data set, pushed into Parquet statistics.

Arrow prunes row groups by their least and greatest value, in which NaN does not count. Were NaN to satisfy
``x <> 5``, Arrow would lose such rows in one file and keep them in another. Here NaN satisfies no comparison,
and NOT is moved down to the comparisons, so that pruning never drops a row that belongs to the result. (What is
left: a comparison of a float column *inside* CASE or COALESCE, in a row group whose values are all equal but for
NaN. Arrow puts the one value in the column's place.)
"""

import functools
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scorestream_server.device.program import Node, Program
from scorestream_server.device.program_types import Op, Type
from scorestream_server.scoring.arrow_functions import (
    VALUES,
    Built,
    call,
    cast,
    constant,
    inexpressible,
    like,
    null,
)
from scorestream_server.scoring.columns import computing_type, literal

_FEW = 16
"""Up to so many floats are compared one by one, which prunes."""

_KEEP, _DROP, _VALUE = "keep", "drop", "value"
"""The three forms of a flag: TRUE exactly where it is TRUE; TRUE exactly where it is FALSE; the flag with its NULLs."""

_COMPARISONS = {
    Op.EQ: ("equal", "not_equal"),
    Op.NE: ("not_equal", "equal"),
    Op.LT: ("less", "greater_equal"),
    Op.LE: ("less_equal", "greater"),
    Op.GT: ("greater", "less_equal"),
    Op.GE: ("greater_equal", "less"),
}
_FLIPPED = {
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}


def to_arrow(program: Program, schema: pa.Schema) -> pc.Expression:
    """Return the expression that is TRUE for the rows to keep.

    Args:
        program: a program with one flag as its output.
        schema: the table's schema, by whose types the program was made.

    Raises:
        ScorestreamError: FORBIDDEN_FUNCTION for what Arrow cannot compute as it is defined here;
            EXPRESSION_TOO_LARGE.
    """
    return _Translation(program, schema).run().expression


class _Translation:
    def __init__(self, program: Program, schema: pa.Schema) -> None:
        self._program = program
        self._types = [schema.field(column.name).type for column in program.inputs]
        self._built: dict[tuple[int, str], Built] = {}

    def run(self) -> Built:
        root = self._program.outputs[0].node
        needed: dict[int, set[str]] = {root: {_KEEP}}
        for place in range(root, -1, -1):
            for form in tuple(needed.get(place, ())):
                for arg, arg_form in self._needs(self._program.nodes[place], form):
                    needed.setdefault(arg, set()).add(arg_form)
        for place in sorted(needed):
            for form in sorted(needed[place]):
                self._built[place, form] = self._build(self._program.nodes[place], form)
        return self._built[root, _KEEP]

    def _needs(self, node: Node, form: str) -> list[tuple[int, str]]:
        """Return the forms of its arguments that a form of a node is made from."""
        if node.op is Op.NOT and form != _VALUE:
            return [(node.args[0], _DROP if form == _KEEP else _KEEP)]
        if node.op in {Op.AND, Op.OR}:
            return [(arg, form) for arg in node.args]
        return [(arg, _VALUE) for arg in node.args]

    def _build(self, node: Node, form: str) -> Built:
        args = [self._built[need] for need in self._needs(node, form)]
        if node.type is not Type.BOOL:
            return self._value(node, args)
        if node.op in {Op.AND, Op.OR, Op.NOT}:
            return _logic(node.op, args, form)
        if node.op in _COMPARISONS:
            return self._comparison(node, args, form)
        if node.op is Op.IS_NULL:
            missing = call("is_null", args[0], options=pc.NullOptions(nan_is_null=False))
            return call("invert", missing) if form == _DROP else missing
        value = self._flag(node, args, exact=form == _VALUE)
        if form != _DROP:
            return value
        inverted = call("invert", value)
        return self._known(inverted, node, args[:1]) if node.op is Op.IN else inverted

    def _comparison(self, node: Node, args: list[Built], form: str) -> Built:
        name = _COMPARISONS[node.op][form == _DROP]
        kind = self._kind(node.args[0])
        if form == _VALUE and kind is Type.FLOAT:
            unsure = [arg for arg, at in zip(args, node.args, strict=True) if self._op(at) is not Op.CONST]
            return self._unless_nan(call(name, *args), unsure)
        if form == _VALUE:
            return call(name, *args)
        if kind is Type.FLOAT and name == "not_equal":
            return call("or_kleene", self._direct("less", node, args), self._direct("greater", node, args))
        return self._direct(name, node, args)

    def _direct(self, name: str, node: Node, args: list[Built]) -> Built:
        """Compare a column in its own type where the constant beside it is exact there: only that prunes."""
        first, second = node.args
        if self._stored(second) is not None:
            first, second, args = second, first, args[::-1]
            name = _FLIPPED.get(name, name)
        place, other = self._stored(first), self._program.nodes[second]
        if place is not None and other.op is Op.CONST and other.value is not None:
            exact = _exact(other, self._types[place])
            if exact is not None:
                return call(name, Built(pc.field(self._program.inputs[place].name)), constant(exact))
        return call(name, *args)

    def _stored(self, place: int) -> int | None:
        """Return the input that a node reads, perhaps through a widening cast."""
        node = self._program.nodes[place]
        if node.op is Op.CAST and node.type is Type.FLOAT and self._kind(node.args[0]) is Type.INT:
            inner = self._program.nodes[node.args[0]]
            node = inner if inner.op is Op.COLUMN and self._narrow(inner.value) else node
        return node.value if node.op is Op.COLUMN else None

    def _narrow(self, column: int) -> bool:
        """Whether every value of a whole-number column is exact as a double."""
        return bool(self._types[column].bit_width <= 32)

    def _flag(self, node: Node, args: list[Built], *, exact: bool) -> Built:
        if node.op in {Op.COLUMN, Op.CONST, Op.IF, Op.COALESCE}:
            return self._value(node, args)
        if node.op is Op.CAST:
            kind = self._kind(node.args[0])
            zero = call("not_equal", args[0], constant(0.0 if kind is Type.FLOAT else 0))
            return self._unless_nan(zero, args) if kind is Type.FLOAT else zero
        if node.op is Op.LIKE:
            return like(node, args[0])
        found = self._in(node, args[0])
        if exact:
            known = self._known(constant(value=True), node, args[:1])
            return call("if_else", known, found, null(pa.bool_()))
        return found

    def _in(self, node: Node, value: Built) -> Built:
        """Look up a column in its own type where every constant is exact there: only that prunes."""
        kind, place = self._kind(node.args[0]), self._stored(node.args[0])
        arrow = computing_type(pa.null(), kind)
        members = [literal(member, arrow, kind) for member in node.value]
        if place is not None:
            exact = [_exact(Node(Op.CONST, kind, (), member), self._types[place]) for member in node.value]
            if None not in exact:
                arrow, members = self._types[place], exact
                value = Built(pc.field(self._program.inputs[place].name))
        if kind is Type.FLOAT:
            return _in_floats(value, [member.as_py() for member in members], arrow)
        value_set = pa.array([member.as_py() for member in members], arrow)
        return call("is_in", value, options=pc.SetLookupOptions(value_set=value_set, skip_nulls=True))

    def _known(self, flag: Built, node: Node, args: list[Built]) -> Built:
        """TRUE where a flag is and its argument is a value: neither NULL nor NaN."""
        known = call("and_kleene", flag, call("is_valid", args[0]))
        if self._kind(node.args[0]) is Type.FLOAT:
            known = call("and_kleene", known, call("invert", call("is_nan", args[0])))
        return call("coalesce", known, constant(value=False))

    def _unless_nan(self, flag: Built, args: list[Built]) -> Built:
        nan = [call("is_nan", arg) for arg in args]
        either = nan[0] if len(nan) == 1 else call("or", *nan)
        return call("if_else", either, null(pa.bool_()), flag)

    def _if(self, args: list[Built]) -> Built:
        take = call("coalesce", args[0], constant(value=False))
        return call("if_else", take, args[1], args[2])

    def _op(self, place: int) -> Op:
        return self._program.nodes[place].op

    def _kind(self, place: int) -> Type:
        return self._program.nodes[place].type

    def _column(self, node: Node) -> Built:
        field = Built(pc.field(self._program.inputs[node.value].name))
        arrow, stored = computing_type(pa.null(), node.type), self._types[node.value]
        if isinstance(stored, pa.TimestampType) and stored.tz is not None:
            # A time with a zone is a moment; its wall clock in UTC is what constants are compared with.
            field = Built(field.expression.cast(pa.timestamp("us", "UTC"), safe=False), (field,))
            stored = pa.timestamp("us", "UTC")
        if stored == arrow:
            return field
        return Built(field.expression.cast(arrow, safe=stored == pa.uint64()), (field,))

    def _value(self, node: Node, args: list[Built]) -> Built:
        """Build a number, text or date, or a flag that is made in the same way."""
        if node.op is Op.COLUMN:
            return self._column(node)
        if node.op is Op.CONST:
            return constant(literal(node.value, computing_type(pa.null(), node.type), node.type))
        if node.op is Op.IF:
            return self._if(args)
        if node.op is Op.CAST:
            return cast(self._kind(node.args[0]), node.type, args[0])
        builder = VALUES.get(node.op)
        if builder is None:
            raise inexpressible(node.op, "filters have no such function")
        second = self._program.nodes[node.args[1]] if len(node.args) > 1 else node
        return builder(node, second, *args)


def _logic(op: Op, args: list[Built], form: str) -> Built:
    if op is Op.NOT:
        return call("invert", args[0]) if form == _VALUE else args[0]
    # Dropping turns AND into OR: one FALSE is enough.
    return call("and_kleene" if (op is Op.AND) == (form != _DROP) else "or_kleene", *args)


def _in_floats(value: Built, members: list[float], arrow: pa.DataType) -> Built:
    """Look up a float: Arrow's own lookup prunes wrongly where a least value is 0.0, which Parquet writes as -0.0."""
    if len(members) <= _FEW:
        equal = [call("equal", value, constant(pa.scalar(member, arrow))) for member in members]
        return functools.reduce(lambda first, other: call("or_kleene", first, other), equal)
    # A sum has no statistics, and no -0.0.
    value = call("add", value, constant(pa.scalar(0.0, arrow)))
    value_set = pa.array([member + 0.0 for member in members], arrow)
    return call("is_in", value, options=pc.SetLookupOptions(value_set=value_set, skip_nulls=True))


def _exact(node: Node, arrow: pa.DataType) -> "pa.Scalar[Any] | None":
    """Return a constant in a column's own type, or None where it is not exact there."""
    value = node.value
    if node.type in {Type.INT, Type.FLOAT}:
        return _exact_number(value, arrow)
    own = {
        Type.BOOL: pa.types.is_boolean(arrow),
        Type.TEXT: pa.types.is_string(arrow) or pa.types.is_large_string(arrow),
        Type.DATE: pa.types.is_date32(arrow),
        Type.TIMESTAMP: isinstance(arrow, pa.TimestampType) and arrow.unit == "us",
    }
    return literal(value, arrow, node.type) if own[node.type] else None


def _exact_number(value: float, arrow: pa.DataType) -> "pa.Scalar[Any] | None":
    whole = pa.types.is_integer(arrow)
    if not (whole or pa.types.is_float32(arrow) or pa.types.is_float64(arrow)):
        return None
    try:
        scalar = pa.scalar(int(value) if whole else float(value), arrow)
    except (pa.ArrowInvalid, OverflowError, ValueError):
        return None
    return scalar if scalar.as_py() == value else None
