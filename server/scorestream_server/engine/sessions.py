"""The end of a session: its jobs first, then its tables, results and home, then its record says so."""

import asyncio
import logging
import shutil
import time

import sqlalchemy as sa

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.home import home_place
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.engine import log_lines
from scorestream_server.engine.active import ActiveJob
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.kept import KeptVersions
from scorestream_server.store import filerefs as fileref_store
from scorestream_server.store import homes as home_store
from scorestream_server.store import libraries as library_store
from scorestream_server.store import log as log_store
from scorestream_server.store import options as option_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store import summaries as summary_store
from scorestream_server.store import tables as table_store
from scorestream_server.store import variables as variable_store
from scorestream_server.store.database import Database
from scorestream_server.workers.local import LocalPool

logger = logging.getLogger(__name__)


class SessionEnder:
    """Ends sessions; an end that was begun goes on without its client, and after a restart."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        pool: LocalPool,
        directory: DataDirectory,
        cache: TableCache,
        kept: KeptVersions,
    ) -> None:
        self._cache = cache
        self._kept = kept
        self._database = database
        self._engine = engine
        self._pool = pool
        self._directory = directory
        self._ends: dict[str, asyncio.Task[Session]] = {}

    async def end(self, session: Session, *, cancel: bool, force: bool, why: str) -> Session:
        """End a session and return it as it is then.

        Args:
            session: which.
            cancel: whether its jobs are cancelled; otherwise they are waited for.
            force: whether a worker that runs partitions of this session alone is stopped at once.
            why: a sentence for the event.
        """
        if session.state is SessionState.ACTIVE:
            session = await self._database.write(
                lambda connection: session_store.set_state(
                    connection, session.id, session.owner, SessionState.ENDING, time.time(), why
                )
            )
        if session.state is SessionState.ENDED:
            return session
        if session.id not in self._ends:
            task = asyncio.create_task(self._finish(session, why))
            self._ends[session.id] = task
            task.add_done_callback(lambda _: self._ends.pop(session.id, None))
        if cancel or force:
            for active in self._jobs(session):
                await self._engine.cancel(active.job.id)
        if force:
            self._stop_workers(session)
            self._engine.contexts.leave(session.id)  # now, so that it is not given another
        # Shielded: a client that hangs up does not stop an end that was begun.
        return await asyncio.shield(self._ends[session.id])

    async def close(self) -> None:
        """Stop waiting; the next server goes on with the ends that were begun."""
        for task in self._ends.values():
            task.cancel()
        await asyncio.gather(*self._ends.values(), return_exceptions=True)

    def _jobs(self, session: Session) -> list[ActiveJob]:
        return [active for active in self._engine.jobs.values() if active.job.session_id == session.id]

    def _stop_workers(self, session: Session) -> None:
        users: dict[int, set[str]] = {}
        for active in self._engine.jobs.values():
            for flight in active.in_flight.values():
                users.setdefault(flight.worker_id, set()).add(active.job.session_id)
        for worker_id, sessions in users.items():
            if sessions == {session.id}:
                self._pool.kill(worker_id)

    async def _finish(self, session: Session, why: str) -> Session:
        for active in self._jobs(session):
            await active.finished.wait()
        self._engine.contexts.leave(session.id)

        def finish(connection: sa.Connection) -> Session:
            now = time.time()
            table_store.drop_all(connection, session.id)
            fileref_store.remove_all(connection, session.id)
            home_store.forget(connection, session.id)
            summary_store.remove_all(connection, session.id)
            log_store.end(connection, session.id, log_lines.session_ended(session.name, why, now))
            variable_store.delete_all(connection, session.id)
            option_store.delete_all(connection, session.id)
            library_store.remove_all(connection, session.id)
            return session_store.set_state(
                connection, session.id, session.owner, SessionState.ENDED, now, why
            )

        ended = await self._database.write(finish)
        self._cache.sweeper.sweep()
        await self._kept.sweep()
        folder = self._directory.session(session.id)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        home = home_place(self._directory, session)
        if home.transient:
            await asyncio.to_thread(shutil.rmtree, home.root, ignore_errors=True)
        return ended
