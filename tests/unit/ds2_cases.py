"""Random DS2 score code, and what SAS makes of it: an interpreter of its own, a row at a time, in Python."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

# Expressions are ("number", value), ("text", value), ("missing",), ("name", name), ("call", name, args),
# ("prefix", operator, arg), ("binary", operator, left, right), ("in", negated, left, members). Statements are
# ("assign", name, expression) and ("if", [(condition, statements), ...], otherwise).
Node = tuple[Any, ...]
Row = dict[str, Any]

NAN = float("nan")
NUMBERS = ("a", "b", "k", "p", "w", "t")
TEXTS = ("s", "u")
HEADER = (
    "dcl double g; method score(double a, double b, int k, char(4) s, in_out double p, in_out int w, "
    "in_out char(3) u); dcl double t; g = 0; p = .; w = 1; u = ''; t = b;\n"
)
SCHEMA = pa.schema([("a", pa.float64()), ("b", pa.float32()), ("k", pa.int64()), ("s", pa.string())])

_SPELLED = {
    "eq": ("=", "eq", "EQ"),
    "ne": ("^=", "~=", "ne"),
    "lt": ("<", "lt"),
    "le": ("<=", "LE"),
    "gt": (">", "gt"),
    "ge": (">=", "ge"),
    "and": ("and", "&", "AND"),
    "or": ("or", "|", "Or"),
    "not": ("not ", "^", "~"),
}
_BINDS = {
    "or": 1,
    "and": 2,
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), 3),
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "**": 8,
}
_PREFIX, _ATOM = 7, 9


class OutOfRangeError(Exception):
    """A value came so close to an overflow that SAS and we may differ."""


def is_true(value: Any) -> bool:
    return value is not None and value != 0


def _near(value: float) -> float | None:
    if math.isnan(value):
        return None
    if abs(value) > 1e290:
        raise OutOfRangeError
    return value


def _power(base: float, exponent: float) -> float | None:
    if base == 0 and exponent < 0:
        return None
    try:
        result = base**exponent
    except OverflowError:
        raise OutOfRangeError from None
    return None if isinstance(result, complex) else result


def _round(value: float, unit: float = 1.0) -> float:
    scaled = value * round(1 / unit) if unit < 1 else value / unit
    whole = float(math.trunc(scaled))
    whole += math.copysign(1, scaled) if abs(scaled - whole) >= 0.5 else 0
    return whole / round(1 / unit) if unit < 1 else whole * unit


def _there(values: tuple[Any, ...]) -> list[Any]:
    return [value for value in values if value is not None]


CALLS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "int": math.trunc,
    "sign": lambda x: (x > 0) - (x < 0),
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else None,
    "mod": lambda x, y: math.fmod(x, y) if y else None,
    "round": _round,
}
"""Of numbers that are there; missing where one of them is."""
WHOLE_CALLS: Mapping[str, Callable[..., Any]] = {
    "min": lambda *values: min(_there(values), default=None),
    "max": lambda *values: max(_there(values), default=None),
    "sum": lambda *values: _total(_there(values)),
    "coalesce": lambda *values: next(iter(_there(values)), None),
    "n": lambda *values: len(_there(values)),
    "nmiss": lambda *values: len(values) - len(_there(values)),
    "missing": lambda value: value in {None, ""},
    "ifn": lambda test, yes, no: yes if is_true(test) else no,
}
"""Of numbers, missing or not."""
TEXT_CALLS: Mapping[str, Callable[..., Any]] = {
    "upcase": str.upper,
    "lowcase": str.lower,
    "strip": lambda text: text.strip(" "),
    "trim": lambda text: text,
}


def _total(values: list[float]) -> float | None:
    total: float | None = None
    for value in values:
        total = value if total is None else total + value
    return total


def value_of(node: Node, row: Row) -> Any:  # noqa: PLR0911 - a case a return reads best
    """Return what an expression is: a float, a text, or None for a missing number."""
    match node:
        case ("number", value) | ("text", value):
            return value.rstrip(" ") if isinstance(value, str) else value
        case ("missing",):
            return None
        case ("name", name):
            return row[name]
        case ("prefix", "not", arg):
            return float(not is_true(value_of(arg, row)))
        case ("prefix", sign, arg):
            value = value_of(arg, row)
            return value if value is None or sign == "+" else -value
        case ("in", negated, left, members):
            found = value_of(left, row) in [value_of(member, row) for member in members]
            return float(found is not negated)
        case ("binary", operator, left, right):
            return _binary(operator, value_of(left, row), value_of(right, row))
        case ("call", "substr", (text, start, length)):
            return value_of(text, row)[start - 1 : start - 1 + length].rstrip(" ")
        case ("call", name, args):
            values = tuple(value_of(arg, row) for arg in args)
            if name in TEXT_CALLS:
                return TEXT_CALLS[name](*values).rstrip(" ")
            if name in CALLS and None in values:
                return None
            made = {**CALLS, **WHOLE_CALLS}[name](*values)
            return None if made is None else _near(float(made))
    raise AssertionError(node)


def _binary(operator: str, left: Any, right: Any) -> Any:
    if operator == "and":
        return float(is_true(left) and is_true(right))
    if operator == "or":
        return float(is_true(left) or is_true(right))
    if operator in {"eq", "ne", "lt", "le", "gt", "ge"}:
        # Missing is less than any number.
        first, second = ((-1, 0) if one is None else (0, one) for one in (left, right))
        return float(
            {
                "eq": first == second,
                "ne": first != second,
                "lt": first < second,
                "le": first <= second,
                "gt": first > second,
                "ge": first >= second,
            }[operator]
        )
    if left is None or right is None or (operator == "/" and right == 0):
        return None
    computed: Mapping[str, Callable[[], float | None]] = {
        "+": lambda: float(left + right),
        "-": lambda: float(left - right),
        "*": lambda: float(left * right),
        "/": lambda: float(left / right),
        "**": lambda: _power(left, right),
    }
    result = computed[operator]()
    return None if result is None else _near(result)


def run_statements(statements: list[Node], row: Row) -> None:
    """Run statements on a row."""
    for statement in statements:
        if statement[0] == "assign":
            _, name, expression = statement
            row[name] = fitted(name, value_of(expression, row))
            continue
        _, branches, otherwise = statement
        taken = next((body for test, body in branches if is_true(value_of(test, row))), otherwise)
        run_statements(taken, row)


def fitted(name: str, value: Any) -> Any:
    """Return a value as a variable holds it."""
    if name in {"w", "k"} and value is not None:
        return float(math.trunc(value)) if abs(value) < 2**63 else None
    return value[:3].rstrip(" ") if name == "u" else value


def interpreted(statements: list[Node], table: pa.Table) -> dict[str, list[Any]]:
    """Return what a program gives out, row by row."""
    found: dict[str, list[Any]] = {"g": [], "p": [], "w": [], "u": []}
    for record in table.to_pylist():
        row: Row = dict.fromkeys(("g", *NUMBERS))
        for name in ("a", "b", "k"):
            value = record[name]
            there = value is not None and math.isfinite(value)
            row[name] = float(value) if there else None
        row |= {"s": (record["s"] or "")[:4].rstrip(" "), "u": "", "g": 0.0, "w": 1.0, "t": row["b"]}
        run_statements(statements, row)
        for name, values in found.items():
            values.append(row[name])
    return found


# Text.


def text_of(statements: list[Node], spelling: int = 0) -> str:
    """Return the text of a program; `spelling` chooses among the ways to write the same."""
    return f"{HEADER}{_lines(statements, spelling)}END;"


def _lines(statements: list[Node], spelling: int) -> str:
    lines = []
    for statement in statements:
        if statement[0] == "assign":
            name = statement[1].upper() if spelling % 2 else statement[1]
            lines.append(f"{name} = {_written(statement[2], spelling)};\n")
            continue
        _, branches, otherwise = statement
        words = []
        for test, body in branches:
            words.append(f"if {_written(test, spelling)} then {_body(body, spelling)}")
        lines.append(" else ".join(words))
        lines.append(f" else {_body(otherwise, spelling)}" if otherwise else "")
    return "".join(lines)


def _body(statements: list[Node], spelling: int) -> str:
    return f"do; /* all of it */ {_lines(statements, spelling)} end;\n"


def _written(node: Node, spelling: int, binds: int = 0) -> str:  # noqa: PLR0911 - as above
    """Return an expression's text, in parentheses where what stands around it binds tighter."""
    match node:
        case ("number", value):
            return repr(value)
        case ("text", value):
            return "'" + str(value).replace("'", "''") + "'"
        case ("missing",):
            return ". "
        case ("name", name):
            return str(name)
        case ("call", "substr", (text, start, length)):
            return f"substr({_written(text, spelling)}, {start}, {length})"
        case ("call", name, args):
            return f"{name}({', '.join(_written(arg, spelling) for arg in args)})"
        case ("in", negated, left, members):
            listed = ", ".join(_written(member, spelling) for member in members)
            text = f"{_side(left, spelling, 4)} {'not ' if negated else ''}in ({listed})"
            return f"({text})" if binds > 3 else text
        case ("prefix", operator, arg):
            sign = _SPELLED["not"][spelling % 3] if operator == "not" else operator
            text = f"{sign}{_written(arg, spelling, _PREFIX)}"
            return f"({text})" if binds > _PREFIX else text
    _, operator, left, right = node
    mine = _BINDS[operator]
    options = _SPELLED.get(operator, (operator,))
    sign = options[spelling % len(options)]
    # A power goes from right to left, and takes a prefix on its right; comparisons take none beside them.
    first = _side(left, spelling, mine + (operator == "**" or mine == 3))
    second = _side(right, spelling, _PREFIX if operator == "**" else mine + 1)
    text = f"{first} {sign} {second}"
    return f"({text})" if binds > mine else text


