"""A number means in score code and in `where` what it means in Python, however it is spelled."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.scoring.expression import compile_score_code, compile_where

SCHEMA = pa.schema([("x", pa.float64()), ("y", pa.float64())])
DIGITS = st.text("0123456789", min_size=1, max_size=12)


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A float as both languages spell it: digits on at least one side of a point, or an exponent."""
    sign = draw(st.sampled_from(["", "-", "+"]))
    exponent = draw(
        st.just("")
        | st.builds(
            "{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.integers(0, 280)
        )
    )
    whole, fraction = draw(DIGITS), draw(DIGITS)
    forms = [f"{whole}.{fraction}", f".{fraction}", f"{whole}."] + ([whole] if exponent else [])
    return f"{sign}{draw(st.sampled_from(forms))}{exponent}"


@given(spellings())
def test_a_float_is_the_same_number_as_in_python(text: str) -> None:
    """Bit for bit, the sign of zero too; and `where` reads it as score code does."""
    program = compile_score_code(f"{text} AS number, x AS input").bind(SCHEMA)
    value = program.nodes[program.outputs[0].node].value
    assert type(value) is float
    assert (value, math.copysign(1, value)) == (float(text), math.copysign(1, float(text)))
    assert compile_where(f"x > {text}", SCHEMA).equals(compile_where(f"x > {value!r}", SCHEMA))


@pytest.mark.parametrize(
    "template",
    [
        "x > {}",
        "x>{}",
        "x > -{}",
        "x > - {}",
        "{} < x",
        "({})<x",
        "x*{}>{}",
        "x /{} > 1",
        "x BETWEEN {} AND {}",
        "x IN ({},{}, 1)",
        "x <> 1 AND NOT x={}",
        "CASE WHEN x>{} THEN {} ELSE {} END > {}",
        "COALESCE(x, {}) > y+{}",
        "x >/* a comment */{}",
        "x >\n{}",
    ],
)
@pytest.mark.parametrize("number", [".2", ".5e-3", ".5E+3", ".0"])
def test_a_number_needs_no_zero_before_its_point(template: str, number: str) -> None:
    """Wherever 0.2 can stand, .2 can, and it means the same."""
    short, long = template.replace("{}", number), template.replace("{}", f"0{number}")
    assert compile_where(short, SCHEMA).equals(compile_where(long, SCHEMA))
    assert compile_score_code(f"{short} AS a").bind(SCHEMA) == compile_score_code(f"{long} AS a").bind(SCHEMA)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("x.5 > 1", 2),
        ("(x).5 > 1", 4),
        ('"x".5 > 1', 4),
        ("1..5 < x", 3),
        ("1.5.5 < x", 4),
        (". 5 < x", 1),
        ("x > ..5", 5),
        ("x .5 > 1", 3),
        ("x > .5.5", 5),
        ("x > .5 .5", 8),
        ("x > .", 5),
    ],
)
def test_a_point_that_begins_no_number_is_refused_with_its_place(text: str, column: int) -> None:
    """What looks like a part of a table, or like two numbers, is not guessed at."""
    with pytest.raises(ScorestreamError) as caught:
        compile_where(text, SCHEMA)
    assert caught.value.reason in {"FORBIDDEN_SYNTAX", "EXPRESSION_SYNTAX"}
    assert (caught.value.metadata["line"], caught.value.metadata["column"]) == ("1", str(column))
