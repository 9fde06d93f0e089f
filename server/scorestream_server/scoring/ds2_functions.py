"""The functions of DS2 that score code may call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scorestream_server.scoring.ds2_tree import Expression
from scorestream_server.scoring.ds2_values import FLAG, NUMBER, TEXT, Value, Values

MANY = 256
"""Arguments of one call."""
_PLACES = {10.0**-places: places for places in range(-15, 16)}


class WrongArgumentError(Exception):
    """An argument that a function does not take: which, counted from 0, and what it takes."""

    def __init__(self, argument: int, told: str) -> None:
        super().__init__(told)
        self.argument = argument


@dataclass(frozen=True, slots=True)
class Function:
    """A function.

    Attributes:
        least: how many arguments it takes at least.
        most: at most.
        kinds: the kinds of its arguments in order; the last one is that of all further ones. None is any.
        make: makes its value.
    """

    least: int
    most: int
    kinds: tuple[str | None, ...]
    make: Callable[[Values, Expression, Sequence[Value]], Value]

    def kind(self, place: int) -> str | None:
        """Return the kind of one argument."""
        return self.kinds[min(place, len(self.kinds) - 1)]


def _plain(name: str, *, tidy: bool) -> Function:
    """Return a function of one number that SQL has too, missing where it has no value."""

    def make(values: Values, at: Expression, args: Sequence[Value]) -> Value:
        return Value(NUMBER, values.term(at, name, args[0].place), tidy=tidy and args[0].tidy)

    return Function(1, 1, (NUMBER,), make)


def _logarithm(base: float) -> Function:
    """Return the logarithm to a base."""

    def make(values: Values, at: Expression, args: Sequence[Value]) -> Value:
        place = values.term(at, "LOG", values.constant(at, base).place, args[0].place)
        return Value(NUMBER, place, tidy=args[0].tidy)

    return Function(1, 1, (NUMBER,), make)


def _mod(values: Values, at: Expression, args: Sequence[Value]) -> Value:
    first, second = (values.tidied(at, arg).place for arg in args)
    return Value(NUMBER, values.term(at, "MOD", first, second))


def _int(values: Values, at: Expression, args: Sequence[Value]) -> Value:
    number = values.tidied(at, args[0])
    positive = values.term(at, "GE", number.place, values.constant(at, 0.0).place)
    floor, ceil = (values.term(at, name, number.place) for name in ("FLOOR", "CEIL"))
    return Value(NUMBER, values.term(at, "CASE", positive, floor, ceil))


def _round(values: Values, at: Expression, args: Sequence[Value]) -> Value:
    places = 0
    if len(args) == 2:
        unit = values.terms[args[1].place]
        found = _PLACES.get(unit.value) if unit.name == "LITERAL" and isinstance(unit.value, float) else None
        if found is None:
            raise WrongArgumentError(1, "ROUND takes a power of ten as its unit, such as 0.01 or 100")
        places = found
    number = values.tidied(at, args[0])
    literal = values.term(at, "LITERAL", value=places)
    return Value(NUMBER, values.term(at, "ROUND", number.place, literal), sure=number.sure)


def _extreme(name: str) -> Function:
    """MIN and MAX of the arguments that are not missing."""

    def make(values: Values, at: Expression, args: Sequence[Value]) -> Value:
        numbers = [values.tidied(at, arg) for arg in args]
        found = numbers[0]
        for number in numbers[1:]:
            pair = (found.place, number.place)
            if not (found.sure and number.sure):
                pair = (values.term(at, "COALESCE", *pair), values.term(at, "COALESCE", *reversed(pair)))
            found = Value(NUMBER, values.term(at, name, *pair), sure=found.sure or number.sure)
        return found

    return Function(1, MANY, (NUMBER,), make)


def _sum(values: Values, at: Expression, args: Sequence[Value]) -> Value:
    found = values.tidied(at, args[0])
    for arg in args[1:]:
        number = values.tidied(at, arg)
        both = values.term(at, "ADD", found.place, number.place)
        # What overflows stays so until the end.
        found = Value(NUMBER, values.term(at, "COALESCE", both, found.place, number.place), tidy=False)
    return found


def _coalesce(values: Values, at: Expression, args: Sequence[Value]) -> Value:
    numbers = [values.tidied(at, arg) for arg in args]
    place = values.term(at, "COALESCE", *(number.place for number in numbers))
    return Value(NUMBER, place, sure=any(number.sure for number in numbers))


def _missing(values: Values, at: Expression, args: Sequence[Value]) -> Value:
    return values.missing(at, args[0])


def _count(*, missing: bool) -> Function:
    """N and NMISS: how many of the numbers are there, or missing."""

    def make(values: Values, at: Expression, args: Sequence[Value]) -> Value:
        found = values.constant(at, 0.0)
        for arg in args:
            one = values.missing(at, arg)
            if not missing:
                one = values.junction(at, "NOT", [one])
            place = values.term(at, "ADD", found.place, values.number(at, one).place)
            found = Value(NUMBER, place, sure=True)
        return found

    return Function(1, MANY, (NUMBER,), make)


def _ifn(values: Values, at: Expression, args: Sequence[Value]) -> Value:
    numbers = [values.tidied(at, arg) for arg in args[1:]]
    return values.chosen(at, [values.flag(at, args[0])], numbers)


def _text(name: str) -> Function:
    """Return a function of one text that SQL has too."""

    def make(values: Values, at: Expression, args: Sequence[Value]) -> Value:
        place = values.term(at, name, args[0].place)
        return Value(TEXT, place, sure=True)

    return Function(1, 1, (TEXT,), make)


def _substr(values: Values, at: Expression, args: Sequence[Value]) -> Value:
    wanted = []
    for place, arg in enumerate(args[1:], 1):
        literal = values.terms[arg.place]
        least = 1 if place == 1 else 0
        number = literal.value if literal.name == "LITERAL" and isinstance(literal.value, float) else -1.0
        if not (least <= number < 2**31 and number.is_integer()):
            raise WrongArgumentError(
                place, "SUBSTR takes whole number literals: a start from 1, and a length"
            )
        wanted.append(values.term(at, "LITERAL", value=int(number)))
    cut = values.term(at, "SUBSTRING", args[0].place, *wanted)
    return Value(TEXT, values.term(at, "RTRIM", cut), sure=True)


FUNCTIONS: Mapping[str, Function] = {
    "abs": _plain("ABS", tidy=True),
    "ceil": _plain("CEIL", tidy=True),
    "coalesce": Function(1, MANY, (NUMBER,), _coalesce),
    "exp": _plain("EXP", tidy=False),
    "floor": _plain("FLOOR", tidy=True),
    "ifn": Function(3, 3, (FLAG, NUMBER), _ifn),
    "int": Function(1, 1, (NUMBER,), _int),
    "log": _plain("LN", tidy=True),
    "log10": _logarithm(10.0),
    "log2": _logarithm(2.0),
    "lowcase": _text("LOWER"),
    "max": _extreme("GREATEST"),
    "min": _extreme("LEAST"),
    "missing": Function(1, 1, (None,), _missing),
    "mod": Function(2, 2, (NUMBER,), _mod),
    "n": _count(missing=False),
    "nmiss": _count(missing=True),
    "round": Function(1, 2, (NUMBER,), _round),
    "sign": _plain("SIGN", tidy=True),
    "sqrt": _plain("SQRT", tidy=True),
    "strip": _text("TRIM"),
    "substr": Function(2, 3, (TEXT, NUMBER), _substr),
    "sum": Function(1, MANY, (NUMBER,), _sum),
    "trim": Function(1, 1, (TEXT,), lambda _values, _at, args: args[0]),
    "upcase": _text("UPPER"),
}
"""By their names in lower case."""
