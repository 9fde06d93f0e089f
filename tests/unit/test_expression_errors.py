"""What is wrong with an expression is said with its reason, its place and what to do; nothing else gets out."""

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.scoring.expression import compile_score_code, compile_where, where_columns
from unit.expression_cases import SCHEMA, flat_predicates, predicates


def refusal(call: Callable[[], Any]) -> ScorestreamError:
    """Return the error that a call raises, after the checks that hold for every error."""
    with pytest.raises(ScorestreamError) as caught:
        call()
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    return caught.value


@pytest.mark.parametrize(
    ("text", "reason", "line", "column", "offending"),
    [
        ("i = ", "EXPRESSION_SYNTAX", 1, 3, "="),
        ("(i = 1", "EXPRESSION_SYNTAX", 1, 6, "1"),
        ("i = 1)", "EXPRESSION_SYNTAX", 1, 6, ")"),
        ("i = 1 AND", "EXPRESSION_SYNTAX", 1, 7, "AND"),
        ("s = 'a", "EXPRESSION_SYNTAX", 1, 5, "'"),
        ("i = 1 j", "EXPRESSION_SYNTAX", 1, 1, None),
        ("i = 1 AS x", "EXPRESSION_SYNTAX", 1, 1, None),
        ("SELECT i = 1", "EXPRESSION_SYNTAX", 1, 1, "SELECT"),
        ("i = 1, j = 2", "EXPRESSION_SYNTAX", 1, 1, None),
        ("", "EXPRESSION_SYNTAX", 1, 1, None),
        ("-- nothing", "EXPRESSION_SYNTAX", 1, 1, None),
        ("i = 1 FROM t", "FORBIDDEN_SYNTAX", 1, 7, "FROM"),
        ("i IN (SELECT 1)", "FORBIDDEN_SYNTAX", 1, 7, "SELECT"),
        ("EXISTS (SELECT 1)", "FORBIDDEN_SYNTAX", 1, 1, "EXISTS"),
        ("DROP TABLE t", "FORBIDDEN_SYNTAX", 1, 1, "DROP"),
        ("i = 1; DELETE FROM t", "FORBIDDEN_SYNTAX", 1, 6, ";"),
        ("t.i = 1", "FORBIDDEN_SYNTAX", 1, 2, "."),
        ("i = :limit", "UNSET_VARIABLE", 1, 5, ":limit"),
        ("i = : limit", "FORBIDDEN_SYNTAX", 1, 5, ":"),
        ("i = :1", "FORBIDDEN_SYNTAX", 1, 5, ":"),
        ("i = :é", "FORBIDDEN_SYNTAX", 1, 5, ":"),
        (":i(x) = 1", "FORBIDDEN_FUNCTION", 1, 1, ":i"),
        ("i :limit", "EXPRESSION_SYNTAX", 1, 1, None),
        ("CAST(i AS :limit) = 1", "FORBIDDEN_SYNTAX", 1, 6, None),
        ("i = ?", "FORBIDDEN_SYNTAX", 1, 5, "?"),
        ("i = @x", "FORBIDDEN_SYNTAX", 1, 5, "@"),
        ("i::text = 'a'", "FORBIDDEN_SYNTAX", 1, 2, "::"),
        ("s || 'a' = 'b'", "FORBIDDEN_FUNCTION", None, None, None),
        ("ERROR('no') = 1", "FORBIDDEN_FUNCTION", 1, 1, None),
        ("i[0] = 1", "FORBIDDEN_SYNTAX", 1, 2, "["),
        ("s ILIKE 'a'", "FORBIDDEN_SYNTAX", 1, 3, "ILIKE"),
        ("i IS DISTINCT FROM 1", "FORBIDDEN_SYNTAX", 1, 6, "DISTINCT"),
        ("i <=> 1", "FORBIDDEN_SYNTAX", 1, 3, "<=>"),
        ("* = 1", None, 1, 1, "*"),
        ("(i, j) = (1, 2)", "FORBIDDEN_SYNTAX", 1, 2, None),
        ("CAST(i AS DECIMAL) = 1", "FORBIDDEN_SYNTAX", 1, 6, "i"),
        ("i = 1\n  AND\n  eval(x) = 1", "FORBIDDEN_FUNCTION", 3, 3, "eval"),
        ("SUM(i) = 1", "FORBIDDEN_FUNCTION", 1, 1, "SUM"),
        ("load_file('x') = 'a'", "FORBIDDEN_FUNCTION", 1, 1, "load_file"),
        ("i = 1 AND RANK() > 1", "FORBIDDEN_FUNCTION", 1, 11, "RANK"),
        ("i = 's'", "EXPRESSION_TYPE", 1, 5, "'s'"),
        ("i + s = 1", "EXPRESSION_TYPE", 1, 5, "s"),
        ("f = 1", "EXPRESSION_TYPE", 1, 5, "1"),
        ("i AND f", "EXPRESSION_TYPE", 1, 1, "i"),
        ("UPPER(i) = 'A'", "EXPRESSION_TYPE", 1, 7, "i"),
        ("i < j < x", "EXPRESSION_TYPE", 1, 9, "x"),
        ("i = 1e999", "EXPRESSION_TYPE", 1, 5, "1e999"),
        ("i = 9223372036854775808", "EXPRESSION_TYPE", 1, 5, "9223372036854775808"),
        ("s LIKE s", "EXPRESSION_TYPE", 1, 8, "s"),
        ("ROUND(x, i) = 1", "EXPRESSION_TYPE", 1, 10, "i"),
        ("SUBSTRING(s, 0) = 'a'", "EXPRESSION_TYPE", 1, 14, "0"),
        ("POWER(x, y) = 1", "FORBIDDEN_FUNCTION", None, None, None),
        ("i + 1", "EXPRESSION_TYPE", 1, 1, None),
    ],
)  # fmt: skip
def test_a_refusal_shows_the_place(
    text: str, reason: str | None, line: int | None, column: int | None, offending: str | None
) -> None:
    """Every refusal carries its reason, line and column, and the words that are wrong."""
    error = refusal(lambda: compile_where(text, SCHEMA))
    assert reason in {error.reason, None}, error
    if line is not None:
        assert (error.metadata["line"], error.metadata["column"]) == (str(line), str(column)), error
    if offending is not None:
        assert error.metadata["text"] == offending
        shown, pointer = error.message.split("\n")[-2:]
        assert shown[pointer.index("^") :].startswith(offending)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("i IN ()", "IN takes at least one value between its parentheses (line 1, column 1)"),
        ("SUBSTRING(s) = 'a'", "SUBSTRING takes 2 to 3 values and got 1 (line 1, column 11)"),
        ("ABSS(i) = 1", "The function ABSS is not allowed; did you mean ABS? The functions are ABS, "),
        ("load_file(s) = 's'", "The function load_file is not allowed. The functions are ABS, "),
        (
            "t.i = 1",
            "'.' is not allowed here: name a column by its own name alone, without a table (line 1, column 2)",
        ),
        ("s = 'a", "A quote or a comment is opened and never closed (line 1, column 5)"),
        ("i = 1\0", "There is a NUL character in the expression (line 1, column 6)"),
    ],
)
def test_a_refusal_is_a_whole_sentence(text: str, sentence: str) -> None:
    """What is wrong, what to do, and then the place: joined as a person would write it."""
    assert sentence in refusal(lambda: compile_where(text, SCHEMA)).message


