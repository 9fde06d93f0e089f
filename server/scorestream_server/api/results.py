"""Result rows on their way to a client: committed partitions, mapped, sliced, in input order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import sqlalchemy as sa

from scorestream.v1 import job_service_pb2
from scorestream_server.api import convert
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, counted, precondition
from scorestream_server.domain.event import Event, EventType
from scorestream_server.domain.job import Job, State
from scorestream_server.domain.session import SessionState
from scorestream_server.domain.table import PartitionFile
from scorestream_server.engine.engine import Engine
from scorestream_server.feed import Feed, Selection
from scorestream_server.store import jobs as job_store
from scorestream_server.store.database import Database
from scorestream_server.tables.results import read_results

T = TypeVar("T")
MESSAGE_BYTES = 3 << 19
"""1.5 MiB of rows a message: large enough to cost little, small enough for any client's limits."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows as clients get them, with how many each message has; `last`: there are no more."""

    messages: Sequence[tuple[bytes, int]]
    last: bool


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

    def __init__(self, database: Database, feed: Feed, engine: Engine) -> None:
        self._database = database
        self._feed = feed
        self._engine = engine

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
            arrow_schema=job.result_schema, offset=offset, state=convert.state(job.state)
        )
        selection = Selection(job.owner, (job.session_id,), job_id=job.id)
        news: bool | None = None
        async with contextlib.aclosing(self._feed.follow(selection, self._feed.head)) as batches:
            async for events in batches:
                if news is None:  # from here on it is heard of
                    news = committed_only or self._engine.may_have_rows(job.id)
                news = news or any(map(_brings_rows, events))
                if events or not news:  # what matters is where the job is once the reader has caught up
                    continue
                news = False
                position = place.offset
                state, left, piece = await self._told_why(job, self._look(job, place))
                while True:
                    for body, rows in piece.messages:
                        yield job_service_pb2.ReadResultsResponse(
                            arrow_batch=body, offset=position, rows=rows, state=convert.state(state)
                        )
                        position += rows
                    if piece.last:
                        break
                    piece = await self._told_why(job, asyncio.to_thread(_next_piece, left))
                if state.final and offset > place.rows:
                    raise ScorestreamError(
                        ErrorCode.OUT_OF_RANGE,
                        "OFFSET_OUT_OF_RANGE",
                        f"The job's result has {counted(place.rows, 'row')}; there is no row {offset:,}.",
                        [FieldFault("offset", f"{offset} is more than {place.rows}")],
                    )
                if state.final or committed_only:
                    return

    async def _look(self, job: Job, place: ReadingJob) -> tuple[State, Iterator[pa.RecordBatch], _Piece]:
        """Pass what is committed by now; return the job's state, the rows of it, and the first messages of them."""

        def look(connection: sa.Connection) -> tuple[State, Iterator[pa.RecordBatch], _Piece]:
            now = job_store.progress(connection, job.id, place.next_index)
            require_results(job, now)
            files = place.advance(now.committed, gaps=now.state.final)
            batches = (batch for file, begin in files for batch in read_results([file], begin, MESSAGE_BYTES))
            # What a short job has is one small message: a step of another thread would cost more than to read it here.
            return now.state, batches, _next_piece(batches)

        return await self._database.read(look)

    async def _told_why(self, job: Job, reading: Awaitable[T]) -> T:
        """Return what is read; where it cannot be because the session ended meanwhile, and took the file along, say so."""
        try:
            return await reading
        except ScorestreamError:
            require_results(
                job, await self._database.read(lambda connection: job_store.progress(connection, job.id, 0))
            )
            raise


def require_results(job: Job, now: job_store.Progress) -> None:
    """Raise FAILED_PRECONDITION where the results of a job are gone with its session."""
    if now.session_state is SessionState.ENDED:
        raise precondition(
            "SESSION_ENDED",
            f"The results of job {job.name!r} ended with their session {now.session_name!r}.",
            session=job.session_id,
        )


def _brings_rows(event: Event) -> bool:
    """Whether there may be rows after an event that were not there before, or will be none any more."""
    return event.type is EventType.PARTITION_COMMITTED or (event.state is not None and event.state.final)


def _next_piece(batches: Iterator[pa.RecordBatch]) -> _Piece:
    """Return the next rows, `MESSAGE_BYTES` of them or a little more."""
    messages, size = [], 0
    for batch in batches:
        body = batch.serialize().to_pybytes()
        messages.append((body, batch.num_rows))
        size += len(body)
        if size >= MESSAGE_BYTES:
            return _Piece(messages, last=False)
    return _Piece(messages, last=True)
