"""The only place where the client's values meet the wire: resource names, messages, errors."""

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from scorestream.errors import ERROR_OF_CODE, Fault, InvalidArgumentError, ScorestreamError, UnknownError
from scorestream.output_wire import output_fields
from scorestream.records import (
    Device,
    DeviceProcess,
    Event,
    EventType,
    JobFailure,
    JobInfo,
    Priority,
    Role,
    SessionInfo,
    SessionState,
    State,
    StatusRow,
    TableInfo,
    TokenInfo,
)
from scorestream.row_error_wire import row_error_fields
from scorestream.settings import variables_from_wire
from scorestream.statistics import job_statistics
from scorestream.v1 import (
    device_pb2,
    event_pb2,
    job_pb2,
    session_pb2,
    session_service_pb2,
    table_pb2,
    token_pb2,
)

Value = TypeVar("Value", bound=enum.StrEnum)

ADDRESS = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
MODEL = re.compile(
    r"(?P<name>[^@/\s]+)(?:[@/](?P<version>[1-9][0-9]{0,8})|@(?P<alias>[A-Za-z][A-Za-z0-9_.-]{0,62}))?"
)
RESOURCE = re.compile(r"models/(?P<name>[^/]+)(?:/versions/(?P<version>\d+)|/aliases/(?P<alias>[^/]+))?")
TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MAX_NAME = 128
# What gRPC says of the other side's TLS, the most telling part first.
TLS_FAULT = re.compile(
    r"CERTIFICATE_VERIFY_FAILED(?:: [A-Za-z ]+)?|WRONG_VERSION_NUMBER|hostname verification[^:]*|not in peer certificate",
    re.IGNORECASE,
)
CUT_OFF = re.compile(r"socket closed|connection reset", re.IGNORECASE)


def checked_address(address: str) -> str:
    """Return the address if it is ``host:port``, and raise InvalidArgumentError if it is not."""
    match = ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise InvalidArgumentError(
            f"{address!r} is no address; write host:port, for example 127.0.0.1:8500.", reason="BAD_ADDRESS"
        )
    return address


def session_name(session: str) -> str:
    """Return the resource name of a session that is given by its id or its resource name."""
    return session if session.startswith("sessions/") else f"sessions/{session}"


def job_name(job: str) -> str:
    """Return the resource name of a job that is given by its id or its resource name."""
    return job if job.startswith("jobs/") else f"jobs/{job}"


def table_name(session_id: str, table: str) -> str:
    """Return the resource name of a session's table, or of a global one, whose session is empty."""
    return f"sessions/{session_id}/tables/{table}" if session_id else f"tables/{table}"


def model_name(model: str) -> str:
    """Return the resource name of a model given as one, or as ``name``, ``name@version``, ``name/version``, ``name@alias``."""
    if model.startswith("models/"):
        return model
    match = MODEL.fullmatch(model)
    if match is None:
        raise InvalidArgumentError(
            f"{model!r} names no model; write its name, name@version, name/version or name@alias.",
            reason="BAD_MODEL_NAME",
        )
    version = f"/versions/{match['version']}" if match["version"] else ""
    return f"models/{match['name']}{version}" + (f"/aliases/{match['alias']}" if match["alias"] else "")


def model_label(resource: str) -> str:
    """Return ``name``, ``name@version`` or ``name@alias`` for a model's resource name."""
    match = RESOURCE.fullmatch(resource)
    if match is None:
        return resource
    which = match["version"] or match["alias"]
    return match["name"] + (f"@{which}" if which else "")


def table_id_of(file_name: str) -> str:
    """Return a table's name made of a file's name: its stem, with what a name may not have made `_`."""
    stem = re.sub(r"[^A-Za-z0-9_]", "_", file_name.split(".", 1)[0]) or "table"
    return (stem if TABLE.fullmatch(stem) else f"_{stem}")[:MAX_NAME]


