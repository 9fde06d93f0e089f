"""What jobs leave for people: made when it is asked for, out of what the store and the committed rows tell."""

import asyncio
import shutil

import pyarrow as pa
import sqlalchemy as sa

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.job import Job
from scorestream_server.domain.log import LineType, LogSelection
from scorestream_server.domain.messages import Summarise, Summarised
from scorestream_server.domain.model import Model
from scorestream_server.domain.paper import Paper
from scorestream_server.domain.row_error import OnRowError
from scorestream_server.domain.summary import JobSummary
from scorestream_server.scoring.match import match_columns
from scorestream_server.store import jobs as job_store
from scorestream_server.store import log as log_store
from scorestream_server.store import models as model_store
from scorestream_server.store import papers as paper_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store import summaries as summary_store
from scorestream_server.store import table_life
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database
from scorestream_server.workers.pool import WorkerPool, run_anywhere

TOLD = frozenset({LineType.WARNING, LineType.ERROR})
MOST_TOLD = 200
"""Warnings and errors of a job that are read from its log."""


class Papers:
    """Makes them; what takes a look at all rows is done once a job, by a worker, and kept in the store."""

    def __init__(self, database: Database, pool: WorkerPool, directory: DataDirectory) -> None:
        self._database = database
        self._pool = pool
        self._directory = directory
        self._summaries: dict[str, asyncio.Task[JobSummary]] = {}

    async def paper(self, job: Job) -> Paper:
        """Return all that is told of a job.

        Raises:
            ScorestreamError: no worker could look at its rows.
        """
        summary = await self.summary(job) if job.state.final else None

        def read(connection: sa.Connection) -> Paper:
            selection = LogSelection(job.session_id, job.id, TOLD)
            blocks = log_store.page(connection, selection, 0, None, MOST_TOLD)
            told = [line for block in blocks for line in block.lines if line.type in TOLD]
            session = session_store.get(connection, job.session_id, job.owner)
            points = tuple(paper_store.progress(connection, job))
            return Paper(job, session.name, _model(connection, job), summary, points, tuple(told[:MOST_TOLD]))

        return await self._database.read(read)

    async def summary(self, job: Job) -> JobSummary:
        """Return what is known of the rows of a final job; whoever asks at the same time waits for the same."""
        known = await self._database.read(lambda connection: summary_store.find(connection, job.id))
        if known is not None:
            return known
        task = self._summaries.get(job.id)
        if task is None:
            task = self._summaries[job.id] = asyncio.create_task(self._summarise(job))
            task.add_done_callback(lambda _: self._summaries.pop(job.id, None))
        return await asyncio.shield(task)

    async def delete(self, job: Job) -> None:
        """Delete a final job: what is told of it stays with its session, its rows go where no table needs them."""
        await self.summary(job)
        rows_go = await self._database.write(lambda connection: paper_store.delete(connection, job))
        if rows_go:
            folder = self._directory.job(job.session_id, job.id)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def close(self) -> None:
        """Stop; what was not finished is made when it is asked for again."""
        tasks = list(self._summaries.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _summarise(self, job: Job) -> JobSummary:
        task = await self._database.read(lambda connection: self._task(connection, job))
        summary = JobSummary()
        if task.files:
            try:
                summary = (await run_anywhere(self._pool, task, Summarised)).summary
            except ScorestreamError as error:
                if error.code in {ErrorCode.UNAVAILABLE, ErrorCode.CANCELLED}:
                    raise
                # Rows that cost workers their lives do so again: that is what there is to tell of them.
                summary = JobSummary(notes=(f"The rows cannot be looked at: {error.message}",))
        await self._database.write(
            lambda connection: summary_store.put(connection, job.session_id, job.id, summary)
        )
        return summary

    def _task(self, connection: sa.Connection, job: Job) -> Summarise:
        spec = job.spec
        committed = job_store.committed(connection, job.id)
        result = pa.ipc.read_schema(pa.py_buffer(job.result_schema))
        scores_end = len(result) - (spec.on_row_error is OnRowError.KEEP)
        table = table_store.by_uid(connection, spec.table_uid)
        model = _model(connection, job)
        features: list[str] = []
        notes = []
        if model is None:
            notes.append("The model was removed, so its features are not known.")
        elif table_life.is_dropped(connection, table.uid):
            notes.append("The table was dropped, so its features cannot be looked at.")
        else:
            columns = pa.ipc.read_schema(pa.py_buffer(table.data.schema))
            features = list(dict.fromkeys(match_columns(model.schema, columns)))
        return Summarise(
            self._pool.next_task_id(),
            tuple(committed.values()),
            tuple(result.names[len(spec.keep) + bool(spec.row_number) : scores_end]),
            table.data if features else None,
            spec.partition_rows,
            tuple(committed),
            features,
            spec.where,
            spec.variables,
            str(self._directory.job(job.session_id, job.id)),
            notes,
        )


def _model(connection: sa.Connection, job: Job) -> Model | None:
    try:
        return model_store.get(connection, job.spec.model_id, job.spec.model_version)
    except ScorestreamError:
        return None
