"""Random well-typed SQL expressions, and the two ways in which tests evaluate them."""

import math
import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from scorestream_server.device.program import Program, evaluate
from scorestream_server.scoring.columns import to_array, to_vector

SCHEMA = pa.schema(
    [
        ("i", pa.int64()),
        ("j", pa.int32()),
        ("x", pa.float64()),
        ("y", pa.float32()),
        ("s", pa.string()),
        ("f", pa.bool_()),
    ]
)
NAN = float("nan")
INF = float("inf")
EDGES = [
    ("a / 0", 1.0, None),
    ("a / 0", NAN, None),
    ("MOD(a, 0)", 5, None),
    ("MOD(a, 3)", -7, -1.0),
    ("MOD(a, 2.5)", -7.0, -2.0),
    ("LN(a)", 0.0, None),
    ("LN(a)", -1.0, None),
    ("LN(a)", INF, INF),
    ("LOG(a)", 1.0, 0.0),
    ("LOG(2, a)", 8.0, 3.0),
    ("LOG(3, a)", 9.0, 2.0),
    ("LOG10(a)", 1000.0, 3.0),
    ("LOG2(a)", 0.0, None),
    ("LOG(1, a)", 8.0, None),
    ("SQRT(a)", -1.0, None),
    ("SQRT(a)", NAN, NAN),
    ("POWER(a, 0.5)", -1.0, None),
    ("POWER(a, -1)", 0.0, None),
    ("POWER(a, 3)", -2.0, -8.0),
    ("EXP(a)", 1000.0, INF),
    ("ROUND(a)", 2.5, 3.0),
    ("ROUND(a)", -2.5, -3.0),
    ("ROUND(a)", 0.49999999999999994, 0.0),
    ("ROUND(a, 2)", 1.125, 1.13),
    ("ROUND(a, -2)", 150, 200.0),
    ("ROUND(a, 15)", 1e300, 1e300),
    ("SIGN(a)", -0.5, -1.0),
    ("LEAST(a, NULL)", 1.0, None),
    ("LEAST(a, 2)", NAN, NAN),
    ("GREATEST(2, a)", NAN, NAN),
    ("a + 1", NAN, NAN),
    ("a - a", INF, NAN),
    ("a > 1", NAN, None),
    ("NOT a > 1", NAN, None),
    ("a = a", NAN, None),
    ("a IS NULL", NAN, False),
    ("a IN (1, 2)", NAN, None),
    ("a IN (1, NULL)", 2.0, None),
    ("a IN (1, NULL)", 1.0, True),
    ("a NOT IN (1, NULL)", 2.0, None),
    ("COALESCE(a, 7)", NAN, NAN),
    ("COALESCE(a > 0, TRUE)", NAN, True),
    ("CAST(a AS BIGINT)", -2.9, -2),
    ("CAST(a AS BIGINT)", NAN, None),
    ("CAST(a AS BIGINT)", 1e19, None),
    ("CAST(a AS BIGINT)", -(2.0**63), -(2**63)),
    ("CAST(a AS BIGINT)", 2.0**63, None),
    ("CAST(a AS BOOLEAN)", NAN, None),
    ("CAST(a AS BOOLEAN)", 0.5, True),
    ("CAST(a AS BIGINT) + 9223372036854775807", 1, -(2**63)),
    ("CAST(a AS BIGINT) - 9223372036854775808.0", 0, -(2.0**63)),
    ("CASE WHEN a > 1 THEN 1 END", NAN, None),
    ("a IS TRUE", None, False),
    ("NULL", 1.0, None),
    ("-9223372036854775808", 1.0, -(2**63)),
]
"""An expression, the value of its column ``a``, and what it is."""

DATE_CONDITIONS = [
    ("d >= '2024-01-02'", [1, 2]),
    ("d = DATE '2024-01-02'", [1]),
    ("d < TIMESTAMP '2024-01-02 00:00:01'", [0, 1]),
    ("d BETWEEN '2024-01-01' AND '2024-01-02T12:00:00'", [0, 1]),
    ("d IN ('2024-01-03', '2030-01-01')", [2]),
    ("CAST(d AS DATE) <> '2024-01-02'", [0, 2]),
    ("d IS NULL", [3]),
]
"""A condition on a column ``d`` of dates, and which rows of three days and a null it keeps."""