def test_the_caret_stays_below_its_word_on_a_long_line() -> None:
    """Of a long line, what surrounds the mistake is shown."""
    text = "i = 1 AND " * 300 + "nope(i) = 1" + " AND i = 1" * 300
    error = refusal(lambda: compile_where(text, SCHEMA))
    shown, pointer = error.message.split("\n")[-2:]
    assert len(shown) < 120
    assert shown[pointer.index("^") :].startswith("nope")
    assert error.metadata["column"] == "3001"


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("a * 2", "EXPRESSION_SYNTAX", "add AS"),
        ("a * 2 score", "EXPRESSION_SYNTAX", "add AS"),
        ("a AS x, a * 2", "EXPRESSION_SYNTAX", "add AS"),
        ("a AS x, b AS x", "DUPLICATE_OUTPUT", "x"),
        ("1 AS one", "NO_INPUT", "column"),
        ("SELECT a AS x FROM t", "FORBIDDEN_SYNTAX", "FROM"),
        ("SELECT a AS x WHERE a > 1", "FORBIDDEN_SYNTAX", "WHERE"),
        ("SELECT DISTINCT a AS x", "FORBIDDEN_SYNTAX", "DISTINCT"),
        ("WITH t AS (SELECT 1) SELECT a AS x", "FORBIDDEN_SYNTAX", "WITH"),
        ("SUM(a) OVER () AS x", "FORBIDDEN_FUNCTION", "SUM"),
        ("CAST(a AS DATE) AS x", "EXPRESSION_TYPE", "date"),
        ("UPPER(a) + 1 AS x", "EXPRESSION_TYPE", "CAST"),
        ("a AS x, x.y AS z", "FORBIDDEN_SYNTAX", "table"),
        ("* AS x", "EXPRESSION_SYNTAX", ""),
    ],
)
def test_score_code_is_refused_when_it_is_compiled(text: str, reason: str, words: str) -> None:
    """Faults that need no table are found before there is one."""
    error = refusal(lambda: compile_score_code(text))
    assert error.reason in {reason, "FORBIDDEN_SYNTAX" if text.startswith("*") else reason}
    assert words in error.message


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "(" * 60_000,
        "(" * 3_000 + "i" + ")" * 3_000,
        "NOT " * 5_000 + "f",
        "- " * 5_000 + "i = 1",
        "NOT i = " * 3_000 + "1",
        "CASE " * 5_000,
        "CASE WHEN " * 2_000 + "f" + " THEN 1 END" * 2_000,
        "ABS(" * 5_000 + "i",
        "CAST(" * 2_000 + "i" + " AS BIGINT)" * 2_000,
        "i IN (" * 5_000,
        "i BETWEEN " * 5_000,
        "x / (" * 39 + "x" + ")" * 39 + " > 1",
        "NULLIF(" * 39 + "x" + ", 1)" * 39 + " > 1",
        " + ".join(["x"] * 10_000) + " > 1",
        "i" * 70_000,
        "é" * 40_000,
        "'" * 9_999,
        "/*" * 9_999,
        '"' * 9_999,
        "\0",
        "i = 1\0",
        "\ud800 = 1",
        "9" * 60_000 + " = 1",
        "[" * 9_999,
        "{" * 9_999,
        "{{" * 999 + "i",
        "LIKE " * 999,
        "DATE " * 999 + "'2024-01-01'",
        "DATE '2024-13-01' = i",
        "s LIKE 'a!' ESCAPE '!'",
        "i = 1 UNION SELECT 1",
    ],
)
def test_hostile_text_is_refused_and_nothing_worse(text: str) -> None:
    """However deep, long or broken a text is, the answer is one clean error: also on a thread's small stack."""
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            compile_where(text, SCHEMA)
        except BaseException as error:  # noqa: BLE001  # the test asserts what came out
            errors.append(error)

    default = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(default)
    (error,) = errors
    assert isinstance(error, ScorestreamError), repr(error)
    assert len(error.message) < 1_000


