"""Tables of sessions, and global ones, in the store: made, found by name, dropped."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found
from scorestream_server.domain.table import LoadedAs, Table, TableData
from scorestream_server.store import requests
from scorestream_server.store.prepared import Prepared
from scorestream_server.store.schema import TABLES

GLOBAL_PREFIX = "tables/"
LIVE = ~TABLES.c.dropped
GLOBAL = TABLES.c.is_global
OF_SESSION = ~TABLES.c.is_global

_BY_NAME = Prepared(
    sa.select(TABLES).where(
        TABLES.c.session_id == sa.bindparam("session_id_"),
        TABLES.c.table_id == sa.bindparam("table_id_"),
        LIVE,
        OF_SESSION,
    )
)
_GLOBAL_BY_NAME = sa.select(TABLES).where(TABLES.c.table_id == sa.bindparam("table_id_"), LIVE, GLOBAL)
_NAMED = 10
"""How many tables an error names."""


def find_request(connection: sa.Connection, owner: str, request_id: str) -> Table | None:
    """Return the table that a request with this id created, if one did; it may have been dropped since."""
    earlier = requests.find(connection, owner, request_id, "table") if request_id else None
    return by_uid(connection, earlier) if earlier else None


def create(
    connection: sa.Connection,
    table: Table,
    owner: str,
    request_id: str,
    *,
    replace: bool,
    admin: bool = False,
) -> Table:
    """Insert a table as `put` does; a request id seen before gives the table of then.

    Raises:
        ScorestreamError: as `put`.
    """
    earlier = find_request(connection, owner, request_id)
    if earlier is not None:
        return earlier
    put(connection, table, replace=replace, admin=admin)
    if request_id:
        requests.record(connection, owner, request_id, "table", table.uid, table.create_time)
    return table


def put(connection: sa.Connection, table: Table, *, replace: bool, admin: bool = False) -> None:
    """Insert a table.

    Args:
        connection: of a transaction that writes.
        table: of its session, or a global one.
        replace: whether one that has its name makes room.
        admin: whether it may be a global table of somebody else's that does.

    Raises:
        ScorestreamError: ALREADY_EXISTS, where there is one of that name and `replace` is false; PERMISSION_DENIED,
            where a global one is somebody else's.
    """
    make_room(connection, table, replace=replace, admin=admin)
    connection.execute(
        sa.insert(TABLES).values(
            uid=table.uid,
            session_id=table.session_id,
            table_id=table.table_id,
            data=msgspec.json.encode(table.data),
            source_paths=msgspec.json.encode(table.source_paths),
            size_bytes=table.size_bytes,
            stored_bytes=table.stored_bytes,
            create_time=table.create_time,
            dropped=False,
            owner=table.owner,
            is_global=table.is_global,
            label=table.label,
            lifetime=table.lifetime,
            last_access_time=table.create_time,
            bytes_key=table.bytes_key,
            loaded=msgspec.json.encode(table.loaded).decode(),
        )
    )


def make_room(connection: sa.Connection, table: Table, *, replace: bool, admin: bool) -> None:
    """Drop what has a table's name, or refuse the name; arguments and errors as of `put`."""
    check_room(connection, table, replace=replace, admin=admin)
    scope = "" if table.is_global else table.session_id
    connection.execute(sa.update(TABLES).where(_named(scope, table.table_id)).values(dropped=True))


def check_room(connection: sa.Connection, table: Table, *, replace: bool, admin: bool = False) -> None:
    """Refuse a table's name where `put` would; arguments and errors as there."""
    if not replace:
        check_absent(connection, "" if table.is_global else table.session_id, table.table_id)
    elif table.is_global:
        check_replaceable(connection, table.table_id, table.owner, admin=admin)


def has_global(connection: sa.Connection, table_id: str) -> bool:
    """Whether there is a global table of that name."""
    return connection.execute(_GLOBAL_BY_NAME, {"table_id_": table_id}).first() is not None


def check_absent(connection: sa.Connection, session_id: str, table_id: str) -> None:
    """Raise ALREADY_EXISTS where the session has a table of that name; empty: where there is a global one."""
    found = sa.select(TABLES.c.uid).where(_named(session_id, table_id))
    if connection.execute(found).first() is not None:
        has = "The session has a table" if session_id else "There is a global table"
        raise ScorestreamError(
            ErrorCode.ALREADY_EXISTS,
            "TABLE_EXISTS",
            f"{has} {table_id!r} already. Ask for `replace`, or take another name.",
            metadata={"table": table_id},
        )


def check_replaceable(connection: sa.Connection, table_id: str, owner: str, *, admin: bool) -> None:
    """Raise PERMISSION_DENIED where a global table of that name is somebody else's."""
    row = connection.execute(_GLOBAL_BY_NAME, {"table_id_": table_id}).one_or_none()
    if row is not None:
        require_changeable(_table(row), owner, admin=admin)


