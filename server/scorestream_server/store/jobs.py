"""Jobs and their partitions in the store: one row a job, one row a partition, events beside them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.errors import ScorestreamError, not_found
from scorestream_server.domain.event import EventType
from scorestream_server.domain.job import FINAL_STATES, NEXT_STATES, Failure, Job, JobSpec, State
from scorestream_server.domain.session import SessionState
from scorestream_server.domain.table import Partition, PartitionFile
from scorestream_server.store import batches, events, requests, sessions
from scorestream_server.store.prepared import Prepared, one_of
from scorestream_server.store.schema import JOBS, PARTITIONS, SESSIONS, begins_with, belongs_to, owned_by

_NOT_FINAL = ~one_of(JOBS.c.state, FINAL_STATES)
_JSON = {"spec", "failure", "outputs", "warnings"}
_CHANGING = (
    *("state", "rows_done", "rows_scored", "partitions_done", "start_time", "end_time"),
    *("failure", "outputs", "warnings", "device", "stored_bytes"),
    *("device_seconds", "cpu_seconds", "bytes_in", "peak_memory", "row_errors"),
)
_FIELDS = tuple(field.name for field in dataclasses.fields(Job))

_INSERT = Prepared(sa.insert(JOBS), _FIELDS)
_INSERT_PARTITION = Prepared(sa.insert(PARTITIONS), PARTITIONS.c.keys())
_GET = Prepared(
    sa.select(JOBS).where(JOBS.c.id == sa.bindparam("job_id"), owned_by(JOBS.c.owner), ~JOBS.c.deleted)
)
_CHANGE = (
    sa.update(JOBS)
    .where(JOBS.c.id == sa.bindparam("job_id"))
    .values({name: sa.bindparam(name) for name in _CHANGING})
)
_UPDATE = Prepared(_CHANGE)
_CHANGE_STATE = {
    state: Prepared(_CHANGE.where(one_of(JOBS.c.state, before)))
    for state in State
    if (before := [earlier for earlier, following in NEXT_STATES.items() if state in following])
}
_MISSING = Prepared(
    sa.select(PARTITIONS.c.idx)
    .where(PARTITIONS.c.job_id == sa.bindparam("job_id_"), PARTITIONS.c.file.is_(None))
    .limit(1)
)
_COMMIT = Prepared(
    sa.update(PARTITIONS)
    .where(
        PARTITIONS.c.job_id == sa.bindparam("job_id_"),
        PARTITIONS.c.idx == sa.bindparam("index"),
        PARTITIONS.c.file.is_(None),
    )
    .values(file=sa.bindparam("file"))
)
_COMMITTED = Prepared(
    sa.select(PARTITIONS.c.idx, PARTITIONS.c.file)
    .where(
        PARTITIONS.c.job_id == sa.bindparam("job_id_"),
        PARTITIONS.c.idx >= sa.bindparam("from_index"),
        PARTITIONS.c.file.is_not(None),
    )
    .order_by(PARTITIONS.c.idx)
)
_PROGRESS = Prepared(
    sa.select(
        JOBS.c.state,
        SESSIONS.c.state.label("session_state"),
        SESSIONS.c.name.label("session_name"),
        PARTITIONS.c.idx,
        PARTITIONS.c.file,
    )
    .select_from(JOBS)
    .join(SESSIONS, SESSIONS.c.id == JOBS.c.session_id)
    .outerjoin(
        PARTITIONS,
        sa.and_(
            PARTITIONS.c.job_id == JOBS.c.id,
            PARTITIONS.c.idx >= sa.bindparam("from_index"),
            PARTITIONS.c.file.is_not(None),
        ),
    )
    .where(JOBS.c.id == sa.bindparam("job_id"), ~JOBS.c.deleted)
    .order_by(PARTITIONS.c.idx)
)


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, in which session, and committed partitions of it by their index."""

    state: State
    session_state: SessionState
    session_name: str
    committed: dict[int, PartitionFile]


def find_request(connection: sa.Connection, owner: str, request_id: str) -> Job | None:
    """Return the job that a request with this id created, if one did."""
    earlier = requests.find(connection, owner, request_id, "job") if request_id else None
    return get(connection, earlier, owner) if earlier else None


def create(
    connection: sa.Connection,
    job: Job,
    session_name: str,
    partitions: Sequence[Partition],
    committed: Mapping[int, PartitionFile],
    request_id: str,
) -> Job:
    """Insert a job, its partitions and its first event; return it with that event's number.

    Partitions that are `committed` already are those that it takes over from another job.
    """
    if request_id:
        requests.record(connection, job.owner, request_id, "job", job.id, job.create_time)
    message = f"goes on from job {job.spec.resumes}" if job.spec.resumes else ""
    event = events.record(
        connection, events.of_job(EventType.JOB_CREATED, job, session_name, job.create_time, message=message)
    )
    made = dataclasses.replace(job, first_event=event.number)
    _INSERT.insert(connection, _values(made, _FIELDS))
    for partition in partitions:
        file = committed.get(partition.index)
        row = {
            "job_id": job.id,
            "idx": partition.index,
            "rows": partition.rows,
            "attempts": 0,
            "file": None if file is None else msgspec.json.encode(file),
        }
        _INSERT_PARTITION.insert(connection, row)
    if job.spec.is_batch:
        batches.record(connection, job)
    return made


