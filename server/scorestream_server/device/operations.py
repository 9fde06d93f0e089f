"""The operations of score-code programs on arrays: vectorised, with SQL's three-valued logic.

A value is a pair of an array and a null mask: ``(values, None)`` where nothing is null, else a boolean mask
that is True where the value is NULL (what `values` holds there means nothing). Text is the exception: it is
an Arrow string array or scalar with its nulls inside, and its mask is always None. Constants are 0-d.

Rules that every device follows:

* An operation that has no value gives NULL: division or MOD by zero, the logarithm of zero or less, the square
  root of a negative number, a POWER that is not real, a CAST that does not fit.
* NaN and infinities in the data are kept by arithmetic, and LEAST and GREATEST pass NaN on.
* Comparing with NaN is unknown, as comparing with NULL is: the result is NULL.
* int64 arithmetic wraps around at 2**63, as it does in NumPy, Arrow and CUDA.
* ROUND takes halves away from zero; MOD has the sign of its left side.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scorestream_server.device.program_types import (
    DTYPES,
    MICROSECONDS_A_DAY,
    MOST_TEXT_BYTES,
    Op,
    Pair,
    Type,
    constant,
)

_TWO_63 = float(2**63)
_MOST_FORMATTED = 1e15
"""Doubles tell larger numbers apart by more than 0.1."""
_DECIMAL_DIGITS = 38
_MOST_SEPARATORS = 4
"""Between the thousands of such a number."""
_MAX_DAYS = (2**63 - 1) // MICROSECONDS_A_DAY


def either_null(first: Any, second: Any) -> Any:
    """Return the mask of rows where one or the other is null."""
    if first is None:
        return second
    return first if second is None else first | second


def _with_bad(null: Any, bad: Any) -> Any:
    """Add rows that have no value to a null mask, which stays None where there are none."""
    return either_null(null, bad) if bad.any() else null


def _flags(result: Any) -> Pair:
    """Turn what Arrow answers, a boolean array or scalar, into a pair."""
    if isinstance(result, pa.Scalar):
        value = result.as_py()
        return np.bool_(bool(value)), np.bool_(True) if value is None else None
    if not result.null_count:
        return result.to_numpy(zero_copy_only=False), None
    null = result.is_null().to_numpy(zero_copy_only=False)
    return result.fill_null(fill_value=False).to_numpy(zero_copy_only=False), null


def _to_arrow(values: Any, null: Any) -> Any:
    """Return a pair of numbers or flags as an Arrow array, or a scalar where it is 0-d."""
    if not np.ndim(values):
        return pa.scalar(
            None if null is not None and null else values.item(), pa.from_numpy_dtype(values.dtype)
        )
    if null is not None and null.shape != values.shape:
        null = np.broadcast_to(null, values.shape)
    return pa.array(values, mask=null)


def _arithmetic(name: str) -> Callable[..., Pair]:
    def run(xp: Any, _node: Any, _kind: Type, a: Pair, b: Pair, out: Any = None) -> Pair:
        return getattr(xp, name)(a[0], b[0], out=out), either_null(a[1], b[1])

    return run


def _unary(name: str) -> Callable[..., Pair]:
    def run(xp: Any, _node: Any, _kind: Type, a: Pair, out: Any = None) -> Pair:
        return getattr(xp, name)(a[0], out=out), a[1]

    return run


def _guarded(name: str, *, zero_too: bool) -> Callable[..., Pair]:
    """A function of positive numbers, and of zero unless that is bad too: NULL elsewhere."""

    def run(xp: Any, _node: Any, _kind: Type, a: Pair, out: Any = None) -> Pair:
        null = _with_bad(a[1], a[0] <= 0 if zero_too else a[0] < 0)
        return getattr(xp, name)(a[0], out=out), null

    return run


def _divide(name: str) -> Callable[..., Pair]:
    def run(xp: Any, _node: Any, _kind: Type, a: Pair, b: Pair, out: Any = None) -> Pair:
        null = _with_bad(either_null(a[1], b[1]), b[0] == 0)
        return getattr(xp, name)(a[0], b[0], out=out), null

    return run


def _power(xp: Any, _node: Any, _kind: Type, a: Pair, b: Pair) -> Pair:
    result = xp.power(a[0], b[0])
    unreal = xp.isnan(result) & ~xp.isnan(a[0]) & ~xp.isnan(b[0])
    return result, _with_bad(either_null(a[1], b[1]), unreal | ((a[0] == 0) & (b[0] < 0)))


def _round(xp: Any, node: Any, _kind: Type, a: Pair) -> Pair:
    return _rounded(xp, node.value, a[0]), a[1]


def _rounded(xp: Any, places: int, given: Any) -> Any:
    values, scale = given, 10.0 ** abs(places)
    if places:
        values = values * scale if places > 0 else values / scale
    whole = xp.trunc(values)
    # Adding 0.5 first would round 0.49999999999999994 up; the distance to the whole number is exact.
    rounded = xp.where(xp.abs(values - whole) >= 0.5, whole + xp.copysign(1.0, values), whole)
    if not places:
        return rounded
    rounded = rounded / scale if places > 0 else rounded * scale
    return xp.where(xp.isfinite(rounded), rounded, given)


def _compare(name: str) -> Callable[..., Pair]:
    """A comparison, which NumPy and Arrow call by the same name."""

    def run(xp: Any, _node: Any, kind: Type, a: Pair, b: Pair) -> Pair:
        if kind is Type.TEXT:
            return _flags(pc.call_function(name, [a[0], b[0]]))
        null = either_null(a[1], b[1])
        if kind is Type.FLOAT:
            null = _with_bad(null, xp.isnan(a[0]) | xp.isnan(b[0]))
        return getattr(xp, name)(a[0], b[0]), null

    return run


def _extreme(numpy_name: str, arrow_name: str) -> Callable[..., Pair]:
    def run(xp: Any, _node: Any, kind: Type, a: Pair, b: Pair) -> Pair:
        if kind is Type.TEXT:
            options = pc.ElementWiseAggregateOptions(skip_nulls=False)
            return pc.call_function(arrow_name, [a[0], b[0]], options), None
        return getattr(xp, numpy_name)(a[0], b[0]), either_null(a[1], b[1])

    return run


def _and(_xp: Any, _node: Any, _kind: Type, a: Pair, b: Pair) -> Pair:
    if a[1] is None and b[1] is None:
        return a[0] & b[0], None
    true_a, false_a = _settled(a)
    true_b, false_b = _settled(b)
    true = true_a & true_b
    return true, ~(true | false_a | false_b)


def _or(_xp: Any, _node: Any, _kind: Type, a: Pair, b: Pair) -> Pair:
    if a[1] is None and b[1] is None:
        return a[0] | b[0], None
    true_a, false_a = _settled(a)
    true_b, false_b = _settled(b)
    true = true_a | true_b
    return true, ~(true | (false_a & false_b))


def _settled(a: Pair) -> tuple[Any, Any]:
    """Return where a flag is TRUE, and where it is FALSE."""
    values, null = a
    return (values, ~values) if null is None else (values & ~null, ~(values | null))


def _is_null(xp: Any, _node: Any, kind: Type, a: Pair) -> Pair:
    if kind is Type.TEXT:
        return _flags(pc.is_null(a[0]))
    return (xp.zeros(np.shape(a[0]), "bool") if a[1] is None else a[1]), None


def _in(xp: Any, node: Any, kind: Type, a: Pair) -> Pair:
    if kind is Type.TEXT:
        found = _flags(pc.is_in(a[0], value_set=pa.array(node.value, pa.string())))[0]
        return found, _flags(pc.is_null(a[0]))[0]
    null = _with_bad(a[1], xp.isnan(a[0])) if kind is Type.FLOAT else a[1]
    return xp.isin(a[0], xp.asarray(node.value, DTYPES[kind])), null


def _if(xp: Any, node: Any, _kind: Type, condition: Pair, a: Pair, b: Pair) -> Pair:
    take = _settled(condition)[0]
    if node.type is Type.TEXT:
        return pc.if_else(_to_arrow(take, None), a[0], b[0]), None
    if a[1] is None and b[1] is None:
        return xp.where(take, a[0], b[0]), None
    null = xp.where(take, _mask(xp, a), _mask(xp, b))
    return xp.where(take, a[0], b[0]), null


def _mask(xp: Any, a: Pair) -> Any:
    return xp.zeros((), "bool") if a[1] is None else a[1]


def _coalesce(xp: Any, node: Any, _kind: Type, a: Pair, b: Pair) -> Pair:
    if node.type is Type.TEXT:
        return pc.coalesce(a[0], b[0]), None
    if a[1] is None:
        return a
    return xp.where(a[1], b[0], a[0]), None if b[1] is None else a[1] & b[1]


def _cast(xp: Any, node: Any, kind: Type, a: Pair) -> Pair:
    values, null = a
    if Type.TEXT in (kind, node.type):
        return _cast_text(node, kind, a)
    if node.type is Type.BOOL:
        return values != 0, _with_bad(null, xp.isnan(values)) if kind is Type.FLOAT else null
    if kind is Type.FLOAT and node.type is Type.INT:
        whole = xp.trunc(values)
        fits = (whole >= -_TWO_63) & (whole < _TWO_63)
        return xp.where(fits, whole, 0.0).astype("int64"), _with_bad(null, ~fits)
    if kind is Type.DATE and node.type is Type.TIMESTAMP:
        return values * MICROSECONDS_A_DAY, _with_bad(null, xp.abs(values) > _MAX_DAYS)
    if kind is Type.TIMESTAMP and node.type is Type.DATE:
        return xp.floor_divide(values, MICROSECONDS_A_DAY), null
    return values.astype(DTYPES[node.type]), null


_INTEGER = r"^-?[0-9]{1,18}$"
_NUMBER = r"^-?([0-9]{1,300}(\.[0-9]{0,300})?|\.[0-9]{1,300})([eE][+-]?[0-9]{1,3})?$"
_ARROW_TYPES = {Type.DATE: pa.date32(), Type.TIMESTAMP: pa.timestamp("us")}


def _cast_text(node: Any, kind: Type, a: Pair) -> Pair:
    """To or from text: text that is no number, or does not fit, gives NULL."""
    if node.type is Type.TEXT:
        arrow = _to_arrow(*a)
        if kind is Type.DATE:
            arrow = arrow.cast(pa.int32(), safe=False)
        if kind in _ARROW_TYPES:
            arrow = arrow.cast(_ARROW_TYPES[kind])
        return arrow.cast(pa.string()), None
    text = pc.utf8_trim(a[0], characters=" ")
    shape = _INTEGER if node.type is Type.INT else _NUMBER
    matches = pc.match_substring_regex(text, pattern=shape)
    text = pc.if_else(matches, text, pa.scalar(None, pa.string()))
    number = text.cast(pa.int64() if node.type is Type.INT else pa.float64())
    if isinstance(number, pa.Scalar):
        known = number.as_py()
        return constant(np, node.type, None if known in {np.inf, -np.inf} else known)
    null = number.is_null().to_numpy(zero_copy_only=False) if number.null_count else None
    values = number.fill_null(0).to_numpy(zero_copy_only=False)
    return values, null if node.type is Type.INT else _with_bad(null, np.isinf(values))


def _like(_xp: Any, node: Any, _kind: Type, a: Pair) -> Pair:
    how, text = node.value
    if how == "equal":
        return _flags(pc.equal(a[0], pa.scalar(text, pa.string())))
    return _flags(LIKE_FUNCTIONS[how](a[0], pattern=text))


LIKE_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "prefix": pc.starts_with,
    "suffix": pc.ends_with,
    "contains": pc.match_substring,
    "regex": pc.match_substring_regex,
}


def _text(function: Callable[..., Any], **options: Any) -> Callable[..., Pair]:
    def run(_xp: Any, _node: Any, _kind: Type, a: Pair) -> Pair:
        return function(a[0], **options), None

    return run


def _length(_xp: Any, _node: Any, _kind: Type, a: Pair) -> Pair:
    length = pc.utf8_length(a[0])
    if isinstance(length, pa.Scalar):
        return constant(np, Type.INT, length.as_py())
    null = length.is_null().to_numpy(zero_copy_only=False) if length.null_count else None
    return length.fill_null(0).to_numpy(zero_copy_only=False).astype("int64"), null


def _substring(_xp: Any, node: Any, _kind: Type, a: Pair) -> Pair:
    start, stop = node.value
    return pc.utf8_slice_codeunits(a[0], start=start, stop=stop), None


def _concat(_xp: Any, _node: Any, _kind: Type, *args: Pair) -> Pair:
    texts = [arg[0] for arg in args]
    sizes: Any = sum(_sizes(text) for text in texts)
    if (sizes > MOST_TEXT_BYTES).any():
        # Before it is made: texts of texts grow without an end.
        texts[0] = pc.if_else(
            _to_arrow(sizes <= MOST_TEXT_BYTES, None), texts[0], pa.scalar(None, pa.string())
        )
    return pc.binary_join_element_wise(*texts, "", null_handling="emit_null"), None


def _sizes(text: Any) -> Any:
    """Return how many bytes texts have."""
    sizes = pc.fill_null(pc.binary_length(text), 0)
    if isinstance(sizes, pa.Scalar):
        return np.int64(sizes.as_py())
    return sizes.to_numpy(zero_copy_only=False).astype("int64")


def _format(xp: Any, node: Any, _kind: Type, a: Pair) -> Pair:
    places, separator = node.value
    values, null = _rounded(xp, places, a[0]), a[1]
    bad = ~(xp.abs(values) < _MOST_FORMATTED)
    # Adding 0 makes 0 of -0.
    number = _to_arrow(xp.where(bad, 0.0, values) + 0.0, either_null(null, bad) if bad.any() else null)
    text = number.cast(pa.decimal128(_DECIMAL_DIGITS, places)).cast(pa.string())
    for _ in range(_MOST_SEPARATORS if separator else 0):
        text = pc.replace_substring_regex(
            text, pattern=r"^(-?[0-9]+)([0-9]{3})([^0-9].*)?$", replacement=rf"\1{separator}\2\3"
        )
    return text, None


def _not(_xp: Any, _node: Any, _kind: Type, a: Pair) -> Pair:
    return ~a[0], a[1]


OPERATIONS: dict[Op, Callable[..., Pair]] = {
    Op.ADD: _arithmetic("add"),
    Op.SUB: _arithmetic("subtract"),
    Op.MUL: _arithmetic("multiply"),
    Op.DIV: _divide("divide"),
    Op.MOD: _divide("fmod"),
    Op.POWER: _power,
    Op.NEG: _unary("negative"),
    Op.ABS: _unary("abs"),
    Op.SIGN: _unary("sign"),
    Op.ROUND: _round,
    Op.FLOOR: _unary("floor"),
    Op.CEIL: _unary("ceil"),
    Op.EXP: _unary("exp"),
    Op.LN: _guarded("log", zero_too=True),
    Op.LOG2: _guarded("log2", zero_too=True),
    Op.LOG10: _guarded("log10", zero_too=True),
    Op.SQRT: _guarded("sqrt", zero_too=False),
    Op.MIN: _extreme("minimum", "min_element_wise"),
    Op.MAX: _extreme("maximum", "max_element_wise"),
    Op.EQ: _compare("equal"),
    Op.NE: _compare("not_equal"),
    Op.LT: _compare("less"),
    Op.LE: _compare("less_equal"),
    Op.GT: _compare("greater"),
    Op.GE: _compare("greater_equal"),
    Op.AND: _and,
    Op.OR: _or,
    Op.NOT: _not,
    Op.IS_NULL: _is_null,
    Op.IN: _in,
    Op.IF: _if,
    Op.COALESCE: _coalesce,
    Op.CAST: _cast,
    Op.LIKE: _like,
    Op.UPPER: _text(pc.utf8_upper),
    Op.LOWER: _text(pc.utf8_lower),
    Op.LENGTH: _length,
    Op.TRIM: _text(pc.utf8_trim, characters=" "),
    Op.RTRIM: _text(pc.utf8_rtrim, characters=" "),
    Op.SUBSTRING: _substring,
    Op.CONCAT: _concat,
    Op.FORMAT: _format,
}
"""Each takes the array module, the node, the type of its last argument, and one pair an argument."""

IN_PLACE = frozenset({
    Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MOD, Op.NEG, Op.ABS, Op.SIGN, Op.FLOOR, Op.CEIL, Op.EXP, Op.LN, Op.LOG2,
    Op.LOG10, Op.SQRT,
})  # fmt: skip
"""Those that also take ``out``, an array to write their values to, which may be an argument's."""
