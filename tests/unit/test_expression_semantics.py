"""Expressions mean what SQLite says they mean, in programs and in Arrow filters alike."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.scoring.expression import (
    compile_conditions,
    compile_score_code,
    compile_where,
    where_program,
)
from scorestream_server.tables.conditions import Condition
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table
from unit.expression_cases import (
    DATE_CONDITIONS,
    EDGES,
    NUMBER_CONDITIONS,
    flat_predicates,
    numbers,
    predicates,
    run,
    same,
    sqlite_rows,
    tables,
)

FEW = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def kept(table: pa.Table, where: str) -> list[int]:
    """Return the rows that a program keeps."""
    flags = run(where_program(where, table.schema), table)[0]
    return [row for row, flag in enumerate(flags) if flag]


def anchored(where: str) -> str:
    """Return the same condition with a column in it: a program without one does not know how many rows there are."""
    return f"{where} AND (i IS NULL OR i IS NOT NULL)"


def filtered(table: pa.Table, where: str, path: Path | None = None) -> list[int] | None:
    """Return the rows that an Arrow filter keeps, in memory or from small row groups; None if it refuses."""
    numbered = table.append_column("row", pa.array(range(len(table))))
    try:
        expression = compile_where(where, table.schema)
    except ScorestreamError as error:
        if error.reason != "FORBIDDEN_FUNCTION":
            raise
        return None
    if path is None:
        return list(ds.dataset(numbered).to_table(filter=expression)["row"].to_pylist())
    pq.write_table(numbered, path, row_group_size=2)
    data = load_table([path], path.parent)
    conditions = [Condition(*found) for found in compile_conditions(where, table.schema, ())]
    return [
        row
        for partition in plan_partitions(data, 1000)
        for batch in TableReader().read(data, partition, ["row"], conditions, scratch=None)
        for row in batch["row"].to_pylist()
    ]


@FEW
@given(tables(nan=False), numbers())
def test_numbers_are_those_of_sqlite(table: pa.Table, expression: str) -> None:
    """A numeric expression has SQLite's value in every row, NULL where SQLite has NULL."""
    program = compile_score_code(f"{expression} + 0 * i AS score").bind(table.schema)
    ours = run(program, table)[0]
    theirs = [row[0] for row in sqlite_rows(table, [f"{expression} + 0 * i"])]
    assert all(map(same, ours, theirs)), (expression, ours, theirs)


@FEW
@given(tables(nan=False), predicates())
def test_predicates_are_those_of_sqlite(table: pa.Table, where: str) -> None:
    """A condition is TRUE, FALSE or NULL as in SQLite, and an Arrow filter keeps just the rows where it is TRUE."""
    where = anchored(where)
    ours = run(where_program(where, table.schema), table)[0]
    theirs = [row[0] for row in sqlite_rows(table, [where])]
    assert all(map(same, ours, theirs)), (where, ours, theirs)
    rows = filtered(table, where)
    assert rows is None or rows == kept(table, where), where


@FEW
@given(tables(nan=False), flat_predicates())
def test_operators_bind_as_in_sqlite(table: pa.Table, where: str) -> None:
    """Without parentheses, operations come in SQL's order."""
    where = anchored(f"({where})")
    theirs = [row for row, (flag,) in enumerate(sqlite_rows(table, [where])) if flag]
    assert kept(table, where) == theirs, where
    assert filtered(table, where) == theirs, where


@FEW
@given(tables(nan=True), predicates(nulls=False))
def test_statistics_prune_no_row_that_belongs(
    tmp_path_factory: pytest.TempPathFactory, table: pa.Table, where: str
) -> None:
    """With NaN in the data, a filter on a Parquet file of tiny row groups keeps the rows that the program keeps."""
    where = anchored(where)
    path = tmp_path_factory.getbasetemp() / "pruned.parquet"
    rows = filtered(table, where, path)
    assert rows is None or rows == kept(table, where), where


def value(expression: str, **columns: Any) -> Any:
    """Return an expression's value for one row; a column `a` is there in any case."""
    table = pa.table({name: pa.array([item]) for name, item in {"a": 1.0, **columns}.items()})
    code = compile_score_code(f"{expression} AS score, a AS uses_a")
    return run(code.bind(table.schema), table)[0][0]


@pytest.mark.parametrize(
    ("expression", "a", "expected"),
    EDGES,
)
def test_values_at_the_edges(expression: str, a: Any, expected: Any) -> None:
    """What has no value is NULL, NaN stays, halves go away from zero, and whole numbers wrap around."""
    got = value(expression, a=pa.scalar(a, pa.bool_()) if a is None else a)
    if isinstance(expected, float):
        assert got == pytest.approx(expected, rel=1e-12, nan_ok=True)
    else:
        assert got == expected


