"""Result rows on their way to a client: committed partitions, mapped, sliced, in input order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pyarrow as pa
import sqlalchemy as sa

from scorestream.v1 import job_service_pb2
from scorestream_server.api import convert
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, counted, precondition
from scorestream_server.domain.event import Event, EventType
from scorestream_server.domain.job import Job, State
from scorestream_server.domain.session import SessionState
from scorestream_server.domain.table import PartitionFile
from scorestream_server.feed import Feed, Selection
from scorestream_server.store import jobs as job_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database
from scorestream_server.tables.results import read_results

MESSAGE_BYTES = 3 << 19
"""1.5 MiB of rows a message: large enough to cost little, small enough for any client's limits."""


class ReadingJob:
    """How far a reader has come in the partitions of a job.

    While a job runs, its rows are those of the committed partitions before the first gap. In the end there
    may be gaps (a cancel, a failure); what was committed behind them follows then.
    """

    def __init__(self, offset: int) -> None:
        self._next_index = 0
        self._rows_before = 0
        self.offset = offset

    @property
    def next_index(self) -> int:
        """The first partition that was not passed yet."""
        return self._next_index

    @property
    def rows(self) -> int:
        """Result rows in the partitions that were passed."""
        return self._rows_before

    def advance(self, committed: dict[int, PartitionFile], *, gaps: bool) -> list[tuple[PartitionFile, int]]:
        """Pass every partition that can be, and return those with rows to read and where in them to begin."""
        found: list[tuple[PartitionFile, int]] = []
        for index in sorted(committed):
            if index != self._next_index and not gaps:
                break
            file = committed[index]
            begin = max(0, self.offset - self._rows_before)
            if begin < file.rows:
                found.append((file, begin))
            self._rows_before += file.rows
            self._next_index = index + 1
        self.offset = max(self.offset, self._rows_before)
        return found


class ResultReader:
    """Reads the results of jobs, while they run and afterwards."""

    def __init__(self, database: Database, feed: Feed) -> None:
        self._database = database
        self._feed = feed

    async def read(
        self, job: Job, offset: int, *, committed_only: bool
    ) -> AsyncIterator[job_service_pb2.ReadResultsResponse]:
        """Yield the rows of a job from a result row on; wait for more until the job is final.

        Raises:
            ScorestreamError: OUT_OF_RANGE, where a final job has fewer rows; FAILED_PRECONDITION, where the
                session has ended and its results are gone.
        """
        place = ReadingJob(offset)
        yield job_service_pb2.ReadResultsResponse(
            arrow_schema=_schema_message(job.result_schema), offset=offset, state=convert.state(job.state)
        )
        selection = Selection(job.owner, (job.session_id,), job_id=job.id)
        news = True
        async with contextlib.aclosing(self._feed.follow(selection, self._feed.head)) as batches:
            async for events in batches:
                news = news or any(map(_brings_rows, events))
                if events or not news:  # what matters is where the job is once the reader has caught up
                    continue
                news = False
                state, committed = await self._look(job, place.next_index)
                position = place.offset
                for file, begin in place.advance(committed, gaps=state.final):
                    pieces = read_results([file], begin, MESSAGE_BYTES)
                    while (message := await self._next(job, pieces)) is not None:
                        body, rows = message
                        yield job_service_pb2.ReadResultsResponse(
                            arrow_batch=body, offset=position, rows=rows, state=convert.state(state)
                        )
                        position += rows
                if state.final and offset > place.rows:
                    raise ScorestreamError(
                        ErrorCode.OUT_OF_RANGE,
                        "OFFSET_OUT_OF_RANGE",
                        f"The job's result has {counted(place.rows, 'row')}; there is no row {offset:,}.",
                        [FieldFault("offset", f"{offset} is more than {place.rows}")],
                    )
                if state.final or committed_only:
                    return

    async def _next(self, job: Job, pieces: Iterator[pa.RecordBatch]) -> tuple[bytes, int] | None:
        try:
            return await asyncio.to_thread(_next_message, pieces)
        except ScorestreamError:
            await self._look(job, 0)  # says so where the session ended meanwhile, and took the file along
            raise

    async def _look(self, job: Job, from_index: int) -> tuple[State, dict[int, PartitionFile]]:
        def read(connection: sa.Connection) -> tuple[State, dict[int, PartitionFile]]:
            session = session_store.get(connection, job.session_id, job.owner)
            if session.state is SessionState.ENDED:
                raise precondition(
                    "SESSION_ENDED",
                    f"The results of job {job.name!r} ended with their session {session.name!r}.",
                    session=session.id,
                )
            now = job_store.get(connection, job.id, job.owner)
            return now.state, job_store.committed(connection, job.id, from_index)

        return await self._database.read(read)


def _brings_rows(event: Event) -> bool:
    """Whether there may be rows after an event that were not there before, or will be none any more."""
    return event.type is EventType.PARTITION_COMMITTED or (event.state is not None and event.state.final)


def _schema_message(schema: bytes) -> bytes:
    return bytes(pa.ipc.read_schema(pa.py_buffer(schema)).serialize())


def _next_message(batches: Iterator[pa.RecordBatch]) -> tuple[bytes, int] | None:
    batch = next(batches, None)
    return None if batch is None else (batch.serialize().to_pybytes(), batch.num_rows)
