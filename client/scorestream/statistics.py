"""What jobs and sessions took, as plain frozen values."""

import enum
from dataclasses import dataclass

from scorestream.v1 import job_pb2, session_pb2


class Severity(enum.StrEnum):
    """How a job ended, or how it goes so far."""

    NORMAL = "NORMAL"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """What a job took; work is counted when it is committed.

    Attributes:
        severity: how it ended, or goes so far.
        reason: a stable name of what went wrong, for example ``OUT_OF_MEMORY``; empty where nothing did.
        status_code: ``OK``, or the gRPC status code by name; empty while the job is not final.
        elapsed: seconds from its creation until it was final, or until the server was asked.
        queue_time: seconds that it waited before its first partition was sent to a worker.
        device_time: seconds that lanes were busy with it, over all lanes.
        cpu_time: seconds of processor time that the threads of its lanes took.
        bytes_in: bytes of the input columns of the rows that were scored, as Arrow holds them.
        bytes_out: bytes of its result files.
        peak_memory: the most bytes that a worker had resident at the end of one of its partitions.
    """

    severity: Severity
    reason: str
    status_code: str
    elapsed: float
    queue_time: float
    device_time: float
    cpu_time: float
    bytes_in: int
    bytes_out: int
    peak_memory: int


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """What the jobs of a session took together; see `JobStatistics`.

    Attributes:
        jobs: how many were created in it, and `jobs_ended_badly` of these with an error, a cancel or a time-out.
        rows_done: input rows done; `rows_scored` are the result rows.
    """

    jobs: int
    jobs_ended_badly: int
    rows_done: int
    rows_scored: int
    device_time: float
    cpu_time: float
    bytes_in: int
    bytes_out: int
    peak_memory: int


def job_statistics(message: job_pb2.JobStatistics) -> JobStatistics:
    """Return a job's statistics from the wire; a severity that this client does not know is an error."""
    known = message.severity in job_pb2.Severity.values()
    name = job_pb2.Severity.Name(message.severity).removeprefix("SEVERITY_") if known else ""
    return JobStatistics(
        Severity(name) if name in set(Severity) else Severity.ERROR,
        message.reason,
        message.status_code,
        message.elapsed_seconds,
        message.queue_seconds,
        message.device_seconds,
        message.cpu_seconds,
        message.bytes_in,
        message.bytes_out,
        message.peak_memory_bytes,
    )


def session_statistics(message: session_pb2.SessionStatistics) -> SessionStatistics:
    """Return a session's statistics from the wire."""
    return SessionStatistics(
        message.jobs,
        message.jobs_ended_badly,
        message.rows_done,
        message.rows_scored,
        message.device_seconds,
        message.cpu_seconds,
        message.bytes_in,
        message.bytes_out,
        message.peak_memory_bytes,
    )
