"""Tables of the cache in the store."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.table import CachedFile, Recipe, SourceFile, TableData
from scorestream_server.store.schema import IS_OPEN, SESSIONS, TABLES

_CACHED = b'"cached":[{'
_LIVE = (
    sa.select(
        TABLES.c.uid,
        TABLES.c.table_id,
        TABLES.c.session_id,
        TABLES.c.owner,
        SESSIONS.c.name,
        TABLES.c.is_global,
    )
    .join(SESSIONS, SESSIONS.c.id == TABLES.c.session_id)
    .where(~TABLES.c.dropped, sa.or_(IS_OPEN, TABLES.c.is_global))
)
_DATA = sa.select(TABLES.c.uid, TABLES.c.data, TABLES.c.size_bytes, TABLES.c.create_time)


@dataclass(frozen=True, slots=True)
class LiveTable:
    """Whose a table is that is not dropped: of a session that has not ended, or global."""

    uid: str
    table_id: str
    session_id: str
    owner: str
    session_name: str
    is_global: bool = False


@dataclass(frozen=True, slots=True)
class CacheRecord:
    """What the store knows of a table in the cache; it changes only with an eviction, a reload or a move.

    Attributes:
        files: each cached file's path, and the paths of its copies.
        recipe: None: it cannot be made again.
    """

    uid: str
    files: tuple[tuple[str, ...], ...]
    sources: tuple[SourceFile, ...]
    recipe: Recipe | None
    evicted: bool
    bytes: int
    create_time: float

    @property
    def folders(self) -> set[Path]:
        """The folders that are its own."""
        return {Path(path).parent for paths in self.files for path in paths}


def live(connection: sa.Connection) -> list[LiveTable]:
    """Return all tables that clients can name."""
    return [LiveTable(*row) for row in connection.execute(_LIVE)]


def records(connection: sa.Connection, uids: Iterable[str]) -> dict[str, CacheRecord | None]:
    """Return what there is of tables in the cache; None for those that are not in it."""
    wanted = list(uids)
    found: dict[str, CacheRecord | None] = {}
    for start in range(0, len(wanted), 500):  # so many parameters every database takes
        rows = connection.execute(_DATA.where(TABLES.c.uid.in_(wanted[start : start + 500])))
        found.update((row.uid, _record(row)) for row in rows)
    return found


def owner(connection: sa.Connection, uid: str) -> str:
    """Return whom a table belongs to, dropped or not."""
    return str(connection.execute(sa.select(TABLES.c.owner).where(TABLES.c.uid == uid)).scalar_one())


def put(connection: sa.Connection, uid: str, data: TableData, size: int, stored: int) -> None:
    """Write down where a table is by now."""
    values = {"data": msgspec.json.encode(data), "size_bytes": size, "stored_bytes": stored}
    connection.execute(sa.update(TABLES).where(TABLES.c.uid == uid).values(values))


def evict(connection: sa.Connection, uid: str) -> CacheRecord | None:
    """Write down that a table's files are no more, and return what they were; None: they were gone already."""
    row = connection.execute(_DATA.where(TABLES.c.uid == uid)).one()
    record = _record(row)
    if record is None or record.evicted:
        return None
    data = replace(msgspec.json.decode(row.data, type=TableData), evicted=True)
    put(connection, uid, data, row.size_bytes, 0)
    return record


def relocate_cache(connection: sa.Connection, caches: Sequence[Path]) -> int:
    """Have every cached file that is in one of these directories, and not where it was, be looked for there.

    Returns:
        How many tables were changed.
    """
    return _change(connection, lambda data: moved(data, caches))


def only_in(connection: sa.Connection, cache: Path) -> dict[Path, tuple[str, ...]]:
    """Have all cached files lie in one directory, without copies.

    Returns:
        Where each file is to lie, with the places where it was; those of tables that are evicted or dropped are left
        out.
    """
    wanted: dict[Path, tuple[str, ...]] = {}

    def move(data: TableData) -> TableData:
        places = {
            one.path: str(cache / Path(one.path).parent.name / Path(one.path).name) for one in data.cached
        }
        if not data.evicted:
            wanted.update((Path(places[one.path]), (one.path, *one.copies)) for one in data.cached)
        return renamed(data, places)

    _change(connection, move, ~TABLES.c.dropped)
    return wanted


def _change(
    connection: sa.Connection, change: Callable[[TableData], TableData], *conditions: sa.ColumnElement[bool]
) -> int:
    changed = 0
    there = sa.or_(IS_OPEN, TABLES.c.is_global)
    rows = _DATA.join(SESSIONS, SESSIONS.c.id == TABLES.c.session_id).where(there, *conditions)
    for row in connection.execute(rows).all():
        if _CACHED not in row.data:
            continue
        data = msgspec.json.decode(row.data, type=TableData)
        new = change(data)
        if new != data:
            values = {"data": msgspec.json.encode(new)}
            connection.execute(sa.update(TABLES).where(TABLES.c.uid == row.uid).values(values))
            changed += 1
    return changed


def moved(data: TableData, caches: Sequence[Path]) -> TableData:
    """Return a table whose paths are those of its files as they lie in the cache directories."""
    names: dict[str, str] = {}
    for one in data.cached:
        old = [one.path, *one.copies]
        place = Path(one.path)
        there = [str(folder / place.parent.name / place.name) for folder in caches]
        free = [path for path in there if path not in old and Path(path).is_file()]
        for path in old:
            # What is nowhere stays as it was: its disk may come back.
            names[path] = path if path in there or not free else free.pop(0)
    return renamed(data, names)


def renamed(data: TableData, names: dict[str, str]) -> TableData:
    """Return a table whose cached files, and their copies, have other paths.

    Args:
        data: the table.
        names: new paths by the old ones; a copy that has none is left out.
    """
    cached = tuple(
        CachedFile(names[one.path], one.blocks, tuple(names[path] for path in one.copies if path in names))
        for one in data.cached
    )
    return replace(
        data,
        cached=cached,
        files=tuple(replace(file, path=names.get(file.path, file.path)) for file in data.files),
        # Those of an upload are its files.
        sources=tuple(replace(file, path=names.get(file.path, file.path)) for file in data.sources),
        fragments=tuple(
            replace(fragment, path=names.get(fragment.path, fragment.path)) for fragment in data.fragments
        ),
    )


def _record(row: Any) -> CacheRecord | None:
    if _CACHED not in row.data:
        return None
    data = msgspec.json.decode(row.data, type=TableData)
    files = tuple((one.path, *one.copies) for one in data.cached)
    return CacheRecord(
        row.uid, files, data.sources, data.recipe, data.evicted, row.size_bytes, row.create_time
    )
