"""What a worker finds out about the rows of a final job."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import Summarise
from scorestream_server.domain.summary import Distribution, FeatureMissing, JobSummary
from scorestream_server.scoring.expression import compile_conditions
from scorestream_server.tables.conditions import Condition
from scorestream_server.tables.distribution import distribution
from scorestream_server.tables.kept import steadily
from scorestream_server.tables.parquet_reading import Scratch
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.results import count_missing

MOST_SCORES = 200
MOST_FEATURES = 2000


def summarise(task: Summarise, reader: TableReader, cancelled: Callable[[], bool]) -> JobSummary:
    """Return what can be told of a job's rows; what cannot be looked at is a note, not an error.

    Raises:
        ScorestreamError: CANCELLED.
    """
    notes: list[str] = list(task.notes)
    if len(task.scores) > MOST_SCORES:
        notes.append(f"Only the first {MOST_SCORES} of {len(task.scores):,} score columns were looked at.")
    scores: list[Distribution] = []
    try:
        scores.extend(distribution(task.files, name, cancelled) for name in task.scores[:MOST_SCORES])
    except ScorestreamError as error:
        _note(notes, error, "The result cannot be read")
    if len(task.features) > MOST_FEATURES:
        notes.append(f"Only the first {MOST_FEATURES:,} of {len(task.features):,} features were looked at.")
    rows, features = 0, [0] * min(len(task.features), MOST_FEATURES)
    try:
        if task.table is not None:
            rows, features = steadily(task.table, task.table.files, lambda: _missing(task, reader, cancelled))
    except ScorestreamError as error:
        _note(notes, error, "Missing values of the input could not be counted")
    counted_features = zip(task.features, features, strict=False)
    found = tuple(FeatureMissing(name, missing) for name, missing in counted_features) if rows else ()
    return JobSummary(tuple(scores), rows, found, tuple(notes))


def _missing(task: Summarise, reader: TableReader, cancelled: Callable[[], bool]) -> tuple[int, list[int]]:
    """Return how many input rows were scored, and how many of them lack each feature."""
    wanted = list(task.features[:MOST_FEATURES])
    missing, rows = [0] * len(wanted), 0
    if task.table is None or not wanted:
        return rows, missing
    schema = pa.ipc.read_schema(pa.py_buffer(task.table.schema))
    conditions = compile_conditions(task.where, schema, task.variables) if task.where else []
    where = [Condition(*found) for found in conditions]
    # Its own name: a job of the same id may be read by lanes at this moment.
    scratch = Scratch(f"summary-{task.task_id}", Path(task.scratch), moving=cancelled)
    partitions = plan_partitions(task.table, task.partition_rows)
    try:
        for index in task.partitions:
            for batch in reader.read(task.table, partitions[index], wanted, where, scratch=scratch):
                if cancelled():
                    raise ScorestreamError(ErrorCode.CANCELLED, "TASK_CANCELLED", "The task was cancelled.")
                rows += batch.num_rows
                for place, column in enumerate(batch.columns):
                    missing[place] += count_missing(column)
    finally:
        reader.forget(scratch.job)
    return rows, missing


def _note(notes: list[str], error: ScorestreamError, what: str) -> None:
    if error.code is ErrorCode.CANCELLED:
        raise error
    notes.append(f"{what}: {error.message}")
