"""Read the text of DS2 score code into statements and expressions, or say where it leaves the subset.

lark parses by ``ds2.lark``; what is built here as it goes is all that is kept. Nothing recurses, so that long chains
of operators cost no stack.
"""

import difflib
import functools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput

from scorestream_server.domain.errors import ScorestreamError, invalid
from scorestream_server.scoring.sql_terms import MAX_BYTES, fault

_NAMES = {
    "NAME": "a name",
    "NUMBER": "a number",
    "EQUALS": "=",
    "SEMICOLON": ";",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "END": "END",
    "THEN": "THEN",
    "METHOD": "METHOD",
    "NUMBER_TYPE": "a type such as DOUBLE",
    "$END": "the end of the text",
}
_HINTS = {
    "select": "write IF ... THEN ... ELSE IF ... THEN ...",
    "while": "loops are not there: score code computes each row by itself",
    "until": "loops are not there: score code computes each row by itself",
    "to": "loops are not there: score code computes each row by itself",
    "return": "assign the result to a declared variable; the method ends with END",
    "returns": "assign the result to a declared variable that the method names as a parameter, or to a global one",
    "data": "give the method alone, with the table's columns as its parameters",
    "package": "give the method alone, with the table's columns as its parameters",
    "thread": "give the method alone, with the table's columns as its parameters",
    "set": "the method's parameters are the columns; the table is named when a job is created",
    "output": "every row is given out, with the variables that the method assigns",
    "keep": "columns are kept by the job: session.score(..., keep=[...])",
    "drop": "declare what is not to be given out inside the method",
    "retain": "score code computes each row by itself and remembers nothing",
    "array": "arrays are not there; declare variables one by one",
    "vararray": "arrays are not there; declare variables one by one",
    "put": "nothing can be printed from score code",
    "method": "there can be one method only; put all of it into that one",
    "having": "formats and labels are not there; take HAVING out",
    "goto": "write IF ... THEN ... ELSE",
    "leave": "loops are not there: score code computes each row by itself",
    "run": "the text ends with the method's END;",
    "like": "write comparisons of text, or SUBSTR with one",
    "between": "write a >= b AND a <= c",
    "date": "dates are not there; compute with them in SQL score code",
    "timestamp": "dates are not there; compute with them in SQL score code",
    "numeric": "declare it DOUBLE",
    "decimal": "declare it DOUBLE",
    "||": "joining text is not supported",
    "!!": "joining text is not supported",
    "<>": "write ^= for unequal, or MAX(a, b)",
    "><": "write MIN(a, b)",
    '"': "text stands in single quotes, and a name in none",
    "%": "macros are not expanded here; send what they expand to",
    "&": "macro variables are not expanded here; send their values",
    ":": "variables of the session are for SQL score code; write the value itself",
    ".": "write one name without a dot; a missing value is . alone, and there is only one",
    "¬": "write ^ or NOT",
    "[": "arrays are not there; declare variables one by one",
    "{": "arrays are not there; declare variables one by one",
}


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A part of an expression.

    Attributes:
        op: ``NUMBER``, ``TEXT``, ``MISSING``, ``NAME``, ``CALL``, ``PREFIX``, ``BINARY``, ``COMPARE`` or ``IN``.
        value: a literal's value, a name, or the operator; all words in lower case.
        args: what it is about.
        start: where its text starts, in characters from 0.
        end: where its text ends.
        enclosed: whether it stands in parentheses.
    """

    op: str
    value: Any
    args: tuple["Expression", ...]
    start: int
    end: int
    enclosed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """A variable that is declared.

    Attributes:
        name: as it is written.
        type: in lower case; ``double``, ``int``, ``char`` and their like.
        length: of text, in characters; 0 for numbers.
        in_out: whether it is a parameter by which the method gives something out.
    """

    name: str
    type: str
    length: int
    start: int
    end: int
    in_out: bool = False

    @property
    def text(self) -> bool:
        """Whether it holds text."""
        return self.type.endswith("char")

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers."""
        return not self.text and self.type.split()[0] not in {"double", "float", "real"}


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """``name = expression;``."""

    name: str
    expression: Expression
    start: int
    end: int
    depth: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Statements one after the other, declarations among them."""

    statements: "list[Statement]"
    depth: int


@dataclass(frozen=True, slots=True, eq=False)
class If:
    """The branches of IF ... ELSE IF ... ELSE, in order, and what is done where no condition holds."""

    branches: "deque[tuple[Expression, Block]]"
    otherwise: Block
    depth: int


Statement = Assignment | Block | If | Declared
"""What a method consists of."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A text that was read.

    Attributes:
        before: what stands before the method.
        parameters: the method's.
        body: the method's statements.
    """

    before: "list[Statement]"
    parameters: list[Declared]
    body: Block


def read(text: str) -> Source:
    """Read a text.

    Raises:
        ScorestreamError: EXPRESSION_TOO_LARGE, EXPRESSION_SYNTAX or FORBIDDEN_SYNTAX, with line and column.
    """
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        raise invalid(
            "EXPRESSION_TOO_LARGE", f"The score code is longer than {MAX_BYTES // 1024} KiB; make it shorter."
        )
    try:
        source: Source = _parser().parse(text)  # type: ignore[assignment]  # what `_Builder.program` returns
    except UnexpectedInput as error:
        _refuse(text, error)
    return source


@functools.cache
def _parser() -> Lark:
    return Lark.open(
        "ds2.lark",
        rel_to=__file__,
        parser="lalr",
        start="program",
        transformer=_Builder(),
        maybe_placeholders=False,
    )


def _refuse(text: str, error: UnexpectedInput) -> NoReturn:
    """Raise what is wrong where the parser stopped, and what to write instead."""
    token: Token | None = getattr(error, "token", None)  # none where not even a word could be made of it
    if token is not None and token.type == "$END":
        place, found = len(text.rstrip()), ""
    else:
        place = error.pos_in_stream or 0
        found = str(token) if token is not None else text[place]
    end = place + len(found)
    hint = _hint(text, place, found)
    if hint:
        raise fault("FORBIDDEN_SYNTAX", f"{found[:40]!r} is not allowed here: {hint}", text, place, end)
    if found == "'" or text.startswith("/*", place):
        raise fault("EXPRESSION_SYNTAX", "A quote or a comment is opened and never closed", text, place, end)
    expected: Iterable[str] = getattr(error, "accepts", None) or getattr(error, "allowed", None) or ()
    wanted = sorted({_NAMES[name] for name in expected if name in _NAMES})
    what = "The text ends too early" if not found else f"{found[:40]!r} is not allowed here"
    told = f"; there could be {' or '.join(wanted[:5])}" if 0 < len(wanted) <= 5 else ""
    raise fault("EXPRESSION_SYNTAX", f"{what}{told}", text, max(place - (not found), 0), max(end, 1))


def _hint(text: str, place: int, found: str) -> str:
    """Return what to write instead of what stands here, or right before it; nothing where that is not known."""
    before = text[:place].rpartition(";")[2].lower().split()
    word = before[-1].rpartition("(")[2] if before else ""
    pair = text[max(place - 1, 0) : place + 1]
    hint = _HINTS.get(pair) or _HINTS.get(found.lower()) or ""
    if hint or not found:
        return hint
    if word == "do":
        hint = "" if found == ";" else _HINTS["to"]
    elif word in {"char", "varchar", "nchar", "nvarchar"}:
        hint = f"say how long it is, for example {word.upper()}(20)"
    elif "having" in before:
        hint = _HINTS["having"]
    elif found[:1] in {"<", ">", "="} or found.lower() in {"eq", "ne", "lt", "le", "gt", "ge"}:
        hint = "a comparison cannot be compared; write a < b AND b < c, or parentheses"
    elif found != ";":
        hint = _HINTS.get(word, "")
    return hint


def unknown_name(name: str, known: Sequence[str]) -> str:
    """Return a hint at a name that was meant, to be added to a sentence."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


