"""How jobs end: what stops them, what is written of it, and who is told.

A job that is told to end hands out nothing more; once nothing of it is in flight or on its way to the store, its
output is published or its final state written, and the engine lets go of it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from scorestream_server.domain.disk import StorageError, disk_error
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.job import Failure, Job, State
from scorestream_server.domain.messages import CancelTask, CloseJob
from scorestream_server.engine import log_lines, row_errors
from scorestream_server.engine.active import ActiveJob
from scorestream_server.engine.output import OutputWriter
from scorestream_server.engine.states import write_begun
from scorestream_server.store import appends as append_store
from scorestream_server.store import jobs as job_store
from scorestream_server.store import log as log_store
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database
from scorestream_server.workers.pool import WorkerPool

logger = logging.getLogger(__name__)

STORE_RETRY_SECONDS = 0.5
"""Pause before the end of a job is written again to a disk that did not take it."""


class JobEnds:
    """Brings jobs to their ends; used on the event loop only.

    Args:
        database: where ends are written.
        pool: told to stop what is in flight, and to forget jobs.
        output: publishes.
        wake: called when lanes may have become free.
        spawn: runs what takes a moment.
        gone: called with a job that is final in the store.
    """

    def __init__(
        self,
        database: Database,
        pool: WorkerPool,
        output: OutputWriter,
        wake: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        gone: Callable[[ActiveJob], None],
    ) -> None:
        self._database = database
        self._pool = pool
        self._output = output
        self._wake = wake
        self._spawn = spawn
        self._gone = gone
        self._draining = False

    def drain(self) -> None:
        """Begin no output from here on, and no end of a job that was not told to end."""
        self._draining = True

    def end(self, active: ActiveJob, state: State, error: ScorestreamError | None) -> None:
        """Hand out nothing more of a job, and stop what is in flight at its next batch."""
        if active.ending is not None:
            return
        active.ending = state
        active.failure = failure_of(error) if error else None
        for flight in active.in_flight.values():
            self._pool.send(flight.worker_id, CancelTask(flight.task_id))
        if active.publishing is not None:
            active.publishing.cancel()
        self.finish_if_done(active)
        self._wake()

    def fail(self, active: ActiveJob, error: ScorestreamError) -> None:
        """End a job for this reason."""
        self.end(active, State.FAILED, error)

    def finish_if_done(self, active: ActiveJob) -> None:
        """Go on to the end of a job when nothing of it is pending, in flight or on its way to the store."""
        busy = active.in_flight or active.committing or active.publishing is not None
        missing = len(active.committed) < len(active.partitions)
        if busy or active.finished.is_set() or (active.ending is None and (missing or self._draining)):
            return
        if active.ending is None:
            active.publishing = self._spawn(self._publish(active))
            active.publishing.add_done_callback(lambda task: self._unpublished(active, task))
        else:
            active.publishing = self._spawn(self._finish(active, active.ending))

    async def _publish(self, active: ActiveJob) -> None:
        try:
            published = await self._output.publish(active)
        except (ScorestreamError, OSError) as error:
            active.publishing = None
            if active.ending is None:
                self.fail(active, commit_error(error))
            else:
                self.finish_if_done(active)  # it was told to end, and did
            return
        active.job = replace(active.job, outputs=published.names)
        active.table_made = published.table
        active.failure = None  # a limit that was passed meanwhile was passed too late
        active.job = succeeded(active.job, time.time())
        await self._finish(active, active.job.state)

    def _unpublished(self, active: ActiveJob, task: asyncio.Task[None]) -> None:
        """Go on to the end of a job whose publishing was cancelled, maybe before its first step."""
        # No ending: the server stops, and the next one publishes.
        if task.cancelled() and active.ending is not None and active.publishing is task:
            active.publishing = None
            self.finish_if_done(active)

    async def _finish(self, active: ActiveJob, state: State) -> None:
        active.ending = state  # from here on nothing can end it otherwise
        now = time.time()
        job, begun = active.job, active.take_begun()
        job = active.job = replace(job, state=state, end_time=now, failure=active.failure)
        table = active.table_made
        lines = log_lines.ended(job, active.missing())

        def finish(connection: sa.Connection) -> None:
            write_begun(connection, begun, active.session_name)
            if table is not None and job.spec.append:
                append_store.append(connection, table)
            elif table is not None:
                table_store.put(connection, table, replace=job.spec.replace)
            if job_store.change_state(connection, job, active.session_name, now, _farewell(job)):
                log_store.write(connection, lines)

        try:
            await self._written(finish)
        except ScorestreamError as error:  # the output table's name was taken meanwhile
            active.table_made = None
            active.failure = failure_of(error)
            await self._finish(active, State.FAILED)
            return
        await self._output.written_down(active)
        self.retire(active)

    async def _written(self, operation: Callable[[sa.Connection], None]) -> None:
        """Write what must be written, as soon as the disk takes it."""
        told = ""
        while True:
            try:
                return await self._database.write(operation)
            except StorageError as error:
                if str(error) != told:
                    logger.error("the end of a job cannot be written down; trying again: %s", error)  # noqa: TRY400
                told = str(error)
            await asyncio.sleep(STORE_RETRY_SECONDS)

    def retire(self, active: ActiveJob) -> None:
        """Let go of a job that is final in the store."""
        for worker_id in active.opened:
            self._pool.send(worker_id, CloseJob(active.job.id))
        self._gone(active)
        if active.attempts is not None:
            with contextlib.suppress(OSError):  # else the next start does
                active.attempts.rmdir()
        active.finished.set()
        self._wake()


def failure_of(error: ScorestreamError) -> Failure:
    """Return an error as a job keeps it."""
    return Failure(error.code.value, error.reason, error.message)


def time_is_up(job: Job, limit: str) -> ScorestreamError:
    """Return why a job ended whose time was up, by which of its limits."""
    what, allowed, by = {
        "timeout": ("it ran for", job.spec.timeout, "its timeout allows"),
        "task_timeout": (
            "it ran for",
            job.spec.task_timeout,
            f"context {job.spec.context!r} lets the jobs of its sessions run (task_timeout)",
        ),
        "queue_timeout": ("it waited for a lane for", job.spec.queue_timeout, "its queue_timeout allows"),
    }[limit]
    reason = "QUEUE_TIMED_OUT" if limit == "queue_timeout" else "JOB_TIMED_OUT"
    message = f"The job's time was up: {what} {allowed:,g} seconds, as long as {by}."
    return ScorestreamError(ErrorCode.DEADLINE_EXCEEDED, reason, message)


def commit_error(error: Exception) -> ScorestreamError:
    """Return why what was scored could not be kept."""
    if isinstance(error, ScorestreamError):
        return error
    told = disk_error(error) if isinstance(error, OSError) else None
    return told or ScorestreamError(
        ErrorCode.INTERNAL, "STORE_FAILED", f"What was scored could not be committed: {error}"
    )


def succeeded(job: Job, now: float) -> Job:
    """Return a job whose rows are all committed as it is in the end."""
    job = row_errors.with_warning(job)
    state = State.SUCCEEDED_WITH_WARNINGS if job.warnings else State.SUCCEEDED
    return replace(job, state=state, end_time=now)


def _farewell(job: Job) -> str:
    if job.failure is not None:
        return job.failure.message
    return f"output: {', '.join(job.outputs)}" if job.outputs else ""
