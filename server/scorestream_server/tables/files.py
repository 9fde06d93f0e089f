"""Files that appear complete or not at all."""

import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from scorestream_server.domain.disk import disk_error
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import FileFormat, Fragment, SourceFile
from scorestream_server.tables.checksums import BlockWriter

Cancelled = Callable[[], bool]
"""Asked again and again by whatever works long; True ends the work."""


def source_file(path: Path) -> SourceFile:
    """Return a file as it is now."""
    found = path.stat()
    return SourceFile(str(path), found.st_size, found.st_mtime_ns)


def temporary_name(final: Path) -> Path:
    """Return a name beside ``final`` that no one else uses, and that the scan of a directory skips."""
    return final.with_name(f".{final.name}.{secrets.token_hex(6)}.tmp")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a disk refuses into errors that a person can act on."""
    try:
        yield
    except OSError as error:
        told = disk_error(error, path)
        if told is None:
            raise
        raise told from error


def cancelled_error() -> ScorestreamError:
    """Return the error that ends work which was cancelled."""
    return ScorestreamError(
        ErrorCode.CANCELLED, "CANCELLED", "The work was cancelled; nothing was left behind."
    )


class ArrowFile:
    """An Arrow IPC file being written under its temporary name; leaving the block with an error removes it.

    Args:
        path: the file; it must not exist.
        schema: of the batches.
        blocks: gets the checksums of what is written; None: nobody wants them.

    Attributes:
        rows: rows written so far.
        bytes: their size in memory.
    """

    def __init__(self, path: Path, schema: pa.Schema, blocks: BlockWriter | None = None) -> None:
        self._blocks = blocks
        self.path = path
        self.rows = 0
        self.bytes = 0
        self._batches: list[tuple[int, int]] = []
        with disk_errors(path):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            try:
                self._sink = pa.OSFile(str(path), "wb") if blocks is None else _Checked(path, blocks).sink
                self._writer = pa.ipc.new_file(self._sink, schema)
            except BaseException:
                path.unlink()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        with disk_errors(self.path):
            self._writer.write_batch(batch)
            if self._blocks is not None:
                self._blocks.add(self._sink.tell())
        size = batch.nbytes
        self._batches.append((batch.num_rows, size))
        self.rows += batch.num_rows
        self.bytes += size

    def close(self) -> None:
        """Complete the file; it keeps its temporary name."""
        with disk_errors(self.path):
            self._writer.close()
            if self._blocks is not None:
                self._blocks.add(self._sink.tell())
            self._sink.close()

    def finish(self, final: Path, *, durable: bool) -> tuple[tuple[Fragment, ...], SourceFile]:
        """Complete the file, give it its name, and return what it holds; ``durable`` waits for the disk."""
        self.close()
        with disk_errors(self.path):
            if durable:
                sync(self.path)
            self.path.replace(final)
            if durable:
                sync(final.parent)
        fragments = tuple(
            Fragment(str(final), FileFormat.ARROW, part, rows, size)
            for part, (rows, size) in enumerate(self._batches)
        )
        return fragments, source_file(final)

    def abort(self) -> None:
        """Remove the file; may be called again."""
        # Closing flushes, which fails again on a full disk; the file is removed all the same.
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        with suppress(OSError, pa.ArrowException):
            self._sink.close()
        self.path.unlink(missing_ok=True)


class _Checked(io.FileIO):
    """A file of which the checksums are taken as it is written.

    Attributes:
        sink: what Arrow writes to.
    """

    def __init__(self, path: Path, blocks: BlockWriter) -> None:
        super().__init__(path, "wb")
        self._blocks = blocks
        self.sink = pa.PythonFile(self, "w")

    def write(self, data: Any, /) -> int:
        """Write all of it."""
        rest = memoryview(data)
        self._blocks.take(rest)
        while rest:
            rest = rest[super().write(rest) :]
        return len(data)
