"""What the disks say of the cache."""

import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from scorestream_server.domain.cache import CacheSize, DirectorySpace, FileKey, Holding, most_bytes, taken
from scorestream_server.domain.errors import ScorestreamError, precondition
from scorestream_server.domain.table import FileFormat, InputFile, LoadOptions, SourceFile, TableData
from scorestream_server.store.cached import CacheRecord, LiveTable, renamed
from scorestream_server.tables.formats import file_format
from scorestream_server.tables.identity import change
from scorestream_server.tables.kept import is_kept


@dataclass(frozen=True, slots=True)
class Place:
    """A folder for a table that is being made.

    Attributes:
        uid: the table's; the folder's name.
        room: how many bytes it may take.
    """

    uid: str
    owner: str
    folder: Path
    room: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A table of the cache, with what is found of it on the disks."""

    table: LiveTable
    record: CacheRecord
    holding: Holding


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in the cache at one moment.

    Attributes:
        used: bytes of all tables.
        most: bytes that they may take.
        others: tables that are not in the store yet.
    """

    entries: tuple[Entry, ...]
    spaces: tuple[DirectorySpace, ...]
    used: int
    most: int
    others: tuple[Holding, ...] = ()

    @property
    def holdings(self) -> list[Holding]:
        """What decisions are about."""
        return [*(entry.holding for entry in self.entries), *self.others]


def look_at(
    tables: Sequence[tuple[LiveTable, CacheRecord]],
    directories: Sequence[Path],
    size: CacheSize,
    used: Mapping[str, float],
    busy: AbstractSet[str],
    others: tuple[Holding, ...] = (),
) -> Contents:
    """Look at the files of tables and at the disks that they are on; what is not there takes nothing.

    Args:
        tables: those of the cache.
        directories: the cache directories; one that is gone is left out.
        size: how much the cache may take.
        used: when tables were last used, as far as that is known.
        busy: tables that are in use or being made.
        others: tables that are not in the store yet.
    """
    sources: dict[SourceFile, bool] = {}
    entries = []
    in_directory: dict[Path, dict[FileKey, int]] = {path: {} for path in directories}
    for table, record in tables:
        files: dict[FileKey, int] = {}
        for path in (path for paths in record.files for path in paths) if not record.evicted else ():
            with suppress(OSError):
                found = os.stat(path)  # noqa: PTH116  a plain string in the store
                files[found.st_dev, found.st_ino] = found.st_size
                in_directory.get(Path(path).parent.parent, {})[found.st_dev, found.st_ino] = found.st_size
        reloadable = record.recipe is not None and all(
            _unchanged(source, sources) for source in record.sources
        )
        last = used.get(table.uid, record.create_time)
        holding = Holding(table.uid, table.owner, files, table.uid not in busy, reloadable, last)
        entries.append(Entry(table, record, holding))
    found_spaces = [space_of(path, sum(in_directory[path].values())) for path in directories]
    spaces = [space for space in found_spaces if space is not None]
    bytes_used = taken([*(entry.holding for entry in entries), *others])
    most = most_bytes(size, spaces, bytes_used)
    return Contents(tuple(entries), tuple(spaces), bytes_used, most, others)


def space_of(directory: Path, used: int) -> DirectorySpace | None:
    """Return the space of a cache directory of which tables have taken so much; None where it is gone."""
    try:
        there = os.statvfs(directory)
        device = directory.stat().st_dev
    except OSError:
        return None
    total, free = there.f_blocks * there.f_frsize, there.f_bavail * there.f_frsize
    return DirectorySpace(directory, device, used, free, total)


def holding_of(place: Place, data: TableData) -> Holding:
    """Return what a table takes that is being made."""
    files = {}
    for path in (path for one in data.cached for path in (one.path, *one.copies)):
        found = os.stat(path)  # noqa: PTH116  as above
        files[found.st_dev, found.st_ino] = found.st_size
    return Holding(place.uid, place.owner, files, idle=False, reloadable=False, last_used=0.0)


def shared_files(data: TableData, uid: str) -> dict[str, str] | None:
    """Give the cached files of a table, and their copies, further names in the folders of another one.

    Returns:
        The new names by the old ones; None where that cannot be. What was linked then is removed by who asked.
    """
    names = {}
    try:
        for path in (path for one in data.cached for path in (one.path, *one.copies)):
            old = Path(path)
            new = old.parent.parent / uid / old.name
            new.parent.mkdir(exist_ok=True)
            new.unlink(missing_ok=True)
            os.link(old, new)
            names[path] = str(new)
    except OSError:  # it went just now, or the file system has no links
        return None
    return names


def shared_data(data: TableData, uid: str) -> TableData:
    """Return a table's data for a copy of it, whose cached files have names of its own; one that is evicted has none yet.

    Raises:
        ScorestreamError: FAILED_PRECONDITION, where that cannot be.
    """
    if data.evicted:
        paths = [path for one in data.cached for path in (one.path, *one.copies)]
        return renamed(data, {path: str(Path(path).parent.parent / uid / Path(path).name) for path in paths})
    names = shared_files(data, uid)
    if names is None:
        raise precondition(
            "TABLE_NOT_WHOLE", "The table's files in the cache cannot be linked. Load it again."
        )
    return renamed(data, names)


def cache_estimate(files: Sequence[InputFile], options: LoadOptions) -> int:
    """Return about how many bytes files will take in the cache; 0 where they may be read in place, or nobody knows."""
    converted = options.disk_cache or bool(options.where)
    in_place = {FileFormat.PARQUET, FileFormat.ARROW}
    found = 0
    for file in files:
        if converted or file_format(file.path) not in in_place:
            with suppress(OSError):
                found += os.stat(file.path).st_size  # noqa: PTH116  as above
    return found


def with_cached(table: TableData, made: TableData) -> TableData:
    """Return a table whose files in the cache are those that were made again; rows that were appended stay where they are."""
    names = {old.path: new.path for old, new in zip(table.cached, made.cached, strict=True)}
    files = {file.path: file for file in made.files}
    moved = renamed(table, names)
    return replace(
        moved,
        cached=made.cached,
        files=tuple(files.get(file.path, file) for file in moved.files),
        evicted=False,
    )


def stored_size(data: TableData) -> int:
    """Return how many bytes were written for a table: those in the cache, or copies of sources that are read in place."""
    sizes = {file.path: file.size for file in data.files}
    cached = sum(sizes[one.path] * (1 + len(one.copies)) for one in data.cached)
    return cached + sum(file.size for file in data.files if is_kept(file, data.kept))


def _unchanged(source: SourceFile, known: dict[SourceFile, bool]) -> bool:
    """Return whether a source is what it was; many tables have the same. Of what is at a URI nobody knows without asking."""
    if source not in known:
        try:
            known[source] = not change(source)
        except ScorestreamError:  # it may not be looked at any more
            known[source] = False
    return known[source]
