"""Whoever submits a job with several mistakes in it hears of all of them at once."""

from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pytest
import xgboost
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import scorestream
from scorestream.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from served import raw_channel


@pytest.fixture(scope="module")
def forest(client: scorestream.Client, tmp_path_factory: pytest.TempPathFactory) -> scorestream.Model:
    rng = np.random.default_rng(0)
    data = xgboost.DMatrix(rng.normal(size=(50, 2)), rng.normal(size=50), feature_names=["age", "income"])
    path = tmp_path_factory.mktemp("models") / "model.ubj"
    xgboost.train({"max_depth": 2}, data, 2).save_model(path)
    return client.register_model("of_two", path=path)


@pytest.fixture
def table(session: scorestream.Session) -> scorestream.Table:
    rows = pa.table({"Age": [1.0] * 200_000, "income": ["x"] * 200_000})
    return session.load_table(rows, name="rows")


def refusal(by: Callable[[], object]) -> scorestream.ScorestreamError:
    with pytest.raises(scorestream.ScorestreamError) as caught:
        by()
    return caught.value


def test_all_faults_of_a_job_are_told_at_once(
    session: scorestream.Session, forest: scorestream.Model, table: scorestream.Table, tmp_path: Path
) -> None:
    """Features, `where`, `keep`, output and partitions: a sentence and details for each, and no job."""
    path = tmp_path / "out.parquet"
    path.write_bytes(b"precious")
    error = refusal(
        lambda: session.score(
            forest,
            table,
            where="Age > .5 AND\n  xyzq = zip",
            keep=["gone", "score", "Age"],
            out_path=path,
            partition_rows=1,
        )
    )
    assert isinstance(error, scorestream.InvalidArgumentError)
    assert error.reason == "MODEL_DOES_NOT_FIT"
    assert error.metadata["reasons"] == (
        "MODEL_DOES_NOT_FIT, UNKNOWN_COLUMN, KEEP_DOES_NOT_FIT, OUTPUT_EXISTS, TOO_MANY_PARTITIONS"
    )
    age, income = "missing (did you mean 'Age'?)", "has type string, the model takes a number"
    no_column = "the table has no such column"
    partitions = (
        "Partitions of 1 row would be more than 100,000; ask for at least 2 rows, or leave it to the server."
    )
    exists = "The output 'out.parquet' exists. Give another name, or allow it to be replaced."
    assert str(error).split("\n") == [
        "5 things are wrong with this request.",
        f"spec.model: The table does not fit the model. age: {age}; income: {income}.",
        "spec.where: There is no column xyzq (line 2, column 3). There is no column zip (line 2, column 10)",
        "    xyzq = zip",
        "    ^^^^",
        f"spec.keep: Not every column of `keep` can be kept. gone: {no_column}; score: {no_column}.",
        f"spec.out_path: {exists}",
        f"spec.partition_rows: {partitions}",
    ]
    assert [(fault.field, fault.description) for fault in error.faults] == [
        ("age", age),
        ("income", income),
        ("xyzq", "There is no column xyzq (line 2, column 3)"),
        ("zip", "There is no column zip (line 2, column 10)"),
        ("gone", no_column),
        ("score", no_column),
        ("spec.out_path", exists),
        ("spec.partition_rows", partitions),
    ]
    assert path.read_bytes() == b"precious"
    assert session.jobs() == []


def test_score_code_and_where_are_told_apart(
    session: scorestream.Session, client: scorestream.Client, table: scorestream.Table
) -> None:
    """Each shows its own text; a column that score code misses is told once."""
    model = client.register_model("code_of_two", source="age * 2 AS twice")
    error = refusal(lambda: session.score(model, table, where="\n  Age >"))
    assert error.reason == "UNKNOWN_COLUMN"
    assert error.metadata["reasons"] == "UNKNOWN_COLUMN, EXPRESSION_SYNTAX"
    assert [fault.field for fault in error.faults] == ["age", "spec.where"]
    assert (
        "spec.model: There is no column age; did you mean Age (upper and lower case differ)? (line 1, column 1)\n"
        "  age * 2 AS twice\n  ^^^\nspec.where: "
    ) in error.message
    assert error.message.endswith("(line 2, column 7)\n    Age >\n        ^")


@pytest.mark.parametrize(
    ("changed", "code", "reason", "fields"),
    [
        ({"where": "nope = 1"}, "INVALID_ARGUMENT", "UNKNOWN_COLUMN", ["nope"]),
        ({"where": "Age >"}, "INVALID_ARGUMENT", "EXPRESSION_SYNTAX", []),
        ({"keep": ["gone"]}, "INVALID_ARGUMENT", "KEEP_DOES_NOT_FIT", ["gone"]),
        ({"partition_rows": 1}, "INVALID_ARGUMENT", "TOO_MANY_PARTITIONS", []),
        ({"out_path": "/nowhere/at/all.csv"}, "NOT_FOUND", "OUTPUT_DIRECTORY_NOT_FOUND", []),
    ],
)
def test_a_single_fault_keeps_its_code_and_reason(
    session: scorestream.Session,
    client: scorestream.Client,
    table: scorestream.Table,
    changed: dict[str, object],
    code: str,
    reason: str,
    fields: list[str],
) -> None:
    """A program that knows a reason need not know of the others."""
    model = client.register_model("code_that_fits", source="Age * 2 AS twice")
    error = refusal(lambda: session.score(model, table, **changed))  # type: ignore[arg-type]
    assert (error.code, error.reason) == (code, reason)
    assert [fault.field for fault in error.faults] == fields
    assert "reasons" not in error.metadata
    assert "things are wrong" not in error.message


def test_all_faults_of_a_requests_form_are_told_at_once(client: scorestream.Client) -> None:
    """What needs no look-up is checked first, and all of it, before anything else is done."""
    request = job_service_pb2.CreateJobRequest(
        session="nobody",
        display_name="/slash",
        request_id="not good",
        spec=job_pb2.JobSpec(table="no/slash", partition_rows=-1, keep=["a"] * 1001, out_table="semi;colon"),
    )
    with raw_channel(client) as channel, pytest.raises(grpc.RpcError) as caught:
        job_service_pb2_grpc.JobServiceStub(channel).CreateJob(request)
    status = rpc_status.from_call(caught.value)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info) and status.details[1].Unpack(bad)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert info.reason == "MISSING_FIELD"
    assert [violation.field for violation in bad.field_violations] == [
        "spec.model",
        "session",
        "spec.table",
        "spec.keep",
        "spec.out_table",
        "spec.partition_rows",
        "display_name",
        "request_id",
    ]
    assert status.message.startswith(
        "8 things are wrong with this request.\nspec: A job needs spec.model.\nsession: "
    )
    assert "session: session:" not in status.message


def test_everything_that_is_not_there_is_named_at_once(
    session: scorestream.Session, table: scorestream.Table
) -> None:
    """An unknown model, an unknown table and an output table that exists are one answer."""
    error = refusal(lambda: session.score("nobody", "nothing", out=table.name))
    assert error.metadata["reasons"] == "MODEL_NOT_FOUND, TABLE_NOT_FOUND, TABLE_EXISTS"
    for word in ("'nobody'", "'nothing'", f"'{table.name}'"):
        assert word in str(error)
