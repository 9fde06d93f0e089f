# Generated from aio/files.py by tools/generate.py. Change that file, not this one.
"""The files in a session's home as a client sees them."""

import hashlib
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from scorestream import transport
from scorestream.errors import InvalidArgumentError
from scorestream.file_records import FileInfo
from scorestream.file_wire import file_info, file_name
from scorestream.local_file import LocalFile
from scorestream.model_wire import model_info
from scorestream.v1 import file_service_pb2, model_service_pb2
from scorestream.wire import model_id_of, session_name

from .connection import Connection
from .model import Model

CHUNK_BYTES = 1 << 20
Report = Callable[[int, int], None]


class Files:
    """The files in a session's home, which is empty at first and ends with the session.

    Paths are relative to the home, with ``/`` between names, as ``home:PATH`` or without that; ``fileref:NAME`` is what
    that fileref stands for. In `load_table`, `score` and `register_model`, ``home:PATH`` is such a file.
    """

    def __init__(self, connection: Connection, session_id: str) -> None:
        self._connection = connection
        self._session_id = session_id

    def upload(
        self,
        source: str | Path | bytes,
        path: str = "",
        *,
        replace: bool = False,
        etag: str = "",
        report: Report = lambda _sent, _size: None,
    ) -> FileInfo:
        """Send a file, or bytes; nothing appears in the home before all of it is there.

        Args:
            source: a file of yours, or its content.
            path: what it is to be called; empty: as the file is.
            replace: whether a file of that name is replaced.
            etag: the file that is replaced, as you last saw it.
            report: called with the bytes sent so far, and how many there are.

        Raises:
            AlreadyExistsError: there is a file, and `replace` is false.
            FailedPreconditionError: the file that is there is not the one with that etag any more.
            ResourceExhaustedError: it is larger than you may send or store.
            FileNotFoundError: `source` is not there.
        """
        file = None if isinstance(source, bytes) else Path(source)
        if not path and file is None:
            raise InvalidArgumentError("Bytes need a path in the home.", reason="NO_PATH")
        header = file_service_pb2.UploadFileHeader(
            name=self._name(path or (file.name if file is not None else "")),
            replace=replace,
            etag=etag,
            request_id=uuid.uuid4().hex,
        )
        size = transport.run(_size, source)

        def messages() -> Iterator[file_service_pb2.UploadFileRequest]:
            yield file_service_pb2.UploadFileRequest(header=header)
            digest, sent = hashlib.sha256(), 0
            for chunk in _chunks(source):
                digest.update(chunk)
                yield file_service_pb2.UploadFileRequest(chunk=chunk)
                sent += len(chunk)
                report(sent, size)
            footer = file_service_pb2.UploadFileFooter(size_bytes=sent, digest=digest.hexdigest())
            yield file_service_pb2.UploadFileRequest(footer=footer)

        method = self._connection.files.UploadFile
        return file_info(self._connection.send(method, messages, repeat=True))

    def stream(self, path: str, *, offset: int = 0, etag: str = "") -> Generator[bytes, None]:
        """Yield a file's content in pieces; a lost connection is resumed, and never with another file's content.

        Args:
            path: the file.
            offset: the byte to begin with.
            etag: the file as you last saw it; empty: as it is now.

        Raises:
            NotFoundError: it is not there; FailedPreconditionError: it was changed meanwhile, or is a directory.
        """
        with closing(self._messages(path, offset, etag)) as messages:
            for message in messages:
                if message.chunk:
                    yield message.chunk

    def read(self, path: str) -> bytes:
        """Return a file's content; raises what `stream` does."""
        with closing(self.stream(path)) as chunks:
            return b"".join(list(chunks))

    def download(
        self,
        path: str,
        to: str | Path = "",
        *,
        replace: bool = False,
        report: Report = lambda _received, _size: None,
    ) -> Path:
        """Fetch a file, and return where it is; on this side too it appears whole or not at all.

        Args:
            path: the file.
            to: the file to write; empty: of the same name, in the current directory.
            replace: whether a file that is there is replaced.
            report: called with the bytes received so far, and how many there are.

        Raises:
            NotFoundError: it is not there; AlreadyExistsError: `to` is, and `replace` is false.
        """
        target = Path(to or path.rpartition("/")[2].rpartition(":")[2])
        with LocalFile(target, replace=replace) as local:
            size = 0
            with closing(self._messages(path, 0, "")) as messages:
                for message in messages:
                    size = message.file.size_bytes if message.HasField("file") else size
                    local.write(message.chunk)
                    report(local.size, size)
        return target

    def info(self, path: str = "") -> FileInfo:
        """Return the properties of a file or a directory; without a path, of the home itself."""
        request = file_service_pb2.GetFileRequest(name=self._name(path))
        return file_info(self._connection.call(self._connection.files.GetFile, request))

    def list(self, path: str = "") -> list[FileInfo]:
        """Return the members of a directory by name; without a path, of the home itself."""
        found: list[FileInfo] = []
        request = file_service_pb2.ListFilesRequest(name=self._name(path), page_size=1000)
        while True:
            answer = self._connection.call(self._connection.files.ListFiles, request)
            found += map(file_info, answer.files)
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def make_directory(self, path: str) -> FileInfo:
        """Make a directory, with those above it; one that is there stays as it is."""
        request = file_service_pb2.CreateDirectoryRequest(name=self._name(path))
        return file_info(self._connection.call(self._connection.files.CreateDirectory, request))

    def copy(self, path: str, to: str, *, replace: bool = False, etag: str = "") -> FileInfo:
        """Copy a file within the home.

        Args:
            path: the file.
            to: the copy.
            replace: whether a file that is there is replaced.
            etag: the file that is replaced, as you last saw it.
        """
        request = file_service_pb2.CopyFileRequest(
            name=self._name(path), destination=to, replace=replace, etag=etag
        )
        return file_info(self._connection.call(self._connection.files.CopyFile, request, repeat=False))

    def move(self, path: str, to: str, *, replace: bool = False, etag: str = "") -> FileInfo:
        """Move or rename a file or a directory within the home; for the arguments see `copy`."""
        request = file_service_pb2.MoveFileRequest(
            name=self._name(path), destination=to, replace=replace, etag=etag
        )
        return file_info(self._connection.call(self._connection.files.MoveFile, request, repeat=False))

    def delete(self, path: str, *, recursive: bool = False, etag: str = "") -> None:
        """Remove a file or a directory.

        Args:
            path: which.
            recursive: whether a directory goes with all that is in it.
            etag: the file as you last saw it.

        Raises:
            FailedPreconditionError: the directory is not empty, or the file is another one by now.
        """
        request = file_service_pb2.DeleteFileRequest(name=self._name(path), recursive=recursive, etag=etag)
        self._connection.call(self._connection.files.DeleteFile, request, repeat=False)

    def register_model(
        self,
        path: str,
        name: str | None = None,
        *,
        comment: str = "",
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        artifacts: Mapping[str, str] | None = None,
    ) -> Model:
        """Register a model from a file on the server, or from the directory of an MLflow model.

        Args:
            path: in the home, ``fileref:NAME``, or, with a slash first, on the server under a data root; for the kinds
                see `Client.register_model`, as for the rest.
            name: what the model is to be called; None: after the file.
            comment: what is to be said about it.
            labels: words for it, by name.
            metadata: how it came to be.
            artifacts: outputs of score code that are files of their rows, by the files' names.
        """
        place = path if path.startswith(("home:", "fileref:", "/")) else f"home:{path}"
        request = model_service_pb2.ImportModelRequest(
            model_id=name or model_id_of(path.rstrip("/").rpartition("/")[2].rpartition(":")[2]),
            session=session_name(self._session_id),
            path=place,
            request_id=uuid.uuid4().hex,
            comment=comment,
            labels=labels,
            metadata=metadata,
            artifacts=artifacts,
        )
        answer = self._connection.call(self._connection.models.ImportModel, request)
        return Model(self._connection, model_info(answer))

    def _name(self, path: str) -> str:
        return file_name(self._session_id, path)

    def _messages(
        self, path: str, offset: int, etag: str
    ) -> Generator[file_service_pb2.DownloadFileResponse, None]:
        """Yield the messages of a download; those behind a lost connection go on where it was lost."""
        seen = [etag]

        def request(start: int) -> file_service_pb2.DownloadFileRequest:
            return file_service_pb2.DownloadFileRequest(name=self._name(path), offset=start, etag=seen[0])

        def position(message: file_service_pb2.DownloadFileResponse) -> int:
            seen[0] = message.file.etag or seen[0]
            return message.offset + len(message.chunk)

        method = self._connection.files.DownloadFile
        with closing(self._connection.stream(method, request, position, offset)) as messages:
            yield from messages


def _size(source: str | Path | bytes) -> int:
    """Return how many bytes a file, or bytes, have."""
    return len(source) if isinstance(source, bytes) else Path(source).stat().st_size


def _chunks(source: str | Path | bytes) -> Iterator[bytes]:
    """Yield a file's content, or bytes, in pieces."""
    if isinstance(source, bytes):
        yield from (source[start : start + CHUNK_BYTES] for start in range(0, len(source), CHUNK_BYTES))
        return
    with Path(source).open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            yield chunk
