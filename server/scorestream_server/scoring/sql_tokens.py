"""The first gate for an expression's text: its size, its words and its punctuation, each allowed by name.

Runs before the parser, so that what the parser never sees cannot surprise it, and every refusal has a position.
"""

import difflib
import logging
import re
from typing import Any

from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import TokenError
from sqlglot.tokens import Token, TokenType  # type: ignore[attr-defined]  # where older versions define them too

from scorestream_server.domain.errors import ScorestreamError, invalid
from scorestream_server.domain.variable import NAME_RULE, VARIABLE_NAME
from scorestream_server.scoring.sql_terms import MAX_BYTES, MAX_DEPTH, MAX_TOKENS, fault

# It warns about syntax that it reads only in part; all of that is refused here.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

DIALECT: Any = Dialect.get_or_raise(None)

FUNCTIONS = frozenset(
    {
        "ABS",
        "ROUND",
        "FLOOR",
        "CEIL",
        "CEILING",
        "EXP",
        "LN",
        "LOG",
        "LOG2",
        "LOG10",
        "SQRT",
        "POWER",
        "POW",
        "LEAST",
        "GREATEST",
        "SIGN",
        "MOD",
        "COALESCE",
        "NULLIF",
        "CAST",
        "UPPER",
        "LOWER",
        "LENGTH",
        "TRIM",
        "SUBSTRING",
        "SUBSTR",
        "CONCAT",
        "FORMAT",
        "ERROR",
    }
)
"""The functions of the language, by the names that a text may use."""

