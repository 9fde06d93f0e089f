"""Deployments and their jobs outlive their server."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from served import served, workers_of

ROWS = 300


@pytest.mark.long  # each step that a crash can come after is in tests/unit/test_deployed_jobs.py
def test_what_was_deployed_stays_and_its_job_goes_on(tmp_path: Path) -> None:
    """After a kill the tags are there, the deployment takes jobs, its job goes on, and a repeated request is that job."""
    data, rows, out = tmp_path / "data", tmp_path / "rows.parquet", tmp_path / "scores.parquet"
    pq.write_table(pa.table({"id": range(ROWS), "x": [1.5] * ROWS}), rows)
    roots = ("--device", "cpu", "--data-root", str(tmp_path))
    tags = {"service": ["cc-fraud"], "stage": ["PROD"]}
    with served(data, *roots) as (client, server):
        client.contexts.tag("default", **tags)
        model = client.register_model("twice", source="x * 2 AS y")
        deployed = client.deployments.create(model, service_tag="cc-fraud", stage="PROD")
        assert deployed.state == "DEPLOYED"
        job = deployed.run(rows, out, keep=["id"], partition_rows=1, request_id="nightly-1")
        workers = workers_of(server)
        for worker in workers:
            worker.suspend()
        server.kill()
        server.wait(20)
        for worker in workers:
            worker.kill()  # it holds the data directory's lock
    assert not out.exists()  # a partition a row takes longer than this
    with served(data, *roots) as (client, _):
        stays = client.deployments.get(deployed.id)
        assert stays.state == "DEPLOYED"
        again = stays.run(rows, out, keep=["id"], partition_rows=1, request_id="nightly-1")
        assert (again.id, again.session_id) == (job.id, job.session_id)
        done = again.wait(60)
        assert (done.rows_done, done.outputs) == (ROWS, (str(out),))
        assert pq.read_table(out).column("id").to_pylist() == list(range(ROWS))
        assert [one.id for one in stays.jobs()] == [job.id]
        assert len(client.sessions(include_ended=True)) == 1
        found = client.contexts.get("default")
        assert (found.service_tags, found.stage_tags) == (("cc-fraud",), ("PROD",))
