"""Session variables: typed values that stand for ``:name`` in filters and score code."""

import datetime as dt
import enum
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid

MOST_VARIABLES = 256
"""Of one session, and of one job."""
MOST_TEXT_BYTES = 4096
"""Of one string, in UTF-8."""
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
NAME_RULE = "a letter or _, then up to 63 letters, digits or _"

VariableValue = bool | int | float | str


class VariableType(enum.StrEnum):
    """The types of variables: those of the SQL dialect."""

    DOUBLE = "double"
    INT = "int"
    STRING = "string"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Variable:
    """A value with a name; make one with `checked_variable`.

    Attributes:
        name: what stands behind the colon, upper and lower case told apart.
        type: what it is to an expression.
        value: a DATE is ``YYYY-MM-DD``, a TIMESTAMP ``YYYY-MM-DD HH:MM:SS``, with six decimals where there are any.
    """

    name: str
    type: VariableType
    value: VariableValue


def check_variable_name(field: str, name: str) -> str:
    """Return a variable's name, if it is allowed.

    Raises:
        ScorestreamError: INVALID_NAME.
    """
    if not VARIABLE_NAME.fullmatch(name):
        description = f"{name[:80]!r} is no name of a variable; wanted: {NAME_RULE}"
        raise invalid("INVALID_NAME", f"{field}: {description}.", [FieldFault(field, description)])
    return name


def checked_variable(field: str, name: str, kind: VariableType, value: VariableValue) -> Variable:
    """Return a variable as it is kept.

    Args:
        field: the request's field, for the error.
        name: its name.
        kind: its type.
        value: of the Python type that belongs to it; dates and timestamps as ISO 8601 text. A timestamp with a zone
            is taken to UTC.

    Raises:
        ScorestreamError: INVALID_NAME, INVALID_VARIABLE.
    """
    check_variable_name(field, name)
    if kind is VariableType.DOUBLE and not math.isfinite(value):  # type: ignore[arg-type]  # a double here
        raise _bad(field, f":{name} must be a finite number; NaN and infinity equal nothing")
    if kind is VariableType.STRING and len(str(value).encode()) > MOST_TEXT_BYTES:
        raise _bad(field, f"the text of :{name} is longer than {MOST_TEXT_BYTES:,} bytes")
    if kind is VariableType.DATE:
        value = _date(field, name, str(value))
    elif kind is VariableType.TIMESTAMP:
        value = _timestamp(field, name, str(value))
    return Variable(name, kind, value)


def merged(session: Iterable[Variable], job: Iterable[Variable]) -> tuple[Variable, ...]:
    """Return the variables that a job may use, by name: its own win over its session's."""
    found = {variable.name: variable for variable in (*session, *job)}
    return tuple(found[name] for name in sorted(found))


def _date(field: str, name: str, text: str) -> str:
    try:
        if len(text) == 10:
            return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise _bad(field, f":{name} is no date; write it as YYYY-MM-DD")


def _timestamp(field: str, name: str, text: str) -> str:
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        message = f":{name} is no timestamp; write it as YYYY-MM-DD HH:MM:SS"
        raise _bad(field, message) from None
    return moment.isoformat(sep=" ")


def _bad(field: str, description: str) -> ScorestreamError:
    return invalid("INVALID_VARIABLE", f"{field}: {description}.", [FieldFault(field, description)])