def _side(node: Node, spelling: int, binds: int) -> str:
    bare_not = node[0] == "prefix" and node[1] == "not"
    return f"({_written(node, spelling)})" if bare_not else _written(node, spelling, binds)


# Strategies.


@dataclass(frozen=True)
class Program:
    """Statements, and a way to write them."""

    statements: list[Node]
    spelling: int

    @property
    def text(self) -> str:
        return text_of(self.statements, self.spelling)


def programs(*, texts: bool = True) -> st.SearchStrategy[Program]:
    """Return random programs; without `texts` they compute with numbers alone."""
    return st.builds(
        Program, st.lists(_statements(texts=texts, depth=2), min_size=1, max_size=5), st.integers(0, 5)
    )


def _statements(*, texts: bool, depth: int) -> st.SearchStrategy[Node]:
    numbers = _numbers(texts=texts)
    assign = st.tuples(st.just("assign"), st.sampled_from(["g", "p", "w", "t"]), numbers)
    kinds = [assign, assign]
    if texts:
        kinds.append(st.tuples(st.just("assign"), st.just("u"), _texts()))
    if depth:
        body = st.lists(_statements(texts=texts, depth=depth - 1), min_size=1, max_size=2)
        branches = st.lists(st.tuples(numbers, body), min_size=1, max_size=3)
        kinds.append(st.tuples(st.just("if"), branches, st.one_of(st.just([]), body)))
    return st.one_of(kinds)