def get(connection: sa.Connection, job_id: str, owner: str | None) -> Job:
    """Return a job of this owner; None: of whichever.

    Raises:
        ScorestreamError: NOT_FOUND, where there is none or it is somebody else's.
    """
    row = _GET.row(connection, {"job_id": job_id, "owner_": owner})
    if row is None:
        raise _not_found(job_id)
    return from_row(row)


def _not_found(job_id: str) -> ScorestreamError:
    return not_found(
        "JOB_NOT_FOUND",
        f"There is no job {job_id!r}. `scorestream job list` shows those that there are.",
        job=job_id,
    )


def page(
    connection: sa.Connection,
    owner: str | None,
    *,
    session_id: str,
    before: int,
    limit: int,
    service: tuple[str, int] | None = None,
    deployment: str = "",
    process: str = "",
) -> tuple[list[Job], int]:
    """Return up to `limit` jobs, newest first, and the position to go on from (0: there are no more).

    With a `service`, a model and its version (0: any), only its batches.
    """
    query = sa.select(JOBS).where(~JOBS.c.deleted)
    if service is not None:
        query = batches.of_service(query, *service)
    if owner is not None:
        query = query.where(JOBS.c.owner == owner)
    if session_id:
        query = query.where(JOBS.c.session_id == session_id)
    if deployment:
        query = query.where(belongs_to(JOBS.c.deployment, deployment))
    if process:
        query = query.where(belongs_to(JOBS.c.process, process))
    if before:
        query = query.where(JOBS.c.seq < before)
    rows = connection.execute(query.order_by(JOBS.c.seq.desc()).limit(limit + 1)).all()
    more = rows[limit - 1].seq if len(rows) > limit else 0
    return [from_row(row) for row in rows[:limit]], more


def of_sessions(connection: sa.Connection, session_ids: Sequence[str]) -> list[Job]:
    """Return all jobs of these sessions, oldest first."""
    query = sa.select(JOBS).where(JOBS.c.session_id.in_(session_ids), ~JOBS.c.deleted).order_by(JOBS.c.seq)
    return [from_row(row) for row in connection.execute(query)]


def not_final(connection: sa.Connection) -> list[tuple[Job, str, int]]:
    """Return every job to go on with, with its session's name and weight, oldest first."""
    query = (
        sa.select(JOBS, SESSIONS.c.name.label("session_name"), SESSIONS.c.weight)
        .join(SESSIONS, SESSIONS.c.id == JOBS.c.session_id)
        .where(_NOT_FINAL)
        .order_by(JOBS.c.seq)
    )
    return [(from_row(row), row.session_name, row.weight) for row in connection.execute(query)]


def open_ids(
    connection: sa.Connection, owner: str | None, session_ids: Sequence[str], session_name_prefix: str
) -> set[str]:
    """Return the ids of jobs that are not final, in the sessions that match."""
    query = sa.select(JOBS.c.id).join(SESSIONS, SESSIONS.c.id == JOBS.c.session_id)
    query = query.where(_NOT_FINAL)
    if owner is not None:
        query = query.where(JOBS.c.owner == owner)
    if session_ids:
        query = query.where(JOBS.c.session_id.in_(session_ids))
    if session_name_prefix:
        query = query.where(begins_with(SESSIONS.c.name, session_name_prefix))
    return set(connection.execute(query).scalars())


def committed(connection: sa.Connection, job_id: str, from_index: int = 0) -> dict[int, PartitionFile]:
    """Return the committed partitions of a job from an index on, by their index."""
    rows = _COMMITTED.rows(connection, {"job_id_": job_id, "from_index": from_index})
    return {row.idx: msgspec.json.decode(row.file, type=PartitionFile) for row in rows}


def progress(connection: sa.Connection, job_id: str, from_index: int) -> Progress:
    """Return how far a job is, with the committed partitions from an index on.

    Raises:
        ScorestreamError: NOT_FOUND.
    """
    rows = _PROGRESS.rows(connection, {"job_id": job_id, "from_index": from_index})
    if not rows:
        raise _not_found(job_id)
    return Progress(
        State(rows[0].state),
        SessionState(rows[0].session_state),
        rows[0].session_name,
        {row.idx: msgspec.json.decode(row.file, type=PartitionFile) for row in rows if row.file is not None},
    )