def model_id_of(file_name: str) -> str:
    """Return a model's name made of a file's name: its stem, with what a name may not have made `_`."""
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", file_name.rpartition(".")[0] or file_name)
    return (stem if stem[0].isalnum() else f"_{stem}")[:MAX_NAME]


def last(resource: str) -> str:
    """Return the id at the end of a resource name."""
    return resource.rpartition("/")[2]


def time_of(stamp: Timestamp) -> datetime:
    """Return a time stamp as an aware datetime."""
    return stamp.ToDatetime(tzinfo=UTC)


def time_or_none(message: Any, field: str) -> datetime | None:
    """Return a message's time stamp, or None where it is unset."""
    return time_of(getattr(message, field)) if message.HasField(field) else None


def value_of(kind: type[Value], enum_type: Any, number: int, default: Value) -> Value:
    """Return the value of an enum on the wire; a newer server may send one that this client does not know."""
    name = enum_type.Name(number) if number in enum_type.values() else ""
    short = name.removeprefix(re.sub(r"(?<!^)(?=[A-Z])", "_", enum_type.DESCRIPTOR.name).upper() + "_")
    return kind[short] if short in kind.__members__ else default


def state_of(number: int) -> State | None:
    """Return a job's state, or None where there is none."""
    return (
        None if number == job_pb2.STATE_UNSPECIFIED else value_of(State, job_pb2.State, number, State.RUNNING)
    )


def event(message: event_pb2.Event) -> Event:
    """Return an event."""
    return Event(
        number=message.number,
        time=time_of(message.create_time),
        type=value_of(EventType, event_pb2.EventType, message.type, EventType.WARNING),
        session=message.session_display_name,
        session_id=last(message.session),
        job=message.job_display_name,
        job_id=last(message.job),
        state=state_of(message.state),
        rows_done=message.rows_done,
        rows_total=message.rows_total,
        rows_scored=message.rows_scored,
        device=message.device,
        lane=message.lane if message.device else None,
        message=message.message,
    )


def status_row(message: session_service_pb2.StatusRow) -> StatusRow:
    """Return a row of a status report."""
    return StatusRow(
        session=message.session_display_name,
        session_id=last(message.session),
        job=message.job_display_name,
        job_id=last(message.job),
        action=message.action,
        state=state_of(message.state),
        rows_done=message.rows_done,
        rows_total=message.rows_total,
        rows_scored=message.rows_scored,
        rows_per_second=message.rows_per_second,
        elapsed=message.elapsed_seconds,
        remaining=message.remaining_seconds if message.HasField("remaining_seconds") else None,
        device=message.device,
        lane=message.lane,
        message=message.message,
    )


def session_info(message: session_pb2.Session) -> SessionInfo:
    """Return a session's description."""
    return SessionInfo(
        id=last(message.name),
        name=message.display_name,
        state=value_of(SessionState, session_pb2.SessionState, message.state, SessionState.ACTIVE),
        owner=message.owner,
        created=time_of(message.create_time),
        last_active=time_of(message.last_active_time),
        ended=time_or_none(message, "end_time"),
        running_jobs=message.running_jobs,
        weight=message.weight,
        inactive_timeout=message.inactive_timeout.ToTimedelta().total_seconds(),
        labels=dict(message.labels),
        end_reason=message.end_reason,
        context=last(message.context),
        queue=message.queue,
    )


