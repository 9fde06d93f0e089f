"""Tables: what they are made of, how they are cut into partitions, and what scoring leaves on disk.

Plain frozen records: they are stored as JSON and sent to workers as they are.
"""

import enum
import hashlib
from dataclasses import dataclass


class FileFormat(enum.StrEnum):
    """How a table's fragments are stored."""

    ARROW = "arrow"
    PARQUET = "parquet"
    CSV = "csv"
    JSON = "json"


class BackingStore(enum.StrEnum):
    """Where a table's bytes are to be mapped from, as the server, a library or a load asks for it."""

    INHERIT = "inherit"
    """As the level above says: a load asks its library, a library the server."""
    IN_PLACE_PREFERRED = "in_place_preferred"
    """The sources themselves, wherever they can be; what must be converted goes to the cache."""
    DISK_CACHE = "disk_cache"
    """A copy of the table's own, in the server's cache."""


class SourceChange(enum.StrEnum):
    """What becomes of a job whose table is read in place when a source is not what it was."""

    FAIL = "fail"
    """It fails with SOURCE_CHANGED."""
    PRIVATE_COPY = "private_copy"
    """It goes on from a copy that was made when the table was loaded."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a table is to be loaded.

    Attributes:
        disk_cache: whether it is converted into the cache even where it could be read in place.
        columns: those that it gets, in this order; empty: all.
        where: SQL predicate; only rows for which it is true become rows of the table. Such a table is converted.
        on_source_change: what becomes of jobs when a source that is read in place changes.
        copies: how many copies its blocks get in other cache directories; None: as the server says.
    """

    disk_cache: bool = False
    columns: tuple[str, ...] = ()
    where: str = ""
    on_source_change: SourceChange = SourceChange.FAIL
    copies: int | None = None


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that a table is to be made of.

    Attributes:
        path: its absolute path, or its URI; of a URI also what stands for several files, a directory or a pattern.
        name: what people are told it is called; empty: the last part of the path.
        keys: columns and their values as the names of its directories have them (``year=2024``), values as text.
        settings: how the file system of a URI is reached: the query of the operator's data root.
    """

    path: str
    name: str = ""
    keys: tuple[tuple[str, str], ...] = ()
    settings: str = ""

    @property
    def called(self) -> str:
        """What people are told it is called."""
        return self.name or self.path.rpartition("/")[2] or self.path


class OutputFormat(enum.StrEnum):
    """What an output is written as; the destination's ending says it."""

    PARQUET = "parquet"
    ARROW = "arrow"
    CSV = "csv"
    DATASET = "dataset"
    """A directory of Parquet files with ``_manifest.json`` and ``_SUCCESS``."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was when it was looked at; one that differs in any of this is another file.

    Attributes:
        inode: of a file that is not ours; 0 for our own, which keep their size and time when the data directory moves.
        ctime_ns: when it was last changed in any way, which nobody can set; 0 as `inode`.
    """

    path: str
    size: int
    mtime_ns: int
    inode: int = 0
    ctime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Fragment:
    """The smallest part of a table that is read at once: an Arrow record batch or a Parquet row group.

    Attributes:
        path: the file, one of the table's ``files``.
        format: ARROW or PARQUET.
        part: the index of the record batch or of the row group in the file.
        rows: how many rows it has.
        bytes: its decoded size, all columns, in bytes; an estimate for Parquet.
        constants: columns that are not in the file, each with the one value that it has in all of its rows.
    """

    path: str
    format: FileFormat
    part: int
    rows: int
    bytes: int
    constants: tuple[tuple[str, int | str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes of a cached file that are checked as one.

    Attributes:
        offset: where they begin.
        bytes: how many there are.
        xxh3: their checksum, XXH3 with 64 bits.
    """

    offset: int
    bytes: int
    xxh3: int


@dataclass(frozen=True, slots=True)
class CachedFile:
    """An Arrow file in a cache directory.

    Attributes:
        path: the file, one of the table's ``files``.
        blocks: all of its bytes: a block a record batch, in order, and the footer at the end.
        copies: files of the same bytes in other cache directories.
    """

    path: str
    blocks: tuple[Block, ...]
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a converted table was made of: enough to make it again while its sources are what they were."""

    files: tuple[InputFile, ...]
    options: LoadOptions


@dataclass(frozen=True, slots=True)
class TableData:
    """Rows on disk, ready to be read.

    Attributes:
        fragments: the parts, in row order.
        files: every file that the fragments are read from; each is checked before a read.
        sources: the files that the client named; the same as ``files`` where the table is in place.
        schema: the normalised Arrow schema as an Arrow IPC message. A column of a type that cannot be
            read keeps its own type here, and is refused by name when it is used.
        rows: how many rows there are.
        format: the format of the sources.
        in_place: True where the sources themselves are read, False where they were converted.
        notes: what a person should know about the load, for example a column that became text.
        kept: the folder where old versions of its sources are, should any have been kept; empty: none ever is.
        saved_etag: the etag of its source as this table's last save left it; empty: it is as it was loaded.
        cached: those of ``files`` that lie in the cache with checksums; a table in place has none.
        recipe: how a table in the cache can be made again; None: it cannot, as an upload.
        evicted: whether its files were removed to make room; it is made again when it is used.
    """

    fragments: tuple[Fragment, ...]
    files: tuple[SourceFile, ...]
    sources: tuple[SourceFile, ...]
    schema: bytes
    rows: int
    format: FileFormat
    in_place: bool
    notes: tuple[str, ...] = ()
    kept: str = ""
    saved_etag: str = ""
    cached: tuple[CachedFile, ...] = ()
    recipe: Recipe | None = None
    evicted: bool = False


@dataclass(frozen=True, slots=True)
class FragmentSlice:
    """Rows ``offset`` to ``offset + rows`` of the table's fragment number ``fragment``."""

    fragment: int
    offset: int
    rows: int


@dataclass(frozen=True, slots=True)
class Partition:
    """A contiguous row range of a table: the unit of scheduling, of commit and of retry."""

    index: int
    first_row: int
    rows: int
    slices: tuple[FragmentSlice, ...]


@dataclass(frozen=True, slots=True)
class PartitionFile:
    """A partition's result: an Arrow IPC file with its row count, size in bytes and CRC-32.

    Attributes:
        missing: scores in it that are NULL or NaN, of rows that could be scored.
        errors: rows in it that could not be scored.
    """

    path: str
    rows: int
    bytes: int
    crc32: int
    missing: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an output goes: a checked absolute path, and the format that its ending asks for.

    Attributes:
        shown: what clients call the path where it lies in a session's home; else empty.
    """

    path: str
    format: OutputFormat
    shown: str = ""

    def named(self, path: str) -> str:
        """Return what clients call the output's path, or the path of a file in it."""
        return self.shown + path.removeprefix(self.path) if self.shown else path


@dataclass(frozen=True, slots=True)
class Published:
    """An output that is complete and under its final name.

    Attributes:
        paths: the data files (one, or the parts of a data set).
        rows: rows in all of them.
        bytes: size of all of them.
    """

    paths: tuple[str, ...]
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class LoadedAs:
    """What was asked for when a table was made.

    Attributes:
        asked: where it was to be mapped from; `TableData.in_place` tells where it is.
        origin: who said so: ``server``, ``library NAME`` or ``load``; ``job`` of a job's result.
        library: resource name of the library that it was loaded from; empty for none.
        options: how it was loaded.
        note: why it is not mapped from where it was to be; empty where it is.
    """

    asked: BackingStore = BackingStore.IN_PLACE_PREFERRED
    origin: str = "server"
    library: str = ""
    options: LoadOptions = LoadOptions()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A named table, of a session or a global one.

    Attributes:
        uid: this very table; a later table of the same name has another one.
        session_id: the session that it belongs to; of a global one, the session that it was made in.
        table_id: the name that the client gave.
        source_paths: what it was loaded from; empty for an upload or a job's result.
        size_bytes: size of the files that hold it.
        stored_bytes: as much of that as was written for it into the data directory.
        create_time: seconds since 1970, UTC.
        owner: who made it.
        is_global: whether it is everybody's to read, and stays when its session ends.
        label: for people.
        lifetime: seconds after its last access after which it is dropped; 0 for never.
        last_access_time: seconds since 1970, UTC, to within a minute.
        bytes_key: the same for all tables that map the very same files; empty where there are none.
        loaded: what was asked for when it was made.
    """

    uid: str
    session_id: str
    table_id: str
    data: TableData
    source_paths: tuple[str, ...]
    size_bytes: int
    stored_bytes: int
    create_time: float
    owner: str = ""
    is_global: bool = False
    label: str = ""
    lifetime: float = 0.0
    last_access_time: float = 0.0
    bytes_key: str = ""
    loaded: LoadedAs = LoadedAs()

    @property
    def etag(self) -> str:
        """What changes with the table and with each update of it."""
        told = repr((self.uid, self.is_global, self.label, self.lifetime))
        return hashlib.sha256(told.encode()).hexdigest()[:16]
