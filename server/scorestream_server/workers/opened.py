"""The jobs that a worker knows: their models, loaded once, and how to score a partition of each."""

import dataclasses
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pyarrow as pa

from scorestream_server.device.base import Device, Lane
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import OpenJob, ReadRows, RunPartition, SaveRows, Summarise
from scorestream_server.domain.row_error import OnRowError
from scorestream_server.domain.rows import RowCursor, RowPart
from scorestream_server.domain.summary import JobSummary
from scorestream_server.domain.table import PartitionFile, Published, TableData
from scorestream_server.domain.variable import Variable
from scorestream_server.scoring.artifacts import refuse_large
from scorestream_server.scoring.base import Scorer
from scorestream_server.scoring.expression import compile_conditions
from scorestream_server.scoring.load import load_scorer
from scorestream_server.scoring.reasons import WantedReasons
from scorestream_server.scoring.row_errors import RowErrors, row_failure
from scorestream_server.tables.artifacts import unused_name, with_artifacts
from scorestream_server.tables.conditions import Condition
from scorestream_server.tables.kept import steadily
from scorestream_server.tables.parquet_reading import Scratch
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.results import count_missing, write_partition
from scorestream_server.tables.rows import write_rows
from scorestream_server.workers.saving import save_rows
from scorestream_server.workers.summary import summarise

MODELS_KEPT = 32


