"""The whole way on a real card: a server with `--device cuda` gives the CPU's scores, whatever happens to its worker."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost

import scorestream
from parity.kernel_proof import assert_close
from scorestream import EventType, State
from served import served, workers_of

pytestmark = pytest.mark.gpu

FEATURES = 12
ROWS = 300_000
ROWS_AT_ONCE = 20_000
BROKEN_WORKER = Path(__file__).parent / "broken_worker"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a table of rows with an id each, some values missing."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(3)
    names = [f"f{i}" for i in range(FEATURES)]
    values = rng.standard_normal((ROWS, FEATURES), np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    few = values[:4000]
    labels = np.nan_to_num(few[:, 0]) + np.sin(3 * np.nan_to_num(few[:, 1])) > 0
    data = xgboost.DMatrix(few, labels, feature_names=names)
    settings = {"max_depth": 6, "objective": "binary:logistic", "nthread": 2}
    xgboost.train(settings, data, 80).save_model(folder / "model.ubj")
    columns = {name: pa.array(values[:, place], from_pandas=True) for place, name in enumerate(names)}
    table = pa.table({"id": np.arange(ROWS), **columns})
    pq.write_table(table, folder / "customers.parquet", row_group_size=100_000)
    return folder


def scored(client: scorestream.Client, files: Path) -> scorestream.Job:
    """Start a job over all rows in small partitions."""
    session = client.create_session()
    model = client.register_model("forest", path=files / "model.ubj")
    table = session.load_table(files / "customers.parquet", name="customers")
    return session.score(model, table, keep=["id"], partition_rows=ROWS_AT_ONCE)


def result(job: scorestream.Job) -> pa.Table:
    return pa.Table.from_batches(job.results()).combine_chunks()


@pytest.fixture(scope="module")
def on_cpu(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pa.Table]:
    """The result of the job on the CPU."""
    flags = ("--device", "cpu", "--data-root", str(files))
    with served(tmp_path_factory.mktemp("cpu") / "data", *flags) as (client, _):
        job = scored(client, files)
        assert job.wait().state is State.SUCCEEDED
        yield result(job)


def assert_same(found: pa.Table, expected: pa.Table) -> None:
    assert found.schema == expected.schema
    assert found["id"].equals(expected["id"])
    scores, wanted = (table["score"].to_numpy() for table in (found, expected))
    assert_close(scores, wanted, denormals=False)


@pytest.mark.parametrize("gpu_memory", ["0.5", "64MiB"])
def test_a_job_on_the_card_gives_the_scores_of_the_cpu(
    tmp_path: Path, files: Path, on_cpu: pa.Table, gpu_memory: str
) -> None:
    """Every row, in order, also where the worker may take little of the card's memory; the card is named."""
    flags = ("--device", "cuda", "--gpu-memory", gpu_memory, "--data-root", str(files))
    with served(tmp_path / "data", *flags) as (client, _):
        job = scored(client, files)
        assert job.wait().state is State.SUCCEEDED
        (status,) = [line for line in client.status() if line.job_id == job.id]
        assert status.device == "cuda:0"
        assert_same(result(job), on_cpu)
        assert "cuda:0" in [device.id for device in client.devices()]


def test_a_write_to_a_stray_address_costs_a_worker_and_no_job(
    tmp_path: Path, files: Path, on_cpu: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that sticks to the process: both jobs end well on the worker's successor, with the same rows."""
    order = tmp_path / "order"
    monkeypatch.setenv("STRAY_WRITE", str(order))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(BROKEN_WORKER), os.environ.get("PYTHONPATH", "")]))
    flags = ("--device", "cuda:0", "--data-root", str(files))
    with served(tmp_path / "data", *flags) as (client, server):
        calm = scored(client, files)
        assert calm.wait().state is State.SUCCEEDED
        (before,) = workers_of(server)
        order.touch()
        jobs = [scored(client, files) for _ in range(2)]
        for job in jobs:
            assert job.wait().state is State.SUCCEEDED
            assert_same(result(job), on_cpu)
        assert not order.exists()
        (after,) = workers_of(server)
        assert after.pid != before.pid
        retried = [
            event for job in jobs for event in job.watch() if event.type is EventType.PARTITION_RETRIED
        ]
        assert retried
        assert any("cuda" in event.message for event in retried)
