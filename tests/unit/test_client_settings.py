"""Values on their way to the server and back, and in which language score code is taken to be."""

import datetime as dt
from typing import Any

import numpy as np
import pytest

from scorestream.cli.variable import typed_value
from scorestream.errors import InvalidArgumentError
from scorestream.language import language_of
from scorestream.settings import type_of_value, variable_from_wire, variable_to_wire

UTC_TEN = dt.datetime(2024, 2, 29, 10, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "kind", "sent", "back"),
    [
        (0.5, None, "double_value", 0.5),
        (1, "double", "double_value", 1.0),
        (np.float32(0.5), None, "double_value", 0.5),
        (np.int16(3), None, "int_value", 3),
        (np.bool_(True), None, "boolean_value", True),
        (True, None, "boolean_value", True),
        ("true", None, "string_value", "true"),
        (dt.date(2024, 2, 29), None, "date_value", dt.date(2024, 2, 29)),
        ("2024-02-29", "date", "date_value", dt.date(2024, 2, 29)),
        (UTC_TEN, None, "timestamp_value", UTC_TEN.replace(tzinfo=None)),
    ],
)
def test_a_value_goes_and_comes_back_with_its_type(
    value: Any, kind: str | None, sent: str, back: Any
) -> None:
    message = variable_to_wire("v", value, kind)
    assert message.WhichOneof("kind") == sent
    found = variable_from_wire(message)
    assert found == back
    assert type(found) is type(back)
    assert type_of_value(found) == sent.removesuffix("_value")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "int"),
        (1.0, "int"),
        (True, "double"),
        (1, "string"),
        (2**63, None),
        (None, None),
        (1, "decimal"),
        (b"x", None),
    ],
)
def test_a_value_of_another_type_is_refused_before_it_is_sent(value: Any, kind: str | None) -> None:
    with pytest.raises(InvalidArgumentError, match="Variable v:"):
        variable_to_wire("v", value, kind)


@pytest.mark.parametrize(
    ("word", "kind", "value"),
    [
        ("007", "", 7),
        ("007", "string", "007"),
        ("-1.5e3", "", -1500.0),
        ("True", "", True),
        ("2024-02-29", "", dt.date(2024, 2, 29)),
        ("2024-02-30", "", "2024-02-30"),
        ("20240229", "", 20_240_229),
        ("2024-02-29 12:00:00", "timestamp", "2024-02-29 12:00:00"),
        ("", "", ""),
    ],
)
def test_a_word_on_the_command_line_is_what_it_looks_like(word: str, kind: str, value: Any) -> None:
    found = typed_value(word, kind)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("source", "language"),
    [
        ("dcl double p; method score(double a); end;", "ds2"),
        ("\n /* a * b */ DECLARE  char(3) c;", "ds2"),
        ("method score(double a);", "ds2"),
        ("data; method run();", "ds2"),
        ("data work.out;", "ds2"),
        ("package p / overwrite=yes;", "ds2"),
        ("a * 2 AS score", "sql"),
        ("SELECT method AS a, data AS b", "sql"),
        ("data AS b", "sql"),
        ("data IS NULL AS b, method IN (1, 2) AS c", "sql"),
        ("method in (1, 2) AS c", "sql"),
        ("dcl + 1 AS x", "sql"),
        ("declare AS x", "sql"),
        ("", "sql"),
        ("/**/" * 20_000, "sql"),
    ],
)
def test_the_language_is_told_by_how_a_text_begins(source: str, language: str) -> None:
    assert language_of(source) == language
    assert language_of(source, "SQL") == "sql"
