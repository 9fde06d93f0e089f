"""Rows that cannot be scored: ERROR and its branches, values that do not fit, texts that are put together."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from scorestream_server.device.cpu import CpuLane
from scorestream_server.device.program_types import MOST_TEXT_BYTES
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.model import ColumnType, Feature, ModelKind, ModelSchema, OutputColumn
from scorestream_server.domain.row_error import LONGEST_REASON, OnRowError
from scorestream_server.scoring.artifacts import MOST_ROW_BYTES, declared, refuse_large
from scorestream_server.scoring.check import with_row_errors
from scorestream_server.scoring.expression import ExpressionScorer, score_code_schema
from scorestream_server.scoring.feature_columns import float_columns
from scorestream_server.scoring.row_errors import RowErrors
from unit.error_cases import ROWS, TABLE, Tree, outcome, sql, trees

LANE = CpuLane()


def scored(text: str, table: pa.Table) -> tuple[list[list[object]], list[str | None]]:
    """Return the outputs of score code, with null in the rows that it gives up, and why it does."""
    scorer = ExpressionScorer(text)
    columns = [table[feature.name].combine_chunks() for feature in scorer.schema.features]
    errors = RowErrors(table.num_rows)
    made = scorer.score(columns, LANE, errors)
    return [column.to_pylist() for column in errors.without_values(made)], errors.column().to_pylist()


def one_error(text: str, table: pa.Table) -> str | None:
    (error,) = scored(text, table)[1]
    return error


@settings(max_examples=40, deadline=None)
@given(trees())
def test_a_row_fails_of_the_first_error_that_it_comes_to(tree: Tree) -> None:
    """Whatever the tree: what a CASE does not take, and COALESCE does not come to, is no error."""
    values, errors = scored(f"a AS uses, {sql(tree)} AS y", TABLE)
    expected = [outcome(tree, row) for row in ROWS]
    assert list(zip(values[1], errors, strict=True)) == expected


def test_of_several_outputs_the_first_with_an_error_counts() -> None:
    table = pa.table({"a": [1.0, -1.0, 3.0]})
    text = "CASE WHEN a < 0 THEN ERROR('negative') ELSE a END AS x, CASE WHEN a < 2 THEN ERROR('small') ELSE 'ok' END AS y"
    values, errors = scored(text, table)
    assert errors == ["small", "negative", None]
    assert values == [[None, None, 3.0], [None, None, "ok"]]


def test_an_output_that_uses_another_one_fails_with_it() -> None:
    values, errors = scored("COALESCE(a, ERROR('no a')) AS x, x * 2 AS y", pa.table({"a": [1.0, None]}))
    assert (values, errors) == ([[1.0, None], [2.0, None]], [None, "no a"])


def test_reasons_are_put_together_from_the_row_and_cut() -> None:
    table = pa.table({"a": [-5.0, None], "s": ["x" * 2000, "b"]})
    text = "CASE WHEN a > 0 THEN a ELSE ERROR(s || ' has ' || FORMAT(a, 2)) END AS y"
    assert scored(text, table)[1] == ["x" * LONGEST_REASON, "the score code gives no reason"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ERROR(a) AS y", "needs text"),
        ("ERROR() AS y, a AS z", "takes 1 value"),
        ("ERROR('a', 'b') AS y, a AS z", "takes 1 value"),
        ("FORMAT(a, a) AS y", "FORMAT takes a whole number literal from 0 to 15"),
        ("FORMAT(a, 2, '.') AS y", "what stands between thousands"),
        ("FORMAT('a', 2) AS y, a AS z", "needs a number"),
        ("'x' || (a + 1) AS y", "needs text"),
    ],
)
def test_what_cannot_be_is_refused_at_registration(text: str, reason: str) -> None:
    with pytest.raises(ScorestreamError, match="(?s)" + reason) as caught:
        score_code_schema(text.replace("ERROR(a)", "ERROR(a + 1)"))
    assert caught.value.reason == "EXPRESSION_TYPE"


def test_only_code_that_can_give_rows_up_says_so() -> None:
    assert not score_code_schema("a / b AS y, UPPER(s) AS t").row_errors
    assert not score_code_schema("CASE WHEN a > 0 THEN 'a' || 'b' END AS y").row_errors
    assert score_code_schema("CASE WHEN a > 0 THEN a ELSE ERROR('x') END AS y").row_errors
    assert score_code_schema("a || 'b' AS y").row_errors  # which may become too long


@pytest.mark.parametrize(
    ("number", "text", "expected"),
    [
        (1234567.891, "FORMAT(a, 2)", "1234567.89"),
        (1234567.891, "FORMAT(a, 2, ',')", "1,234,567.89"),
        (-1234567.0, "FORMAT(a, 0, ' ')", "-1 234 567"),
        (999.5, "FORMAT(a, 0, ',')", "1,000"),
        (-0.004, "FORMAT(a, 2)", "0.00"),
        (2.5, "FORMAT(a, 0)", "3"),
        (-2.5, "FORMAT(a, 0)", "-3"),
        (123456789012345.0, "FORMAT(a, 1, ',')", "123,456,789,012,345.0"),
        (1e15, "FORMAT(a, 0)", None),
        (float("nan"), "FORMAT(a, 0)", None),
        (float("-inf"), "FORMAT(a, 0)", None),
        (None, "FORMAT(a, 0)", None),
        (None, "'x' || CAST(a AS VARCHAR)", None),
        (None, "CONCAT('x', CAST(a AS VARCHAR), 'y')", "xy"),
        (2.0, "CONCAT('x')", "x"),
        (2.0, "'a' || 'b' || CAST(a AS VARCHAR) || 'c'", "ab2c"),
    ],
)
def test_texts_are_made_as_it_is_written(number: float | None, text: str, expected: str | None) -> None:
    values, errors = scored(f"a AS uses, {text} AS t", pa.table({"a": pa.array([number], pa.float64())}))
    assert (values[1], errors) == ([expected], [None])


def test_a_text_that_grows_without_end_is_an_error_before_it_is_made() -> None:
    """40 doublings would be a terabyte."""
    doubled = "".join(f", t{level} || t{level} AS t{level + 1}" for level in range(40))
    (outputs, errors) = scored(f"s AS t0{doubled}", pa.table({"s": ["a", ""]}))
    assert errors == [f"a text would be longer than {MOST_TEXT_BYTES:,} bytes", None]
    assert outputs[40] == [None, ""]


def test_a_text_that_is_not_needed_may_be_too_long() -> None:
    table = pa.table({"s": ["x" * MOST_TEXT_BYTES], "a": [1.0]})
    assert one_error("CASE WHEN a < 0 THEN s || s ELSE 'short' END AS t", table) is None
    assert one_error("CASE WHEN a > 0 THEN s || s ELSE 'short' END AS t", table) is not None


def test_a_value_that_fits_no_int64_is_its_rows_error() -> None:
    table = pa.table({"n": pa.array([1, 2**63, None, 2**63 - 1], pa.uint64())})
    values, errors = scored("n + 0 AS m", table)
    assert values == [[1.0, None, None, float(2**63 - 1)]]
    assert errors == [
        None,
        "column n has 9223372036854775808, which does not fit into 64 bits with a sign",
        None,
        None,
    ]


def test_an_unknown_category_is_its_rows_error() -> None:
    errors = RowErrors(3)
    columns = [pa.array(["a", "z", None]), pa.array([1.0, 2.0, 3.0])]
    features = [Feature("kind", ("a", "b")), Feature("size")]
    values = float_columns(
        columns,
        features,
        [("a", "b"), ()],
        np.array([True, True]),
        unknown_is_missing=False,
        errors=errors,
    )
    assert errors.column().to_pylist() == [
        None,
        "kind: 'z' is no category that the model was trained on",
        None,
    ]
    assert values[0][0] == 0


def test_the_column_is_there_where_it_was_asked_for_or_can_be_of_use() -> None:
    plain = pa.schema([("y", pa.float64())])
    with_column = plain.append(pa.field("row_error", pa.string()))
    keep, fail = OnRowError.KEEP, OnRowError.FAIL
    assert with_row_errors(plain, None, can_fail=False) == (plain, fail)
    assert with_row_errors(plain, None, can_fail=True) == (with_column, keep)
    assert with_row_errors(plain, keep, can_fail=False) == (with_column, keep)
    assert with_row_errors(plain, fail, can_fail=True) == (plain, fail)
    with pytest.raises(ScorestreamError, match="has a column 'row_error' already"):
        with_row_errors(with_column, keep, can_fail=True)


def schema_of(*outputs: str, kind: ModelKind = ModelKind.EXPRESSION) -> ModelSchema:
    made = tuple(
        OutputColumn(name, ColumnType.STRING if name.startswith("t") else ColumnType.FLOAT64)
        for name in outputs
    )
    return ModelSchema(kind, (), made, 1.0, "")


def test_declared_artifacts_are_no_outputs_any_more() -> None:
    schema = declared(schema_of("x", "t1", "t2"), {"b.txt": "t1", "a b-c_d.html": "t2"})
    assert [output.name for output in schema.outputs] == ["x"]
    assert [(artifact.name, artifact.output) for artifact in schema.artifacts] == [
        ("a b-c_d.html", "t2"),
        ("b.txt", "t1"),
    ]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "x.", " x", "x ", "x\n", "a\0b", "é", "x" * 129, "C:x"],
)
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ScorestreamError) as caught:
        declared(schema_of("x", "t"), {name: "t"})
    assert caught.value.reason == "INVALID_ARTIFACTS"


@pytest.mark.parametrize(
    ("schema", "artifacts", "told"),
    [
        (schema_of("x", "t"), {"a.txt": "tt"}, "did you mean 't'?"),
        (schema_of("x", "t"), {"a.txt": "x"}, "artifact is text"),
        (schema_of("t"), {"a.txt": "t"}, "no output is left"),
        (schema_of("x", "t"), {"a.txt": "t", "A.TXT": "t"}, "upper and lower case"),
        (schema_of("x", "t", kind=ModelKind.LIGHTGBM), {"a.txt": "t"}, "only score code"),
        (schema_of("x", "t"), {f"{number}.txt": "t" for number in range(33)}, "more than 32"),
    ],
)
def test_artifacts_that_cannot_be_are_refused(
    schema: ModelSchema, artifacts: dict[str, str], told: str
) -> None:
    with pytest.raises(ScorestreamError, match=told.replace("?", r"\?")):
        declared(schema, artifacts)


def test_artifacts_that_are_too_large_are_their_rows_error() -> None:
    schema = declared(schema_of("x", "t1", "t2"), {"a.txt": "t1", "b.txt": "t2"})
    half = "x" * (MOST_ROW_BYTES // 2)
    columns = [pa.array([half, half, None]), pa.array([half, half + "x", "y"])]
    errors = RowErrors(3)
    refuse_large(schema.artifacts, columns, errors)
    assert errors.column().to_pylist() == [
        None,
        f"its artifacts have {MOST_ROW_BYTES + 1:,} bytes; at most {MOST_ROW_BYTES:,} are allowed",
        None,
    ]