class _Builder(Transformer[Token, Any]):
    """Makes our nodes of what the parser finds, innermost first."""

    def program(self, children: list[Any]) -> Source:
        parameters, body = children[-1]
        return Source(_flat(children[:-1]), parameters, body)

    def type(self, children: list[Token]) -> tuple[str, int]:
        length = str(children[1]) if len(children) > 1 else "0"
        # Three digits and more digits than that: so long is as good as any.
        return str(children[0]).lower(), int(length) if length.isdigit() and len(length) < 6 else 99_999

    def declaration(self, children: list[Any]) -> list[Declared]:
        kind, length = children[1]
        return [_declared(kind, length, name) for name in children[2:]]

    def parameter(self, children: list[Any]) -> Declared:
        (kind, length), name = children[-2:]
        return _declared(kind, length, name, in_out=len(children) == 3)

    def method(self, children: list[Any]) -> tuple[list[Declared], Block]:
        return [child for child in children if isinstance(child, Declared)], children[-2]

    def body(self, children: list[Any]) -> Block:
        statements = _flat(children)
        return Block(statements, 1 + max((getattr(one, "depth", 0) for one in statements), default=0))

    def branch(self, children: list[Any]) -> Block:
        found = children[0] if children else []
        return found if isinstance(found, Block) else self.body([found])

    def block(self, children: list[Any]) -> Block:
        body: Block = children[1]
        return body

    def assignment(self, children: list[Any]) -> Assignment:
        name, _, expression = children
        return Assignment(str(name), expression, *_span(name))

    def if_statement(self, children: list[Any]) -> If:
        _, condition, _, then = children[:4]
        otherwise: Block = children[5] if len(children) > 4 else Block([], 0)
        only = otherwise.statements[0] if len(otherwise.statements) == 1 else None
        if isinstance(only, If):  # ELSE IF is one more branch, and not a level more
            only.branches.appendleft((condition, then))
            return If(only.branches, only.otherwise, max(then.depth, only.depth))
        return If(deque([(condition, then)]), otherwise, max(then.depth, otherwise.depth))

    def binary(self, children: list[Any]) -> Expression:
        left, operator, right = children
        word = {"&": "and", "|": "or"}.get(str(operator), str(operator).lower())
        return Expression("BINARY", word, (left, right), left.start, right.end)

    def compare(self, children: list[Any]) -> Expression:
        left, operator, right = children
        word = _COMPARISONS.get(str(operator), str(operator).lower())
        return Expression("COMPARE", word, (left, right), left.start, right.end)

    def among(self, children: list[Any]) -> Expression:
        left, members = children[0], [child for child in children[1:] if isinstance(child, Expression)]
        negated = children[1].type == "NOT"
        return Expression("IN", negated, (left, *members), left.start, members[-1].end)

    def member(self, children: list[Token]) -> Expression:
        literal = {"NUMBER": self.number, "MISSING": self.missing, "STRING": self.text}[children[-1].type]
        found = literal(children[-1:])
        if len(children) == 1:
            return found
        sign = -1.0 if children[0] == "-" else 1.0
        return Expression("NUMBER", sign * found.value, (), _span(children[0])[0], found.end)

    def prefix(self, children: list[Any]) -> Expression:
        operator, operand = children
        word = {"^": "not", "~": "not"}.get(str(operator), str(operator).lower())
        return Expression("PREFIX", word, (operand,), _span(operator)[0], operand.end)

    def number(self, children: list[Token]) -> Expression:
        return Expression("NUMBER", float(children[0]), (), *_span(children[0]))

    def missing(self, children: list[Token]) -> Expression:
        return Expression("MISSING", None, (), *_span(children[0]))

    def text(self, children: list[Token]) -> Expression:
        return Expression("TEXT", str(children[0])[1:-1].replace("''", "'"), (), *_span(children[0]))

    def name(self, children: list[Token]) -> Expression:
        return Expression("NAME", str(children[0]), (), *_span(children[0]))

    def call(self, children: list[Any]) -> Expression:
        name, *args = children
        start, end = _span(name)
        return Expression(
            "CALL", str(name).lower(), tuple(args), start, max([end, *(arg.end for arg in args)])
        )

    def parentheses(self, children: list[Expression]) -> Expression:
        found = children[0]
        return Expression(found.op, found.value, found.args, found.start, found.end, enclosed=True)


