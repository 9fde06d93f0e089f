"""What the client raises: one exception class for each gRPC code, and three for how a job can end.

No gRPC error reaches a user of this library: `error_from_rpc` in `wire.py` turns each into one of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a request: which field, column or thing, and what is wrong with it."""

    field: str
    description: str

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


class ScorestreamError(Exception):
    """Anything that a server refused, that went wrong there, or that stands between it and the client.

    Attributes:
        code: the gRPC status code by name, for example ``NOT_FOUND``.
        reason: a stable name for programs, for example ``MODEL_NOT_FOUND``.
        message: one or two sentences for a person.
        faults: every fault that was found, not only the first one.
        metadata: details for programs, for example ``{"column": "age"}``.
    """

    default_code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        reason: str = "",
        faults: Sequence[Fault] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.reason = reason or self.code
        self.faults = tuple(faults)
        self.metadata = dict(metadata or {})

    def __str__(self) -> str:
        told = [
            fault
            for fault in self.faults
            if fault.description not in self.message or fault.field not in self.message
        ]
        return "\n".join([self.message, *(f"  - {fault}" for fault in told)])


class RequestCancelledError(ScorestreamError):
    """The request was cancelled before it was answered."""

    default_code = "CANCELLED"


class UnknownError(ScorestreamError):
    """The server failed without saying how."""

    default_code = "UNKNOWN"


class InvalidArgumentError(ScorestreamError, ValueError):
    """The request makes no sense, whatever the server's state; `faults` names each part that is wrong."""

    default_code = "INVALID_ARGUMENT"


class DeadlineExceededError(ScorestreamError, TimeoutError):
    """What was waited for did not happen in the time that was given."""

    default_code = "DEADLINE_EXCEEDED"


class NotFoundError(ScorestreamError, LookupError):
    """The session, job, model, table or file is not there."""

    default_code = "NOT_FOUND"


class AlreadyExistsError(ScorestreamError):
    """Something of that name is there already; `replace=True` would replace it."""

    default_code = "ALREADY_EXISTS"


class PermissionDeniedError(ScorestreamError):
    """The server does not allow this, for example a path outside its data roots."""

    default_code = "PERMISSION_DENIED"


class ResourceExhaustedError(ScorestreamError):
    """A limit is reached: a message's size, a quota, or room on the disk."""

    default_code = "RESOURCE_EXHAUSTED"


class FailedPreconditionError(ScorestreamError):
    """The request is right, and the state of things does not allow it now."""

    default_code = "FAILED_PRECONDITION"


class AbortedError(ScorestreamError):
    """Somebody else changed the same thing at the same time."""

    default_code = "ABORTED"


class OutOfRangeError(ScorestreamError, IndexError):
    """The position asked for lies past the end."""

    default_code = "OUT_OF_RANGE"


class UnimplementedError(ScorestreamError):
    """The server does not know this call; it may be older than the client."""

    default_code = "UNIMPLEMENTED"


class InternalError(ScorestreamError):
    """A fault of the server; its log says more."""

    default_code = "INTERNAL"


class UnavailableError(ScorestreamError, ConnectionError):
    """No server answered, though it was tried for a while."""

    default_code = "UNAVAILABLE"


class DataLossError(ScorestreamError):
    """What came over the wire is not what the server must have sent."""

    default_code = "DATA_LOSS"


class UnauthenticatedError(ScorestreamError):
    """The server does not know who is asking."""

    default_code = "UNAUTHENTICATED"


class JobFailedError(ScorestreamError):
    """The job ended without its full result; `code`, `reason` and the message say why.

    Attributes:
        job_id: the job. What it committed before stays readable with its `results()`.
    """

    default_code = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        job_id: str = "",
        code: str = "",
        reason: str = "",
        faults: Sequence[Fault] = (),
    ) -> None:
        super().__init__(message, code=code, reason=reason, faults=faults)
        self.job_id = job_id


class JobCancelledError(JobFailedError):
    """The job was cancelled."""

    default_code = "CANCELLED"


class JobTimedOutError(JobFailedError):
    """The job ran longer than it was allowed to."""

    default_code = "DEADLINE_EXCEEDED"


ERROR_OF_CODE: Mapping[str, type[ScorestreamError]] = {
    error.default_code: error
    for error in (
        RequestCancelledError,
        UnknownError,
        InvalidArgumentError,
        DeadlineExceededError,
        NotFoundError,
        AlreadyExistsError,
        PermissionDeniedError,
        ResourceExhaustedError,
        FailedPreconditionError,
        AbortedError,
        OutOfRangeError,
        UnimplementedError,
        InternalError,
        UnavailableError,
        DataLossError,
        UnauthenticatedError,
    )
}


def counted(count: int, noun: str) -> str:
    """Return so many of something in words that agree: ``1 row``, ``1,200 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
