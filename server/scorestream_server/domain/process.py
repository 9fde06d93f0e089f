"""Processes: the record that ties a signal to its job, and the incidents on the way there."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from scorestream_server.domain.job import Failure, State


class ProcessState(enum.StrEnum):
    """The life of a process. A final state never changes."""

    RUNNING = "RUNNING"
    """On its way to its job, stopped by an incident, or with a job that is not final."""
    COMPLETED = "COMPLETED"
    """Its job succeeded."""
    FAILED = "FAILED"
    """Its job failed or its time was up; that is no incident, the job tells what it was."""
    CANCELLED = "CANCELLED"
    """Its job was cancelled, or its incident was resolved without a run."""

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self is not ProcessState.RUNNING


STATE_OF_JOB = {
    State.SUCCEEDED: ProcessState.COMPLETED,
    State.SUCCEEDED_WITH_WARNINGS: ProcessState.COMPLETED,
    State.FAILED: ProcessState.FAILED,
    State.TIMED_OUT: ProcessState.FAILED,
    State.CANCELLED: ProcessState.CANCELLED,
}
"""How a process ends whose job ended so."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process as the store holds it; times are seconds since 1970, UTC.

    Attributes:
        signal: the name of the signal that started it.
        variables: the signal's.
        day: of its trigger, as 2026-11-22, in the schedule's time zone or else in UTC; for ``{date}``.
        deployment_id: the deployment that the signal was found to mean; empty before.
        job_id: empty before there is one.
        incident_id: the open incident that it waits for; empty: none is open.
        schedule_id: the schedule that sent the signal; empty: somebody did.
        due_time: when the schedule was due; None: somebody asked for it.
        failure: why it ended FAILED or CANCELLED.
    """

    id: str
    owner: str
    signal: str
    variables: Mapping[str, str]
    day: str
    state: ProcessState
    create_time: float
    end_time: float | None = None
    deployment_id: str = ""
    job_id: str = ""
    incident_id: str = ""
    schedule_id: str = ""
    due_time: float | None = None
    failure: Failure | None = None


class IncidentState(enum.StrEnum):
    """Whether somebody has to look at an incident."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


class Step(enum.StrEnum):
    """The step of a process in which an incident happened."""

    IDENTITY = "IDENTITY"
    """Whether the process's owner may still call."""
    MATCHING = "MATCHING"
    """Finding the deployment of tag and stage."""
    JOB = "JOB"
    """Finding a runtime, loading the input, making the job."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Why a process has no job; times are seconds since 1970, UTC.

    Attributes:
        type: the step in which it happened.
        failure: what happened the last time that the step was tried.
        time: of that.
        attempts: how often the step was tried.
        end_time: when it was resolved.
        resolved_by: who retried with success, or resolved it; ``note`` is what they wrote.
    """

    id: str
    process_id: str
    owner: str
    type: Step
    failure: Failure
    state: IncidentState
    create_time: float
    time: float
    attempts: int = 1
    end_time: float | None = None
    resolved_by: str = ""
    note: str = ""
