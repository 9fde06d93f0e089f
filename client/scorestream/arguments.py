"""What callers give, told apart."""

from pathlib import Path
from typing import Any

from scorestream.errors import InvalidArgumentError
from scorestream.records import Priority
from scorestream.v1 import job_pb2


def paths_of(source: Any) -> list[str] | None:
    """Return the paths that `source` consists of, or None if it is no path."""
    if isinstance(source, str | Path):
        return [str(source)]
    if isinstance(source, list | tuple) and source and all(isinstance(path, str | Path) for path in source):
        return [str(path) for path in source]
    return None


def priority_number(priority: Priority | str) -> job_pb2.Priority.ValueType:
    """Return a priority class on the wire.

    Raises:
        InvalidArgumentError: it is none.
    """
    try:
        return job_pb2.Priority.Value(f"PRIORITY_{Priority(priority.upper())}")
    except ValueError:
        raise InvalidArgumentError(
            f"{priority!r} is no priority; use low, normal or high.", reason="BAD_PRIORITY"
        ) from None


def explain_count(explain: int) -> int:
    """Return how many reasons each row is given.

    Raises:
        InvalidArgumentError: it is no such number.
    """
    if isinstance(explain, bool) or not isinstance(explain, int) or not 0 <= explain < 1 << 31:
        raise InvalidArgumentError(
            f"explain={explain!r} is not how many reasons each row is given; use 0 for none, or a number from 1.",
            reason="INVALID_EXPLAIN",
        )
    return explain