def job_info(message: job_pb2.Job) -> JobInfo:
    """Return a job's description."""
    spec, failure = message.spec, message.failure
    return JobInfo(
        id=last(message.name),
        name=message.display_name,
        session_id=last(message.session),
        owner=message.owner,
        model=model_label(spec.model),
        table=spec.table,
        where=spec.where,
        keep=tuple(spec.keep),
        out_table=spec.out_table,
        out_path=spec.out_path,
        replace=spec.replace,
        priority=value_of(Priority, job_pb2.Priority, spec.priority, Priority.NORMAL),
        state=state_of(message.state) or State.PENDING,
        rows_done=message.rows_done,
        rows_total=message.rows_total,
        rows_scored=message.rows_scored,
        partitions_done=message.partitions_done,
        partitions_total=message.partitions_total,
        first_event=message.first_event,
        resumes=last(message.resumes),
        created=time_of(message.create_time),
        started=time_or_none(message, "start_time"),
        ended=time_or_none(message, "end_time"),
        failure=JobFailure(failure.code, failure.reason, failure.message)
        if message.HasField("failure")
        else None,
        result_schema=message.result_schema,
        outputs=tuple(last(out) if out.startswith("sessions/") else out for out in message.outputs),
        warnings=tuple(message.warnings),
        condition_code=message.condition_code if message.HasField("condition_code") else None,
        compute_state=message.compute_state,
        statistics=job_statistics(message.statistics),
        queue=message.queue,
        task_timeout=message.task_timeout.ToTimedelta().total_seconds(),
        variables=variables_from_wire(spec.variables),
        process_id=last(message.process),
        modelop_state=message.modelop_state,
        deployment=last(message.deployment),
        **output_fields(spec),
        **row_error_fields(message),
    )


def table_info(message: table_pb2.Table) -> TableInfo:
    """Return a table's description."""
    return TableInfo(
        name=message.table_id,
        session_id=message.name.split("/")[1] if message.name.startswith("sessions/") else "",
        arrow_schema=message.arrow_schema,
        rows=message.rows,
        size_bytes=message.size_bytes,
        backing_store=table_pb2.BackingStore.Name(message.backing_store).removeprefix("BACKING_STORE_"),
        format=message.format,
        source_paths=tuple(message.source_paths),
        created=time_of(message.create_time),
        copies=message.copies,
        evicted=message.evicted,
        owner=message.owner,
        label=message.label,
        lifetime=message.lifetime.ToTimedelta().total_seconds(),
        last_access=time_or_none(message, "last_access_time"),
        etag=message.etag,
        notes=tuple(message.notes),
    )


def device(message: device_pb2.Device) -> Device:
    """Return a device; what is unset is None."""

    def told(of: Any, field: str) -> Any:
        return getattr(of, field) if of.HasField(field) else None

    return Device(
        id=last(message.name),
        name=message.display_name,
        time=time_of(message.read_time),
        memory_total=told(message, "memory_total_bytes"),
        memory_used=told(message, "memory_used_bytes"),
        memory_free=told(message, "memory_free_bytes"),
        utilization=told(message, "utilization_percent"),
        temperature=told(message, "temperature_celsius"),
        power=told(message, "power_watts"),
        processes=tuple(
            DeviceProcess(process.pid, told(process, "memory_bytes"), process.worker)
            for process in message.processes
        ),
        lanes=message.lanes,
        lanes_busy=message.lanes_busy,
        message=message.message,
    )


def token_info(message: token_pb2.Token, secret: str = "") -> TokenInfo:
    """Return a token's description."""
    return TokenInfo(
        id=last(message.name),
        principal=message.principal,
        role=Role.ADMIN if message.role == token_pb2.ROLE_ADMIN else Role.USER,
        label=message.label,
        created=time_of(message.create_time),
        last_used=time_or_none(message, "last_use_time"),
        expires=time_or_none(message, "expire_time"),
        revoked=message.revoked,
        secret=secret,
    )


def role_number(role: "Role | str") -> "token_pb2.Role.ValueType":
    """Return a role for the wire, and raise InvalidArgumentError where there is no such one."""
    try:
        return token_pb2.Role.Value(f"ROLE_{Role(role).name}")
    except ValueError:
        raise InvalidArgumentError(f"There is no role {role!r}: user or admin.", reason="BAD_ROLE") from None


