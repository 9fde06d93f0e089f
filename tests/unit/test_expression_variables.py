"""Variables in expressions are typed literals: what they hold is never read as SQL."""

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.variable import (
    MOST_TEXT_BYTES,
    Variable,
    VariableType,
    VariableValue,
    checked_variable,
    merged,
)
from scorestream_server.scoring.expression import (
    ExpressionScorer,
    compile_conditions,
    compile_score_code,
    score_code_schema,
    where_parameters,
    where_program,
)
from unit.expression_cases import SCHEMA, run

TABLE = pa.table(
    {"i": [1, 2], "j": [3, 4], "x": [0.5, 1.5], "y": [1.0, 2.0], "s": ["a", "b"], "f": [True, False]}, SCHEMA
)


def variable(name: str, kind: str, value: VariableValue) -> Variable:
    return checked_variable("value", name, VariableType(kind), value)


def given_(**values: Any) -> tuple[Variable, ...]:
    """Return variables whose types are those of Python's values."""
    kinds = {bool: "boolean", int: "int", float: "double", str: "string"}
    return tuple(variable(name, kinds[type(value)], value) for name, value in values.items())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    value=st.one_of(
        st.text(max_size=40).filter(lambda text: "\ud800" not in text),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
    )
)
def test_any_value_is_itself(value: VariableValue) -> None:
    """A column with the value equals the variable, and one with another value does not."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return  # nothing that a message can hold
    other: Any = (not value) if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else None
    table = pa.table({"c": [value, other]})
    program = where_program("c = :value", table.schema, given_(value=value))
    assert run(program, table)[0] == [True, None if other is None else False]
    assert len(program.nodes) == 3


@pytest.mark.parametrize(
    "name", ["select", "end", "case", "null", "true", "and", "from", "group", "date", "_", "A1"]
)
def test_any_word_is_a_name(name: str) -> None:
    """Words of SQL too, anywhere that a value may stand."""
    values = given_(**{name: 2})
    text = f"CASE WHEN i=:{name} THEN -:{name} ELSE (:{name}+1) END IN (:{name}, -:{name})"
    assert where_parameters(text) == (name,)
    assert run(where_program(text, SCHEMA, values), TABLE)[0] == [False, True]


@pytest.mark.parametrize(
    ("text", "outputs", "taken"),
    [
        ("x * :f AS a", {"a": "float64"}, ("f",)),
        ("i > :c AS a, :c + x AS b", {"a": "bool", "b": "float64"}, ("c",)),
        ("s = :t AND f = :b AS a", {"a": "bool"}, ("t", "b")),
        ("CASE WHEN x > 1 THEN :u ELSE s || '' END AS a", {"a": "string"}, ("u",)),
        ("CASE WHEN x > 1 THEN :u ELSE s ~ '' END AS a", None, ()),
        ("CASE WHEN x > 1 THEN :u ELSE 'none' END AS a", {"a": "string"}, ("u",)),
        ("ROUND(x, :places) AS a", {"a": "float64"}, ("places",)),
        ("SUBSTRING(s, :from, :count) AS a", {"a": "string"}, ("from", "count")),
        ("s LIKE :p AS a, x LIKE 'x' AND FALSE AS b", {"a": "bool", "b": "bool"}, ("p",)),
        ("x > 1 AND CAST(:d AS DATE) > DATE '2024-01-01' AS a", {"a": "bool"}, ("d",)),
    ],
)
def test_score_code_registers_without_values(
    text: str, outputs: dict[str, str] | None, taken: tuple[str, ...]
) -> None:
    """The types of its outputs follow from the text, as with columns."""
    if outputs is None:
        with pytest.raises(ScorestreamError):
            score_code_schema(text)
        return
    code = compile_score_code(text)
    assert {output.name: output.type.value for output in code.outputs} == outputs
    assert code.syntax.parameters() == taken
    assert f"takes :{taken[0]}" in score_code_schema(text).description


def test_values_are_typed_when_a_job_binds_them() -> None:
    """A number of either kind is the number that was promised; text is not."""
    code = "x * :f AS scaled, s LIKE :p AS found"
    for factor in (2, 2.0):
        scorer = ExpressionScorer(code, given_(f=factor, p="a%"))
        scorer.check(SCHEMA)
        assert scorer.parameters == ("f", "p")
    with pytest.raises(ScorestreamError, match=r"this is text .*line 1, column 5") as caught:
        ExpressionScorer(code, given_(f="2", p="a%")).check(SCHEMA)
    assert caught.value.reason == "EXPRESSION_TYPE"
    assert caught.value.metadata["text"] == ":f"
    with pytest.raises(ScorestreamError) as unset:
        ExpressionScorer(code, given_(p="a%")).check(SCHEMA)
    assert unset.value.reason == "UNSET_VARIABLE"


def test_conditions_of_a_filter_get_the_values() -> None:
    table = pa.table({"d": pa.array([19_782, 19_783], pa.int32()).cast(pa.date32()), "x": [1.0, 2.0]})
    values = (variable("since", "date", "2024-02-29"), *given_(most=1.5))
    kept = table
    for expression, _ in compile_conditions("d >= :since AND x > :most", table.schema, values):
        kept = kept.filter(expression)
    assert kept["x"].to_pylist() == [2.0]


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("date", "2024-02-29", "2024-02-29"),
        ("date", "2024-02-30", None),
        ("date", "20240229", None),
        ("date", "2024-02-29 00:00:00", None),
        ("timestamp", "2024-02-29", "2024-02-29 00:00:00"),
        ("timestamp", "2024-02-29T12:00:00Z", "2024-02-29 12:00:00"),
        ("timestamp", "2024-02-29 12:00:00.000001+02:00", "2024-02-29 10:00:00.000001"),
        ("timestamp", "0001-01-01 00:00:00+14:00", None),
        ("timestamp", "yesterday", None),
        ("double", math.inf, None),
        ("double", math.nan, None),
        ("string", "é" * (MOST_TEXT_BYTES // 2), "é" * (MOST_TEXT_BYTES // 2)),
        ("string", "é" * (MOST_TEXT_BYTES // 2) + "x", None),
    ],
)
def test_values_are_checked_and_written_in_one_way(kind: str, value: Any, kept: Any) -> None:
    if kept is None:
        with pytest.raises(ScorestreamError) as caught:
            variable("v", kind, value)
        assert caught.value.reason == "INVALID_VARIABLE"
        assert caught.value.faults
    else:
        assert variable("v", kind, value).value == kept


def test_a_jobs_own_values_win() -> None:
    assert merged(given_(b=1, a=2), given_(b=3, c=4)) == given_(a=2, b=3, c=4)
