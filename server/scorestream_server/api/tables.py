"""The TableService."""

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from scorestream.v1 import table_pb2, table_save_pb2, table_service_pb2, table_service_pb2_grpc
from scorestream_server.api import convert, names
from scorestream_server.api.auth import Context, owner_of
from scorestream_server.api.found_tables import FoundTables
from scorestream_server.api.library_loads import library_inputs, library_named, shown_paths
from scorestream_server.api.saves import TableSaver
from scorestream_server.api.table_wishes import TableWish, check_copies, load_wish, table_wish
from scorestream_server.config import Config
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.loading import LoadWish, loaded_as, taken_along, told
from scorestream_server.domain.messages import HeadRead, ReadHead
from scorestream_server.domain.session import Session, require_active
from scorestream_server.domain.table import InputFile, LoadedAs, Table, TableData
from scorestream_server.engine import log_lines
from scorestream_server.engine.admission import Admission
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.cache_contents import Place, cache_estimate, stored_size
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.engine.homes import Places
from scorestream_server.engine.table_files import bytes_key, own_files
from scorestream_server.store import log as log_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database
from scorestream_server.store.libraries import LibraryStore
from scorestream_server.store.usage import Usage
from scorestream_server.tables.checksums import CACHE_FULL
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.plan import beginning
from scorestream_server.tables.upload import UploadWriter
from scorestream_server.workers.pool import WorkerPool

DEFAULT_HEAD = 10
LARGEST_HEAD = 1000
MOST_ROWS = 1 << 40
LOOK_EVERY_BATCHES = 4
"""So often an upload, whose size nobody knows, looks whether there is room on the disk."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A table that is to be made."""

    session_id: str
    table_id: str
    replace: bool
    owner: str
    admin: bool
    request_id: str
    room: int
    wish: TableWish


