"""The DataService."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from scorestream.v1 import data_service_pb2, data_service_pb2_grpc
from scorestream_server.api import convert_files
from scorestream_server.api.auth import Context
from scorestream_server.api.found_tables import FoundTable, FoundTables
from scorestream_server.api.owned import OwnSessions
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid, precondition
from scorestream_server.domain.messages import ReadRows, RowsRead
from scorestream_server.domain.rows import OrderBy, RowCursor, RowQuery
from scorestream_server.domain.table import TableData
from scorestream_server.domain.variable import Variable
from scorestream_server.engine.cache import TableCache
from scorestream_server.store import variables as variable_store
from scorestream_server.store.database import Database
from scorestream_server.tables.rows import readable_schema
from scorestream_server.workers.pool import WorkerPool

MOST_ORDER = 100


class DataService(data_service_pb2_grpc.DataServiceServicer):
    """What is in tables."""

    def __init__(
        self,
        database: Database,
        pool: WorkerPool,
        directory: DataDirectory,
        sessions: OwnSessions,
        tables: FoundTables,
        cache: TableCache,
    ) -> None:
        self._cache = cache
        self._database = database
        self._pool = pool
        self._directory = directory
        self._sessions = sessions
        self._tables = tables

    async def ListColumns(
        self, request: data_service_pb2.ListColumnsRequest, context: Context
    ) -> data_service_pb2.ListColumnsResponse:
        """List a table's columns."""
        table = (await self._tables.get("name", request.name, context, active=True)).table
        schema = pa.ipc.read_schema(pa.py_buffer(table.data.schema))
        return data_service_pb2.ListColumnsResponse(columns=convert_files.columns(schema))

    async def ReadRows(
        self, request: data_service_pb2.ReadRowsRequest, context: Context
    ) -> AsyncIterator[data_service_pb2.ReadRowsResponse]:
        """Stream rows of a table."""
        async with self._tables.reading("name", request.name, context, active=True) as found:
            rows = self._read(request, found, context)
            with self._cache.using(found.table.uid):
                async with contextlib.aclosing(rows):
                    async for response in rows:
                        yield response

    async def _read(
        self, request: data_service_pb2.ReadRowsRequest, found: FoundTable, context: Context
    ) -> AsyncGenerator[data_service_pb2.ReadRowsResponse, None]:
        session, table = found.session, found.table
        variables: tuple[Variable, ...] = ()
        if request.where and session is not None:
            variables = await self._database.read(
                lambda connection: variable_store.of_session(connection, found.session_id)
            )
        query = replace(_query(request), variables=variables)
        if request.etag and request.etag != table.uid:
            raise precondition(
                "TABLE_CHANGED",
                f"Table {table.table_id!r} was replaced since the etag was given. Read it from the beginning.",
                table=table.table_id,
            )
        schema = readable_schema(table.data)
        yield data_service_pb2.ReadRowsResponse(arrow_schema=schema.serialize().to_pybytes(), etag=table.uid)
        limit = request.limit if request.HasField("limit") else None
        cursor = RowCursor.beginning(table.data, query, request.start, limit)
        first = True
        while first or not cursor.ended(table.data):
            path = self._directory.reads(found.session_id) / f"{uuid.uuid4()}.tmp"
            try:
                wanted = query if first else query.without_header()

                def task(
                    data: TableData, path: Path = path, at: RowCursor = cursor, wanted: RowQuery = wanted
                ) -> ReadRows:
                    part, place = at.window(data, wanted)
                    return ReadRows(self._pool.next_task_id(), part, wanted, place, str(path))

                read, table = await self._cache.run(table, task, RowsRead)
                async for response in _responses(path, read, csv=query.csv):
                    yield response
                    if session is not None:
                        self._sessions.seen(session)
            except (OSError, ScorestreamError):
                if session is not None:
                    # A session's end takes the file along: then say that it has ended.
                    await self._sessions.active("name", f"sessions/{session.id}", context)
                raise
            finally:
                await asyncio.shield(asyncio.to_thread(path.unlink, missing_ok=True))
            cursor, first = cursor.after(read.cursor, query), False


def _query(request: data_service_pb2.ReadRowsRequest) -> RowQuery:
    faults = [FieldFault(field, "negative") for field in ("start", "limit") if getattr(request, field) < 0]
    if len(request.order_by) > MOST_ORDER:
        faults.append(FieldFault("order_by", f"more than {MOST_ORDER} columns"))
    if faults:
        told = "; ".join(f"{fault.field}: {fault.description}" for fault in faults)
        raise invalid("INVALID_ROWS", f"{told}.", faults)
    csv = request.format == data_service_pb2.ROW_FORMAT_CSV
    order_by = tuple(OrderBy(order.column, order.descending) for order in request.order_by)
    return RowQuery(request.where, order_by, csv, header=csv and not request.continued)


async def _responses(
    path: Path, read: RowsRead, *, csv: bool
) -> AsyncIterator[data_service_pb2.ReadRowsResponse]:
    """Yield what a worker wrote down."""
    with await asyncio.to_thread(path.open, "rb") as file:
        for part in read.parts:
            message = await asyncio.to_thread(file.read, part.bytes)
            yield (
                data_service_pb2.ReadRowsResponse(csv=message, rows=part.rows)
                if csv
                else data_service_pb2.ReadRowsResponse(arrow_batch=message, rows=part.rows)
            )
