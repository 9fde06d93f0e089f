"""What clients ask for when they ask for a job."""

from dataclasses import dataclass

from scorestream_server.domain.job import Priority
from scorestream_server.domain.output import AS_USUAL, OutputOptions
from scorestream_server.domain.row_error import OnRowError
from scorestream_server.domain.variable import Variable


@dataclass(frozen=True, slots=True)
class Submission:
    """A request for a job, its names checked; 0 as `model_version` is the newest, as `partition_rows` our choice.

    None is what the session's options say. `variables` are those that the request itself gives.
    """

    job_id: str
    name: str
    session_id: str
    owner: str
    model_id: str
    model_version: int
    table_id: str
    where: str
    keep: tuple[str, ...]
    out_table: str
    out_path: str
    replace: bool
    priority: Priority | None
    partition_rows: int | None
    timeout: float | None
    queue_timeout: float | None
    request_id: str
    time: float
    status_notification: bool = False
    reset_log_line_numbers: bool = False
    variables: tuple[Variable, ...] = ()
    output: OutputOptions = AS_USUAL
    append: bool = False
    row_number: str = ""
    out_label: str = ""
    out_lifetime: float = 0.0
    out_promote: bool = False
    model_alias: str = ""
    parallel_count: int = 0
    is_batch: bool = False
    on_row_error: OnRowError | None = None
    deployment: str = ""
    process: str = ""
    explain: int = 0


@dataclass(frozen=True, slots=True)
class Resumption:
    """A request to go on with what an ended job did not come to."""

    old_id: str
    job_id: str
    owner: str
    request_id: str
    time: float
