"""Turn a predicate's program into an Arrow expression: the filter of a data set, pushed into Parquet statistics.

Arrow prunes row groups by their least and greatest value, in which NaN does not count. Were NaN to satisfy
``x <> 5``, Arrow would lose such rows in one file and keep them in another. Here NaN satisfies no comparison,
and NOT is moved down to the comparisons, so that pruning never drops a row that belongs to the result. (What is
left: a comparison of a float column *inside* CASE or COALESCE, in a row group whose values are all equal but for
NaN. Arrow puts the one value in the column's place.)
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scorestream_server.device.program import Node, Program
from scorestream_server.device.program_types import Op, Type
from scorestream_server.domain.errors import ScorestreamError, invalid
from scorestream_server.scoring.columns import computing_type, literal

MAX_SIZE = 50_000
"""Arrow walks an expression as a tree: what is shared counts as often as it is used."""
MAX_LEVELS = 500
"""Arrow recurses over an expression."""

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
_FLIPPED = {"less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal"}
_TWO_63 = float(2**63)


class _Built:
    """An Arrow expression with its size and depth as a tree."""

    __slots__ = ("depth", "expression", "size")

    def __init__(self, expression: pc.Expression, parts: tuple["_Built", ...] = ()) -> None:
        self.expression = expression
        self.size = 1 + sum(part.size for part in parts)
        self.depth = 1 + max((part.depth for part in parts), default=0)
        if self.size > MAX_SIZE or self.depth > MAX_LEVELS:
            raise invalid(
                "EXPRESSION_TOO_LARGE",
                "This where is too large for a filter once it is written out; "
                "use fewer nested divisions, CASEs and long sums, or score first and filter the result.",
            )


def _call(name: str, *args: _Built, options: Any = None) -> _Built:
    return _Built(pc.Expression._call(name, [arg.expression for arg in args], options), args)  # noqa: SLF001  # pc's own functions do this, and the operators of Expression differ from SQL


def _constant(value: Any) -> _Built:
    return _Built(pc.scalar(value))


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
        self._built: dict[tuple[int, str], _Built] = {}

    def run(self) -> _Built:
        root = self._program.outputs[0].node
        needed: dict[int, set[str]] = {root: {_KEEP}}
        for place in range(root, -1, -1):
            for form in tuple(needed.get(place, ())):
                for arg, arg_form in self._needs(self._program.nodes[place], form):
                    needed.setdefault(arg, set()).add(arg_form)
        for place in sorted(needed):
            for form in sorted(needed[place]):
                self._built[place, form] = self._build(place, self._program.nodes[place], form)
        return self._built[root, _KEEP]

    def _needs(self, node: Node, form: str) -> list[tuple[int, str]]:
        """Return the forms of its arguments that a form of a node is made from."""
        if node.op is Op.NOT and form != _VALUE:
            return [(node.args[0], _DROP if form == _KEEP else _KEEP)]
        if node.op in {Op.AND, Op.OR}:
            return [(arg, form) for arg in node.args]
        if node.op is Op.IF:
            return [(node.args[0], _KEEP), (node.args[1], _VALUE), (node.args[2], _VALUE)]
        return [(arg, _VALUE) for arg in node.args]

    def _build(self, place: int, node: Node, form: str) -> _Built:
        args = [self._built[need] for need in self._needs(node, form)]
        if node.type is not Type.BOOL:
            return self._value(node, args)
        if node.op is Op.NOT:
            return args[0] if form != _VALUE else _call("invert", args[0])
        if node.op in {Op.AND, Op.OR}:
            # Dropping turns AND into OR: one FALSE is enough.
            return _call("and_kleene" if (node.op is Op.AND) == (form != _DROP) else "or_kleene", *args)
        if node.op in _COMPARISONS:
            return self._comparison(node, args, form)
        if node.op is Op.IS_NULL:
            missing = _call("is_null", args[0], options=pc.NullOptions(nan_is_null=False))
            return _call("invert", missing) if form == _DROP else missing
        value = self._flag(node, args, exact=form == _VALUE)
        if form != _DROP:
            return value
        inverted = _call("invert", value)
        if node.op is Op.IN:
            inverted = self._known(inverted, node, args[:1])
        return inverted

    def _comparison(self, node: Node, args: list[_Built], form: str) -> _Built:
        name = _COMPARISONS[node.op][form == _DROP]
        kind = self._kind(node.args[0])
        if form == _VALUE and kind is Type.FLOAT:
            unsure = [arg for arg, at in zip(args, node.args, strict=True) if self._op(at) is not Op.CONST]
            return self._unless_nan(_call(name, *args), unsure)
        if form == _VALUE:
            return _call(name, *args)
        if kind is Type.FLOAT and name == "not_equal":
            return _call("or_kleene", self._direct("less", node, args), self._direct("greater", node, args))
        return self._direct(name, node, args)

    def _direct(self, name: str, node: Node, args: list[_Built]) -> _Built:
        """Compare a column in its own type where the constant beside it is exact there: only that prunes."""
        first, second = node.args
        if self._stored(second) is not None:
            first, second, args = second, first, args[::-1]
            name = _FLIPPED.get(name, name)
        place, constant = self._stored(first), self._program.nodes[second]
        if place is not None and constant.op is Op.CONST and constant.value is not None:
            exact = _exact(constant, self._types[place])
            if exact is not None:
                return _call(name, _Built(pc.field(self._program.inputs[place].name)), _Built(pc.scalar(exact)))
        return _call(name, *args)

    def _stored(self, place: int) -> int | None:
        """Return the input that a node reads, perhaps through a widening cast."""
        node = self._program.nodes[place]
        if node.op is Op.CAST and node.type is Type.FLOAT and self._kind(node.args[0]) is Type.INT:
            inner = self._program.nodes[node.args[0]]
            node = inner if inner.op is Op.COLUMN and self._narrow(inner.value) else node
        return node.value if node.op is Op.COLUMN else None

    def _narrow(self, column: int) -> bool:
        """Whether every value of a whole-number column is exact as a double."""
        return self._types[column].bit_width <= 32

    def _flag(self, node: Node, args: list[_Built], *, exact: bool) -> _Built:
        if node.op is Op.COLUMN:
            return self._column(node)
        if node.op is Op.CONST:
            return _Built(pc.scalar(pa.scalar(node.value, pa.bool_())))
        if node.op is Op.IF:
            return self._if(args)
        if node.op is Op.COALESCE:
            return _call("coalesce", *args)
        if node.op is Op.CAST:
            kind = self._kind(node.args[0])
            zero = _call("not_equal", args[0], _constant(0.0 if kind is Type.FLOAT else 0))
            return self._unless_nan(zero, args) if kind is Type.FLOAT else zero
        if node.op is Op.LIKE:
            return _like(node, args[0])
        found = self._in(node, args[0])
        if exact:
            known = self._known(_constant(value=True), node, args[:1])
            return _call("if_else", known, found, _Built(pc.scalar(pa.scalar(None, pa.bool_()))))
        return found

    def _in(self, node: Node, value: _Built) -> _Built:
        """Look up a column in its own type where every constant is exact there: only that prunes."""
        kind, place = self._kind(node.args[0]), self._stored(node.args[0])
        arrow = computing_type(pa.null(), kind)
        members = [literal(member, arrow, kind) for member in node.value]
        if place is not None:
            exact = [_exact(Node(Op.CONST, kind, (), member), self._types[place]) for member in node.value]
            if None not in exact:
                arrow, members = self._types[place], exact
                value = _Built(pc.field(self._program.inputs[place].name))
        value_set = pa.array([member.as_py() for member in members], arrow)
        return _call("is_in", value, options=pc.SetLookupOptions(value_set=value_set, skip_nulls=True))

    def _known(self, flag: _Built, node: Node, args: list[_Built]) -> _Built:
        """TRUE where a flag is and its argument is a value: neither NULL nor NaN."""
        known = _call("and_kleene", flag, _call("is_valid", args[0]))
        if self._kind(node.args[0]) is Type.FLOAT:
            known = _call("and_kleene", known, _call("invert", _call("is_nan", args[0])))
        return _call("coalesce", known, _constant(value=False))

    def _unless_nan(self, flag: _Built, args: list[_Built]) -> _Built:
        nan = [_call("is_nan", arg) for arg in args]
        either = nan[0] if len(nan) == 1 else _call("or", *nan)
        return _call("if_else", either, _Built(pc.scalar(pa.scalar(None, pa.bool_()))), flag)

    def _if(self, args: list[_Built]) -> _Built:
        take = _call("coalesce", args[0], _constant(value=False))
        return _call("if_else", take, args[1], args[2])

    def _op(self, place: int) -> Op:
        return self._program.nodes[place].op

    def _kind(self, place: int) -> Type:
        return self._program.nodes[place].type

    def _column(self, node: Node) -> _Built:
        field = _Built(pc.field(self._program.inputs[node.value].name))
        arrow, stored = computing_type(pa.null(), node.type), self._types[node.value]
        if isinstance(stored, pa.TimestampType) and stored.tz is not None:
            # A time with a zone is a moment; its wall clock in UTC is what constants are compared with.
            field = _Built(field.expression.cast(pa.timestamp("us", "UTC"), safe=False), (field,))
            stored = pa.timestamp("us", "UTC")
        return field if stored == arrow else _Built(field.expression.cast(arrow, safe=stored == pa.uint64()), (field,))

    def _value(self, node: Node, args: list[_Built]) -> _Built:
        """Build a number, text or date."""
        if node.op is Op.COLUMN:
            return self._column(node)
        if node.op is Op.CONST:
            return _Built(pc.scalar(literal(node.value, computing_type(pa.null(), node.type), node.type)))
        if node.op is Op.IF:
            return self._if(args)
        if node.op is Op.CAST:
            return _cast(self._kind(node.args[0]), node.type, args[0])
        builder = _VALUES.get(node.op)
        if builder is None:
            raise _inexpressible(node.op, "Arrow has no such function")
        second = self._program.nodes[node.args[1]] if len(node.args) > 1 else node
        return builder(node, second, *args)


def _exact(constant: Node, arrow: pa.DataType) -> "pa.Scalar[Any] | None":
    """Return a constant in a column's own type, or None where it is not exact there."""
    value = constant.value
    if pa.types.is_integer(arrow) or pa.types.is_floating(arrow):
        if pa.types.is_integer(arrow) and value != int(value):
            return None
        try:
            scalar = pa.scalar(int(value) if pa.types.is_integer(arrow) else float(value), arrow)
        except (pa.ArrowInvalid, OverflowError):
            return None
        return scalar if scalar.as_py() == value else None
    if constant.type is Type.DATE and arrow == pa.date32():
        return literal(value, arrow, Type.DATE)
    if constant.type is Type.TIMESTAMP and isinstance(arrow, pa.TimestampType) and arrow.unit == "us":
        return literal(value, arrow, Type.TIMESTAMP)
    if constant.type is Type.TEXT and (pa.types.is_string(arrow) or pa.types.is_large_string(arrow)):
        return pa.scalar(value, arrow)
    return pa.scalar(value, arrow) if constant.type is Type.BOOL else None