def all_committed(connection: sa.Connection, job_id: str) -> bool:
    """Return whether no partition of a job is missing."""
    return _MISSING.row(connection, {"job_id_": job_id}) is None


def attempts(connection: sa.Connection, job_id: str) -> dict[int, int]:
    """Return how often each partition that is not committed was tried and lost its worker."""
    query = sa.select(PARTITIONS.c.idx, PARTITIONS.c.attempts).where(
        PARTITIONS.c.job_id == job_id, PARTITIONS.c.file.is_(None)
    )
    return {row.idx: row.attempts for row in connection.execute(query)}


def partition_rows(connection: sa.Connection, job_id: str) -> tuple[int, ...]:
    """Return how many input rows each partition of a job has, in order."""
    query = sa.select(PARTITIONS.c.rows).where(PARTITIONS.c.job_id == job_id).order_by(PARTITIONS.c.idx)
    return tuple(connection.execute(query).scalars())


def take_back(connection: sa.Connection, job: Job, indexes: Sequence[int]) -> None:
    """Note that partitions are not committed after all, because their files are damaged; `job` has the new counts."""
    chosen = sa.and_(PARTITIONS.c.job_id == job.id, PARTITIONS.c.idx.in_(indexes))
    connection.execute(sa.update(PARTITIONS).where(chosen).values(file=None))
    update(connection, job)


def commit_partition(
    connection: sa.Connection,
    job: Job,
    session_name: str,
    index: int,
    file: PartitionFile,
    device: str,
    lane: int,
    time: float,
    ended: Job | None,
) -> bool:
    """Accept one attempt of a partition, write the job's new counts, and record the event.

    Nothing changes where another attempt was accepted before. Where `ended` is given and no other partition
    is missing, the job takes on that final state in the same step.

    Returns:
        Whether the job is final now.
    """
    values = {"job_id_": job.id, "index": index, "file": msgspec.json.encode(file)}
    if _COMMIT.change(connection, values) == 0:
        return False
    event = events.of_job(EventType.PARTITION_COMMITTED, job, session_name, time, device=device, lane=lane)
    events.record(connection, event)
    # Another partition's commit may have failed a moment ago.
    if (
        ended is not None
        and all_committed(connection, job.id)
        and change_state(connection, ended, session_name, time)
    ):
        return True
    update(connection, job)
    return False


def warn(connection: sa.Connection, job: Job, session_name: str, message: str, time: float) -> None:
    """Tell whoever watches a job something that did not stop it."""
    events.record(connection, events.of_job(EventType.WARNING, job, session_name, time, message=message))


def tell(connection: sa.Connection, job: Job, session_name: str, message: str, time: float) -> None:
    """Tell whoever watches a job what it waits for."""
    events.record(
        connection, events.of_job(EventType.JOB_STATE_CHANGED, job, session_name, time, message=message)
    )


def retry_partition(
    connection: sa.Connection,
    job: Job,
    session_name: str,
    index: int,
    attempts: int,
    message: str,
    time: float,
) -> None:
    """Note that a partition lost its worker and will be run again."""
    chosen = sa.and_(PARTITIONS.c.job_id == job.id, PARTITIONS.c.idx == index)
    connection.execute(sa.update(PARTITIONS).where(chosen).values(attempts=attempts))
    events.record(
        connection, events.of_job(EventType.PARTITION_RETRIED, job, session_name, time, message=message)
    )


def change_state(
    connection: sa.Connection, job: Job, session_name: str, time: float, message: str = ""
) -> bool:
    """Write a job whose state has changed, with its event.

    Returns:
        False, and changes nothing, where the store's state may not be followed by this one.
    """
    values = {"job_id": job.id, **_values(job, _CHANGING)}
    if _CHANGE_STATE[job.state].change(connection, values) == 0:
        return False
    if job.state.final:
        sessions.touch(connection, job.session_id, time)
    events.record(
        connection, events.of_job(EventType.JOB_STATE_CHANGED, job, session_name, time, message=message)
    )
    return True


def update(connection: sa.Connection, job: Job) -> None:
    """Write what changes of a job while it runs."""
    _UPDATE.change(connection, {"job_id": job.id, **_values(job, _CHANGING)})


def from_row(row: Any) -> Job:
    """Return the job that a row of the jobs table holds."""
    values = {name: getattr(row, name) for name in _FIELDS}
    values["state"] = State(values["state"])
    values["spec"] = msgspec.json.decode(values["spec"], type=JobSpec)
    values["failure"] = msgspec.json.decode(values["failure"], type=Failure) if values["failure"] else None
    for name in ("outputs", "warnings"):
        values[name] = tuple(msgspec.json.decode(values[name], type=list[str]))
    return Job(**values)


def _values(job: Job, names: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(job, name) for name in names}
    values["state"] = job.state.value
    for name in _JSON.intersection(names):
        values[name] = None if values[name] is None else msgspec.json.encode(values[name])
    return values
