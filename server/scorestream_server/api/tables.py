"""The TableService."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from scorestream.v1 import table_pb2, table_save_pb2, table_service_pb2, table_service_pb2_grpc
from scorestream_server.api import convert, names
from scorestream_server.api.auth import Context, owner_of, reach_of, require_owner
from scorestream_server.api.saves import TableSaver
from scorestream_server.config import Config
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid
from scorestream_server.domain.messages import HeadRead, ReadHead
from scorestream_server.domain.session import Session, require_active
from scorestream_server.domain.table import LoadOptions, Table, TableData
from scorestream_server.engine import log_lines
from scorestream_server.engine.admission import Admission
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.cache_contents import Place, cache_estimate, stored_size
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.engine.homes import Places
from scorestream_server.store import log as log_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database
from scorestream_server.store.usage import Usage
from scorestream_server.tables.checksums import CACHE_FULL
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.plan import beginning
from scorestream_server.tables.upload import UploadWriter
from scorestream_server.workers.pool import WorkerPool

DEFAULT_HEAD = 10
LARGEST_HEAD = 1000
MOST_ROWS = 1 << 40
MOST_COPIES = 16
LOOK_EVERY_BATCHES = 4
"""So often an upload, whose size nobody knows, looks whether there is room on the disk."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A table that is to be made."""

    session_id: str
    table_id: str
    replace: bool
    owner: str
    request_id: str
    room: int
    copies: int | None


