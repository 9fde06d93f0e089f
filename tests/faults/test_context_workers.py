"""Deaths around the workers of contexts: sessions go on with another worker, and no process is left behind."""

from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from scorestream import EventType, State
from served import served, workers_of

PARTITION_ROWS = 20_000
PATIENCE = 30.0


def test_a_job_of_a_context_outlives_its_worker_and_its_server(
    tmp_path: Path, forest: Path, customers: Path
) -> None:
    """First its worker is killed in the middle, then the server: every row is there once, and no worker outlives it."""
    flags = ("--device", "cpu", "--data-root", str(customers.parent))
    with served(tmp_path / "data", *flags) as (client, server):
        client.contexts.create("nightly", job_name_prefix="nightly-")
        session = client.create_session("faults", context="nightly")
        model = client.register_model("forest", path=forest)
        table = session.load_table(customers, name="customers")
        job = session.score(model, table, keep=["id"], partition_rows=PARTITION_ROWS)
        killed = 0
        told = []
        for event in job.watch():
            told.append(event.message)
            if event.type is not EventType.PARTITION_COMMITTED:
                continue
            if not killed:
                (worker,) = client.contexts.workers("nightly").workers
                assert psutil.Process(worker.pid).cmdline()[0].startswith("nightly-")
                psutil.Process(worker.pid).kill()
                killed = worker.pid
            elif any("is run again: worker" in message for message in told):
                break  # what it had answered before may still have been committed after its death
        else:
            pytest.fail(f"nothing was run again: {told}")
        assert any(message.startswith("waits for a worker of context nightly") for message in told)
        (second,) = client.contexts.workers("nightly").workers
        assert second.pid != killed
        processes = [*workers_of(server), psutil.Process(second.pid)]
        server.kill()
        _, alive = psutil.wait_procs(processes, PATIENCE)
        assert alive == []
    with served(tmp_path / "data", *flags) as (client, server):
        job = client.get_job(job.id)
        assert job.wait().state is State.SUCCEEDED
        found = pa.Table.from_batches(job.results())
        assert found["id"].to_pylist() == list(range(found.num_rows))
        (third,) = client.contexts.workers("nightly").workers
        assert third.sessions == 1
        client.get_session(session.id).terminate()
        psutil.wait_procs([psutil.Process(third.pid)] if psutil.pid_exists(third.pid) else [], PATIENCE)
        assert not psutil.pid_exists(third.pid)