def _inexpressible(op: Op, why: str) -> ScorestreamError:
    message = f"{op.upper()} cannot be used like this in a where: {why}. It can be used in score code."
    return invalid("FORBIDDEN_FUNCTION", message, function=op.upper())


def _null_of(value: _Built, bad: _Built, arrow: pa.DataType) -> _Built:
    """A value, but NULL where `bad` is TRUE."""
    return _call("if_else", bad, _Built(pc.scalar(pa.scalar(None, arrow))), value)


def _plain(name: str) -> Callable[..., _Built]:
    return lambda _node, _second, *args: _call(name, *args)


def _guarded(name: str, bad: str) -> Callable[..., _Built]:
    def build(_node: Node, _second: Node, value: _Built) -> _Built:
        return _call(name, _null_of(value, _call(bad, value, _constant(0.0)), pa.float64()))

    return build


def _divide(_node: Node, second: Node, above: _Built, below: _Built) -> _Built:
    if second.op is Op.CONST and second.value:
        return _call("divide", above, below)
    return _call("divide", above, _null_of(below, _call("equal", below, _constant(0.0)), pa.float64()))


def _modulo(node: Node, second: Node, above: _Built, below: _Built) -> _Built:
    if node.type is not Type.INT or second.op is not Op.CONST or second.value in {None, 0, -1}:
        raise _inexpressible(Op.MOD, "it takes a whole number, and a whole-number literal other than 0 and -1")
    whole = _call("multiply", _call("divide", above, below), below)
    return _call("subtract", above, whole)


