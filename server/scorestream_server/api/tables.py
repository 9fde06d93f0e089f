"""The TableService."""

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow as pa

from scorestream.v1 import table_pb2, table_service_pb2, table_service_pb2_grpc
from scorestream_server.api import convert, names
from scorestream_server.api.auth import Context, reach_of, require_owner
from scorestream_server.config import Config
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.messages import LoadTable, TableLoaded
from scorestream_server.domain.session import Session
from scorestream_server.domain.table import Table, TableData
from scorestream_server.engine.submit import require_active
from scorestream_server.store import sessions as session_store
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.upload import UploadWriter
from scorestream_server.workers.pool import WorkerPool, run_anywhere

DEFAULT_HEAD = 10
LARGEST_HEAD = 1000
MOST_ROWS = 1 << 40


class TableService(table_service_pb2_grpc.TableServiceServicer):
    """Tables of a session: loaded, uploaded, looked at, dropped."""

    def __init__(
        self, config: Config, database: Database, pool: WorkerPool, directory: DataDirectory, roots: DataRoots
    ) -> None:
        self._config = config
        self._database = database
        self._pool = pool
        self._directory = directory
        self._roots = roots
        self._reader = TableReader(cache_bytes=0)

    async def LoadTable(
        self, request: table_service_pb2.LoadTableRequest, context: Context
    ) -> table_pb2.Table:
        """Make a table of files."""
        session_id = await self._session(request.session, context)
        table_id = names.check_table_id("table_id", request.table_id)
        await self._check_free(session_id, table_id, replace=request.replace)
        paths = await asyncio.to_thread(self._roots.inputs, tuple(request.paths))
        uid = str(uuid.uuid4())
        cache = self._directory.table(session_id, uid)
        try:
            await asyncio.to_thread(cache.mkdir, parents=True)
            task = LoadTable(self._pool.next_task_id(), tuple(map(str, paths)), str(cache))
            data = (await run_anywhere(self._pool, task, TableLoaded)).table
            return await self._put(session_id, table_id, uid, data, tuple(request.paths), request.replace)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, cache, ignore_errors=True))
            raise

    async def UploadTable(
        self, request_iterator: AsyncIterator[table_service_pb2.UploadTableRequest], context: Context
    ) -> table_pb2.Table:
        """Make a table of rows that the client sends."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "header":
            raise invalid("UPLOAD_ORDER", "The first message of an upload must be its header.")
        header = first.header
        session_id = await self._session(header.session, context)
        table_id = names.check_table_id("header.table_id", header.table_id)
        await self._check_free(session_id, table_id, replace=header.replace)
        uid = str(uuid.uuid4())
        folder = self._directory.table(session_id, uid)
        try:
            await asyncio.to_thread(folder.mkdir, parents=True)
            data = await self._receive(request_iterator, folder / "upload.arrow")
            return await self._put(session_id, table_id, uid, data, (), header.replace)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
            raise

    async def GetTable(self, request: table_service_pb2.GetTableRequest, context: Context) -> table_pb2.Table:
        """Return one table."""
        return convert.table(await self._get(request.name, context))

    async def ListTables(
        self, request: table_service_pb2.ListTablesRequest, context: Context
    ) -> table_service_pb2.ListTablesResponse:
        """List a session's tables."""
        session_id = (await self._owned(names.session_id("session", request.session), context)).id
        tables = await self._database.read(lambda connection: table_store.of_session(connection, session_id))
        return table_service_pb2.ListTablesResponse(tables=map(convert.table, tables))

    async def HeadTable(
        self, request: table_service_pb2.HeadTableRequest, context: Context
    ) -> table_service_pb2.HeadTableResponse:
        """Return the first rows of a table."""
        if request.limit < 0:
            raise invalid("INVALID_LIMIT", "limit must not be negative.", [FieldFault("limit", "negative")])
        limit = min(request.limit or DEFAULT_HEAD, LARGEST_HEAD)
        table = await self._get(request.name, context)
        stream = await asyncio.to_thread(self._head, table.data, limit)
        return table_service_pb2.HeadTableResponse(arrow_stream=stream)

    async def DropTable(
        self, request: table_service_pb2.DropTableRequest, context: Context
    ) -> table_service_pb2.DropTableResponse:
        """Drop a table."""
        session_id, table_id = names.table_ids("name", request.name)
        await self._session(f"sessions/{session_id}", context)
        await self._database.write(lambda connection: table_store.drop(connection, session_id, table_id))
        return table_service_pb2.DropTableResponse()

    async def _receive(
        self, messages: AsyncIterator[table_service_pb2.UploadTableRequest], path: Path
    ) -> TableData:
        limit = self._config.max_upload_bytes
        batches = 0
        batches = 0
        with UploadWriter(path, max_rows=MOST_ROWS, max_bytes=limit) as writer:
            # A stream that breaks off may look like one that ends: only a footer with the right count ends it.
            async for message in messages:
                match message.WhichOneof("content"):
                    case "arrow_schema":
                        await asyncio.to_thread(writer.schema, message.arrow_schema)
                    case "arrow_batch":
                        await asyncio.to_thread(writer.batch, message.arrow_batch)
                        batches += 1
                    case "footer" if message.footer.batches == batches:
                        return await asyncio.to_thread(writer.finish)
                    case _:
                        break
        raise invalid(
            "UPLOAD_INCOMPLETE",
            "An upload is a header, a schema, batches, and a footer with the number of batches; this one broke "
            "off or is out of order. Send it again.",
        )

    async def _put(
        self, session_id: str, table_id: str, uid: str, data: TableData, paths: tuple[str, ...], replace: bool
    ) -> table_pb2.Table:
        size = sum(file.size for file in data.files)
        table = Table(uid, session_id, table_id, data, paths, size, time.time())
        await self._database.write(lambda connection: table_store.put(connection, table, replace=replace))
        return convert.table(table)

    async def _session(self, name: str, context: Context) -> str:
        session = await self._owned(names.session_id("session", name), context)
        require_active(session)
        return session.id

    async def _owned(self, session_id: str, context: Context) -> Session:
        """Return a session of the caller's own."""
        owner = reach_of(context)
        session = await self._database.read(
            lambda connection: session_store.get(connection, session_id, owner)
        )
        require_owner(context, session.owner)
        return session

    async def _check_free(self, session_id: str, table_id: str, *, replace: bool) -> None:
        """Refuse a name that is taken before any work is done for it; `put` decides in the end."""
        if not replace:
            await self._database.read(
                lambda connection: table_store.check_absent(connection, session_id, table_id)
            )

    async def _get(self, name: str, context: Context) -> Table:
        session_id, table_id = names.table_ids("name", name)
        await self._owned(session_id, context)
        return await self._database.read(lambda connection: table_store.get(connection, session_id, table_id))

    def _head(self, data: TableData, limit: int) -> bytes:
        rows = self._reader.head(data, limit)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        return bytes(sink.getvalue())
