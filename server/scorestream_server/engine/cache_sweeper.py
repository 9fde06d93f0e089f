"""Files of tables that nobody needs any more: removed when they were dropped, and nobody reads them."""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import sqlalchemy as sa

from scorestream_server.domain.data_directory import TABLE_FOLDER
from scorestream_server.domain.disk import StorageError
from scorestream_server.engine.cache_contents import Contents
from scorestream_server.engine.table_use import TableUse

logger = logging.getLogger(__name__)

_READERS_SECONDS = 0.2
"""Readers have a table for so long or longer, before the next look at whether its files may go."""


class CacheSweeper:
    """Removes what the store does not know, and nobody uses or makes; used on the event loop only.

    Args:
        directories: the cache directories.
        contents: returns what is in the cache, with the tables that were dropped and are in use.
        making: ids of tables that are being made; it changes.
        use: who reads tables, and may not have come to `TableCache.pin` yet.

    Attributes:
        leaving: tables that were dropped, and wait for whoever uses them.
        folders: held while folders are removed, and while one is made, for a table may come back to its own.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        contents: Callable[[], Awaitable[Contents]],
        making: AbstractSet[str],
        use: TableUse,
    ) -> None:
        self._directories = directories
        self._contents = contents
        self._making = making
        self._use = use
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self.leaving: set[str] = set()
        self.folders = asyncio.Lock()

    def sweep(self) -> None:
        """Have the files of tables removed that were dropped, as soon as nobody uses them."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Stop; what was not removed is removed at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _sweep(self) -> None:
        while self._again:
            self._again = False
            try:
                if not await self._remove_unknown():
                    await asyncio.sleep(_READERS_SECONDS)
                    self._again = True
            except (OSError, StorageError, sa.exc.SQLAlchemyError) as error:
                logger.warning("tables that were dropped could not be removed now: %s", error)

    async def _remove_unknown(self) -> bool:
        """Remove the folders of tables that nobody needs; return whether all of them went."""
        async with self.folders:
            making = set(self._making)  # and what came into the store by then, the store knows
            folders = await asyncio.to_thread(_folders, self._directories)
            if not folders:
                return True
            contents = await self._contents()
            needed = {
                folder
                for entry in contents.entries
                if not entry.record.evicted
                for folder in entry.record.folders
            }
            self.leaving = {entry.table.uid for entry in contents.entries if not entry.table.session_id}
            gone = [folder for folder in folders if folder not in needed and folder.name not in making]
            # A version that rows were appended to has folders of the one before: who reads one that was dropped may have any.
            live = {entry.table.uid for entry in contents.entries if entry.table.session_id}
            free = (
                [folder for folder in gone if self._use.may_go(folder.name)]
                if self._use.in_use() <= live
                else []
            )
            await asyncio.to_thread(remove_others, free, set())
            for folder in free:
                self._use.forget(folder.name)
            return len(free) == len(gone)


def _folders(directories: Sequence[Path]) -> list[Path]:
    found = []
    for directory in directories:
        with contextlib.suppress(OSError):  # it is gone
            found += [path for path in directory.iterdir() if TABLE_FOLDER.fullmatch(path.name)]
    return found


def remove_others(folders: Sequence[Path], kept: set[str]) -> None:
    """Remove all files in folders but those that are kept, and the folders where none is."""
    for folder in folders:
        if not any(path.startswith(f"{folder}/") for path in kept):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        with contextlib.suppress(OSError):
            remove_files([path for path in folder.iterdir() if str(path) not in kept])


def remove_files(paths: Sequence[Path]) -> None:
    """Remove files; what cannot be removed now is at the next start."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
