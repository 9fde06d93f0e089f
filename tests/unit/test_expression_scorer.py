"""Score code as a model: its schema, its programs, and its scores over real Arrow columns."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scorestream_server.device.cpu import CpuLane
from scorestream_server.device.program import BLOCK_ROWS, Program, Vector, evaluate
from scorestream_server.device.program_types import Op, Type
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.model import ColumnType, Feature, ModelKind, OutputColumn
from scorestream_server.scoring.expression import (
    ExpressionScorer,
    compile_conditions,
    compile_score_code,
    compile_where,
    score_code_schema,
    where_columns,
)

DUMMY = "var1 * 0.5 + var2 * 0.2 + var3 * 0.3 AS p_var1"


def score(text: str, **columns: Any) -> list[list[Any]]:
    """Return the scores of Arrow columns as Python values."""
    scorer = ExpressionScorer(text)
    arrays = [columns[feature.name] for feature in scorer.schema.features]
    return [array.to_pylist() for array in scorer.score(arrays, CpuLane())]


def test_the_dummy_scorer_says_what_it_needs_and_gives() -> None:
    """The schema has the columns in order of use, one double, and a cost of at least one."""
    schema = score_code_schema(DUMMY)
    assert schema.kind is ModelKind.EXPRESSION
    assert schema.features == (Feature("var1"), Feature("var2"), Feature("var3"))
    assert schema.outputs == (OutputColumn("p_var1", ColumnType.FLOAT64),)
    assert schema.cost == 1.0


@pytest.mark.parametrize("rows", [0, 1, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 7])
def test_blocks_give_what_whole_columns_give(rows: int) -> None:
    """Any number of rows gives NumPy's own values, bit by bit, with nulls where an input has them."""
    rng = np.random.default_rng(rows)
    a, b = rng.normal(size=rows), rng.normal(size=rows)
    null = rng.random(rows) < 0.2
    expected = np.where(a > 0, a * 0.5 + b, b * b - a)
    got = ExpressionScorer("CASE WHEN a > 0 THEN a * 0.5 + b ELSE b * b - a END AS s, a + b AS t").score(
        [pa.array(a), pa.array(b, mask=null)], CpuLane()
    )
    for array, values in zip(got, (expected, a + b), strict=True):
        assert array.is_null().to_pylist() == null.tolist()
        assert np.array_equal(array.to_numpy(zero_copy_only=False)[~null], values[~null])


def test_inputs_are_never_written_to() -> None:
    """Computing in place spares the caller's columns, and an output that another one reads."""
    a = pa.array(np.arange(10.0))
    got = score("a * 2 AS x, x + 1 AS y, -x AS z, a AS w, x AS v", a=a)
    x = [2.0 * n for n in range(10)]
    assert got == [x, [n + 1 for n in x], [-n for n in x], [float(n) for n in range(10)], x]
    assert a.to_pylist() == [float(n) for n in range(10)]


def test_a_later_output_uses_an_earlier_one() -> None:
    """An earlier output's name hides a column of that name in what follows, not in its own expression."""
    assert score("a + 1 AS a, a * 10 AS b", a=pa.array([1.0])) == [[2.0], [20.0]]
    assert compile_score_code("a + 1 AS b, b * c AS d").inputs == ("a", "c")


def test_shared_parts_are_computed_once() -> None:
    """Equal sub-expressions are one node, and constants are computed when the program is made."""
    code = compile_score_code("EXP(a * 2) + EXP(a * 2) AS x, EXP(a * 2) / (1 + 1) AS y")
    ops = [node.op for node in code.bind(pa.schema([("a", pa.float64())])).nodes]
    assert ops.count(Op.EXP) == ops.count(Op.MUL) == 1
    assert ops.count(Op.ADD) == 1


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("a AS x", ColumnType.FLOAT64),
        ("a + 1 AS x", ColumnType.FLOAT64),
        ("CASE WHEN a > 1 THEN 1 ELSE 0 END AS x", ColumnType.INT64),
        ("CAST(a AS BIGINT) AS x", ColumnType.INT64),
        ("LENGTH(a) AS x", ColumnType.INT64),
        ("a > 1 AS x", ColumnType.BOOL),
        ("NOT a AS x", ColumnType.BOOL),
        ("COALESCE(a, 'none') AS x", ColumnType.STRING),
        ("CASE WHEN b = 1 THEN a ELSE 'z' END AS x", ColumnType.STRING),
        ("NULLIF(a, b) AS x, UPPER(b) AS y", ColumnType.STRING),
        ("CASE WHEN a IS NULL THEN NULL END AS x", ColumnType.FLOAT64),
    ],
)
def test_output_types_follow_from_the_text(text: str, type_: ColumnType) -> None:
    """The types of outputs are known without a table."""
    assert score_code_schema(text).outputs[0].type is type_


