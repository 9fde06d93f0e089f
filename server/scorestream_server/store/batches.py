"""Batches of services: which jobs they are, so that a service finds its own."""

from typing import Any

import sqlalchemy as sa

from scorestream_server.domain.job import Job
from scorestream_server.domain.session import SessionState
from scorestream_server.store.schema import BATCHES, JOBS, SESSIONS


def record(connection: sa.Connection, job: Job) -> None:
    """Note a new job that is a batch."""
    values = {"job_id": job.id, "model_id": job.spec.model_id, "model_version": job.spec.model_version}
    connection.execute(sa.insert(BATCHES).values(values))


def of_service(jobs: "sa.Select[Any]", model_id: str, version: int) -> "sa.Select[Any]":
    """Return a query for jobs that finds only batches of a service, 0 for all of its versions, that have their rows."""
    query = (
        jobs.join(BATCHES, BATCHES.c.job_id == JOBS.c.id)
        .join(SESSIONS, SESSIONS.c.id == JOBS.c.session_id)
        .where(BATCHES.c.model_id == model_id, SESSIONS.c.state != SessionState.ENDED.value)
    )
    return query.where(BATCHES.c.model_version == version) if version else query
