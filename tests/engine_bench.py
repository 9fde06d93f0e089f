"""An engine on a bench: a real store, real scoring, and a pool that scores in this process.

So a test decides which partition loses its worker and when; real processes that are really killed are in tests/faults/.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from scorestream_server.config import Config
from scorestream_server.device.cpu import CpuDevice
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.event import Event, EventType
from scorestream_server.domain.job import Job, Priority
from scorestream_server.domain.limits import Limits
from scorestream_server.domain.log import LogSelection
from scorestream_server.domain.messages import (
    CancelTask,
    CloseJob,
    Command,
    CopyTable,
    InspectModel,
    LoadTable,
    ModelInspected,
    OpenJob,
    OutputPublished,
    PartitionDone,
    Publish,
    ReadHead,
    ReadMlmodel,
    ReadRows,
    Result,
    RunPartition,
    SaveRows,
    Summarise,
    TableLoaded,
    Task,
)
from scorestream_server.domain.model import Model
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.domain.submission import Submission
from scorestream_server.domain.table import Table
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.quota import JobQuota
from scorestream_server.engine.submit import Submitter
from scorestream_server.engine.table_use import TableUse
from scorestream_server.scoring.load import inspect_model
from scorestream_server.store import jobs, log, models, sessions, tables
from scorestream_server.store.database import Database, migrate, open_engine
from scorestream_server.store.usage import Usage
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.publish import publish
from scorestream_server.tables.results import read_results
from scorestream_server.tables.sources import load_table
from scorestream_server.workers.contexts import ContextPools
from scorestream_server.workers.local import LocalPool
from scorestream_server.workers.opened import OpenedJobs
from scorestream_server.workers.pool import WorkerInfo, WorkerLost

ROWS = 1000
PARTITION_ROWS = 100


@dataclass(eq=False)
class InProcessPool:
    """A worker pool of one worker in this process that dies when it is told to.

    Attributes:
        deaths: how often the worker still dies when it has a partition, by job and index.
        crowded: how often there is still no memory for a partition beside others, by job and index.
        hold: partitions that are not answered before they are cancelled or their worker dies.
    """

    deaths: Counter[tuple[str, int]] = field(default_factory=Counter)
    crowded: Counter[tuple[str, int]] = field(default_factory=Counter)
    hold: set[int] = field(default_factory=set)
    together: list[set[int]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    publishing: asyncio.Event = field(default_factory=asyncio.Event)
    publish_error: ScorestreamError | None = None
    engine: Engine | None = None

    def __post_init__(self) -> None:
        self._device = CpuDevice()
        self._worker_id = 0
        self._task_ids = itertools.count(1)
        self._start()

    def _start(self) -> None:
        self._jobs = OpenedJobs(self._device)
        self._lane = self._device.open_lane()
        self._flights: dict[int, tuple[int, asyncio.Future[None]]] = {}

    def workers(self) -> Sequence[WorkerInfo]:
        return [WorkerInfo(self._worker_id, 0, "cpu", 2)]

    async def any_ready(self) -> WorkerInfo:
        return self.workers()[0]

    def next_task_id(self) -> int:
        return next(self._task_ids)

    def send(self, worker_id: int, command: Command) -> None:
        if worker_id != self._worker_id:
            return
        match command:
            case OpenJob():
                self._jobs.open(command)
            case CloseJob(job_id=job_id):
                self.closed.append(job_id)
            case CancelTask(task_id=task_id):
                flight = self._flights.get(task_id)
                if flight is not None and not flight[1].done():
                    error = ScorestreamError(ErrorCode.CANCELLED, "TASK_CANCELLED", "cancelled")
                    flight[1].set_exception(error)

    async def run(self, worker_id: int, task: Task, *, to_the_end: bool = False) -> Result:
        del to_the_end  # this worker is not told to stop in the middle of anything but partitions
        if worker_id != self._worker_id:
            raise WorkerLost(worker_id, "is gone")
        match task:
            case RunPartition():
                return await self._run_partition(task)
            case Publish():
                self.publishing.set()
                if self.publish_error is not None:
                    raise self.publish_error
                schema = pa.ipc.read_schema(pa.py_buffer(task.schema))
                journal = Path(task.journal)
                output = publish(task.files, schema, task.destination, journal, replace=task.replace)
                return OutputPublished(task.task_id, output)
            case LoadTable():
                return TableLoaded(task.task_id, load_table(task.files, Path(task.cache_dir)))
            case InspectModel():
                return ModelInspected(task.task_id, inspect_model(Path(task.path)))
            case CopyTable() | ReadHead() | ReadRows() | SaveRows() | Summarise() | ReadMlmodel():
                raise AssertionError

    async def _run_partition(self, task: RunPartition) -> Result:
        index, worker_id = task.partition.index, self._worker_id
        fate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flights[task.task_id] = (index, fate)
        self.together.append({flight[0] for flight in self._flights.values()})
        try:
            if index in self.hold:
                self.held.set()
                await asyncio.wait([fate])
            await asyncio.sleep(0)
            if self.deaths[task.job_id, index] > 0:
                self.deaths[task.job_id, index] -= 1
                self._die()
            if self.crowded[task.job_id, index] > 0:
                self.crowded[task.job_id, index] -= 1
                full = ScorestreamError(ErrorCode.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "too much")
                raise WorkerLost(worker_id, "had no memory for it beside other tasks", full)
            if fate.done():
                fate.result()
            file, bytes_in = self._jobs.score(task, self._lane, lambda: False)
            return PartitionDone(task.task_id, file, 0, 0.0, bytes_in=bytes_in)
        finally:
            self._flights.pop(task.task_id, None)
            if fate.done() and not fate.cancelled():
                fate.exception()

    def release(self) -> None:
        """Let everything that is held go on, and hold nothing more."""
        self.hold.clear()
        for _, fate in self._flights.values():
            fate.set_result(None)

    def _die(self) -> None:
        for _, fate in self._flights.values():
            if not fate.done():
                fate.set_exception(WorkerLost(self._worker_id, "was ended by signal SIGKILL"))
        self._worker_id += 1
        self._start()
        if self.engine is not None:
            asyncio.get_running_loop().call_soon(self.engine.wake)


def no_contexts() -> ContextPools:
    """Return the workers of no context."""
    return ContextPools(LocalPool(devices=[], lanes=1), 0)


@dataclass(eq=False)
class Bench:
    """Everything that an engine needs, with one session, one model and one table."""

    pool: InProcessPool
    database: Database
    engine: Engine
    submitter: Submitter
    directory: DataDirectory
    published: list[Event]
    values: np.ndarray
    folder: Path

    async def submit(self, **changes: object) -> Job:
        fields = {
            "job_id": f"job-{len(self.published)}",
            "name": "job",
            "session_id": "session",
            "owner": "me",
            "model_id": "twice",
            "model_version": 0,
            "table_id": "rows",
            "where": "",
            "keep": ("id",),
            "out_table": "",
            "out_path": "",
            "replace": False,
            "priority": Priority.NORMAL,
            "partition_rows": PARTITION_ROWS,
            "timeout": 0.0,
            "queue_timeout": 0.0,
            "request_id": "",
            "time": 1.0,
        }
        return await self.submitter.submit(Submission(**(fields | changes)))  # type: ignore[arg-type]

    async def finished(self, job: Job) -> Job:
        active = self.engine.jobs.get(job.id)
        if active is not None:
            await asyncio.wait_for(active.finished.wait(), 20)
        return await self.database.read(lambda connection: jobs.get(connection, job.id, "me"))

    async def log(self, job: Job) -> list[str]:
        selection = LogSelection(job.session_id, job.id)
        blocks = await self.database.read(lambda connection: log.page(connection, selection, 0, None, 1000))
        return [line.text for block in blocks for line in block.lines]

    async def rows(self, job: Job) -> list[tuple[int, float]]:
        files = await self.database.read(lambda connection: jobs.committed(connection, job.id))
        batches = read_results([files[index] for index in sorted(files)])
        return [row for batch in batches for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)]

    def expected(self) -> list[tuple[int, float]]:
        return [(index, value * 2) for index, value in enumerate(self.values.tolist())]

    def events(self, kind: EventType) -> list[Event]:
        return [event for event in self.published if event.type is kind]


@contextlib.asynccontextmanager
async def started(tmp_path: Path) -> AsyncIterator[Bench]:
    """Run an engine in a folder while the block runs."""
    directory = DataDirectory(tmp_path / "data")
    directory.models.mkdir(parents=True)
    store = open_engine(directory.database_url)
    migrate(store)
    store.dispose()
    published: list[Event] = []
    database = Database(directory.database_url, published.extend)
    pool = InProcessPool()
    limits = Limits()
    quota, usage = JobQuota(limits), Usage(limits.stored_bytes)
    cache = TableCache(Config(directory.root, None), directory, database, pool, TableUse())
    engine = pool.engine = Engine(database, pool, directory, quota, no_contexts(), cache)
    submitter = Submitter(database, engine, directory, DataRoots([tmp_path]), quota, usage, TableUse())
    code = directory.models / "twice.sql"
    code.write_text("x * 2 AS twice")
    values = np.random.default_rng(1).normal(size=ROWS)
    source = tmp_path / "rows.arrow"
    rows = pa.table({"id": np.arange(ROWS), "x": values})
    with pa.OSFile(str(source), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    data = load_table([source], tmp_path)
    session = Session(
        "session", "s", "me", SessionState.ACTIVE, 100, 1.0, 1.0, None, running_jobs=0, inactive_timeout=0.0
    )
    digest = hashlib.sha256(code.read_bytes()).hexdigest()
    model = Model("twice", 0, digest, 1, code.name, inspect_model(code), "me", 1.0)
    table = Table("table-uid", "session", "rows", data, (), 1, 1, 1.0)
    await database.write(lambda connection: sessions.create(connection, session, ""))
    await database.write(lambda connection: models.register(connection, model, ""))
    await database.write(lambda connection: tables.put(connection, table, replace=False))
    engine.start()
    yield Bench(pool, database, engine, submitter, directory, published, values, tmp_path)
    await engine.close()
    await database.close()
