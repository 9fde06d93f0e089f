"""What rows that cannot be scored mean for a job: pure decisions."""

from dataclasses import replace

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.job import Job
from scorestream_server.engine.active import ActiveJob
from scorestream_server.engine.log_lines import row_errors as told

MOST_BYTES = 16 << 30
"""Of the result of a job with artifacts."""


def with_warning(job: Job) -> Job:
    """Return a job whose rows are all committed with its warning, where rows could not be scored."""
    note = told(job)
    return replace(job, warnings=(*job.warnings, note)) if note else job


def found(active: ActiveJob, index: int, error: ScorestreamError) -> None:
    """Note that a partition of a job that is to fail has a row that cannot be scored.

    Partitions behind it are handed out no more; those before it go on, so that the job fails with the same row
    however it is cut and whoever is quicker.
    """
    if active.row_failure is None or index < active.row_failure[0]:
        active.row_failure = (index, error)


def settled(active: ActiveJob) -> ScorestreamError | None:
    """Return why a job fails of a row, once every partition before that row's is committed."""
    if active.row_failure is None:
        return None
    index, error = active.row_failure
    before = [*active.in_flight, *active.pending[:1]]  # a heap: the lowest one is the first
    return error if all(other > index for other in before) else None


def artifacts_too_large(active: ActiveJob) -> ScorestreamError | None:
    """Return why a job whose artifacts have become too many fails; None where they have not."""
    stored = active.job.stored_bytes
    if not active.opening.artifacts or stored <= MOST_BYTES:
        return None
    return ScorestreamError(
        ErrorCode.RESOURCE_EXHAUSTED,
        "ARTIFACTS_TOO_LARGE",
        f"The result has {stored:,} bytes with its artifacts, and a job with artifacts may have {MOST_BYTES:,}. Score "
        "fewer rows at a time with where, or make artifacts of fewer rows: NULL makes none.",
        metadata={"limit_bytes": str(MOST_BYTES)},
    )
