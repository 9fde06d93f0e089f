"""Going on with jobs of an earlier run: only against what they began on, and only with results that are whole."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, counted, precondition
from scorestream_server.domain.job import Job, State
from scorestream_server.domain.model import Model
from scorestream_server.domain.table import PartitionFile, Table, TableData
from scorestream_server.engine.active import ActiveJob
from scorestream_server.store import jobs as job_store
from scorestream_server.store import models as model_store
from scorestream_server.store import tables as table_store
from scorestream_server.tables.identity import change
from scorestream_server.tables.kept import is_readable
from scorestream_server.tables.results import verify_partition


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A job that the store says is not final, with everything that it refers to."""

    job: Job
    session_name: str
    weight: int
    model: Model
    table: Table
    committed: Mapping[int, PartitionFile]
    lost: Mapping[int, int]
    partition_rows: tuple[int, ...]


def unfinished(connection: sa.Connection) -> list[Unfinished]:
    """Return every job to go on with, oldest first."""
    found = []
    for job, session_name, weight in job_store.not_final(connection):
        found.append(
            Unfinished(
                job,
                session_name,
                weight,
                model_store.get(connection, job.spec.model_id, job.spec.model_version),
                table_store.by_uid(connection, job.spec.table_uid),
                job_store.committed(connection, job.id),
                job_store.attempts(connection, job.id),
                job_store.partition_rows(connection, job.id),
            )
        )
    return found


class ModelFiles:
    """Whether model files still are what their digests say; each is read once."""

    def __init__(self) -> None:
        self._digests: dict[Path, str] = {}

    def digest(self, path: Path) -> str:
        """Return a file's SHA-256, hexadecimal; empty where it cannot be read."""
        if path not in self._digests:
            try:
                with path.open("rb") as file:
                    self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                self._digests[path] = ""
        return self._digests[path]


def changes(
    active: ActiveJob, model: Model, model_path: Path, stored_rows: tuple[int, ...], files: ModelFiles
) -> list[str]:
    """Return what is not as it was when a job began, a phrase each; empty where it may go on.

    Args:
        active: the job as this server would drive it: its table, its partitions.
        model: what it scores with.
        model_path: the model's file.
        stored_rows: the rows of each partition as it was cut when the job began.
        files: digests of the model files looked at so far.
    """
    found = []
    if files.digest(model_path) != model.digest:
        found.append(f"the file of model {model.model_id}@{model.version} is gone or changed")
    table = active.table
    # Those in the cache are checked block by block, and brought back, where that can be, when they are read.
    cached = {file.path for file in table.cached}
    outside = (file for file in table.files if file.path not in cached)
    found += [
        f"the file {file.path!r} {change(file)}" for file in outside if not is_readable(file, table.kept)
    ]
    if tuple(partition.rows for partition in active.partitions) != stored_rows:
        found.append("this version of the server cuts the table into other partitions")
    return found


def is_gone(table: TableData) -> bool:
    """Return whether rows that a table had in the cache are nowhere, and cannot be loaded again."""
    lost = (one for one in table.cached if not any(Path(path).exists() for path in (one.path, *one.copies)))
    return table.recipe is None and any(lost)


def changed_error(what: list[str]) -> ScorestreamError:
    """Return why a job cannot go on."""
    more = f", and {counted(len(what) - 5, 'other thing')}" if len(what) > 5 else ""
    return ScorestreamError(
        ErrorCode.FAILED_PRECONDITION,
        "INPUT_CHANGED",
        f"The job cannot go on: {'; '.join(what[:5])}{more} since it began. Load the table again and submit a new job.",
    )


def require_resumable(job: Job) -> None:
    """Raise FAILED_PRECONDITION where a job has nothing to go on with."""
    if not job.state.final:
        raise precondition(
            "JOB_NOT_FINAL", f"Job {job.name!r} ({job.id}) goes on by itself: it is {job.state}.", job=job.id
        )
    if job.state in {State.SUCCEEDED, State.SUCCEEDED_WITH_WARNINGS}:
        raise precondition(
            "JOB_SUCCEEDED", f"Job {job.name!r} ({job.id}) is done: it {job.state.lower()}.", job=job.id
        )


def taken_over(
    committed: Mapping[int, PartitionFile], place: Callable[[int], Path]
) -> dict[int, PartitionFile]:
    """Give the whole ones of a job's committed partitions to another job, as links to the same bytes or as copies.

    Args:
        committed: the partitions by index.
        place: where the other job's partition of an index lies.
    """
    taken = {}
    for index, file in committed.items():
        if verify_partition(file):
            try:
                os.link(file.path, place(index))
            except PermissionError:  # the kernel's answer where a worker of another user wrote it
                shutil.copyfile(file.path, place(index))
            taken[index] = replace(file, path=str(place(index)))
    return taken


async def damaged(committed: Mapping[int, PartitionFile]) -> list[int]:
    """Return the committed partitions whose files are not whole, as after a power cut; they must be scored again."""
    whole = await asyncio.to_thread(lambda: [verify_partition(file) for file in committed.values()])
    return [index for index, good in zip(committed, whole, strict=True) if not good]
