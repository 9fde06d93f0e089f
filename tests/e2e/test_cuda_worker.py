"""A server with two cards, end to end: real processes, and `device/cuda.py` on a stand-in for CuPy."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pytest
import xgboost

import scorestream
from cuda_machine import CudaMachine, both_work
from scorestream import EventType, State

ROWS, FEATURES = 3000, 8
NAMES = [f"f{place}" for place in range(FEATURES)]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def machine(cuda_machine: Callable[[], CudaMachine]) -> CudaMachine:
    return cuda_machine()


@pytest.fixture(autouse=True)
def identified(monkeypatch: pytest.MonkeyPatch) -> None:
    """These servers ask nobody for a token."""
    monkeypatch.delenv("SCORESTREAM_TOKEN", raising=False)


@pytest.fixture(scope="module")
def server(machine: CudaMachine) -> Iterator[scorestream.Client]:
    """A server that finds its devices by itself."""
    with machine.served("--device", "auto") as (client, _):
        both_work(client)
        yield client


@pytest.fixture(scope="module")
def rows() -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Rows with missing values, infinities and zeros of both signs."""
    random = np.random.default_rng(7)
    values = random.normal(size=(ROWS, FEATURES))
    strange = random.random(values.shape)
    for place, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0)):
        values[(strange > place * 0.02) & (strange < (place + 1) * 0.02)] = value
    return values


def xgboost_model(folder: Path, rows: Any) -> Path:
    labels = (np.nan_to_num(rows[:, 0]) + np.nan_to_num(rows[:, 1], posinf=1, neginf=-1) > 0).astype(float)
    usable = np.where(np.isinf(rows), np.nan, rows)
    matrix = xgboost.DMatrix(usable, labels, feature_names=NAMES)
    settings = {"objective": "binary:logistic", "max_depth": 5, "nthread": 1}
    xgboost.train(settings, matrix, 20).save_model(folder / "model.ubj")
    return folder / "model.ubj"


def lightgbm_model(folder: Path, rows: Any) -> Path:
    labels = np.nan_to_num(rows, posinf=1, neginf=-1).sum(axis=1)
    settings = {"objective": "regression", "verbose": -1, "num_threads": 1, "num_leaves": 20}
    data = lightgbm.Dataset(rows, labels, feature_name=NAMES)
    lightgbm.train(settings, data, 20).save_model(folder / "model.txt")
    return folder / "model.txt"


def scored(client: scorestream.Client, model: Path, rows: Any, **how: Any) -> scorestream.Job:
    session = client.create_session("cards")
    registered = client.register_model(model.stem + model.suffix[1:], path=model)
    columns = {name: rows[:, place] for place, name in enumerate(NAMES)}
    table = session.load_table(pa.table({"id": np.arange(len(rows)), **columns}), name="rows")
    return session.score(registered, table, keep=["id"], **how)


def scores(job: scorestream.Job) -> "np.ndarray[Any, np.dtype[np.float64]]":
    result = pa.Table.from_batches(job.results())
    assert result["id"].to_pylist() == list(range(ROWS))
    return np.asarray(result["score"].to_numpy(), np.float64)


@pytest.mark.parametrize(("make", "tolerance"), [(xgboost_model, 1e-6), (lightgbm_model, 1e-12)])
def test_a_card_gives_the_scores_of_the_cpu(
    server: scorestream.Client,
    local: scorestream.Client,
    rows: Any,
    make: Callable[[Path, Any], Path],
    tolerance: float,
    tmp_path: Path,
) -> None:
    """Every partition was scored by a lane of a card, both cards worked, and the scores are the CPU's."""
    model = make(tmp_path, rows)
    job = scored(server, model, rows, partition_rows=100)
    committed = [event for event in job.watch() if event.type is EventType.PARTITION_COMMITTED]
    assert job.wait().state is State.SUCCEEDED
    assert {event.device for event in committed} == {"cuda:0", "cuda:1"}
    assert all(event.lane is not None for event in committed)
    (row,) = (row for row in server.status("cards") if row.job_id == job.id)
    assert set(row.device.split(",")) == {"cuda:0", "cuda:1"}
    expected = scores(scored(local, model, rows))
    assert len(np.unique(expected)) > 100
    np.testing.assert_allclose(scores(job), expected, rtol=tolerance, atol=0)


def test_the_command_line_lists_the_cards(server: scorestream.Client, run: Run) -> None:
    """Each with what its driver reports and the lanes of its worker; the CPU is there and has none."""
    first, second, cpu = server.devices()
    assert (first.id, second.id, cpu.id) == ("cuda:0", "cuda:1", "cpu")
    assert (second.name, second.memory_total, second.temperature) == ("NVIDIA L4", 80 << 30, 61.0)
    assert (first.lanes, second.lanes, cpu.lanes) == (3, 3, 0)
    told = json.loads(run("device", "list", "-o", "json", "--server", server.address).stdout)
    assert [device["id"] for device in told] == ["cuda:0", "cuda:1", "cpu"]
    table = run("device", "list", "--server", server.address).stdout
    assert "NVIDIA L4" in table and "of 3" in table


def test_one_card_is_asked_for_by_name(
    cuda_machine: Callable[[], CudaMachine], rows: Any, tmp_path: Path
) -> None:
    """The other one is left alone: all work is done on the one named."""
    machine = cuda_machine()
    machine.close("cuda:0")
    with machine.served("--device", "cuda:1") as (client, _):
        job = scored(client, xgboost_model(tmp_path, rows), rows, partition_rows=500)
        assert job.wait(60).state is State.SUCCEEDED
        (row,) = client.status("cards")
        assert row.device == "cuda:1"


def test_a_card_that_is_not_there_is_refused_at_the_start(
    cuda_machine: Callable[[], CudaMachine], tmp_path: Path
) -> None:
    """The command line says which cards there are."""
    command = [sys.executable, "-m", "scorestream_server", "--device", "cuda:2", "--data-dir", str(tmp_path)]
    environment = {**os.environ, **cuda_machine().environment()}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert "this server may use cuda:0, cuda:1" in ended.stderr


def test_c3_a_contexts_workers_have_the_device_that_it_asks_for(
    server: scorestream.Client, rows: Any, tmp_path: Path
) -> None:
    """A card, the CPU beside cards, or whichever the fewest have; each scores the same."""
    model = server.register_model("by_context", path=xgboost_model(tmp_path, rows))
    columns = {name: rows[:, place] for place, name in enumerate(NAMES)}
    table = pa.table({"id": np.arange(len(rows)), **columns})
    found = []
    for context, device in (("card", "cuda:1"), ("processor", "cpu")):
        server.contexts.create(context, device=device)
        with server.create_session(context, context=context) as session:
            job = session.score(
                model, session.load_table(table, name="rows"), keep=["id"], partition_rows=500
            )
            assert job.wait(60).state is State.SUCCEEDED
            committed = [event for event in job.watch() if event.type is EventType.PARTITION_COMMITTED]
            assert {event.device for event in committed} == {device}
            assert [worker.device for worker in server.contexts.workers(context).workers] == [device]
            found.append(scores(job))
        server.contexts.delete(context)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=0)
