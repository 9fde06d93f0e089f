"""What SAS makes of values: operators and functions of DS2 as terms of the SQL language.

A missing number is NULL, a missing text is empty. A number is *tidy* where it can be neither NaN nor infinite, which SAS
does not have; what is assigned, compared or tested is made tidy first. Conditions are TRUE or FALSE and never NULL,
because a missing number is less than all others, and equal to itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scorestream_server.domain.errors import invalid
from scorestream_server.scoring.ds2_tree import Expression
from scorestream_server.scoring.sql_terms import MAX_OPERATIONS, Scalar, Term

NUMBER, TEXT, FLAG = "a number", "text", "a condition"
_LARGEST = 1.7976931348623157e308


@dataclass(frozen=True, slots=True)
class Value:
    """A value that was computed.

    Attributes:
        kind: NUMBER, TEXT or FLAG.
        place: its term.
        sure: whether it is never missing.
        tidy: whether a number is missing only as NULL.
        length: how many characters a text has at most; None where that is not known.
    """

    kind: str
    place: int
    sure: bool = False
    tidy: bool = True
    length: int | None = None


class Values:
    """The terms of one text, made one after the other."""

    def __init__(self) -> None:
        self.terms: list[Term] = []
        self._size = 0
        self._tidied: dict[int, Value] = {}

    def term(self, at: Expression, name: str, *args: int, value: Scalar = None) -> int:
        """Add a term and return its place.

        Raises:
            ScorestreamError: EXPRESSION_TOO_LARGE.
        """
        self._size += 1 + len(args)
        if self._size > MAX_OPERATIONS:
            message = f"The score code becomes more than {MAX_OPERATIONS:,} operations; make it smaller."
            raise invalid("EXPRESSION_TOO_LARGE", message)
        self.terms.append(Term(name, args, value, at.start, at.end))
        return len(self.terms) - 1

    # Values of each kind.

    def constant(self, at: Expression, value: float | str | None) -> Value:
        """Return a literal; None is the missing number."""
        if isinstance(value, str):
            value = value.rstrip(" ")
            return Value(TEXT, self.term(at, "LITERAL", value=value), sure=True, length=len(value))
        if value is None:
            null = self.term(at, "LITERAL")
            return Value(NUMBER, self.term(at, "CAST", null, value="FLOAT"))
        return Value(NUMBER, self.term(at, "LITERAL", value=float(value)), sure=True)

    def column(self, at: Expression, name: str, kind: str) -> Value:
        """Return what a column holds, as SAS would read it."""
        place = self.term(at, "COLUMN", value=name)
        if kind == TEXT:
            empty = self.term(at, "LITERAL", value="")
            return Value(TEXT, self.term(at, "RTRIM", self.term(at, "COALESCE", place, empty)), sure=True)
        return Value(NUMBER, self.term(at, "CAST", place, value="FLOAT"), tidy=False)

    def tidied(self, at: Expression, value: Value) -> Value:
        """Return a number with NULL where it is NaN or infinite."""
        if value.tidy:
            return value
        known = self._tidied.get(value.place)
        if known is None:
            largest = self.term(at, "LITERAL", value=_LARGEST)
            finite = self.term(at, "LE", self.term(at, "ABS", value.place), largest)
            known = self._tidied[value.place] = Value(NUMBER, self.term(at, "CASE", finite, value.place))
        return known

    def number(self, at: Expression, value: Value) -> Value:
        """Return a number; a condition is 1 or 0."""
        if value.kind != FLAG:
            return value
        return Value(NUMBER, self.term(at, "CAST", value.place, value="FLOAT"), sure=True)

    def flag(self, at: Expression, value: Value) -> Value:
        """Return a condition; a number is one that holds where it is neither 0 nor missing."""
        if value.kind == FLAG:
            return value
        value = self.tidied(at, value)
        return self._settled(at, "NE", value, self.constant(at, 0.0))

    def whole(self, at: Expression, value: Value) -> Value:
        """Return a number without its fraction, missing where it does not fit into 64 bits."""
        cut = self.term(at, "CAST", self.tidied(at, value).place, value="INT")
        return Value(NUMBER, self.term(at, "CAST", cut, value="FLOAT"))

    def cut(self, at: Expression, value: Value, length: int) -> Value:
        """Return a text of at most so many characters, without blanks at its end."""
        if value.length is not None and value.length <= length:
            return value
        start, count = (self.term(at, "LITERAL", value=number) for number in (1, length))
        shorter = self.term(at, "SUBSTRING", value.place, start, count)
        return Value(TEXT, self.term(at, "RTRIM", shorter), sure=True, length=length)

    # Operators.

    def arithmetic(self, at: Expression, operator: str, left: Value, right: Value) -> Value:
        """Return ``+ - * / **`` of two numbers."""
        name = {"+": "ADD", "-": "SUB", "*": "MUL", "/": "DIV", "**": "POWER"}[operator]
        return Value(NUMBER, self.term(at, name, left.place, right.place), tidy=False)

    def negative(self, at: Expression, value: Value) -> Value:
        """Return a number with the other sign."""
        return replace(value, place=self.term(at, "NEG", value.place))

    def junction(self, at: Expression, name: str, flags: Sequence[Value]) -> Value:
        """Return AND, OR or NOT of conditions."""
        return Value(FLAG, self.term(at, name, *(flag.place for flag in flags)), sure=True)

    def compared(self, at: Expression, operator: str, left: Value, right: Value) -> Value:
        """Return whether a comparison holds, of two numbers or two texts."""
        if left.kind == TEXT:
            return Value(FLAG, self.term(at, operator.upper(), left.place, right.place), sure=True)
        left, right = self.tidied(at, left), self.tidied(at, right)
        match operator:
            case "eq":
                return self._equal(at, left, right)
            case "ne":
                return self.junction(at, "NOT", [self._equal(at, left, right)])
            case "gt":
                return self._greater(at, left, right)
            case "le":
                return self.junction(at, "NOT", [self._greater(at, left, right)])
        less = self._less(at, left, right)
        return less if operator == "lt" else self.junction(at, "NOT", [less])

    def _settled(self, at: Expression, name: str, left: Value, right: Value) -> Value:
        """Return whether a comparison holds, FALSE where one side is missing."""
        place = self.term(at, name, left.place, right.place)
        sure = left.sure and right.sure
        return Value(FLAG, place if sure else self.term(at, "IS_TRUE", place), sure=True)

    def missing(self, at: Expression, value: Value) -> Value:
        """Return whether a value is missing."""
        if value.kind == TEXT:
            return self.compared(at, "eq", value, self.constant(at, ""))
        return Value(FLAG, self.term(at, "IS_NULL", self.tidied(at, value).place), sure=True)

    def _equal(self, at: Expression, left: Value, right: Value) -> Value:
        same = self._settled(at, "EQ", left, right)
        if left.sure or right.sure:
            return same
        both = self.junction(at, "AND", [self.missing(at, left), self.missing(at, right)])
        return self.junction(at, "OR", [same, both])

    def _greater(self, at: Expression, left: Value, right: Value) -> Value:
        greater = self._settled(at, "GT", left, right)
        if right.sure:
            return greater
        alone = self.missing(at, right)
        if not left.sure:
            there = self.junction(at, "NOT", [self.missing(at, left)])
            alone = self.junction(at, "AND", [there, alone])
        return self.junction(at, "OR", [greater, alone])

    def _less(self, at: Expression, left: Value, right: Value) -> Value:
        if right.sure:
            return self.junction(at, "NOT", [self._settled(at, "GE", left, right)])
        return self._greater(at, right, left)

    def chosen(self, at: Expression, flags: Sequence[Value], values: Sequence[Value]) -> Value:
        """Return the first value whose condition holds, else the last one; all are tidy numbers, or texts."""
        args = [
            place for flag, value in zip(flags, values, strict=False) for place in (flag.place, value.place)
        ]
        lengths = [value.length for value in values]
        longest = None if None in lengths else max(length or 0 for length in lengths)
        sure = all(value.sure for value in values)
        return Value(
            values[0].kind, self.term(at, "CASE", *args, values[-1].place), sure=sure, length=longest
        )
