"""What is known of the results of jobs, in the store: made once, when somebody first asks."""

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.summary import JobSummary
from scorestream_server.store.schema import IS_OPEN, SESSIONS, SUMMARIES


def find(connection: sa.Connection, job_id: str) -> JobSummary | None:
    """Return what is known of a job's result; None: nobody has looked yet."""
    data = connection.execute(sa.select(SUMMARIES.c.data).where(SUMMARIES.c.job_id == job_id)).scalar()
    return None if data is None else msgspec.json.decode(data, type=JobSummary)


def put(connection: sa.Connection, session_id: str, job_id: str, summary: JobSummary) -> None:
    """Note what is known of a job's result, unless it is known, or its session has ended."""
    open_ = sa.select(SESSIONS.c.id).where(SESSIONS.c.id == session_id, IS_OPEN)
    if connection.execute(open_).first() is not None and find(connection, job_id) is None:
        values = {"job_id": job_id, "session_id": session_id, "data": msgspec.json.encode(summary)}
        connection.execute(sa.insert(SUMMARIES).values(values))


def remove_all(connection: sa.Connection, session_id: str) -> None:
    """Forget what is known of a session's jobs."""
    connection.execute(sa.delete(SUMMARIES).where(SUMMARIES.c.session_id == session_id))
