"""Expressions: grown from the language's grammar, then damaged as texts."""

import random
import re

import pyarrow as pa

from fuzz.figures import chance

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
"""The columns that expressions may name."""

_LEAVES = {
    "n": (
        *(
            "i",
            "j",
            "x",
            "y",
            '"x"',
            "0",
            "1",
            "2",
            "-1",
            "0.5",
            "1e3",
            "1e400",
            "5e-324",
            "9223372036854775807",
        ),
        *("-9223372036854775808", "LENGTH(s)", "NULL"),
    ),
    "t": ("s", "'a'", "''", "'it''s'", "'é'", "'%_'", "'12'", "TRIM(s)", "NULL"),
    "b": ("f", "TRUE", "FALSE", "i > 1", "x <= y", "s = 'a'", "s LIKE 'l%'", "y IS NULL", "NULL"),
}
_FORMS = {
    "n": (
        *(
            "{n} + {n}",
            "{n} - {n}",
            "{n} * {n}",
            "{n} / {n}",
            "{n} % {n}",
            "- {n}",
            "({n})",
            "ABS({n})",
            "SIGN({n})",
        ),
        *(
            "ROUND({n})",
            "ROUND({n}, 2)",
            "FLOOR({n})",
            "CEIL({n})",
            "EXP({n})",
            "LN({n})",
            "LOG({n}, {n})",
            "LOG2({n})",
        ),
        *(
            "LOG10({n})",
            "SQRT({n})",
            "POWER({n}, {n})",
            "POWER({n}, 2)",
            "MOD({n}, {n})",
            "LEAST({n}, {n})",
            "({n})",
        ),
        *(
            "GREATEST({n}, {n}, {n})",
            "NULLIF({n}, {n})",
            "COALESCE({n}, {n})",
            "LENGTH({t})",
            "CAST({n} AS BIGINT)",
        ),
        *(
            "CAST({n} AS DOUBLE)",
            "CAST({b} AS BIGINT)",
            "CAST({t} AS DOUBLE)",
            "CASE WHEN {b} THEN {n} ELSE {n} END",
        ),
        *("CASE {n} WHEN {n} THEN {n} WHEN {n} THEN {n} END", "IF({b}, {n}, {n})"),
        "CASE WHEN {b} THEN {n} ELSE ERROR({t}) END",
    ),
    "t": (
        *(
            "UPPER({t})",
            "LOWER({t})",
            "TRIM({t})",
            "SUBSTRING({t}, 1, 2)",
            "SUBSTR({t}, 2)",
            "COALESCE({t}, {t})",
        ),
        *("CASE WHEN {b} THEN {t} ELSE {t} END", "CAST({n} AS VARCHAR)", "NULLIF({t}, {t})", "({t})"),
        *("{t} || {t}", "CONCAT({t}, {t})", "FORMAT({n}, 2)", "CASE WHEN {b} THEN {t} ELSE ERROR({t}) END"),
    ),
    "b": (
        *(
            "{n} = {n}",
            "{n} <> {n}",
            "{n} < {n}",
            "{n} >= {n}",
            "{t} = {t}",
            "{t} < {t}",
            "{b} AND {b}",
            "{b} OR {b}",
        ),
        *(
            "NOT {b}",
            "{n} IS NULL",
            "{t} IS NOT NULL",
            "{n} IN (1, 2, 3)",
            "{n} IN ({n}, {n})",
            "{t} IN ('a', 'b')",
        ),
        *("{n} NOT IN (1)", "{n} BETWEEN {n} AND {n}", "{t} LIKE 'a%'", "{t} NOT LIKE '_'", "({b})", "({b})"),
        *(
            "CAST({t} AS DATE) > DATE '2024-02-29'",
            "CASE WHEN {b} THEN {b} ELSE {b} END",
            "COALESCE({b}, {b})",
        ),
    ),
}
_ODD = (
    *(
        "nowhere",
        "X",
        "TRY_CAST({n} AS INT)",
        "{n}::INT",
        "pg_sleep({n})",
        "{b} IS TRUE",
    ),
    *(
        "(SELECT {n})",
        "{n} IN (SELECT {n})",
        "{t}[{n}]",
        "{n}.{n}",
        "EXISTS({b})",
        "x -> {n}",
        "{t} COLLATE {t}",
    ),
    *("ARRAY[{n}, {n}]", "{n} /* {n} */", "{n} -- {b}\n", "EXTRACT(YEAR FROM {t})", "{t} AT TIME ZONE 'UTC'"),
    *("INTERVAL '1' DAY + {n}", "+ {n}", "9223372036854775808", "'%_\\'", "TIMESTAMP '2024-02-29 12:00:00'"),
    *(
        "DATE '9999-99-99'",
        "CAST({t} AS TIMESTAMP)",
        "{n} LIKE {t}",
        "SUBSTRING({t}, {n}, {n})",
        "ROUND({n}, {n})",
    ),
)
_PLACE = re.compile(r"\{([ntb])\}")
_PIECES = (
    *(
        "(",
        ")",
        ",",
        "'",
        '"',
        "--",
        "/*",
        "*/",
        ";",
        "\0",
        "\n",
        "\t",
        "\\",
        "`",
        "[",
        "]",
        "{",
        "}",
        "@",
        "#",
        "$",
        "?",
    ),
    *(
        "\u202e",
        "\ufeff",
        "é",
        "🎲",
        "\u2028",
        "e",
        "E",
        ".",
        "..",
        "::",
        "=",
        "==",
        "<=>",
        "!",
        "~",
        "&&",
        "||",
        "|",
        "^",
    ),
    *(
        " AS ",
        "AS",
        "SELECT ",
        " FROM t",
        " WHERE ",
        "UNION",
        " CASE ",
        " END",
        "NULL",
        " IN ",
        "()",
        "0x1F",
        "1e",
        "1__0",
    ),
    *(
        "9" * 400,
        "(" * 60,
        "NOT " * 60,
        "-" * 50,
        "'" + "a" * 500,
        " OR x" * 300,
        "CASE WHEN " * 50,
        "\r\n",
        "{{",
        "%s",
    ),
)


