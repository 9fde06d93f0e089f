"""Waiting for several jobs at once, with one subscription for all of them."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from scorestream.errors import DeadlineExceededError, Fault, InvalidArgumentError, JobFailedError, counted
from scorestream.records import Event
from scorestream.v1 import job_service_pb2, session_service_pb2
from scorestream.wire import event, job_info, job_name, session_name

from .connection import AsyncConnection
from .job import AsyncJob

REFRESHED_AT_ONCE = 500


async def watch_sessions(
    connection: AsyncConnection,
    *,
    sessions: Sequence[str] = (),
    prefix: str = "",
    after: int = 0,
    until_final: bool = False,
    timeout: Callable[[], float | None] = lambda: None,
) -> AsyncGenerator[Event, None]:
    """Yield the events of many sessions; see `watch` of the client."""

    def request(start: int) -> session_service_pb2.WatchSessionsRequest:
        return session_service_pb2.WatchSessionsRequest(
            sessions=[session_name(session) for session in sessions],
            display_name_prefix=prefix,
            after=start,
            until_final=until_final,
        )

    def position(message: Any) -> int:
        return int(message.events[-1].number)

    method = connection.sessions.WatchSessions
    async with aclosing(connection.stream(method, request, position, after, timeout)) as messages:
        async for message in messages:
            for found in message.events:
                if found.number > after:
                    after = found.number
                    yield event(found)


async def completed(
    connection: AsyncConnection, jobs: Iterable[AsyncJob], timeout: float | None
) -> AsyncGenerator[AsyncJob, None]:
    """Yield each job once, as soon as it is final, without asking the server for its description."""
    until = None if timeout is None else time.monotonic() + timeout
    waiting = {job.id: job for job in jobs}

    def left() -> float | None:
        return None if until is None else max(until - time.monotonic(), 0.001)

    while waiting:
        if until is not None and time.monotonic() >= until:
            raise DeadlineExceededError(
                f"{counted(len(waiting), 'job')} not final yet.", reason="WAIT_TIMED_OUT"
            )
        sessions = sorted({job.session_id for job in waiting.values()})
        # From the first event of these jobs on: nothing of theirs is missed, and nothing older is sent.
        after = min(job.info.first_event for job in waiting.values()) - 1
        events = watch_sessions(connection, sessions=sessions, after=after, until_final=True, timeout=left)
        async with aclosing(events):
            async for found in events:
                if found.job_id in waiting and found.state is not None and found.state.final:
                    yield waiting.pop(found.job_id)
                    if not waiting:
                        return


async def _refresh(connection: AsyncConnection, jobs: Sequence[AsyncJob]) -> None:
    """Ask the server again for many jobs, `REFRESHED_AT_ONCE` in a call."""
    for start in range(0, len(jobs), REFRESHED_AT_ONCE):
        part = jobs[start : start + REFRESHED_AT_ONCE]
        request = job_service_pb2.BatchGetJobsRequest(names=[job_name(job.id) for job in part])
        answer = await connection.call(connection.jobs.BatchGetJobs, request)
        for job, described in zip(part, answer.jobs, strict=True):
            job.info = job_info(described)


async def wait_any(connection: AsyncConnection, jobs: Iterable[AsyncJob], timeout: float | None) -> AsyncJob:
    """Return the first job that is final; see `wait_any` of the client."""
    async with aclosing(completed(connection, jobs, timeout)) as final:
        async for job in final:
            return await job.refresh()
    raise InvalidArgumentError("There is no job to wait for.", reason="NO_JOBS")


async def wait_all(
    connection: AsyncConnection, jobs: Iterable[AsyncJob], timeout: float | None
) -> list[AsyncJob]:
    """Return the jobs when all are final; see `wait_all` of the client."""
    waited = list(jobs)
    async for _ in completed(connection, waited, timeout):
        pass
    await _refresh(connection, waited)
    errors: list[JobFailedError] = []
    for job in waited:
        try:
            job.raise_for_state()
        except JobFailedError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        first = errors[0]
        raise JobFailedError(
            f"{len(errors)} of {len(waited)} jobs ended badly.",
            job_id=first.job_id,
            code=first.code,
            reason=first.reason,
            faults=[Fault(error.job_id, error.message) for error in errors],
        )
    return waited
