"""A file that a table is made of, wherever it is: how it is called, looked at and read from its beginning."""

import io
from functools import cached_property
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from scorestream_server.domain.disk import unreadable
from scorestream_server.domain.errors import not_found
from scorestream_server.domain.table import InputFile, SourceFile
from scorestream_server.tables import remote
from scorestream_server.tables.formats import compression
from scorestream_server.tables.identity import source_in_place
from scorestream_server.tables.uris import is_uri


class Source:
    """One file, on this machine or at a URI.

    Attributes:
        file: which.
        name: what errors call it.
        local: its path, where it is on this machine; else None.
    """

    def __init__(self, file: InputFile) -> None:
        self.file = file
        self.name = file.called
        self.local = None if is_uri(file.path) else Path(file.path)

    @cached_property
    def compressed(self) -> bool:
        """Whether it is compressed text, by its ending."""
        return compression(self.file.path) is not None

    def look(self) -> SourceFile:
        """Return the file as it is now.

        Raises:
            ScorestreamError: FILE_NOT_FOUND, FILE_NOT_READABLE, FILE_SYSTEM_FAILED.
        """
        if self.local is None:
            return remote.look(self.file)
        try:
            return source_in_place(self.local)
        except FileNotFoundError:
            raise not_found(
                "FILE_NOT_FOUND", f"The file {self.name!r} is gone.", path=str(self.local)
            ) from None
        except PermissionError:
            raise unreadable(f"The file {self.name!r}", self.name) from None

    def bytes(self) -> pa.NativeFile:
        """Open it as it is stored."""
        return pa.OSFile(str(self.local), "rb") if self.local else remote.open_stream(self.file)

    def content(self) -> pa.NativeFile:
        """Open it, decompressed as its ending says."""
        codec = compression(self.file.path)
        return pa.CompressedInputStream(self.bytes(), codec) if codec else self.bytes()

    def text(self) -> TextIO:
        """Open it as UTF-8 text, decompressed; line ends stay as they are."""
        return io.TextIOWrapper(self.content(), "utf-8-sig", newline="")
