"""Bad input: the right code, a stable reason, a sentence to act on, and nothing half-made left behind."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost

import scorestream
from scorestream.v1 import (
    model_service_pb2,
    model_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
    table_service_pb2,
    table_service_pb2_grpc,
)
from served import raw_channel

Fails = Callable[[], object]


def refused(
    kind: type[scorestream.ScorestreamError], reason: str, *words: str, by: Fails
) -> scorestream.ScorestreamError:
    """Expect a refusal of this kind, with this reason, whose message has these words."""
    with pytest.raises(kind) as caught:
        by()
    assert caught.value.reason == reason
    for word in words:
        assert word in str(caught.value)
    return caught.value


@pytest.fixture(scope="module")
def model(client: scorestream.Client) -> scorestream.Model:
    return client.register_model("sum_of_three", source="a + b + c AS total")


@pytest.fixture
def table(session: scorestream.Session) -> scorestream.Table:
    rows = pa.table({"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [1.0, 2.0], "text": ["x", "y"]})
    return session.load_table(rows, name="rows")


@pytest.fixture(scope="module")
def booster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    data = xgboost.DMatrix(
        rng.normal(size=(200, 4)), rng.normal(size=200), feature_names=["p", "q", "r", "s"]
    )
    path = tmp_path_factory.mktemp("models") / "model.ubj"
    xgboost.train({"max_depth": 2}, data, 3).save_model(path)
    return path


def test_unknown_things_are_not_found(
    client: scorestream.Client, session: scorestream.Session, model: scorestream.Model
) -> None:
    """A session, job, model or table that is not there is NOT_FOUND, by its name."""
    missing = "00000000-0000-0000-0000-000000000000"
    refused(scorestream.NotFoundError, "SESSION_NOT_FOUND", missing, by=lambda: client.get_session(missing))
    refused(scorestream.NotFoundError, "JOB_NOT_FOUND", missing, by=lambda: client.get_job(missing))
    refused(scorestream.NotFoundError, "MODEL_NOT_FOUND", "nobody", by=lambda: client.get_model("nobody"))
    refused(
        scorestream.NotFoundError, "TABLE_NOT_FOUND", "nothing", "none", by=lambda: session.table("nothing")
    )
    refused(scorestream.NotFoundError, "TABLE_NOT_FOUND", by=lambda: session.score(model, "nothing"))


def test_missing_features_are_all_named_at_once(
    client: scorestream.Client, session: scorestream.Session, booster: Path
) -> None:
    """Each missing feature and each wrong type is a fault of its own, in one answer."""
    forest = client.register_model("needs_four", path=booster)
    session.load_table(pa.table({"p": [1.0], "Q": [1.0], "s": ["text"]}), name="rows")
    error = refused(
        scorestream.InvalidArgumentError,
        "MODEL_DOES_NOT_FIT",
        "q",
        "r",
        "s",
        by=lambda: session.score(forest, "rows"),
    )
    assert {fault.field for fault in error.faults} == {"q", "r", "s"}
    assert session.jobs() == []


@pytest.mark.parametrize(
    ("where", "reason", "words"),
    [
        ("a >", "EXPRESSION_SYNTAX", ["line 1"]),
        ("a = 1 AND (b = 2", "EXPRESSION_SYNTAX", ["line 1"]),
        ("load_extension('x') = 1", "FORBIDDEN_FUNCTION", ["load_extension"]),
        ("nope = 1", "UNKNOWN_COLUMN", ["nope"]),
        ("a", "EXPRESSION_TYPE", ["condition"]),
        ("text > 1", "EXPRESSION_TYPE", []),
        ("a IN (SELECT 1)", "FORBIDDEN_SYNTAX", []),
    ],
)
def test_a_where_that_cannot_be_used_is_refused_with_its_place(
    table: scorestream.Table,
    session: scorestream.Session,
    model: scorestream.Model,
    where: str,
    reason: str,
    words: list[str],
) -> None:
    """The message says what is wrong with the predicate and where; no job is made."""
    refused(
        scorestream.InvalidArgumentError, reason, *words, by=lambda: session.score(model, table, where=where)
    )
    assert session.jobs() == []


@pytest.mark.parametrize(
    ("name", "content", "reason", "words"),
    [
        ("cut.ubj", "half", "MODEL_CORRUPT", ["cut.ubj"]),
        ("model.pkl", "pickle", "MODEL_PICKLE", ["pickle"]),
        ("words.txt", b"hello there, this is no model at all", "MODEL_KIND_UNKNOWN", ["XGBoost"]),
        ("nothing.json", b"", "MODEL_EMPTY", []),
        ("code.sql", b"SELECT a FROM b", "FORBIDDEN_SYNTAX", []),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    client: scorestream.Client,
    booster: Path,
    tmp_path: Path,
    name: str,
    content: str | bytes,
    reason: str,
    words: list[str],
) -> None:
    """Truncated files, pickles and other things are told apart, and nothing is registered."""
    path = tmp_path / name
    match content:
        case "half":
            path.write_bytes(booster.read_bytes()[: booster.stat().st_size // 2])
        case "pickle":
            path.write_bytes(pickle.dumps({"a": 1}))
        case bytes():
            path.write_bytes(content)
    refused(
        scorestream.InvalidArgumentError,
        reason,
        *words,
        by=lambda: client.register_model("bad_model", path=path),
    )
    assert client.models("bad_model") == []


def test_a_model_that_cannot_be_scored_is_refused_by_name(client: scorestream.Client, tmp_path: Path) -> None:
    """What is wrong with its weights is said, with what to do."""
    rng = np.random.default_rng(0)
    data = xgboost.DMatrix(rng.normal(size=(50, 3)), rng.normal(size=50))
    booster = xgboost.train({"booster": "gblinear", "verbosity": 0}, data, 2)
    document = json.loads(booster.save_raw("json"))
    document["learner"]["gradient_booster"]["model"]["weights"][1] = float("nan")
    (tmp_path / "linear.json").write_text(json.dumps(document))
    refused(
        scorestream.InvalidArgumentError,
        "MODEL_NOT_FINITE",
        "smaller eta",
        by=lambda: client.register_model("linear", path=tmp_path / "linear.json"),
    )


def test_an_output_that_exists_is_not_overwritten(
    table: scorestream.Table, session: scorestream.Session, model: scorestream.Model, tmp_path: Path
) -> None:
    """Without `replace` a table or file that is there stays, and the job is refused before any work."""
    session.score(model, table, out="result").wait()
    refused(
        scorestream.AlreadyExistsError,
        "TABLE_EXISTS",
        "result",
        "replace",
        by=lambda: session.score(model, table, out="result"),
    )
    path = tmp_path / "out.parquet"
    path.write_bytes(b"precious")
    refused(
        scorestream.AlreadyExistsError, "OUTPUT_EXISTS", by=lambda: session.score(model, table, out_path=path)
    )
    assert path.read_bytes() == b"precious"
    session.score(model, table, out="result", replace=True).wait()
    session.score(model, table, out_path=path, replace=True).wait()
    assert pq.read_table(path)["total"].to_pylist() == [3.0, 6.0]


@pytest.mark.parametrize("keep", [["nope"], ["a", "a"], ["total", "a"]], ids=["unknown", "twice", "clashing"])
def test_keep_names_what_is_there(
    session: scorestream.Session, client: scorestream.Client, keep: list[str]
) -> None:
    """Columns to keep exist, once, and do not clash with the model's own."""
    session.load_table(pa.table({"a": [1.0], "total": [2.0]}), name="rows")
    model = client.register_model("doubles", source="a * 2 AS total")
    error = refused(
        scorestream.InvalidArgumentError,
        "KEEP_DOES_NOT_FIT",
        by=lambda: session.score(model, "rows", keep=keep),
    )
    assert len(error.faults) == 1


