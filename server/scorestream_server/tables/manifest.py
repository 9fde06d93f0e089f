"""What a data set says of itself: its files, the batches that they came in, its columns.

The manifest lies in a user's folder, so whatever is in it is only believed in so far as it decodes.
"""

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import msgspec
import pyarrow as pa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError

MANIFEST = "_manifest.json"
"""Readers of Parquet directories skip names that begin with ``_``."""
WRITER = "scorestream"
VERSION = 2
LARGEST = 64 << 20
"""Bytes of a manifest; some 400,000 files."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a data set.

    Attributes:
        name: its path in the data set, with ``/``.
        crc32: of all its bytes, eight hexadecimal digits.
        batch: the number of its batch, from 0.
    """

    name: str
    rows: int
    bytes: int
    crc32: str
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that came into a data set at once.

    Attributes:
        job: whose rows they are; that of the first one, where that job was resumed. Empty: not known.
        time: when they came, RFC 3339; empty: not known.
        files: how many there are of it.
    """

    job: str
    time: str
    rows: int
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a data set and its Arrow type by name; those that it is partitioned by are among them."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A data set."""

    writer: str
    version: int
    rows: int
    bytes: int
    schema: tuple[Column, ...]
    files: tuple[DataFile, ...]
    format: str = "parquet"
    partition_by: tuple[str, ...] = ()
    batches: tuple[Batch, ...] = ()

    @classmethod
    def of(
        cls, schema: pa.Schema, partition_by: Sequence[str], files: Sequence[DataFile], job: str, time: str
    ) -> "Manifest":
        """Return the manifest of a data set of one batch."""
        rows, size = sum(file.rows for file in files), sum(file.bytes for file in files)
        return cls(
            WRITER,
            VERSION,
            rows,
            size,
            tuple(Column(field.name, str(field.type)) for field in schema),
            tuple(files),
            partition_by=tuple(partition_by),
            batches=(Batch(job, time, rows, size, len(files)),),
        )

    def batch_of(self, job: str) -> int | None:
        """Return the number of a job's batch, if it is here."""
        return next((number for number, batch in enumerate(self.batches) if job and batch.job == job), None)

    def plus(self, added: "Manifest") -> "Manifest":
        """Return the data set with the batches of another one behind its own."""
        first = len(self.batches)
        files = tuple(replace(file, batch=file.batch + first) for file in added.files)
        return replace(
            self,
            version=VERSION,
            rows=self.rows + added.rows,
            bytes=self.bytes + added.bytes,
            files=(*self.files, *files),
            batches=(*self.batches, *added.batches),
        )

    def text(self) -> str:
        """Return it as it is written down.

        Raises:
            ScorestreamError: DATA_SET_TOO_LARGE.
        """
        text = msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"
        if len(text.encode()) > LARGEST:
            raise ScorestreamError(
                ErrorCode.RESOURCE_EXHAUSTED,
                "DATA_SET_TOO_LARGE",
                f"The data set would have {len(self.files):,} files, more than its manifest of at most {LARGEST:,} bytes "
                "can list. Write to another directory, or partition by fewer values.",
            )
        return text


def manifest_bytes(directory: Path) -> bytes:
    """Return what is written down of a data set; nothing where there is none, or what nobody of ours wrote.

    Raises:
        OSError: it cannot be read.
    """
    try:
        # Not through a link, and not from a pipe that never ends.
        handle = os.open(directory / MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}:
            return b""
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            return b""
        with os.fdopen(os.dup(handle), "rb") as file:
            return file.read(LARGEST)
    finally:
        os.close(handle)


def decoded(text: bytes) -> Manifest | None:
    """Return the manifest that a text is, None where it is none of ours, or of a version that is not known."""
    try:
        found = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, RecursionError):
        return None
    known = found.writer == WRITER and found.format == "parquet" and 1 <= found.version <= VERSION
    if not known or not all(_plain(file.name) for file in found.files):
        return None
    if not found.batches:  # of version 1
        found = replace(found, batches=(Batch("", "", found.rows, found.bytes, len(found.files)),))
    return found


def read_manifest(directory: Path) -> Manifest | None:
    """Return a data set's manifest, None where it has none that can be read and is known."""
    try:
        return decoded(manifest_bytes(directory))
    except OSError:
        return None


def is_ours(directory: Path) -> bool:
    """Return whether this program, of whatever version, wrote a directory."""
    try:
        found = msgspec.json.decode(manifest_bytes(directory))
    except (OSError, msgspec.DecodeError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("writer") == WRITER


def _plain(name: str) -> bool:
    """Return whether a name leads to a file in the directory."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
