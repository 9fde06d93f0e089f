"""The cache at work: where tables go, who has to go for them, and how what is gone comes back."""

import asyncio
import contextlib
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

import sqlalchemy as sa

from scorestream_server.config import Config
from scorestream_server.domain.cache import (
    Bound,
    Bounds,
    Holding,
    Shortage,
    choose_directory,
    make_room,
    most_room,
)
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.messages import CopyTable, LoadTable, TableLoaded, Task
from scorestream_server.domain.table import InputFile, LoadOptions, Recipe, Table, TableData
from scorestream_server.engine import cache_errors
from scorestream_server.engine.cache_contents import (
    Contents,
    Place,
    holding_of,
    look_at,
    shared_files,
    space_of,
    stored_size,
    with_cached,
)
from scorestream_server.engine.cache_sweeper import CacheSweeper, remove_files, remove_others
from scorestream_server.engine.table_use import TableUse
from scorestream_server.store import cached as cache_store
from scorestream_server.store import tables as table_store
from scorestream_server.store.cached import CacheRecord, LiveTable
from scorestream_server.store.database import Database
from scorestream_server.tables.blocks import BLOCK_LOST
from scorestream_server.tables.checksums import CACHE_FULL
from scorestream_server.workers.pool import WorkerPool, run_anywhere

logger = logging.getLogger(__name__)

RELOADS = 3
"""How often a table is brought back for one job or read before it is given up."""
R = TypeVar("R")


