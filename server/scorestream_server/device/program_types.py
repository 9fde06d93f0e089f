"""The types and operations of score-code programs: what a front end writes and what every device runs."""

import enum
import re
from typing import Any

import numpy as np
import pyarrow as pa

Pair = tuple[Any, Any]


class Type(enum.StrEnum):
    """The types that a program computes with."""

    BOOL = "bool"
    INT = "int64"
    FLOAT = "float64"
    TEXT = "string"
    DATE = "date"
    """Days since 1970-01-01, int64."""
    TIMESTAMP = "timestamp"
    """Microseconds since 1970-01-01 00:00:00 (UTC where the column has a time zone), int64."""


class Op(enum.StrEnum):
    """What a node does. Arguments of one node have one type unless it says otherwise."""

    COLUMN = "column"
    """An input; `value` is its place in the program's inputs."""
    CONST = "const"
    """A constant; `value` is a bool, int, float or str, or None for NULL."""
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    """FLOAT only."""
    MOD = "mod"
    POWER = "power"
    """FLOAT only."""
    NEG = "neg"
    ABS = "abs"
    SIGN = "sign"
    ROUND = "round"
    """FLOAT only; `value` is the number of decimal places, negative for tens, hundreds and so on."""
    FLOOR = "floor"
    CEIL = "ceil"
    EXP = "exp"
    LN = "ln"
    LOG2 = "log2"
    LOG10 = "log10"
    SQRT = "sqrt"
    MIN = "min"
    MAX = "max"
    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    AND = "and"
    OR = "or"
    NOT = "not"
    IS_NULL = "is_null"
    IN = "in"
    """`value` is a tuple of constants of the argument's type, none of them NULL."""
    IF = "if"
    """Arguments: a BOOL, and two of the node's type. The first of them where the condition is TRUE."""
    COALESCE = "coalesce"
    """The first of two arguments that is not NULL."""
    CAST = "cast"
    """From the argument's type to the node's type."""
    LIKE = "like"
    """`value` is ``(how, text)``: how is equal, prefix, suffix, contains or regex."""
    UPPER = "upper"
    LOWER = "lower"
    LENGTH = "length"
    """In characters, INT."""
    TRIM = "trim"
    """Takes spaces off both ends."""
    RTRIM = "rtrim"
    """Takes spaces off the end."""
    SUBSTRING = "substring"
    """`value` is ``(start, stop)`` in characters, from 0; stop may be None."""
    CONCAT = "concat"
    """One text of two or more; NULL where one is, and where it would have more than `MOST_TEXT_BYTES`."""
    FORMAT = "format"
    """FLOAT to text; `value` is ``(places, separator)``: decimal places, and what stands between thousands. NULL where
    the number is not finite, or 1E15 or more."""


DTYPES = {
    Type.BOOL: "bool",
    Type.INT: "int64",
    Type.FLOAT: "float64",
    Type.DATE: "int64",
    Type.TIMESTAMP: "int64",
}
MICROSECONDS_A_DAY = 86_400_000_000
MOST_TEXT_BYTES = 1 << 18
"""Of a text that is put together of others, which may be put together of themselves again and again."""


def constant(xp: Any, kind: Type, value: Any) -> Pair:
    """Return a constant as a 0-d pair."""
    if kind is Type.TEXT:
        return pa.scalar(value, pa.string()), None
    dtype = DTYPES[kind]
    if value is None:
        return xp.zeros((), dtype), xp.ones((), "bool")
    return np.dtype(dtype).type(value), None


def like_value(pattern: str, escape: str | None) -> tuple[str, str]:
    """Return the `value` of a LIKE node: the cheapest Arrow search that does what the pattern says.

    Args:
        pattern: SQL's: ``%`` is any text, ``_`` any one character.
        escape: the character before which both lose their meaning; None for none.

    Raises:
        ValueError: the escape character is followed by nothing, or by something else.
    """
    parts: list[str | None] = []  # None is %, "" is _, else text
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            following = next(characters, "")
            if following not in {"%", "_", escape}:
                raise ValueError(pattern)
            parts.append(following)
        else:
            parts.append({"%": None, "_": ""}.get(character, character))
    middle = "".join(part or "" for part in parts)
    inner = parts[
        1 if parts[:1] == [None] else 0 : len(parts) - 1 if parts[-1:] == [None] and len(parts) > 1 else None
    ]
    if all(inner):
        opens, closes = parts[:1] == [None], parts[-1:] == [None]
        how = {(False, False): "equal", (False, True): "prefix", (True, False): "suffix"}.get(
            (opens, closes), "contains"
        )
        return how, middle
    regex = "".join({None: ".*", "": "."}.get(part, re.escape(part or "")) for part in parts)
    return "regex", f"(?s)^{regex}\\z"
