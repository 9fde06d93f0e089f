"""Processes: what signals started, and the incidents that stop it."""

import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from scorestream.errors import DeadlineExceededError, FailedPreconditionError
from scorestream.process_records import IncidentInfo, IncidentState, ProcessInfo, ProcessState
from scorestream.process_wire import (
    incident_info,
    incident_name,
    incident_state_number,
    process_info,
    process_name,
    process_state_number,
    schedule_name,
    signal_document,
)
from scorestream.v1 import job_service_pb2, process_service_pb2
from scorestream.wire import duration, job_info, job_name

from .connection import AsyncConnection
from .job import AsyncJob

PAGE = 1000
ASKED_FOR = 30.0
"""Seconds of one call that waits."""


class AsyncProcess:
    """What a signal started. It goes on at the server whether or not anybody looks.

    Attributes:
        info: its description as the server last gave it; `refresh` asks again.
    """

    def __init__(self, connection: AsyncConnection, info: ProcessInfo) -> None:
        self._connection = connection
        self.info = info

    def __repr__(self) -> str:
        return f"<Process {self.id}: {self.state}{', incident open' if self.info.incident_id else ''}>"

    @property
    def id(self) -> str:
        """Its id, elsewhere called processInstanceId."""
        return self.info.id

    @property
    def state(self) -> ProcessState:
        """Where it was in its life when the server was last asked."""
        return self.info.state

    async def refresh(self) -> Self:
        """Ask the server again, and return this process."""
        request = process_service_pb2.GetProcessRequest(name=process_name(self.id))
        self.info = process_info(await self._connection.call(self._connection.processes.GetProcess, request))
        return self

    async def jobs(self) -> list[AsyncJob]:
        """Return its job history, newest first: its job, and those that were resumed from it."""
        found: list[AsyncJob] = []
        request = job_service_pb2.ListJobsRequest(process=process_name(self.id), page_size=PAGE)
        while True:
            answer = await self._connection.call(self._connection.jobs.ListJobs, request)
            found += [AsyncJob(self._connection, job_info(job)) for job in answer.jobs]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def incidents(self) -> list[IncidentInfo]:
        """Return its incidents, newest first."""
        return await list_incidents(self._connection, self.id, None, None)

    async def job(self, timeout: float | None = None) -> AsyncJob:
        """Wait until it has a job, and return that.

        Raises:
            FailedPreconditionError: an incident stopped it, which the error tells, or it ended without a job.
            DeadlineExceededError: it had none within `timeout` seconds.
        """
        await self._until(timeout, for_job=True)
        if not self.info.job_id:
            raise await self._stopped()
        request = job_service_pb2.GetJobRequest(name=job_name(self.info.job_id))
        return AsyncJob(
            self._connection, job_info(await self._connection.call(self._connection.jobs.GetJob, request))
        )

    async def wait(self, timeout: float | None = None) -> Self:
        """Wait until it has completed, and return it.

        Raises:
            FailedPreconditionError: an incident stopped it, which the error tells, or it was ended without a job.
            JobFailedError: its job ended badly.
            DeadlineExceededError: it was not over within `timeout` seconds.
        """
        await self._until(timeout, for_job=False)
        if self.state is not ProcessState.COMPLETED:
            if self.info.job_id:
                (await self.job()).raise_for_state()
            raise await self._stopped()
        return self

    async def _until(self, timeout: float | None, *, for_job: bool) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = ASKED_FOR if until is None else max(0.0, min(ASKED_FOR, until - time.monotonic()))
            request = process_service_pb2.WaitProcessRequest(
                name=process_name(self.id), timeout=duration(left, "timeout"), until_job=for_job
            )
            method = self._connection.processes.WaitProcess
            self.info = process_info(await self._connection.call(method, request))
            if self.state.final or self.info.incident_id or (for_job and self.info.job_id):
                return
            if until is not None and time.monotonic() >= until:
                raise DeadlineExceededError(
                    f"Process {self.id} is {self.state} still.", reason="WAIT_TIMED_OUT"
                )

    async def _stopped(self) -> FailedPreconditionError:
        """Return why it goes no further."""
        found = (await self.incidents())[:1]
        told = f": {found[0].message}" if found else ""
        said = (
            f"waits for incident {self.info.incident_id}" if self.info.incident_id else f"ended {self.state}"
        )
        return FailedPreconditionError(
            f"Process {self.id} {said}{told}",
            reason=found[0].reason if found else "PROCESS_ENDED",
            metadata={"process": self.id, "incident": found[0].id if found else ""},
        )


