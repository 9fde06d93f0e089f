"""Rows E1 to E9 of the list of features: services and batches, as programs for ML Server know them.

The faults of the client that those programs had are named in the tests that show their absence.
"""

import asyncio
import importlib.util
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import scorestream
import scorestream.aio
from scorestream.mlserver import DeployClient, MLServer, MLServerService
from served import started

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
EXAMPLES = Path(__file__).parents[2] / "examples"
CARS = [{"hp": 110.0, "wt": 2.62}, {"hp": 93.0, "wt": 2.32}, {"hp": 175.0, "wt": 3.44}]
ANSWERS = [37.0 - 0.03 * car["hp"] - 3.9 * car["wt"] for car in CARS]


@pytest.fixture
def service(local: scorestream.Client) -> scorestream.Service:
    """A linear model of a car's horsepower and weight, under a name of one test's own."""
    name = f"cars_{uuid.uuid4().hex[:8]}"
    local.register_model(name, source="37.0 - 0.03 * hp - 3.9 * wt AS answer")
    return local.get_service(name)


@pytest.fixture(scope="module")
def credit(local: scorestream.Client) -> scorestream.Service:
    """A model of 500 trees, which takes a while."""
    local.register_model("credit_batches", path=EXAMPLES / "credit_model.ubj")
    return local.get_service("credit_batches")


@pytest.fixture
def long(credit: scorestream.Service) -> Iterator[scorestream.Batch]:
    """A batch that is not done for a second or more: one part of it at a time."""
    rows = 300_000
    zeros = np.zeros(rows, np.float32)
    batch = credit.batch(pa.table({one.name: zeros for one in credit.inputs}), parallel_count=1)
    yield batch
    if batch.execution_id is not None:
        batch.cancel()


def answers(result: scorestream.BatchResult) -> list[float]:
    return [float(execution.output("answer")) for execution in result]


def test_e1_a_service_is_had_by_name_and_version(
    local: scorestream.Client, service: scorestream.Service, ask: Ask, run: Run
) -> None:
    """Its version may be written as there; it says what it reads and gives; a wrong one is told apart."""
    name = service.name
    for version in (None, 1, "1", "v1", "1.0", "v1.0.0"):
        assert local.get_service(name, version=version).version == 1
    local.register_model(name, source="hp AS answer")
    assert (local.get_service(name).version, local.get_service(name, "1.0").version) == (2, 1)
    assert repr(service) == f"<Service {name} 1: hp, wt -> answer: float64>"
    assert "Inputs: hp, wt" in (service.__doc__ or "")
    assert [(one.name, one.version) for one in local.list_services(name)] == [(name, 1), (name, 2)]
    with pytest.raises(scorestream.NotFoundError, match=name):
        local.get_service(name, version="3.0")
    with pytest.raises(scorestream.NotFoundError, match="no_such_service"):
        local.get_service("no_such_service")
    for bad in ("1.1", "0", "", True):
        with pytest.raises(scorestream.InvalidArgumentError, match="versions are counted"):
            local.get_service(name, version=bad)
    assert [one["version"] for one in ask("service", "list", "--prefix", name)] == [1, 2]
    shown = ask("service", "show", name, "--version", "1.0")
    assert (shown["inputs"], shown["outputs"]) == (["hp", "wt"], {"answer": "float64"})
    assert "hp, wt" in run("service", "show", name, "--version", 1, "--server", local.address).stdout


