"""What is written of a job when it begins to run: its row, an event, and lines of the log."""

import sqlalchemy as sa

from scorestream_server.domain.job import Job
from scorestream_server.engine import log_lines
from scorestream_server.store import jobs as job_store
from scorestream_server.store import log as log_store


def write_begun(connection: sa.Connection, begun: Job | None, session_name: str) -> None:
    """Write that a job runs; nothing where it is None, because that is written.

    It need not be a transaction of its own: it waits a moment for whatever else is written of the job.
    """
    if begun is None or not job_store.change_state(
        connection, begun, session_name, begun.start_time or begun.create_time
    ):
        return
    lines = log_lines.started(begun)
    if lines is not None:
        log_store.write(connection, lines)
