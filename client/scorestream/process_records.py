"""Processes, incidents and schedules as the server tells of them."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scorestream.records import JobFailure


class ProcessState(enum.StrEnum):
    """Where a process is in its life. A final state never changes."""

    RUNNING = "RUNNING"
    """On its way to its job, stopped by an incident, or with a job that is not final."""
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    """Its job was cancelled, or its incident was resolved without a run."""

    @property
    def final(self) -> bool:
        """Whether the process is over."""
        return self is not ProcessState.RUNNING


class IncidentState(enum.StrEnum):
    """Whether somebody has to look at an incident."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


class Missed(enum.StrEnum):
    """What is done about runs of a schedule that were due while no server was there."""

    ONCE = "ONCE"
    """One run, for the last of them, as soon as the server is back."""
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process as it was when the server was asked.

    Attributes:
        id: what is elsewhere called processInstanceId.
        signal: the name of the signal that started it; `variables` are the signal's.
        day: of its trigger, as 2026-11-22: ``{date}`` of inputs and outputs.
        deployment_id: the deployment that the signal was found to mean; empty before.
        job_id: empty before it has a job.
        incident_id: the open incident that it waits for; empty: none is open.
        schedule: the schedule that sent the signal; empty: somebody did.
        due: when that schedule was due; None where somebody asked for the run.
        failure: why it ended FAILED or CANCELLED.
    """

    id: str
    owner: str
    state: ProcessState
    signal: str
    variables: Mapping[str, str]
    day: str
    deployment_id: str
    job_id: str
    incident_id: str
    schedule: str
    due: datetime | None
    created: datetime
    ended: datetime | None
    failure: JobFailure | None


@dataclass(frozen=True, slots=True)
class IncidentInfo:
    """Why a process has no job, as it was when the server was asked.

    Attributes:
        type: the step in which it happened: ``IDENTITY``, ``MATCHING`` or ``JOB``.
        message: what happened the last time that the step was tried, and what to do.
        reason: a stable name of that for programs; `code` is the gRPC status code by name.
        last: when it happened last; `attempts` is how often the step was tried.
        resolved_by: who retried with success, or resolved it; `note` is what they wrote.
    """

    id: str
    process_id: str
    owner: str
    state: IncidentState
    type: str
    message: str
    reason: str
    code: str
    created: datetime
    last: datetime
    attempts: int
    ended: datetime | None
    resolved_by: str
    note: str


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A signal that is sent by the clock, as it was when the server was asked.

    Attributes:
        cron: minute, hour, day of month, month, day of week.
        signal: the signal's JSON document.
        missed: what is done about runs that were due while no server was there.
        next: the next five times that it is due; none while it is paused.
        last_due: when it was due for its last run by the clock.
        last_process_id: the process of its last run, whoever asked for it; empty: there was none.
        missed_runs: how many due times had no run of their own.
    """

    name: str
    owner: str
    cron: str
    time_zone: str
    missed: Missed
    paused: bool
    next: tuple[datetime, ...]
    last_due: datetime | None
    last_process_id: str
    missed_runs: int
    created: datetime
    signal: str = field(repr=False)
