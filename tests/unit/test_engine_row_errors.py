"""What the engine makes of rows that cannot be scored, with real scoring and a real store."""

import asyncio
import hashlib
from typing import Any

import pytest

from engine_bench import ROWS, Bench
from scorestream_server.domain.event import EventType
from scorestream_server.domain.job import Job, State
from scorestream_server.domain.model import Model
from scorestream_server.domain.row_error import OnRowError
from scorestream_server.domain.submission import Resumption
from scorestream_server.engine import row_errors
from scorestream_server.scoring.artifacts import declared
from scorestream_server.scoring.load import inspect_model
from scorestream_server.store import jobs, models
from scorestream_server.tables.artifacts import read_artifacts

STRICT = """
CASE WHEN id IN (250, 251, 333, 777) THEN ERROR('row ' || FORMAT(id, 0) || ' is bad') ELSE x * 2 END AS twice,
CASE WHEN id >= 990 THEN 'Dear ' || FORMAT(id, 0) END AS letter
"""


@pytest.fixture
async def strict(bench: Bench) -> Bench:
    """A bench with a model that gives four rows up, and writes letters to the last ten."""
    code = bench.directory.models / "strict.sql"
    code.write_text(STRICT)
    digest = hashlib.sha256(code.read_bytes()).hexdigest()
    schema = declared(inspect_model(code), {"letter.txt": "letter"})
    model = Model("strict", 0, digest, 1, code.name, schema, "me", 1.0)
    await bench.database.write(lambda connection: models.register(connection, model, ""))
    return bench


async def failed_of(bench: Bench, job: Job) -> str:
    job = await bench.finished(job)
    assert job.state is State.FAILED
    assert job.failure is not None
    assert job.failure.reason == "ROW_NOT_SCORED"
    return job.failure.message


async def noted(bench: Bench, job: Job) -> None:
    """Wait until a row is known of which a job fails."""
    active = bench.engine.jobs[job.id]
    while active.row_failure is None:  # noqa: ASYNC110  # nobody is told before the job fails
        await asyncio.sleep(0)
    assert not active.finished.is_set()


async def test_a_job_fails_of_its_first_bad_row_whoever_is_quicker(strict: Bench) -> None:
    """Partition 3 has a bad row and is done; partition 2, which is slower, has the first one."""
    strict.pool.hold.add(2)
    job = await strict.submit(model_id="strict", on_row_error=OnRowError.FAIL)
    await noted(strict, job)
    strict.pool.release()
    message = await failed_of(strict, job)
    assert message.startswith("Row 250 of table 'rows' (counted from 0) cannot be scored: row 250 is bad.")


async def test_a_partition_before_that_loses_its_worker_is_still_waited_for(strict: Bench) -> None:
    strict.pool.deaths["slow", 0] = 2
    job = await strict.submit(
        job_id="slow", model_id="strict", where="id < 100 OR id > 300", on_row_error=OnRowError.FAIL
    )
    assert "Row 333 of table" in await failed_of(strict, job)
    assert [row[0] for row in await strict.rows(job)][:100] == list(range(100))


@pytest.mark.parametrize("partition_rows", [7, 100, 1000])
async def test_however_a_job_is_cut_the_same_rows_fail_and_say_the_same(
    strict: Bench, partition_rows: int
) -> None:
    job = await strict.finished(await strict.submit(model_id="strict", partition_rows=partition_rows))
    assert (job.state, job.rows_scored, job.row_errors) == (State.SUCCEEDED_WITH_WARNINGS, ROWS, 4)
    assert job.spec.on_row_error is OnRowError.KEEP
    assert job.warnings == ("4 rows could not be scored; the column row_error says why of each.",)
    rows: list[Any] = await strict.rows(job)
    expected = [
        (*row, None) if row[0] not in {250, 251, 333, 777} else (row[0], None, f"row {row[0]} is bad")
        for row in strict.expected()
    ]
    assert rows == expected
    log = "\n".join(await strict.log(job))
    assert "4 rows could not be scored" in log
    assert "Missing in the result" not in log  # these rows have no scores that could be missing


async def test_what_was_counted_is_counted_again_after_a_cancel_and_a_resume(strict: Bench) -> None:
    """A resumed job takes over partitions with their bad rows, counted once."""
    strict.pool.hold.add(5)
    job = await strict.submit(model_id="strict", out_path=str(strict.folder / "out.parquet"))
    await strict.pool.held.wait()
    await strict.engine.cancel(job.id)
    job = await strict.finished(job)
    assert job.state is State.CANCELLED
    strict.pool.hold.clear()
    again = await strict.finished(await strict.submitter.resume(Resumption(job.id, "again", "me", "", 2.0)))
    assert (again.state, again.row_errors) == (State.SUCCEEDED_WITH_WARNINGS, 4)
    assert len(strict.events(EventType.PARTITION_COMMITTED)) == 10


async def test_artifacts_lie_with_their_rows_and_are_no_columns(strict: Bench) -> None:
    job = await strict.finished(await strict.submit(model_id="strict", partition_rows=1000))
    assert {len(row) for row in await strict.rows(job)} == {3}  # id, twice, row_error
    files = await strict.database.read(lambda connection: jobs.committed(connection, job.id))
    assert not list(read_artifacts(files[0], 0, 990))
    found = [
        (row, {name: value.as_py() for name, value in artifacts.items()})
        for row, artifacts in read_artifacts(files[0], 991, 8)
    ]
    assert found == [(991 + at, {"letter.txt": f"Dear {991 + at}"}) for at in range(8)]


async def test_a_job_of_too_many_artifacts_fails_and_keeps_what_it_has(
    strict: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_errors, "MOST_BYTES", 5_000)
    job = await strict.finished(await strict.submit(model_id="strict"))
    assert job.state is State.FAILED
    assert job.failure is not None
    assert job.failure.reason == "ARTIFACTS_TOO_LARGE"
    assert 0 < job.rows_scored < ROWS
    plain = await strict.finished(await strict.submit())
    assert plain.state is State.SUCCEEDED