@pytest.mark.parametrize(
    ("expression", "s", "expected"),
    [
        ("UPPER(s)", "été", "ÉTÉ"),
        ("LENGTH(s)", "éé", 2),
        ("TRIM(s)", "  a b ", "a b"),
        ("SUBSTRING(s, 2, 2)", "éabc", "ab"),
        ("SUBSTRING(s, 9)", "abc", ""),
        ("SUBSTRING(s, 1, 0)", "abc", ""),
        ("s LIKE 'a_c'", "aéc", True),
        ("s LIKE '%.%'", "abc", False),
        ("s LIKE 'a\\%'", "a\\bc", True),
        ("s LIKE '%!%%' ESCAPE '!'", "5% off", True),
        ("s LIKE '%!%%' ESCAPE '!'", "5 off", False),
        ("s LIKE 'a%c'", "a\nc", True),
        ("s LIKE '%b_%'", "abc", True),
        ("s LIKE ''", "", True),
        ("s LIKE '%%'", "x", True),
        ("CAST(s AS DOUBLE)", " -1.5e2 ", -150.0),
        ("CAST(s AS DOUBLE)", "1.5x", None),
        ("CAST(s AS DOUBLE)", "1e999", None),
        ("CAST(s AS BIGINT)", "123456789012345678", 123456789012345678),
        ("CAST(s AS BIGINT)", "99999999999999999999", None),
        ("CAST(s AS BIGINT)", "", None),
        ("COALESCE(NULLIF(s, 'x'), 'none')", "x", "none"),
        ("CASE s WHEN 'x' THEN 'yes' ELSE 'no' END", "x", "yes"),
        ("s < 'b'", "a", True),
        ("s IN ('a', 'b')", None, None),
        ("LEAST(s, 'b')", "c", "b"),
    ],
)
def test_text(expression: str, s: str | None, expected: Any) -> None:
    """Text functions count characters, LIKE knows no hidden escape, and text that is no number is NULL."""
    table = pa.table({"s": pa.array([s], pa.string())})
    code = compile_score_code(f"{expression} AS score")
    got = run(code.bind(table.schema), table)[0][0]
    assert got == (pytest.approx(expected) if isinstance(expected, float) else expected)


@pytest.mark.parametrize(
    "kind",
    [pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "Europe/Paris")],
)
@pytest.mark.parametrize(
    ("where", "rows"),
    DATE_CONDITIONS,
)
def test_dates_compare_with_literals(kind: pa.DataType, where: str, rows: list[int]) -> None:
    """Dates and timestamps of any unit, with a zone or without, compare with literals (a zone's in UTC)."""
    days = pa.array([19723, 19724, 19725, None], pa.int32()).cast(pa.date32())
    moments = (
        days.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        if pa.types.is_timestamp(kind) and kind.tz
        else days
    )
    table = pa.table(
        {
            "d": moments.cast(
                pa.timestamp("us") if not pa.types.is_date(kind) and not kind.tz else moments.type
            ).cast(kind)
        }
    )
    assert kept(table, where) == rows
    assert filtered(table, where) == rows


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(22, 2)],
)
@pytest.mark.parametrize(
    ("where", "rows"),
    NUMBER_CONDITIONS,
)
def test_numbers_of_any_width_compare_alike(kind: pa.DataType, where: str, rows: list[int]) -> None:
    """A condition keeps the same rows whatever width a number column has."""
    table = pa.table({"n": pa.array([1, 2, 3, None]).cast(kind)})
    assert kept(table, where) == rows
    assert filtered(table, where) == rows


def test_float32_is_compared_as_double() -> None:
    """A float32 column holds 0.1 as 0.10000000149: it is not equal to the literal 0.1, and it is more."""
    table = pa.table({"n": pa.array([0.1], pa.float32())})
    for where, rows in (("n = 0.1", []), ("n > 0.1", [0]), ("n = 0.5 OR n < 0.2", [0])):
        assert kept(table, where) == rows
        assert filtered(table, where) == rows


def test_a_filter_skips_row_groups(tmp_path: Path) -> None:
    """Comparisons reach Parquet's statistics: a row group that cannot match is not read."""
    path = tmp_path / "groups.parquet"
    table = pa.table(
        {"i": pa.array(range(8), pa.int32()), "x": pa.array([float(n) for n in range(8)], pa.float32())}
    )
    pq.write_table(table, path, row_group_size=2)
    (fragment,) = ds.dataset(path).get_fragments()
    for where, groups in (
        ("i = 5", 1),
        ("NOT i < 6", 1),
        ("x >= 4", 2),
        ("i BETWEEN 2 AND 3 AND x < 100", 1),
        ("x <> 1", 4),
    ):
        assert len(fragment.subset(compile_where(where, table.schema)).row_groups) == groups, where


@pytest.mark.parametrize("exponent", ["EXP(1000)", "-EXP(1000)", "0.5", "-1"])
def test_an_exponent_that_a_filter_does_not_take_is_refused_by_name(exponent: str) -> None:
    """Also an infinite one, which has no whole number to be compared with."""
    with pytest.raises(ScorestreamError, match="its exponent has to be a literal, a whole number from 0"):
        compile_conditions(f"POWER(x, {exponent}) > 1", pa.schema({"x": pa.float64()}))
