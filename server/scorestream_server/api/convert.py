"""The only place where wire types and the domain's meet."""

import time

from google.protobuf import duration_pb2, timestamp_pb2

from scorestream.v1 import (
    device_pb2,
    event_pb2,
    job_pb2,
    session_pb2,
    table_pb2,
    token_pb2,
    variable_pb2,
)
from scorestream_server.api.convert_output import output_to_wire
from scorestream_server.domain.device import Device
from scorestream_server.domain.event import Event
from scorestream_server.domain.job import Job, Priority, State
from scorestream_server.domain.principal import Role
from scorestream_server.domain.session import Session, SessionStatistics
from scorestream_server.domain.table import Table
from scorestream_server.domain.token import Token
from scorestream_server.domain.variable import Variable
from scorestream_server.store.cached import LiveTable
from scorestream_server.tables.identity import etag

_SEVERITY = {
    0: job_pb2.SEVERITY_NORMAL,
    4: job_pb2.SEVERITY_WARNING,
    8: job_pb2.SEVERITY_ERROR,
}
_STATUS_OF_STATE = {State.CANCELLED: "CANCELLED", State.TIMED_OUT: "DEADLINE_EXCEEDED"}


def timestamp(seconds: float | None) -> timestamp_pb2.Timestamp | None:
    """Return seconds since 1970 as a timestamp."""
    if seconds is None:
        return None
    nanos = round(seconds * 1e6) * 1000
    return timestamp_pb2.Timestamp(seconds=nanos // 10**9, nanos=nanos % 10**9)


def duration(seconds: float) -> duration_pb2.Duration | None:
    """Return seconds as a duration; 0 is none."""
    if not seconds:
        return None
    nanos = round(seconds * 1e9)
    return duration_pb2.Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)


def session_name(session_id: str) -> str:
    """Return a session's resource name."""
    return f"sessions/{session_id}"


def job_name(job_id: str) -> str:
    """Return a job's resource name; an empty id has an empty one."""
    return f"jobs/{job_id}" if job_id else ""


def deployment_name(deployment_id: str) -> str:
    """Return a deployment's resource name, or nothing for none."""
    return f"deployments/{deployment_id}" if deployment_id else ""


def model_name(model_id: str, version: int) -> str:
    """Return a model version's resource name."""
    return f"models/{model_id}/versions/{version}"


def state(value: State | None) -> "job_pb2.State.ValueType":
    """Return a job's state for the wire."""
    return job_pb2.State.Value(f"STATE_{value.value if value else 'UNSPECIFIED'}")


def state_known(value: int) -> State | None:
    """Return a job's state from the wire; None for none, or for one that this server does not know."""
    return next((known for known in State if state(known) == value), None)


def priority(value: int) -> Priority:
    """Return a priority class; one that this server does not know is the default."""
    return Priority(value) if value in set(Priority) else Priority.NORMAL


def session(value: Session) -> session_pb2.Session:
    """Return a session for the wire."""
    return session_pb2.Session(
        name=session_name(value.id),
        display_name=value.name,
        state=session_pb2.SessionState.Value(f"SESSION_STATE_{value.state.value}"),
        owner=value.owner,
        create_time=timestamp(value.create_time),
        last_active_time=timestamp(value.last_active_time),
        end_time=timestamp(value.end_time),
        running_jobs=value.running_jobs,
        weight=value.weight,
        inactive_timeout=duration(value.inactive_timeout),
        labels=value.labels,
        end_reason=value.end_reason,
        context=f"contexts/{value.context}",
        queue=value.queue,
    )


def job(value: Job) -> job_pb2.Job:
    """Return a job for the wire."""
    spec = value.spec
    failure = value.failure
    return job_pb2.Job(
        name=job_name(value.id),
        display_name=value.name,
        session=session_name(value.session_id),
        owner=value.owner,
        spec=job_pb2.JobSpec(
            model=model_name(spec.model_id, spec.model_version),
            table=spec.table_id,
            where=spec.where,
            keep=spec.keep,
            replace=spec.replace,
            priority=job_pb2.Priority.Value(f"PRIORITY_{spec.priority.name}"),
            partition_rows=spec.partition_rows,
            timeout=duration(spec.timeout),
            queue_timeout=duration(spec.queue_timeout),
            variables={variable.name: variable_value(variable) for variable in spec.variables},
            out_label=spec.out_label,
            out_lifetime=duration(spec.out_lifetime),
            out_promote=spec.out_promote,
            on_row_error=job_pb2.OnRowError.Value(f"ON_ROW_ERROR_{spec.on_row_error.value}"),
            **output_to_wire(spec),
        ),
        state=state(value.state),
        rows_done=value.rows_done,
        rows_total=value.rows_total,
        rows_scored=value.rows_scored,
        partitions_done=value.partitions_done,
        partitions_total=value.partitions_total,
        first_event=value.first_event,
        resumes=job_name(spec.resumes),
        queue=spec.queue,
        task_timeout=duration(spec.task_timeout),
        create_time=timestamp(value.create_time),
        start_time=timestamp(value.start_time),
        end_time=timestamp(value.end_time),
        failure=job_pb2.JobFailure(code=failure.code, reason=failure.reason, message=failure.message)
        if failure
        else None,
        result_schema=value.result_schema,
        outputs=value.outputs,
        warnings=value.warnings,
        condition_code=value.state.condition_code,
        compute_state=value.state.compute_name,
        modelop_state=value.state.modelop_name,
        statistics=_statistics(value, time.time()),
        status_notification=spec.status_notification,
        reset_log_line_numbers=spec.reset_log_line_numbers,
        row_errors=value.row_errors,
        deployment=deployment_name(value.deployment),
        process=f"processes/{value.process}" if value.process else "",
    )


