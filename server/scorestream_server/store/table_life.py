"""What becomes of tables in the store after they were made: promoted, updated, read, dropped in time, cleared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import Table
from scorestream_server.domain.table_life import Life
from scorestream_server.store import tables
from scorestream_server.store.schema import TABLES

_TO_CLEAR = sa.select(TABLES.c.uid, TABLES.c.session_id).where(TABLES.c.dropped, ~TABLES.c.cleared)
_LIVES = sa.select(TABLES.c.uid, TABLES.c.lifetime, TABLES.c.last_access_time).where(
    tables.LIVE, TABLES.c.lifetime > sa.literal_column("0")
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A table that was dropped and whose files may still be there."""

    uid: str
    session_id: str


def promote(connection: sa.Connection, table: Table, *, replace_: bool, admin: bool) -> None:
    """Make a session's table the global one of its name.

    Args:
        connection: of a transaction that writes.
        table: as it is to be, with files that do not end with the session; it keeps its uid.
        replace_: whether a global one that has its name makes room.
        admin: whether that may be somebody else's.

    Raises:
        ScorestreamError: as of `tables.put`; ABORTED, where the session has dropped or replaced it meanwhile.
    """
    require_unchanged(connection, replace(table, is_global=False))
    tables.make_room(connection, table, replace=replace_, admin=admin)
    values = {
        "is_global": True,
        "data": msgspec.json.encode(table.data),
        "stored_bytes": table.stored_bytes,
        "bytes_key": table.bytes_key,
        "loaded": msgspec.json.encode(table.loaded).decode(),
    }
    connection.execute(sa.update(TABLES).where(TABLES.c.uid == table.uid).values(values))


def require_unchanged(connection: sa.Connection, table: Table) -> None:
    """Raise ABORTED where a table's name stands for another one by now, or for none."""
    query = sa.select(TABLES.c.uid).where(
        TABLES.c.uid == table.uid, tables.LIVE, TABLES.c.is_global == table.is_global
    )
    if connection.execute(query).first() is None:
        raise ScorestreamError(
            ErrorCode.ABORTED,
            "TABLE_CHANGED",
            f"Table {table.table_id!r} was dropped, replaced or promoted meanwhile. Look at it again.",
            metadata={"table": table.table_id},
        )


def update(connection: sa.Connection, table: Table) -> None:
    """Write a table's label and lifetime, and that it was looked at now (`last_access_time`)."""
    values = {
        "label": table.label,
        "lifetime": table.lifetime,
        "last_access_time": table.last_access_time,
    }
    connection.execute(sa.update(TABLES).where(TABLES.c.uid == table.uid).values(values))


def touch_all(connection: sa.Connection, accesses: Mapping[str, float]) -> None:
    """Note when tables were last read, by their uids."""
    statement = (
        sa.update(TABLES)
        .where(TABLES.c.uid == sa.bindparam("uid_"), TABLES.c.last_access_time < sa.bindparam("time"))
        .values(last_access_time=sa.bindparam("time"))
    )
    if accesses:
        connection.execute(statement, [{"uid_": uid, "time": time} for uid, time in accesses.items()])


def lives(connection: sa.Connection) -> list[Life]:
    """Return what is known of the tables that do not stay for ever."""
    return [Life(row.uid, row.lifetime, row.last_access_time) for row in connection.execute(_LIVES)]


def sharing(connection: sa.Connection, table: Table) -> int:
    """Return how many tables map the very files that one does, itself among them."""
    if not table.bytes_key:
        return 0
    query = sa.select(sa.func.count()).select_from(TABLES)
    return int(
        connection.execute(query.where(TABLES.c.bytes_key == table.bytes_key, tables.LIVE)).scalar_one()
    )


def of_library(connection: sa.Connection) -> dict[str, int]:
    """Return how many tables there are of each library, by its resource name."""
    library = sa.func.json_extract(TABLES.c.loaded, "$.library")
    query = sa.select(library, sa.func.count()).where(tables.LIVE, library != "").group_by(library)
    return {row[0]: row[1] for row in connection.execute(query)}


def is_dropped(connection: sa.Connection, uid: str) -> bool:
    """Whether a table was dropped, so that its files are gone, or may go at any moment."""
    query = sa.select(TABLES.c.uid).where(TABLES.c.uid == uid, TABLES.c.dropped)
    return connection.execute(query).first() is not None


def to_clear(connection: sa.Connection) -> list[Dropped]:
    """Return the tables that were dropped, and of which that was not noted."""
    return [Dropped(row.uid, row.session_id) for row in connection.execute(_TO_CLEAR)]


def has_files_of(connection: sa.Connection, dropped: Dropped) -> bool:
    """Whether a table that is there has files in the folder of one that was dropped."""
    mark = f"/{dropped.uid}/".encode()
    found = connection.execute(
        sa.select(TABLES.c.data).where(TABLES.c.session_id == dropped.session_id, tables.LIVE)
    )
    return any(mark in data for data in found.scalars())


def clear(connection: sa.Connection, uids: Sequence[str]) -> None:
    """Note that nobody needs the files of tables any more; what is left of them is removed at the next start."""
    connection.execute(
        sa.update(TABLES).where(TABLES.c.uid == sa.bindparam("uid_")).values(cleared=True),
        [{"uid_": uid} for uid in uids],
    )
