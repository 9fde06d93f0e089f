"""Cards that run full, break, or cannot be opened: jobs go on, and people are told."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xgboost

import scorestream
from cuda_machine import CudaMachine, both_work
from scorestream import EventType, State

ROWS, FEATURES = 2000, 6
NAMES = [f"f{place}" for place in range(FEATURES)]


@pytest.fixture(scope="module")
def machine(cuda_machine: Callable[[], CudaMachine]) -> CudaMachine:
    return cuda_machine()


@pytest.fixture(scope="module")
def server(machine: CudaMachine) -> Iterator[scorestream.Client]:
    """A server with both cards that may write into the machine's folder."""
    with machine.served("--device", "cuda", "--data-root", str(machine.folder)) as (client, _):
        both_work(client)
        yield client


@pytest.fixture(scope="module")
def model(server: scorestream.Client, machine: CudaMachine) -> scorestream.Model:
    random = np.random.default_rng(8)
    values = random.normal(size=(500, FEATURES))
    data = xgboost.DMatrix(values, values.sum(axis=1), feature_names=NAMES)
    path = machine.folder / "model.ubj"
    xgboost.train({"max_depth": 4, "nthread": 1}, data, 10).save_model(path)
    return server.register_model("forest", path=path)


@pytest.fixture
def session(server: scorestream.Client) -> scorestream.Session:
    return server.create_session("cards")


def score(session: scorestream.Session, model: scorestream.Model, **how: Any) -> scorestream.Job:
    random = np.random.default_rng(9)
    columns = {name: random.normal(size=ROWS) for name in NAMES}
    rows = session.load_table(pa.table({"id": np.arange(ROWS), **columns}), name="rows", replace=True)
    return session.score(model, rows, keep=["id"], partition_rows=50, **how)


def test_a_card_that_runs_full_costs_a_warning(
    machine: CudaMachine, session: scorestream.Session, model: scorestream.Model
) -> None:
    """In the middle of a job: the lane goes on with less, no partition is retried, and the scores are the same."""
    calm = score(session, model).wait()
    assert calm.state is State.SUCCEEDED
    machine.fill_at("cuda:1", 8)
    job = score(session, model)
    events = list(job.watch())
    assert job.wait().state is State.SUCCEEDED_WITH_WARNINGS
    (warning,) = (event.message for event in events if event.type is EventType.WARNING)
    assert "cuda:1 ran out of memory" in warning
    assert job.warnings == (warning,)
    assert not [event for event in events if event.type is EventType.PARTITION_RETRIED]
    assert pa.Table.from_batches(job.results()) == pa.Table.from_batches(calm.results())


def test_a_card_that_breaks_costs_nothing(
    machine: CudaMachine,
    server: scorestream.Client,
    session: scorestream.Session,
    model: scorestream.Model,
) -> None:
    """Its worker ends, another takes its place, and both jobs that ran give what undisturbed ones do."""
    calm, disturbed = machine.folder / "calm.parquet", machine.folder / "disturbed.parquet"
    score(session, model, out_path=calm).wait()
    other = server.create_session("beside")
    score(other, model).wait()  # its table is loaded
    machine.break_at("cuda:0", 10)
    jobs = [score(other, model), score(session, model, out_path=disturbed)]
    events = [event for job in jobs for event in job.watch()]
    assert [job.wait().state for job in jobs] == [State.SUCCEEDED] * 2
    retried = [event.message for event in events if event.type is EventType.PARTITION_RETRIED]
    assert retried
    assert all("has no device (cuda:0: " in message for message in retried)
    assert all("illegal memory access" in message for message in retried)
    assert calm.read_bytes() == disturbed.read_bytes()
    first, second = (pa.Table.from_batches(job.results()) for job in jobs)
    assert first == second
    both_work(server)
    again = score(session, model)
    assert {event.device for event in again.watch() if event.device} == {"cuda:0", "cuda:1"}


@pytest.mark.parametrize(
    ("hinder", "reason"),
    [
        (lambda machine: machine.close("cuda:0"), "busy or unavailable"),
        (lambda machine: machine.take_memory("cuda:0", 1000), "no memory to begin with"),
    ],
    ids=["another program has it alone", "another program fills it"],
)
def test_a_card_that_cannot_be_opened_is_an_error_with_the_reason(
    cuda_machine: Callable[[], CudaMachine], hinder: Callable[[CudaMachine], None], reason: str
) -> None:
    """Whoever asks for work hears what CUDA says, after three workers have tried."""
    machine = cuda_machine()
    hinder(machine)
    with machine.served("--device", "cuda:0") as (client, _):
        with pytest.raises(scorestream.UnavailableError, match=reason) as caught:
            client.register_model("sum", source="a + b AS c")
        assert caught.value.reason == "NO_WORKER"
        assert "cuda:0" in str(caught.value)