_CONSTANTS = st.sampled_from([0.0, 1.0, 2.0, 0.5, 3.0, 10.0, 0.1, 1e-3]).map(lambda value: ("number", value))


def _numbers(*, texts: bool) -> st.SearchStrategy[Node]:
    leaves = st.one_of(
        st.sampled_from(NUMBERS).map(lambda name: ("name", name)), _CONSTANTS, st.just(("missing",))
    )

    def extend(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        unary = st.tuples(inner)
        several = st.lists(inner, min_size=1, max_size=4).map(tuple)
        forms: list[st.SearchStrategy[Node]] = [
            st.tuples(st.just("binary"), st.sampled_from(sorted(_BINDS.keys() - {"**"})), inner, inner),
            st.tuples(
                st.just("binary"), st.just("**"), inner, st.sampled_from([("number", 2.0), ("number", 0.5)])
            ),
            st.tuples(st.just("prefix"), st.sampled_from(["not", "-", "+"]), inner),
            st.tuples(
                st.just("in"),
                st.booleans(),
                inner,
                st.lists(st.one_of(_CONSTANTS, st.just(("missing",))), min_size=1, max_size=3),
            ),
            st.tuples(
                st.just("call"), st.sampled_from(["abs", "floor", "ceil", "int", "sign", "sqrt"]), unary
            ),
            st.tuples(st.just("call"), st.just("mod"), st.tuples(inner, inner)),
            st.tuples(
                st.just("call"),
                st.just("round"),
                st.tuples(inner, st.sampled_from([0.01, 0.1, 1.0, 100.0]).map(lambda unit: ("number", unit))),
            ),
            st.tuples(
                st.just("call"), st.sampled_from(["min", "max", "sum", "coalesce", "n", "nmiss"]), several
            ),
            st.tuples(st.just("call"), st.just("missing"), unary),
            st.tuples(st.just("call"), st.just("ifn"), st.tuples(inner, inner, inner)),
        ]
        if texts:
            text = _texts()
            comparisons = st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"])
            forms += [
                st.tuples(st.just("binary"), comparisons, text, text),
                st.tuples(st.just("call"), st.just("missing"), st.tuples(text)),
            ]
        return st.one_of(forms)

    return st.recursive(leaves, extend, max_leaves=6)


def _texts() -> st.SearchStrategy[Node]:
    leaves = st.one_of(
        st.sampled_from(TEXTS).map(lambda name: ("name", name)),
        st.sampled_from(["", "x", "Abc", "it's ", " b", "long text"]).map(lambda text: ("text", text)),
    )

    def extend(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        cut = st.tuples(inner, st.integers(1, 3), st.integers(0, 3))
        return st.one_of(
            st.tuples(st.just("call"), st.sampled_from(sorted(TEXT_CALLS)), st.tuples(inner)),
            st.tuples(st.just("call"), st.just("substr"), cut),
        )

    return st.recursive(leaves, extend, max_leaves=3)


def tables() -> st.SearchStrategy[pa.Table]:
    """Return rows with missing values of every sort."""
    number = st.one_of(
        st.none(),
        st.sampled_from([0.0, -0.0, 1.0, -1.5, 2.5, 1e6, NAN, math.inf]),
        st.floats(-100, 100, width=32),
    )
    whole = st.one_of(st.none(), st.integers(-10, 10))
    text = st.sampled_from([None, "", " ", "x", "x ", "Abc", "abcdef", "it's"])
    row = st.fixed_dictionaries({"a": number, "b": number, "k": whole, "s": text})
    return st.lists(row, min_size=1, max_size=6).map(lambda rows: pa.Table.from_pylist(rows, SCHEMA))
