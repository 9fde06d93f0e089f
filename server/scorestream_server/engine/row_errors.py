"""What rows that cannot be scored mean for a job: pure decisions."""

from dataclasses import replace

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.job import Job
from scorestream_server.engine.active import ActiveJob
from scorestream_server.engine.log_lines import row_errors as told


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
