"""Requests that no client of ours sends: refused with a reason, and without harm to what is there."""

import threading

import grpc
import pyarrow as pa
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

import scorestream
from scorestream.v1 import (
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)
from served import raw_channel


def reason_of(error: grpc.RpcError) -> str:
    """Return the reason that came with a status."""
    status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
    status.ParseFromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert status.details[0].Unpack(info)
    return str(info.reason)


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x0a\x01\xff"], ids=["tag", "length", "no UTF-8"])
@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("unary_unary", "JobService/GetJob"),
        ("unary_stream", "JobService/WatchJob"),
        ("stream_unary", "TableService/UploadTable"),
    ],
)
def test_a_message_that_is_none_is_said_to_be_malformed(
    client: scorestream.Client, kind: str, method: str, data: bytes
) -> None:
    """INVALID_ARGUMENT with a reason, where gRPC by itself answers UNKNOWN."""
    with raw_channel(client) as channel:
        call = getattr(channel, kind)(f"/scorestream.v1.{method}")
        message = iter([data]) if kind.startswith("stream") else data
        with pytest.raises(grpc.RpcError) as caught:
            next(call(message, timeout=20))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(caught.value) == "MALFORMED_MESSAGE"


@pytest.mark.parametrize("seconds", [2**63 - 1, 10**12, 366 * 24 * 3600 + 1])
def test_a_time_limit_of_any_size_is_refused_by_name(client: scorestream.Client, seconds: int) -> None:
    """A duration that Python's own cannot hold is told apart from an allowed one, as any other that is too long."""
    with raw_channel(client) as channel:
        sessions = session_service_pb2_grpc.SessionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            sessions.CreateSession(
                session_service_pb2.CreateSessionRequest(inactive_timeout=Duration(seconds=seconds))
            )
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "inactive_timeout" in caught.value.details()
        jobs = job_service_pb2_grpc.JobServiceStub(channel)
        spec = job_pb2.JobSpec(timeout=Duration(seconds=seconds), queue_timeout=Duration(nanos=-1))
        with pytest.raises(grpc.RpcError) as caught:
            jobs.CreateJob(job_service_pb2.CreateJobRequest(spec=spec))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        for field in ("spec.timeout", "spec.queue_timeout"):
            assert field in caught.value.details()


def test_a_model_that_is_registered_while_its_twin_is_removed_keeps_its_file(
    client: scorestream.Client, session: scorestream.Session
) -> None:
    """Versions of the same content share a file; whatever the order of removals, what is registered can be scored."""
    table = session.load_table(pa.table({"a": [1.0]}), name="rows")
    text = "a + 41 AS answer"
    stop = threading.Event()

    def churn() -> None:
        with scorestream.connect(client.address, token=client.token) as other:
            while not stop.is_set():
                twin = other.register_model("twin", source=text)
                twin.remove()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(60):
            model = client.register_model("mine", source=text)
            (batch,) = session.score(model, table).results()
            assert batch["answer"].to_pylist() == [42.0]
            model.remove()
    finally:
        stop.set()
        thread.join()


def test_prefixes_tell_case_apart_and_may_have_any_length(client: scorestream.Client) -> None:
    """What a listing finds by a prefix is what a subscription finds."""
    with client.create_session("Prefix_A") as session:
        assert [found.id for found in client.sessions(prefix="Prefix_")] == [session.id]
        for prefix in ("prefix_", "Prefix%", "Prefix_" * 20_000):
            assert client.sessions(prefix=prefix) == []
            assert client.models(prefix=prefix) == []
            assert client.status(prefix=prefix) == []