_DS2_HEADS = (
    "dcl double p t, q;\ndcl char(2) u;\nmethod score(double x, double y, int i, char(5) s, double p);\n",
    "method m(double x, float y, int i, varchar(9) s, in_out int p, in_out char(9) u); dcl double q t; p=.;u=s;t=y;q=1;",
)
_DS2_LINES = (
    "p = {n};\n",
    "p = {n};\n",
    "t = {n};\n",
    "q = p + {n};",
    "u = {t};",
    ";",
    "P = -P**{n};",
)
_DS2_BLOCKS = (
    "if {b} then {s}",
    "if {b} then {s} else {s}",
    "if {b} then do; {s} {s} end; else if {n} then {s} else {s}",
    "do; {s} end;",
)
_DS2_LEAVES = {
    "n": ("x", "y", "i", "X", "0", "1", "2.5", ".5", "1e300", ".", "null", "-3"),
    "t": ("s", "'a'", "''", "'it''s '", "S"),
    "b": ("x", "x > 1", "i = .", "missing(y)", "s = ' '", "1"),
}
_DS2_FORMS = {
    "n": (
        *(
            "{n} + {n}",
            "{n} - {n}",
            "{n} * {n}",
            "{n} / {n}",
            "{n} ** {n}",
            "-{n}",
            "({n})",
            "({b})",
            "abs({n})",
        ),
        *("exp({n})", "log({n})", "log2({n})", "log10({n})", "sqrt({n})", "round({n})", "round({n}, 0.01)"),
        *(
            "floor({n})",
            "ceil({n})",
            "int({n})",
            "mod({n}, {n})",
            "sign({n})",
            "min({n}, {n})",
            "max({n}, {n}, {n})",
        ),
        *(
            "sum({n}, {n})",
            "coalesce({n}, {n})",
            "nmiss({n}, {n})",
            "n({n})",
            "ifn({b}, {n}, {n})",
            "missing({t})",
        ),
    ),
    "t": ("upcase({t})", "lowcase({t})", "trim({t})", "strip({t})", "substr({t}, 1, 2)", "substr({t}, 2)"),
    "b": (
        *(
            "{n} = {n}",
            "{n} ^= {n}",
            "{n} lt {n}",
            "{n} >= {n}",
            "{t} = {t}",
            "{t} ne {t}",
            "{b} and {b}",
            "{b} | {b}",
        ),
        *("not ({b})", "^{n}", "{n} in (1, 2, .)", "{t} not in ('a' 'b')", "({b})", "missing({n})"),
    ),
}
_DS2_ODD = (
    "{n} <> {n}",
    "{t} || {t}",
    "{n} < {n} < {n}",
    "not {n} = {n}",
    ":x",
    "nowhere",
    "f({n})",
    '"s"',
    "{n} /* {n} */",
)