def pieces(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Yield batches in pieces of at most so many rows."""
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


class OpenedJobs:
    """Scores partitions of open jobs; lanes call it from their own threads."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._reader = TableReader()
        self._jobs: dict[str, OpenJob] = {}
        self._models: OrderedDict[tuple[str, tuple[Variable, ...]], Future[Scorer]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, job: OpenJob) -> None:
        """Learn about a job; its model is loaded with its first partition."""
        self._jobs[job.job_id] = job

    def close(self, job_id: str) -> None:
        """Forget a job."""
        self._jobs.pop(job_id, None)
        self._reader.forget(job_id)

    def head(self, table: TableData, limit: int) -> bytes:
        """Return a table's first rows as an Arrow IPC stream.

        Raises:
            ScorestreamError: they cannot be read, or are too large for a message.
        """
        rows = steadily(table, table.files, lambda: self._reader.head(table, limit))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        return bytes(sink.getvalue())

    def rows(
        self, task: ReadRows, sort_bytes: int, cancelled: Callable[[], bool]
    ) -> tuple[tuple[RowPart, ...], RowCursor]:
        """Write rows of a table down; see `write_rows`."""
        columns = pa.ipc.read_schema(pa.py_buffer(task.table.schema))
        where = conditions(task.query.where, columns, tuple(task.query.variables))
        return steadily(
            task.table,
            task.table.files,
            lambda: write_rows(
                self._reader,
                task.table,
                where,
                task.query,
                task.cursor,
                Path(task.path),
                sort_bytes=sort_bytes,
                cancelled=cancelled,
            ),
        )

    def save(self, task: SaveRows, umask: int, cancelled: Callable[[], bool]) -> tuple[Published, str]:
        """Write a table's rows to a destination; see `save_rows`."""
        return save_rows(task, self._reader, umask, cancelled)

    def take_notes(self, job_id: str) -> list[str]:
        """Return what whoever watches a job should know of how its rows were read, by this thread."""
        notes = self._reader.cached_files.take_notes()
        job = self._jobs.get(job_id)
        return [f"Table {job.table_id!r}: {note}" for note in notes] if job is not None else notes

    def summary(self, task: Summarise, cancelled: Callable[[], bool]) -> JobSummary:
        """Return what the rows of a final job are like."""
        return summarise(task, self._reader, cancelled)

    def make_room(self) -> None:
        """Let go of models and rows that can be loaded again; what is in use stays until it is not."""
        with self._lock:
            for key, future in list(self._models.items()):
                if future.done():
                    del self._models[key]
        self._reader.make_room()

    def score(
        self, task: RunPartition, lane: Lane, cancelled: Callable[[], bool]
    ) -> tuple[PartitionFile, int]:
        """Score a partition into its file; return that, and the bytes of the columns that the model read.

        Raises:
            ScorestreamError: it cannot be scored; CANCELLED where it was told to stop.
        """
        job = self._jobs[task.job_id]
        self._reader.cached_files.take_notes()  # of a task that failed
        lane.priority = job.priority
        scorer = self._scorer(job)
        columns = pa.ipc.read_schema(pa.py_buffer(job.table.schema))
        where = conditions(job.where, columns, tuple(job.variables))
        schema = with_artifacts(pa.ipc.read_schema(pa.py_buffer(job.result_schema)), job.artifacts)
        wanted = list(dict.fromkeys([*job.columns, *job.keep]))
        path = Path(task.path)
        scratch = Scratch(task.job_id, path.parent, moving=cancelled)

        reasons = WantedReasons(job.explain, pa.array(job.reason_names, pa.string()))
        bytes_in = missing = failed = 0

        def scored() -> Iterator[pa.RecordBatch]:
            nonlocal bytes_in, missing, failed
            bytes_in = missing = failed = done = 0
            read = self._reader.read(
                job.table, task.partition, wanted, where, scratch=scratch, row_number=job.row_number
            )
            for batch in pieces(read, scorer.rows_at_once):
                if cancelled():
                    raise ScorestreamError(ErrorCode.CANCELLED, "TASK_CANCELLED", "The task was cancelled.")
                numbers = [batch.column(job.row_number)] if job.row_number else []
                bytes_in += batch.nbytes - sum(column.nbytes for column in numbers)
                inputs = [batch.column(name) for name in job.columns]
                kept = [batch.column(name) for name in job.keep]
                errors = RowErrors(batch.num_rows)
                made = dict(
                    zip(
                        (output.name for output in scorer.schema.outputs),
                        scorer.score(inputs, lane, errors),
                        strict=True,
                    )
                )
                artifacts = [made[artifact.output] for artifact in job.artifacts]
                refuse_large(job.artifacts, artifacts, errors)
                if errors and job.on_row_error is OnRowError.FAIL:
                    place, why = errors.first()
                    raise row_failure(self._row(job, task, where, done + place), why)
                given = {artifact.output for artifact in job.artifacts}
                scores = [column for name, column in made.items() if name not in given]
                missing += sum(count_missing(column) for column in errors.without_rows(scores))
                if job.explain:
                    scores += scorer.explain(inputs, scores, lane, reasons, errors)
                scores = errors.without_values(scores)
                told = [errors.column()] if job.on_row_error is OnRowError.KEEP else []
                yield pa.RecordBatch.from_arrays(
                    [*numbers, *kept, *scores, *told, *errors.without_values(artifacts)], schema=schema
                )
                done += batch.num_rows
                failed += len(errors)

        paths = {job.table.fragments[part.fragment].path for part in task.partition.slices}
        used = [file for file in job.table.files if file.path in paths]
        file = steadily(job.table, used, lambda: write_partition(path, scored(), schema))
        return dataclasses.replace(file, missing=missing, errors=failed), bytes_in

    def _row(self, job: OpenJob, task: RunPartition, where: Sequence[Condition], place: int) -> str:
        """Return which row of the table a row of a partition's result is, for people; it is looked for only then."""
        number = unused_name("row", pa.ipc.read_schema(pa.py_buffer(job.table.schema)).names)
        read = self._reader.read(job.table, task.partition, [], where, scratch=None, row_number=number)
        for batch in read:
            if place < batch.num_rows:
                found = batch.column(0)[place].as_py()
                return f"Row {found:,} of table {job.table_id!r} (counted from 0)"
            place -= batch.num_rows
        return "A row"

    def _scorer(self, job: OpenJob) -> Scorer:
        """Return the job's model, loaded by whichever lane comes first while the others wait."""
        variables = tuple(job.variables) if job.model_kind.score_code else ()
        key = (job.model_digest, variables)
        with self._lock:
            future = self._models.get(key)
            mine = future is None
            if future is None:
                future = self._models[key] = Future()
            self._models.move_to_end(key)
            while len(self._models) > MODELS_KEPT:
                self._models.popitem(last=False)
        if mine:
            try:
                scorer = load_scorer(Path(job.model_path), job.model_kind, self._device, variables)
                future.set_result(scorer)
            except BaseException as error:
                with self._lock:
                    self._models.pop(key, None)
                future.set_exception(error)
                raise
        return future.result()


@functools.lru_cache(maxsize=256)
def conditions(where: str, columns: pa.Schema, variables: tuple[Variable, ...] = ()) -> list[Condition]:
    """Compile the filter of a job or a load once for all that it is applied to."""
    return [Condition(*found) for found in compile_conditions(where, columns, variables)] if where else []
