"""Columns that an expression names and a table has not, or that it cannot use: all told at once, in their places."""

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.errors import FieldFault, ScorestreamError
from scorestream_server.scoring.expression import compile_score_code, compile_where

SCHEMA = pa.schema([("Income", pa.float64()), ("age", pa.int64()), ("l", pa.list_(pa.int8()))])


def refusal(call: Callable[[], Any]) -> ScorestreamError:
    with pytest.raises(ScorestreamError) as caught:
        call()
    return caught.value


def test_an_unknown_column_is_shown_in_its_place() -> None:
    """Line and column of its first use, as for a mistake in the syntax, and the name that was probably meant."""
    text = "age > 1 AND\n  (age < agee\n  OR agee = 2)"
    error = refusal(lambda: compile_where(text, SCHEMA))
    assert error.message == (
        "There is no column agee; did you mean age? (line 2, column 10)\n    (age < agee\n           ^^^^"
    )
    assert error.metadata == {"line": "2", "column": "10", "text": "agee"}
    description = "There is no column agee; did you mean age? (line 2, column 10)"
    assert error.faults == (FieldFault("agee", description),)


def test_all_columns_that_cannot_be_used_are_told_at_once_with_their_places() -> None:
    """Missing columns and those of other types, in the order of the text; the first is shown."""
    text = 'age * 2 AS twice,\n  "income" + twice + zip + l +\n  income AS score'
    error = refusal(lambda: compile_score_code(text).bind(SCHEMA))
    assert error.reason == "UNKNOWN_COLUMN"
    assert {fault.field: fault.description for fault in error.faults} == {
        "income": "There is no column income; did you mean Income (upper and lower case differ)? (line 2, column 3)",
        "zip": "There is no column zip (line 2, column 22)",
        "l": f"Column l has type {pa.list_(pa.int8())}, which an expression cannot use (line 2, column 28)",
    }
    told, shown, pointer = error.message.split("\n")
    assert told == ". ".join(fault.description for fault in error.faults)
    assert (shown.strip(), pointer) == ('"income" + twice + zip + l +', "    ^^^^^^^^")


def test_columns_that_cannot_be_used_are_named_at_once() -> None:
    """Columns of other types, or there twice, are refused by name and type."""
    schema = pa.schema([("l", pa.list_(pa.int8())), ("b", pa.binary()), ("d", pa.int8()), ("d", pa.int8())])
    error = refusal(lambda: compile_where("l = 1 AND b = 'x' AND d = 1", schema))
    assert error.reason == "EXPRESSION_TYPE"
    assert [fault.field for fault in error.faults] == ["l", "b", "d"]
    for fault, column in zip(error.faults, (1, 11, 23), strict=True):
        assert fault.description.endswith(f" cannot use (line 1, column {column})")


@given(st.lists(st.sampled_from(["age", "nope", "gone", "Income", "lost"]), min_size=1), st.data())
def test_the_place_of_an_unknown_column_is_where_it_stands(names: list[str], data: st.DataObject) -> None:
    """However a text is broken into lines, each unknown column is found at the line and column told."""
    signs = st.sampled_from([" + ", "+", "\n+ ", " +\n\n  "])
    text = names[0] + "".join(data.draw(signs) + name for name in names[1:]) + " > 1"
    unknown = list(dict.fromkeys(name for name in names if name not in SCHEMA.names))
    if not unknown:
        compile_where(text, SCHEMA)
        return
    error = refusal(lambda: compile_where(text, SCHEMA))
    assert [fault.field for fault in error.faults] == unknown
    for fault in error.faults:
        line, column = map(int, re.findall(r"\d+", fault.description)[-2:])
        assert text.split("\n")[line - 1][column - 1 :].startswith(fault.field)


def test_a_wide_model_on_the_wrong_table_gets_few_suggestions() -> None:
    """Near names are looked for only as far as they are shown: for 2,000 columns it would take minutes."""
    schema = pa.schema([(f"feature_{place:04}", pa.float64()) for place in range(2_000)])
    code = compile_score_code(" + ".join(f"features_{place:04}" for place in range(2_000)) + " AS score")
    error = refusal(lambda: code.bind(schema))
    assert len(error.faults) == 2_000
    assert sum("did you mean" in fault.description for fault in error.faults) == 10
    assert "And 1,990 more\n" in error.message