def score_code(source: random.Random, *, predicate: bool) -> str:
    """Return a text that is nearly always an expression, or some with names."""
    if predicate:
        return _expression(source, "b", source.randrange(5))
    parts = []
    for number in range(source.choice((1, 1, 2, 4))):
        kind, name = source.choice("nnntb"), source.choice((f"out{number}", f"out{number}", "a", "x"))
        parts.append(f"{_expression(source, kind, source.randrange(5))} AS {name}")
    return source.choice(("", "", "SELECT ")) + ", ".join(parts)


def ds2_code(source: random.Random) -> str:
    """Return a text that is nearly always a method in DS2."""
    lines = [_ds2_statement(source, source.randrange(3)) for _ in range(source.choice((1, 1, 3, 8)))]
    return (
        f"{source.choice(_DS2_HEADS)}{''.join(lines)}{source.choice(('end;', 'END', 'end;;', 'end; run;'))}"
    )


def damaged_text(text: str, source: random.Random) -> str:
    """Return a text with one to six faults."""
    for _ in range(source.choice((1, 1, 2, 6))):
        place = source.randrange(len(text) + 1)
        other = source.randrange(len(text) + 1)
        match source.randrange(6):
            case 0:
                text = text[:place] + source.choice(_PIECES) + text[place:]
            case 1:
                text = text[:place] + text[place + source.choice((1, 1, 3, 10)) :]
            case 2:
                text = text[:place] + chr(source.randrange(0xD800)) + text[place + 1 :]
            case 3:
                text = text[:place] + text[min(place, other) : max(place, other)] + text[place:]
            case 4:
                text = text[:place] + text[min(place, other) :][::-1][:20] + text[place:]
            case _:
                text = (text + source.choice((" ", ", ", " AND ", " + "))) * source.choice((2, 3, 50))
        text = text[:70_000]
    return text


def _ds2_statement(source: random.Random, depth: int) -> str:
    if depth <= 0 or chance(source, 0.5):
        text = source.choice(_DS2_LINES)
    else:
        text = source.choice(_DS2_BLOCKS).replace("{s}", _ds2_statement(source, depth - 1))
    return _PLACE.sub(lambda place: _ds2_expression(source, place[1], 3), text)


def _ds2_expression(source: random.Random, kind: str, depth: int) -> str:
    if depth <= 0 or chance(source, 0.2):
        return source.choice(_DS2_LEAVES[kind])
    form = source.choice(_DS2_ODD if chance(source, 0.01) else _DS2_FORMS[kind])
    return _PLACE.sub(lambda place: _ds2_expression(source, place[1], depth - 1), form)


def _expression(source: random.Random, kind: str, depth: int) -> str:
    if chance(source, 0.02):
        kind = source.choice("ntb")
    if depth <= 0 or chance(source, 0.1):
        return source.choice(_LEAVES[kind])
    form = source.choice(_ODD if chance(source, 0.01) else _FORMS[kind])
    return _PLACE.sub(lambda place: _expression(source, place[1], depth - 1), form)
