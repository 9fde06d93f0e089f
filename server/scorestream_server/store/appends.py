"""Rows that join a table of a session: a new version of it, which shares the files of the one before."""

from dataclasses import replace

import pyarrow as pa
import sqlalchemy as sa

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import Table, TableData
from scorestream_server.store import tables as table_store
from scorestream_server.tables.appending import append_fault, column_faults


def check(connection: sa.Connection, session_id: str, table_id: str, columns: pa.Schema) -> None:
    """Refuse rows that could not join the table that has this name now, if one has.

    Raises:
        ScorestreamError: APPEND_DOES_NOT_MATCH, naming every column that differs.
    """
    there = _find(connection, session_id, table_id)
    if there is not None:
        _check(there, columns)


def append(connection: sa.Connection, added: Table) -> None:
    """Insert a table, behind whose rows of before it has the new ones; whoever reads those of before keeps them.

    Args:
        connection: in a transaction, so that of two who append at once each finds the rows of the other.
        added: the new rows, under the table's name.

    Raises:
        ScorestreamError: as `check`.
    """
    there = _find(connection, added.session_id, added.table_id)
    if there is None:
        table_store.put(connection, added, replace=False)
        return
    _check(there, pa.ipc.read_schema(pa.py_buffer(added.data.schema)))
    whole = replace(
        there,
        uid=added.uid,
        data=_behind(there.data, added.data),
        size_bytes=there.size_bytes + added.size_bytes,
        stored_bytes=there.stored_bytes + added.stored_bytes,
        create_time=added.create_time,
    )
    table_store.put(connection, whole, replace=True)


def _behind(old: TableData, new: TableData) -> TableData:
    # What is in the cache stays there, with how it can be made again: the new rows lie with their job.
    return replace(
        old,
        fragments=(*old.fragments, *new.fragments),
        files=(*old.files, *new.files),
        sources=(*old.sources, *new.sources),
        rows=old.rows + new.rows,
        in_place=old.in_place and new.in_place,
        notes=tuple(dict.fromkeys((*old.notes, *new.notes))),
    )


def _check(there: Table, columns: pa.Schema) -> None:
    faults = column_faults(pa.ipc.read_schema(pa.py_buffer(there.data.schema)), columns)
    if faults:
        raise append_fault(f"the table {there.table_id!r}", faults)


def _find(connection: sa.Connection, session_id: str, table_id: str) -> Table | None:
    try:
        return table_store.get(connection, session_id, table_id)
    except ScorestreamError:
        return None
