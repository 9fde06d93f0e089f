"""Random score code that raises errors, and what it means: a row's value, or the first error that it comes to."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

Tree = tuple[Any, ...]
Row = Mapping[str, float | None]
ROWS = [
    {"a": a, "b": b} for a in (None, -1.0, 0.0, 2.0) for b in (None, 0.0, 2.0)
]  # few values, so that conditions hold, fail and are unknown
TABLE = pa.table({name: pa.array([row[name] for row in ROWS], pa.float64()) for name in ("a", "b")})


class RaisedError(Exception):
    """A row came to an ERROR."""


_LEAVES = st.one_of(
    st.sampled_from([("column", "a"), ("column", "b"), ("number", 1.5), ("null",)]),
    st.integers(0, 9).map(lambda number: ("error", f"e{number}")),
)
_KINDS = ("leaf", "add", "least", "nullif", "coalesce", "case", "case", "case of")
_TESTS = ("less", "less", "is null", "not", "and", "or")


@st.composite
def trees(draw: st.DrawFn, depth: int = 4) -> Tree:
    """Return a number that is computed with CASE, COALESCE and errors."""
    kind = draw(st.sampled_from(_KINDS)) if depth else "leaf"
    one = trees(depth - 1)
    otherwise = st.none() | one
    if kind == "leaf":
        return draw(_LEAVES)
    if kind == "coalesce":
        return (kind, draw(st.lists(one, min_size=1, max_size=3)))
    if kind == "case":
        branches = draw(st.lists(st.tuples(_tests(depth - 1), one), min_size=1, max_size=2))
        return (kind, branches, draw(otherwise))
    if kind == "case of":
        return (kind, draw(one), draw(st.lists(st.tuples(one, one), min_size=1, max_size=2)), draw(otherwise))
    return (kind, draw(one), draw(one))


@st.composite
def _tests(draw: st.DrawFn, depth: int) -> Tree:
    kind = draw(st.sampled_from(_TESTS if depth else _TESTS[:3]))
    arg = trees(depth - 1 if depth else 0) if kind in _TESTS[:3] else _tests(depth - 1)
    return (kind, draw(arg)) if kind in {"is null", "not"} else (kind, draw(arg), draw(arg))


def sql(tree: Tree) -> str:  # noqa: PLR0911  # one a kind of tree
    """Return the text of a tree."""
    match tree:
        case ("column", name):
            return str(name)
        case ("number", value):
            return str(value)
        case ("null",):
            return "CAST(NULL AS DOUBLE)"
        case ("error", why):
            return f"ERROR('{why}')"
        case ("add", left, right):
            return f"({sql(left)} + {sql(right)})"
        case ("less", left, right):
            return f"({sql(left)} < {sql(right)})"
        case ("is null", one):
            return f"({sql(one)} IS NULL)"
        case ("and" | "or" as word, left, right):
            return f"({sql(left)} {word.upper()} {sql(right)})"
        case ("not", one):
            return f"(NOT {sql(one)})"
        case ("least" | "nullif" as word, left, right):
            return f"{word.upper()}({sql(left)}, {sql(right)})"
        case ("coalesce", values):
            return f"COALESCE({', '.join(map(sql, values))})"
        case ("case", branches, otherwise):
            return f"CASE{_branches(branches)}{_otherwise(otherwise)} END"
        case ("case of", operand, branches, otherwise):
            return f"CASE {sql(operand)}{_branches(branches)}{_otherwise(otherwise)} END"
    raise AssertionError(tree)


def _branches(branches: Sequence[tuple[Tree, Tree]]) -> str:
    return "".join(f" WHEN {sql(test)} THEN {sql(result)}" for test, result in branches)


def _otherwise(otherwise: Tree | None) -> str:
    return "" if otherwise is None else f" ELSE {sql(otherwise)}"


def value(tree: Tree, row: Row) -> Any:  # noqa: PLR0911  # one a kind of tree
    """Return what a tree is for a row, computed as a person would: nothing before it is needed.

    Raises:
        RaisedError: with the error's reason.
    """
    match tree:
        case ("column", name):
            return row[name]
        case ("number", number):
            return number
        case ("null",):
            return None
        case ("error", why):
            raise RaisedError(why)
        case ("is null", one):
            return value(one, row) is None
        case ("not", one):
            found = value(one, row)
            return None if found is None else not found
        case ("coalesce", values):
            return next((found for one in values if (found := value(one, row)) is not None), None)
        case ("case", branches, otherwise):
            for test, result in branches:
                if value(test, row) is True:
                    return value(result, row)
            return None if otherwise is None else value(otherwise, row)
        case ("case of", operand, branches, otherwise):
            given = value(operand, row)
            for test, result in branches:
                other = value(test, row)
                if given is not None and other is not None and given == other:
                    return value(result, row)
            return None if otherwise is None else value(otherwise, row)
    left, right = value(tree[1], row), value(tree[2], row)
    match tree[0]:
        case "and":
            return False if False in (left, right) else None if None in (left, right) else True
        case "or":
            return True if True in (left, right) else None if None in (left, right) else False
        case "nullif":
            return None if left is not None and left == right else left
    if left is None or right is None:
        return None
    return {"add": left + right, "less": left < right, "least": min(left, right)}[tree[0]]


def outcome(tree: Tree, row: Row) -> tuple[Any, str | None]:
    """Return the value of a row, or None and why it has none."""
    try:
        return value(tree, row), None
    except RaisedError as error:
        return None, str(error)
