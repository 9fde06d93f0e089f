"""Processes, incidents and schedules on the wire."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scorestream.process_records import (
    IncidentInfo,
    IncidentState,
    Missed,
    ProcessInfo,
    ProcessState,
    ScheduleInfo,
)
from scorestream.records import JobFailure
from scorestream.v1 import process_pb2, schedule_pb2
from scorestream.wire import last, time_of, time_or_none, value_of


def process_name(process: str) -> str:
    """Return the resource name of a process that is given by its id or its resource name."""
    return process if process.startswith("processes/") else f"processes/{process}"


def incident_name(incident: str) -> str:
    """Return the resource name of an incident that is given by its id or its resource name."""
    return incident if incident.startswith("incidents/") else f"incidents/{incident}"


def schedule_name(schedule: str) -> str:
    """Return the resource name of a schedule that is given by its name or its resource name."""
    return schedule if schedule.startswith("schedules/") else f"schedules/{schedule}"


def signal_document(signal: Path | bytes | str | Mapping[str, Any]) -> bytes:
    """Return a signal's JSON document: a file's bytes as they are, a text's, or what a mapping is written as."""
    if isinstance(signal, Path):
        return signal.read_bytes()
    if isinstance(signal, bytes):
        return signal
    return (signal if isinstance(signal, str) else json.dumps(signal)).encode()


def process_info(message: process_pb2.Process) -> ProcessInfo:
    """Return a process's description."""
    return ProcessInfo(
        id=last(message.name),
        owner=message.owner,
        state=value_of(ProcessState, process_pb2.ProcessState, message.state, ProcessState.RUNNING),
        signal=message.signal,
        variables=dict(message.variables),
        day=message.day,
        deployment_id=last(message.deployment),
        job_id=last(message.job),
        incident_id=last(message.incident),
        schedule=last(message.schedule),
        due=time_or_none(message, "due_time"),
        created=time_of(message.create_time),
        ended=time_or_none(message, "end_time"),
        failure=JobFailure(message.failure.code, message.failure.reason, message.failure.message)
        if message.HasField("failure")
        else None,
    )


def incident_info(message: process_pb2.Incident) -> IncidentInfo:
    """Return an incident's description."""
    return IncidentInfo(
        id=last(message.name),
        process_id=last(message.process),
        owner=message.owner,
        state=value_of(IncidentState, process_pb2.IncidentState, message.state, IncidentState.OPEN),
        type=message.type,
        message=message.failure.message,
        reason=message.failure.reason,
        code=message.failure.code,
        created=time_of(message.create_time),
        last=time_of(message.last_time),
        attempts=message.attempts,
        ended=time_or_none(message, "end_time"),
        resolved_by=message.resolved_by,
        note=message.note,
    )


def schedule_info(message: schedule_pb2.Schedule) -> ScheduleInfo:
    """Return a schedule's description."""
    return ScheduleInfo(
        name=last(message.name),
        owner=message.owner,
        cron=message.cron,
        time_zone=message.time_zone,
        missed=value_of(Missed, schedule_pb2.Missed, message.missed, Missed.ONCE),
        paused=message.paused,
        next=tuple(map(time_of, message.next_times)),
        last_due=time_or_none(message, "last_due_time"),
        last_process_id=last(message.last_process),
        missed_runs=message.missed_runs,
        created=time_of(message.create_time),
        signal=message.signal.decode(),
    )


def process_state_number(state: str | None) -> "process_pb2.ProcessState.ValueType":
    """Return the number of a state of processes; None: any."""
    return process_pb2.ProcessState.Value(f"PROCESS_STATE_{ProcessState(state) if state else 'UNSPECIFIED'}")


def incident_state_number(state: str | None) -> "process_pb2.IncidentState.ValueType":
    """Return the number of a state of incidents; None: any."""
    return process_pb2.IncidentState.Value(
        f"INCIDENT_STATE_{IncidentState(state) if state else 'UNSPECIFIED'}"
    )


def missed_number(missed: str) -> "schedule_pb2.Missed.ValueType":
    """Return the number of what is done about missed runs."""
    return schedule_pb2.Missed.Value(f"MISSED_{Missed(missed.upper())}")
