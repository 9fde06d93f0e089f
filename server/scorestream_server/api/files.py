"""The FileService."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa

from scorestream.v1 import file_pb2, file_service_pb2, file_service_pb2_grpc
from scorestream_server.api import convert_files, names, paging
from scorestream_server.api.auth import Context
from scorestream_server.api.owned import OwnSessions
from scorestream_server.config import Config
from scorestream_server.domain.disk import StorageError
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, counted, invalid
from scorestream_server.domain.home import FILEREF_SCHEME, HOME_SCHEME, HomeFile, home_path
from scorestream_server.domain.limits import exhausted
from scorestream_server.domain.session import Session
from scorestream_server.engine.homes import Homes
from scorestream_server.store import filerefs as fileref_store
from scorestream_server.store import homes as home_store
from scorestream_server.store import requests
from scorestream_server.store.database import Database
from scorestream_server.store.usage import Usage
from scorestream_server.tables.home import Home, Incoming
from scorestream_server.tables.home_entries import (
    OpenedFile,
    check_etag,
    describe_server_file,
    open_server_file,
    too_large,
)
from scorestream_server.tables.paths import DataRoots

CHUNK_BYTES = 3 << 19
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Found:
    """What a resource name stands for: names in a home, or, of a fileref, a path on the server."""

    session: Session
    name: str
    names: tuple[str, ...]
    server_path: str = ""


@dataclass(frozen=True, slots=True)
class _Target:
    """A file that is to be made: its path, and what may be replaced for it."""

    names: tuple[str, ...]
    replace: bool
    etag: str
    request_id: str = ""


class FileService(file_service_pb2_grpc.FileServiceServicer):
    """Files in the homes of sessions: sent, fetched, looked at, copied, moved, removed."""

    def __init__(
        self,
        config: Config,
        database: Database,
        sessions: OwnSessions,
        homes: Homes,
        roots: DataRoots,
        usage: Usage,
    ) -> None:
        self._limits = config.limits
        self._database = database
        self._sessions = sessions
        self._homes = homes
        self._roots = roots
        self._usage = usage

    async def UploadFile(
        self, request_iterator: AsyncIterator[file_service_pb2.UploadFileRequest], context: Context
    ) -> file_pb2.File:
        """Make or replace a file."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "header":
            raise invalid("UPLOAD_ORDER", "The first message of an upload must be its header.")
        header = first.header
        found = await self._in_home("header.name", header.name, context)
        request_id = names.check_request_id(header.request_id)
        if await self._made_before(found.session, request_id, _resource(found.session, found.names)):
            return self._file(found, await asyncio.to_thread(self._look, found))
        most = min(await self._room(found.session), self._limits.upload_bytes)

        async def receive(incoming: Incoming) -> None:
            await self._receive(request_iterator, incoming, found.session, most)

        target = _Target(found.names, header.replace, header.etag, request_id)
        return self._file(found, await self._make(found.session, target, receive))

    async def DownloadFile(
        self, request: file_service_pb2.DownloadFileRequest, context: Context
    ) -> AsyncIterator[file_service_pb2.DownloadFileResponse]:
        """Stream a file's content."""
        found = await self._find("name", request.name, context)
        opened = await asyncio.to_thread(self._open, found)
        try:
            file, offset = opened.file, request.offset
            if request.etag:
                check_etag((file.path,), file, request.etag)
            if not 0 <= offset <= file.size:
                raise ScorestreamError(
                    ErrorCode.OUT_OF_RANGE,
                    "OFFSET_OUT_OF_RANGE",
                    f"The file has {counted(file.size, 'byte')}; there is no byte {offset:,}.",
                    [FieldFault("offset", f"{offset} is not from 0 to {file.size}")],
                )
            yield file_service_pb2.DownloadFileResponse(file=self._file(found, file), offset=offset)
            while offset < file.size:
                size = min(CHUNK_BYTES, file.size - offset)
                chunk = await asyncio.to_thread(opened.read, offset, size)
                if not chunk:
                    break
                yield file_service_pb2.DownloadFileResponse(offset=offset, chunk=chunk)
                offset += len(chunk)
                self._sessions.seen(found.session)
            # Files are replaced, never written into; somebody else may do otherwise below a data root.
            check_etag((file.path,), await asyncio.to_thread(opened.look), file.etag)
        finally:
            opened.close()

    async def GetFile(self, request: file_service_pb2.GetFileRequest, context: Context) -> file_pb2.File:
        """Return the properties of a file or a directory."""
        found = await self._find("name", request.name, context)
        return self._file(found, await asyncio.to_thread(self._look, found))

    async def ListFiles(
        self, request: file_service_pb2.ListFilesRequest, context: Context
    ) -> file_service_pb2.ListFilesResponse:
        """List the members of a directory."""
        found = await self._in_home("name", request.name, context)
        home, limit = self._homes.of(found.session), paging.size(request.page_size)
        files, more = await asyncio.to_thread(home.page, found.names, request.page_token, limit)
        return file_service_pb2.ListFilesResponse(
            files=[convert_files.home_file(found.session.id, file) for file in files],
            next_page_token=files[-1].path.rpartition("/")[2] if more else "",
        )

    async def CreateDirectory(
        self, request: file_service_pb2.CreateDirectoryRequest, context: Context
    ) -> file_pb2.File:
        """Make a directory."""
        found = await self._in_home("name", request.name, context)
        made = await self._change(
            found.session, lambda home: home.make_directory(found.names), len(found.names)
        )
        return self._file(found, made)

    async def CopyFile(self, request: file_service_pb2.CopyFileRequest, context: Context) -> file_pb2.File:
        """Copy a file."""
        found = await self._in_home("name", request.name, context)
        target = _Target(home_path("destination", request.destination), request.replace, request.etag)
        room = await self._room(found.session)
        source = await asyncio.to_thread(self._open, found)
        try:
            if source.file.size > room:
                raise too_large(room)

            async def copy(incoming: Incoming) -> None:
                while chunk := await asyncio.to_thread(source.read, incoming.size, CHUNK_BYTES):
                    await asyncio.to_thread(incoming.write, chunk)
                    self._sessions.seen(found.session)

            made = await self._make(found.session, target, copy)
        finally:
            source.close()
        return convert_files.home_file(found.session.id, made)

    async def MoveFile(self, request: file_service_pb2.MoveFileRequest, context: Context) -> file_pb2.File:
        """Move or rename a file or a directory."""
        found = await self._in_home("name", request.name, context)
        target = home_path("destination", request.destination)

        def move(home: Home) -> HomeFile:
            return home.move(found.names, target, replace=request.replace, etag=request.etag)

        moved = await self._change(found.session, move)
        return convert_files.home_file(found.session.id, moved)

    async def DeleteFile(
        self, request: file_service_pb2.DeleteFileRequest, context: Context
    ) -> file_service_pb2.DeleteFileResponse:
        """Remove a file or a directory."""
        found = await self._in_home("name", request.name, context)

        def delete(home: Home) -> None:
            home.delete(found.names, recursive=request.recursive, etag=request.etag)

        await self._change(found.session, delete)
        return file_service_pb2.DeleteFileResponse()

    async def _receive(
        self,
        messages: AsyncIterator[file_service_pb2.UploadFileRequest],
        incoming: Incoming,
        session: Session,
        most: int,
    ) -> None:
        """Write the content as it comes."""
        # A stream that breaks off may look like one that ends: only a footer that fits the content ends it.
        async for message in messages:
            self._sessions.seen(session)
            match message.WhichOneof("content"):
                case "chunk":
                    if incoming.size + len(message.chunk) > most:
                        raise too_large(most)
                    await asyncio.to_thread(incoming.write, message.chunk)
                case "footer" if (message.footer.size_bytes, message.footer.digest) == (
                    incoming.size,
                    incoming.digest,
                ):
                    return
                case _:
                    break
        raise invalid(
            "UPLOAD_INCOMPLETE",
            "An upload is a header, the content in chunks, and a footer with its size and SHA-256; this one broke off, "
            "is out of order, or arrived otherwise than it was sent. Send it again.",
        )

    async def _make(
        self, session: Session, target: _Target, fill: Callable[[Incoming], Awaitable[None]]
    ) -> HomeFile:
        """Have a file filled that has no name yet, and give it its name; without one, nothing is left of it."""
        home = self._homes.of(session)
        check = functools.partial(home.check_target, target.names, replace=target.replace, etag=target.etag)
        more = 0 if await asyncio.to_thread(check) else 1
        await self._require_files(session, more)
        incoming = await asyncio.to_thread(home.receive)

        async def place() -> HomeFile:
            try:
                return await self._change(session, finish, more)
            finally:
                await asyncio.to_thread(incoming.close)

        def finish(home: Home) -> HomeFile:
            del home
            return incoming.finish(target.names, replace=target.replace, etag=target.etag)

        try:
            await fill(incoming)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(incoming.close))
            raise
        # Shielded: a client that hangs up now must not take away what is just getting its name.
        made = await asyncio.shield(place())
        await self._remember(session, target)
        return made

    async def _change(self, session: Session, work: Callable[[Home], T], more: int = 0) -> T:
        """Change a session's home, one change at a time.

        Args:
            session: whose.
            work: what to do.
            more: how many files and directories there may be more, then.
        """

        async def change() -> T:
            async with self._homes.changing(session) as home:
                await self._sessions.require_active(session)
                await self._require_files(session, more)
                return await asyncio.to_thread(work, home)

        # Shielded: a client that hangs up now must not leave something that nobody has counted.
        return await asyncio.shield(change())

    async def _find(self, field: str, name: str, context: Context) -> _Found:
        """Return what a resource name stands for."""
        head, _, text = name.partition("/files/")
        session = await self._sessions.active(field, head.removesuffix("/files"), context)
        if text.startswith(FILEREF_SCHEME):
            fileref_id = convert_files.check_fileref_id(field, text)
            fileref = await self._database.read(
                lambda connection: fileref_store.get(connection, session.id, fileref_id)
            )
            if not fileref.path.startswith(HOME_SCHEME):
                return _Found(session, name, (), fileref.path)
            text = fileref.path
        return _Found(session, name, home_path(field, text))

    async def _in_home(self, field: str, name: str, context: Context) -> _Found:
        """Return what a resource name stands for, which must lie in the home."""
        found = await self._find(field, name, context)
        if found.server_path:
            told = f"it stands for {found.server_path!r} on the server, which can only be read here"
            raise invalid("NOT_IN_HOME", f"{field}: {told}.", [FieldFault(field, told)])
        return found

    def _open(self, found: _Found) -> OpenedFile:
        if found.server_path:
            return open_server_file(self._roots.resolve(found.server_path))
        return self._homes.of(found.session).open(found.names)

    def _look(self, found: _Found) -> HomeFile:
        if found.server_path:
            return describe_server_file(self._roots.resolve(found.server_path))
        return self._homes.of(found.session).look(found.names)

    def _file(self, found: _Found, value: HomeFile) -> file_pb2.File:
        if found.server_path:
            return convert_files.file(found.name, value)
        return convert_files.home_file(found.session.id, value)

    async def _room(self, session: Session) -> int:
        return await self._database.read(lambda connection: self._usage.room(connection, session.owner))

    async def _require_files(self, session: Session, more: int) -> None:
        """Refuse more files than a session may have."""
        most = self._limits.session_files
        use = await self._database.read(lambda connection: home_store.get(connection, session.id))
        if more and use.files + more > most:
            what = f"The session's home has {counted(use.files, 'file')} and directories; one session may have {most:,}."
            raise exhausted("TOO_MANY_FILES", "session_files", most, what, "Remove some.")

    async def _made_before(self, session: Session, request_id: str, resource: str) -> bool:
        """Return whether the same request was done before."""
        if not request_id:
            return False
        earlier = await self._database.read(
            lambda connection: requests.find(connection, session.owner, request_id, "file")
        )
        return earlier == resource

    async def _remember(self, session: Session, target: _Target) -> None:
        """Note that a request was done."""
        resource = _resource(session, target.names)

        def record(connection: sa.Connection) -> None:
            if not requests.find(connection, session.owner, target.request_id, "file"):
                requests.record(connection, session.owner, target.request_id, "file", resource, time.time())

        if target.request_id:
            with contextlib.suppress(StorageError):  # the file is there all the same
                await self._database.write(record)


def _resource(session: Session, path: tuple[str, ...]) -> str:
    """Return what is kept of a request that made a file."""
    return f"{session.id}/{'/'.join(path)}"
