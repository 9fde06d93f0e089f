"""The engine: what it does with partitions when workers die or hang up, with real scoring and a real store."""

import asyncio
import re

import pytest

from engine_bench import PARTITION_ROWS, ROWS, Bench, no_contexts
from scorestream_server.config import Config
from scorestream_server.domain.device import WorkerUse
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.event import EventType
from scorestream_server.domain.job import State
from scorestream_server.domain.limits import Limits
from scorestream_server.domain.submission import Resumption
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.quota import JobQuota
from scorestream_server.engine.submit import Submitter
from scorestream_server.engine.table_use import TableUse
from scorestream_server.scheduler import PREFETCH
from scorestream_server.store import jobs
from scorestream_server.store.usage import Usage
from scorestream_server.tables.paths import DataRoots
from scorestream_server.workers.pool import MAX_ATTEMPTS


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
        bench.database,
        bench.pool,
        bench.directory,
        quota,
        no_contexts(),
        TableCache(
            Config(bench.directory.root, None), bench.directory, bench.database, bench.pool, TableUse()
        ),
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


async def test_no_more_partitions_run_at_a_time_than_the_job_was_told(bench: Bench) -> None:
    """A worker with room for three holds two of a job of `parallel_count` 2, and the job is done all the same."""
    bench.pool.hold.update(range(ROWS // PARTITION_ROWS))
    job = await bench.submit(parallel_count=2)
    await bench.pool.held.wait()
    assert len(bench.engine.jobs[job.id].in_flight) == 2
    bench.pool.release()
    assert (await bench.finished(job)).state is State.SUCCEEDED
    assert max(map(len, bench.pool.together)) == 2


async def test_a_job_whose_dropped_table_goes_is_not_resumed(bench: Bench) -> None:
    """It is told, and nothing is begun; as long as somebody else has the table, it may be."""
    bench.pool.hold.add(5)
    job = await bench.submit()
    await bench.pool.held.wait()
    await bench.engine.cancel(job.id)
    await bench.finished(job)
    use = bench.submitter._use
    assert use.may_go(job.spec.table_uid)
    with pytest.raises(ScorestreamError, match="was dropped or replaced since it began") as refused:
        await bench.submitter.resume(Resumption(job.id, "again", "me", "", 2.0))
    assert refused.value.reason == "INPUT_CHANGED"
    use.forget(job.spec.table_uid)
    bench.pool.hold.clear()
    again = await bench.finished(await bench.submitter.resume(Resumption(job.id, "again", "me", "", 2.0)))
    assert again.state is State.SUCCEEDED
