"""Processes outlive their server: what was triggered runs, and runs once."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import scorestream
from served import served, workers_of

SIGNAL = {
    "name": "com.modelop.mlc.definitions.Signals_DEPLOYED_BATCH_JOB",
    "variables": {"TAG": {"value": "cc-fraud"}, "MODEL_STAGE": {"value": "PROD"}},
}


def test_a_server_killed_between_trigger_and_job_makes_one_job_of_each_process(tmp_path: Path) -> None:
    """The process goes on where it was; its repeated signal starts nothing; one at an incident still waits for that."""
    data, rows, out = tmp_path / "data", tmp_path / "rows.parquet", tmp_path / "scores-{process}.parquet"
    pq.write_table(pa.table({"x": [1.5, 2.5]}), rows)
    roots = ("--device", "cpu", "--data-root", str(tmp_path))
    with served(data, *roots) as (client, server):
        client.contexts.tag("default", service=["cc-fraud"], stage=["PROD"])
        model = client.register_model("twice", source="x * 2 AS y")
        waits = client.processes.trigger(SIGNAL)
        incident = _incident(waits)
        client.deployments.create(model, service_tag="cc-fraud", stage="PROD", source=rows, out_path=out)
        workers = workers_of(server)
        for worker in workers:
            worker.suspend()  # so that the input is never loaded
        process = client.processes.trigger(json.dumps(SIGNAL), request_id="nightly-1")
        assert process.jobs() == []
        server.kill()
        server.wait(20)
        for worker in workers:
            worker.kill()  # it holds the data directory's lock
    with served(data, *roots) as (client, _):
        again = client.processes.trigger(SIGNAL, request_id="nightly-1")
        assert again.id == process.id
        (job,) = again.wait(60).jobs()
        assert job.outputs == (str(out).replace("{process}", process.id),)
        assert pq.read_table(job.outputs[0])["y"].to_pylist() == [3.0, 5.0]
        assert len(client.sessions(include_ended=True)) == 1
        found = client.processes.get(waits.id)
        assert (found.info.incident_id, found.jobs()) == (incident.id, [])
        assert client.processes.retry(incident.id).state == scorestream.IncidentState.RESOLVED
        assert len(found.wait(60).jobs()) == 1
        assert {one.id for one in client.processes.list()} == {process.id, waits.id}


def _incident(process: scorestream.Process) -> scorestream.IncidentInfo:
    """Wait until a process has stopped, and return why."""
    try:
        process.wait(60)
    except scorestream.FailedPreconditionError:
        return process.incidents()[0]
    raise AssertionError(process)