@pytest.mark.parametrize(
    "text",
    [
        " AND ".join(f"i <> {n}" for n in range(1_000)),
        " OR ".join(f"i = {n}" for n in range(1_000)),
        f"i IN ({', '.join(map(str, range(3_000)))})",
        " + ".join(["x"] * 400) + " > 1",
        "(" * 39 + "f" + ")" * 39,
        "CASE WHEN f THEN TRUE ELSE " * 39 + "f" + " END" * 39,
    ],
)
def test_large_honest_conditions_compile(text: str) -> None:
    """What generated code needs is within the limits."""
    assert where_columns(text)
    compile_where(text, SCHEMA)


def test_a_linear_model_of_two_thousand_columns_compiles() -> None:
    """Long sums are no deep nesting."""
    text = " + ".join(f"c{n} * {n}.5" for n in range(2_000)) + " AS score"
    code = compile_score_code(text)
    assert len(code.inputs) == 2_000
    assert code.operations == 3_999


_WORDS = st.sampled_from(
    [
        "i",
        "j",
        "x",
        "s",
        "f",
        "a1",
        "AND",
        "OR",
        "NOT",
        "IN",
        "IS",
        "NULL",
        "LIKE",
        "BETWEEN",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "CAST",
        "ABS(",
        "ROUND(",
        "LOG(",
        "COALESCE(",
        "SUBSTRING(",
        "(",
        ")",
        ",",
        "+",
        "-",
        "*",
        "/",
        "%",
        "=",
        "<>",
        "<",
        "1",
        "2.5",
        ".5",
        "1e3",
        "'a'",
        "'a%'",
        '"i"',
        "DATE",
        "TIMESTAMP",
        "AS",
        "BIGINT",
        "VARCHAR",
        "TRUE",
        "FROM",
        "SELECT",
        ":",
        "::",
        "||",
        ".",
        ";",
        "?",
        "[",
        "]",
        "{",
        "}",
        "->",
        "@",
        "$1",
        "--",
        "/*",
        "*/",
        "\\",
        "ESCAPE",
        "INTERVAL",
        "FILTER",
        "OVER",
        "COLLATE",
        "AT",
        "ANY",
        "ALL",
        "IGNORE",
        "NULLS",
        "FORMAT",
        "STRUCT<",
        "ARRAY[",
        "MAP{",
        "=>",
        ":=",
        ":=",
        "~",
        "^",
        "&",
        "|",
        "#",
        "!",
        "`x`",
        "N'x'",
        "X'ff'",
        "B'01'",
        "e'\\n'",
        "$$",
        "u&'x'",
        ":=",
    ]
)


