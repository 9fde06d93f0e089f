"""Variables, options and engines: what the server tells of them, and how values go to it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from scorestream.errors import InvalidArgumentError
from scorestream.v1 import engine_service_pb2, option_pb2, variable_pb2

VariableValue = bool | int | float | str | date | datetime
VARIABLE_TYPES = ("double", "int", "string", "boolean", "date", "timestamp")


class Origin(enum.StrEnum):
    """Who set an option's value."""

    SERVER = "server"
    CONTEXT = "context"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Option:
    """A session option as it counts.

    Attributes:
        value: a number, or one of the words in `range`.
        origin: who set it; the session wins over its context, and that over the server's default.
        type: how values are written: ``whole number``, ``seconds`` or ``choice``.
        range: what values there may be.
        default: the server's.
        description: what it does.
    """

    name: str
    value: int | float | str
    origin: Origin
    type: str
    range: str
    default: int | float | str
    description: str


@dataclass(frozen=True, slots=True)
class Engine:
    """Something that the server can work with.

    Attributes:
        name: for example ``cuda:0``, ``parquet`` or ``lightgbm``.
        kind: ``device``, ``format`` or ``model``.
        reads: endings of the files that it reads.
        writes: endings of the files that it writes; an empty one stands for a directory.
        library: what does the work there, and `library_version` as it is installed on the server.
        limits: what it takes at most, by name.
    """

    name: str
    kind: str
    description: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    library: str
    library_version: str
    limits: Mapping[str, int]


def variable_to_wire(name: str, value: Any, kind: str | None = None) -> variable_pb2.VariableValue:
    """Return a variable's value for the wire.

    Args:
        name: the variable's, for the error.
        value: of Python or NumPy; a date or timestamp may be ISO 8601 text where `kind` says so.
        kind: one of `VARIABLE_TYPES`; None: after the type of `value`.

    Raises:
        InvalidArgumentError: there is no such type, or the value is none of it.
    """
    if hasattr(value, "item"):  # NumPy's
        value = value.item()
    kind = kind or type_of_value(value)
    if kind not in VARIABLE_TYPES:
        told = (
            f"{kind!r} is no type of variables" if kind else f"a {type(value).__name__} cannot be its value"
        )
        message = f"Variable {name}: {told}; there are {', '.join(VARIABLE_TYPES)}."
        raise InvalidArgumentError(message, reason="BAD_VARIABLE_TYPE")
    if kind == "double" and type(value) is int:
        value = float(value)
    elif kind == "timestamp" and isinstance(value, datetime):
        value = (value.astimezone(UTC) if value.tzinfo else value).replace(tzinfo=None).isoformat(sep=" ")
    elif kind == "date" and type(value) is date:
        value = value.isoformat()
    wanted: type = {"double": float, "int": int, "boolean": bool}.get(kind, str)
    if type(value) is not wanted or (type(value) is int and not -(2**63) <= value < 2**63):
        raise InvalidArgumentError(f"Variable {name}: {value!r} is no {kind}.", reason="BAD_VARIABLE")
    made = variable_pb2.VariableValue()
    setattr(made, f"{kind}_value", value)
    return made


def variable_from_wire(message: variable_pb2.VariableValue) -> VariableValue:
    """Return a variable's value as Python has it."""
    kind = message.WhichOneof("kind") or "string_value"
    value: Any = getattr(message, kind)
    if kind == "date_value":
        return date.fromisoformat(value)
    return datetime.fromisoformat(value) if kind == "timestamp_value" else value


def variables_from_wire(messages: Mapping[str, variable_pb2.VariableValue]) -> dict[str, VariableValue]:
    """Return the values of several variables by name, in its order."""
    return {name: variable_from_wire(messages[name]) for name in sorted(messages)}


def option_from_wire(message: option_pb2.Option) -> Option:
    """Return an option."""
    origin = option_pb2.OptionOrigin.Name(message.origin).removeprefix("OPTION_ORIGIN_")
    return Option(
        name=message.option_id,
        value=_option_value(message.type, message.value),
        origin=Origin[origin] if origin in Origin.__members__ else Origin.SERVER,
        type=message.type,
        range=message.range,
        default=_option_value(message.type, message.default_value),
        description=message.description,
    )


def engine_from_wire(message: engine_service_pb2.Engine) -> Engine:
    """Return an engine."""
    kind = engine_service_pb2.EngineKind.Name(message.kind).removeprefix("ENGINE_KIND_")
    return Engine(
        name=message.name,
        kind=kind.lower(),
        description=message.description,
        reads=tuple(message.reads),
        writes=tuple(message.writes),
        library=message.library,
        library_version=message.library_version,
        limits={name: message.limits[name] for name in sorted(message.limits)},
    )


def _option_value(kind: str, text: str) -> int | float | str:
    if kind == "whole number":
        return int(text)
    return float(text) if kind == "seconds" else text


def type_of_value(value: Any) -> str:
    """Return the name of the type that a value of Python has as a variable; nothing where it cannot be one."""
    for python, kind in (
        (bool, "boolean"),
        (int, "int"),
        (float, "double"),
        (str, "string"),
        (datetime, "timestamp"),
        (date, "date"),
    ):
        if isinstance(value, python):
            return kind
    return ""
