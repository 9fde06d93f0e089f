"""How the engine brings jobs to their ends: cancels, outputs, drains, with real scoring and a real store."""

import asyncio

import pyarrow as pa
import pytest

from engine_bench import PARTITION_ROWS, ROWS, Bench
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.event import EventType
from scorestream_server.domain.job import State
from scorestream_server.domain.messages import Command, OpenJob
from scorestream_server.store import jobs, tables


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
