"""Processes, incidents and schedules on the wire."""

import itertools
import time
from typing import Any

from scorestream.v1 import job_pb2, process_pb2, schedule_pb2
from scorestream_server.api import names
from scorestream_server.api.convert import job_name, timestamp
from scorestream_server.contexts.rules import is_name
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.job import Failure
from scorestream_server.domain.process import Incident, IncidentState, Process, ProcessState
from scorestream_server.domain.schedule import Missed, Schedule

NEXT_TIMES = 5


def process_id(field: str, name: str) -> str:
    """Take `processes/{process}` apart."""
    return names.single_id(field, name, "processes/{process}")


def incident_id(field: str, name: str) -> str:
    """Take `incidents/{incident}` apart."""
    return names.single_id(field, name, "incidents/{incident}")


def schedule_id(field: str, name: str) -> str:
    """Take `schedules/{schedule}` apart."""
    kind, _, found = name.partition("/")
    if kind != "schedules" or not is_name(found):
        description = f"{name[:80]!r} is not a valid name here; wanted: schedules/{{schedule}}"
        raise invalid("INVALID_NAME", f"{field}: {description}.", [FieldFault(field, description)])
    return found


def process(found: Process) -> process_pb2.Process:
    """Return a process for the wire."""
    return process_pb2.Process(
        name=_named("processes", found.id),
        owner=found.owner,
        signal=found.signal,
        variables=found.variables,
        state=process_pb2.ProcessState.Value(f"PROCESS_STATE_{found.state}"),
        day=found.day,
        deployment=_named("deployments", found.deployment_id),
        job=job_name(found.job_id),
        incident=_named("incidents", found.incident_id),
        schedule=_named("schedules", found.schedule_id),
        due_time=timestamp(found.due_time),
        create_time=timestamp(found.create_time),
        end_time=timestamp(found.end_time),
        failure=_failure(found.failure),
    )


def incident(found: Incident) -> process_pb2.Incident:
    """Return an incident for the wire."""
    return process_pb2.Incident(
        name=_named("incidents", found.id),
        process=_named("processes", found.process_id),
        owner=found.owner,
        type=found.type.value,
        failure=_failure(found.failure),
        state=process_pb2.IncidentState.Value(f"INCIDENT_STATE_{found.state}"),
        create_time=timestamp(found.create_time),
        last_time=timestamp(found.time),
        attempts=found.attempts,
        end_time=timestamp(found.end_time),
        resolved_by=found.resolved_by,
        note=found.note,
    )


def schedule(found: Schedule) -> schedule_pb2.Schedule:
    """Return a schedule for the wire, with the next times that it is due."""
    ahead = () if found.paused else found.cron.after(max(time.time(), found.handled_until))
    return schedule_pb2.Schedule(
        name=_named("schedules", found.id),
        owner=found.owner,
        cron=found.cron.expression,
        time_zone=found.cron.time_zone,
        signal=found.document.encode(),
        missed=schedule_pb2.Missed.Value(f"MISSED_{found.missed}"),
        paused=found.paused,
        next_times=[
            stamp for due in itertools.islice(ahead, NEXT_TIMES) if (stamp := timestamp(due)) is not None
        ],
        last_due_time=timestamp(found.last_due),
        last_process=_named("processes", found.last_process),
        missed_runs=found.missed_runs,
        create_time=timestamp(found.create_time),
    )


def process_state(number: int) -> ProcessState | None:
    """Return the state that a listing asks for; None: any."""
    return (
        ProcessState(_value("state", process_pb2.ProcessState, number, "PROCESS_STATE_")) if number else None
    )


def incident_state(number: int) -> IncidentState | None:
    """Return the state that a listing asks for; None: any."""
    return (
        IncidentState(_value("state", process_pb2.IncidentState, number, "INCIDENT_STATE_"))
        if number
        else None
    )


def missed(number: int) -> Missed:
    """Return what a schedule does about missed runs."""
    return (
        Missed(_value("schedule.missed", schedule_pb2.Missed, number, "MISSED_")) if number else Missed.ONCE
    )


def _value(field: str, kind: Any, number: int, prefix: str) -> str:
    if number not in kind.values():
        description = f"{number} is no value of {kind.DESCRIPTOR.name}"
        raise invalid("BAD_VALUE", f"{field}: {description}.", [FieldFault(field, description)])
    return str(kind.Name(number)).removeprefix(prefix)


def _failure(found: Failure | None) -> job_pb2.JobFailure | None:
    if found is None:
        return None
    return job_pb2.JobFailure(code=found.code, reason=found.reason, message=found.message)


def _named(kind: str, found: str) -> str:
    return f"{kind}/{found}" if found else ""
