"""The FilerefService."""

import asyncio
import time

from scorestream.v1 import fileref_pb2, fileref_service_pb2, fileref_service_pb2_grpc
from scorestream_server.api import convert_files, paging
from scorestream_server.api.auth import Context
from scorestream_server.api.owned import OwnSessions
from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid
from scorestream_server.domain.fileref import Fileref
from scorestream_server.domain.home import FILEREF_SCHEME, HOME_SCHEME, home_path
from scorestream_server.domain.session import Session
from scorestream_server.engine.homes import Homes
from scorestream_server.store import filerefs as fileref_store
from scorestream_server.store.database import Database
from scorestream_server.tables.paths import DataRoots


class FilerefService(fileref_service_pb2_grpc.FilerefServiceServicer):
    """Filerefs of sessions: assigned, looked at, deassigned."""

    def __init__(self, database: Database, sessions: OwnSessions, homes: Homes, roots: DataRoots) -> None:
        self._database = database
        self._sessions = sessions
        self._homes = homes
        self._roots = roots

    async def AssignFileref(
        self, request: fileref_service_pb2.AssignFilerefRequest, context: Context
    ) -> fileref_pb2.Fileref:
        """Give a name to a path."""
        session = await self._sessions.active("session", request.session, context)
        fileref_id = convert_files.check_fileref_id("fileref_id", request.fileref_id)
        await asyncio.to_thread(self._check_path, request.path)
        fileref = Fileref(session.id, fileref_id, request.path, time.time())
        return await self._shown(
            session, await self._database.write(lambda connection: fileref_store.assign(connection, fileref))
        )

    async def GetFileref(
        self, request: fileref_service_pb2.GetFilerefRequest, context: Context
    ) -> fileref_pb2.Fileref:
        """Return one fileref."""
        session, fileref = await self._get(request.name, context)
        return await self._shown(session, fileref)

    async def ListFilerefs(
        self, request: fileref_service_pb2.ListFilerefsRequest, context: Context
    ) -> fileref_service_pb2.ListFilerefsResponse:
        """List a session's filerefs."""
        session = await self._sessions.active("session", request.session, context)
        limit = paging.size(request.page_size)
        found, more = await self._database.read(
            lambda connection: fileref_store.page(connection, session.id, request.page_token, limit)
        )
        return fileref_service_pb2.ListFilerefsResponse(
            filerefs=[await self._shown(session, fileref) for fileref in found],
            next_page_token=found[-1].fileref_id if more else "",
        )

    async def DeassignFileref(
        self, request: fileref_service_pb2.DeassignFilerefRequest, context: Context
    ) -> fileref_service_pb2.DeassignFilerefResponse:
        """Forget a fileref; the file stays."""
        session, fileref = await self._get(request.name, context)
        await self._database.write(
            lambda connection: fileref_store.remove(connection, session.id, fileref.fileref_id)
        )
        return fileref_service_pb2.DeassignFilerefResponse()

    async def _get(self, name: str, context: Context) -> tuple[Session, Fileref]:
        head, _, text = name.partition("/filerefs/")
        session = await self._sessions.active("name", head, context)
        fileref_id = convert_files.check_fileref_id("name", text)
        found = await self._database.read(
            lambda connection: fileref_store.get(connection, session.id, fileref_id)
        )
        return session, found

    def _check_path(self, path: str) -> None:
        """Refuse what a fileref cannot stand for; nothing need be there yet."""
        if path.startswith(FILEREF_SCHEME):
            told = "a fileref stands for a path, not for another fileref"
            raise invalid("INVALID_PATH", f"path: {told}.", [FieldFault("path", told)])
        if path.startswith(HOME_SCHEME):
            home_path("path", path)
        else:
            self._roots.allow(path)

    async def _shown(self, session: Session, fileref: Fileref) -> fileref_pb2.Fileref:
        exists = await asyncio.to_thread(self._exists, session, fileref.path)
        return convert_files.fileref(fileref, exists=exists)

    def _exists(self, session: Session, path: str) -> bool:
        try:
            self._roots.resolve(path, self._homes.of(session).root)
        except ScorestreamError:
            return False
        return True
