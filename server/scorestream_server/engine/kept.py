"""Versions of users' files that are kept for tables: when they go."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.disk import StorageError
from scorestream_server.store import kept as kept_store
from scorestream_server.store.database import Database
from scorestream_server.tables.kept import kept_name, sweep

logger = logging.getLogger(__name__)


class KeptVersions:
    """Removes the versions that no table and no job needs; used on the event loop only."""

    def __init__(self, database: Database, directory: DataDirectory) -> None:
        self._database = database
        self._folder = directory.kept
        self._loading = 0
        self._sweeping = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """Have nothing removed while a table is made whose copies the store does not know yet."""
        async with self._sweeping:
            self._loading += 1
        try:
            yield
        finally:
            self._loading -= 1

    async def sweep(self) -> None:
        """Remove what nobody needs any more; what cannot be removed now, a later sweep or the next start does."""
        async with self._sweeping:
            if self._loading or not await asyncio.to_thread(self._any):
                return
            with contextlib.suppress(OSError, StorageError):
                needed = await self._database.read(
                    lambda connection: {kept_name(file) for file in kept_store.sources(connection)}
                )
                if removed := await asyncio.to_thread(sweep, self._folder, needed):
                    logger.info("removed %d versions of files that no table needs", removed)

    def _any(self) -> bool:
        return self._folder.is_dir() and any(self._folder.iterdir())