_COMPARISONS = {"=": "eq", "^=": "ne", "~=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


def _flat(children: list[Any]) -> "list[Statement]":
    found: list[Statement] = []
    for child in children:
        found.extend(child if isinstance(child, list) else [child])
    return found


def _declared(kind: str, length: int, name: Token, *, in_out: bool = False) -> Declared:
    return Declared(str(name), kind, length, *_span(name), in_out)


def _span(token: Token) -> tuple[int, int]:
    return token.start_pos or 0, token.end_pos or 0


def too_deep(text: str, body: Block, most: int) -> ScorestreamError:
    """Return the error for statements that nest in more than so many levels, with the first condition beyond them."""
    block, start, end = body, 0, 1
    for level in range(body.depth):
        deepest = max(block.statements, key=lambda one: getattr(one, "depth", 0))
        if isinstance(deepest, If):
            condition = deepest.branches[0][0]
            start, end = condition.start, condition.end
            block = max(
                (*(then for _, then in deepest.branches), deepest.otherwise), key=lambda one: one.depth
            )
        elif isinstance(deepest, Block):
            block = deepest
        if level >= most:
            break
    message = f"IF and DO are nested more than {most} levels deep; write ELSE IF, or join conditions with AND"
    return fault("EXPRESSION_TOO_LARGE", message, text, start, end)
