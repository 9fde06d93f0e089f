"""Drops tables whose lifetime is over, and removes the files of dropped ones once nobody needs them."""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.disk import StorageError
from scorestream_server.domain.session import SessionState
from scorestream_server.domain.table_life import WRITE_SECONDS, expired
from scorestream_server.engine import log_lines
from scorestream_server.engine.table_use import TableUse
from scorestream_server.store import log as log_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store import table_life
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database
from scorestream_server.store.table_life import Dropped

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0


class TableKeeper:
    """Looks after tables again and again.

    Args:
        database: the store.
        directory: the data directory.
        use: who reads tables.
        of_jobs: gives the uids of the tables that jobs have which are not final.
        dropped: called when tables were dropped, whose files in the cache may go then.
        clock: seconds since 1970, UTC.
    """

    def __init__(
        self,
        database: Database,
        directory: DataDirectory,
        use: TableUse,
        of_jobs: Callable[[], Collection[str]],
        dropped: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._directory = directory
        self._use = use
        self._of_jobs = of_jobs
        self._dropped = dropped
        self._clock = clock
        self._started = self._written = clock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look after tables; `of_jobs` must know the jobs of the last run by now."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop, and write down when tables were last read."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._write_accesses()

    async def sweep(self) -> None:
        """Do all that is to be done now."""
        now = self._clock()
        for uid in self._in_use():
            self._use.touch(uid, now)
        if now - self._written >= WRITE_SECONDS:
            self._written = now
            await self._write_accesses()
        await self._drop_expired(now)
        await self._clear()

    def _in_use(self) -> set[str]:
        return {*self._of_jobs(), *self._use.in_use()}

    async def _write_accesses(self) -> None:
        if accesses := self._use.take_unwritten():
            await self._database.write(lambda connection: table_life.touch_all(connection, accesses))

    async def _drop_expired(self, now: float) -> None:
        found = await self._database.read(table_life.lives)
        if not expired(found, self._use.accesses, self._in_use(), self._started, now):
            return

        def drop(connection: sa.Connection) -> None:
            # Looked at again: somebody may have begun to read meanwhile, or have given one more time.
            lives = table_life.lives(connection)
            for uid in expired(lives, self._use.accesses, self._in_use(), self._started, now):
                table = table_store.by_uid(connection, uid)
                table_store.drop(connection, uid)
                session = session_store.get(connection, table.session_id, None)
                if session.state is not SessionState.ENDED:
                    why = f"it was not read for {table.lifetime:,g} seconds, its lifetime"
                    log_store.write(connection, log_lines.table_dropped(table, why, now))

        await self._database.write(drop)
        self._dropped()

    async def _clear(self) -> None:
        """Remove the files of dropped tables that no job, and no reader from before the drop, has."""
        dropped = await self._database.read(table_life.to_clear)
        of_jobs = self._of_jobs()
        free: list[Dropped] = []
        for one in dropped:
            if one.uid in of_jobs or not self._use.may_go(one.uid):
                continue
            # A version that rows were appended to has files of the one before.
            if any(folder.is_dir() for folder in self._folders(one)) and await self._database.read(
                partial(table_life.has_files_of, dropped=one)
            ):
                continue
            free.append(one)
        if not free:
            return
        # The store first: what it does not know is removed at the next start, should this server be killed now.
        uids = [one.uid for one in free]
        await self._database.write(lambda connection: table_life.clear(connection, uids))
        for one in free:
            for folder in self._folders(one):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            self._use.forget(one.uid)

    def _folders(self, one: Dropped) -> tuple[Path, Path]:
        """Return the folders that may be a table's own; a promoted table has had both."""
        return self._directory.table(one.session_id, one.uid), self._directory.global_table(one.uid)

    async def _run(self) -> None:
        while True:
            try:
                await self.sweep()
            except (OSError, sa.exc.SQLAlchemyError, StorageError):  # the next sweep may do better
                logger.exception("tables could not be looked after")
            await asyncio.sleep(SWEEP_SECONDS)
