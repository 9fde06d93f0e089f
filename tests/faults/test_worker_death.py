"""`kill -9` of a worker in the middle of a job: the job ends well, with the same output."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import scorestream
from scorestream import EventType, State
from served import served, workers_of

ROWS_AT_ONCE = 20_000
"""Small partitions: there is always one in flight to be hit, and some to come."""


def test_a_killed_worker_costs_nothing(tmp_path: Path, forest: Path, customers: Path) -> None:
    """Scores, order and count are those of an undisturbed run, in the stream, the table and the file."""
    flags = ("--data-root", str(tmp_path), "--data-root", str(customers.parent))
    with served(tmp_path / "data", *flags) as (client, server):
        session = client.create_session("faults")
        model = client.register_model("forest", path=forest)
        table = session.load_table(customers, name="customers")
        calm = session.score(
            model, table, keep=["id"], partition_rows=ROWS_AT_ONCE, out_path=tmp_path / "calm.parquet"
        )
        calm.wait()

        job = session.score(model, table, keep=["id"], partition_rows=ROWS_AT_ONCE, out="scored")
        disturbed = session.score(
            model, table, keep=["id"], partition_rows=ROWS_AT_ONCE, out_path=tmp_path / "disturbed.parquet"
        )
        kills = 0
        for event in disturbed.watch():
            if (
                event.type is EventType.PARTITION_COMMITTED
                and kills < 2
                and event.rows_done < event.rows_total
            ):
                for worker in workers_of(server):
                    worker.kill()
                kills += 1
        assert kills == 2
        assert disturbed.wait().state is State.SUCCEEDED
        assert any(event.type is EventType.PARTITION_RETRIED for event in disturbed.watch())
        job.wait()

        def scores(of: scorestream.Job) -> pa.Table:
            return pa.Table.from_batches(of.results()).combine_chunks()

        expected = scores(calm)
        assert expected["id"].to_pylist() == list(range(expected.num_rows))
        assert scores(disturbed) == expected
        assert scores(job) == expected
        files = [pq.read_table(tmp_path / name) for name in ("calm.parquet", "disturbed.parquet")]
        assert files[0] == files[1]
        assert files[0].num_rows == expected.num_rows
        assert (tmp_path / "calm.parquet").read_bytes() == (tmp_path / "disturbed.parquet").read_bytes()
    leftovers = [path.name for path in tmp_path.rglob("*") if "tmp" in path.suffix]
    assert leftovers == []


def test_a_row_group_of_any_size_gives_rows_before_its_end_and_outlives_its_worker(
    tmp_path: Path, one_row_group: Path
) -> None:
    """One row group that memory does not hold: rows come early, lanes share it, and a kill loses none."""
    flags = ("--data-root", str(one_row_group.parent))
    with served(tmp_path / "data", *flags) as (client, server):
        session = client.create_session("faults")
        terms = " + ".join(f"f{i}" for i in range(20))
        model = client.register_model("sum", source=f"half * 2 + {terms} AS total")
        table = session.load_table(one_row_group, name="large")
        job = session.score(model, table, keep=["id"], partition_rows=ROWS_AT_ONCE)
        first = next(iter(job.results()))
        assert not client.get_job(job.id).state.final
        for worker in workers_of(server):
            worker.kill()
        assert job.wait().state is State.SUCCEEDED
        found = pa.Table.from_batches(job.results())
        assert found.slice(0, first.num_rows) == pa.Table.from_batches([first])
        ids = found["id"].to_numpy()
        assert (ids == np.arange(2_000_000)).all()
        assert (found["total"].to_numpy() == ids + sum(range(20))).all()
    assert not [path for path in tmp_path.rglob("*") if "tmp" in path.suffix]


def test_jobs_of_a_killed_server_go_on(tmp_path: Path, forest: Path, customers: Path) -> None:
    """A server that starts on the data directory of a killed one finishes its jobs with the same rows."""
    flags = ("--data-root", str(tmp_path), "--data-root", str(customers.parent))
    with served(tmp_path / "data", *flags) as (client, server):
        session = client.create_session("faults")
        model = client.register_model("forest", path=forest)
        table = session.load_table(customers, name="customers")
        calm = session.score(model, table, keep=["id"], partition_rows=ROWS_AT_ONCE)
        expected = pa.Table.from_batches(calm.results()).combine_chunks()
        job = session.score(model, table, keep=["id"], partition_rows=ROWS_AT_ONCE, out="scored")
        seen = 0
        for event in job.watch():
            seen = event.number
            if event.type is EventType.PARTITION_COMMITTED:
                server.kill()
                server.wait()
                break
    with served(tmp_path / "data", *flags) as (client, _):
        job = client.get_job(job.id)
        numbers = [event.number for event in job.watch(after=seen)]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > seen
        assert job.wait().state is State.SUCCEEDED
        assert pa.Table.from_batches(job.results()).combine_chunks() == expected
        assert client.sessions(prefix="faults")[0].table("scored").info.rows == expected.num_rows
