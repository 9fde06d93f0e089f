"""Jobs go on only against what they began on, keep what they committed, and end when their time is up."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

import scorestream
from scorestream import EventType, State
from served import served, workers_of

ROWS_AT_ONCE = 10_000


def submit(client: scorestream.Client, forest: Path, table: Path, **options: object) -> scorestream.Job:
    """Start a job of many partitions in a session of its own."""
    session = client.create_session("faults")
    model = client.register_model("forest", path=forest)
    rows = session.load_table(table, name="customers")
    return session.score(model, rows, keep=["id"], partition_rows=ROWS_AT_ONCE, **options)  # type: ignore[arg-type]


def interrupted(tmp_path: Path, forest: Path, table: Path) -> str:
    """Kill a server in the middle of a job, and return the job's id."""
    with served(tmp_path / "data", "--data-root", str(table.parent)) as (client, server):
        job = submit(client, forest, table)
        for event in job.watch():
            if event.type is EventType.PARTITION_COMMITTED:
                break
        workers = workers_of(server)
        for worker in workers:
            worker.suspend()  # nothing more is committed
        server.kill()
        server.wait(20)
        for worker in workers:
            worker.kill()  # it holds the data directory's lock
        return job.id


@pytest.fixture
def copy(tmp_path: Path, customers: Path) -> Path:
    """A table that a test may spoil."""
    place = tmp_path / "rows"
    place.mkdir()
    return Path(shutil.copy(customers, place / customers.name))


def rows_of(job: scorestream.Job) -> pa.Table:
    return pa.Table.from_batches(job.results()).combine_chunks()


@pytest.mark.parametrize("spoil", ["touched", "shorter", "gone", "model"])
def test_a_job_does_not_go_on_where_its_inputs_changed(
    tmp_path: Path, forest: Path, copy: Path, spoil: str
) -> None:
    """A table's file that is another one now, or a model's, fails the job and is named; what was committed stays."""
    job_id = interrupted(tmp_path, forest, copy)
    match spoil:
        case "touched":
            os.utime(copy, ns=(1, 1))
        case "shorter":
            os.truncate(copy, 1000)
        case "gone":
            copy.unlink()
        case "model":
            (file,) = (tmp_path / "data" / "models").iterdir()
            file.write_bytes(file.read_bytes()[:-1])
    words = {
        "touched": "was written again",
        "shorter": "has 1,000 bytes",
        "gone": "is gone",
        "model": "forest@1",
    }
    with served(tmp_path / "data", "--data-root", str(copy.parent)) as (client, _):
        job = client.get_job(job_id)
        with pytest.raises(scorestream.JobFailedError, match=words[spoil]) as caught:
            job.wait(60)
        assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", "INPUT_CHANGED")
        if spoil != "model":
            assert copy.name in str(caught.value)
        assert rows_of(job).num_rows == job.rows_scored > 0
        with pytest.raises(scorestream.FailedPreconditionError, match=words[spoil]):
            job.resume()


def test_a_damaged_result_is_scored_again(tmp_path: Path, forest: Path, customers: Path) -> None:
    """After a power cut a committed file may be empty or garbage: its partition is run again, the rest is kept."""
    job_id = interrupted(tmp_path, forest, customers)
    files = sorted((tmp_path / "data" / "sessions").glob(f"*/jobs/{job_id}/part-*.arrow"))
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 1
    files[0].write_bytes(content)
    with served(tmp_path / "data", "--data-root", str(customers.parent)) as (client, _):
        job = client.get_job(job_id).wait(60)
        found = rows_of(job)
        calm = submit(client, forest, customers).wait(60)
        assert found == rows_of(calm)
        assert job.rows_done == job.rows_total


def test_a_cancelled_job_is_resumed_where_it_stopped(tmp_path: Path, forest: Path, customers: Path) -> None:
    """The new job takes over what was committed, scores the rest, and publishes; the old one stays as it ended."""
    flags = ("--data-root", str(tmp_path), "--data-root", str(customers.parent))
    with served(tmp_path / "data", *flags) as (client, _):
        old = submit(client, forest, customers, out_path=tmp_path / "out.parquet")
        for event in old.watch():
            if event.type is EventType.PARTITION_COMMITTED:
                old.cancel()
        old.refresh()
        assert old.state is State.CANCELLED
        assert 0 < old.info.partitions_done < old.info.partitions_total
        new = old.resume()
        assert new.id != old.id
        assert new.info.resumes == old.id
        assert new.info.partitions_done == old.info.partitions_done
        new.wait(60)
        events = list(new.watch())
        assert f"goes on from job {old.id}" in events[0].message
        scored = sum(event.type is EventType.PARTITION_COMMITTED for event in events)
        assert scored == old.info.partitions_total - old.info.partitions_done
        calm = submit(client, forest, customers).wait(60)
        assert rows_of(new) == rows_of(calm)
        assert (tmp_path / "out.parquet").exists()
        assert old.refresh().state is State.CANCELLED
        with pytest.raises(scorestream.FailedPreconditionError) as caught:
            new.resume()
        assert caught.value.reason == "JOB_SUCCEEDED"


def test_a_job_ends_when_its_time_is_up(tmp_path: Path, forest: Path, customers: Path) -> None:
    """TIMED_OUT with the limit in the message, whether it runs or waits; a job without a limit goes on."""
    with served(tmp_path / "data", "--data-root", str(customers.parent)) as (client, server):
        model = client.register_model("forest", path=forest)
        session = client.create_session("limits")
        table = session.load_table(customers, name="customers")
        (worker,) = workers_of(server)
        worker.suspend()  # from now on no partition ever ends

        def start(**limits: float) -> scorestream.Job:
            return session.score(model, table, where="id < 20000", partition_rows=ROWS_AT_ONCE, **limits)  # type: ignore[arg-type]

        running = start(timeout=0.2)
        patient = start()
        waiting = start(queue_timeout=0.2)
        with pytest.raises(
            scorestream.JobTimedOutError, match=r"waited for a lane for 0\.2 seconds"
        ) as caught:
            waiting.wait(60)
        assert caught.value.reason == "QUEUE_TIMED_OUT"
        worker.resume()
        with pytest.raises(scorestream.JobTimedOutError, match=r"ran for 0\.2 seconds") as caught:
            running.wait(60)
        assert caught.value.reason == "JOB_TIMED_OUT"
        assert patient.wait(60).state is State.SUCCEEDED
