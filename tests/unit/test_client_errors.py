"""Every gRPC code becomes one exception class, with all that the server said."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

import scorestream
from fake_server import FakeServer, abort, fake_server
from scorestream.errors import ERROR_OF_CODE, Fault, JobFailedError, ScorestreamError, counted


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


def test_the_table_covers_every_code_of_grpc() -> None:
    """Each status but OK has exactly one class of its own."""
    assert set(ERROR_OF_CODE) == {code.name for code in grpc.StatusCode} - {"OK"}
    assert len(set(ERROR_OF_CODE.values())) == len(ERROR_OF_CODE)
    assert all(getattr(scorestream, kind.__name__) is kind for kind in ERROR_OF_CODE.values())


@pytest.mark.parametrize("code", sorted(ERROR_OF_CODE))
def test_each_code_raises_its_class(fake: FakeServer, code: str) -> None:
    """No gRPC error reaches the user, whatever the server answers."""
    fake.on["GetModel"] = lambda _request, context: abort(context, code, "what was wrong")
    patience = 0.05 if code == "UNAVAILABLE" else 30.0
    with (
        scorestream.connect(fake.address, patience=patience) as client,
        pytest.raises(ScorestreamError, match="what was wrong") as caught,
    ):
        client.get_model("m")
    assert type(caught.value) is ERROR_OF_CODE[code]
    assert caught.value.code == code
    assert caught.value.__cause__ is None


def test_a_server_that_says_why_it_cannot_is_not_asked_again(fake: FakeServer) -> None:
    """Trying again is for servers that do not answer."""
    asked = []

    def refuse(request: Any, context: Any) -> None:
        asked.append(request)
        abort(context, "UNAVAILABLE", "No worker.", error_details_pb2.ErrorInfo(reason="NO_WORKER"))

    fake.on["GetModel"] = refuse
    with (
        scorestream.connect(fake.address, patience=30.0) as client,
        pytest.raises(scorestream.UnavailableError) as caught,
    ):
        client.get_model("m")
    assert caught.value.reason == "NO_WORKER"
    assert len(asked) == 1


def test_details_are_read(fake: FakeServer) -> None:
    """Reason, metadata and all faults come from the google.rpc.Status."""
    info = error_details_pb2.ErrorInfo(
        reason="MISSING_COLUMNS", domain="scorestream", metadata={"table": "t"}
    )
    bad = error_details_pb2.BadRequest(
        field_violations=[
            {"field": "age", "description": "the table has no such column"},
            {"field": "income", "description": "is a string"},
        ]
    )
    state = error_details_pb2.PreconditionFailure(
        violations=[{"type": "STATE", "subject": "sessions/1", "description": "it has ended"}]
    )
    fake.on["GetModel"] = lambda _request, context: abort(
        context, "INVALID_ARGUMENT", "Two columns are wrong.", info, bad, state
    )
    with (
        scorestream.connect(fake.address) as client,
        pytest.raises(scorestream.InvalidArgumentError) as caught,
    ):
        client.get_model("m")
    error = caught.value
    assert error.reason == "MISSING_COLUMNS"
    assert error.metadata == {"table": "t"}
    assert error.faults == (
        Fault("age", "the table has no such column"),
        Fault("income", "is a string"),
        Fault("sessions/1", "it has ended"),
    )
    assert str(error).splitlines()[:2] == ["Two columns are wrong.", "  - age: the table has no such column"]


def test_a_stream_raises_its_class_too(fake: FakeServer) -> None:
    """An error in a stream is translated as well."""
    fake.on["WatchSessions"] = lambda _request, context: abort(context, "PERMISSION_DENIED", "not yours")
    with (
        scorestream.connect(fake.address) as client,
        pytest.raises(scorestream.PermissionDeniedError, match="not yours"),
    ):
        list(client.watch())


def test_nobody_there_is_said_with_the_address() -> None:
    """A server that does not answer is named, after the patience that was asked for."""
    with fake_server() as gone:
        address = gone.address
    with (
        scorestream.connect(address, patience=0.2) as client,
        pytest.raises(
            scorestream.UnavailableError, match=f"No scorestream server answers at {address}"
        ) as caught,
    ):
        client.sessions()
    assert caught.value.reason == "NO_ANSWER"
    assert isinstance(caught.value, ConnectionError)


def test_errors_survive_copying_and_other_processes() -> None:
    """A job's error crosses a process boundary with all it says."""
    error = JobFailedError("why", job_id="j", code="ABORTED", reason="R", faults=[Fault("a", "b")])
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - made in this line
        assert type(twin) is JobFailedError
        assert vars(twin) == vars(error)


def test_counts_and_their_nouns_agree() -> None:
    """One row, but no, two or a thousand rows."""
    assert [counted(count, "row") for count in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]
