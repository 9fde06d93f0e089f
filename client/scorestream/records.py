"""What the server tells, as plain frozen values: states, events, status rows, descriptions of things."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from scorestream.outputs import AS_USUAL, OutputOptions
from scorestream.row_errors import OnRowError
from scorestream.statistics import JobStatistics


class State(enum.StrEnum):
    """Where a job is in its life. A final state never changes."""

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
        """Whether the job is over."""
        return self not in {State.PENDING, State.RUNNING, State.CANCELLING}

    @property
    def succeeded(self) -> bool:
        """Whether the job is over and its result is complete."""
        return self in {State.SUCCEEDED, State.SUCCEEDED_WITH_WARNINGS}


class SessionState(enum.StrEnum):
    """Where a session is in its life."""

    ACTIVE = "ACTIVE"
    ENDING = "ENDING"
    ENDED = "ENDED"


class Priority(enum.StrEnum):
    """How urgent a job is."""

    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"


class EventType(enum.StrEnum):
    """What an event reports."""

    SESSION_CREATED = "SESSION_CREATED"
    SESSION_ENDED = "SESSION_ENDED"
    JOB_CREATED = "JOB_CREATED"
    JOB_STATE_CHANGED = "JOB_STATE_CHANGED"
    PARTITION_COMMITTED = "PARTITION_COMMITTED"
    PARTITION_RETRIED = "PARTITION_RETRIED"
    WARNING = "WARNING"


def percent(done: int, total: int, state: State | None) -> float:
    """Return how much of a job is done, 0 to 100; a job over an empty table is done when it has succeeded."""
    if total > 0:
        return 100.0 * done / total
    return 100.0 if state is not None and state.succeeded else 0.0


@dataclass(frozen=True, slots=True)
class Event:
    """A numbered fact about a session or a job.

    Attributes:
        number: its place in the server's feed; give it to ``watch(after=…)`` to go on behind it.
        time: when the server recorded it.
        type: what happened.
        session: the session's name.
        session_id: the session's id.
        job: the job's name, empty for an event of the session itself.
        job_id: the job's id, empty for an event of the session itself.
        state: the job's state right after it; None for an event of the session itself.
        rows_done: input rows that are read, scored and committed.
        rows_total: input rows in all, before `where`.
        rows_scored: result rows committed.
        device: what did the work, for example ``cpu`` or ``cuda:0``; empty where nothing did.
        lane: which lane of that device; None where nothing did.
        message: one sentence, or empty.
    """

    number: int
    time: datetime
    type: EventType
    session: str
    session_id: str
    job: str = ""
    job_id: str = ""
    state: State | None = None
    rows_done: int = 0
    rows_total: int = 0
    rows_scored: int = 0
    device: str = ""
    lane: int | None = None
    message: str = ""

    @property
    def percent(self) -> float:
        """How much of the job is done, 0 to 100."""
        return percent(self.rows_done, self.rows_total, self.state)


@dataclass(frozen=True, slots=True)
class StatusRow:
    """The status of one job, as a person reads it; a session without jobs has one row without a job.

    Attributes:
        session: the session's name.
        session_id: the session's id.
        job: the job's name, empty where the session has none; `job_id` likewise.
        action: what the job does, for example ``score``.
        state: the job's state; None where there is no job.
        rows_done: input rows done, of `rows_total`; `rows_scored` are the result rows among them.
        rows_per_second: input rows a second since the job began to run.
        elapsed: seconds since the job was created, until now or until it was final.
        remaining: estimated seconds until it is done; None while unknown.
        device: the devices that work or worked on it.
        lane: lanes of its partitions in flight, for example ``0,1``.
        message: what it waits for, or why it failed.
    """

    session: str
    session_id: str
    job: str = ""
    job_id: str = ""
    action: str = ""
    state: State | None = None
    rows_done: int = 0
    rows_total: int = 0
    rows_scored: int = 0
    rows_per_second: float = 0.0
    elapsed: float = 0.0
    remaining: float | None = None
    device: str = ""
    lane: str = ""
    message: str = ""

    @property
    def percent(self) -> float:
        """How much of the job is done, 0 to 100."""
        return percent(self.rows_done, self.rows_total, self.state)


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as it was when the server was asked; see the properties of `Session`.

    Attributes:
        inactive_timeout: seconds without activity after which it ends; 0 for never.
        labels: words of the client's own.
        end_reason: why it ended, or is ending; empty while it is open.
        context: the name of the context that it was made from.
        queue: where its jobs wait.
    """

    id: str
    name: str
    state: SessionState
    owner: str
    created: datetime
    last_active: datetime
    ended: datetime | None
    running_jobs: int
    weight: int
    inactive_timeout: float
    labels: Mapping[str, str] = field(default_factory=dict)
    end_reason: str = ""
    context: str = "default"
    queue: str = "default"


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job failed: a gRPC code by name, a stable reason for programs, a sentence for a person."""

    code: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as it was when the server was asked; see the properties of `Job`.

    Attributes:
        model: what it scores with, ``name@version``.
        table: the name of the table that it reads; ``tables/NAME``, where the global one was named as such.
        out_table: the name of the table that it makes, or empty; `out_path` likewise for files.
        result_schema: the result's columns as an Arrow IPC schema message.
        outputs: what was published: the name of a table, or the paths of files.
        resumes: the id of the job whose committed partitions it took over, or empty.
        condition_code: 0 success, 4 with warnings, 8 with an error, cancelled or timed out; None while not final.
        compute_state: the state in the Compute API's words, for example ``completed``; `modelop_state` in ModelOp's.
        process_id: the process that it was made for, or empty.
        queue: where it waits.
        task_timeout: seconds that its session's context lets it run; 0 for ever.
        variables: the values that it keeps of those that its filter and score code use, by name.
        row_number: the column with the rows' numbers; `append`, `output` and `explain` as in `Session.score`.
        parallel_count: at most so many of its partitions run at the same time; 0: as many as there are lanes for.
        is_batch: whether it is a batch of a service.
        on_row_error: what becomes of rows that cannot be scored; with ``KEEP`` the result has the column `row_error`.
        row_errors: result rows that could not be scored, of those committed.
        deployment: the id of the deployment that it was made for, or empty.
    """

    id: str
    name: str
    session_id: str
    owner: str
    model: str
    table: str
    where: str
    keep: tuple[str, ...]
    out_table: str
    out_path: str
    replace: bool
    priority: Priority
    state: State
    rows_done: int
    rows_total: int
    rows_scored: int
    partitions_done: int
    partitions_total: int
    first_event: int
    resumes: str
    created: datetime
    started: datetime | None
    ended: datetime | None
    failure: JobFailure | None
    result_schema: bytes
    outputs: tuple[str, ...]
    warnings: tuple[str, ...]
    condition_code: int | None
    compute_state: str
    statistics: JobStatistics
    queue: str = "default"
    task_timeout: float = 0.0
    variables: Mapping[str, Any] = field(default_factory=dict)
    output: OutputOptions = AS_USUAL
    append: bool = False
    row_number: str = ""
    parallel_count: int = 0
    is_batch: bool = False
    on_row_error: OnRowError = OnRowError.FAIL
    row_errors: int = 0
    deployment: str = ""
    process_id: str = ""
    modelop_state: str = ""
    explain: int = 0

    @property
    def percent(self) -> float:
        """How much of the job is done, 0 to 100."""
        return percent(self.rows_done, self.rows_total, self.state)


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table's description.

    Attributes:
        arrow_schema: its columns as an Arrow IPC schema message.
        backing_store: ``IN_PLACE`` where the files that it was loaded from are mapped, else ``DISK_CACHE``.
        format: ``arrow``, ``parquet`` or ``csv``.
        source_paths: what it was loaded from, on the server; empty for an upload or a result.
        copies: how many copies its blocks have in other cache directories.
        evicted: its rows went from the cache to make room; they come back when it is used.
        session_id: the session that it belongs to; empty for a global one.
        owner: who made it.
        label: for people.
        lifetime: seconds after its last access after which it is dropped; 0: it stays.
        last_access: when it was last read, to within a minute.
        etag: changes with the table and with each update of it.
        notes: what a person should know about its load.
    """

    name: str
    session_id: str
    arrow_schema: bytes
    rows: int
    size_bytes: int
    backing_store: str
    format: str
    source_paths: tuple[str, ...]
    created: datetime
    copies: int = 0
    evicted: bool = False
    owner: str = ""
    label: str = ""
    lifetime: float = 0.0
    last_access: datetime | None = None
    etag: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    """A process that computes on a device.

    Attributes:
        pid: its id on the server's machine.
        memory: bytes of the device's memory that it holds; None where the device does not say.
        worker: whether it is a worker of the server.
    """

    pid: int
    memory: int | None
    worker: bool


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU or the CPU of the server's machine, at one moment. What it does not report is None, never 0.

    Attributes:
        id: ``cpu``, or ``cuda:N`` with N as CUDA numbers the cards that the server may use.
        name: its product name.
        time: when it was asked.
        memory_total: bytes.
        memory_used: bytes in use, by whomever.
        memory_free: bytes that a program could have now.
        utilization: per cent of the time in which it was busy lately, 0 to 100.
        temperature: degrees Celsius.
        power: watts.
        processes: on a card all that compute there, on the CPU only the server's workers.
        lanes: lanes of the server's workers on it; 0 where none uses it.
        lanes_busy: lanes that have a partition.
        message: what is amiss with it, or empty; of the CPU: why there is no card beside it.
    """

    id: str
    name: str
    time: datetime
    memory_total: int | None = None
    memory_used: int | None = None
    memory_free: int | None = None
    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None
    processes: tuple[DeviceProcess, ...] = ()
    lanes: int = 0
    lanes_busy: int = 0
    message: str = ""


class Role(enum.StrEnum):
    """What a principal may do beyond what it owns."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What a principal calls with.

    Attributes:
        id: which token it is; a part of its secret.
        principal: name of whoever calls with it.
        label: what people note about it.
        last_used: when it was last used, to within a minute; None: never.
        expires: from when on it is good no more; None: never.
        secret: what to call with, only where the token was just made; empty otherwise.
    """

    id: str
    principal: str
    role: Role
    label: str
    created: datetime
    last_used: datetime | None
    expires: datetime | None
    revoked: bool
    secret: str = field(default="", repr=False)
