"""What every gRPC tool expects of a server: health, reflection, and an end that leaves nothing running."""

import signal
from pathlib import Path

import grpc
import psutil
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import scorestream
from scorestream.v1 import job_service_pb2, job_service_pb2_grpc
from served import raw_channel, served, workers_of

SERVICES = {
    "scorestream.v1.SessionService",
    "scorestream.v1.JobService",
    "scorestream.v1.TableService",
    "scorestream.v1.ModelService",
    "scorestream.v1.DeviceService",
}


def test_health_says_serving(client: scorestream.Client) -> None:
    """Each service and the server as a whole answer the standard health check."""
    with raw_channel(client) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", *SERVICES):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_every_service(client: scorestream.Client) -> None:
    """A tool such as grpcurl finds the services and their methods."""
    with raw_channel(client) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) >= SERVICES
        file = database.FindFileContainingSymbol("scorestream.v1.JobService")
        assert "CreateJob" in [method.name for method in file.service[0].method]


def test_a_stopped_server_leaves_no_process(tmp_path: Path) -> None:
    """SIGTERM ends the server and its workers."""
    with served(tmp_path / "data", "--workers", "2") as (client, server):
        client.create_session("s")
        model = client.register_model("m", source="a AS b")
        assert model.id == "m@1"
        workers = workers_of(server)
        assert len(workers) == 2
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def test_workers_of_a_killed_server_end_by_themselves(tmp_path: Path) -> None:
    """A server that is killed takes its workers along."""
    with served(tmp_path / "data") as (client, server):
        client.register_model("m", source="a AS b")
        workers = workers_of(server)
        server.kill()
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive


def test_many_jobs_are_returned_in_one_call(session: scorestream.Session, client: scorestream.Client) -> None:
    """BatchGetJobs answers in the order asked for, and not at all where a job is missing or too many are named."""
    model = client.register_model("copy", source="a AS b")
    table = session.load_table(pa.table({"a": [1.0]}), name="rows")
    names = [f"jobs/{session.score(model, table).id}" for _ in range(3)]
    with raw_channel(client) as channel:
        stub = job_service_pb2_grpc.JobServiceStub(channel)
        wanted = [names[2], names[0], names[1]]
        answer = stub.BatchGetJobs(job_service_pb2.BatchGetJobsRequest(names=wanted))
        assert [job.name for job in answer.jobs] == wanted
        with pytest.raises(grpc.RpcError) as missing:
            stub.BatchGetJobs(job_service_pb2.BatchGetJobsRequest(names=[*names, "jobs/none"]))
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError) as many:
            stub.BatchGetJobs(job_service_pb2.BatchGetJobsRequest(names=names * 334))
        assert many.value.code() is grpc.StatusCode.INVALID_ARGUMENT