def test_features_that_are_text_say_so() -> None:
    """A column that is used as text is a text feature."""
    features = score_code_schema("CASE WHEN s = 'x' AND UPPER(t) LIKE 'A%' THEN a ELSE b END AS x").features
    assert {feature.name: feature.text for feature in features} == {
        "s": True,
        "t": True,
        "a": False,
        "b": False,
    }


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2, None, 4], pa.int8()),
        pa.array([1, 2, None, 4], pa.uint64()),
        pa.array([1.0, 2.0, None, 4.0], pa.float16()),
        pa.array([1.0, 2.0, None, 4.0], pa.float32()),
        pa.array([1, 2, None, 4]).cast(pa.decimal128(21, 1)),
        pa.array([1, 2, None, 4]).dictionary_encode(),
        pa.array([9, 9, 1, 2, None, 4, 9]).slice(2, 4),
    ],
)
def test_numbers_of_any_type_score_alike(column: Any) -> None:
    """A promised double is a double, whatever number the column holds."""
    scorer = ExpressionScorer("a AS x, a * 2 AS y, a > 1 AS z")
    x, y, z = scorer.score([column], CpuLane())
    assert (x.type, y.type, z.type) == (pa.float64(), pa.float64(), pa.bool_())
    assert (x.to_pylist(), y.to_pylist()) == ([1.0, 2.0, None, 4.0], [2.0, 4.0, None, 8.0])
    assert z.to_pylist() == [False, True, None, True]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x", None, "y"]),
        pa.array(["x", None, "y"], pa.large_string()),
        pa.array(["x", None, "y"], pa.string_view()),
        pa.array(["x", None, "y"]).dictionary_encode(),
        pa.array(["q", "x", None, "y"]).slice(1),
    ],
)
def test_text_of_any_layout_scores_alike(column: Any) -> None:
    """Text columns of every Arrow layout give the same scores."""
    expected = [["X", None, "Y"], [1.0, 0.0, 0.0]]
    assert (
        score("UPPER(s) AS u, CAST(CASE WHEN s = 'x' THEN 1 ELSE 0 END AS DOUBLE) AS v", s=column) == expected
    )


def test_flags_and_columns_of_nulls_score() -> None:
    """Bit-packed flags with an offset, and columns that hold nothing but nulls, are read right."""
    flags = pa.array([True, None, False, True, None]).slice(1)
    assert score("CASE WHEN f THEN 1 ELSE 0 END AS x, NOT f AS y", f=flags) == [
        [0, 0, 1, 0],
        [None, True, False, None],
    ]
    for nulls in (pa.nulls(3), pa.nulls(3, pa.int32()), pa.nulls(3, pa.float64())):
        assert score("a * 2 AS x, COALESCE(a, 5) AS y, a IS NULL AS z", a=nulls) == [
            [None] * 3,
            [5.0] * 3,
            [True] * 3,
        ]


def test_text_where_a_number_was_promised_is_refused() -> None:
    """A text column that is given out as it is has to be CAST, for its type is promised without a table."""
    with pytest.raises(ScorestreamError) as caught:
        score("s AS x", s=pa.array(["a"]))
    assert caught.value.reason == "EXPRESSION_TYPE"
    assert "CAST(... AS VARCHAR)" in caught.value.message
    assert score("CAST(s AS VARCHAR) AS x", s=pa.array(["a"])) == [["a"]]
    assert score("CAST(d AS VARCHAR) AS x", d=pa.array([0, None], pa.date32())) == [["1970-01-01", None]]


def test_a_value_that_does_not_fit_is_refused_by_column() -> None:
    """An unsigned number over 2**63 names its column."""
    with pytest.raises(ScorestreamError) as caught:
        score("a AS x", a=pa.array([2**64 - 1], pa.uint64()))
    assert caught.value.reason == "COLUMN_VALUE"
    assert "a" in caught.value.message


def test_files_hold_a_list_or_a_select_with_comments(tmp_path: Path) -> None:
    """A .sql file may begin with SELECT or a byte order mark, and hold comments and quoted names."""
    path = tmp_path / "score.sql"
    path.write_text(
        '\ufeff-- a model\nSELECT\n  "odd name" * 2 /* twice */ AS "a b", -- first\n  a AS c;\n', "utf-8"
    )
    schema = ExpressionScorer.from_file(path).schema
    assert [feature.name for feature in schema.features] == ["odd name", "a"]
    assert [output.name for output in schema.outputs] == ["a b", "c"]
    for data, reason in ((b"\xff\xfe a", "EXPRESSION_SYNTAX"), (b" " * 70_000, "EXPRESSION_TOO_LARGE")):
        path.write_bytes(data)
        with pytest.raises(ScorestreamError) as caught:
            ExpressionScorer.from_file(path)
        assert caught.value.reason == reason


def test_where_columns_come_in_order_of_use() -> None:
    """The columns of a condition are listed once each, as they appear."""
    assert where_columns('z > 1 AND a = z OR NOT "b c" IS NULL') == ("z", "a", "b c")


def test_programs_run_on_any_module_like_numpy() -> None:
    """Programs of numbers use only what an array module passed in offers."""
    used = set()

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            used.add(name)
            return getattr(np, name)

    code = compile_score_code("SQRT(ABS(a)) + CASE WHEN a > 1 THEN 1 ELSE 2 END AS x")
    program = code.bind(pa.schema([("a", pa.float64())]))
    assert isinstance(program, Program)
    assert program.inputs[0].type is Type.FLOAT
    (result,) = evaluate(Recorder(), program, [Vector(np.array([4.0, -1.0]))])
    assert result.values.tolist() == [3.0, 3.0]
    assert {"sqrt", "abs", "add", "where", "greater"} <= used


def test_the_parser_is_imported_only_when_there_is_something_to_parse() -> None:
    """A worker that scores forests alone does not pay for importing the parser."""
    code = "import sys, scorestream_server.scoring.expression; sys.exit('sqlglot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_terms_of_a_where_are_conditions_of_their_own() -> None:
    """Each term of a top-level AND comes with just its columns; together they keep what the whole keeps."""
    rows = pa.table({"a": [1, 2, 3, None], "b": [1.0, 5.0, 9.0, 9.0], "c": ["x", "y", "x", "x"]})
    text = "a >= 2 AND (b > 4 OR c = 'y') AND NOT (a = 9 AND b = 9)"
    conditions = compile_conditions(text, rows.schema)
    assert sorted(columns for _, columns in conditions) == [("a",), ("a", "b"), ("b", "c")]
    kept = rows
    for expression, _ in conditions:
        kept = kept.filter(expression)
    assert kept == rows.filter(compile_where(text, rows.schema))
    assert kept["a"].to_pylist() == [2, 3]
