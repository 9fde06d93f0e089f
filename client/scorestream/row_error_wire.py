"""Rows that cannot be scored, on the wire."""

from typing import Any

from scorestream.errors import InvalidArgumentError
from scorestream.row_errors import OnRowError
from scorestream.v1 import job_pb2


def on_row_error_number(asked: OnRowError | str | None) -> "job_pb2.OnRowError.ValueType":
    """Return what is asked for, as it goes over the wire; None: the server decides.

    Raises:
        InvalidArgumentError: it is neither ``keep`` nor ``fail``.
    """
    if asked is None:
        return job_pb2.ON_ROW_ERROR_UNSPECIFIED
    if str(asked).upper() not in OnRowError.__members__:
        raise InvalidArgumentError(
            f"{asked!r} is no way to treat rows that cannot be scored; write keep or fail.",
            reason="BAD_ON_ROW_ERROR",
        )
    return job_pb2.OnRowError.Value(f"ON_ROW_ERROR_{asked.upper()}")


def row_error_fields(job: job_pb2.Job) -> dict[str, Any]:
    """Return what `JobInfo` tells of rows that cannot be scored."""
    kept = job.spec.on_row_error == job_pb2.ON_ROW_ERROR_KEEP
    return {
        "on_row_error": OnRowError.KEEP if kept else OnRowError.FAIL,
        "row_errors": job.row_errors,
    }
