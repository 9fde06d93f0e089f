"""DS2 score code means what SAS says it means, and what is outside the subset is refused with its place."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings

from scorestream_server.device.cpu import CpuDevice
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.model import ModelKind
from scorestream_server.scoring.expression import compile_score_code, score_code_schema
from scorestream_server.scoring.kinds import KINDS
from scorestream_server.scoring.load import detect_kind, inspect_model, load_scorer
from unit.ds2_cases import NAN, OutOfRangeError, Program, interpreted, programs, tables, text_of
from unit.expression_cases import run, same

DOCUMENT = """
dcl double p_var1;
p_var1=0;
method score(double var1, double var2, double var3, double p_var1);
p_var1 = var1 * 0.5 + var2 * 0.2 + var3 * 0.3;
END;
"""


def given_out(text: str, table: pa.Table) -> dict[str, list[Any]]:
    code = compile_score_code(text, ModelKind.DS2)
    found = run(code.bind(table.schema), table)
    return dict(zip((output.name for output in code.outputs), found, strict=True))


def p_of(expression: str, **columns: Any) -> Any:
    """Return what an expression gives for one row of columns of numbers."""
    names = ", ".join(f"double {name}" for name in columns)
    table = pa.table({name: pa.array([value], pa.float64()) for name, value in columns.items()})
    return given_out(f"method s({names}, in_out double p); p = {expression}; end;", table)["p"][0]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(), tables())
def test_any_program_is_what_a_plain_interpreter_makes_of_it(program: Program, table: pa.Table) -> None:
    """Row by row, in Python, from its statements and not from its text."""
    try:
        expected = interpreted(program.statements, table)
    except OutOfRangeError:
        assume(condition=False)
    try:
        found = given_out(program.text, table)
    except ScorestreamError as error:
        if error.reason != "NO_INPUT":  # nothing that it gives out depends on a column
            raise
        return
    for name, values in expected.items():
        told = (name, program.text, found[name], values)
        assert all(map(same, found[name], values)), told


def test_a6_the_documents_method_has_its_inputs_and_its_output() -> None:
    schema = score_code_schema(DOCUMENT, ModelKind.DS2)
    assert [feature.name for feature in schema.features] == ["var1", "var2", "var3"]
    assert [(output.name, output.type) for output in schema.outputs] == [("p_var1", "float64")]
    rows = pa.table({"var1": [1.0, None], "var2": [2, 2], "var3": [3.0, 3.0]})
    assert given_out(DOCUMENT, rows) == {"p_var1": [1 * 0.5 + 2 * 0.2 + 3 * 0.3, None]}


@pytest.mark.parametrize(
    ("expression", "a", "expected"),
    [
        ("a + 1", None, None),
        ("a + 1", NAN, None),
        ("a < 0", None, 1.0),
        ("a < 0", NAN, 1.0),
        ("a <= .", None, 1.0),
        ("a = .", NAN, 1.0),
        ("a ^= .", 1.0, 1.0),
        ("a > .", 0.0, 1.0),
        ("a > .", None, 0.0),
        ("not a", None, 1.0),
        ("(a > 1) + (a > 2) * 10", 3.0, 11.0),
        ("-a**2", 3.0, -9.0),
        ("2**3**a", 2.0, 512.0),
        ("a**-1", 4.0, 0.25),
        ("a**0.5", -1.0, None),
        ("1/a", 0.0, None),
        ("log(a)", 0.0, None),
        ("sqrt(a)", -1.0, None),
        ("exp(a)", 1000.0, None),
        ("a * 1e308 * 10", 1.0, None),
        ("1 / (a * 1e308 * 10)", 1.0, 0.0),
        ("a - a", float("inf"), None),
        ("max(a, 1)", None, 1.0),
        ("min(a, .)", None, None),
        ("sum(a, 1, .)", 2.0, 3.0),
        ("sum(a, a, -1e308)", 1e308, None),
        ("coalesce(a, ., 7)", NAN, 7.0),
        ("nmiss(a, ., 1)", None, 2.0),
        ("n(a, ., 1)", None, 1.0),
        ("missing(a)", NAN, 1.0),
        ("int(a)", -1.5, -1.0),
        ("int(a)", 1e300, 1e300),
        ("floor(a)", -1.5, -2.0),
        ("mod(a, 3)", -7.0, -1.0),
        ("round(a, 0.1)", 0.25, 0.3),
        ("round(a, 100)", -150.0, -200.0),
        ("round(a)", 2.5, 3.0),
        ("log2(a) + log10(100)", 8.0, 5.0),
        ("ifn(a, 1, 2)", None, 2.0),
        ("ifn(a > 1, a, 2)", 5.0, 5.0),
        ("a in (1, -2, .)", -2.0, 1.0),
        ("a not in (1 2)", 3.0, 1.0),
        ("null", 1.0, None),
        ("a = 1 or a = 2 and a = 3", 1.0, 1.0),
    ],
)
def test_the_edges_are_sas(expression: str, a: Any, expected: Any) -> None:
    assert same(p_of(f"({expression}) + 0 * nmiss(a)", a=a), expected)


def test_texts_are_trimmed_cut_and_compared_without_blanks_at_their_ends() -> None:
    rows = pa.table({"s": ["ab  ", "abcd", None, "  "]})
    text = """
      dcl double same; dcl varchar(3) cut; dcl char(20) upper;
      method m(char(10) s);
        same = s = 'ab ';
        cut = s;
        if missing(s) then upper = 'none'; else upper = upcase(substr(s, 1, 2));
      end;"""
    assert given_out(text, rows) == {
        "same": [1.0, 0.0, 0.0, 0.0],
        "cut": ["ab", "abc", "", ""],
        "upper": ["AB", "AB", "none", "none"],
    }


def test_whole_numbers_are_cut() -> None:
    rows = pa.table({"a": [1.9, -1.9, 1e300, None]})
    text = "dcl bigint n; dcl double half; method m(double a); n = a; half = n / 2; end;"
    assert given_out(text, rows) == {"n": [1, -1, None, None], "half": [0.5, -0.5, None, None]}
    assert score_code_schema(text, ModelKind.DS2).outputs[0].type == "int64"


@pytest.mark.parametrize(
    ("text", "outputs", "inputs"),
    [
        ("dcl double g h; method m(double a); g = a; end;", ["g"], ["a"]),
        ("dcl double g, h; h = 1; method m(double a); g = h + a; end;", ["g", "h"], ["a"]),
        ("method m(double a, in_out double b); dcl double t; t = a; b = t; end;", ["b"], ["a"]),
        ("method m(double A, double b); B = a; end;", ["b"], ["A"]),
        ("method m(double a); a = a + 1; end;", ["a"], ["a"]),
        ("dcl double g; g = 1; method m(double a, double g); if a > 1 then g = 2; end;", ["g"], ["a"]),
        ("/* c */ method m(double unused, double a, in_out double b); b = a;; end;;", ["b"], ["a"]),
    ],
)
def test_what_is_given_out_follows_from_the_declarations(
    text: str, outputs: list[str], inputs: list[str]
) -> None:
    code = compile_score_code(text, ModelKind.DS2)
    assert [output.name for output in code.outputs] == outputs
    assert list(code.inputs) == inputs


@pytest.mark.parametrize(
    ("body", "reason", "place", "told"),
    [
        ("p = a", "EXPRESSION_SYNTAX", (2, 5), "ends too early"),
        ("p = 'a;", "EXPRESSION_SYNTAX", (2, 5), "never closed"),
        ("p = a; /* end;", "EXPRESSION_SYNTAX", (2, 8), "never closed"),
        ('p = "a"; end;', "FORBIDDEN_SYNTAX", (2, 5), "single quotes"),
        ("do i = 1 to 3; end; end;", "FORBIDDEN_SYNTAX", (2, 4), "loops"),
        ("p = a || a; end;", "FORBIDDEN_SYNTAX", (2, 8), "joining"),
        ("p = a <> 1; end;", "FORBIDDEN_SYNTAX", (2, 8), "^="),
        ("p = 1 < a < 3; end;", "FORBIDDEN_SYNTAX", (2, 11), "a < b AND b < c"),
        ("select (a); end; end;", "FORBIDDEN_SYNTAX", (2, 8), "IF"),
        ("return a; end;", "FORBIDDEN_SYNTAX", (2, 8), "assign"),
        ("set b; end;", "FORBIDDEN_SYNTAX", (2, 5), "parameters are the columns"),
        ("p = :x; end;", "FORBIDDEN_SYNTAX", (2, 5), "SQL score code"),
        ("p = &x; end;", "FORBIDDEN_SYNTAX", (2, 5), "macro"),
        ("p = .A; end;", "FORBIDDEN_SYNTAX", (2, 5), "only one"),
        ("end; method t(double a); end;", "FORBIDDEN_SYNTAX", (2, 6), "one method"),
        ("p = b; end;", "EXPRESSION_TYPE", (2, 5), "a column of the table is a parameter"),
        ("q = a; end;", "EXPRESSION_TYPE", (2, 1), "DCL DOUBLE q"),
        ("p = p + a; end;", "EXPRESSION_TYPE", (2, 5), "holds nothing yet"),
        ("p = absolute(a); end;", "EXPRESSION_TYPE", (2, 5), "The functions are ABS"),
        ("p = abs(a, a); end;", "EXPRESSION_TYPE", (2, 5), "takes 1 value and got 2"),
        ("p = 'a'; end;", "EXPRESSION_TYPE", (2, 5), "no conversions"),
        ("p = a = 'a'; end;", "EXPRESSION_TYPE", (2, 9), "compared with a number"),
        ("p = not a = 1; end;", "EXPRESSION_TYPE", (2, 5), "NOT (a = b)"),
        ("p = round(a, 0.25); end;", "EXPRESSION_TYPE", (2, 14), "power of ten"),
        ("p = missing(substr('abc', a)); end;", "EXPRESSION_TYPE", (2, 27), "literals"),
        ("p = 1e999; end;", "EXPRESSION_TYPE", (2, 5), "too large"),
        ("dcl double a; p = a; end;", "EXPRESSION_TYPE", (2, 12), "declared twice"),
        ("dcl char(0) c; p = a; end;", "EXPRESSION_TYPE", (2, 13), "characters long"),
        ("dcl char c; p = a; end;", "FORBIDDEN_SYNTAX", (2, 10), "CHAR(20)"),
        ("dcl date d; p = a; end;", "FORBIDDEN_SYNTAX", (2, 5), "dates"),
        ("dcl double d having label 'x'; end;", "FORBIDDEN_SYNTAX", (2, 27), "HAVING"),
        ("if a then " * 50 + "p = 1; end;", "EXPRESSION_TOO_LARGE", (2, 404), "nested"),
    ],
)
def test_what_is_outside_the_subset_is_refused_with_its_place(
    body: str, reason: str, place: tuple[int, int] | None, told: str
) -> None:
    """Line, column, and what to write instead."""
    with pytest.raises(ScorestreamError) as caught:
        compile_score_code(f"method m(double a, in_out double p);\n{body}", ModelKind.DS2)
    error = caught.value
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.reason == reason, error
    assert told in error.message
    if place:
        assert (int(error.metadata["line"]), int(error.metadata["column"])) == place, error


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "METHOD"),
        ("method m(double a); end;", "Nothing is given out"),
        ("method m(double a, in_out double p); p = 1; end;", "uses no column"),
        ("data out; method run(); set t; end; enddata;", "give the method alone"),
        ("package p; method m(); end; endpackage;", "give the method alone"),
        ("method m(double a) returns double; end;", "assign the result"),
        ("method m(double a, double a); a = 1; end;", "two parameters"),
        ("dcl char(3) a; method m(double a); a = 1; end;", "text and as a number"),
        ("x" * 70_000, "longer than 64 KiB"),
        ("method m(double a, in_out double p); p = a; " + "p = p * p + p;" * 4000 + "end;", "operations"),
    ],
)
def test_a_text_that_is_no_method_is_refused(text: str, told: str) -> None:
    with pytest.raises(ScorestreamError, match="(?s)" + told):
        compile_score_code(text, ModelKind.DS2)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ScorestreamError) as caught:
        compile_score_code(
            "method m(double rate, in_out double p);\np = rat + x;\nq = p;\nend;", ModelKind.DS2
        )
    assert [fault.description.partition(";")[0] for fault in caught.value.faults] == [
        "rat is not declared",
        "x is not declared",
        "q is not declared",
    ]
    assert "did you mean rate? (line 2, column 5)" in caught.value.message


def test_columns_that_do_not_fit_are_named_with_the_parameters_place() -> None:
    code = compile_score_code(
        "method m(double a, char(3) s, in_out double p); if s = 'x' then p = a; end;", ModelKind.DS2
    )
    with pytest.raises(ScorestreamError) as caught:
        code.bind(pa.schema([("a", pa.string()), ("S", pa.string())]))
    assert "Column a has type string, and is declared as a number (line 1, column 17)" in caught.value.message
    assert "There is no column s; did you mean S (upper and lower case differ)?" in caught.value.message
    with pytest.raises(ScorestreamError, match="declared as text"):
        code.bind(pa.schema([("a", pa.int8()), ("s", pa.int8())]))


def test_size_grows_with_the_text_and_not_with_what_it_repeats() -> None:
    """Each statement uses what the one before it computed, twice."""
    text = "method m(double a, in_out double p); p = a; " + "p = p + p;" * 500 + "end;"
    program = compile_score_code(text, ModelKind.DS2).bind(pa.schema([("a", pa.float64())]))
    assert len(program.nodes) < 10_000
    assert run(program, pa.table({"a": [0.0, 1.0]}))[0] == [0.0, 2.0**500]


def test_long_chains_cost_no_stack() -> None:
    for text in (
        "+".join(["a"] * 2000),
        "(" * 2000 + "a" + ")" * 2000,
        "-" * 2000 + "a",
        "a" + "**1" * 1000,
    ):
        assert p_of(text, a=1.0) in {1.0, 2000.0}
    chain = "".join(f"if a = {number} then p = {number * 2}; else " for number in range(300))
    rows = pa.table({"a": [0.0, 299.0, 300.0]})
    text = f"method m(double a, in_out double p); {chain} p = -1; end;"
    assert given_out(text, rows) == {"p": [0.0, 598.0, -1.0]}


@pytest.mark.parametrize("ending", KINDS[ModelKind.DS2].endings)
def test_a_file_is_loaded_by_its_ending(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"score{ending}"
    path.write_bytes(b"\xef\xbb\xbf" + DOCUMENT.encode())
    assert detect_kind(path) is ModelKind.DS2
    assert inspect_model(path).kind is ModelKind.DS2
    device = CpuDevice()
    scorer = load_scorer(path, ModelKind.DS2, device)
    (scores,) = scorer.score([pa.array([1.0]), pa.array([2.0]), pa.array([3.0])], device.open_lane())
    assert scores.to_pylist() == [1 * 0.5 + 2 * 0.2 + 3 * 0.3]


def test_every_kind_of_model_says_what_it_is() -> None:
    assert set(KINDS) == set(ModelKind)


def test_a_program_can_be_written_in_many_ways() -> None:
    statements = [("assign", "p", ("binary", "ne", ("name", "a"), ("prefix", "not", ("name", "b"))))]
    texts = {text_of(statements, spelling) for spelling in range(6)}
    assert len(texts) > 3
    rows = pa.table({"a": [1.0], "b": [0.0], "k": [1], "s": ["x"]})
    assert {given_out(text, rows)["p"][0] for text in texts} == {0.0}
