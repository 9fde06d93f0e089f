"""The engine: what it does when workers die, hang up or refuse, with real scoring and a real store.

The pool scores in this process, so that a test decides which partition loses its worker and when; real
processes that are really killed are in tests/faults/.
"""

import asyncio
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import pytest_asyncio

from scorestream_server.device.cpu import CpuDevice
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.device import WorkerUse
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.event import Event, EventType
from scorestream_server.domain.job import Job, Priority, State
from scorestream_server.domain.limits import Limits
from scorestream_server.domain.log import LogSelection
from scorestream_server.domain.messages import (
    CancelTask,
    CloseJob,
    Command,
    InspectModel,
    LoadTable,
    OpenJob,
    OutputPublished,
    PartitionDone,
    Publish,
    ReadHead,
    ReadRows,
    Result,
    RunPartition,
    Summarise,
    TableLoaded,
    Task,
)
from scorestream_server.domain.model import Model
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.domain.table import Table
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.quota import JobQuota
from scorestream_server.engine.submit import Submission, Submitter
from scorestream_server.engine.table_use import TableUse
from scorestream_server.scheduler import PREFETCH
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
from scorestream_server.workers.pool import MAX_ATTEMPTS, WorkerInfo, WorkerLost

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
                paths = [Path(path) for path in task.paths]
                return TableLoaded(task.task_id, load_table(paths, Path(task.cache_dir)))
            case InspectModel() | ReadHead() | ReadRows() | Summarise():
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


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
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
    engine = pool.engine = Engine(database, pool, directory, quota, no_contexts())
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


async def test_every_row_is_scored_once_and_in_order(bench: Bench) -> None:
    """The result has one row for each input row, in the input's order."""
    job = await bench.finished(await bench.submit())
    assert job.state is State.SUCCEEDED
    assert (job.rows_done, job.rows_total, job.rows_scored, job.partitions_done) == (ROWS, ROWS, ROWS, 10)
    assert await bench.rows(job) == bench.expected()
    assert len(bench.events(EventType.PARTITION_COMMITTED)) == 10
    assert bench.pool.closed == [job.id]


async def test_a_partition_that_loses_its_worker_is_run_again(bench: Bench) -> None:
    """Two deaths cost nothing: the same rows come out, each once, and the feed tells of the deaths."""
    bench.pool.deaths["job", 3] = 2
    job = await bench.finished(await bench.submit(job_id="job"))
    assert job.state is State.SUCCEEDED
    assert await bench.rows(job) == bench.expected()
    retried = bench.events(EventType.PARTITION_RETRIED)
    assert any("partition 3 (rows 300 to 399)" in event.message for event in retried)
    assert "SIGKILL" in retried[0].message


async def test_a_partition_that_keeps_killing_fails_its_job_and_no_other(bench: Bench) -> None:
    """After three workers the job fails and says why; a job beside it is not dragged along."""
    bench.pool.deaths["doomed", 3] = MAX_ATTEMPTS
    submitted = [await bench.submit(job_id=name) for name in ("before", "doomed", "after")]
    before, doomed, after = [await bench.finished(job) for job in submitted]
    assert (before.state, doomed.state, after.state) == (State.SUCCEEDED, State.FAILED, State.SUCCEEDED)
    assert doomed.failure is not None
    assert doomed.failure.reason == "WORKER_LOST"
    assert "Partition 3 (rows 300 to 399)" in doomed.failure.message
    assert "3 times" in doomed.failure.message


async def test_a_partition_without_memory_beside_others_runs_alone_and_then_says_what_it_took(
    bench: Bench,
) -> None:
    """One that was only crowded out is done at its next try; one that takes too much fails its job with the reason."""
    bench.pool.crowded["crowded", 3] = 1
    bench.pool.crowded["hog", 3] = MAX_ATTEMPTS
    jobs = [await bench.submit(job_id=name) for name in ("crowded", "hog")]
    crowded, hog = [await bench.finished(job) for job in jobs]
    assert crowded.state is State.SUCCEEDED
    assert {3} in bench.pool.together
    assert hog.failure is not None
    assert (hog.failure.reason, hog.failure.message) == ("OUT_OF_MEMORY", "too much")


async def test_a_suspect_runs_alone(bench: Bench) -> None:
    """A partition that was there when a worker died gets a worker to itself the next time."""
    bench.pool.deaths["job", 0] = 1
    job = await bench.finished(await bench.submit(job_id="job"))
    assert job.state is State.SUCCEEDED
    assert {0} in bench.pool.together[1:]


