"""Batches as a client sees them: records that a service scores while their client does something else."""

import contextlib
import operator
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

from scorestream.batch_records import BatchState, Execution, batch_state
from scorestream.batch_rows import ROW_ERROR, BatchRows
from scorestream.context_wire import context_name
from scorestream.errors import (
    FailedPreconditionError,
    NotFoundError,
    ScorestreamError,
    UnavailableError,
    counted,
)
from scorestream.model_records import ModelInfo
from scorestream.v1 import job_pb2, job_service_pb2, session_service_pb2
from scorestream.wire import duration, job_info, model_name, session_info, session_name

from .batch_result import AsyncBatchResult
from .connection import AsyncConnection
from .job import AsyncJob
from .upload import upload_rows

if TYPE_CHECKING:
    from scorestream.batch_input import Records

LONGEST_NAME = 128
RECORDS_LIFETIME = 24 * 3600.0
"""Seconds after which records that no job reads are dropped: long enough to resume a batch, and results are far smaller."""


class AsyncBatch:
    """Records that a service scores. It goes on at the server whether or not anybody looks.

    A batch is a job in a session of its own, so that what is known of jobs is known of it, too. That session ends with the
    results when nobody has asked for anything of it for as long as `Service.batch` was told; the records go a day after
    they were last read.

    Attributes:
        parallel_count: at most so many parts of it are scored at the same time.
        ignored: fields of the records that the service does not read; they are not sent.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        model: ModelInfo,
        *,
        records: "Records | None" = None,
        parallel_count: int = 0,
        retention: float = 0.0,
        context: str = "",
        listed: bool = True,
        job: AsyncJob | None = None,
    ) -> None:
        self._connection = connection
        self._model = model
        self._records = records
        self._retention = retention
        self._context = context
        self._listed = listed
        self._job = job
        self._session_id = ""
        self._table = ""
        self._requests = [uuid.uuid4().hex for _ in range(3)]
        self._rows = BatchRows("" if job is None else job.info.row_number)
        self.parallel_count = parallel_count if job is None else job.info.parallel_count
        self.ignored: tuple[str, ...] = () if records is None else records.ignored

    def __repr__(self) -> str:
        of = f"of {self._model.name} {self._model.version}"
        if self._job is None:
            count = None if self._records is None else self._records.count
            some = "records" if count is None else counted(count, "record")
            return f"<Batch {of}: ready, {some}; start() begins>"
        info = self._job.info
        done = f"{info.rows_done:,} of {counted(info.rows_total, 'record')}"
        return f"<Batch {info.id} {of}: {batch_state(info.state)}, {done}>"

    @property
    def execution_id(self) -> str | None:
        """Its identifier, by which `Service.get_batch` finds it from anywhere; None before it is started."""
        return None if self._job is None else self._job.id

    @property
    async def state(self) -> BatchState:
        """Where it is in its life, as the server has it now; for asyncio, it is awaited."""
        if self._job is None:
            return BatchState.READY
        return batch_state((await self._job.refresh()).state)

    @property
    def job(self) -> AsyncJob:
        """The job that does it.

        Raises:
            FailedPreconditionError: it is not started.
        """
        if self._job is None:
            raise FailedPreconditionError(
                "The batch is not started; call start().", reason="BATCH_NOT_STARTED"
            )
        return self._job

    async def start(self) -> Self:
        """Send the records and begin, and return the batch; nothing happens to one that is started.

        Where the connection broke off on the way it may be called again, and begins no second time.

        Raises:
            ResourceExhaustedError: the records are more than the server takes.
            InvalidArgumentError: the service cannot read them.
        """
        if self._job is None:
            try:
                self._job = await self._begin()
            except UnavailableError:
                raise  # nobody knows how far it came; a second start finds out
            except ScorestreamError:
                await self._give_up()
                raise
        return self

    async def results(self, show_partial_results: bool = True) -> AsyncBatchResult:
        """Return how far it is, with what is done so far; only rows that were not there before are fetched.

        Args:
            show_partial_results: False: rows come only once the batch is over.

        Raises:
            FailedPreconditionError: it is not started, or its results are kept no more.
        """
        job = await self.job.refresh()
        if not show_partial_results and not job.state.final:
            return AsyncBatchResult(job.info, None)
        async for batch in job.results(len(self._rows), committed_only=True):
            self._rows.add(batch)
        files = job if self._model.artifacts else None
        return AsyncBatchResult(job.info, BatchRows(job.info.row_number, self._rows.batches), files)

    async def wait(self, timeout: float | None = None) -> AsyncBatchResult:
        """Wait until it is complete, and return its results.

        Args:
            timeout: seconds to wait; None: as long as it takes. The batch itself goes on after it.

        Raises:
            JobFailedError: it failed, or was cancelled; `results` has what was done before.
            DeadlineExceededError: it was not complete in time. It is a TimeoutError too.
        """
        if timeout is None:
            async for batch in self.job.results(len(self._rows)):
                self._rows.add(batch)
        await self.job.wait(timeout)
        return await self.results()

    async def execution(self, index: int) -> Execution:
        """Return what became of a record, from 0; as `execution` of its results."""
        return await (await self.results()).execution(index)

    async def list_artifacts(self, index: int) -> list[str]:
        """Return the names of the files that were made for a record, from 0; none for one that was not scored.

        Raises:
            OutOfRangeError, FailedPreconditionError: as `execution` of its results.
        """
        position = await self._position(index)
        return [] if position is None else list(await self.job.artifacts(position))

    async def artifact(self, index: int, file_name: str) -> bytes:
        """Return what is in a file that was made for a record.

        Raises:
            NotFoundError: the record has no file of this name; else as `list_artifacts`.
        """
        position = await self._position(index)
        if position is None:
            raise NotFoundError(
                f"Record {index} was not scored, and has no files.", reason="ARTIFACT_NOT_FOUND"
            )
        return await self.job.artifact(position, file_name)

    async def download(
        self,
        index: int,
        file_name: str | None = None,
        destination: str | Path = ".",
        *,
        replace: bool = False,
    ) -> list[Path]:
        """Write files that were made for a record to a directory of yours, and return their paths.

        Args:
            index: the record, from 0.
            file_name: which file; None: all.
            destination: the directory, which must be there; nothing is written outside of it.
            replace: whether files that are there are replaced.

        Raises:
            NotADirectoryError: `destination` is no directory that is there.
            AlreadyExistsError: a file is there, and `replace` is false; then nothing is written.
            NotFoundError, OutOfRangeError, FailedPreconditionError: as `artifact`.
        """
        position = await self._position(index)
        if position is None:
            return []
        return await self.job.download_artifacts(position, file_name, destination, replace=replace)

    async def cancel(self) -> Self:
        """Ask it to stop, and return it. Its record stays, and what was scored before can still be read."""
        await self.job.cancel()
        return self

    async def _position(self, index: int) -> int | None:
        """Return where in the job's result a record's row stands; None where the batch ended before it was scored."""
        known = self._rows.position(operator.index(index))
        return (await self.results()).position(index) if known is None else known

    async def _begin(self) -> AsyncJob:
        """Make its session, table and job, each unless that was done already."""
        connection, model = self._connection, self._model
        if self._records is None:
            raise FailedPreconditionError("A batch is started with records.", reason="NO_RECORDS")
        name = f"{model.name[: LONGEST_NAME - 20]} {model.version}"
        if not self._session_id:
            request = session_service_pb2.CreateSessionRequest(
                display_name=f"batch {name}",
                request_id=self._requests[0],
                context=context_name(self._context) if self._context else "",
                inactive_timeout=duration(self._retention, "retention"),
            )
            made = session_info(await connection.call(connection.sessions.CreateSession, request))
            self._session_id = made.id
        if not self._table:
            table = await upload_rows(
                connection,
                self._session_id,
                self._records.reader,
                "records",
                {"lifetime": RECORDS_LIFETIME},
                again=self._records.again,
                replace=False,
                request_id=self._requests[1],
            )
            self._table = table.name
        taken = {*self._records.columns, *(output.name for output in model.outputs), ROW_ERROR}
        spec = job_pb2.JobSpec(
            model=model_name(f"{model.name}@{model.version}"),
            table=self._table,
            row_number=_free("row_number", taken),
            parallel_count=self.parallel_count,
            is_batch=self._listed,
        )
        wanted = job_service_pb2.CreateJobRequest(
            session=session_name(self._session_id), display_name=name, spec=spec, request_id=self._requests[2]
        )
        info = job_info(await connection.call(connection.jobs.CreateJob, wanted))
        self._rows = BatchRows(info.row_number)
        return AsyncJob(connection, info)

    async def _give_up(self) -> None:
        """End the session of a batch that could not be started, so that a second start begins anew."""
        session, self._session_id, self._table = self._session_id, "", ""
        self._requests = [uuid.uuid4().hex for _ in range(3)]
        if session:
            request = session_service_pb2.TerminateSessionRequest(name=session_name(session), cancel=True)
            with contextlib.suppress(
                ScorestreamError
            ):  # it ends by itself; what went wrong before is to be told
                await self._connection.call(self._connection.sessions.TerminateSession, request)


def _free(name: str, taken: set[str]) -> str:
    """Return a name that is not taken, as like this one as can be."""
    while name in taken:
        name += "_"
    return name