class AsyncProcesses:
    """The processes of a server that are yours. `Client.processes` gives it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def trigger(
        self, signal: Path | bytes | str | Mapping[str, Any], *, request_id: str = ""
    ) -> AsyncProcess:
        """Send a signal, and return the process that it starts.

        Args:
            signal: the JSON document: a `Path` of a file, its text, or what it says. Its name is
                ``com.modelop.mlc.definitions.Signals_DEPLOYED_BATCH_JOB``, its variables are TAG and MODEL_STAGE, and,
                where the deployment's own are not meant, INPUT and OUTPUT, each as ``{"value": "..."}``.
            request_id: a second signal with the same one, of letters, digits and hyphens, starts nothing within 24
                hours, and gives the first one's process; empty: a new one.

        Raises:
            InvalidArgumentError: the document is none; all faults are named.
        """
        request = process_service_pb2.TriggerRequest(
            signal=signal_document(signal), request_id=request_id or uuid.uuid4().hex
        )
        answer = await self._connection.call(self._connection.processes.Trigger, request)
        return AsyncProcess(self._connection, process_info(answer))

    async def get(self, process: str) -> AsyncProcess:
        """Return a process by its id."""
        request = process_service_pb2.GetProcessRequest(name=process_name(process))
        answer = await self._connection.call(self._connection.processes.GetProcess, request)
        return AsyncProcess(self._connection, process_info(answer))

    async def incidents(
        self, *, process: str = "", state: IncidentState | None = None, limit: int | None = None
    ) -> list[IncidentInfo]:
        """Return incidents, newest first, at most `limit` of them.

        Args:
            process: only those of this process.
            state: only those in this state.
            limit: how many; None: all.
        """
        return await list_incidents(self._connection, process, state, limit)

    async def incident(self, incident: str) -> IncidentInfo:
        """Return an incident by its id."""
        request = process_service_pb2.GetIncidentRequest(name=incident_name(incident))
        return incident_info(await self._connection.call(self._connection.processes.GetIncident, request))

    async def retry(self, incident: str) -> IncidentInfo:
        """Try the step of an open incident again, and return the incident when that is done.

        It is RESOLVED then, and its process goes on to its one job, or OPEN with what happened now.

        Raises:
            FailedPreconditionError: it is resolved already.
        """
        request = process_service_pb2.RetryIncidentRequest(name=incident_name(incident))
        method = self._connection.processes.RetryIncident
        return incident_info(await self._connection.call(method, request, repeat=False))

    async def resolve(self, incident: str, note: str) -> IncidentInfo:
        """Close an open incident without another try, which ends its process; `note` says why.

        Raises:
            FailedPreconditionError: it is resolved already.
        """
        request = process_service_pb2.ResolveIncidentRequest(name=incident_name(incident), note=note)
        method = self._connection.processes.ResolveIncident
        return incident_info(await self._connection.call(method, request, repeat=False))

    async def list(
        self, *, state: ProcessState | None = None, schedule: str = "", limit: int | None = None
    ) -> list[AsyncProcess]:
        """Return processes, newest first, at most `limit` of them.

        Args:
            state: only those in this state.
            schedule: only those of this schedule.
            limit: how many; None: all.
        """
        found: list[AsyncProcess] = []
        request = process_service_pb2.ListProcessesRequest(
            state=process_state_number(state),
            schedule=schedule_name(schedule) if schedule else "",
            page_size=min(limit or PAGE, PAGE),
        )
        while limit is None or len(found) < limit:
            answer = await self._connection.call(self._connection.processes.ListProcesses, request)
            found += [AsyncProcess(self._connection, process_info(one)) for one in answer.processes]
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        return found[:limit]


async def list_incidents(
    connection: AsyncConnection, process: str, state: IncidentState | None, limit: int | None
) -> list[IncidentInfo]:
    """Return incidents, newest first: of one process, or of all if it is empty."""
    found: list[IncidentInfo] = []
    request = process_service_pb2.ListIncidentsRequest(
        process=process_name(process) if process else "",
        state=incident_state_number(state),
        page_size=min(limit or PAGE, PAGE),
    )
    while limit is None or len(found) < limit:
        answer = await connection.call(connection.processes.ListIncidents, request)
        found += map(incident_info, answer.incidents)
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    return found[:limit]
