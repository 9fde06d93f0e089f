"""Jobs as their sessions remember them: those that were deleted, too."""

import sqlalchemy as sa

from scorestream_server.domain.errors import not_found
from scorestream_server.domain.job import Job
from scorestream_server.store.events import page as events_page
from scorestream_server.store.jobs import from_row
from scorestream_server.store.schema import JOBS, PARTITIONS

_COMMITS_READ = 1000


def find(connection: sa.Connection, session_id: str, job_id: str) -> Job:
    """Return a job of a session, deleted or not.

    Raises:
        ScorestreamError: NOT_FOUND.
    """
    query = sa.select(JOBS).where(JOBS.c.id == job_id, JOBS.c.session_id == session_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise not_found("JOB_NOT_FOUND", f"Session {session_id!r} never had a job {job_id!r}.", job=job_id)
    return from_row(row)


def page(connection: sa.Connection, session_id: str, after: int, limit: int) -> tuple[list[Job], int]:
    """Return up to `limit` jobs of a session created after a position, oldest first, and where to go on (0: done)."""
    query = sa.select(JOBS).where(JOBS.c.session_id == session_id, JOBS.c.seq > after)
    rows = connection.execute(query.order_by(JOBS.c.seq).limit(limit + 1)).all()
    return [from_row(row) for row in rows[:limit]], rows[limit - 1].seq if len(rows) > limit else 0


def delete(connection: sa.Connection, job: Job) -> bool:
    """Note that a job was deleted; return whether its rows may go, because no table is made of them."""
    rows_go = not (job.spec.out_table and job.outputs)
    values: dict[str, object] = {"deleted": True}
    if rows_go:
        connection.execute(sa.delete(PARTITIONS).where(PARTITIONS.c.job_id == job.id))
        values["stored_bytes"] = 0
    connection.execute(sa.update(JOBS).where(JOBS.c.id == job.id).values(values))
    return rows_go


def progress(connection: sa.Connection, job: Job) -> list[tuple[float, int]]:
    """Return when a job had how many input rows done: seconds since 1970, rows; a point an event, in order."""
    points: list[tuple[float, int]] = []
    after = job.first_event - 1
    while True:
        events = events_page(
            connection, after=after, up_to=1 << 62, limit=_COMMITS_READ, owner=None, job_id=job.id
        )
        points += [(event.time, event.rows_done) for event in events if event.device]
        if len(events) < _COMMITS_READ:
            return points
        after = events[-1].number
