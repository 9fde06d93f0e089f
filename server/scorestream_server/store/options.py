"""Options that sessions set, in the store."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from scorestream_server.domain.option import Setting, effective
from scorestream_server.domain.session import Session
from scorestream_server.store.prepared import Prepared
from scorestream_server.store.schema import OPTIONS

_OF_SESSION = Prepared(
    sa.select(OPTIONS.c.name, OPTIONS.c.value).where(OPTIONS.c.session_id == sa.bindparam("session_id_"))
)


def of_session(connection: sa.Connection, session_id: str) -> dict[str, str]:
    """Return the options that a session itself sets, by name."""
    return {row.name: row.value for row in _OF_SESSION.rows(connection, {"session_id_": session_id})}


def settings(connection: sa.Connection, session: Session) -> dict[str, Setting]:
    """Return every option with the value that counts in a session, and where it comes from."""
    return effective(session.context_options, of_session(connection, session.id))


def put(connection: sa.Connection, session_id: str, options: Mapping[str, str]) -> None:
    """Set options, whether they are set or not."""
    reset(connection, session_id, options.keys())
    rows = [{"session_id": session_id, "name": name, "value": value} for name, value in options.items()]
    if rows:
        connection.execute(sa.insert(OPTIONS), rows)


def reset(connection: sa.Connection, session_id: str, names: Collection[str]) -> None:
    """Have a session set these options no more."""
    chosen = sa.and_(OPTIONS.c.session_id == session_id, OPTIONS.c.name.in_(list(names)))
    connection.execute(sa.delete(OPTIONS).where(chosen))


def delete_all(connection: sa.Connection, session_id: str) -> None:
    """Delete what belongs to a session that ends."""
    connection.execute(sa.delete(OPTIONS).where(OPTIONS.c.session_id == session_id))
