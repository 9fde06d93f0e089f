"""Signals: the JSON document that starts a process, read as the hostile text that it may be."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, counted, invalid
from scorestream_server.domain.faults import Faults

DEPLOYED_BATCH_JOB = "com.modelop.mlc.definitions.Signals_DEPLOYED_BATCH_JOB"
SIGNALS = (DEPLOYED_BATCH_JOB,)
REQUIRED = ("TAG", "MODEL_STAGE")
OPTIONAL = ("INPUT", "OUTPUT")
"""Where rows come from and scores go; they win over the deployment's own."""
MOST_BYTES = 64 << 10
LONGEST_VALUE = 4096
SHOWN = 80

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS = ("process", "date")


@dataclass(frozen=True, slots=True)
class Signal:
    """What was signalled: its name and its variables, all of them texts.

    Attributes:
        name: which signal.
        variables: ``TAG`` and ``MODEL_STAGE``, and, where they were given, ``INPUT`` and ``OUTPUT``.
    """

    name: str
    variables: Mapping[str, str]


def parse(document: bytes) -> Signal:
    """Return the signal that a JSON document is.

    Raises:
        ScorestreamError: INVALID_ARGUMENT, with every fault of the document; RESOURCE_EXHAUSTED where it is too large.
    """
    if len(document) > MOST_BYTES:
        raise ScorestreamError(
            ErrorCode.RESOURCE_EXHAUSTED,
            "SIGNAL_TOO_LARGE",
            f"The signal has {counted(len(document), 'byte')}; at most {MOST_BYTES:,} are taken.",
            metadata={"limit": str(MOST_BYTES)},
        )
    found = _decoded(document)
    if not isinstance(found, dict):
        raise _not_json(f"it is {_kind(found)}, and no object")
    faults = Faults()
    with faults.of("signal"):
        _check_names(found, ("name", "variables"), "A signal has a name and variables, and no")
    name = found.get("name")
    with faults.of("signal.name"):
        _check_signal(name)
    variables = found.get("variables", {})
    with faults.of("signal.variables"):
        if not isinstance(variables, dict):
            raise _fault(f"variables is {_kind(variables)}, and has to be an object.", "signal.variables")
        _check_names(variables, (*REQUIRED, *OPTIONAL), "This signal has no variable")
    values: dict[str, str] = {}
    given = variables if isinstance(variables, dict) else {}
    for variable in (*REQUIRED, *OPTIONAL):
        if variable in given or variable in REQUIRED:
            with faults.of(f"signal.variables.{variable}"):
                values[variable] = _value(variable, given)
    faults.raise_any()
    return Signal(str(name), values)


def check_pattern(field: str, text: str) -> str:
    """Return an input or output of a deployment or a signal, if its placeholders are known ones.

    Raises:
        ScorestreamError: INVALID_ARGUMENT.
    """
    for name in _PLACEHOLDER.findall(text):
        if name not in PLACEHOLDERS:
            raise _fault(
                f"{field}: there is no placeholder {{{name[:SHOWN]}}}{_meant(name, PLACEHOLDERS)} There are "
                "{process}, the process's id, and {date}, the day of its trigger as 2026-11-22.",
                field,
            )
    return text


def filled(text: str, process_id: str, date: str) -> str:
    """Return an input or output with its placeholders filled in."""
    values = {"process": process_id, "date": date}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _decoded(document: bytes) -> Any:
    try:
        return json.loads(document.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise _not_json("it is nested too deeply") from None
    except ValueError as error:
        raise _not_json(str(error)[:200]) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice[:SHOWN]!r} is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _check_signal(name: Any) -> None:
    if name is None or name == "":
        raise _fault(f"The signal has no name; there is {DEPLOYED_BATCH_JOB}.", "signal.name")
    if not isinstance(name, str):
        raise _fault(f"The signal's name is {_kind(name)}, and has to be a text.", "signal.name")
    if name not in SIGNALS:
        raise invalid(
            "UNKNOWN_SIGNAL",
            f"There is no signal {name[:SHOWN]!r}{_meant(name, SIGNALS)}",
            [FieldFault("signal.name", "unknown signal")],
        )


def _check_names(found: Iterable[str], known: tuple[str, ...], told: str) -> None:
    for name in found:
        if name not in known:
            raise _fault(
                f"{told} {name[:SHOWN]!r}{_meant(name, known)}",
                "signal",
            )


def _value(variable: str, variables: Mapping[str, Any]) -> str:
    """Return the value of a variable: ``{"value": "PROD"}``, where Camunda's ``"type": "String"`` may stand beside."""
    field = f"signal.variables.{variable}"
    if variable not in variables:
        raise invalid(
            "MISSING_VARIABLE",
            f'Variable {variable} is missing; write "{variable}": {{"value": "…"}}.',
            [FieldFault(field, "missing")],
            variable=variable,
        )
    given = variables[variable]
    if not isinstance(given, dict) or "value" not in given:
        raise _fault(f'Variable {variable} has to be an object with a value: {{"value": "…"}}.', field)
    _check_names(given, ("value", "type"), f"Variable {variable} has a value and a type, and no")
    kind, value = given.get("type", "String"), given["value"]
    if not isinstance(kind, str) or kind.lower() != "string":
        raise _fault(f"Variable {variable} is of type {str(kind)[:SHOWN]!r}; it has to be a String.", field)
    if not isinstance(value, str):
        raise _fault(f"Variable {variable} is {_kind(value)}, and has to be a text.", field)
    if not value.strip():
        raise invalid(
            "MISSING_VARIABLE",
            f"Variable {variable} is empty.",
            [FieldFault(field, "empty")],
            variable=variable,
        )
    if len(value) > LONGEST_VALUE or not value.isprintable():
        raise _fault(
            f"Variable {variable} has to have at most {LONGEST_VALUE:,} characters, all of which can be printed.",
            field,
        )
    return check_pattern(f"variable {variable}", value) if variable in OPTIONAL else value


def _meant(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name[:200], known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there is {' or '.join(known)}."


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _fault(message: str, field: str) -> ScorestreamError:
    return invalid("BAD_SIGNAL", message, [FieldFault(field, message)])


def _not_json(why: str) -> ScorestreamError:
    return _fault(
        f'The signal is no JSON document of a signal: {why}. Wanted: {{"name": "{DEPLOYED_BATCH_JOB}", "variables": '
        '{"TAG": {"value": "…"}, "MODEL_STAGE": {"value": "…"}}}.',
        "signal",
    )
