"""Processes and their incidents in the store."""

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.errors import not_found, precondition
from scorestream_server.domain.job import Job
from scorestream_server.domain.limits import exhausted
from scorestream_server.domain.process import Incident, IncidentState, Process, ProcessState
from scorestream_server.store import jobs as job_store
from scorestream_server.store import requests
from scorestream_server.store.schema import INCIDENTS, JOBS, PROCESSES, belongs_to

MOST_RUNNING = 1000
"""Processes of one owner that are not final; a signal that is sent in a circle stops there."""


def create(connection: sa.Connection, process: Process, request_id: str) -> Process:
    """Insert a process; a request id seen before gives the process of then.

    Raises:
        ScorestreamError: RESOURCE_EXHAUSTED, where its owner has too many that are not final.
    """
    if request_id:
        earlier = requests.find(connection, process.owner, request_id, "process")
        if earlier is not None:
            return get(connection, earlier, process.owner)
    running = sa.and_(PROCESSES.c.owner == process.owner, PROCESSES.c.state == sa.literal_column("'RUNNING'"))
    if connection.execute(sa.select(sa.func.count()).where(running)).scalar_one() >= MOST_RUNNING:
        what = f"You have {MOST_RUNNING:,} processes that are not over, as many as one user may."
        advice = "Resolve their incidents, which `scorestream incident ls` shows, or wait for their jobs."
        raise exhausted("TOO_MANY_PROCESSES", "processes", MOST_RUNNING, what, advice)
    if request_id:
        requests.record(connection, process.owner, request_id, "process", process.id, process.create_time)
    connection.execute(
        sa.insert(PROCESSES).values(
            id=process.id,
            owner=process.owner,
            state=process.state.value,
            schedule_id=process.schedule_id,
            due_time=process.due_time,
            data=msgspec.json.encode(process),
        )
    )
    return process


def get(connection: sa.Connection, process_id: str, owner: str | None) -> Process:
    """Return a process of this owner; None: of whichever.

    Raises:
        ScorestreamError: NOT_FOUND, where there is none or it is somebody else's.
    """
    query = sa.select(PROCESSES.c.owner, PROCESSES.c.data).where(PROCESSES.c.id == process_id)
    row = connection.execute(query).one_or_none()
    if row is None or owner not in (None, row.owner):
        raise not_found(
            "PROCESS_NOT_FOUND",
            f"There is no process {process_id!r}. `scorestream mlc ls` shows those that there are.",
            process=process_id,
        )
    return msgspec.json.decode(row.data, type=Process)


def page(
    connection: sa.Connection,
    owner: str | None,
    *,
    state: ProcessState | None,
    schedule_id: str,
    before: int,
    limit: int,
) -> tuple[list[Process], int]:
    """Return up to `limit` processes, newest first, and the position to go on from (0: there are no more)."""
    query = sa.select(PROCESSES.c.seq, PROCESSES.c.data)
    if owner is not None:
        query = query.where(PROCESSES.c.owner == owner)
    if state is not None:
        query = query.where(PROCESSES.c.state == state.value)
    if schedule_id:
        query = query.where(PROCESSES.c.schedule_id == schedule_id)
    if before:
        query = query.where(PROCESSES.c.seq < before)
    rows = connection.execute(query.order_by(PROCESSES.c.seq.desc()).limit(limit + 1)).all()
    more = rows[limit - 1].seq if len(rows) > limit else 0
    return [msgspec.json.decode(row.data, type=Process) for row in rows[:limit]], more


def running(connection: sa.Connection) -> list[Process]:
    """Return every process that is not final, oldest first."""
    query = sa.select(PROCESSES.c.data).where(PROCESSES.c.state == sa.literal_column("'RUNNING'"))
    found = connection.execute(query.order_by(PROCESSES.c.seq)).scalars()
    return [msgspec.json.decode(data, type=Process) for data in found]


def update(connection: sa.Connection, process: Process) -> None:
    """Write what changed of a process."""
    values = {"state": process.state.value, "data": msgspec.json.encode(process)}
    connection.execute(sa.update(PROCESSES).where(PROCESSES.c.id == process.id).values(values))


def first_job(connection: sa.Connection, process_id: str) -> str:
    """Return the id of the job that was made for a process, whether it was noted there or not; empty: none was."""
    query = sa.select(JOBS.c.id).where(belongs_to(JOBS.c.process, process_id))
    return connection.execute(query.order_by(JOBS.c.seq).limit(1)).scalar_one_or_none() or ""


def job(connection: sa.Connection, job_id: str) -> Job:
    """Return a job of a process; one that was deleted, too."""
    return job_store.from_row(connection.execute(sa.select(JOBS).where(JOBS.c.id == job_id)).one())


def put_incident(connection: sa.Connection, incident: Incident) -> None:
    """Insert an incident, or write what changed of it."""
    values = {"state": incident.state.value, "data": msgspec.json.encode(incident)}
    known = sa.update(INCIDENTS).where(INCIDENTS.c.id == incident.id).values(values)
    if connection.execute(known).rowcount == 0:
        named = {"id": incident.id, "process_id": incident.process_id, "owner": incident.owner}
        connection.execute(sa.insert(INCIDENTS).values(named | values))


def incident(connection: sa.Connection, incident_id: str, owner: str | None) -> Incident:
    """Return an incident of a process of this owner; None: of whichever.

    Raises:
        ScorestreamError: NOT_FOUND, where there is none or it is somebody else's.
    """
    query = sa.select(INCIDENTS.c.owner, INCIDENTS.c.data).where(INCIDENTS.c.id == incident_id)
    row = connection.execute(query).one_or_none()
    if row is None or owner not in (None, row.owner):
        raise not_found(
            "INCIDENT_NOT_FOUND",
            f"There is no incident {incident_id!r}. `scorestream incident ls` shows those that there are.",
            incident=incident_id,
        )
    return msgspec.json.decode(row.data, type=Incident)


def incidents(
    connection: sa.Connection,
    owner: str | None,
    *,
    process_id: str,
    state: IncidentState | None,
    before: int,
    limit: int,
) -> tuple[list[Incident], int]:
    """Return up to `limit` incidents, newest first, and the position to go on from (0: there are no more)."""
    query = sa.select(INCIDENTS.c.seq, INCIDENTS.c.data)
    if owner is not None:
        query = query.where(INCIDENTS.c.owner == owner)
    if process_id:
        query = query.where(INCIDENTS.c.process_id == process_id)
    if state is not None:
        query = query.where(INCIDENTS.c.state == state.value)
    if before:
        query = query.where(INCIDENTS.c.seq < before)
    rows = connection.execute(query.order_by(INCIDENTS.c.seq.desc()).limit(limit + 1)).all()
    more = rows[limit - 1].seq if len(rows) > limit else 0
    return [msgspec.json.decode(row.data, type=Incident) for row in rows[:limit]], more


def require_open(found: Incident) -> None:
    """Refuse to do anything about an incident that is over."""
    if found.state is not IncidentState.OPEN:
        raise precondition(
            "INCIDENT_RESOLVED",
            f"Incident {found.id!r} was resolved by {found.resolved_by!r} already; its process is {found.process_id!r}.",
            incident=found.id,
        )
