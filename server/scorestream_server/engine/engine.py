"""The loop: ask the scheduler, send to workers, record what came back, publish.

All state here is that of jobs that are not final. Everything that a client was told is in the store, so a
new server on the same data directory goes on from the committed partitions.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.context import DEFAULT_CONTEXT
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.device import WorkerUse
from scorestream_server.domain.disk import StorageError
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.job import Job, State
from scorestream_server.domain.messages import PartitionDone, RunPartition
from scorestream_server.domain.row_error import ROW_NOT_SCORED
from scorestream_server.domain.table import Partition
from scorestream_server.engine import log_lines, row_errors
from scorestream_server.engine.active import ActiveJob
from scorestream_server.engine.admission import Admission
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.ends import JobEnds, commit_error, failure_of, succeeded, time_is_up
from scorestream_server.engine.homes import Homes
from scorestream_server.engine.output import OutputWriter
from scorestream_server.engine.queues import QueueCounts
from scorestream_server.engine.quota import JobQuota
from scorestream_server.engine.result_tables import ResultTables
from scorestream_server.engine.states import write_begun
from scorestream_server.engine.waits import WorkerWaits
from scorestream_server.scheduler import Assignment, Shares, WorkerLoad, has_room, schedule
from scorestream_server.store import jobs as job_store
from scorestream_server.store import log as log_store
from scorestream_server.store.database import Database
from scorestream_server.tables.blocks import BLOCK_LOST
from scorestream_server.tables.results import attempt_path, commit_partition
from scorestream_server.workers.contexts import ContextPools
from scorestream_server.workers.pool import MAX_ATTEMPTS, WorkerLost, WorkerPool

logger = logging.getLogger(__name__)

STATE_PATIENCE_SECONDS = 0.02
"""How long the news that a job runs may wait for something to be written with: a short job's first partition is."""

CLOSE_SECONDS = 0.05
"""How long a step that was cancelled may take before it is cancelled again."""