def test_e1_records_in_whatever_they_are_held(
    local: scorestream.Client, service: scorestream.Service, ask: Ask, run: Run, tmp_path: Path
) -> None:
    """Data frame, dictionaries, lists, CSV, TSV and Arrow streams are the same batch; what is not read is not sent."""
    columns = {name: [car[name] for car in CARS] for name in ("hp", "wt")}
    frame = pd.DataFrame({"car": ["a", "b", "c"], **columns}, index=[7, 8, 9])
    frame[["wt", "hp"]].to_csv(tmp_path / "cars.csv", index=False)
    frame.to_csv(tmp_path / "cars.tsv", index=False, sep="\t")
    table = pa.table(columns)
    for records in (
        frame,
        CARS,
        columns,
        {name: np.array(values) for name, values in columns.items()},
        tmp_path / "cars.csv",
        str(tmp_path / "cars.tsv"),
        table,
        table.to_batches()[0],
        table.to_reader(),
    ):
        batch = service.batch(records).start()
        result = batch.wait(60)
        assert (result.state, result.completed_item_count, result.total_item_count) == ("complete", 3, 3)
        assert answers(result) == pytest.approx(ANSWERS)
        assert batch.parallel_count == 10
    assert service.batch(frame).ignored == ("car",)
    found = result.to_pandas()
    assert (list(found.columns), list(found.index)) == (["answer"], [0, 1, 2])
    assert pa.table(result)["answer"].to_pylist() == pytest.approx(ANSWERS)
    start = ("batch", "start", service.name, tmp_path / "cars.csv", "--parallel-count", 3, "--wait")
    sent = json.loads(run(*start, "-o", "json", "--server", local.address).stdout.splitlines()[-1])
    assert (sent["state"], sent["completed_item_count"], sent["parallel_count"]) == ("complete", 3, 3)
    assert ask("batch", "results", sent["execution_id"], "--to", "answers.csv")["rows"] == 3
    assert pd.read_csv(tmp_path / "answers.csv")["answer"].tolist() == pytest.approx(ANSWERS)


def test_e1_records_that_are_none_are_told_before_anything_is_sent(service: scorestream.Service) -> None:
    """Lengths, missing fields and their likely meaning, and records, are named."""
    for records, words in [
        ({"hp": [1, 2, 3], "wt": [1, 2]}, r"'hp' has 3, 'wt' has 2"),
        ({"HP": [1], "weight": [2]}, r"'hp' \(did you mean 'HP'\?\); no 'wt'"),
        ([{"hp": 1, "wt": 2}, {"hp": 3}], r"record 1: has no 'wt'"),
        ([{"hp": 1, "wt": 2}, [3, 4]], r"Record 1 is a list"),
        ({"hp": 1, "wt": 2}, r"'hp' is no list"),
        (
            [{"hp": "x", "wt": 2}, {"hp": 3, "wt": 2}],
            r"'hp' make no column of one type: str \(first in record 0\)",
        ),
        (pd.DataFrame([[1, 2, 3]], columns=["hp", "wt", "wt"]), r"the name 'wt'"),
        (42, r"not a int"),
    ]:
        with pytest.raises(scorestream.InvalidArgumentError, match=words):
            service.batch(records)
    with pytest.raises(scorestream.NotFoundError, match=r"nowhere\.csv"):
        service.batch("nowhere.csv")
    with pytest.raises(scorestream.InvalidArgumentError, match="retention"):
        service.batch(CARS, retention=-1)
    for count in (0, -1, True):
        with pytest.raises(scorestream.InvalidArgumentError, match="parallel_count"):
            service.batch(CARS, parallel_count=count)
    assert service.list_batch_executions() == []
    nothing: list[Any] = [[], {"hp": [], "wt": []}, pd.DataFrame(CARS).head(0)]
    for none in nothing:
        done = service.batch(none).start().wait(60)
        assert (done.state, done.completed_item_count, list(done)) == ("complete", 0, [])
        with pytest.raises(IndexError, match="0 records"):
            done.execution(0)


def test_e2_batches_are_listed_and_found_from_anywhere(
    local: scorestream.Client, service: scorestream.Service, ask: Ask
) -> None:
    """Newest first, of this service and version alone, and by identifier from another client."""
    batches = [service.batch(CARS).start() for _ in range(2)]
    local.register_model(service.name, source="hp AS answer")
    other = local.get_service(service.name)
    other.batch(CARS).start().wait(60)
    ids = [batch.execution_id for batch in reversed(batches)]
    assert service.list_batch_executions() == service.get_batch_executions() == ids
    assert len(other.list_batch_executions()) == 1
    with scorestream.connect(local.address, token=local.token) as elsewhere:
        found = elsewhere.get_service(service.name, 1).get_batch(str(ids[0]))
        assert answers(found.wait(60)) == pytest.approx(ANSWERS)
        assert elsewhere.get_batch(str(ids[0])).parallel_count == 10
    with pytest.raises(scorestream.NotFoundError, match=f"that is one of {service.name}@1"):
        other.get_batch(str(ids[0]))
    with pytest.raises(scorestream.NotFoundError):
        service.get_batch("nothing-like-it")
    listed = ask("batch", "list", service.name, "--version", 1)
    assert [one["execution_id"] for one in listed] == ids
    assert ask("batch", "show", ids[0])["total_item_count"] == 3
    assert ids[0] in [job.id for job in local.jobs(limit=100)]