def is_clean(attempt: Callable[[], Any]) -> bool:
    """Whether an attempt gives a result or a ScorestreamError with a reason; anything else gets out."""
    try:
        attempt()
    except ScorestreamError as error:
        return error.code is ErrorCode.INVALID_ARGUMENT and error.reason.isupper()
    return True


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.text(max_size=60), st.lists(_WORDS, max_size=14).map(" ".join)))
def test_random_text_gives_an_expression_or_a_clean_error(text: str) -> None:
    """No text makes anything but a filter, score code or a ScorestreamError."""
    assert is_clean(lambda: compile_where(text, SCHEMA))
    assert is_clean(lambda: compile_score_code(text).bind(SCHEMA))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(predicates(), flat_predicates()), st.randoms(use_true_random=False))
def test_mutated_text_gives_an_expression_or_a_clean_error(text: str, chance: random.Random) -> None:
    """Valid text with pieces dropped, doubled or moved is accepted or refused, never anything else."""
    pieces = text.replace("(", " ( ").replace(")", " ) ").split()
    for _ in range(chance.randint(1, 3)):
        at, to = chance.randrange(len(pieces)), chance.randrange(len(pieces))
        instead = chance.choice([[], [pieces[to]], [pieces[to], pieces[at]], ["'"], ["NULL"]])
        pieces[at : at + chance.randint(0, 1)] = instead
        pieces = pieces or ["i"]
    assert is_clean(lambda: compile_where(" ".join(pieces), SCHEMA))