def test_an_empty_table_and_one_of_nulls_are_scored(
    session: scorestream.Session, model: scorestream.Model
) -> None:
    """No rows give no rows; nulls everywhere give nulls."""
    empty = pa.table({name: pa.array([], pa.float64()) for name in "abc"})
    job = session.score(model, session.load_table(empty, name="empty"), out="scored_empty")
    assert job.to_table().num_rows == 0
    assert job.wait().state is scorestream.State.SUCCEEDED
    nulls = pa.table({name: pa.array([None] * 5, pa.float64()) for name in "abc"})
    job = session.score(model, session.load_table(nulls, name="nulls"))
    assert job.to_table()["total"].to_pylist() == [None] * 5


def test_a_broken_csv_line_is_named_by_number(session: scorestream.Session, tmp_path: Path) -> None:
    """The message has the file and the line, and no table appears."""
    path = tmp_path / "broken.csv"
    path.write_text("a,b,c\n1,2,3\n1,2\n1,2,3\n")
    refused(
        scorestream.InvalidArgumentError,
        "CSV_BROKEN_LINE",
        "broken.csv",
        "Line 3",
        by=lambda: session.load_table(path, name="t"),
    )
    assert session.tables() == []


def test_a_table_that_exists_is_not_replaced_by_accident(session: scorestream.Session) -> None:
    """Without `replace` the first table of a name stays."""
    session.load_table(pa.table({"a": [1]}), name="t")
    refused(
        scorestream.AlreadyExistsError,
        "TABLE_EXISTS",
        by=lambda: session.load_table(pa.table({"a": [2]}), name="t"),
    )
    assert session.table("t").head()["a"].to_pylist() == [1]
    session.load_table(pa.table({"a": [3]}), name="t", replace=True)
    assert session.table("t").head()["a"].to_pylist() == [3]


@pytest.mark.parametrize("name", ["no/slash", "x" * 129, "../up", "a\0b", "semi;colon", "é"])
def test_names_are_checked(session: scorestream.Session, client: scorestream.Client, name: str) -> None:
    """Only allowed names get in; what is wanted is said."""
    refused(
        scorestream.InvalidArgumentError,
        "INVALID_NAME",
        "wanted",
        by=lambda: session.load_table(pa.table({"a": [1]}), name=name),
    )
    refused(
        scorestream.InvalidArgumentError,
        "INVALID_NAME",
        by=lambda: client.register_model(name, source="a AS b"),
    )