NUMBER_CONDITIONS = [
    ("n = 2", [1]),
    ("n <> 2", [0, 2]),
    ("n > 1.5", [1, 2]),
    ("n <= 300", [0, 1, 2]),
    ("NOT n >= 2.0", [0]),
    ("n IN (1, 3)", [0, 2]),
    ("n NOT IN (1, 2.5)", [1, 2]),
    ("1 < n", [1, 2]),
    ("n / 2 = 1", [1]),
    ("MOD(CAST(n AS BIGINT), 2) = 1", [0, 2]),
    ("n = 0.1", []),
]
"""A condition on a column ``n``, and which rows of 1, 2, 3 and null it keeps."""


def run(program: Program, table: pa.Table) -> list[list[Any]]:
    """Return each output of a program over a table as Python values."""
    vectors = [to_vector(table[column.name].combine_chunks(), column.type) for column in program.inputs]
    return [to_array(vector).to_pylist() for vector in evaluate(np, program, vectors)]


def tables(*, nan: bool) -> st.SearchStrategy[pa.Table]:
    """Tables of SCHEMA with nulls everywhere, few distinct values, and NaN where asked for."""
    floats = [-2.5, -1.0, -0.5, 0.0, 0.25, 1.0, 2.0, 3.5, 100.0] + ([NAN, NAN, INF, -INF] if nan else [])
    row = st.tuples(
        st.sampled_from([None, -7, -1, 0, 1, 2, 3, 10]),
        st.sampled_from([None, -2, 0, 1, 2, 5]),
        st.sampled_from([None, *floats]),
        st.sampled_from([None, *floats]),
        st.sampled_from([None, "", "a", "b", "ab", "abc", "B", " a ", "a%", "é", "12"]),
        st.sampled_from([None, True, False]),
    )

    def build(rows: list[tuple[Any, ...]]) -> pa.Table:
        columns = list(zip(*rows, strict=True))
        arrays = [pa.array(list(column), field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        return pa.table(arrays, schema=SCHEMA)

    return st.lists(row, min_size=1, max_size=12).map(build)


def sqlite_rows(table: pa.Table, expressions: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return SQLite's values of expressions for each row; SQLite has NULL where there is NaN."""
    connection = sqlite3.connect(":memory:")
    try:
        for name, pick in (("LEAST", min), ("GREATEST", max)):
            connection.create_function(
                name, -1, lambda *args, pick=pick: None if None in args else pick(args)
            )
        connection.execute("PRAGMA case_sensitive_like = ON")
        connection.execute(
            "CREATE TABLE t (n INTEGER, i INTEGER, j INTEGER, x REAL, y REAL, s TEXT, f INTEGER)"
        )
        rows = [(n, *row.values()) for n, row in enumerate(table.to_pylist())]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        return connection.execute(f"SELECT {', '.join(expressions)} FROM t ORDER BY n").fetchall()  # noqa: S608  # made by the strategies here
    finally:
        connection.close()


def same(ours: Any, theirs: Any) -> bool:
    """Whether a value of ours is SQLite's: NaN is its NULL, and flags are its 0 and 1."""
    if ours is None or theirs is None or (isinstance(ours, float) and math.isnan(ours)):
        return theirs is None and (ours is None or math.isnan(ours))
    if isinstance(ours, str):
        return bool(ours == theirs)
    return math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-300)


def _apply(form: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda texts: form.format(*texts))


COMPARISONS = ("=", "<>", "!=", "<", "<=", ">", ">=")
_TEXTS = st.sampled_from(
    ["s", "'a'", "'ab'", "''", "'é'", "TRIM(s)", "UPPER('x')", "SUBSTR(s, 2)", "SUBSTRING(s, 1, 1)"]
)
_LEAVES = st.sampled_from(["i", "j", "x", "y", "1", "2", "0.5", "-1", "3", "LENGTH(s)"])
_WHOLES = st.sampled_from(["i", "j", "(i + 1)", "(j * 2)", "(i - j)", "LENGTH(s)", "-3", "7"])


def numbers(*, nulls: bool = True) -> st.SearchStrategy[str]:
    """Numeric expressions; without `nulls`, none in which NaN and NULL differ."""

    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        ways = [
            _apply("({} + {})", inner, inner),
            _apply("({} - {})", inner, inner),
            _apply("({} * {})", inner, inner),
            _apply("((0.0 + {}) / {})", inner, inner),
            _apply("(- {})", inner),
            _apply("ABS({})", inner),
            _apply("ROUND({})", inner),
            _apply("FLOOR({})", inner),
            _apply("CEIL({})", inner),
            _apply("SIGN({})", inner),
            _apply("SQRT({})", inner),
            _apply("LN({})", inner),
            _apply("MOD({}, {})", _WHOLES, _WHOLES),
            _apply("({} % 3)", _WHOLES),
            _apply("POWER({}, 2)", inner),
            _apply("NULLIF({}, {})", inner, inner),
            _apply("CAST({} AS DOUBLE)", inner),
        ]
        if nulls:
            ways += [
                _apply("COALESCE({}, {})", inner, inner),
                _apply("LEAST({}, {})", inner, inner),
                _apply("GREATEST({}, {}, 1)", inner, inner),
                _apply("CAST({} AS BIGINT)", _LEAVES),
                _apply("CASE WHEN {} > {} THEN {} WHEN f THEN {} END", inner, inner, inner, inner),
                _apply("CASE {} WHEN 1 THEN {} WHEN {} THEN 2 ELSE {} END", _WHOLES, inner, _WHOLES, inner),
            ]
        return st.one_of(ways)

    return st.recursive(_LEAVES, grow, max_leaves=6)


def predicates(*, nulls: bool = True) -> st.SearchStrategy[str]:
    """Conditions; without `nulls`, none in which NaN and NULL differ."""
    number = numbers(nulls=nulls)
    compare = st.sampled_from(COMPARISONS)
    leaves = [
        _apply("({} {} {})", number, compare, number),
        _apply(
            "({} {} {})",
            st.sampled_from(["i", "j", "x", "y"]),
            compare,
            st.sampled_from(["0", "1", "2", "0.5", "2.0"]),
        ),
        _apply("({} {} {})", _TEXTS, compare, _TEXTS),
        _apply("({} BETWEEN {} AND {})", number, number, number),
        _apply("({} NOT BETWEEN {} AND {})", number, number, number),
        _apply("({} IN ({}, 2, {}))", number, number, number),
        _apply("({} {} (0, 1, 2.5))", st.sampled_from(["x", "i", "y"]), st.sampled_from(["IN", "NOT IN"])),
        _apply(
            "(s {} ({}))",
            st.sampled_from(["IN", "NOT IN"]),
            st.sampled_from(["'a', 'b'", "'a', NULL", "NULL"]),
        ),
        _apply(
            "(s {} {})",
            st.sampled_from(["LIKE", "NOT LIKE"]),
            st.sampled_from(["'a%'", "'%b'", "'_'", "'%a_'", "'a'", "'%'"]),
        ),
        st.sampled_from(["f", "TRUE", "FALSE", "(NULL = 1)", "(s LIKE 'a!%' ESCAPE '!')"]),
    ]
    if nulls:
        leaves += [
            _apply("({} IS NULL)", st.one_of(number, _TEXTS, st.just("f"))),
            _apply("({} IS NOT NULL)", number),
        ]

    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        ways = [
            _apply("({} AND {})", inner, inner),
            _apply("({} OR {})", inner, inner),
            _apply("(NOT {})", inner),
        ]
        if nulls:
            ways += [
                _apply("COALESCE({}, {})", inner, inner),
                _apply("CASE WHEN {} THEN {} ELSE {} END", inner, inner, inner),
                _apply("({} IS NULL)", inner),
                _apply("({} = {})", inner, inner),
                _apply("({} IS NOT TRUE)", inner),
            ]
        return st.one_of(ways)

    return st.recursive(st.one_of(leaves), grow, max_leaves=5)


def flat_predicates() -> st.SearchStrategy[str]:
    """Conditions without a parenthesis, for the order of operations."""
    operand = st.sampled_from(["i", "j", "x", "2", "0.5", "-1", "- i"])
    sums = st.lists(st.tuples(st.sampled_from(["+", "-", "*"]), operand), max_size=4).flatmap(
        lambda rest: operand.map(lambda first: first + "".join(f" {sign} {value}" for sign, value in rest))
    )
    test = st.one_of(
        _apply("{} {} {}", sums, st.sampled_from(COMPARISONS), sums),
        _apply("{} BETWEEN {} AND {}", sums, sums, sums),
        _apply("{} IS NULL", sums),
        _apply("{} IN (1, 2)", sums),
    )
    term = st.one_of(test, test.map("NOT {}".format))
    return st.lists(st.tuples(st.sampled_from(["AND", "OR"]), term), max_size=4).flatmap(
        lambda rest: term.map(lambda first: first + "".join(f" {word} {value}" for word, value in rest))
    )