def _statistics(job: Job, now: float) -> job_pb2.JobStatistics:
    final, end = job.state.final, job.end_time or now
    well = "OK" if final else ""
    return job_pb2.JobStatistics(
        severity=_SEVERITY[job.state.condition_code or (4 if job.warnings else 0)],
        reason=job.failure.reason if job.failure else "",
        status_code=job.failure.code if job.failure else _STATUS_OF_STATE.get(job.state, well),
        elapsed_seconds=max(0.0, end - job.create_time),
        queue_seconds=max(0.0, (job.start_time or end) - job.create_time),
        device_seconds=job.device_seconds,
        cpu_seconds=job.cpu_seconds,
        bytes_in=job.bytes_in,
        bytes_out=job.stored_bytes,
        peak_memory_bytes=job.peak_memory,
    )


def session_statistics(value: SessionStatistics) -> session_pb2.SessionStatistics:
    """Return what the jobs of a session took, for the wire."""
    return session_pb2.SessionStatistics(
        jobs=value.jobs,
        jobs_ended_badly=value.jobs_ended_badly,
        rows_done=value.rows_done,
        rows_scored=value.rows_scored,
        device_seconds=value.device_seconds,
        cpu_seconds=value.cpu_seconds,
        bytes_in=value.bytes_in,
        bytes_out=value.bytes_out,
        peak_memory_bytes=value.peak_memory,
    )


def event(value: Event) -> event_pb2.Event:
    """Return an event for the wire."""
    return event_pb2.Event(
        number=value.number,
        create_time=timestamp(value.time),
        type=event_pb2.EventType.Value(f"EVENT_TYPE_{value.type.value}"),
        session=session_name(value.session_id),
        session_display_name=value.session_name,
        job=job_name(value.job_id),
        job_display_name=value.job_name,
        state=state(value.state),
        rows_done=value.rows_done,
        rows_total=value.rows_total,
        rows_scored=value.rows_scored,
        device=value.device,
        lane=value.lane,
        message=value.message,
    )


def table_name(value: Table | LiveTable) -> str:
    """Return a table's resource name."""
    scope = "" if value.is_global else f"{session_name(value.session_id)}/"
    return f"{scope}tables/{value.table_id}"


def table(value: Table) -> table_pb2.Table:
    """Return a table for the wire."""
    in_place = value.data.in_place
    return table_pb2.Table(
        name=table_name(value),
        table_id=value.table_id,
        arrow_schema=value.data.schema,
        rows=value.data.rows,
        size_bytes=value.size_bytes,
        backing_store=table_pb2.BACKING_STORE_IN_PLACE if in_place else table_pb2.BACKING_STORE_DISK_CACHE,
        format=value.data.format.value,
        source_paths=value.source_paths,
        create_time=timestamp(value.create_time),
        owner=value.owner,
        label=value.label,
        lifetime=duration(value.lifetime),
        last_access_time=timestamp(value.last_access_time),
        etag=value.etag,
        notes=[*value.data.notes, *([value.loaded.note] if value.loaded.note else [])],
        source_etag=value.data.saved_etag or etag(value.data.sources),
        copies=len(value.data.cached[0].copies) if value.data.cached else 0,
        evicted=value.data.evicted,
    )


def device(value: Device) -> device_pb2.Device:
    """Return a device for the wire; what it did not report stays unset."""
    return device_pb2.Device(
        name=f"devices/{value.id}",
        display_name=value.name,
        read_time=timestamp(value.time),
        memory_total_bytes=value.memory_total,
        memory_used_bytes=value.memory_used,
        memory_free_bytes=value.memory_free,
        utilization_percent=value.utilization,
        temperature_celsius=value.temperature,
        power_watts=value.power,
        processes=[
            device_pb2.DeviceProcess(pid=process.pid, memory_bytes=process.memory, worker=process.worker)
            for process in value.processes
        ],
        lanes=value.lanes,
        lanes_busy=value.lanes_busy,
        message=value.message,
    )


def role(value: int) -> Role:
    """Return a role; one that this server does not know may do least."""
    return Role.ADMIN if value == token_pb2.ROLE_ADMIN else Role.USER


def token(value: Token) -> token_pb2.Token:
    """Return a token for the wire."""
    return token_pb2.Token(
        name=f"tokens/{value.id}",
        principal=value.principal,
        role=token_pb2.Role.Value(f"ROLE_{value.role.name}"),
        label=value.label,
        create_time=timestamp(value.create_time),
        last_use_time=timestamp(value.last_use_time),
        expire_time=timestamp(value.expire_time),
        revoked=value.revoked,
    )


def variable_value(value: Variable) -> variable_pb2.VariableValue:
    """Return a variable's value for the wire."""
    made = variable_pb2.VariableValue()
    setattr(made, f"{value.type.value}_value", value.value)
    return made