def require_changeable(table: Table, principal: str, *, admin: bool) -> None:
    """Raise PERMISSION_DENIED where a global table is neither this principal's, nor is it an admin."""
    if not admin and table.owner != principal:
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "TABLE_OF_ANOTHER",
            f"The global table {table.table_id!r} is {table.owner!r}'s, who alone, or an admin, changes, replaces or drops "
            "it. Take another name, or ask.",
            metadata={"table": table.table_id},
        )


def find(connection: sa.Connection, session_id: str, table_id: str) -> Table:
    """Return the table that a name stands for in a session now: its own, or else the global one.

    Raises:
        ScorestreamError: NOT_FOUND, naming the tables that there are.
    """
    named = {"session_id_": session_id, "table_id_": table_id}
    row = _BY_NAME.row(connection, named)
    if row is None:
        row = connection.execute(_GLOBAL_BY_NAME, {"table_id_": table_id}).one_or_none()
    if row is None:
        raise _unknown(connection, session_id, table_id)
    return _table(row)


def named(connection: sa.Connection, session_id: str, name: str) -> Table:
    """Return the table that `find` does, or by ``tables/NAME`` the global one; raises as it does."""
    if name.startswith(GLOBAL_PREFIX):
        return get(connection, "", name.removeprefix(GLOBAL_PREFIX))
    return find(connection, session_id, name)


def get(connection: sa.Connection, session_id: str, table_id: str) -> Table:
    """Return the session's own table of that name; where the session is empty, the global one.

    Raises:
        ScorestreamError: NOT_FOUND, naming the tables that there are.
    """
    row = connection.execute(sa.select(TABLES).where(_named(session_id, table_id))).one_or_none()
    if row is None:
        raise _unknown(connection, session_id, table_id)
    return _table(row)


def by_uid(connection: sa.Connection, uid: str) -> Table:
    """Return a table that a job refers to, dropped or not."""
    return _table(connection.execute(sa.select(TABLES).where(TABLES.c.uid == uid)).one())


def of_session(connection: sa.Connection, session_id: str) -> list[Table]:
    """Return a session's own tables by name; where it is empty, the global ones."""
    query = sa.select(TABLES).where(_in_scope(session_id)).order_by(TABLES.c.table_id)
    return [_table(row) for row in connection.execute(query)]


def count(connection: sa.Connection, session_id: str) -> int:
    """Return how many tables of its own a session has."""
    query = sa.select(sa.func.count()).select_from(TABLES).where(_in_scope(session_id))
    return int(connection.execute(query).scalar_one())


def drop(connection: sa.Connection, uid: str) -> None:
    """Drop a table; jobs that run on it still find it by its uid."""
    connection.execute(sa.update(TABLES).where(TABLES.c.uid == uid).values(dropped=True))


def drop_all(connection: sa.Connection, session_id: str) -> None:
    """Drop every table of a session that ends and takes their files along, but the global ones that were made in it."""
    own = sa.and_(TABLES.c.session_id == session_id, OF_SESSION)
    connection.execute(sa.update(TABLES).where(own).values(dropped=True, cleared=True))


def _in_scope(session_id: str) -> sa.ColumnElement[bool]:
    return (
        sa.and_(TABLES.c.session_id == session_id, LIVE, OF_SESSION) if session_id else sa.and_(LIVE, GLOBAL)
    )


def _named(session_id: str, table_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_in_scope(session_id), TABLES.c.table_id == table_id)


def _unknown(connection: sa.Connection, session_id: str, table_id: str) -> ScorestreamError:
    there = _some(connection, _in_scope(""))
    if session_id:
        told = f"The session has no table {table_id!r}, nor is there a global one. It has: "
        told += f"{_some(connection, _in_scope(session_id))}; global are: {there}. Load or upload it first."
    else:
        told = f"There is no global table {table_id!r}; there are: {there}."
    return not_found("TABLE_NOT_FOUND", told, table=table_id)


def _some(connection: sa.Connection, scope: sa.ColumnElement[bool]) -> str:
    query = sa.select(TABLES.c.table_id).where(scope).order_by(TABLES.c.table_id).limit(_NAMED + 1)
    names = list(connection.execute(query).scalars())
    more = ", ..." if len(names) > _NAMED else ""
    return (", ".join(map(repr, names[:_NAMED])) or "none") + more


def _table(row: Any) -> Table:
    return Table(
        row.uid,
        row.session_id,
        row.table_id,
        msgspec.json.decode(row.data, type=TableData),
        msgspec.json.decode(row.source_paths, type=Sequence[str]),
        row.size_bytes,
        row.stored_bytes,
        row.create_time,
        row.owner,
        row.is_global,
        row.label,
        row.lifetime,
        row.last_access_time,
        row.bytes_key,
        msgspec.json.decode(row.loaded, type=LoadedAs),
    )
