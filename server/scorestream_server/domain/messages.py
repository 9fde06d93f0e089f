"""What the server and a worker say to each other, over one socket, as MessagePack.

Never rows: workers and server share those as memory-mapped files. Never pickles: a worker reads hostile
files, so nothing that it says is executed.
"""

from collections.abc import Sequence

import msgspec

from scorestream_server.domain.job import Priority
from scorestream_server.domain.mlflow import Mlmodel
from scorestream_server.domain.model import Artifact, ModelKind, ModelSchema
from scorestream_server.domain.output import AS_USUAL, OutputOptions
from scorestream_server.domain.row_error import OnRowError
from scorestream_server.domain.rows import RowCursor, RowPart, RowQuery
from scorestream_server.domain.summary import JobSummary
from scorestream_server.domain.table import (
    Destination,
    InputFile,
    LoadOptions,
    Partition,
    PartitionFile,
    Published,
    SourceFile,
    TableData,
)
from scorestream_server.domain.variable import Variable


class ToWorker(msgspec.Struct, frozen=True, tag=True):
    """What the server sends."""


class OpenJob(ToWorker, frozen=True, tag=True):
    """Everything that the partitions of a job have in common; sent once before the first of them.

    Attributes:
        columns: table columns that feed the model, in the order of its features.
        keep: table columns carried into the result.
        result_schema: columns of the result, as an Arrow schema in IPC form.
        priority: for devices that can prefer one lane's work to another's.
        variables: what ``:name`` stands for in `where` and in score code.
        row_number: column of the result with each row's number in the table; empty for none.
        table_id: what clients call the table.
        on_row_error: what becomes of rows that cannot be scored.
        artifacts: outputs of the model that are files of their rows.
        explain: how many reasons each row is given; 0: none.
        reason_names: what the model's features are called in them.
    """

    job_id: str
    table: TableData
    model_path: str
    model_kind: ModelKind
    model_digest: str
    where: str
    columns: Sequence[str]
    keep: Sequence[str]
    result_schema: bytes
    priority: Priority
    variables: Sequence[Variable] = ()
    row_number: str = ""
    table_id: str = ""
    on_row_error: OnRowError = OnRowError.FAIL
    artifacts: Sequence[Artifact] = ()
    explain: int = 0
    reason_names: Sequence[str] = ()


class RunPartition(ToWorker, frozen=True, tag=True):
    """Score one partition of an open job and write its result under a temporary name."""

    task_id: int
    job_id: str
    partition: Partition
    path: str


class CloseJob(ToWorker, frozen=True, tag=True):
    """Forget a job; no partition of it will follow."""

    job_id: str


class InspectModel(ToWorker, frozen=True, tag=True):
    """Read a model file and say what it needs and gives."""

    task_id: int
    path: str


class ReadMlmodel(ToWorker, frozen=True, tag=True):
    """Say what the text of an MLmodel file says."""

    task_id: int
    text: str


class LoadTable(ToWorker, frozen=True, tag=True):
    """Describe files as a table, converting them into `cache_dir` where they cannot be mapped.

    Attributes:
        kept: folder for versions of users' files; empty: the files are the server's own, which nobody changes.
        room: how many bytes a converted table may take; None: any number.
    """

    task_id: int
    files: Sequence[InputFile]
    cache_dir: str
    options: LoadOptions = LoadOptions()
    kept: str = ""
    room: int | None = None


class CopyTable(ToWorker, frozen=True, tag=True):
    """Copy the cached files of a table into folders, which are made."""

    task_id: int
    table: TableData
    folders: Sequence[str]


class Publish(ToWorker, frozen=True, tag=True):
    """Write committed partitions to their destination, atomically; `journal` is the file for notes on that.

    Attributes:
        batch: the job under which a data set lists them.
        kept: folder for versions of files that are replaced.
        needed: what tables have of files that may be replaced; these are kept.
    """

    task_id: int
    files: Sequence[PartitionFile]
    schema: bytes
    destination: Destination
    journal: str
    replace: bool
    append: bool = False
    batch: str = ""
    options: OutputOptions = AS_USUAL
    kept: str = ""
    needed: Sequence[SourceFile] = ()


class SaveRows(ToWorker, frozen=True, tag=True):
    """Write the rows of a table to a destination, atomically, if that still is what it was.

    Attributes:
        path: file for the rows on their way there.
        etag: what must be at the destination; empty: nothing.
        journal: as of `Publish`, also `kept` and `needed`.
    """

    task_id: int
    table: TableData
    path: str
    destination: Destination
    etag: str
    journal: str
    kept: str
    needed: Sequence[SourceFile]


class ReadHead(ToWorker, frozen=True, tag=True):
    """Read a table's first rows; their columns that cannot be read are left out."""

    task_id: int
    table: TableData
    limit: int


class ReadRows(ToWorker, frozen=True, tag=True):
    """Write the rows of a table that come next into a file, as messages for a client."""

    task_id: int
    table: TableData
    query: RowQuery
    cursor: RowCursor
    path: str