class TableCache:
    """The tables in the cache directories; used on the event loop only."""

    def __init__(
        self,
        config: Config,
        directory: DataDirectory,
        database: Database,
        pool: WorkerPool,
        use: TableUse,
    ) -> None:
        self._size = config.cache_size
        self.most_of_owner = config.limits.cache_bytes
        self.directories = tuple(map(str, directory.cache_dirs))
        self._directory = directory
        self._database = database
        self._pool = pool
        self._users: Counter[str] = Counter()
        self._used: dict[str, float] = {}
        self._making: set[str] = set()
        self._known: dict[str, CacheRecord | None] = {}
        self._reloads: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._deciding = asyncio.Lock()
        self.sweeper = CacheSweeper(directory.cache_dirs, self.contents, self._making, use)

    # -- who uses what ----------------------------------------------------------------------------------

    def pin(self, uid: str) -> None:
        """Keep a table from being evicted, until `unpin`."""
        self._users[uid] += 1

    def unpin(self, uid: str) -> None:
        """Let go of a table."""
        self._users[uid] -= 1
        self._used[uid] = time.time()
        if not self._users[uid]:
            del self._users[uid]
            if uid in self.sweeper.leaving:
                self.sweeper.sweep()

    @contextlib.contextmanager
    def using(self, uid: str) -> Iterator[None]:
        """Keep a table from being evicted while the block runs."""
        self.pin(uid)
        try:
            yield
        finally:
            self.unpin(uid)

    async def run(self, table: Table, task: Callable[[TableData], Task], answer: type[R]) -> tuple[R, Table]:
        """Run a task on the rows of a table, which are brought back where they are gone; return the table, too.

        Args:
            table: which.
            task: makes the task; called again with the table as it is after it was brought back.
            answer: of the task.

        Raises:
            ScorestreamError: as `run_anywhere` and `reload`.
        """
        with self.using(table.uid):
            for _ in range(RELOADS):
                try:
                    return await run_anywhere(self._pool, task(table.data), answer), table
                except ScorestreamError as error:
                    if error.reason != BLOCK_LOST:
                        raise
                    table, _ = await self.reload(table.uid, table.data, error)
            return await run_anywhere(self._pool, task(table.data), answer), table

    # -- new tables -------------------------------------------------------------------------------------

    def copies(self, asked: int | None) -> int:
        """Return how many copies a table gets that asked for so many: as many as there are other directories."""
        others = len(self._directory.cache_dirs) - 1
        return min(others, min(1, others) if asked is None else asked)

    async def place(self, table_uid: str, owner: str, estimate: int, asked_copies: int | None) -> Place:
        """Return a new folder for a table; `settle` has to follow. What is idle goes where that makes room.

        Args:
            table_uid: the table.
            owner: of its session.
            estimate: about how many bytes it will take; 0: nobody knows.
            asked_copies: how many copies it is to have; None: as the server says.

        Raises:
            ScorestreamError: UNAVAILABLE, CACHE_GONE, where none of the directories is there.
        """
        times = 1 + self.copies(asked_copies)
        async with self._deciding:
            contents = await self.contents(without=table_uid)
            space = choose_directory(contents.spaces)
            if space is None:
                raise cache_errors.no_directory(self._directory.cache_dirs)
            bounds = self._bounds(contents, owner, space.path)
            if await self._evict_for(contents, bounds, estimate * times):
                contents = await self.contents(without=table_uid)
                bounds = self._bounds(contents, owner, space.path)
            # May be none, which does not matter to a table that is read in place.
            room = most_room(contents.holdings, bounds, times)
        folder = space.path / table_uid
        async with self.sweeper.folders:  # one that comes back may have left its folder, which is about to go
            self._making.add(table_uid)
            try:
                await asyncio.to_thread(folder.mkdir, exist_ok=True)
            except BaseException:
                self._making.discard(table_uid)
                raise
        return Place(table_uid, owner, folder, room)

    async def make_way(self, place: Place) -> None:
        """Evict what is idle where a table that is being written, whose size nobody knows, takes of the disk's reserve."""
        directory = place.folder.parent
        space = await asyncio.to_thread(space_of, directory, 0)
        if space is not None and space.room < 0:
            async with self._deciding:
                contents = await self.contents()
                bounds = self._bounds(contents, place.owner, directory)
                await self._evict_for(contents, bounds, 0)

    async def load(self, place: Place, files: Sequence[InputFile], options: LoadOptions) -> TableData:
        """Have a worker load files as a table, into a place if they must be converted.

        Raises:
            ScorestreamError: CACHE_FULL, and faults of the files.
        """
        kept = str(self._directory.kept)
        for again in (True, False):
            task = LoadTable(self._pool.next_task_id(), files, str(place.folder), options, kept, place.room)
            try:
                data = (await run_anywhere(self._pool, task, TableLoaded)).table
            except ScorestreamError as error:
                if error.reason == CACHE_FULL:
                    raise await self.full(place) from error
                # What could not be known before: how large it is, and how much of the disk others take meanwhile.
                if error.reason != "DISK_FULL" or not again or not await self._evict_idle(place):
                    raise
            else:
                return replace(data, recipe=None if data.in_place else Recipe(tuple(files), options))
        raise AssertionError

    async def full(self, place: Place) -> ScorestreamError:
        """Return the error of a table that takes more than it may."""
        contents = await self.contents()
        bounds = self._bounds(contents, place.owner, place.folder.parent)
        found = make_room(contents.holdings, bounds, place.room + 1)
        return self._full(contents, place.owner, found)

    async def shared(
        self, place: Place, files: Sequence[InputFile], options: LoadOptions
    ) -> TableData | None:
        """Return a table that was made of the same files in the same way, its bytes linked into a place of its own."""
        wanted = Recipe(tuple(files), replace(options, copies=None))
        contents = await self.contents()
        for entry in contents.entries:
            recipe = entry.record.recipe
            if recipe is None or replace(recipe, options=replace(recipe.options, copies=None)) != wanted:
                continue
            if not entry.holding.reloadable or not entry.holding.files:
                continue
            if len(entry.record.files[0]) != 1 + self.copies(options.copies):
                continue
            uid = entry.table.uid
            table = await self._database.read(functools.partial(table_store.by_uid, uid=uid))
            if len(table.data.files) != len(table.data.cached):  # rows were appended to it
                continue
            names = await asyncio.to_thread(shared_files, table.data, place.uid)
            if names is not None:
                return replace(
                    cache_store.renamed(table.data, names),
                    recipe=Recipe(tuple(files), options),
                    evicted=False,
                )
        return None

    async def keep(self, place: Place, data: TableData, asked_copies: int | None) -> TableData:
        """Return a new table with its copies, after what is idle went where the table needs its room.

        Raises:
            ScorestreamError: CACHE_FULL, TOO_MUCH_CACHED; a disk's.
        """
        if not data.cached:
            return data
        copies = self.copies(asked_copies)
        if copies and not data.cached[0].copies:
            data = await self._copied(place, data, copies)
        async with self._deciding:
            new = await asyncio.to_thread(holding_of, place, data)
            contents = await self.contents(new, without=place.uid)
            bounds = self._bounds(contents, place.owner, place.folder.parent)
            await self._evict_for(contents, bounds, 0, must=True)
        return data

    async def settle(
        self, place: Place, data: TableData | None, others: AbstractSet[str] = frozenset()
    ) -> None:
        """End the making of a table: what is not of `data`, which is in the store by now, nor of `others`, goes."""
        kept = set() if data is None else {path for one in data.cached for path in (one.path, *one.copies)}
        kept |= others
        folders = [directory / place.uid for directory in self._directory.cache_dirs]
        await asyncio.to_thread(remove_others, folders, kept)
        self._making.discard(place.uid)

    async def _copied(self, place: Place, data: TableData, copies: int) -> TableData:
        contents = await self.contents()
        folders: list[Path] = []
        without = [place.folder.parent]
        while len(folders) < copies and (space := choose_directory(contents.spaces, without)) is not None:
            without.append(space.path)
            folders.append(space.path / place.uid)
        task = CopyTable(self._pool.next_task_id(), data, tuple(map(str, folders)))
        return (await run_anywhere(self._pool, task, TableLoaded)).table

    # -- what goes, and comes back ----------------------------------------------------------------------

    async def reload(self, table_uid: str, had: TableData, lost: ScorestreamError) -> tuple[Table, str]:
        """Make a table again whose files are not whole, of its sources; return it, and what was mended, if that was it.

        Args:
            table_uid: which.
            had: what the caller had of it; where it is another one by now, that is returned.
            lost: what was wrong with its files.

        Raises:
            ScorestreamError: FAILED_PRECONDITION, TABLE_EVICTED, or DATA_LOSS, BLOCK_LOST, where it cannot be made
                again as it was; faults of a load.
        """
        async with self._reloads.setdefault(table_uid, asyncio.Lock()):
            table = await self._database.read(lambda connection: table_store.by_uid(connection, table_uid))
            if table.data.cached != had.cached and not table.data.evicted:
                return table, ""
            recipe = table.data.recipe
            if recipe is None or (
                changed := await asyncio.to_thread(cache_errors.what_changed, table.data.sources)
            ):
                raise cache_errors.not_reloadable(table, lost, "" if recipe is None else changed)
            owner = await self._database.read(lambda connection: cache_store.owner(connection, table_uid))
            others = await self._of_others(table_uid)
            place = await self.place(table_uid, owner, table.size_bytes, recipe.options.copies)
            made: TableData | None = table.data
            try:
                data = await self.load(place, recipe.files, recipe.options)
                if not _same(data, table.data):  # what was appended to it is not in the cache
                    changed = "what they give now has other rows, or another order of bytes"
                    raise cache_errors.not_reloadable(table, lost, changed)
                data = await self.keep(place, data, recipe.options.copies)
                data = with_cached(table.data, data)
                stored = stored_size(data)
                size = sum(file.size for file in data.files)
                await self._database.write(
                    lambda connection: cache_store.put(connection, table_uid, data, size, stored)
                )
                made = data
            finally:
                self._known.pop(table_uid, None)
                # A table whose files cannot be made again keeps what is left of them: a disk may come back.
                await asyncio.shield(self.settle(place, made, others))
            back = replace(table, data=data, size_bytes=size, stored_bytes=stored)
            if table.data.evicted:
                logger.info("table %s (%s) is back in the cache", table.table_id, table_uid)
                return back, ""
            note = f"{cache_errors.what_was_lost(lost)}. Table {table.table_id!r} was loaded again from its sources."
            logger.warning("table %s: %s", table_uid, note)
            return back, note

    async def evict(self, uids: Sequence[str]) -> tuple[set[str], int]:
        """Remove the files of those tables that can be made again; return which, and the bytes that they had."""
        done, freed = set(), 0
        for entry in (await self.contents()).entries:
            if entry.table.uid in uids and entry.holding.evictable and await self._evict(entry.table):
                done.add(entry.table.uid)
                freed += sum(entry.holding.files.values())
        return done, freed

    async def _evict(self, table: LiveTable) -> bool:
        if table.uid in self._users or table.uid in self._making:  # since it was looked at
            return False
        # The store first: files that it does not name are removed at the next start.
        record = await self._database.write(lambda connection: cache_store.evict(connection, table.uid))
        self._known.pop(table.uid, None)
        if record is not None:
            logger.info("table %s (%s) is evicted from the cache", table.table_id, table.uid)
            paths = {path for paths in record.files for path in paths}
            paths -= await self._of_others(table.uid)
            await asyncio.to_thread(remove_files, [Path(path) for path in paths])
            self.sweeper.sweep()  # its folders
        return record is not None

    async def _evict_for(
        self, contents: Contents, bounds: Bounds, wanted: int, *, must: bool = False
    ) -> bool:
        """Evict what a table of so many bytes needs, and return whether there was anything to evict.

        Where that is not enough nothing goes, or, if it `must` be, an error is raised.
        """
        found = make_room(contents.holdings, bounds, wanted)
        if isinstance(found, Shortage):
            if must:
                raise self._full(contents, bounds.owner, found)
            return False
        for entry in contents.entries:
            if entry.table.uid in found:
                await self._evict(entry.table)
        return bool(found)

    async def _evict_idle(self, place: Place) -> bool:
        """Evict everything idle for a table that found its disk full; return whether there was anything."""
        contents = await self.contents()
        done, _ = await self.evict(
            [entry.table.uid for entry in contents.entries if entry.table.uid != place.uid]
        )
        return bool(done)

    # -- what there is ----------------------------------------------------------------------------------

    async def contents(self, *others: Holding, without: str = "") -> Contents:
        """Return what is in the cache, with a look at its disks.

        Args:
            others: tables that are not in the store yet.
            without: a table that is left out, because it is being made, or made again.
        """
        found = [one for one in await self._tables() if one[0].uid != without]
        return await asyncio.to_thread(
            look_at,
            found,
            self._directory.cache_dirs,
            self._size,
            dict(self._used),
            set(self._users) | self._making,
            others,
        )

    async def _of_others(self, uid: str) -> set[str]:
        """Return the files of all tables but one; a version with appended rows has those of the version before."""
        tables = await self._tables()
        records = [record for table, record in tables if table.uid != uid and not record.evicted]
        return {path for record in records for paths in record.files for path in paths}

    async def _tables(self) -> list[tuple[LiveTable, CacheRecord]]:
        """Return the tables that have files in the cache, or had them, as the store has them."""
        known, users = frozenset(self._known), dict.fromkeys(self._users)

        def look(connection: sa.Connection) -> tuple[list[LiveTable], dict[str, CacheRecord | None]]:
            tables = cache_store.live(connection)
            there = {table.uid for table in tables}
            # Dropped ones that are in use take their room, too.
            tables += [LiveTable(uid, "", "", "", "") for uid in users if uid not in there]
            new = [table.uid for table in tables if table.uid not in known]
            return tables, cache_store.records(connection, new)

        tables, new = await self._database.read(look)
        self._known.update(new)
        there = {table.uid for table in tables}
        for uid in [uid for uid in self._known if uid not in there]:
            del self._known[uid]
            self._used.pop(uid, None)
        return [(table, record) for table in tables if (record := self._known.get(table.uid)) is not None]

    def _bounds(self, contents: Contents, owner: str, directory: Path) -> Bounds:
        space = next(space for space in contents.spaces if space.path == directory)
        return Bounds(contents.most, owner, self.most_of_owner, space.device, space.room)

    def _full(self, contents: Contents, owner: str, found: Shortage | tuple[str, ...]) -> ScorestreamError:
        # Somebody may have made room since it was missed.
        bound = found.bound if isinstance(found, Shortage) else Bound.CACHE
        return cache_errors.cache_full(contents, owner, bound, self.most_of_owner)


def _same(new: TableData, old: TableData) -> bool:
    """Return whether a table that was made again is byte for byte what is in the cache of an old one."""
    blocks = [[one.blocks for one in data.cached] for data in (new, old)]
    sources = old.sources[: len(new.sources)]  # behind them are those of rows that were appended
    return (new.sources, new.schema) == (sources, old.schema) and blocks[0] == blocks[1]