def test_a_message_over_the_limit_is_refused_with_the_limit(client: scorestream.Client) -> None:
    """A message that is too large gets RESOURCE_EXHAUSTED and says how large it may be."""
    with raw_channel(client) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        header = model_service_pb2.RegisterModelHeader(model_id="big", file_name="big.sql")
        messages = [
            model_service_pb2.RegisterModelRequest(header=header),
            model_service_pb2.RegisterModelRequest(chunk=b" " * (9 << 20)),
        ]
        with pytest.raises(grpc.RpcError) as caught:
            stub.RegisterModel(iter(messages))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "8388608" in caught.value.details()
    assert any(item.key == "grpc-status-details-bin" for item in caught.value.trailing_metadata())


def test_a_session_that_ended_takes_nothing_and_says_when(
    client: scorestream.Client, model: scorestream.Model
) -> None:
    """Jobs and tables are refused with the time of the end; results are gone with their session."""
    session = client.create_session("short")
    table = session.load_table(pa.table({name: [1.0] for name in "abc"}), name="rows")
    job = session.score(model, table)
    job.wait()
    session.terminate()
    refused(
        scorestream.FailedPreconditionError, "SESSION_ENDED", "UTC", by=lambda: session.score(model, "rows")
    )
    refused(scorestream.FailedPreconditionError, "SESSION_ENDED", by=job.to_table)
    refused(
        scorestream.FailedPreconditionError,
        "SESSION_ENDED",
        by=lambda: session.load_table(pa.table({"a": [1]}), name="t"),
    )


def test_an_offset_beyond_the_result_is_out_of_range(
    table: scorestream.Table, session: scorestream.Session, model: scorestream.Model
) -> None:
    """The end of the result is a valid offset with no rows; beyond it is none."""
    job = session.score(model, table)
    job.wait()
    assert list(job.results(offset=2)) == []
    refused(
        scorestream.OutOfRangeError, "OFFSET_OUT_OF_RANGE", "2 rows", by=lambda: list(job.results(offset=3))
    )


def test_streams_that_break_off_leave_nothing(
    client: scorestream.Client, session: scorestream.Session
) -> None:
    """An upload or a registration without its footer, or with a wrong one, makes nothing."""
    schema = pa.schema([("a", pa.int64())])
    batch = pa.record_batch([pa.array([1, 2])], schema=schema)
    upload = table_service_pb2.UploadTableRequest
    header = table_service_pb2.UploadTableHeader(session=f"sessions/{session.id}", table_id="t")
    rows = [
        upload(header=header),
        upload(arrow_schema=bytes(schema.serialize())),
        upload(arrow_batch=bytes(batch.serialize())),
    ]
    wrong = upload(footer=table_service_pb2.UploadTableFooter(batches=2))
    register = model_service_pb2.RegisterModelRequest
    file = [
        register(header=model_service_pb2.RegisterModelHeader(model_id="half", file_name="half.sql")),
        register(chunk=b"a + 1 AS b"),
    ]
    tampered = register(footer=model_service_pb2.RegisterModelFooter(digest="0" * 64))
    with raw_channel(client) as channel:
        tables = table_service_pb2_grpc.TableServiceStub(channel)
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        for messages in ([], rows[:1], rows[1:], rows[:2], rows, [*rows, wrong], [rows[0], rows[2]]):
            with pytest.raises(grpc.RpcError) as caught:
                tables.UploadTable(iter(messages))
            assert caught.value.code() in {
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.FAILED_PRECONDITION,
            }
        for pieces in ([], file[:1], file[1:], file, [*file, tampered]):
            with pytest.raises(grpc.RpcError) as caught:
                models.RegisterModel(iter(pieces))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert session.tables() == []
    assert client.models("half") == []


def test_partition_sizes_are_checked(
    table: scorestream.Table, session: scorestream.Session, model: scorestream.Model
) -> None:
    """A size is kept to, and one that makes no sense is refused."""
    job = session.score(model, table, partition_rows=1)
    assert job.wait().info.partitions_total == 2
    refused(
        scorestream.InvalidArgumentError,
        "INVALID_PARTITION_ROWS",
        by=lambda: session.score(model, table, partition_rows=-1),
    )
    session.load_table(pa.table({name: [0.0] * 200_000 for name in "abc"}), name="many")
    refused(
        scorestream.InvalidArgumentError,
        "TOO_MANY_PARTITIONS",
        "at least 2 rows",
        by=lambda: session.score(model, "many", partition_rows=1),
    )


def test_page_tokens_and_sizes_are_checked(client: scorestream.Client) -> None:
    """A token that the server did not give is refused."""
    with raw_channel(client) as channel:
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        for request in (
            session_service_pb2.ListSessionsRequest(
                page_token="'; DROP TABLE sessions; --"
            ),  # a page token is no password
            session_service_pb2.ListSessionsRequest(page_size=-1),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListSessions(request)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
