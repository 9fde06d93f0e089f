"""All that is told of a job to people: what its listing and its report are written from."""

from dataclasses import dataclass

from scorestream_server.domain.job import Job
from scorestream_server.domain.log import LogLine
from scorestream_server.domain.model import Model
from scorestream_server.domain.summary import JobSummary


@dataclass(frozen=True, slots=True)
class Paper:
    """A job, and what is known about it.

    Attributes:
        model: None where it was removed.
        summary: None while the job is not final.
        progress: when how many input rows were done: seconds since 1970, rows.
        warnings: warnings and errors of its log.
    """

    job: Job
    session_name: str
    model: Model | None
    summary: JobSummary | None
    progress: tuple[tuple[float, int], ...] = ()
    warnings: tuple[LogLine, ...] = ()
