"""Jobs as a client sees them."""

import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from scorestream.errors import JobCancelledError, JobFailedError, JobTimedOutError, counted
from scorestream.records import Event, JobFailure, JobInfo, State
from scorestream.statistics import JobStatistics
from scorestream.v1 import job_pb2, job_service_pb2
from scorestream.wire import duration, event, job_info, job_name

from .connection import AsyncConnection
from .papers import AsyncJobPapers
from .row_artifacts import AsyncRowArtifacts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ENDED_BADLY = {State.CANCELLED: JobCancelledError, State.TIMED_OUT: JobTimedOutError}


class AsyncJob(AsyncJobPapers, AsyncRowArtifacts):
    """A scoring job. It goes on at the server whether or not anybody looks.

    Attributes:
        info: its description as the server last gave it; `refresh` asks again.
    """

    def __init__(self, connection: AsyncConnection, info: JobInfo) -> None:
        self._connection = connection
        self._papers_of = job_name(info.id)
        self.info = info

    def __repr__(self) -> str:
        return f"<Job {self.name} ({self.id}): {self.state}, {self.rows_done:,} of {self.rows_total:,} rows>"

    @property
    def id(self) -> str:
        """Its id, unique on the server and never used again."""
        return self.info.id

    @property
    def name(self) -> str:
        """The name that it was given."""
        return self.info.name

    @property
    def session_id(self) -> str:
        """The session that it belongs to."""
        return self.info.session_id

    @property
    def state(self) -> State:
        """Where it was in its life when the server was last asked."""
        return self.info.state

    @property
    def rows_done(self) -> int:
        """Input rows that were read, scored and committed when the server was last asked."""
        return self.info.rows_done

    @property
    def rows_total(self) -> int:
        """Input rows in all, before `where`."""
        return self.info.rows_total

    @property
    def rows_scored(self) -> int:
        """Result rows that were committed when the server was last asked."""
        return self.info.rows_scored

    @property
    def failure(self) -> JobFailure | None:
        """Why it failed, if it did."""
        return self.info.failure

    @property
    def outputs(self) -> tuple[str, ...]:
        """What it published: the name of a table, or paths of files on the server."""
        return self.info.outputs

    @property
    def warnings(self) -> tuple[str, ...]:
        """Things to look at though the job went on."""
        return self.info.warnings

    @property
    def condition_code(self) -> int | None:
        """0 success, 4 with warnings, 8 with an error, cancelled or timed out; None while it is not final."""
        return self.info.condition_code

    @property
    def statistics(self) -> JobStatistics:
        """What it had taken, and how it went, when the server was last asked."""
        return self.info.statistics

    @property
    def schema(self) -> "pa.Schema":
        """The columns of its result."""
        from scorestream.arrow import schema_of  # noqa: PLC0415 - pyarrow loads slowly; most calls need none

        return schema_of(self.info.result_schema)

    async def refresh(self) -> Self:
        """Ask the server again, and return this job."""
        request = job_service_pb2.GetJobRequest(name=job_name(self.id))
        self.info = job_info(await self._connection.call(self._connection.jobs.GetJob, request))
        return self

    async def watch(self, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the job's events as they happen, until it is final; a lost connection is resumed.

        Args:
            after: only events with a higher number than this; 0: from the beginning.
        """
        async with aclosing(self._events(after, lambda: None)) as events:
            async for found in events:
                yield found

    async def results(
        self, offset: int = 0, *, committed_only: bool = False
    ) -> AsyncGenerator["pa.RecordBatch", None]:
        """Yield result rows in the input's order as they are committed; a lost connection is resumed.

        The end means that no more will come, not that all went well: `wait` tells.

        Args:
            offset: first result row wanted; the rows counted so far resume an earlier reading.
            committed_only: end at the last row committed now instead of waiting for more.

        Raises:
            OutOfRangeError: the job is final and has fewer rows than `offset`.
        """
        from scorestream.arrow import ResultReader  # noqa: PLC0415 - pyarrow loads slowly; most calls need none

        def request(start: int) -> job_service_pb2.ReadResultsRequest:
            return job_service_pb2.ReadResultsRequest(
                name=job_name(self.id), offset=start, committed_only=committed_only
            )

        reader = ResultReader(offset)

        def position(message: Any) -> int:
            return max(reader.offset, int(message.offset + message.rows))

        method = self._connection.jobs.ReadResults
        async with aclosing(self._connection.stream(method, request, position, offset)) as messages:
            async for message in messages:
                batch = reader.read(message.arrow_schema, message.arrow_batch, message.offset)
                if batch is not None:
                    yield batch

    async def wait(self, timeout: float | None = None) -> Self:
        """Wait until the job is final, and return it.

        Args:
            timeout: seconds to wait; None: as long as it takes. The job itself goes on after it.

        Raises:
            JobFailedError: the job failed; JobCancelledError, JobTimedOutError: it ended so.
            DeadlineExceededError: it was not final in time. It is a TimeoutError too.
        """
        until = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if until is None else max(until - time.monotonic(), 0.001)

        await self.refresh()
        while not self.state.final:
            async for _ in self._events(0, left):
                pass
            await self.refresh()
        self.raise_for_state()
        return self

    async def wait_state(self, state_not: State | None = None, timeout: float = 30.0) -> Self:
        """Wait until the job's state is another than the one known, or the time is up, and return the job as it is.

        Args:
            state_not: the state that is known; None: the one that this object has.
            timeout: seconds to wait, 0 to 600.
        """
        known = job_pb2.State.Value(f"STATE_{state_not or self.state}")
        request = job_service_pb2.WaitJobRequest(
            name=job_name(self.id), state_not=known, timeout=duration(timeout, "timeout")
        )
        self.info = job_info(await self._connection.call(self._connection.jobs.WaitJob, request))
        return self

    def raise_for_state(self) -> None:
        """Raise what `wait` raises if the job, as it is known here, ended badly."""
        if not self.state.final or self.state.succeeded:
            return
        kept = f"Committed before, and readable: {counted(self.rows_scored, 'result row')}."
        why = self.failure or JobFailure("", self.state.value, "")
        raise ENDED_BADLY.get(self.state, JobFailedError)(
            f"Job {self.name} ({self.id}) ended {self.state}: {why.message or 'the server gives no reason.'} {kept}",
            job_id=self.id,
            code=why.code,
            reason=why.reason,
        )

    async def to_table(self) -> "pa.Table":
        """Return the whole result as an Arrow table; waits for it, and raises what `wait` raises."""
        import pyarrow  # noqa: PLC0415, ICN001 - pyarrow loads slowly; most calls need none

        batches = [batch async for batch in self.results()]
        await self.wait()
        return pyarrow.Table.from_batches(batches, schema=self.schema)

    async def to_pandas(self) -> "pd.DataFrame":
        """Return the whole result as a pandas DataFrame; as `to_table`."""
        return (await self.to_table()).to_pandas()

    async def cancel(self) -> Self:
        """Ask the job to stop, and return it; what it committed stays readable. A final job stays as it is."""
        request = job_service_pb2.CancelJobRequest(name=job_name(self.id))
        self.info = job_info(await self._connection.call(self._connection.jobs.CancelJob, request))
        return self

    async def resume(self) -> "AsyncJob":
        """Return a new job that does what this one, which ended badly, did not come to; committed rows are kept.

        Raises:
            FailedPreconditionError: it succeeded or is not final, or its model or table changed since it began.
        """
        request = job_service_pb2.ResumeJobRequest(name=job_name(self.id), request_id=uuid.uuid4().hex)
        answer = await self._connection.call(self._connection.jobs.ResumeJob, request)
        return AsyncJob(self._connection, job_info(answer))

    async def _events(self, after: int, timeout: Callable[[], float | None]) -> AsyncGenerator[Event, None]:
        """Yield events as `watch` does, for at most `timeout` seconds."""

        def request(start: int) -> job_service_pb2.WatchJobRequest:
            return job_service_pb2.WatchJobRequest(name=job_name(self.id), after=start)

        def position(message: Any) -> int:
            return int(message.events[-1].number)

        method = self._connection.jobs.WatchJob
        async with aclosing(self._connection.stream(method, request, position, after, timeout)) as messages:
            async for message in messages:
                for found in message.events:
                    if found.number > after:
                        after = found.number
                        yield event(found)
