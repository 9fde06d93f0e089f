"""SIGTERM drains a server, a second one ends it; a worker that is held up makes the time in between as long as needed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pyarrow as pa
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

import scorestream
from scorestream import EventType, State
from scorestream.v1 import session_service_pb2, session_service_pb2_grpc
from served import raw_channel, served, workers_of

ROWS = 300
SESSIONS = "scorestream.v1.SessionService"


@contextmanager
def held_up(data: Path, *flags: str) -> Iterator[tuple[scorestream.Client, psutil.Process, str]]:
    """Run a server whose worker stands still with partitions of a job; also give the job's id."""
    with served(data, "--device", "cpu", *flags) as (client, server):
        session = client.create_session("stopping")
        rows = session.load_table(pa.table({"a": pa.array(range(ROWS), pa.float64())}), name="rows")
        model = client.register_model("m", source="a * 2 AS b")
        # Each row a partition, so that there is always one in flight and many to come.
        job = session.score(model, rows, partition_rows=1)
        events = job.watch()
        assert any(event.type is EventType.PARTITION_COMMITTED for event in events)
        events.close()
        for worker in workers_of(server):
            worker.suspend()
        yield client, server, job.id


def details(error: grpc.RpcError) -> tuple[str, float]:
    """Return the reason and the seconds until a retry that an UNAVAILABLE tells."""
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    status = rpc_status.from_call(error)
    assert status is not None

    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for found in (info, retry):
        assert any(detail.Unpack(found) for detail in status.details)
    return info.reason, retry.retry_delay.ToMilliseconds() / 1000


def await_drain(stream: grpc.Call) -> None:
    """Read a stream to the end that a draining server makes of it."""
    with pytest.raises(grpc.RpcError) as end:
        for _ in stream:
            pass
    assert details(end.value) == ("SERVER_STOPPING", 1.0)


def test_a_drain_keeps_what_is_in_flight_and_lets_clients_go(tmp_path: Path) -> None:
    """Health says so, nothing new is taken, streams end; what workers have is committed, the rest goes on later."""
    with (
        held_up(tmp_path / "data") as (client, server, job_id),
        raw_channel(client) as channel,
    ):
        sessions = session_service_pb2_grpc.SessionServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        stream = sessions.WatchSessions(session_service_pb2.WatchSessionsRequest())
        next(stream)
        (workers,) = [workers_of(server)]
        server.send_signal(signal.SIGTERM)
        await_drain(stream)
        for name in ("", SESSIONS):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as refused:
            sessions.CreateSession(session_service_pb2.CreateSessionRequest(request_id="again"))
        assert details(refused.value) == ("SERVER_STOPPING", 1.0)
        assert server.is_running()
        for worker in workers:
            worker.resume()
        assert server.wait(30) == 0
    with served(tmp_path / "data", "--device", "cpu") as (client, _):
        job = client.get_job(job_id)
        assert job.wait().state is State.SUCCEEDED
        events = list(job.watch())
        committed = [event for event in events if event.type is EventType.PARTITION_COMMITTED]
        assert len(committed) == ROWS
        assert not any(event.type is EventType.PARTITION_RETRIED for event in events)
        assert pa.Table.from_batches(job.results())["b"].to_pylist() == [2.0 * row for row in range(ROWS)]
        assert len(client.sessions()) == 1


@pytest.mark.parametrize(("flags", "again"), [(["--drain-seconds", "0.2"], False), ([], True)])
def test_a_drain_has_an_end(tmp_path: Path, flags: list[str], again: bool) -> None:
    """The time given, or a second signal, ends a server whose worker does not; the job is there afterwards."""
    with held_up(tmp_path / "data", *flags) as (client, server, job_id):
        with raw_channel(client) as channel:
            stream = session_service_pb2_grpc.SessionServiceStub(channel).WatchSessions(
                session_service_pb2.WatchSessionsRequest()
            )
            next(stream)
            server.send_signal(signal.SIGTERM)
            await_drain(stream)
        if again:
            server.send_signal(signal.SIGTERM)
        assert server.wait(15) == 0
    with served(tmp_path / "data", "--device", "cpu") as (client, _):
        assert client.get_job(job_id).wait().state is State.SUCCEEDED


def test_who_waits_for_an_answer_is_told_to_come_back(tmp_path: Path) -> None:
    """A call that would not end before the server does, such as the end of a session with jobs, gets UNAVAILABLE."""
    with held_up(tmp_path / "data", "--drain-seconds", "0.2") as (client, server, _):
        session = client.get_session("stopping")
        with raw_channel(client) as channel:
            sessions = session_service_pb2_grpc.SessionServiceStub(channel)
            request = session_service_pb2.TerminateSessionRequest(name=f"sessions/{session.id}")
            waiting = sessions.TerminateSession.future(request)
            while session.refresh().state is not scorestream.SessionState.ENDING:
                pass
            server.send_signal(signal.SIGTERM)
            error = waiting.exception(30)
            assert details(error) == ("SERVER_STOPPING", 1.0)
        assert server.wait(15) == 0


def test_a_client_goes_on_with_the_next_server(tmp_path: Path) -> None:
    """A subscription over a restart misses no event and sees none twice, and the client's user sees nothing of it."""
    port = "0"
    with held_up(tmp_path / "data", "--drain-seconds", "0.2") as (client, server, job_id):
        port = client.address.rpartition(":")[2]
        with scorestream.connect(client.address, patience=60) as follower:
            events = follower.get_job(job_id).watch()
            numbers = [next(events).number]
            server.send_signal(signal.SIGTERM)
            assert server.wait(15) == 0
            with served(tmp_path / "data", "--device", "cpu", "--port", port):
                numbers += [event.number for event in events]
                assert follower.get_job(job_id).wait().state is State.SUCCEEDED
                again = [event.number for event in follower.get_job(job_id).watch()]
    assert numbers == again
