"""What belongs to one id, as the store knows it."""

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from scorestream_server.domain.deployment import Deployment
from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found
from scorestream_server.domain.job import Failure, Job
from scorestream_server.domain.process import Process
from scorestream_server.domain.session import Session
from scorestream_server.domain.trace import Trace, TraceKind, TraceNode, grown
from scorestream_server.store import deployments as deployment_store
from scorestream_server.store import jobs as job_store
from scorestream_server.store import processes as process_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store.schema import JOBS, belongs_to

MOST_JOBS = 100


def trace(connection: sa.Connection, wanted: str, owner: str | None) -> Trace:
    """Return what belongs to a process, a deployment, a session or a job of this owner; None: of whoever.

    Raises:
        ScorestreamError: NOT_FOUND, where none of them has this id, or it is somebody else's.
    """
    jobs = _jobs(connection, wanted, owner)
    shown = jobs[:MOST_JOBS][::-1]
    found = _Found(connection)
    chains = [chain for job in shown for chain in found.chains(job)]
    if not jobs and (deployment := _own(deployment_store.get, connection, wanted, owner)) is not None:
        chains = [[*found.deployment(deployment), *_runtime(deployment.context)]]
    elif not jobs and (process := _own(process_store.get, connection, wanted, owner)) is not None:
        chains = [found.process(process.id)]
    elif not jobs and (session := _own(session_store.get, connection, wanted, owner)) is not None:
        chains = [[*_runtime(session.context), _session(session)]]
    if not chains:
        raise not_found(
            "TRACE_NOT_FOUND",
            f"There is no process, deployment, session or job {wanted!r}. Give the whole id, as listings show it.",
            id=wanted,
        )
    return Trace(grown(chains), more=len(jobs) > MOST_JOBS)


def _jobs(connection: sa.Connection, wanted: str, owner: str | None) -> list[Job]:
    """Return the jobs that belong to an id, newest first: one more than are shown, where there are more."""
    parts = (
        JOBS.c.id == wanted,
        JOBS.c.session_id == wanted,
        belongs_to(JOBS.c.deployment, wanted),
        belongs_to(JOBS.c.process, wanted),
    )
    query = sa.select(JOBS).where(sa.or_(*parts), ~JOBS.c.deleted)
    if owner is not None:
        query = query.where(JOBS.c.owner == owner)
    rows = connection.execute(query.order_by(JOBS.c.seq.desc()).limit(MOST_JOBS + 1))
    return [job_store.from_row(row) for row in rows]


def _own(get: Any, connection: sa.Connection, wanted: str, owner: str | None) -> Any:
    try:
        return get(connection, wanted, owner)
    except ScorestreamError as error:
        if error.code is ErrorCode.NOT_FOUND:
            return None
        raise


@dataclass(eq=False)
class _Found:
    """Sessions and deployments that were looked up for a trace, each once."""

    connection: sa.Connection
    sessions: dict[str, Session] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    processes: dict[str, list[TraceNode]] = field(default_factory=dict)

    def chains(self, job: Job) -> list[list[TraceNode]]:
        """Return what led to a job, with each of its outputs."""
        if job.session_id not in self.sessions:
            self.sessions[job.session_id] = session_store.get(self.connection, job.session_id, None)
        session = self.sessions[job.session_id]
        before = self.process(job.process) if job.process else []
        if job.deployment:
            if job.deployment not in self.deployments:
                self.deployments[job.deployment] = deployment_store.get(self.connection, job.deployment, None)
            before += self.deployment(self.deployments[job.deployment])
        before += [*_runtime(session.context), _session(session), _job(job)]
        outputs = [TraceNode(TraceKind.OUTPUT, output) for output in job.outputs]
        return [[*before, output] for output in outputs] or [before]

    def process(self, process_id: str) -> list[TraceNode]:
        """Return the signal and the process as a part of a chain."""
        if process_id not in self.processes:
            found = process_store.get(self.connection, process_id, None)
            failure = found.failure
            if found.incident_id:
                failure = process_store.incident(self.connection, found.incident_id, None).failure
            self.processes[process_id] = _process(found, failure)
        return self.processes[process_id]

    def deployment(self, deployment: Deployment) -> list[TraceNode]:
        """Return a deployment as a part of a chain."""
        tags = f"{deployment.service_tag} at {deployment.stage}"
        reason = f": {deployment.reason}" if deployment.reason else ""
        return [
            TraceNode(
                TraceKind.DEPLOYMENT,
                deployment.id,
                f"{deployment.model_id}@{deployment.model_version}",
                deployment.state.value,
                f"{tags}{reason}",
                deployment.create_time,
            )
        ]


def _process(process: Process, failure: Failure | None) -> list[TraceNode]:
    tags = f"TAG {process.variables['TAG']}, MODEL_STAGE {process.variables['MODEL_STAGE']}"
    incident = f"incident {process.incident_id}: " if process.incident_id else ""
    return [
        TraceNode(TraceKind.SIGNAL, process.signal, detail=tags),
        TraceNode(
            TraceKind.PROCESS,
            process.id,
            f"schedule {process.schedule_id}" if process.schedule_id else "",
            process.state.value,
            f"{incident}{failure.message}" if failure is not None else "",
            process.create_time,
        ),
    ]


def _runtime(context: str) -> list[TraceNode]:
    return [TraceNode(TraceKind.RUNTIME, context)] if context else []


def _session(session: Session) -> TraceNode:
    return TraceNode(
        TraceKind.SESSION,
        session.id,
        session.name,
        session.state.value,
        session.end_reason,
        session.create_time,
    )


def _job(job: Job) -> TraceNode:
    rows = f"{job.rows_done:,} of {job.rows_total:,} rows"
    failure = f": {job.failure.message}" if job.failure is not None else ""
    model = f"{job.spec.model_id}@{job.spec.model_version}"
    return TraceNode(
        TraceKind.JOB, job.id, job.name, job.state.value, f"{model}, {rows}{failure}", job.create_time
    )
