"""The TableActionService."""

import asyncio
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

import sqlalchemy as sa

from scorestream.v1 import table_action_service_pb2, table_action_service_pb2_grpc, table_pb2
from scorestream_server.api import convert, library_wire, names
from scorestream_server.api.auth import Context, owner_of
from scorestream_server.api.found_tables import FoundTables
from scorestream_server.api.table_wishes import check_label
from scorestream_server.contexts.rules import require_known
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import FieldFault, invalid, precondition
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.loading import taken_along
from scorestream_server.domain.session import Session, require_active
from scorestream_server.domain.table import Table, TableData
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.cache_contents import shared_data
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.table_files import bytes_key, own_files
from scorestream_server.store import sessions as session_store
from scorestream_server.store import table_life
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database
from scorestream_server.store.usage import Usage

MOST_SOURCES = 1000
_CHANGING = ("label", "lifetime")
_Put = Callable[[sa.Connection, Table], Table]


class TableActionService(table_action_service_pb2_grpc.TableActionServiceServicer):
    """Tables are described, promoted, copied and updated."""

    def __init__(
        self,
        database: Database,
        directory: DataDirectory,
        tables: FoundTables,
        engine: Engine,
        usage: Usage,
        cache: TableCache,
    ) -> None:
        self._database = database
        self._directory = directory
        self._tables = tables
        self._engine = engine
        self._usage = usage
        self._cache = cache
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def DescribeTable(
        self, request: table_action_service_pb2.DescribeTableRequest, context: Context
    ) -> table_action_service_pb2.TableDescription:
        """Return all that is known of a table."""
        found = await self._tables.get("name", request.name, context)
        table = self._tables.told(found.table)

        def read(connection: sa.Connection) -> tuple[int, bool]:
            shared = table_life.sharing(connection, table)
            hides = not table.is_global and table_store.has_global(connection, table.table_id)
            return shared, hides

        sharing, hides = await self._database.read(read)
        jobs = sum(active.job.spec.table_uid == table.uid for active in self._engine.jobs.values())
        loaded, options = table.loaded, table.loaded.options
        loads = () if not table.source_paths else table.data.sources
        return table_action_service_pb2.TableDescription(
            table=convert.table(table),
            asked=library_wire.store(loaded.asked),
            origin=loaded.origin,
            note=loaded.note,
            library=loaded.library,
            columns=options.columns,
            where=options.where,
            on_source_change=library_wire.change(options.on_source_change),
            copies=options.copies,
            sources=[
                table_action_service_pb2.TableSource(
                    path=file.path,
                    size_bytes=file.size,
                    modify_time=convert.timestamp(file.mtime_ns / 1e9),
                )
                for file in loads[:MOST_SOURCES]
            ],
            source_count=len(loads),
            sharing=sharing,
            readers=jobs + self._tables.use.readers(table.uid),
            hides_global=hides,
        )

    async def PromoteTable(
        self, request: table_action_service_pb2.PromoteTableRequest, context: Context
    ) -> table_pb2.Table:
        """Make a session's table a global one."""
        if not names.table_ids("name", request.name)[0]:
            told = f"{request.name!r} is a global table already"
            raise precondition("TABLE_IS_GLOBAL", f"name: {told}.", table=request.name)
        async with self._tables.reading("name", request.name, context, active=True, own=True) as found:
            table = found.table
            admin = context.principal.admin

            def look(connection: sa.Connection) -> None:
                # Before any work is done for it; the store decides in the end.
                table_store.check_room(
                    connection, replace(table, is_global=True), replace=request.replace, admin=admin
                )
                self._usage.room(connection, table.owner)

            await self._database.read(look)

            def put(connection: sa.Connection, made: Table) -> Table:
                require_active(session_store.get(connection, table.session_id, table.owner))
                table_life.promote(connection, made, replace_=request.replace, admin=admin)
                return made

            try:
                made = await asyncio.shield(self._promote(table, put))
            except OSError:
                # A session's end takes the files along: then say that it has ended.
                await self._tables.session(table.session_id, context, active=True)
                raise
        return convert.table(self._tables.told(made))

    async def CopyTable(
        self, request: table_action_service_pb2.CopyTableRequest, context: Context
    ) -> table_pb2.Table:
        """Give a table another name or session; its bytes are shared."""
        owner, admin = owner_of(context), context.principal.admin
        request_id = names.check_request_id(request.request_id)
        earlier = await self._database.read(
            lambda connection: table_store.find_request(connection, owner, request_id)
        )
        if earlier is not None:
            return convert.table(self._tables.told(earlier))
        target = await self._tables.session(
            names.session_id("session", request.session), context, active=True
        )
        async with self._tables.reading("name", request.name, context) as found:
            table = found.table
            table_id = names.check_table_id("table_id", request.table_id or table.table_id)
            now = time.time()
            copy = replace(
                table,
                uid=str(uuid.uuid4()),
                session_id=target.id,
                table_id=table_id,
                owner=owner,
                is_global=False,
                create_time=now,
                last_access_time=now,
            )
            if table.session_id == target.id and table_id == table.table_id and not table.is_global:
                told = "a table cannot be copied to itself; give another name or session"
                raise invalid("COPY_TO_ITSELF", f"table_id: {told}.", [FieldFault("table_id", told)])

            def look(connection: sa.Connection) -> None:
                table_store.check_room(connection, copy, replace=request.replace, admin=admin)
                self._usage.room(connection, owner)

            await self._database.read(look)

            def put(connection: sa.Connection, made: Table) -> Table:
                require_active(session_store.get(connection, target.id, owner))
                return table_store.create(connection, made, owner, request_id, replace=request.replace)

            try:
                made = await asyncio.shield(self._copied(table, copy, put))
            except OSError:
                for session in filter(None, (found.session, target)):  # as above
                    await self._tables.session(session.id, context, active=True)
                raise
        return convert.table(self._tables.told(made))

    async def UpdateTable(
        self, request: table_action_service_pb2.UpdateTableRequest, context: Context
    ) -> table_pb2.Table:
        """Change a table's label and lifetime."""
        asked, faults = request.table, Faults()
        given = [field.name for field, _ in asked.ListFields() if field.name in _CHANGING]
        moved = set(request.update_mask.paths or given)
        for path in sorted(moved)[:100]:
            with faults.of("update_mask"):
                require_known("update_mask", path, _CHANGING)
        label, lifetime = "", 0.0
        with faults.of("table.label"):
            label = check_label("table.label", asked.label)
        with faults.of("table.lifetime"):
            lifetime = names.check_seconds("table.lifetime", asked.lifetime)
        faults.raise_any()
        found = await self._tables.get("table.name", asked.name, context, active=True, own=True)
        principal, now = context.principal, time.time()

        def change(connection: sa.Connection) -> Table:
            table = table_store.get(connection, found.session_id, found.table.table_id)
            if table.is_global:
                table_store.require_changeable(table, principal.name, admin=principal.admin)
            if asked.etag and asked.etag != table.etag:
                raise precondition(
                    "STALE_ETAG",
                    f"Table {table.table_id!r} was changed after you read it: your etag is {asked.etag[:80]!r}, its own is now "
                    f"{table.etag!r}. Read it again, and repeat your change if it is still wanted.",
                    table=table.table_id,
                    etag=table.etag,
                )
            new = replace(
                table,
                label=label if "label" in moved else table.label,
                lifetime=lifetime if "lifetime" in moved else table.lifetime,
                last_access_time=now,
            )
            table_life.update(connection, new)
            return new

        return convert.table(await self._database.write(change))

    async def _promote(self, table: Table, put: _Put) -> Table:
        # One after the other: a table keeps its uid, and with it its folder.
        lock = self._locks.setdefault(table.uid, asyncio.Lock())
        async with lock:
            await self._database.read(lambda connection: table_life.require_unchanged(connection, table))
            folder = self._directory.global_table(table.uid)
            return await self._with_files(table, replace(table, is_global=True), folder, put, of_home=True)

    async def _copied(self, table: Table, copy: Table, put: _Put) -> Table:
        """Record a copy of a table that shares its bytes: those in the cache under names of its own."""
        of_home = copy.session_id != table.session_id
        folder = self._directory.table(copy.session_id, copy.uid)
        if not table.data.cached:
            return await self._with_files(table, copy, folder, put, of_home=of_home)
        made: Table | None = None
        with self._cache.using(table.uid):
            place = await self._cache.place(copy.uid, copy.owner, 0, table.loaded.options.copies)
            try:
                shared = await asyncio.to_thread(shared_data, table.data, copy.uid)
                made = await self._with_files(replace(table, data=shared), copy, folder, put, of_home=of_home)
                return made
            finally:
                mine = made if made is not None and made.uid == copy.uid else None
                await asyncio.shield(self._cache.settle(place, None if mine is None else mine.data))

    async def _with_files(
        self,
        old: Table,
        new: Table,
        folder: Path,
        put: _Put,
        *,
        of_home: bool,
    ) -> Table:
        """Have a table that is made of another one's files recorded; without it, nothing is left of its folder."""
        session = await self._database.read(
            lambda connection: session_store.get(connection, old.session_id, None)
        )
        made: Table | None = None
        try:
            table = await asyncio.to_thread(
                _of_files, old, new, folder, self._directory, session, of_home=of_home
            )
            made = await self._database.write(lambda connection: put(connection, table))
            return made
        finally:
            # Also where the same request, sent twice, was quicker the other time.
            if made is None or made.uid != new.uid:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _of_files(
    old: Table, new: Table, folder: Path, directory: DataDirectory, session: Session, *, of_home: bool
) -> Table:
    data: TableData = own_files(
        old.data, folder, directory, session, of_home=of_home, anew=new.uid != old.uid
    )
    stored = 0 if data.in_place and old.source_paths else old.size_bytes
    loaded = taken_along(old.loaded, old.data, data)
    return replace(new, data=data, stored_bytes=stored, bytes_key=bytes_key(data), loaded=loaded)