class TableService(table_service_pb2_grpc.TableServiceServicer):
    """Tables of a session: loaded, uploaded, looked at, dropped."""

    def __init__(
        self,
        config: Config,
        database: Database,
        pool: WorkerPool,
        directory: DataDirectory,
        roots: DataRoots,
        expiry: SessionExpiry,
        usage: Usage,
        saver: TableSaver,
        cache: TableCache,
        admission: Admission,
    ) -> None:
        self._admission = admission
        self._config = config
        self._database = database
        self._pool = pool
        self._directory = directory
        self._roots = roots
        self._expiry = expiry
        self._usage = usage
        self._saver = saver
        self._kept = saver.kept
        self._cache = cache

    async def LoadTable(
        self, request: table_service_pb2.LoadTableRequest, context: Context
    ) -> table_pb2.Table:
        """Make a table of files."""
        wanted = await self._wanted(request, "", context)
        if isinstance(wanted, Table):
            return convert.table(wanted)

        def find(connection: sa.Connection) -> tuple[Session, Places]:
            session = session_store.get(connection, wanted.session_id, wanted.owner)
            return session, Places.of(connection, self._directory, session, request.paths)

        session, places = await self._database.read(find)
        files = await asyncio.to_thread(places.inputs, self._roots)
        await self._admission.admit_inputs(session, files)
        options = LoadOptions(copies=wanted.copies)

        async def load(place: Place) -> TableData:
            shared = await self._cache.shared(place, files, options)
            return await self._cache.load(place, files, options) if shared is None else shared

        estimate = await asyncio.to_thread(cache_estimate, files, options)
        async with self._kept.loading():
            made = await self._make(wanted, load, tuple(request.paths), context, estimate)
        if wanted.replace:
            await self._kept.sweep()
        return made

    async def UploadTable(
        self, request_iterator: AsyncIterator[table_service_pb2.UploadTableRequest], context: Context
    ) -> table_pb2.Table:
        """Make a table of rows that the client sends."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "header":
            raise invalid("UPLOAD_ORDER", "The first message of an upload must be its header.")
        wanted = await self._wanted(first.header, "header.", context)
        if isinstance(wanted, Table):
            return convert.table(wanted)
        return await self._make(
            wanted,
            lambda place: self._receive(request_iterator, place, wanted),
            (),
            context,
            0,
        )

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
        head, _ = await self._cache.run(
            table,
            lambda data: ReadHead(self._pool.next_task_id(), beginning(data, limit), limit),
            HeadRead,
        )
        return table_service_pb2.HeadTableResponse(arrow_stream=head.stream)

    async def DropTable(
        self, request: table_service_pb2.DropTableRequest, context: Context
    ) -> table_service_pb2.DropTableResponse:
        """Drop a table."""
        session_id, table_id = names.table_ids("name", request.name)
        await self._session(f"sessions/{session_id}", context)
        await self._database.write(lambda connection: table_store.drop(connection, session_id, table_id))
        await self._kept.sweep()
        self._cache.sweeper.sweep()
        return table_service_pb2.DropTableResponse()

    async def SaveTable(
        self, request: table_save_pb2.SaveTableRequest, context: Context
    ) -> table_save_pb2.SaveTableResponse:
        """Write a table to files."""
        session_id, table_id = names.table_ids("name", request.name)
        session = await self._owned(session_id, context)
        table = await self._database.read(
            lambda connection: table_store.get(connection, session_id, table_id)
        )
        return await self._saver.save(request, table, session)

    async def _receive(
        self, messages: AsyncIterator[table_service_pb2.UploadTableRequest], place: Place, wanted: _Wanted
    ) -> TableData:
        path = place.folder / "upload.arrow"
        limit = min(self._config.limits.upload_bytes, wanted.room)
        batches = 0
        with UploadWriter(path, max_rows=MOST_ROWS, max_bytes=limit, room=place.room) as writer:
            # A stream that breaks off may look like one that ends: only a footer with the right count ends it.
            async for message in messages:
                self._expiry.seen(wanted.session_id)
                match message.WhichOneof("content"):
                    case "arrow_schema":
                        await asyncio.to_thread(writer.schema, message.arrow_schema)
                    case "arrow_batch":
                        await asyncio.to_thread(writer.batch, message.arrow_batch)
                        batches += 1
                        if not batches % LOOK_EVERY_BATCHES:
                            await self._cache.make_way(place)
                    case "footer" if message.footer.batches == batches:
                        return await asyncio.to_thread(writer.finish)
                    case _:
                        break
        raise invalid(
            "UPLOAD_INCOMPLETE",
            "An upload is a header, a schema, batches, and a footer with the number of batches; this one broke "
            "off or is out of order. Send it again.",
        )

    async def _wanted(self, request: Any, prefix: str, context: Context) -> _Wanted | Table:
        """Return what a request asks for, or what the same request made before.

        Args:
            request: a message with session, table_id, replace and request_id.
            prefix: where it is in what the client sent, for the names of faulty fields.
            context: of the call.
        """
        owner = owner_of(context)
        request_id = names.check_request_id(request.request_id)
        earlier = await self._database.read(
            lambda connection: table_store.find_request(connection, owner, request_id)
        )
        if earlier is not None:
            return earlier
        session_id = await self._session(request.session, context)
        table_id = names.check_table_id(f"{prefix}table_id", request.table_id)
        if not request.replace:
            # Before any work is done for it; the store decides in the end.
            await self._database.read(
                lambda connection: table_store.check_absent(connection, session_id, table_id)
            )
        room = await self._database.read(lambda connection: self._usage.room(connection, owner))
        copies = request.copies if request.HasField("copies") else None
        if copies is not None and not 0 <= copies <= MOST_COPIES:
            fault = FieldFault(f"{prefix}copies", f"{copies} is not from 0 to {MOST_COPIES}")
            raise invalid("INVALID_COPIES", f"{fault.field}: {fault.description}.", [fault])
        return _Wanted(session_id, table_id, request.replace, owner, request_id, room, copies)

    async def _make(
        self,
        wanted: _Wanted,
        fill: Callable[[Place], Awaitable[TableData]],
        paths: tuple[str, ...],
        context: Context,
        estimate: int,
    ) -> table_pb2.Table:
        """Have a new place in the cache filled and make a table of it; without one, nothing is left of the place."""
        uid = str(uuid.uuid4())
        place = await self._cache.place(uid, wanted.owner, estimate, wanted.copies)
        recorded = False
        data: TableData | None = None
        try:
            data = await self._cache.keep(place, await fill(place), wanted.copies)
            size = sum(file.size for file in data.files)
            table = Table(
                uid, wanted.session_id, wanted.table_id, data, paths, size, stored_size(data), time.time()
            )
            recorded = True
            # Shielded: a client that hangs up now must not have the files of a table removed that is being recorded.
            return convert.table(await asyncio.shield(self._record(wanted, table, place)))
        except (OSError, ScorestreamError) as error:
            if isinstance(error, OSError) or error.code is ErrorCode.INTERNAL:
                # A session's end takes its tables along: then say that it has ended.
                await self._session(f"sessions/{wanted.session_id}", context)
            if isinstance(error, ScorestreamError) and error.reason == CACHE_FULL and not error.metadata:
                raise await self._cache.full(place) from error
            raise
        finally:
            if not recorded:
                await asyncio.shield(self._cache.settle(place, None))

    async def _record(self, wanted: _Wanted, table: Table, place: Place) -> Table:
        """Write a new table down, or remove its files."""
        made: Table | None = None

        def create(connection: sa.Connection) -> Table:
            # As long as it took, the session may be over.
            require_active(session_store.get(connection, wanted.session_id, wanted.owner))
            made = table_store.create(
                connection, table, wanted.owner, wanted.request_id, replace=wanted.replace
            )
            if made.uid == table.uid:
                log_store.write(connection, log_lines.table_loaded(made, made.create_time, wanted.copies))
            return made

        try:
            made = await self._database.write(create)
            return made
        finally:
            # Also where the same request, sent twice, was quicker the other time.
            mine = made is not None and made.uid == table.uid
            await self._cache.settle(place, table.data if mine else None)
            if wanted.replace:
                self._cache.sweeper.sweep()

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
        self._expiry.seen(session_id)
        return session

    async def _get(self, name: str, context: Context) -> Table:
        session_id, table_id = names.table_ids("name", name)
        await self._owned(session_id, context)
        return await self._database.read(lambda connection: table_store.get(connection, session_id, table_id))
