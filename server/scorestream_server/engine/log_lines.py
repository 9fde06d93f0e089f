"""What the log says of sessions and jobs: pure functions from what happened to lines."""

from scorestream_server.domain.errors import counted
from scorestream_server.domain.job import Job
from scorestream_server.domain.log import LineType, LogBlock, LogLine, lines_of
from scorestream_server.domain.row_error import ROW_ERROR
from scorestream_server.domain.table import Table

MOST_PROGRESS_LINES = 1000
SHORT_ROWS = 10_000
"""Jobs of one partition with at most so many rows are over in no time: that they began is said with their end, because
each statement counts where there are hundreds a second."""
LONGEST_SOURCE = 100
"""Lines that a text of the client's may fill."""


def session_created(session_id: str, name: str, owner: str, now: float) -> LogBlock:
    """Return the first lines of a session's log."""
    return _block(session_id, "", lines_of(LineType.TITLE, now, f"Session {name} ({session_id}) of {owner}"))


def session_ended(name: str, why: str, now: float) -> list[LogLine]:
    """Return the last lines of a session's log."""
    return lines_of(LineType.NOTE, now, f"Session {name} ended: {why}." if why else f"Session {name} ended.")


def table_loaded(table: Table, now: float, asked_copies: int | None = None) -> LogBlock:
    """Return what is said of a new table that was to have so many copies; None: as many as the server says."""
    data = table.data
    origin = f" from {_some(table.source_paths)}" if table.source_paths else ", sent by the client"
    store = "read in place" if data.in_place and table.source_paths else "kept by the server"
    text = f"Table {table.table_id}: {counted(data.rows, 'row')}{origin}, {data.format.value}, {store}."
    lines = lines_of(LineType.NOTE, now, text)
    copies = len(data.cached[0].copies) if data.cached else 0
    if asked_copies is not None and asked_copies > copies:
        reason = (
            "each needs another cache directory" if data.cached else "a table that is read in place has none"
        )
        text = f"Copies asked for: {asked_copies:,}; made: {copies:,}, for {reason}."
        lines += lines_of(LineType.NOTE, now, text)
    for note in data.notes:
        lines += lines_of(LineType.WARNING, now, note)
    if table.loaded.note:
        lines += lines_of(LineType.NOTE, now, table.loaded.note)
    return _block(table.session_id, "", lines)


def table_dropped(table: Table, why: str, now: float) -> LogBlock:
    """Return what is said of a table that is dropped by the server itself."""
    text = f"Table {table.table_id} was dropped: {why}."
    return _block(table.session_id, "", lines_of(LineType.NOTE, now, text))


def created(job: Job) -> LogBlock:
    """Return the first lines of a job: what was asked for, as it was understood."""
    spec, now = job.spec, job.create_time
    lines = lines_of(LineType.TITLE, now, f"Job {job.name} ({job.id})")
    asked = [f"score model {spec.model_id}@{spec.model_version} on table {spec.table_id}"]
    if spec.where:
        asked.append(f"where {spec.where}")
    if spec.keep:
        asked.append(f"keep {', '.join(spec.keep)}")
    out = spec.out_table or (spec.destination.path if spec.destination else "")
    if out:
        asked.append(f"out {out}{', replacing what is there' if spec.replace else ''}")
    for text in asked:
        lines += lines_of(LineType.SOURCE, now, text)[:LONGEST_SOURCE]
    cut = f"{counted(job.rows_total, 'row')} in {counted(job.partitions_total, 'partition')}"
    lines += lines_of(LineType.NOTE, now, f"Accepted with priority {spec.priority.name.lower()}: {cut}.")
    if spec.resumes:
        text = f"It goes on where job {spec.resumes} ended: {counted(job.rows_done, 'row')} are taken over."
        lines += lines_of(LineType.NOTE, now, text)
    for warning in job.warnings:
        lines += lines_of(LineType.WARNING, now, warning)
    return _block(job.session_id, job.id, lines)


def started(job: Job) -> LogBlock | None:
    """Return what is said when a job begins to run; None where its end, which is near, says it too."""
    return None if _is_short(job) else _block(job.session_id, job.id, _started(job))


def progressed(job: Job, rows_before: int, now: float) -> LogBlock | None:
    """Return how far a job is, where that was asked for and is worth a line after `rows_before` rows."""
    if not job.spec.status_notification or not job.rows_total:
        return None
    steps = [rows * MOST_PROGRESS_LINES // job.rows_total for rows in (rows_before, job.rows_done)]
    if steps[0] == steps[1]:
        return None
    rate = job.rows_done / max(now - (job.start_time or job.create_time), 1e-3)
    text = (
        f"{job.rows_done:,} of {job.rows_total:,} rows done ({100 * job.rows_done / job.rows_total:.1f} %), "
        f"{rate:,.0f} rows/s since its start."
    )
    return _block(job.session_id, job.id, lines_of(LineType.NORMAL, now, text))


def warned(job: Job, text: str, now: float) -> LogBlock:
    """Return what is said of something that did not stop a job."""
    return _block(job.session_id, job.id, lines_of(LineType.WARNING, now, text))


def noted(job: Job, text: str, now: float) -> LogBlock:
    """Return what is said of something that happened to a job."""
    return _block(job.session_id, job.id, lines_of(LineType.NOTE, now, text))


def ended(job: Job, missing: int) -> LogBlock:
    """Return the last lines of a job.

    Args:
        job: as it is in the end.
        missing: scores in its result that are NULL or NaN.
    """
    now = job.end_time or job.create_time
    lines = _started(job) if _is_short(job) and job.start_time else []
    if job.failure is not None:
        reason = f" ({job.failure.reason})" if job.failure.reason else ""
        lines += lines_of(LineType.ERROR, now, f"{job.failure.message}{reason}")
    if job.row_errors:
        lines += lines_of(LineType.WARNING, now, row_errors(job))
    if missing:
        text = f"Missing in the result (NULL or NaN): {counted(missing, 'score')}."
        lines += lines_of(LineType.NOTE, now, text)
    for output in job.outputs:
        lines += lines_of(LineType.NOTE, now, f"Output: {output}")
    lines += lines_of(LineType.NOTE, now, f"{job.state.value}: {_figures(job)}")
    return LogBlock(job.session_id, job.id, lines, ends=True)


def row_errors(job: Job) -> str:
    """Return what is said of the rows of a job that could not be scored; nothing where there are none."""
    if not job.row_errors:
        return ""
    return f"{counted(job.row_errors, 'row')} could not be scored; the column {ROW_ERROR} says why of each."


def _is_short(job: Job) -> bool:
    return job.partitions_total <= 1 and job.rows_total <= SHORT_ROWS and not job.spec.status_notification


def _started(job: Job) -> list[LogLine]:
    begun = job.start_time or job.create_time
    text = f"Started after {begun - job.create_time:.3f} s of waiting."
    return lines_of(LineType.NOTE, begun, text)


def _figures(job: Job) -> str:
    rows = f"{job.rows_done:,} of {job.rows_total:,} rows read, {job.rows_scored:,} scored"
    if job.start_time is None or job.end_time is None:
        return f"{rows}; it never started."
    seconds = max(job.end_time - job.start_time, 0.0)
    rate = f" ({job.rows_done / seconds:,.0f} rows/s)" if seconds and job.rows_done else ""
    device = f" on {job.device}" if job.device else ""
    return f"{rows} in {seconds:.3f} s{rate}{device}."


def _some(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more}"


def _block(session_id: str, job_id: str, lines: list[LogLine]) -> LogBlock:
    return LogBlock(session_id, job_id, lines)