def test_e1_parallel_count_is_for_jobs_too(
    local: scorestream.Client, session: scorestream.Session, service: scorestream.Service, ask: Ask
) -> None:
    """A job says how many of its partitions may run at a time; unless it does, as many as there are lanes for."""
    job = session.score(service.name, pa.table({"hp": [1.0], "wt": [2.0]}), parallel_count=3).wait()
    assert (job.info.parallel_count, job.info.is_batch) == (3, False)
    assert session.score(service.name, session.tables()[0]).info.parallel_count == 0
    told = ask("job", "submit", session.id, service.name, session.tables()[0].name, "--parallel-count", 2)
    assert told["parallel_count"] == 2
    with pytest.raises(scorestream.InvalidArgumentError, match="parallel_count"):
        session.score(service.name, session.tables()[0], parallel_count=-1)
    with pytest.raises(scorestream.NotFoundError, match="a job, and no batch"):
        local.get_batch(job.id)


def test_e2_a_batch_is_there_after_the_server_was_killed(tmp_path: Path) -> None:
    """What it gave outlives its client and its server."""
    with started(tmp_path / "data", "--device", "cpu", "--workers", "1") as (address, server):
        with scorestream.connect(address, token="") as client:
            client.register_model("cars", source="37.0 - 0.03 * hp - 3.9 * wt AS answer")
            batch = client.get_service("cars").batch(CARS, retention=3600).start()
            batch.wait(60)
            session = client.get_session(batch.job.session_id)
            assert session.info.inactive_timeout == 3600
            assert [table.info.lifetime for table in session.tables()] == [86_400]
        server.kill()
        server.wait()
    with (
        started(tmp_path / "data", "--device", "cpu", "--workers", "1") as (address, _),
        scorestream.connect(address, token="") as client,
    ):
        service = client.get_service("cars")
        assert service.list_batch_executions() == [batch.execution_id]
        assert answers(service.get_batch(str(batch.execution_id)).results()) == pytest.approx(ANSWERS)