_BEFORE_PARENTHESIS = frozenset(
    {"AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "WHEN", "THEN", "ELSE", "CASE", "SELECT"}
)

_REFUSED_WORDS = frozenset(
    {
        "FROM",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "FETCH",
        "JOIN",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "WITH",
        "OVER",
        "WINDOW",
        "QUALIFY",
        "DISTINCT",
        "EXISTS",
        "ANY",
        "SOME",
        "ALL",
        "INSERT",
        "UPDATE",
        "DELETE",
        "MERGE",
        "CREATE",
        "DROP",
        "ALTER",
        "TRUNCATE",
        "INTO",
        "VALUES",
        "SET",
        "EXEC",
        "EXECUTE",
        "CALL",
        "PRAGMA",
        "ATTACH",
        "DETACH",
        "COPY",
        "GRANT",
        "REVOKE",
        "INTERVAL",
        "ILIKE",
        "RLIKE",
        "REGEXP",
        "SIMILAR",
        "GLOB",
        "LATERAL",
        "PIVOT",
        "UNPIVOT",
        "RETURNING",
    }
)

_PUNCTUATION = frozenset(
    {"(", ")", ",", "+", "-", "*", "/", "%", "=", "==", "<>", "!=", "<", "<=", ">", ">=", "||"}
)

_HINTS = {
    ":": f"a variable is written :name, without a space; its name is {NAME_RULE}",
    "?": "write :name for a variable, or the value itself",
    "@": "write :name for a variable, or the value itself",
    "$": "write :name for a variable, or the value itself",
    ".": "name a column by its own name alone, without a table",
    ";": "give one expression or list, without statements after it",
    "::": "write CAST(value AS type)",
    "**": "write POWER(a, b)",
    "^": "write POWER(a, b)",
}

_WORD = re.compile(r"[^\W\d]\w*\Z")
_BEFORE_POINT = re.compile(r"[\w.)'\"]")


def tokenize(text: str) -> list[Token]:
    """Cut a text into tokens that are all allowed.

    Raises:
        ScorestreamError: EXPRESSION_TOO_LARGE, EXPRESSION_SYNTAX, FORBIDDEN_SYNTAX or FORBIDDEN_FUNCTION.
    """
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        raise invalid(
            "EXPRESSION_TOO_LARGE", f"The expression is longer than {MAX_BYTES // 1024} KiB; make it shorter."
        )
    if "\0" in text:
        at = text.index("\0")
        raise fault("EXPRESSION_SYNTAX", "There is a NUL character in the expression", text, at, at + 1)
    try:
        tokens = _with_parameters(text, _with_bare_fractions(text, DIALECT.tokenize(text)))
    except TokenError:
        raise fault(
            "EXPRESSION_SYNTAX", "A quote or a comment is opened and never closed", text, *_last_quote(text)
        ) from None
    while tokens and tokens[-1].text == ";" and tokens[-1].token_type is not TokenType.STRING:
        tokens.pop()
    if not tokens:
        raise invalid("EXPRESSION_SYNTAX", "The expression is empty.", line="1", column="1")
    if len(tokens) > MAX_TOKENS:
        raise invalid("EXPRESSION_TOO_LARGE", f"The expression has more than {MAX_TOKENS} words and signs.")
    for place, token in enumerate(tokens):
        _check(text, tokens, place, token)
    _check_depth(text, tokens)
    return tokens


def _with_bare_fractions(text: str, tokens: list[Token]) -> list[Token]:
    """Make one number of a point and the digits right behind it, as in ``.5``: sqlglot leaves two tokens.

    Right behind a name, a number or a parenthesis, as in ``t.5`` and ``1..5``, the point stays what it is.
    """
    joined: list[Token] = []
    for token in tokens:
        point = joined[-1] if joined else None
        if (
            point is not None
            and point.token_type is TokenType.DOT
            and token.token_type is TokenType.NUMBER
            and token.start == point.end + 1
            and not _BEFORE_POINT.match(text[max(0, point.start - 1) : point.start])
        ):
            joined[-1] = Token(
                TokenType.NUMBER,
                text[point.start : token.end + 1],
                token.line,
                token.col,
                point.start,
                token.end,
            )
        else:
            joined.append(token)
    return joined


def _with_parameters(text: str, tokens: list[Token]) -> list[Token]:
    """Make one quoted name of a colon and the name right behind it, whatever word of SQL that name may be.

    No other token begins with a colon, so it is known again by its first character (`is_parameter`).
    """
    joined: list[Token] = []
    places = iter(enumerate(tokens))
    for place, token in places:
        following = tokens[place + 1] if place + 1 < len(tokens) else None
        named = VARIABLE_NAME.match(text, token.end + 1) if token.token_type is TokenType.COLON else None
        if named is None or following is None or (following.start, following.end + 1) != named.span():
            joined.append(token)
            continue
        next(places)
        joined.append(
            Token(TokenType.IDENTIFIER, named[0], token.line, token.col, token.start, following.end)
        )
    return joined


def is_parameter(text: str, start: int) -> bool:
    """Whether the name that begins at a character of a text stands behind a colon."""
    return text[start : start + 1] == ":"


def _last_quote(text: str) -> tuple[int, int]:
    at = max(text.rfind(sign) for sign in ("'", '"', "/*"))
    return at, at + 1


def _check(text: str, tokens: list[Token], place: int, token: Token) -> None:
    """Refuse a token that no expression can contain."""
    following = tokens[place + 1].text if place + 1 < len(tokens) else ""
    called = following == "(" and tokens[place + 1].token_type is TokenType.L_PAREN
    if token.token_type in {TokenType.STRING, TokenType.NUMBER}:
        return
    if token.token_type is TokenType.IDENTIFIER:
        if called:
            raise _forbidden_function(text, token)
        return
    word = token.text.split()[0].upper() if token.text.split() else ""
    if _WORD.match(word):
        if word in _REFUSED_WORDS or (word == "SELECT" and place):
            raise fault(
                "FORBIDDEN_SYNTAX",
                f"{word} is not allowed: only scalar expressions over the columns of one row are. "
                f'A column of that name is written "{token.text}", in double quotes.',
                text,
                *span(token),
            )
        if called and word not in FUNCTIONS and word not in _BEFORE_PARENTHESIS:
            raise _forbidden_function(text, token)
        return
    if token.text not in _PUNCTUATION:
        hint = _HINTS.get(token.text, _HINTS.get(token.text[:1], "it is no part of the expression language"))
        raise fault("FORBIDDEN_SYNTAX", f"{token.text!r} is not allowed here: {hint}", text, *span(token))


def _forbidden_function(text: str, token: Token) -> ScorestreamError:
    near = difflib.get_close_matches(token.text.upper()[:MAX_DEPTH], sorted(FUNCTIONS), n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    return fault(
        "FORBIDDEN_FUNCTION",
        f"The function {token.text[:64]} is not allowed{hint} The functions are {', '.join(sorted(FUNCTIONS))}",
        text,
        *span(token),
    )


def _check_depth(text: str, tokens: list[Token]) -> None:
    """Refuse deep nesting before the parser, which recurses, meets it."""
    depth = 0
    for token in tokens:
        if token.token_type in {TokenType.L_PAREN, TokenType.CASE}:
            depth += 1
        elif token.token_type in {TokenType.R_PAREN, TokenType.END}:
            depth -= 1
        if depth > MAX_DEPTH:
            raise too_deep(text, *span(token))


def too_deep(text: str, start: int, end: int) -> ScorestreamError:
    """Return the error for an expression that nests too deeply."""
    return fault(
        "EXPRESSION_TOO_LARGE",
        f"The expression is nested more than {MAX_DEPTH} levels deep here; name parts of it as outputs of their own, "
        "or use one CASE with several WHENs",
        text,
        start,
        end,
    )


def span(token: Token) -> tuple[int, int]:
    """Return where a token starts and ends, in characters from 0."""
    return token.start, token.end + 1