class Engine:
    """Drives every job that is not final; used on the event loop only."""

    def __init__(
        self,
        database: Database,
        pool: WorkerPool,
        directory: DataDirectory,
        quota: JobQuota,
        contexts: ContextPools,
        cache: TableCache,
    ) -> None:
        self._quota = quota
        self._cache = cache
        self._database = database
        self._pool = pool
        self._directory = directory
        self.contexts = contexts
        """The workers of contexts; sessions join and leave them."""
        self.admission = Admission(database, contexts, directory)
        self.homes = Homes(database, directory)
        output = OutputWriter(pool, directory, self.homes, database, ResultTables(database, directory))
        self._jobs: dict[str, ActiveJob] = {}
        self._timed: dict[str, ActiveJob] = {}
        self._shares = Shares()
        self._wake = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._ends = JobEnds(database, pool, output, self.wake, self._spawn, self._let_go)
        self.worker_waits = WorkerWaits(
            contexts, database, self._jobs, self.wake, self._ends.fail, self._spawn
        )

    @property
    def jobs(self) -> Mapping[str, ActiveJob]:
        """The jobs that are not final, by id."""
        return self._jobs

    @property
    def queues(self) -> QueueCounts:
        """How many jobs each queue has."""
        return self._quota.queues

    def workers(self) -> list[WorkerUse]:
        """Return the workers that take tasks, and how busy their lanes are."""
        held = self._held()
        return [
            WorkerUse(
                worker.pid,
                worker.device,
                worker.lanes,
                # What it holds beyond its lanes waits in it.
                min(worker.lanes, len(held.get(worker.worker_id, ()))),
            )
            for worker in self._pool.workers()
        ]

    def start(self) -> None:
        """Begin to hand out partitions."""
        self._loop = self._spawn(self._run())

    async def drain(self) -> None:
        """Hand out nothing more, begin no output, and return when all that was begun is in the store."""
        self._ends.drain()
        if self._loop is not None:
            self._loop.cancel()
        while self._background:
            await asyncio.wait(self._background)

    async def close(self) -> None:
        """Stop; what is in flight is lost and will be run again by the next server."""
        while self._background:
            # Again and again: an output that was stopped waits for its worker's answer.
            for task in self._background:
                task.cancel()
            await asyncio.wait(self._background, timeout=CLOSE_SECONDS)

    def wake(self) -> None:
        """Look again: a job or a worker came, went or changed."""
        self._wake.set()

    def add(self, active: ActiveJob, refusal: ScorestreamError | None = None) -> None:
        """Take up a job that the store has; with a `refusal`, only to fail it for that."""
        active.stored = active.job
        self._jobs[active.job.id] = active
        self._cache.pin(active.job.spec.table_uid)
        self._quota.add(active.job)
        if active.job.spec.timeout or active.job.spec.queue_timeout or active.job.spec.task_timeout:
            self._timed[active.job.id] = active
        if active.job.state is State.CANCELLING:
            active.ending = State.CANCELLED
        elif refusal is not None:
            active.ending = State.FAILED
            active.failure = failure_of(refusal)
        self._ends.finish_if_done(active)
        self.worker_waits.join(active)
        self.wake()

    def stored(self, job_id: str) -> Job | None:
        """Return a job as the store has it, or had it a moment ago; None where it is final, or is not there."""
        active = self._jobs.get(job_id)
        return None if active is None else active.stored

    def may_have_rows(self, job_id: str) -> bool:
        """Return whether rows of a job may be committed that no event from here on tells of."""
        active = self._jobs.get(job_id)
        return active is None or active.may_have_rows

    def why_waiting(self, job: Job) -> str:
        """Return why a job waits that could have a lane; empty: it does not, or for a lane alone."""
        return self.queues.why_waiting(job) or self.contexts.why_waiting(job.session_id)

    async def cancel(self, job_id: str) -> None:
        """Ask a job to stop; nothing happens to one that is final."""
        active = self._jobs.get(job_id)
        if active is None or active.ending is not None:
            return
        begun, now = active.take_begun(), time.time()
        job = active.job = replace(active.job, state=State.CANCELLING)
        self._ends.end(active, State.CANCELLED, None)
        why = "cancelled by a client"

        def change(connection: sa.Connection) -> None:
            write_begun(connection, begun, active.session_name)
            if job_store.change_state(connection, job, active.session_name, now, why):
                log_store.write(connection, log_lines.noted(job, f"To be {why}.", now))

        await self._database.write(change)
        active.stored = job

    # -- the loop ---------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            next_deadline = min((active.deadline()[0] for active in self._timed.values()), default=math.inf)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    None if next_deadline == math.inf else max(0.0, next_deadline - time.time())
                ):
                    await self._wake.wait()
            self._wake.clear()
            self._expire(time.time())
            for assignment in self._decide():
                self._dispatch(assignment)

    def _held(self) -> dict[int, list[bool]]:
        """Return for each partition that a worker holds whether it must be alone, by worker."""
        held: dict[int, list[bool]] = {}
        for active in self._jobs.values():
            for flight in active.in_flight.values():
                held.setdefault(flight.worker_id, []).append(flight.alone)
        return held

    def _expire(self, now: float) -> None:
        """End the jobs whose time is up; what they have committed stays."""
        for active in list(self._timed.values()):
            deadline, limit = active.deadline()
            if deadline <= now:
                self._ends.end(active, State.TIMED_OUT, time_is_up(active.job, limit))

    def _decide(self) -> list[Assignment]:
        held = self._held()
        loads = [
            WorkerLoad(
                worker.worker_id,
                worker.lanes,
                len(held.get(worker.worker_id, ())),
                reserved=any(held.get(worker.worker_id, ())),
                own=worker.context == DEFAULT_CONTEXT,
            )
            for worker in self._pool.workers()
        ]
        # Most looks find no room: with hundreds of jobs that is worth knowing before they are all gone through.
        free = {load.serves for load in loads if has_room(load)}
        if not free:
            return []
        wanting = [active for active in self._jobs.values() if active.wants_lane]
        served = [None if active.own_workers else self.worker_waits.worker_of(active) for active in wanting]
        if free.isdisjoint(served):
            return []
        ready = [active.ready(worker_id) for active, worker_id in zip(wanting, served, strict=True)]
        may_start = self._quota.may_start(active.job for active in self._jobs.values())
        queues = self.queues.shares()
        assignments, self._shares = schedule(ready, loads, self._shares, time.monotonic(), may_start, queues)
        return assignments

    def _dispatch(self, assignment: Assignment) -> None:
        active, worker_id = self._jobs[assignment.job_id], assignment.worker_id
        if active.ending is not None:  # since the step before this one
            return
        if worker_id not in active.opened:
            try:
                self._pool.send(worker_id, active.opening)
            except ScorestreamError as error:
                self._ends.fail(active, error)
                return
            active.opened.add(worker_id)
        task_id = self._pool.next_task_id()
        partition = active.take(worker_id, task_id, time.monotonic(), alone=assignment.alone)
        if active.job.state is State.PENDING:
            active.job = replace(active.job, state=State.RUNNING, start_time=time.time())
            self.queues.begun(active.job)
            active.begun = active.job
            self._spawn(self._write_begun(active))
        self._spawn(self._run_partition(active, partition, worker_id, task_id))

    async def _run_partition(
        self, active: ActiveJob, partition: Partition, worker_id: int, task_id: int
    ) -> None:
        final = self._directory.partition(active.job.session_id, active.job.id, partition.index)
        temporary = attempt_path(final, task_id, active.attempts)
        task = RunPartition(task_id, active.job.id, partition, str(temporary))
        try:
            done = await self._pool.run(worker_id, task)
            if not isinstance(done, PartitionDone):
                raise TypeError(done)
        except WorkerLost as lost:
            self._land(active, partition)
            # Given back at once: a partition that is neither in flight nor pending would be missed by nobody.
            await self._retry(active, partition, lost)
            await asyncio.to_thread(_unlink, temporary)
        except ScorestreamError as error:
            self._land(active, partition)
            if error.reason == BLOCK_LOST and active.ending is None:
                active.put_back(partition.index)
                # Else it was sent out with what the table was before.
                current = error.metadata.get("path") in {one.path for one in active.table.cached}
                if active.reloading is None and current:
                    active.reloading = self._spawn(self._reload(active, error))
            elif error.reason == ROW_NOT_SCORED:
                row_errors.found(active, partition.index, error)
            elif error.code is not ErrorCode.CANCELLED:
                self._ends.fail(active, error)
        else:
            # The lane is free from here on: let it have its next partition while this one is committed.
            self._land(active, partition)
            await self._commit(active, partition, done, worker_id, final, temporary)
        if (failure := row_errors.settled(active) or row_errors.artifacts_too_large(active)) is not None:
            self._ends.fail(active, failure)
        self._ends.finish_if_done(active)

    async def _reload(self, active: ActiveJob, lost: ScorestreamError) -> None:
        """Go on with a job whose table was evicted or damaged, once its rows are back."""
        active.reloads += 1
        try:
            if active.reloads > MAX_ATTEMPTS:
                raise lost
            table, note = await self._cache.reload(active.job.spec.table_uid, active.table, lost)
            if note:
                await self._warn(active, note)
            active.opening = msgspec.structs.replace(active.opening, table=table.data)
            await self.admission.admit(active)  # to files that are new
        except (ScorestreamError, OSError, sa.exc.SQLAlchemyError) as error:
            active.reloading = None
            self._ends.fail(active, commit_error(error))
            return
        active.reloading = None
        if active.finished.is_set():
            return
        for worker_id in active.opened:
            self._pool.send(worker_id, active.opening)
        self.wake()

    async def _warn(self, active: ActiveJob, note: str) -> None:
        active.job = replace(active.job, warnings=(*active.job.warnings, note))
        job, now = active.job, time.time()

        def warn(connection: sa.Connection) -> None:
            job_store.warn(connection, job, active.session_name, note, now)
            log_store.write(connection, log_lines.warned(job, note, now))

        await self._database.write(warn)

    def _land(self, active: ActiveJob, partition: Partition) -> None:
        del active.in_flight[partition.index]
        self.wake()

    async def _commit(
        self,
        active: ActiveJob,
        partition: Partition,
        done: PartitionDone,
        worker_id: int,
        final: Path,
        temporary: Path,
    ) -> None:
        file = replace(done.file, path=str(final))
        device = next((w.device for w in self._pool.workers() if w.worker_id == worker_id), "")
        notes = active.count(partition.index, file, device, done)
        job, now, begun = active.job, time.time(), active.take_begun()
        # Where nothing is to be published, the last partition and the final state are one transaction.
        last = job.partitions_done == job.partitions_total and active.ending is None
        ended = succeeded(job, now) if last and not job.spec.out_table and not job.spec.destination else None
        progress = log_lines.progressed(job, job.rows_done - partition.rows, now)
        missing = active.missing() if last else 0

        def commit(connection: sa.Connection) -> bool:
            # The file first: a crash between the two leaves a file that the next attempt overwrites.
            commit_partition(replace(done.file, path=str(temporary)), final)
            write_begun(connection, begun, active.session_name)
            for note in notes:
                job_store.warn(connection, job, active.session_name, note, now)
                log_store.write(connection, log_lines.warned(job, note, now))
            if progress is not None:
                log_store.write(connection, progress)
            is_final = job_store.commit_partition(
                connection, job, active.session_name, partition.index, file, device, done.lane, now, ended
            )
            if is_final and ended is not None:
                log_store.write(connection, log_lines.ended(ended, missing))
            return is_final

        active.committing += 1
        try:
            is_final = await self._database.write(commit)
        except (OSError, sa.exc.SQLAlchemyError, StorageError) as error:
            active.take_back(partition.index)
            active.begun = begun
            self._ends.fail(active, commit_error(error))
            await asyncio.to_thread(_unlink, temporary, final)
        else:
            active.stored = job
            if ended is not None and is_final:
                active.job = ended
                self._ends.retire(active)
        finally:
            active.committing -= 1

    async def _retry(self, active: ActiveJob, partition: Partition, lost: WorkerLost) -> None:
        if active.ending is not None:
            return
        attempts = active.give_back(partition.index)
        rows = f"rows {partition.first_row} to {partition.first_row + partition.rows - 1}"
        if attempts >= MAX_ATTEMPTS:
            message = (
                f"Partition {partition.index} ({rows}) lost its worker {attempts} times; the last: {lost}."
            )
            known = None if lost.stalled else lost.error
            error = known or ScorestreamError(ErrorCode.INTERNAL, "WORKER_LOST", message)
            self._ends.fail(active, error)
            return
        message = f"partition {partition.index} ({rows}) is run again: {lost}"
        job, now, begun = active.job, time.time(), active.take_begun()

        def retry(connection: sa.Connection) -> None:
            index = partition.index
            write_begun(connection, begun, active.session_name)
            job_store.retry_partition(connection, job, active.session_name, index, attempts, message, now)
            log_store.write(connection, log_lines.warned(job, f"{message[0].upper()}{message[1:]}.", now))

        try:
            await self._database.write(retry)
        except StorageError as error:
            active.begun = begun
            self._ends.fail(active, error)

    def _let_go(self, active: ActiveJob) -> None:
        del self._jobs[active.job.id]
        if active.table_made is not None and active.job.spec.replace:
            self._cache.sweeper.sweep()
        self._cache.unpin(active.job.spec.table_uid)
        self._quota.remove(active.job)
        self._timed.pop(active.job.id, None)

    async def _write_begun(self, active: ActiveJob) -> None:
        await asyncio.sleep(STATE_PATIENCE_SECONDS)
        begun = active.take_begun()
        if begun is not None:
            await self._database.write(lambda connection: write_begun(connection, begun, active.session_name))
            active.stored = begun

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a step of the engine failed", exc_info=task.exception())


def _unlink(*paths: Path) -> None:
    """Remove what is of no use; what cannot be removed now is removed at the next start."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
