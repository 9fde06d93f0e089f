"""Bring the arguments of a term to the types that it takes, or say what is wrong with which of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from scorestream_server.device.program_types import Op, Type
from scorestream_server.domain.errors import counted
from scorestream_server.scoring.program_builder import Builder, date_value, timestamp_value
from scorestream_server.scoring.sql_errors import ErrorNodes
from scorestream_server.scoring.sql_terms import Syntax, Term, fault

NUMBERS = frozenset({Type.INT, Type.FLOAT})
TYPE_NAMES = {
    Type.BOOL: "a flag (BOOLEAN)",
    Type.INT: "a number (BIGINT)",
    Type.FLOAT: "a number (DOUBLE)",
    Type.TEXT: "text (VARCHAR)",
    Type.DATE: "a date",
    Type.TIMESTAMP: "a timestamp",
    None: "NULL",
}


@dataclass(frozen=True, slots=True)
class Typed:
    """A term's node and type; the type of a bare NULL, which fits any, is None.

    `error` is the node of the error that a row meets on the way to it (`ErrorNodes`); None: there is none.
    """

    node: int
    type: Type | None
    error: int | None = None


class Coercion:
    """The types of one text's terms.

    Args:
        syntax: what the text says.
        columns: the type of every column that it uses.
    """

    def __init__(self, syntax: Syntax, columns: Mapping[str, Type]) -> None:
        self.builder = Builder(columns)
        self.errors = ErrorNodes(self.builder)
        self.columns = columns
        self.syntax = syntax

    def refuse(self, term: Term, message: str) -> NoReturn:
        """Raise EXPRESSION_TYPE at a term."""
        raise fault("EXPRESSION_TYPE", message, self.syntax.text, term.start, term.end)

    def need(self, term: Term, args: Sequence[Typed], counts: range) -> None:
        """Check how many arguments there are."""
        if len(args) not in counts:
            low, high = counts.start, counts.stop - 1
            takes = counted(high, "value") if low == high else f"{low} to {high} values"
            self.refuse(term, f"{term.name} takes {takes} and got {len(args)}")

    def as_type(self, typed: Typed, kind: Type) -> int:
        """Return the node of a value in a type, with a CAST where it has another."""
        if typed.type is None:
            return self.builder.constant(kind, None)
        return typed.node if typed.type is kind else self.builder.add(Op.CAST, kind, typed.node)

    def expect(self, term: Term, place: int, typed: Typed, kinds: frozenset[Type]) -> None:
        """Check the type of one argument, and say how to get there where there is a way."""
        if typed.type is None or typed.type in kinds:
            return
        hint = ""
        if typed.type is Type.BOOL and Type.INT in kinds:
            hint = "; write CAST(... AS BIGINT) to count with it"
        elif typed.type in NUMBERS and Type.BOOL in kinds:
            hint = "; write a comparison, for example ... <> 0"
        elif typed.type is Type.TEXT and Type.INT in kinds:
            hint = "; write CAST(... AS DOUBLE) if it holds numbers"
        elif Type.TEXT in kinds:
            hint = "; write CAST(... AS VARCHAR)"
        wanted = "a number" if kinds == NUMBERS else " or ".join(sorted(TYPE_NAMES[kind] for kind in kinds))
        at = self.syntax.terms[term.args[place]]
        self.refuse(at, f"{operator(term.name)} needs {wanted} and this is {TYPE_NAMES[typed.type]}{hint}")

    def numbers(self, term: Term, args: Sequence[Typed]) -> Type:
        """Check that all are numbers, and return the type in which to compute with them."""
        for place, typed in enumerate(args):
            self.expect(term, place, typed, NUMBERS)
        return Type.INT if all(typed.type is Type.INT for typed in args) else Type.FLOAT

    def common(self, term: Term, args: Sequence[Typed], places: Sequence[int]) -> tuple[Type, list[int]]:
        """Bring arguments to one type: a number, a timestamp, or what they all are."""
        kinds = {typed.type for typed in args if typed.type is not None}
        dated = kinds & {Type.DATE, Type.TIMESTAMP}
        if dated and Type.TEXT in kinds:
            kind = self._dated(term, args, places, Type.TIMESTAMP if Type.TIMESTAMP in kinds else Type.DATE)
        elif kinds <= NUMBERS:
            kind = Type.INT if kinds == {Type.INT} else Type.FLOAT
        elif len(kinds) == 1:
            kind = kinds.pop()
        elif kinds == {Type.DATE, Type.TIMESTAMP}:
            kind = Type.TIMESTAMP
        else:
            first = next(typed for typed in args if typed.type is not None)
            other = next(i for i, typed in enumerate(args) if typed.type not in {None, first.type} and not (
                {typed.type, first.type} <= NUMBERS))  # fmt: skip
            at = self.syntax.terms[places[other]]
            what = f"{operator(term.name)} is given {TYPE_NAMES[first.type]} and this, which is {TYPE_NAMES[args[other].type]}"
            self.refuse(at, f"{what}; bring them to one type with CAST")
        return kind, [self.as_type(typed, kind) for typed in args]

    def _dated(self, term: Term, args: Sequence[Typed], places: Sequence[int], kind: Type) -> Type:
        """Text literals beside dates are dates; a time of day beside a date makes it a timestamp."""
        for typed, place in zip(args, places, strict=True):
            if typed.type is Type.TEXT:
                node = self.builder.nodes[typed.node]
                if node.op is not Op.CONST:
                    at = self.syntax.terms[place]
                    self.refuse(
                        at, f"{operator(term.name)} compares a date with text, which has to be a literal"
                    )
                if kind is Type.DATE and isinstance(node.value, str) and date_value(node.value) is None:
                    kind = Type.TIMESTAMP
        for index, (typed, place) in enumerate(zip(args, places, strict=True)):
            if typed.type is Type.TEXT:
                at = self.syntax.terms[place]
                args[index] = self.date(at, typed, kind)  # type: ignore[index]  # always the caller's own list
            elif typed.type not in {None, Type.DATE, Type.TIMESTAMP}:
                self.refuse(
                    self.syntax.terms[place], f"A date cannot be compared with {TYPE_NAMES[typed.type]}"
                )
        return kind

    def date(self, term: Term, typed: Typed, kind: Type) -> Typed:
        """Return the date or timestamp that a text literal says."""
        text = self.builder.nodes[typed.node].value
        if text is None:
            return Typed(self.builder.constant(kind, None), kind)
        value = date_value(text) if kind is Type.DATE else timestamp_value(text)
        if value is None:
            form = "'YYYY-MM-DD'" if kind is Type.DATE else "'YYYY-MM-DD HH:MM:SS'"
            self.refuse(term, f"This is no {kind}; write it as {form}")
        return Typed(self.builder.constant(kind, value), kind)


def operator(name: str) -> str:
    """Return how a person writes an operation."""
    signs = {
        "ADD": "+",
        "SUB": "-",
        "MUL": "*",
        "DIV": "/",
        "NEG": "-",
        "EQ": "=",
        "NE": "<>",
        "LT": "<",
        "LE": "<=",
    }
    return signs.get(
        name, {"GT": ">", "GE": ">=", "CASE_OF": "CASE", "MOD": "MOD"}.get(name, name.replace("_", " "))
    )
