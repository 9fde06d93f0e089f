"""Which worker each job may have, and what jobs are told while their sessions have none."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.engine.active import ActiveJob
from scorestream_server.store import jobs as job_store
from scorestream_server.store.database import Database
from scorestream_server.workers.contexts import ContextPools

NO_WORKER = -1
"""Where a session waits for a worker; no worker has this id."""


class WorkerWaits:
    """Stands between jobs and the workers of contexts; used on the event loop only.

    Args:
        pools: the workers; what becomes of sessions that wait for one is heard here from now on.
        database: where jobs' events go.
        jobs: those that are not final, by id.
        wake: called when a session has a worker.
        fail: called with a job for which no worker comes up, and the reason.
        spawn: runs what takes a moment.
    """

    def __init__(
        self,
        pools: ContextPools,
        database: Database,
        jobs: Mapping[str, ActiveJob],
        wake: Callable[[], None],
        fail: Callable[[ActiveJob, ScorestreamError], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._pools = pools
        self._database = database
        self._jobs = jobs
        self._wake = wake
        self._fail = fail
        self._spawn = spawn
        self._seats: dict[str, asyncio.Future[None]] = {}
        pools.listener = self

    @contextlib.asynccontextmanager
    async def seat(self, key: str, context: str) -> AsyncIterator[int]:
        """Give a worker of a context to somebody who is no session, while the block runs; wait until there is one.

        Args:
            key: unlike any session's id; for the workers it counts as a session meanwhile.
            context: not the default one, whose workers nobody is given.

        Raises:
            ScorestreamError: UNAVAILABLE, where none comes up.
        """
        try:
            self._pools.join(key, context)
            if self._pools.worker_of(key) is None:
                seat = self._seats[key] = asyncio.get_running_loop().create_future()
                try:
                    await seat
                finally:
                    del self._seats[key]
            worker_id = self._pools.worker_of(key)
            yield NO_WORKER if worker_id is None else worker_id
        finally:
            self._pools.leave(key)

    def join(self, active: ActiveJob) -> None:
        """Have the session of a job that came given a worker of its context, where it has none."""
        if active.wants_lane:
            session_id, context = active.job.session_id, active.job.spec.context
            if why := self._pools.why_waiting(session_id):
                self._tell(active, why)  # others were told when the wait began
            self._pools.join(session_id, context)

    def worker_of(self, active: ActiveJob) -> int:
        """Return the worker that a job of a context must have, or `NO_WORKER`."""
        worker_id = self._pools.worker_of(active.job.session_id)
        return NO_WORKER if worker_id is None else worker_id

    def given(self, session_id: str) -> None:
        """Hand out the partitions of a session that has a worker now."""
        if (seat := self._seats.get(session_id)) is not None and not seat.done():
            seat.set_result(None)
        self._wake()

    def waits(self, session_id: str, what_for: str) -> None:
        """Tell the jobs of a session what they wait for."""
        for active in self._of(session_id):
            self._tell(active, what_for)

    def gave_up(self, session_id: str, error: ScorestreamError) -> None:
        """Fail the jobs of a session for which no worker comes up."""
        if (seat := self._seats.get(session_id)) is not None and not seat.done():
            seat.set_exception(error)
        for active in self._of(session_id):
            self._fail(active, error)

    def _of(self, session_id: str) -> list[ActiveJob]:
        return [
            active
            for active in self._jobs.values()
            if active.job.session_id == session_id and active.wants_lane
        ]

    def _tell(self, active: ActiveJob, message: str) -> None:
        self._spawn(self._write(active, message, time.time()))

    async def _write(self, active: ActiveJob, message: str, now: float) -> None:
        job, name = active.job, active.session_name
        await self._database.write(lambda connection: job_store.tell(connection, job, name, message, now))
