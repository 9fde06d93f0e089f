"""A worker that hangs is found, killed and replaced; what it had goes on elsewhere, or ends with a clear error."""

import os
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import scorestream
from scorestream import EventType, State
from served import served, workers_of

HANG = Path(__file__).with_name("hang")
ROWS = 200_000
ROWS_AT_ONCE = 5_000
STALL = ("--stall-seconds", "4")
"""A tick is 0.4 seconds then; a worker that neither answers nor computes is stopped after 2.4 seconds."""


def rows(session: scorestream.Session) -> scorestream.Table:
    return session.load_table(
        pa.table({"id": np.arange(ROWS), "a": np.arange(ROWS, dtype=float)}), name="rows"
    )


def retried(job: scorestream.Job) -> list[str]:
    return [event.message for event in job.watch() if event.type is EventType.PARTITION_RETRIED]


def check(job: scorestream.Job) -> None:
    assert job.wait().state is State.SUCCEEDED
    found = pa.Table.from_batches(job.results())
    assert found["id"].to_pylist() == list(range(ROWS))
    assert found["b"].to_pylist() == [value * 2.0 for value in range(ROWS)]


def test_a_stopped_worker_is_replaced_and_costs_nothing(tmp_path: Path) -> None:
    """SIGSTOP in the middle of a job: every row comes once and in order, and the event says why it took longer."""
    with served(tmp_path / "data", "--device", "cpu", *STALL) as (client, server):
        session = client.create_session("faults")
        model = client.register_model("double", source="a * 2 AS b")
        table = rows(session)
        (worker,) = workers_of(server)
        job = session.score(model, table, keep=["id"], partition_rows=ROWS_AT_ONCE)
        for event in job.watch():
            if event.type is EventType.PARTITION_COMMITTED:
                worker.send_signal(signal.SIGSTOP)
                break
        check(job)
        reasons = retried(job)
        assert reasons
        assert all(
            "was stopped because it neither answered nor computed for 2.4 seconds" in told for told in reasons
        )
        assert worker.pid not in [other.pid for other in workers_of(server)]
        check(session.score(model, table, keep=["id"], partition_rows=ROWS_AT_ONCE))


@pytest.mark.parametrize("how", ["loop", pytest.param("wait", marks=pytest.mark.long)])
def test_a_partition_that_hangs_once_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """An endless loop, or a wait without end, in one lane: the rest of the worker answers, and yet it is found."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HANG), os.environ.get("PYTHONPATH", "")]))
    hung = tmp_path / "hung"
    # The checksum of a partition's file is taken when it is written.
    environment = {"HANG_AT": r"^open \S*\.tmp$", "HANG": how, "HANG_ONCE": str(hung)}
    with served(tmp_path / "data", "--device", "cpu", *STALL, environment=environment) as (client, _):
        session = client.create_session("faults")
        model = client.register_model("double", source="a * 2 AS b")
        table = rows(session)
        job = session.score(model, table, keep=["id"], partition_rows=ROWS_AT_ONCE)
        check(job)
        assert hung.exists()
        assert any("made no progress with a task for 4 seconds" in told for told in retried(job))


@pytest.mark.parametrize("how", ["loop", pytest.param("wait", marks=pytest.mark.long)])
def test_a_model_whose_parser_never_ends_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It is not tried again, and the next model is taken as ever."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HANG), os.environ.get("PYTHONPATH", "")]))
    environment = {"HANG_AT": r"^open \S*endless\.sql$", "HANG": how}
    (tmp_path / "endless.sql").write_text("a AS b")
    with served(tmp_path / "data", "--device", "cpu", *STALL, environment=environment) as (client, server):
        client.register_model("before", source="a AS b")
        (worker,) = workers_of(server)
        with pytest.raises(scorestream.DeadlineExceededError, match="Nothing moved for 4 seconds") as caught:
            client.register_model("endless", path=tmp_path / "endless.sql")
        assert caught.value.reason == "TASK_STALLED"
        assert "--stall-seconds" in str(caught.value)
        client.register_model("after", source="a AS b")
        assert worker.pid not in [other.pid for other in workers_of(server)]
        assert {model.id for model in client.models()} == {"before@1", "after@1"}
