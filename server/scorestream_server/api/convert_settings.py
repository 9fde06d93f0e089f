"""Variables and options on the wire."""

from collections.abc import Mapping

from scorestream.v1 import option_pb2, variable_pb2
from scorestream_server.api.convert import session_name, timestamp, variable_value
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.option import Setting
from scorestream_server.domain.variable import MOST_VARIABLES, Variable, VariableType, checked_variable
from scorestream_server.store.variables import StoredVariable


def variable_from_wire(field: str, name: str, value: variable_pb2.VariableValue) -> Variable:
    """Return a variable that a client sends.

    Raises:
        ScorestreamError: INVALID_NAME, INVALID_VARIABLE.
    """
    kind = value.WhichOneof("kind")
    if kind is None:
        description = f":{name[:80]} has no value"
        raise invalid("INVALID_VARIABLE", f"{field}: {description}.", [FieldFault(field, description)])
    return checked_variable(field, name, VariableType(kind.removesuffix("_value")), getattr(value, kind))


def variables_from_wire(field: str, values: Mapping[str, variable_pb2.VariableValue]) -> tuple[Variable, ...]:
    """Return the variables that a client gives with a job.

    Raises:
        ScorestreamError: as `variable_from_wire`, with every fault; TOO_MANY_VARIABLES.
    """
    if len(values) > MOST_VARIABLES:
        message = f"{field}: {len(values):,} variables are given; a job takes at most {MOST_VARIABLES}."
        raise invalid("TOO_MANY_VARIABLES", message, [FieldFault(field, "too many variables")])
    found, faults = [], Faults()
    for name in sorted(values):
        with faults.of(field):
            found.append(variable_from_wire(field, name, values[name]))
    faults.raise_any()
    return tuple(found)


def variable(session_id: str, stored: StoredVariable) -> variable_pb2.Variable:
    """Return a session's variable for the wire."""
    name = stored.variable.name
    return variable_pb2.Variable(
        name=f"{session_name(session_id)}/variables/{name}",
        variable_id=name,
        value=variable_value(stored.variable),
        update_time=timestamp(stored.update_time),
    )


def option(session_id: str, setting: Setting) -> option_pb2.Option:
    """Return an option's setting for the wire."""
    what = setting.option
    return option_pb2.Option(
        name=f"{session_name(session_id)}/options/{what.name}",
        option_id=what.name,
        value=setting.value,
        origin=option_pb2.OptionOrigin.Value(f"OPTION_ORIGIN_{setting.origin.name}"),
        type=what.type.value,
        range=what.range,
        default_value=what.default,
        description=what.description,
    )
