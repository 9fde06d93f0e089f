"""The LibraryService."""

import asyncio
import time

import sqlalchemy as sa

from scorestream.v1 import data_pb2, library_service_pb2, library_service_pb2_grpc
from scorestream_server.api import library_wire, names
from scorestream_server.api.auth import Context, owner_of, require_admin
from scorestream_server.api.owned import OwnSessions
from scorestream_server.contexts.library_rules import check_library_id, library_of
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.library import Library
from scorestream_server.store import table_life
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database
from scorestream_server.store.libraries import LibraryStore
from scorestream_server.tables.paths import DataRoots


class LibraryService(library_service_pb2_grpc.LibraryServiceServicer):
    """Libraries: global ones, read by all and changed by admins, and those of sessions, which are their owners'."""

    def __init__(
        self, database: Database, libraries: LibraryStore, roots: DataRoots, sessions: OwnSessions
    ) -> None:
        self._database = database
        self._libraries = libraries
        self._roots = roots
        self._sessions = sessions

    async def CreateLibrary(
        self, request: library_service_pb2.CreateLibraryRequest, context: Context
    ) -> data_pb2.Library:
        """Create a library."""
        session_id = await self._scope(request.session, context, "Making global libraries")
        faults = Faults()
        library_id = ""
        with faults.of("request_id"):
            request_id = names.check_request_id(request.request_id)
        with faults.of("library_id"):
            library_id = check_library_id("library_id", request.library_id)
        values, now = library_wire.attributes(request.library), time.time()
        with faults.of("library"):
            # In a thread: it looks at folders of the machine.
            wanted = await asyncio.to_thread(
                library_of,
                library_id,
                session_id,
                values,
                self._roots,
                "library",
                owner=owner_of(context),
                create_time=now,
                update_time=now,
            )
        faults.raise_any()
        stored = await self._database.write(
            lambda connection: self._libraries.create(connection, wanted, request_id)
        )
        return await self._told(stored)

    async def GetLibrary(
        self, request: library_service_pb2.GetLibraryRequest, context: Context
    ) -> data_pb2.Library:
        """Return one library."""
        session_id, library_id = names.library_ids("name", request.name)
        if session_id:
            await self._sessions.active("name", f"sessions/{session_id}", context)
        return await self._told(await self._get(session_id, library_id))

    async def ListLibraries(
        self, request: library_service_pb2.ListLibrariesRequest, context: Context
    ) -> library_service_pb2.ListLibrariesResponse:
        """List a session's libraries and the global ones, or the global ones."""
        session_id = ""
        if request.session:
            session_id = (await self._sessions.active("session", request.session, context)).id

        def read(connection: sa.Connection) -> list[data_pb2.Library]:
            tables = table_life.of_library(connection)
            own = self._libraries.of(connection, session_id) if session_id else []
            found = [
                library_wire.library(one, tables.get(one.name, 0))
                for one in (*own, *self._libraries.of(connection, ""))
            ]
            if session_id:
                count = table_store.count(connection, session_id)
                found.append(library_wire.work_library(session_id, count))
            return sorted(found, key=lambda one: (one.library_id, not one.transient))

        return library_service_pb2.ListLibrariesResponse(libraries=await self._database.read(read))

    async def UpdateLibrary(
        self, request: library_service_pb2.UpdateLibraryRequest, context: Context
    ) -> data_pb2.Library:
        """Change a library."""
        session_id, library_id = names.library_ids("library.name", request.library.name)
        await self._owner_of(session_id, context, "Changing global libraries")
        old = await self._get(session_id, library_id)
        self._libraries.require_own(old)
        self._libraries.require_as_it_was(old, request.library.etag or old.etag)
        values = library_wire.changed(old, request.library, request.update_mask.paths)
        new = await asyncio.to_thread(
            library_of,
            library_id,
            session_id,
            values,
            self._roots,
            "library",
            owner=old.owner,
            create_time=old.create_time,
            update_time=time.time(),
        )
        stored = await self._database.write(lambda connection: self._libraries.update(connection, old, new))
        return await self._told(stored)

    async def DeleteLibrary(
        self, request: library_service_pb2.DeleteLibraryRequest, context: Context
    ) -> library_service_pb2.DeleteLibraryResponse:
        """Delete a library."""
        session_id, library_id = names.library_ids("name", request.name)
        await self._owner_of(session_id, context, "Deleting global libraries")
        await self._database.write(
            lambda connection: self._libraries.delete(connection, session_id, library_id, request.etag)
        )
        return library_service_pb2.DeleteLibraryResponse()

    async def _scope(self, session: str, context: Context, what: str) -> str:
        """Return the session that a library is for, empty for a global one, which takes an admin."""
        if session:
            return (await self._sessions.active("session", session, context)).id
        require_admin(context, what)
        return ""

    async def _owner_of(self, session_id: str, context: Context, what: str) -> None:
        await self._scope(f"sessions/{session_id}" if session_id else "", context, what)

    async def _get(self, session_id: str, library_id: str) -> Library:
        return await self._database.read(
            lambda connection: self._libraries.get(connection, session_id, library_id)
        )

    async def _told(self, library: Library) -> data_pb2.Library:
        tables = await self._database.read(table_life.of_library)
        return library_wire.library(library, tables.get(library.name, 0))
