"""Saving tables: by one at a time for each path, and only over what the saver has seen."""

import asyncio
import contextlib
import functools
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakValueDictionary

import sqlalchemy as sa

from scorestream.v1 import table_save_pb2
from scorestream_server.api import names
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid
from scorestream_server.domain.messages import RowsSaved, SaveRows
from scorestream_server.domain.save import Save
from scorestream_server.domain.session import Session, require_active
from scorestream_server.domain.table import Destination, SourceFile, Table, TableData
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.homes import Homes, Places
from scorestream_server.engine.kept import KeptVersions
from scorestream_server.store import kept as kept_store
from scorestream_server.store import saves as save_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database
from scorestream_server.tables.identity import CHANGED_SINCE_LOAD, change, etag, etag_at
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.publication import settle
from scorestream_server.tables.publish import check_output
from scorestream_server.workers.pool import WorkerPool


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A save that is to be done.

    Attributes:
        save: with what was there when the request came as its etag; empty: nothing.
    """

    save: Save
    destination: Destination
    table: Table
    request_id: str


async def recover_saves(database: Database, directory: DataDirectory) -> None:
    """Write down what became of the saves of the last run: one whose file has its name was done, another was not."""
    for save in await database.read(save_store.unfinished):
        arrived = await asyncio.to_thread(settle, directory.journal(save.save_id)) is not None
        there = await asyncio.to_thread(etag_at, Path(save.path))
        await database.write(functools.partial(_write_down, save=replace(save, etag=there), arrived=arrived))


def _write_down(connection: sa.Connection, *, save: Save, arrived: bool, request_id: str = "") -> None:
    if arrived:
        save_store.finish(connection, save, request_id)
    else:
        save_store.give_up(connection, save.save_id)


class TableSaver:
    """Saves tables; used on the event loop only."""

    def __init__(
        self,
        database: Database,
        pool: WorkerPool,
        cache: TableCache,
        directory: DataDirectory,
        roots: DataRoots,
        homes: Homes,
        kept: KeptVersions,
    ) -> None:
        self._database = database
        self._pool = pool
        self._cache = cache
        self._directory = directory
        self._roots = roots
        self._homes = homes
        self.kept = kept
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def save(
        self, request: table_save_pb2.SaveTableRequest, table: Table, session: Session
    ) -> table_save_pb2.SaveTableResponse:
        """Save a table of a session."""
        require_active(session)
        request_id = names.check_request_id(request.request_id)
        if (earlier := await self._earlier(session, request_id)) is not None:
            return _response(earlier)
        wanted = await self._wanted(request, table, session, request_id)
        # Shielded: a client that hangs up now must not stop between a file that has its name and its record.
        return _response(await asyncio.shield(self._save(wanted)))

    async def _wanted(
        self, request: table_save_pb2.SaveTableRequest, table: Table, session: Session, request_id: str
    ) -> _Wanted:
        source = table.source_paths[0] if len(table.source_paths) == 1 else ""
        if not (request.path or source):
            raise invalid(
                "SAVE_NEEDS_PATH",
                f"Table {table.table_id!r} was not loaded from one file or directory, so it does not say where to save "
                "it. Give a path.",
                [FieldFault("path", "missing")],
            )
        destination = await self._destination(session, request.path or source)
        own = bool(source) and await self._is_source(session, source, destination)
        seen = request.etag or (table.data.saved_etag or etag(table.data.sources) if own else "")
        check = bool(seen) or request.replace
        there = await asyncio.to_thread(_look, destination, replace=check)
        save = Save(
            str(uuid.uuid4()),
            destination.path,
            destination.named(destination.path),
            table.uid,
            session.id,
            session.owner,
            own,
            seen or there,
            time.time(),
        )
        if save.etag != there:
            raise await self._changed(save, there)
        return _Wanted(save, destination, table, request_id)

    async def _save(self, wanted: _Wanted) -> Save:
        save = wanted.save
        async with self._locks.setdefault(save.path, asyncio.Lock()):
            owner = await self._database.read(
                lambda connection: session_store.get(connection, save.session_id, None)
            )
            if (earlier := await self._earlier(owner, wanted.request_id)) is not None:
                return earlier
            there = await asyncio.to_thread(etag_at, Path(save.path))
            if there != save.etag:
                raise await self._changed(save, there)
            await self._database.write(lambda connection: save_store.begin(connection, save))
            try:
                etag_now = await self._write(wanted)
            except Exception:
                # Not where the server stops: then the next one sees what became of it.
                await self._database.write(lambda connection: save_store.give_up(connection, save.save_id))
                raise
            return await self._done(replace(save, etag=etag_now), wanted.request_id)

    async def _write(self, wanted: _Wanted) -> str:
        """Have the rows written, and return the etag of what is there then."""
        save, journal = wanted.save, self._directory.journal(wanted.save.save_id)
        needed = await self._database.read(
            lambda connection: kept_store.sources_at(connection, Path(save.path))
        )

        def task(data: TableData) -> SaveRows:
            return SaveRows(
                self._pool.next_task_id(),
                data,
                str(self._directory.reads(save.session_id) / f"{save.save_id}.tmp"),
                wanted.destination,
                save.etag,
                str(journal),
                str(self._directory.kept),
                needed,
            )

        try:
            saved, _ = await self._cache.run(wanted.table, task, RowsSaved)
        except ScorestreamError as error:
            if error.reason == CHANGED_SINCE_LOAD:
                there = await asyncio.to_thread(etag_at, Path(save.path))
                raise await self._changed(save, there) from error
            # Who lost its worker could not tidy up; who has one did.
            lost = error.reason in {"WORKER_LOST", "TASK_STALLED"}
            arrived = await asyncio.to_thread(settle, journal) if lost else None
            if arrived is None:
                raise
            return await asyncio.to_thread(etag_at, Path(save.path))
        return saved.etag

    async def _done(self, save: Save, request_id: str) -> Save:
        """Write down that a save is done; only then is its note forgotten."""
        await self._database.write(
            functools.partial(_write_down, save=save, arrived=True, request_id=request_id)
        )
        with contextlib.suppress(OSError):  # else the next start does
            await asyncio.to_thread(self._directory.journal(save.save_id).unlink, missing_ok=True)
        if save.shown != save.path:
            with contextlib.suppress(OSError, ScorestreamError):  # else the home's next change does
                await self._homes.measure(save.session_id)
        await self.kept.sweep()
        return save

    async def _destination(self, session: Session, path: str) -> Destination:
        places = await self._database.read(
            lambda connection: Places.of(connection, self._directory, session, [path])
        )
        return await asyncio.to_thread(places.output, self._roots)

    async def _is_source(self, session: Session, source: str, destination: Destination) -> bool:
        """Return whether a table was loaded from all that is at a destination."""
        try:
            return (await self._destination(session, source)).path == destination.path
        except ScorestreamError:  # it can be read, but not be written
            return False

    async def _earlier(self, session: Session, request_id: str) -> Save | None:
        return await self._database.read(
            lambda connection: save_store.by_request(connection, session.owner, request_id)
        )

    async def _changed(self, save: Save, there: str) -> ScorestreamError:
        """Return the error for a path at which something else is, with who put it there."""

        def look(connection: sa.Connection) -> tuple[Save, Session] | None:
            by = save_store.by_etag(connection, save.path, there)
            return None if by is None else (by, session_store.get(connection, by.session_id, None))

        found = await self._database.read(look)
        sources = await self._database.read(
            lambda connection: kept_store.sources_at(connection, Path(save.path))
        )
        metadata = {"path": save.shown, "etag": there}
        if not there:
            who = "it is gone"
        elif found is None:
            what = await asyncio.to_thread(_what_changed, save.path, sources)
            who = f"outside of this server it {what}"
        else:
            by, session = found
            when = _utc(by.time)
            who = f"{by.owner!r} saved over it from session {session.name!r} ({session.id}) at {when}"
            metadata |= {"principal": by.owner, "session": session.id, "time": when}
        hint = f"; to replace what is there, give its etag {there}" if there else ""
        return ScorestreamError(
            ErrorCode.ABORTED,
            CHANGED_SINCE_LOAD,
            f"{save.shown!r} is not what it was: {who}. Nothing was saved. Load it again and do your changes to that, or "
            f"save to another path{hint}.",
            metadata=metadata,
        )


def _look(destination: Destination, *, replace: bool) -> str:
    """Return the etag of what is at a destination, if a table can be saved there."""
    check_output(destination, replace=replace)
    return etag_at(Path(destination.path))


def _what_changed(path: str, sources: Iterable[SourceFile]) -> str:
    """Return how what is at a path is not what tables have of it, as far as they tell."""
    try:
        written = f"was written at {_utc(Path(path).stat().st_mtime)}"
    except OSError:
        written = "was changed"
    return next((what for file in sources if (what := change(file))), written)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _response(save: Save) -> table_save_pb2.SaveTableResponse:
    return table_save_pb2.SaveTableResponse(etag=save.etag, path=save.shown)