def test_e3_a_batch_starts_once(service: scorestream.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting again does nothing, also where the answer to the first start was lost on its way."""
    batch = service.batch(CARS)
    assert (batch.execution_id, batch.state) == (None, "ready")
    with pytest.raises(scorestream.FailedPreconditionError, match=r"call start\(\)"):
        batch.results()
    create = batch._connection.call
    lost: list[Any] = []

    def unheard(method: Any, request: Any, *, repeat: bool = True) -> Any:
        answer = create(method, request, repeat=repeat)
        if type(request).__name__ == "CreateJobRequest" and not lost:
            lost.append(answer)
            raise scorestream.UnavailableError("gone")
        return answer

    monkeypatch.setattr(batch._connection, "call", unheard)
    with pytest.raises(scorestream.UnavailableError):
        batch.start()
    assert batch.execution_id is None
    assert batch.start() is batch
    execution = batch.execution_id
    assert batch.start().execution_id == execution
    assert service.list_batch_executions() == [execution]
    assert answers(batch.wait(60)) == pytest.approx(ANSWERS)


def test_e3_cancelling_keeps_the_record(
    credit: scorestream.Service, long: scorestream.Batch, ask: Ask
) -> None:
    """There, cancelling deleted the batch. Here it stays, with what was scored and why the rest was not."""
    long.start()
    assert long.cancel() is long
    with pytest.raises(scorestream.JobCancelledError):
        long.wait(60)
    assert (long.state, long.state()) == ("canceled", "Cancelled")
    result = credit.get_batch(str(long.execution_id)).results()
    assert result.completed_item_count < result.total_item_count == 300_000
    last = result.execution(299_999)
    assert (last.success, "canceled before" in last.error, last.outputs) == (False, True, {})
    assert all(execution.success for execution, _ in zip(result, range(10), strict=False))
    assert str(long.execution_id) in credit.list_batch_executions()
    assert ask("batch", "cancel", long.execution_id)["state"] == "canceled"


class Spy:
    """Stands before a method of a connection, counts what it is asked and what comes back."""

    def __init__(self, method: Any) -> None:
        self._method = method
        self.requests: list[Any] = []
        self.rows = 0

    def __call__(self, request: Any, **more: Any) -> Iterator[Any]:
        self.requests.append(request)
        call = self._method(request, **more)

        class Counted:
            cancel = call.cancel

            def __iter__(_) -> Iterator[Any]:  # noqa: N805 - `self` is the spy
                for message in call:
                    self.rows += message.rows
                    yield message

        return Counted()  # type: ignore[return-value]


def test_e4_only_new_rows_travel(long: scorestream.Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, every poll brought all results again. Here polls go on behind the last row that is there."""
    spy = Spy(long._connection.jobs.ReadResults)
    monkeypatch.setattr(long._connection.jobs, "ReadResults", spy)
    long.start()
    seen, polls = 0, 0
    for event in long.job.watch():
        if event.type is not scorestream.EventType.PARTITION_COMMITTED:
            continue
        result = long.results()
        assert seen <= result.completed_item_count <= result.total_item_count == 300_000
        if 0 < result.completed_item_count < result.total_item_count:
            polls += 1
            assert result.execution(result.completed_item_count - 1).success
            if not result.state.final:
                with pytest.raises(scorestream.FailedPreconditionError, match="not scored yet"):
                    result.execution(299_999)
        seen = result.completed_item_count
    assert long.results().state == "complete"
    assert polls > 0
    assert spy.rows == 300_000
    offsets = [request.offset for request in spy.requests]
    assert offsets == sorted(offsets)
    long.results()
    assert spy.rows == 300_000


def test_e4_results_may_wait_for_the_end(long: scorestream.Batch) -> None:
    """Without partial results, rows come only once the batch is over; it tells how far it is meanwhile."""
    early = long.start().results(show_partial_results=False)
    assert (early.state.final, early.total_item_count, list(early)) == (False, 300_000, [])
    with pytest.raises(scorestream.FailedPreconditionError, match="partial results were not asked for"):
        early.execution(0)
    long.cancel()


def test_e4_records_are_counted_from_0(service: scorestream.Service, run: Run, local: Any) -> None:
    """An index that no record has says how many there are."""
    batch = service.batch(CARS).start()
    result = batch.wait(60)
    assert [result.execution(index).index for index in (0, 2)] == [0, 2]
    assert batch.execution(1).outputs == {"answer": pytest.approx(ANSWERS[1])}
    for index in (-1, 3):
        with pytest.raises(IndexError, match="the batch has 3 records, counted from 0"):
            result.execution(index)
    with pytest.raises(scorestream.InvalidArgumentError, match="there are: answer"):
        result.execution(0).output("response")
    lines = run("batch", "results", batch.execution_id, "-o", "json", "--server", local.address).stdout
    told = [json.loads(line) for line in lines.splitlines()]
    assert [one["outputs"]["answer"] for one in told] == pytest.approx(ANSWERS)
    assert all(one["success"] and not one["error"] and not one["console_output"] for one in told)
    assert "3 of 3 records" in repr(result)


LETTERS = """
CASE WHEN hp <= 0 THEN ERROR('no horses') ELSE 37.0 - 0.03 * hp - 3.9 * wt END AS answer,
CASE WHEN hp > 100 THEN 'Dear owner of ' || FORMAT(hp, 0) || ' horses' END AS letter,
'answer' AS note
"""


@pytest.fixture
def letters(local: scorestream.Client) -> scorestream.Service:
    """A service that writes letters to owners of strong cars, a note to all, and takes no car without horses."""
    name = f"letters_{uuid.uuid4().hex[:8]}"
    files = {"letter.txt": "letter", "note.txt": "note"}
    local.register_model(name, source=LETTERS, artifacts=files)
    return local.get_service(name)


def test_e5_each_record_has_its_outcome(letters: scorestream.Service) -> None:
    """One that cannot be scored says why, and costs the others nothing."""
    batch = letters.batch([*CARS, {"hp": 0.0, "wt": 1.0}]).start()
    result = batch.wait(60)
    assert (result.state, result.completed_item_count, result.failed_item_count) == ("Complete", 4, 1)
    assert [one.success for one in result] == [True, True, True, False]
    assert [one.artifacts for one in result][:2] == [("letter.txt", "note.txt"), ("note.txt",)]
    good, bad = result.execution(0), result.execution(3)
    assert good.outputs == {"answer": pytest.approx(ANSWERS[0])}
    assert (good.error, good.console_output) == ("", "")
    assert (bad.outputs, "no horses" in bad.error) == ({}, True)
    assert "1 failed" in repr(result)
    with pytest.raises(scorestream.InvalidArgumentError, match="no horses"):
        bad.output("answer")
    assert letters.consume(hp=0, wt=1).error == bad.error


def test_e6_files_of_a_record_are_listed_read_and_downloaded(
    local: scorestream.Client, letters: scorestream.Service, ask: Ask, tmp_path: Path
) -> None:
    """By index and name; the directory must be there, and gets them under their names."""
    batch = letters.batch(CARS).start()
    batch.wait(60)
    assert batch.list_artifacts(0) == ["letter.txt", "note.txt"]
    assert batch.list_artifacts(1) == ["note.txt"]
    assert batch.artifact(2, "letter.txt") == b"Dear owner of 175 horses"
    with pytest.raises(scorestream.NotFoundError, match=r"letter\.txt"):
        batch.artifact(1, "letter.txt")
    with pytest.raises(IndexError, match="3 records"):
        batch.list_artifacts(3)
    with pytest.raises(NotADirectoryError, match="nowhere"):
        batch.download(0, destination=tmp_path / "nowhere")
    assert batch.download(0, destination=tmp_path) == [tmp_path / "letter.txt", tmp_path / "note.txt"]
    assert (tmp_path / "letter.txt").read_bytes() == b"Dear owner of 110 horses"
    with pytest.raises(scorestream.AlreadyExistsError):
        batch.download(2, "letter.txt", tmp_path)
    old = DeployClient(local.address, use=MLServer, auth=local.token).get_service(letters.name)
    again = old.get_batch(str(batch.execution_id))
    assert again.download(2, fileName="letter.txt", dest=tmp_path) == [tmp_path / "letter.txt"]
    assert again.artifact(2, fileName="letter.txt") == (tmp_path / "letter.txt").read_bytes()
    assert ask("batch", "artifacts", batch.execution_id, 1) == ["note.txt"]
    (tmp_path / "elsewhere").mkdir()
    assert ask("batch", "download", batch.execution_id, 1, "--to", "elsewhere") == ["elsewhere/note.txt"]


def test_e7_a_state_is_told_and_is_a_name(service: scorestream.Service, long: scorestream.Batch) -> None:
    """There, `state()` gave nothing, and programs compare with "Complete". Here every spelling of it is equal."""
    batch = service.batch(CARS).start()
    batch.wait(60)
    assert batch.state == batch.state() == "complete" == batch.results().state == "Complete"
    assert batch.state != "Failed"
    assert f"{batch.state}" == "complete"
    assert long.start().state in {"pending", "inProgress"}
    assert not long.state.final


def test_e8_one_record_is_one_call(local: scorestream.Client, service: scorestream.Service, ask: Ask) -> None:
    """By position, by name, or as a dictionary; nothing is left of it on the server."""
    before = len(local.sessions(include_ended=False))
    for found in (service.consume(110, 2.62), service.consume(hp=110, wt=2.62), service.consume(CARS[0])):
        assert (found.success, found.error) == (True, "")
        assert found.output("answer") == pytest.approx(ANSWERS[0])
    assert len(local.sessions(include_ended=False)) == before
    assert service.list_batch_executions() == []
    with pytest.raises(scorestream.InvalidArgumentError, match="no 'wt'"):
        service.consume(110)
    with pytest.raises(scorestream.InvalidArgumentError, match="3 values for 2 inputs"):
        service.consume(1, 2, 3)
    with pytest.raises(scorestream.InvalidArgumentError, match="by position and by name: 'hp'"):
        service.consume(110, hp=93, wt=2)
    called = ask("service", "consume", service.name, "hp=110", "wt=2.62")
    assert called["outputs"]["answer"] == pytest.approx(ANSWERS[0])
    old = DeployClient(f"http://{local.address}/", use="azureml.deploy.server.MLServer", auth=local.token)
    mine = old.get_service(service.name, version="1.0")
    assert getattr(mine, service.name)(110, 2.62).output("answer") == pytest.approx(ANSWERS[0])
    assert mine.capabilities()["operation_id"] == service.name
    with pytest.raises(AttributeError, match="manualTransmission"):
        _ = mine.manualTransmission


def test_e9_a_service_scores_in_the_pool_that_it_is_given(
    local: scorestream.Client, service: scorestream.Service
) -> None:
    """A service's pool is a context's: its sizes hold, and its workers score the batches."""
    with DeployClient(local.address, use=MLServer, auth=("admin", local.token)) as old:
        old.create_or_update_service_pool(service.name, "1.0", initial_pool_size=0, maximum_pool_size=1)
        pool = f"{service.name}-1"
        made = local.contexts.get(pool)
        assert (made.server_min_available, made.server_max_available) == (0, 1)
        pooled = old.get_service(service.name, "1.0")
        assert (pooled.context, local.get_service(service.name, context=pool).context) == (pool, pool)
        batch = pooled.batch(CARS).start()
        assert answers(batch.wait(60)) == pytest.approx(ANSWERS)
        session = local.get_session(batch.job.session_id)
        assert session.context == pool
        session.terminate()
        old.delete_service_pool(service.name, "1.0")
        assert old.get_service(service.name).context == ""
    with pytest.raises(scorestream.NotFoundError, match="nowhere"):
        local.get_service(service.name, context="nowhere").batch(CARS).start()


def example(name: str) -> ModuleType:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_program_for_ml_server_runs(
    local: scorestream.Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example of its documentation, with other import lines: its loop ends, and every car has its answer."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    program = example("mtcars_batch")
    model = program.publish(local)
    polls: list[float] = []
    sleep = program.time.sleep

    def briefly(seconds: float) -> None:
        polls.append(seconds)
        sleep(0.01)

    monkeypatch.setattr(program.time, "sleep", briefly)
    program.score_cars(f"http://{local.address}", ("admin", local.token))
    told = capsys.readouterr().out
    assert "Batch execution succeeded" in told
    assert set(polls) <= {1}
    cars = program.get_dataset("mtcars").as_df()
    assert cars.shape == (32, 11)
    inputs = np.column_stack([np.ones(32), cars["hp"], cars["wt"]])
    expected = inputs @ np.linalg.lstsq(inputs, cars["am"], rcond=None)[0]
    lines = [line for line in told.splitlines() if "{'answer':" in line]
    assert [float(line.rpartition(":")[2].strip(" }")) for line in lines] == pytest.approx(expected.tolist())
    assert model.name == "LinModService"


def test_the_old_names_of_arguments_are_understood(
    local: scorestream.Client, service: scorestream.Service
) -> None:
    """`parallelCount` and `showPartialResults` are what they are there; a name that neither has is refused."""
    old = DeployClient(local.address, use=MLServer, auth=local.token)
    mine = old.get_service(service.name)
    assert isinstance(mine, MLServerService)
    batch = mine.batch(CARS, parallelCount=4).start()
    assert batch.parallel_count == 4
    batch.wait(60)
    assert batch.results(showPartialResults=False).completed_item_count == 3
    assert mine.get_batch(str(batch.execution_id)).results(showPartialResults=True).state == "Complete"
    with pytest.raises(TypeError, match="parallelcount"):
        mine.batch(CARS, parallelcount=4)
    with pytest.raises(scorestream.InvalidArgumentError, match="token"):
        DeployClient(local.address, use=MLServer, auth={"authuri": "https://login"})  # type: ignore[arg-type]
    with pytest.raises(scorestream.InvalidArgumentError, match="MLServer"):
        DeployClient(local.address, use="RServer", auth=local.token)


def test_records_are_sent_in_pieces(long: scorestream.Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, all records were one JSON text. Here no message is larger than 2 MiB and a little, whatever their number."""
    sizes: list[int] = []
    send = long._connection.send

    def measured(method: Any, messages: Callable[[], Iterator[Any]], *, repeat: bool) -> Any:
        def counted() -> Iterator[Any]:
            for message in messages():
                sizes.append(message.ByteSize())
                yield message

        return send(method, counted, repeat=repeat)

    monkeypatch.setattr(long._connection, "send", measured)
    long.start()
    assert sum(sizes) > 300_000 * 23 * 4
    assert max(sizes) < (2 << 20) + 4096


def test_batches_for_asyncio(local: scorestream.Client, service: scorestream.Service) -> None:
    """The asyncio client has the same, awaited: the state too."""

    async def score() -> list[float]:
        async with await scorestream.aio.connect(local.address, token=local.token) as client:
            batch = await (await client.get_service(service.name)).batch(CARS).start()
            result = await batch.wait(60)
            assert await batch.state == "Complete"
            return [execution.output("answer") async for execution in result]

    assert asyncio.run(score()) == pytest.approx(ANSWERS)
