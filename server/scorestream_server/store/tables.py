"""Tables of sessions in the store."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found
from scorestream_server.domain.table import Table, TableData
from scorestream_server.store import requests
from scorestream_server.store.prepared import Prepared
from scorestream_server.store.schema import TABLES

_BY_NAME = Prepared(
    sa.select(TABLES).where(
        TABLES.c.session_id == sa.bindparam("session_id_"),
        TABLES.c.table_id == sa.bindparam("table_id_"),
        ~TABLES.c.dropped,
    )
)


def find_request(connection: sa.Connection, owner: str, request_id: str) -> Table | None:
    """Return the table that a request with this id created, if one did; it may have been dropped since."""
    earlier = requests.find(connection, owner, request_id, "table") if request_id else None
    return by_uid(connection, earlier) if earlier else None


def create(connection: sa.Connection, table: Table, owner: str, request_id: str, *, replace: bool) -> Table:
    """Insert a table as `put` does; a request id seen before gives the table of then.

    Raises:
        ScorestreamError: as `put`.
    """
    earlier = find_request(connection, owner, request_id)
    if earlier is not None:
        return earlier
    put(connection, table, replace=replace)
    if request_id:
        requests.record(connection, owner, request_id, "table", table.uid, table.create_time)
    return table


def put(connection: sa.Connection, table: Table, *, replace: bool) -> None:
    """Insert a table.

    Raises:
        ScorestreamError: ALREADY_EXISTS, where the session has one of that name and `replace` is false.
    """
    live = sa.and_(
        TABLES.c.session_id == table.session_id, TABLES.c.table_id == table.table_id, ~TABLES.c.dropped
    )
    if replace:
        connection.execute(sa.update(TABLES).where(live).values(dropped=True))
    else:
        check_absent(connection, table.session_id, table.table_id)
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
        )
    )


def check_absent(connection: sa.Connection, session_id: str, table_id: str) -> None:
    """Raise ALREADY_EXISTS where the session has a table of that name."""
    live = sa.select(TABLES.c.uid).where(
        TABLES.c.session_id == session_id, TABLES.c.table_id == table_id, ~TABLES.c.dropped
    )
    if connection.execute(live).first() is not None:
        raise ScorestreamError(
            ErrorCode.ALREADY_EXISTS,
            "TABLE_EXISTS",
            f"The session has a table {table_id!r} already. Ask for `replace`, or take another name.",
            metadata={"table": table_id},
        )


def get(connection: sa.Connection, session_id: str, table_id: str) -> Table:
    """Return the table that has this name now.

    Raises:
        ScorestreamError: NOT_FOUND, naming the tables that there are.
    """
    row = _BY_NAME.row(connection, {"session_id_": session_id, "table_id_": table_id})
    if row is None:
        query = sa.select(TABLES).where(TABLES.c.session_id == session_id, ~TABLES.c.dropped)
        names = connection.execute(query.order_by(TABLES.c.table_id).limit(10)).all()
        there = ", ".join(repr(other.table_id) for other in names) or "none"
        raise not_found(
            "TABLE_NOT_FOUND",
            f"The session has no table {table_id!r}; it has: {there}. Load or upload it first.",
            table=table_id,
        )
    return _table(row)


def by_uid(connection: sa.Connection, uid: str) -> Table:
    """Return a table that a job refers to, dropped or not."""
    return _table(connection.execute(sa.select(TABLES).where(TABLES.c.uid == uid)).one())


def of_session(connection: sa.Connection, session_id: str) -> list[Table]:
    """Return a session's tables by name."""
    query = sa.select(TABLES).where(TABLES.c.session_id == session_id, ~TABLES.c.dropped)
    return [_table(row) for row in connection.execute(query.order_by(TABLES.c.table_id))]


def count(connection: sa.Connection, session_id: str) -> int:
    """Return how many tables a session has."""
    query = sa.select(sa.func.count()).where(TABLES.c.session_id == session_id, ~TABLES.c.dropped)
    return int(connection.execute(query).scalar_one())


def drop(connection: sa.Connection, session_id: str, table_id: str) -> Table:
    """Drop a table and return it; jobs that run on it still find it by its uid."""
    table = get(connection, session_id, table_id)
    connection.execute(sa.update(TABLES).where(TABLES.c.uid == table.uid).values(dropped=True))
    return table


def drop_all(connection: sa.Connection, session_id: str) -> None:
    """Drop every table of a session that ends."""
    connection.execute(sa.update(TABLES).where(TABLES.c.session_id == session_id).values(dropped=True))


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
    )