async def test_cancel_keeps_what_is_committed(bench: Bench) -> None:
    """A cancelled job goes over CANCELLING to CANCELLED, and its committed rows stay."""
    bench.pool.hold.update({4, 5, 6})
    job = await bench.submit()
    await bench.pool.held.wait()
    await bench.engine.cancel(job.id)
    job = await bench.finished(job)
    assert job.state is State.CANCELLED
    rows = await bench.rows(job)
    assert 0 < len(rows) == job.rows_scored < ROWS
    assert set(rows) <= set(bench.expected())
    states = [event.state for event in bench.events(EventType.JOB_STATE_CHANGED)]
    assert states == [State.RUNNING, State.CANCELLING, State.CANCELLED]


async def test_busy_lanes_are_those_with_a_partition(bench: Bench) -> None:
    """What a worker holds beyond its lanes does not count; an idle worker has none busy."""
    assert bench.engine.workers() == [WorkerUse(pid=0, device="cpu", lanes=2, lanes_busy=0)]
    bench.pool.hold.update(range(ROWS // PARTITION_ROWS))
    job = await bench.submit()
    await bench.pool.held.wait()
    assert len(bench.engine.jobs[job.id].in_flight) == 2 + PREFETCH
    assert [worker.lanes_busy for worker in bench.engine.workers()] == [2]
    await bench.engine.cancel(job.id)
    await bench.finished(job)
    assert [worker.lanes_busy for worker in bench.engine.workers()] == [0]


async def test_cancelling_a_final_job_changes_nothing(bench: Bench) -> None:
    """A final state never changes."""
    job = await bench.finished(await bench.submit())
    await bench.engine.cancel(job.id)
    assert (await bench.finished(job)).state is State.SUCCEEDED


async def test_an_output_that_cannot_be_written_fails_the_job_and_keeps_its_rows(bench: Bench) -> None:
    """The rows that were scored stay readable when the last step fails."""
    bench.pool.publish_error = ScorestreamError(ErrorCode.RESOURCE_EXHAUSTED, "DISK_FULL", "no room")
    job = await bench.finished(await bench.submit(out_path=str(bench.folder / "out.parquet")))
    assert job.state is State.FAILED
    assert job.failure is not None
    assert job.failure.reason == "DISK_FULL"
    assert await bench.rows(job) == bench.expected()


async def test_two_jobs_that_race_for_a_table_name_do_not_overwrite(bench: Bench) -> None:
    """Without `replace` the second of two jobs with one output table fails, and the first one's table stays."""
    first = await bench.submit(job_id="first", out_table="out")
    second = await bench.submit(job_id="second", out_table="out")
    ended = [await bench.finished(first), await bench.finished(second)]
    assert sorted(job.state for job in ended) == [State.FAILED, State.SUCCEEDED]
    failed = next(job for job in ended if job.state is State.FAILED)
    assert failed.failure is not None
    assert failed.failure.reason == "TABLE_EXISTS"


async def test_a_result_without_rows_is_a_table_without_rows(bench: Bench) -> None:
    """A filter that keeps nothing gives an empty output of the right columns."""
    job = await bench.finished(await bench.submit(where="x > 1e300", out_table="none"))
    assert (job.state, job.rows_scored) == (State.SUCCEEDED, 0)
    table = await bench.database.read(lambda connection: tables.get(connection, "session", "none"))
    assert table.data.rows == 0
    assert pa.ipc.read_schema(pa.py_buffer(table.data.schema)).names == ["id", "twice"]


async def test_a_new_engine_goes_on_from_the_committed_partitions(bench: Bench) -> None:
    """After a stop in mid-job the next server scores what is missing, and only that."""
    bench.pool.hold.update({5, 6, 7})
    job = await bench.submit()
    await bench.pool.held.wait()
    await bench.engine.close()
    done_before = set(await bench.database.read(lambda connection: jobs.committed(connection, job.id)))
    bench.pool.hold.clear()
    bench.pool.together.clear()
    limits = Limits()
    quota, usage = JobQuota(limits), Usage(limits.stored_bytes)
    engine = bench.pool.engine = bench.engine = Engine(
        bench.database, bench.pool, bench.directory, quota, no_contexts()
    )
    bench.submitter = Submitter(
        bench.database, engine, bench.directory, DataRoots([bench.folder]), quota, usage, TableUse()
    )
    assert await bench.submitter.recover() == 1
    engine.start()
    job = await bench.finished(job)
    assert job.state is State.SUCCEEDED
    assert await bench.rows(job) == bench.expected()
    assert not done_before & set().union(*bench.pool.together)
    lines = await bench.log(job)
    assert any(
        re.fullmatch(r"The server was started again; \d+ partitions? of 10 are committed.", line)
        for line in lines
    )
    assert lines[-1].startswith("SUCCEEDED")


async def test_a_repeated_submission_is_one_job(bench: Bench) -> None:
    """Two submissions with one request id, even at once, are the same job."""
    both = await asyncio.gather(
        bench.submit(job_id="a", request_id="same"), bench.submit(job_id="b", request_id="same")
    )
    assert both[0].id == both[1].id
    again = await bench.submit(job_id="c", request_id="same")
    assert again.id == both[0].id
    await bench.finished(both[0])


async def test_a_cancel_just_before_the_output_is_published_is_no_hang(bench: Bench) -> None:
    """A cancel that comes between the last commit and the first step of the output ends the job."""
    job = await bench.submit(out_path=str(bench.folder / "out.parquet"))
    active = bench.engine.jobs[job.id]
    while active.publishing is None:  # noqa: ASYNC110  # no event tells of a task that has not begun
        await asyncio.sleep(0)
    await bench.engine.cancel(job.id)
    job = await bench.finished(job)
    assert job.state is State.CANCELLED
    assert not (bench.folder / "out.parquet").exists()


async def test_a_drain_commits_what_is_in_flight_and_begins_nothing(bench: Bench) -> None:
    """Partitions that a worker has are waited for and kept; the job stays as it is for the next start."""
    bench.pool.hold.update(range(3, ROWS // PARTITION_ROWS))
    job = await bench.submit()
    await bench.pool.held.wait()
    draining = asyncio.create_task(bench.engine.drain())
    await bench.database.read(lambda _: None)
    assert not draining.done()
    in_flight = dict(bench.engine.jobs[job.id].in_flight)
    assert len(in_flight) >= 2
    bench.pool.release()
    await asyncio.wait_for(draining, 20)
    committed = await bench.database.read(lambda connection: jobs.committed(connection, job.id))
    assert committed.keys() >= in_flight.keys()
    assert len(committed) < ROWS // PARTITION_ROWS
    stored = await bench.database.read(lambda connection: jobs.get(connection, job.id, "me"))
    assert stored.state is State.RUNNING
    assert stored.partitions_done == len(committed)


async def test_a_drain_begins_no_output(bench: Bench) -> None:
    """Where the last partition comes in during a drain, the next server writes the output."""
    last = ROWS // PARTITION_ROWS - 1
    bench.pool.hold.add(last)
    job = await bench.submit(out_path=str(bench.folder / "out.parquet"))
    await bench.pool.held.wait()
    draining = asyncio.create_task(bench.engine.drain())
    await bench.database.read(lambda _: None)
    bench.pool.release()
    await asyncio.wait_for(draining, 20)
    committed = await bench.database.read(lambda connection: jobs.committed(connection, job.id))
    assert last in committed
    assert not (bench.folder / "out.parquet").exists()


async def test_an_output_that_is_the_jobs_leaves_no_note(bench: Bench) -> None:
    """Once the store has it, nothing has to be remembered of how it came about."""
    job = await bench.finished(await bench.submit(out_path=str(bench.folder / "out.parquet")))
    assert job.state is State.SUCCEEDED
    assert (bench.folder / "out.parquet").exists()
    assert list(bench.directory.publishing.iterdir()) == []


async def test_a_job_that_cannot_be_told_to_a_worker_fails_and_says_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine goes on with the others."""
    error = ScorestreamError(ErrorCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", "too many parts")
    send = bench.pool.send

    def refuse(worker_id: int, command: Command) -> None:
        if isinstance(command, OpenJob) and command.job_id == "large":
            raise error
        send(worker_id, command)

    monkeypatch.setattr(bench.pool, "send", refuse)
    large = await bench.finished(await bench.submit(job_id="large"))
    assert large.failure is not None
    assert (large.state, large.failure.reason) == (State.FAILED, "MESSAGE_TOO_LARGE")
    assert (await bench.finished(await bench.submit(job_id="small"))).state is State.SUCCEEDED
