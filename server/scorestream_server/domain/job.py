"""Jobs: one scoring action over one table with one model."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from scorestream_server.domain.context import DEFAULT_CONTEXT
from scorestream_server.domain.output import AS_USUAL, OutputOptions
from scorestream_server.domain.queue import DEFAULT_QUEUE
from scorestream_server.domain.row_error import OnRowError
from scorestream_server.domain.table import Destination
from scorestream_server.domain.variable import Variable


class State(enum.StrEnum):
    """The life of a job (DESIGN: states of a job). A final state never changes."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    SUCCEEDED_WITH_WARNINGS = "SUCCEEDED_WITH_WARNINGS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in FINAL_STATES

    @property
    def compute_name(self) -> str:
        """The state in the Compute API's words."""
        return _COMPUTE_NAMES[self]

    @property
    def modelop_name(self) -> str:
        """The state in ModelOp's words."""
        return _MODELOP_NAMES[self]

    @property
    def condition_code(self) -> int | None:
        """0 for success, 4 with warnings, 8 with errors, as users of SAS expect; None while nothing is decided."""
        if not self.final:
            return None
        return {State.SUCCEEDED: 0, State.SUCCEEDED_WITH_WARNINGS: 4}.get(self, 8)


FINAL_STATES = frozenset(
    {State.SUCCEEDED, State.SUCCEEDED_WITH_WARNINGS, State.FAILED, State.CANCELLED, State.TIMED_OUT}
)

_COMPUTE_NAMES = {
    State.PENDING: "pending",
    State.RUNNING: "running",
    State.CANCELLING: "running",
    State.SUCCEEDED: "completed",
    State.SUCCEEDED_WITH_WARNINGS: "warning",
    State.FAILED: "error",
    State.CANCELLED: "canceled",
    State.TIMED_OUT: "timedOut",
}

_MODELOP_NAMES = {
    State.PENDING: "WAITING",
    State.RUNNING: "RUNNING",
    State.CANCELLING: "RUNNING",
    State.SUCCEEDED: "COMPLETE",
    State.SUCCEEDED_WITH_WARNINGS: "COMPLETE",
    State.FAILED: "ERROR",
    State.CANCELLED: "CANCELLED",
    State.TIMED_OUT: "ERROR",
}
"""CREATED is what comes before: a process that has no job yet. A job that is recorded waits already."""

NEXT_STATES: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.CANCELLING}) | FINAL_STATES,
    State.RUNNING: frozenset({State.CANCELLING}) | FINAL_STATES,
    State.CANCELLING: FINAL_STATES,
    **dict.fromkeys(FINAL_STATES, frozenset()),
}
"""Which states may follow which. A cancel that comes too late finds its job finished: hence
CANCELLING to every final state."""


class Priority(enum.IntEnum):
    """How urgent a job is."""

    LOW = 1
    NORMAL = 2
    HIGH = 3


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job was asked to do, resolved when it was accepted.

    Attributes:
        model_id: the model's own name.
        model_version: the version that it resolved to.
        table_id: name of the table: the session's or else the global one; ``tables/NAME`` is the global one.
        table_uid: the very table that had that name then; a later table of that name is another one.
        where: SQL predicate, empty for all rows.
        keep: input columns carried into the result.
        out_table: table made of the result, empty for none.
        destination: where on the server the output goes, None for nowhere.
        replace: whether an output that exists is replaced.
        partition_rows: rows aimed at for a partition, so that a restarted server cuts the same ones.
        timeout: seconds that it may run from its first partition on; 0 for ever.
        queue_timeout: seconds that it may wait for its first partition to be sent to a worker; 0 for ever.
        resumes: the job whose committed partitions it took over; empty for none.
        context: its session's, which allows it `task_timeout` seconds to run; 0 for ever.
        queue: where it waits.
        status_notification: whether the log says how far it is.
        reset_log_line_numbers: whether its first line in the session's log got the number 0.
        variables: values of those that `where` and the score code use, as they were when the job was created.
        output: how files are written.
        append: whether the rows join the table or data set that is there.
        batch: under which the data set lists them: this job, or the first one that it goes on for.
        row_number: column of the result with each row's number in the table; empty for none.
        out_label: label of the table that is made of the result; `out_lifetime` likewise, in seconds.
        out_promote: whether that table is a global one.
        parallel_count: at most so many partitions run at the same time; 0 for any number.
        is_batch: whether it is a batch of the service that its model is.
        on_row_error: what becomes of rows that cannot be scored; KEEP exactly where the result has `ROW_ERROR`.
        explain: how many reasons each row is given; 0: none.
    """

    model_id: str
    model_version: int
    table_id: str
    table_uid: str
    where: str
    keep: Sequence[str]
    out_table: str
    destination: Destination | None
    replace: bool
    priority: Priority
    partition_rows: int
    timeout: float = 0.0
    queue_timeout: float = 0.0
    resumes: str = ""
    context: str = DEFAULT_CONTEXT
    queue: str = DEFAULT_QUEUE
    task_timeout: float = 0.0
    status_notification: bool = False
    reset_log_line_numbers: bool = False
    variables: Sequence[Variable] = ()
    output: OutputOptions = AS_USUAL
    append: bool = False
    batch: str = ""
    row_number: str = ""
    out_label: str = ""
    out_lifetime: float = 0.0
    out_promote: bool = False
    parallel_count: int = 0
    is_batch: bool = False
    on_row_error: OnRowError = OnRowError.FAIL
    explain: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed: gRPC code by name, stable reason, a sentence for a person."""

    code: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the store holds it; times are seconds since 1970, UTC.

    Attributes:
        rows_done: input rows committed.
        rows_total: input rows in all, before ``where``.
        rows_scored: result rows committed.
        first_event: number of its first event; all others have higher ones.
        result_schema: Arrow schema of the result, IPC-serialised.
        outputs: what was published: a table's name or files' paths.
        device: devices that worked on it, for example ``cpu``.
        stored_bytes: of its committed partitions.
        device_seconds: how long lanes were busy with it, over all lanes.
        cpu_seconds: processor time of the lanes' threads.
        bytes_in: of the input columns of the rows that were scored, as Arrow holds them.
        peak_memory: the most bytes that a worker had resident at the end of one of its partitions.
        row_errors: result rows committed that could not be scored.
        deployment: id of the deployment that it was made for; empty for none.
        process: id of the process that had it made; empty for none.
    """

    id: str
    name: str
    session_id: str
    owner: str
    spec: JobSpec
    state: State
    rows_done: int
    rows_total: int
    rows_scored: int
    partitions_done: int
    partitions_total: int
    first_event: int
    create_time: float
    start_time: float | None
    end_time: float | None
    failure: Failure | None
    result_schema: bytes
    outputs: Sequence[str]
    warnings: Sequence[str]
    device: str
    stored_bytes: int = 0
    device_seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_in: int = 0
    peak_memory: int = 0
    row_errors: int = 0
    deployment: str = ""
    process: str = ""