def _power(_node: Node, second: Node, base: _Built, exponent: _Built) -> _Built:
    if second.op is not Op.CONST or second.value is None or second.value < 0 or second.value != int(second.value):
        raise _inexpressible(Op.POWER, "its exponent has to be a literal, a whole number from 0")
    return _call("power", base, exponent)


def _extreme(name: str) -> Callable[..., _Built]:
    def build(node: Node, _second: Node, first: _Built, other: _Built) -> _Built:
        take = _call(name, first, other)
        if node.type is Type.FLOAT:
            take = _call("or", _call("is_nan", first), take)
        return _call("if_else", take, first, other)

    return build


def _round(node: Node, _second: Node, value: _Built) -> _Built:
    return _call("round", value, options=pc.RoundOptions(node.value, "half_towards_infinity"))


def _cast(source: Type, target: Type, value: _Built) -> _Built:
    if source is Type.TEXT:
        raise _inexpressible(Op.CAST, "text to a number fails in Arrow where the text is none")
    if source is Type.FLOAT and target is Type.INT:
        whole = _call("trunc", value)
        low = _call("greater_equal", whole, _constant(-_TWO_63))
        fits = _call("and", low, _call("less", whole, _constant(_TWO_63)))
        value = _null_of(whole, _call("invert", fits), pa.float64())
    return _Built(value.expression.cast(computing_type(pa.null(), target), safe=False), (value,))


