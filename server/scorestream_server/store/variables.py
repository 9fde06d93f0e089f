"""Variables of sessions in the store."""

from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found
from scorestream_server.domain.variable import MOST_VARIABLES, Variable
from scorestream_server.store.prepared import Prepared
from scorestream_server.store.schema import VARIABLES

_ALL = (
    sa.select(VARIABLES)
    .where(VARIABLES.c.session_id == sa.bindparam("session_id_"))
    .order_by(VARIABLES.c.name)
)
_OF_SESSION = Prepared(_ALL)
_ONE = _ALL.where(VARIABLES.c.name == sa.bindparam("name_"))


@dataclass(frozen=True, slots=True)
class StoredVariable:
    """A variable of a session, and when it was last set (seconds since 1970, UTC)."""

    variable: Variable
    update_time: float


def page(connection: sa.Connection, session_id: str) -> list[StoredVariable]:
    """Return all variables of a session, by name."""
    return [_stored(row) for row in _OF_SESSION.rows(connection, {"session_id_": session_id})]


def of_session(connection: sa.Connection, session_id: str) -> tuple[Variable, ...]:
    """Return the values of all variables of a session, by name."""
    return tuple(stored.variable for stored in page(connection, session_id))


def get(connection: sa.Connection, session_id: str, name: str) -> StoredVariable:
    """Return one variable.

    Raises:
        ScorestreamError: NOT_FOUND.
    """
    row = connection.execute(_ONE, {"session_id_": session_id, "name_": name}).one_or_none()
    if row is None:
        raise not_found(
            "VARIABLE_NOT_FOUND", f"The session has no variable {name!r}.", session=session_id, variable=name
        )
    return _stored(row)


def put(connection: sa.Connection, session_id: str, variable: Variable, time: float) -> StoredVariable:
    """Set a variable, whether it is there or not.

    Raises:
        ScorestreamError: RESOURCE_EXHAUSTED; the session has as many as it may have.
    """
    _remove(connection, session_id, variable.name)
    count = sa.select(sa.func.count()).where(VARIABLES.c.session_id == session_id)
    if connection.execute(count).scalar_one() >= MOST_VARIABLES:
        raise ScorestreamError(
            ErrorCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_VARIABLES",
            f"The session has {MOST_VARIABLES} variables, as many as it may have; delete some first.",
        )
    values = {
        "session_id": session_id,
        "name": variable.name,
        "value": msgspec.json.encode(variable),
        "update_time": time,
    }
    connection.execute(sa.insert(VARIABLES), values)
    return StoredVariable(variable, time)


def delete(connection: sa.Connection, session_id: str, name: str) -> None:
    """Delete a variable.

    Raises:
        ScorestreamError: NOT_FOUND.
    """
    get(connection, session_id, name)
    _remove(connection, session_id, name)


def delete_all(connection: sa.Connection, session_id: str) -> None:
    """Delete what belongs to a session that ends."""
    connection.execute(sa.delete(VARIABLES).where(VARIABLES.c.session_id == session_id))


def _remove(connection: sa.Connection, session_id: str, name: str) -> None:
    chosen = sa.and_(VARIABLES.c.session_id == session_id, VARIABLES.c.name == name)
    connection.execute(sa.delete(VARIABLES).where(chosen))


def _stored(row: Any) -> StoredVariable:
    return StoredVariable(msgspec.json.decode(row.value, type=Variable), row.update_time)
