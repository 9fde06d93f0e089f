"""Libraries, what loads can be told, and descriptions of tables, as plain frozen values."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict

from scorestream.records import TableInfo


class BackingStore(enum.StrEnum):
    """Where tables are to be mapped from, as the server, a library or a load asks for it."""

    INHERIT = "inherit"
    """As the level above says: a load asks its library, a library the server."""
    IN_PLACE_PREFERRED = "in_place_preferred"
    """The files themselves wherever they can be; what must be converted goes to the server's cache."""
    DISK_CACHE = "disk_cache"
    """A copy of the table's own in the server's cache."""


class SourceChange(enum.StrEnum):
    """What becomes of a job whose table is read in place when a source is not what it was."""

    FAIL = "fail"
    """It fails with SOURCE_CHANGED."""
    PRIVATE_COPY = "private_copy"
    """It goes on from a copy that was made when the table was loaded."""


class LibrarySettings(TypedDict, total=False):
    """What a library can be told; None, or nothing, is the default.

    Attributes:
        backing_store: where its tables are mapped from, unless the load says otherwise; ``inherit`` by default.
        on_source_change: ``fail`` (the default), or ``private_copy``.
        copies: how many copies blocks of its tables have in other cache directories; None: as the server says.
        description: for people.
    """

    backing_store: BackingStore | str | None
    on_source_change: SourceChange | str | None
    copies: int | None
    description: str | None


class TableSettings(TypedDict, total=False):
    """What a table that is made can be told.

    Attributes:
        label: for people, up to 256 characters.
        lifetime: seconds after its last access after which it is dropped; 0: it stays.
        promote: whether it is a global table, which all may read and which stays when the session ends.
    """

    label: str
    lifetime: float
    promote: bool


class LoadSettings(TableSettings, total=False):
    """How a table is loaded from files on the server; of rows that are sent, only what `TableSettings` has counts.

    Attributes:
        library: the library that paths are relative to: the session's of that name, or else the global one.
        backing_store: where it is mapped from; None: as the library says, or else the server.
        columns: those that it gets, in this order; empty: all.
        where: SQL predicate; only rows for which it is true become rows of the table.
        copies: how many copies its blocks have in other cache directories; None: as the library says.
        on_source_change: what becomes of jobs when a source changes; None: as the library says.
    """

    library: str
    backing_store: BackingStore | str | None
    columns: Sequence[str]
    where: str
    copies: int | None
    on_source_change: SourceChange | str | None


@dataclass(frozen=True, slots=True)
class LibraryInfo:
    """A named place that holds tables.

    Attributes:
        name: ``work`` holds the session's own tables.
        session_id: the session that it ends with; empty for a global one.
        read_only: whether its tables can only be read.
        transient: whether it ends with the session.
        tables: how many tables there are of it.
        path: the directory or URI that it stands for; empty for ``work``.
        backing_store: where its tables are mapped from, unless the load says otherwise.
        on_source_change: what becomes of jobs on its tables when a source changes.
        copies: of blocks of its tables; None: as the server says.
        description: for people.
        owner: who made it; empty for ``work`` and for those of the configuration file.
        etag: changes with every change of it.
        built_in: whether it comes from the configuration file and is changed there only.
        created: None for ``work`` and for those of the configuration file; `updated` likewise.
    """

    name: str
    session_id: str
    read_only: bool
    transient: bool
    tables: int
    path: str = ""
    backing_store: BackingStore = BackingStore.INHERIT
    on_source_change: SourceChange = SourceChange.FAIL
    copies: int | None = None
    description: str = ""
    owner: str = ""
    etag: str = ""
    built_in: bool = False
    created: datetime | None = None
    updated: datetime | None = None


@dataclass(frozen=True, slots=True)
class TableSource:
    """A file that a table was loaded from, as it was then."""

    path: str
    size_bytes: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class TableDescription:
    """All that the server knows of a table.

    Attributes:
        info: the table; `info.backing_store` says where its bytes are.
        asked: where it was to be mapped from.
        origin: who said so: ``server``, ``library NAME`` or ``load``; ``job`` of a job's result.
        note: why it is not mapped from where it was to be; empty where it is.
        library: the resource name of the library that it was loaded from; empty for none.
        columns: that were asked for at load; empty: all.
        where: the rows that were asked for at load; empty: all.
        on_source_change: what becomes of jobs on it when a source changes.
        copies: of its blocks that were asked for; None: as the server says.
        sources: the files that it was loaded from, up to 1000 of them; empty for an upload or a job's result.
        source_count: how many files it was loaded from.
        sharing: how many tables map the very files that this one does, itself among them; 0 where it has none.
        readers: how many jobs that are not final, and reads of rows, have it now.
        hides_global: whether it hides a global table of its name.
    """

    info: TableInfo
    asked: BackingStore
    origin: str
    note: str
    library: str
    columns: tuple[str, ...]
    where: str
    on_source_change: SourceChange
    copies: int | None
    sources: tuple[TableSource, ...] = field(default=())
    source_count: int = 0
    sharing: int = 0
    readers: int = 0
    hides_global: bool = False

    @property
    def is_global(self) -> bool:
        """Whether it is a global table."""
        return not self.info.session_id