def _like(node: Node, value: _Built) -> _Built:
    how, text = node.value
    if how == "equal":
        return _call("equal", value, _constant(text))
    names = {"prefix": "starts_with", "suffix": "ends_with", "contains": "match_substring"}
    return _call(names.get(how, "match_substring_regex"), value, options=pc.MatchSubstringOptions(text))


def _length(_node: Node, _second: Node, value: _Built) -> _Built:
    return _Built(_call("utf8_length", value).expression.cast(pa.int64()), (value,))


def _trim(_node: Node, _second: Node, value: _Built) -> _Built:
    return _call("utf8_trim", value, options=pc.TrimOptions(" "))


def _substring(node: Node, _second: Node, value: _Built) -> _Built:
    return _call("utf8_slice_codeunits", value, options=pc.SliceOptions(*node.value))


def _sign(node: Node, _second: Node, value: _Built) -> _Built:
    sign = _call("sign", value)
    return sign if node.type is Type.FLOAT else _Built(sign.expression.cast(pa.int64()), (sign,))


_VALUES: dict[Op, Callable[..., _Built]] = {
    Op.ADD: _plain("add"),
    Op.SUB: _plain("subtract"),
    Op.MUL: _plain("multiply"),
    Op.DIV: _divide,
    Op.MOD: _modulo,
    Op.POWER: _power,
    Op.NEG: _plain("negate"),
    Op.ABS: _plain("abs"),
    Op.SIGN: _sign,
    Op.ROUND: _round,
    Op.FLOOR: _plain("floor"),
    Op.CEIL: _plain("ceil"),
    Op.EXP: _plain("exp"),
    Op.LN: _guarded("ln", "less_equal"),
    Op.LOG2: _guarded("log2", "less_equal"),
    Op.LOG10: _guarded("log10", "less_equal"),
    Op.SQRT: _guarded("sqrt", "less"),
    Op.MIN: _extreme("less_equal"),
    Op.MAX: _extreme("greater_equal"),
    Op.COALESCE: _plain("coalesce"),
    Op.UPPER: _plain("utf8_upper"),
    Op.LOWER: _plain("utf8_lower"),
    Op.LENGTH: _length,
    Op.TRIM: _trim,
    Op.SUBSTRING: _substring,
}