class Summarise(ToWorker, frozen=True, tag=True):
    """Look at the rows of a final job.

    Attributes:
        files: its committed partitions.
        scores: the score columns of its result.
        table: what it read; None where that is not known any more.
        partition_rows: how the table was cut.
        partitions: the indexes of the partitions that are committed.
        features: the table's columns that fed the model.
        scratch: folder where there is room for decoded rows.
        notes: what is known already to be missing from the answer.
    """

    task_id: int
    files: Sequence[PartitionFile]
    scores: Sequence[str]
    table: TableData | None
    partition_rows: int
    partitions: Sequence[int]
    features: Sequence[str]
    where: str
    variables: Sequence[Variable]
    scratch: str
    notes: Sequence[str]


class Ping(ToWorker, frozen=True, tag=True):
    """Say that you live, and what moves."""


class CancelTask(ToWorker, frozen=True, tag=True):
    """Stop a task at the next batch; it answers with an error of code CANCELLED."""

    task_id: int


class FromWorker(msgspec.Struct, frozen=True, tag=True):
    """What a worker sends."""


class Ready(FromWorker, frozen=True, tag=True):
    """The worker's kernels are warm; it takes tasks."""

    device: str
    lanes: int


class PartitionDone(FromWorker, frozen=True, tag=True):
    """A partition is scored and lies under its temporary name.

    Attributes:
        lane: the lane that did it.
        seconds: how long the lane was busy with it.
        cpu_seconds: processor time of the lane's thread.
        bytes_in: of the input columns of the rows that were scored, as Arrow holds them.
        memory: bytes that the worker had resident in the end.
        notes: what whoever watches the job should know, such as a lack of device memory.
    """

    task_id: int
    file: PartitionFile
    lane: int
    seconds: float
    cpu_seconds: float = 0.0
    bytes_in: int = 0
    memory: int = 0
    notes: Sequence[str] = ()


class ModelInspected(FromWorker, frozen=True, tag=True):
    """What a model file needs and gives."""

    task_id: int
    schema: ModelSchema


class MlmodelRead(FromWorker, frozen=True, tag=True):
    """What an MLmodel file says."""

    task_id: int
    mlmodel: Mlmodel


class TableLoaded(FromWorker, frozen=True, tag=True):
    """A table is ready to be scored."""

    task_id: int
    table: TableData


class OutputPublished(FromWorker, frozen=True, tag=True):
    """An output stands under its final name."""

    task_id: int
    output: Published


class RowsSaved(FromWorker, frozen=True, tag=True):
    """The rows of a table stand under their final name; `etag` is what is there."""

    task_id: int
    output: Published
    etag: str


class HeadRead(FromWorker, frozen=True, tag=True):
    """A table's first rows, as an Arrow IPC stream."""

    task_id: int
    stream: bytes


class RowsRead(FromWorker, frozen=True, tag=True):
    """Rows are written down; `parts` are the messages, and `cursor` is where one has come."""

    task_id: int
    parts: Sequence[RowPart]
    cursor: RowCursor


class Summarised(FromWorker, frozen=True, tag=True):
    """What the rows of a job are like."""

    task_id: int
    summary: JobSummary


class Alive(FromWorker, frozen=True, tag=True):
    """The answer to a ping.

    Attributes:
        steps: for each task that was begun, how many steps it has taken; one that works takes more and more.
    """

    steps: dict[int, int]


class TaskFailed(FromWorker, frozen=True, tag=True):
    """A task could not be done; the fields are those of a `ScorestreamError`.

    Attributes:
        crowded: there was no memory for it beside other tasks, so that another try may do better.
    """

    task_id: int
    code: str
    reason: str
    message: str
    faults: Sequence[tuple[str, str]]
    metadata: dict[str, str]
    crowded: bool = False


class DeviceLost(FromWorker, frozen=True, tag=True):
    """The device is of no use to the worker any more; it ends, and this is the last that it says."""

    reason: str


class Leaving(FromWorker, frozen=True, tag=True):
    """The worker ends of its own accord, so that another begins anew, and this is the last that it says.

    Attributes:
        reason: why, to be read after "the worker".
    """

    reason: str


Task = (
    RunPartition
    | InspectModel
    | LoadTable
    | CopyTable
    | ReadHead
    | Publish
    | ReadRows
    | Summarise
    | SaveRows
    | ReadMlmodel
)
Result = (
    PartitionDone
    | ModelInspected
    | TableLoaded
    | HeadRead
    | OutputPublished
    | RowsRead
    | Summarised
    | RowsSaved
    | MlmodelRead
)
Command = (
    OpenJob
    | RunPartition
    | CloseJob
    | InspectModel
    | LoadTable
    | CopyTable
    | ReadHead
    | Publish
    | ReadRows
    | Summarise
    | SaveRows
    | ReadMlmodel
    | CancelTask
    | Ping
)
Report = (
    Ready
    | Alive
    | PartitionDone
    | ModelInspected
    | TableLoaded
    | HeadRead
    | OutputPublished
    | Summarised
    | TaskFailed
    | DeviceLost
    | Leaving
    | RowsRead
    | RowsSaved
    | MlmodelRead
)
