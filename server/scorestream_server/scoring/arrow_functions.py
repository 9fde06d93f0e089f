"""Arrow's functions, called so that they do what the operations of programs do."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scorestream_server.device.program import Node
from scorestream_server.device.program_types import Op, Type
from scorestream_server.domain.errors import ScorestreamError, invalid
from scorestream_server.scoring.columns import computing_type

MAX_SIZE = 50_000
"""Arrow walks an expression as a tree: what is shared counts as often as it is used."""
MAX_LEVELS = 500
"""Arrow recurses over an expression."""

_TWO_63 = float(2**63)


class Built:
    """An Arrow expression with its size and depth as a tree."""

    __slots__ = ("depth", "expression", "size")

    def __init__(self, expression: pc.Expression, parts: tuple["Built", ...] = ()) -> None:
        self.expression = expression
        self.size: int = 1 + sum(part.size for part in parts)
        self.depth: int = 1 + max((part.depth for part in parts), default=0)
        if self.size > MAX_SIZE or self.depth > MAX_LEVELS:
            raise invalid(
                "EXPRESSION_TOO_LARGE",
                "This where is too large for a filter once it is written out; "
                "use fewer nested divisions, CASEs and long sums, or score first and filter the result.",
            )


def call(name: str, *args: Built, options: Any = None) -> Built:
    """Return a call of an Arrow function, by the name that Arrow's engine knows it by."""
    # pc's own functions do just this; the operators of Expression differ from SQL (they fail on overflow).
    make: Any = pc.Expression._call  # noqa: SLF001  # as said above
    return Built(make(name, [arg.expression for arg in args], options), args)


def constant(value: Any) -> Built:
    """Return a literal: a Python value in the type that Arrow takes it for, or an Arrow scalar."""
    return Built(pc.scalar(value))


def null(arrow: pa.DataType) -> Built:
    """Return a NULL of a type."""
    return constant(pa.scalar(None, arrow))


def inexpressible(op: Op, why: str) -> ScorestreamError:
    """Return the error for what Arrow cannot do as programs do it."""
    message = f"{op.upper()} cannot be used like this in a where: {why}. It can be used in score code."
    return invalid("FORBIDDEN_FUNCTION", message, function=op.upper())


def _null_of(value: Built, bad: Built, arrow: pa.DataType) -> Built:
    """A value, but NULL where `bad` is TRUE."""
    return call("if_else", bad, null(arrow), value)


def _plain(name: str) -> Callable[..., Built]:
    return lambda _node, _second, *args: call(name, *args)


def _guarded(name: str, bad: str) -> Callable[..., Built]:
    def build(_node: Node, _second: Node, value: Built) -> Built:
        return call(name, _null_of(value, call(bad, value, constant(0.0)), pa.float64()))

    return build


def _divide(_node: Node, second: Node, above: Built, below: Built) -> Built:
    if second.op is Op.CONST and second.value:
        return call("divide", above, below)
    return call("divide", above, _null_of(below, call("equal", below, constant(0.0)), pa.float64()))


def _modulo(node: Node, second: Node, above: Built, below: Built) -> Built:
    if node.type is not Type.INT or second.op is not Op.CONST or second.value in {None, 0, -1}:
        raise inexpressible(Op.MOD, "it takes a whole number, and a whole-number literal other than 0 and -1")
    whole = call("multiply", call("divide", above, below), below)
    return call("subtract", above, whole)


def _power(_node: Node, second: Node, base: Built, exponent: Built) -> Built:
    if (
        second.op is not Op.CONST
        or second.value is None
        or second.value < 0
        or not float(second.value).is_integer()  # infinity and NaN neither
    ):
        raise inexpressible(Op.POWER, "its exponent has to be a literal, a whole number from 0")
    return call("power", base, exponent)


def _extreme(name: str) -> Callable[..., Built]:
    def build(node: Node, _second: Node, first: Built, other: Built) -> Built:
        take = call(name, first, other)
        if node.type is Type.FLOAT:
            take = call("or", call("is_nan", first), take)
        return call("if_else", take, first, other)

    return build


def _round(node: Node, _second: Node, value: Built) -> Built:
    return call("round", value, options=pc.RoundOptions(node.value, "half_towards_infinity"))


def cast(source: Type, target: Type, value: Built) -> Built:
    """Return a CAST.

    Raises:
        ScorestreamError: FORBIDDEN_FUNCTION for text to a number.
    """
    if source is Type.TEXT:
        raise inexpressible(Op.CAST, "text to a number fails in Arrow where the text is none")
    if source is Type.FLOAT and target is Type.INT:
        whole = call("trunc", value)
        low = call("greater_equal", whole, constant(-_TWO_63))
        fits = call("and", low, call("less", whole, constant(_TWO_63)))
        value = _null_of(whole, call("invert", fits), pa.float64())
    return Built(value.expression.cast(computing_type(pa.null(), target), safe=False), (value,))


def like(node: Node, value: Built) -> Built:
    """Return a LIKE."""
    how, text = node.value
    if how == "equal":
        return call("equal", value, constant(text))
    names = {"prefix": "starts_with", "suffix": "ends_with", "contains": "match_substring"}
    return call(names.get(how, "match_substring_regex"), value, options=pc.MatchSubstringOptions(text))


def _length(_node: Node, _second: Node, value: Built) -> Built:
    return Built(call("utf8_length", value).expression.cast(pa.int64()), (value,))


def _trim(_node: Node, _second: Node, value: Built) -> Built:
    return call("utf8_trim", value, options=pc.TrimOptions(" "))


def _substring(node: Node, _second: Node, value: Built) -> Built:
    return call("utf8_slice_codeunits", value, options=pc.SliceOptions(*node.value))


def _sign(node: Node, _second: Node, value: Built) -> Built:
    sign = call("sign", value)
    return sign if node.type is Type.FLOAT else Built(sign.expression.cast(pa.int64()), (sign,))


VALUES: dict[Op, Callable[..., Built]] = {
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