def duration(seconds: float, what: str) -> Duration:
    """Return a duration, and raise InvalidArgumentError where `seconds` is none."""
    if not 0 <= seconds < 1e9:
        raise InvalidArgumentError(f"{what}: {seconds} is no number of seconds.", reason="BAD_DURATION")
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def retry_delay(error: grpc.RpcError) -> float | None:
    """Return the seconds after which a failed call may be made again: no server answered, or it asked for that.

    0 leaves it to the caller when; None: trying again is of no use. A server that says by itself that it is of no
    use now gives a reason, and has waited already.
    """
    unavailable = error.code() == grpc.StatusCode.UNAVAILABLE and not _tls_fault(error.details() or "")
    if not unavailable and error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
        return None
    details = _status_of(error).details
    for detail in details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToNanoseconds() / 1e9)
    says_why = any(detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for detail in details)
    return None if says_why or not unavailable else 0.0


def error_from_rpc(error: grpc.RpcError, address: str) -> ScorestreamError:
    """Return a failed call as the exception that a user of the client sees.

    Args:
        error: what gRPC raised, by the blocking or the asyncio client.
        address: the server's address, for the sentence about a server that does not answer.
    """
    code, message = error.code().name, error.details() or ""
    reason, metadata, faults = _details(error)
    if code == "UNAVAILABLE" and not reason:
        reason, message = _no_answer(address, message)
    if message == "Deadline Exceeded":
        reason, message = "TIMED_OUT", "What was waited for did not happen in the time that was given."
    kind = ERROR_OF_CODE.get(code, UnknownError)
    return kind(message or code, code=code, reason=reason, faults=faults, metadata=metadata)


def _no_answer(address: str, message: str) -> tuple[str, str]:
    """Return reason and sentence for a call that no server answered, from what gRPC says of it."""
    if fault := _tls_fault(message):
        return "TLS_FAILED", (
            f"There is no TLS connection to {address} ({fault}). Is tls_ca (SCORESTREAM_TLS_CA) the CA of the server's "
            "certificate, is that certificate for this host name, and does the server use TLS at all?"
        )
    told = (
        f"No scorestream server answers at {address} ({_plainly(message)}). Is the address right? "
        "A server is started with: scorestream serve"
    )
    if CUT_OFF.search(message):
        told += (
            ". A server that uses TLS cuts off whoever does not: give tls_ca (SCORESTREAM_TLS_CA), and where it asks "
            "for certificates tls_cert and tls_key too."
        )
    return "NO_ANSWER", told


def _tls_fault(message: str) -> str:
    """Return what was wrong with the other side's TLS, nothing where it was not that."""
    found = TLS_FAULT.search(message)
    return found[0].replace("_", " ").strip().lower() if found else ""


def _plainly(message: str) -> str:
    """Return what the system said in a message of gRPC's, where it can be found; the rest is about its insides."""
    found = re.search(r"connection refused|[^:\[\]]*not found|[^:\[\]]*timed? ?out", message, re.IGNORECASE)
    return (found[0] if found else message).strip().lower()


def _status_of(error: grpc.RpcError) -> status_pb2.Status:
    """Return a call's google.rpc.Status, an empty one where it has none."""
    try:
        return rpc_status.from_call(error) or status_pb2.Status()
    except ValueError:
        # It contradicts the call's own code: not from our server, so nothing in it is to be trusted.
        return status_pb2.Status()


def _details(error: grpc.RpcError) -> tuple[str, Mapping[str, str], list[Fault]]:
    """Return reason, metadata and faults from a call's google.rpc.Status, empty where it has none."""
    reason, faults = "", []
    metadata: dict[str, str] = {}
    for detail in _status_of(error).details:
        info = error_details_pb2.ErrorInfo()
        request = error_details_pb2.BadRequest()
        precondition = error_details_pb2.PreconditionFailure()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            faults += [Fault(v.field, v.description) for v in request.field_violations]
        elif detail.Unpack(precondition):
            faults += [Fault(v.subject, v.description) for v in precondition.violations]
    return reason, metadata, faults
