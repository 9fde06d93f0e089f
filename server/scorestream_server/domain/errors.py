"""The one exception that carries a client's mistake, or the server's trouble, to the door.

Everything below ``api/`` raises `ScorestreamError`; ``api/errors.py`` alone turns it into a gRPC status.
It also crosses the pipe between a worker and the server, hence plain strings only.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class ErrorCode(enum.StrEnum):
    """The gRPC status codes that this server answers with, by name."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    ABORTED = "ABORTED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    UNAVAILABLE = "UNAVAILABLE"
    CANCELLED = "CANCELLED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"
    DATA_LOSS = "DATA_LOSS"


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One fault of one part of a request: which field or column, and what is wrong with it."""

    field: str
    description: str


@dataclass(eq=False)
class ScorestreamError(Exception):
    """A request or a job that cannot go on, with what a person can do about it.

    Attributes:
        code: the gRPC status code.
        reason: a stable name in UPPER_SNAKE_CASE for programs (``ErrorInfo.reason``).
        message: one or two sentences for a person: what was wrong, where, and what to do.
        faults: every fault found, not only the first one (``BadRequest.field_violations``).
        metadata: details for programs (``ErrorInfo.metadata``), for example ``{"column": "age"}``.
        retry_seconds: when to try again, where that may help (``RetryInfo``); 0: nothing is known of that.

    Not frozen: the interpreter and contextlib set ``__traceback__`` on it.
    """

    code: ErrorCode
    reason: str
    message: str
    faults: Sequence[FieldFault] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_seconds: float = 0.0

    def __str__(self) -> str:
        return self.message


class NoMemoryError(MemoryError):
    """There was no memory for something; `where` says for what, as the beginning of a sentence.

    A worker makes it a `ScorestreamError` that tells its limit.
    """

    def __init__(self, where: str, told: object) -> None:
        super().__init__(str(told))
        self.where = where


def invalid(
    reason: str, message: str, faults: Sequence[FieldFault] = (), **metadata: str
) -> ScorestreamError:
    """Return an INVALID_ARGUMENT error."""
    return ScorestreamError(ErrorCode.INVALID_ARGUMENT, reason, message, tuple(faults), metadata)


def not_found(reason: str, message: str, **metadata: str) -> ScorestreamError:
    """Return a NOT_FOUND error."""
    return ScorestreamError(ErrorCode.NOT_FOUND, reason, message, (), metadata)


def precondition(reason: str, message: str, **metadata: str) -> ScorestreamError:
    """Return a FAILED_PRECONDITION error."""
    return ScorestreamError(ErrorCode.FAILED_PRECONDITION, reason, message, (), metadata)


def counted(count: int, noun: str) -> str:
    """Return so many of something in words that agree: ``1 row``, ``1,200 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
