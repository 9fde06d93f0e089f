"""What is left of an expression once its text is parsed: plain terms in order, and errors that point into the text.

Nothing here depends on the parser, so that another front end can make the same terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scorestream_server.device.program_types import Type
from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid

MAX_BYTES = 64 * 1024
MAX_TOKENS = 30_000
MAX_TERMS = 20_000
MAX_OPERATIONS = 40_000
"""Terms and arguments that score code in DS2 may become, where a statement is many of them."""
MAX_DEPTH = 40
MAX_OUTPUTS = 256
MAX_NAME = 128

Scalar = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Term:
    """One literal, column, parameter or call.

    Attributes:
        name: ``LITERAL``, ``COLUMN``, ``PARAMETER`` (a ``:name``, until it is bound), or the name of an operation or
            function in upper case.
        args: the places of the arguments among the terms, all before this one.
        value: a literal's value, a column's or a parameter's name, or the target type of a CAST.
        start: where its text starts, in characters from 0.
        end: where its text ends.
    """

    name: str
    args: tuple[int, ...]
    value: Scalar
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Syntax:
    """A parsed text.

    Attributes:
        text: what was parsed, for the errors found later.
        terms: in an order in which arguments come first.
        outputs: the name (empty in a ``where``) and the term of each expression.
        declared: the columns of which the text itself says whether they are text, and their types.
    """

    text: str
    terms: tuple[Term, ...]
    outputs: tuple[tuple[str, int], ...]
    declared: tuple[tuple[str, Type], ...] = ()

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns used, in the order of their first use in the text."""
        return tuple(str(term.value) for term in self.first_uses("COLUMN"))

    def parameters(self) -> tuple[str, ...]:
        """Return the names that stand behind a colon, in the order of their first use in the text."""
        return tuple(str(term.value) for term in self.first_uses("PARAMETER"))

    def first_uses(self, kind: str) -> list[Term]:
        """Return the first use of each column (``COLUMN``) or parameter, in the order of the text."""
        used = sorted((term for term in self.terms if term.name == kind), key=lambda term: term.start)
        first: dict[Scalar, Term] = {}
        for term in used:
            first.setdefault(term.value, term)
        return list(first.values())


def line_and_column(text: str, start: int) -> tuple[int, int]:
    """Return the line and the column of a character of a text, both from 1."""
    return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)


def fault(
    reason: str, message: str, text: str, start: int, end: int, faults: Sequence[FieldFault] = ()
) -> ScorestreamError:
    """Return an INVALID_ARGUMENT error that shows the offending text with a caret under it.

    Args:
        reason: the reason in UPPER_SNAKE_CASE.
        message: a sentence that says what is wrong and what to do.
        text: the whole expression.
        start: where the offending text starts, in characters from 0.
        end: where it ends.
        faults: where there are several, each; the message has their places then.
    """
    start = min(max(start, 0), len(text))
    line, column = line_and_column(text, start)
    line_start = start - column + 1
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    shown_from = max(line_start, start - 50)
    shown = text[shown_from : min(line_end, start + 50)]
    width = max(1, min(end, line_end, start + 50) - start)
    shown = "".join(character if character.isprintable() else " " for character in shown)
    pointer = " " * (start - shown_from) + "^" * width
    told = message if faults else f"{message} (line {line}, column {column})"
    return invalid(
        reason,
        f"{told}\n  {shown}\n  {pointer}",
        faults,
        line=str(line),
        column=str(column),
        text=text[start : min(max(end, start + 1), start + 100)],
    )
