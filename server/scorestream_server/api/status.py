"""Status rows: what a person reads of a job, computed from its record and what is in flight."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from scorestream.v1 import session_service_pb2
from scorestream_server.api import convert
from scorestream_server.domain.job import Job, State
from scorestream_server.domain.session import Session
from scorestream_server.engine.active import ActiveJob

ACTION = "score"


def rows(
    sessions: Sequence[Session],
    jobs: Sequence[Job],
    active: Mapping[str, ActiveJob],
    why_waiting: Callable[[Job], str],
    now: float,
) -> Iterator[session_service_pb2.StatusRow]:
    """Yield one row a job, by session; a session without jobs has one row without a job.

    `why_waiting` says why a job waits that could have a lane.
    """
    by_session: dict[str, list[Job]] = {session.id: [] for session in sessions}
    for job in jobs:
        by_session[job.session_id].append(job)
    for session in sessions:
        for job in by_session[session.id]:
            message = _message(job, why_waiting)
            yield _row(session, job, active.get(job.id), message, now)
        if not by_session[session.id]:
            yield session_service_pb2.StatusRow(
                session=convert.session_name(session.id), session_display_name=session.name
            )


def _row(
    session: Session, job: Job, active: ActiveJob | None, message: str, now: float
) -> session_service_pb2.StatusRow:
    end = job.end_time or now
    running = end - job.start_time if job.start_time else 0.0
    rate = job.rows_done / running if running > 0 else 0.0
    if job.state.final:
        remaining: float | None = 0.0
    else:
        remaining = (job.rows_total - job.rows_done) / rate if rate else None
    lanes = sorted(active.lanes) if active else []
    return session_service_pb2.StatusRow(
        session=convert.session_name(session.id),
        session_display_name=session.name,
        job=convert.job_name(job.id),
        job_display_name=job.name,
        action=ACTION,
        state=convert.state(job.state),
        rows_done=job.rows_done,
        rows_total=job.rows_total,
        rows_scored=job.rows_scored,
        rows_per_second=rate,
        elapsed_seconds=end - job.create_time,
        remaining_seconds=remaining,
        device=job.device,
        lane=",".join(map(str, lanes)),
        message=message,
    )


def _message(job: Job, why_waiting: Callable[[Job], str]) -> str:
    if job.failure is not None:
        return job.failure.message
    if job.state is State.PENDING:
        return why_waiting(job) or "waiting for a lane"
    if (
        job.state is State.RUNNING
        and job.rows_done == job.rows_total
        and (job.spec.out_table or job.spec.destination)
    ):
        return "publishing the output"
    return "; ".join(job.warnings)