class TableService(table_service_pb2_grpc.TableServiceServicer):
    """Tables of sessions and global ones: loaded, uploaded, looked at, saved, dropped."""

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
        tables: FoundTables,
        libraries: LibraryStore,
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
        self._tables = tables
        self._libraries = libraries

    async def LoadTable(
        self, request: table_service_pb2.LoadTableRequest, context: Context
    ) -> table_pb2.Table:
        """Make a table of files."""
        faults = Faults()
        load = load_wish(request, faults)
        wanted = await self._wanted(request, "", context, faults)
        if isinstance(wanted, Table):
            return convert.table(self._tables.told(wanted))
        library = await self._database.read(
            lambda connection: library_named(connection, self._libraries, wanted.session_id, request.library)
        )

        def find(connection: sa.Connection) -> tuple[Session, Places]:
            session = session_store.get(connection, wanted.session_id, wanted.owner)
            return session, Places.of(connection, self._directory, session, request.paths)

        def inputs(places: Places) -> tuple[InputFile, ...]:
            return (
                places.inputs(self._roots)
                if library is None
                else library_inputs(library, request.paths, self._roots)
            )

        asked = loaded_as(self._config.backing_store, library, load)
        options = asked.options
        session, places = await self._database.read(find)
        files = await asyncio.to_thread(inputs, places)
        await self._admission.admit_inputs(session, files)

        async def fill(place: Place) -> TableData:
            shared = await self._cache.shared(place, files, options)
            return await self._cache.load(place, files, options) if shared is None else shared

        estimate = await asyncio.to_thread(cache_estimate, files, options)
        paths = request.paths if library is None else shown_paths(library, request.paths)
        async with self._kept.loading():
            made = await self._make(wanted, fill, tuple(paths), asked, estimate, context)
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
        faults = Faults()
        copies = check_copies(first.header, "header.", faults)
        wanted = await self._wanted(first.header, "header.", context, faults)
        if isinstance(wanted, Table):
            return convert.table(self._tables.told(wanted))
        return await self._make(
            wanted,
            lambda place: self._receive(request_iterator, place, wanted),
            (),
            loaded_as(self._config.backing_store, None, LoadWish(copies=copies)),
            0,
            context,
        )

    async def GetTable(self, request: table_service_pb2.GetTableRequest, context: Context) -> table_pb2.Table:
        """Return one table."""
        found = await self._tables.get("name", request.name, context)
        return convert.table(self._tables.told(found.table))

    async def ListTables(
        self, request: table_service_pb2.ListTablesRequest, context: Context
    ) -> table_service_pb2.ListTablesResponse:
        """List a session's tables, or the global ones."""
        session_id = ""
        if request.session:
            named = names.session_id("session", request.session)
            session_id = (await self._tables.session(named, context, active=False)).id
        tables = await self._database.read(lambda connection: table_store.of_session(connection, session_id))
        return table_service_pb2.ListTablesResponse(
            tables=[convert.table(self._tables.told(table)) for table in tables]
        )

    async def HeadTable(
        self, request: table_service_pb2.HeadTableRequest, context: Context
    ) -> table_service_pb2.HeadTableResponse:
        """Return the first rows of a table."""
        if request.limit < 0:
            raise invalid("INVALID_LIMIT", "limit must not be negative.", [FieldFault("limit", "negative")])
        limit = min(request.limit or DEFAULT_HEAD, LARGEST_HEAD)
        async with self._tables.reading("name", request.name, context) as found:
            head, _ = await self._cache.run(
                found.table,
                lambda data: ReadHead(self._pool.next_task_id(), beginning(data, limit), limit),
                HeadRead,
            )
        return table_service_pb2.HeadTableResponse(arrow_stream=head.stream)

    async def DropTable(
        self, request: table_service_pb2.DropTableRequest, context: Context
    ) -> table_service_pb2.DropTableResponse:
        """Drop a table."""
        found = await self._tables.get("name", request.name, context, active=True, own=True)
        principal = context.principal

        def drop(connection: sa.Connection) -> None:
            table = table_store.get(connection, found.session_id, found.table.table_id)
            if table.is_global:
                table_store.require_changeable(table, principal.name, admin=principal.admin)
            table_store.drop(connection, table.uid)

        await self._database.write(drop)
        await self._kept.sweep()
        self._cache.sweeper.sweep()
        return table_service_pb2.DropTableResponse()

    async def SaveTable(
        self, request: table_save_pb2.SaveTableRequest, context: Context
    ) -> table_save_pb2.SaveTableResponse:
        """Write a session's table to files."""
        async with self._tables.reading("name", request.name, context, active=True) as found:
            if found.session is None:
                told_ = "it is global; save a copy of it in a session"
                raise invalid("TABLE_IS_GLOBAL", f"name: {told_}.", [FieldFault("name", told_)])
            return await self._saver.save(request, found.table, found.session)

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

    async def _wanted(self, request: Any, prefix: str, context: Context, faults: Faults) -> _Wanted | Table:
        """Return what a request asks for, or what the same request made before.

        Args:
            request: a message with session, table_id, replace, request_id, label, lifetime and promote.
            prefix: where it is in what the client sent, for the names of faulty fields.
            context: of the call.
            faults: what is wrong with the request so far; raised here.
        """
        owner, admin = owner_of(context), context.principal.admin
        request_id = names.check_request_id(request.request_id)
        earlier = await self._database.read(
            lambda connection: table_store.find_request(connection, owner, request_id)
        )
        if earlier is not None:
            return earlier
        session_id = await self._session(request.session, context)
        wish = table_wish(request, prefix, faults)
        table_id = ""
        with faults.of(f"{prefix}table_id"):
            table_id = names.check_table_id(f"{prefix}table_id", request.table_id)
        faults.raise_any()
        scope = "" if wish.promote else session_id

        def look(connection: sa.Connection) -> int:
            # Before any work is done for it; the store decides in the end.
            if not request.replace:
                table_store.check_absent(connection, scope, table_id)
            elif not scope:
                table_store.check_replaceable(connection, table_id, owner, admin=admin)
            return self._usage.room(connection, owner)

        room = await self._database.read(look)
        return _Wanted(session_id, table_id, request.replace, owner, admin, request_id, room, wish)

    async def _make(
        self,
        wanted: _Wanted,
        fill: Callable[[Place], Awaitable[TableData]],
        paths: tuple[str, ...],
        asked: LoadedAs,
        estimate: int,
        context: Context,
    ) -> table_pb2.Table:
        """Have a new place in the cache filled and make a table of it; without one, nothing is left of the place."""
        uid, wish, copies = str(uuid.uuid4()), wanted.wish, asked.options.copies
        place = await self._cache.place(uid, wanted.owner, estimate, copies)
        recorded = False
        try:
            data = filled = await self._cache.keep(place, await fill(place), copies)
            if wish.promote:
                session = await self._tables.session(wanted.session_id, context, active=True)
                folder = self._directory.global_table(uid)
                data = await asyncio.to_thread(
                    own_files, data, folder, self._directory, session, of_home=True
                )
            now = time.time()
            size = sum(file.size for file in data.files)
            table = Table(
                uid,
                wanted.session_id,
                wanted.table_id,
                data,
                paths,
                size,
                stored_size(data),
                now,
                owner=wanted.owner,
                is_global=wish.promote,
                label=wish.label,
                lifetime=wish.lifetime,
                last_access_time=now,
                bytes_key=await asyncio.to_thread(bytes_key, data),
                loaded=taken_along(told(asked, filled, sent=not paths), filled, data),
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
                await asyncio.shield(self._forget(place))

    async def _record(self, wanted: _Wanted, table: Table, place: Place) -> Table:
        """Write a new table down, or remove its files."""
        made: Table | None = None

        def create(connection: sa.Connection) -> Table:
            # As long as it took, the session may be over.
            require_active(session_store.get(connection, wanted.session_id, wanted.owner))
            made = table_store.create(
                connection,
                table,
                wanted.owner,
                wanted.request_id,
                replace=wanted.replace,
                admin=wanted.admin,
            )
            if made.uid == table.uid:
                copies = table.loaded.options.copies
                log_store.write(connection, log_lines.table_loaded(made, made.create_time, copies))
            return made

        try:
            made = await self._database.write(create)
            return made
        finally:
            # Also where the same request, sent twice, was quicker the other time.
            if made is not None and made.uid == table.uid:
                await self._cache.settle(place, table.data)
            else:
                await self._forget(place)
            if wanted.replace:
                self._cache.sweeper.sweep()

    async def _forget(self, place: Place) -> None:
        """Remove all files of a table that did not come about."""
        await self._cache.settle(place, None)
        await asyncio.to_thread(shutil.rmtree, self._directory.global_table(place.uid), ignore_errors=True)

    async def _session(self, name: str, context: Context) -> str:
        return (await self._tables.session(names.session_id("session", name), context, active=True)).id
