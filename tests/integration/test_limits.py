"""Each limit, reached on a real server: RESOURCE_EXHAUSTED, which one, what to do, and nobody else is touched."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import scorestream
from principals import token_command
from scorestream import State
from scorestream.v1 import (
    device_service_pb2,
    device_service_pb2_grpc,
    session_service_pb2,
    table_service_pb2,
    table_service_pb2_grpc,
)
from served import raw_channel, served, started, workers_of

LIMITS = {
    "sessions": 4,
    "open_jobs": 3,
    "running_jobs": 1,
    "calls": 3,
    "streams": 3,
    "upload_bytes": 1_000_000,
    "stored_bytes": 2_000_000,
    "model_bytes": 1_000,
    "session_files": 3,
}
ROWS = pa.table({"a": [float(number) for number in range(100_000)]})


@dataclass(frozen=True)
class Limited:
    """A server where nobody may have much, and two impatient users of it."""

    ann: scorestream.Client
    bob: scorestream.Client
    process: psutil.Process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[scorestream.Client, psutil.Process]]:
    """The server and its admin."""
    data_dir = tmp_path_factory.mktemp("limits") / "data"
    flags = [word for name, value in LIMITS.items() for word in ("--limit", f"{name}={value}")]
    secret = token_command(data_dir, "create", "root", "--role", "admin")["secret"]
    with (
        started(data_dir, "--device", "cpu", *flags) as (address, process),
        scorestream.connect(address, token=secret) as admin,
    ):
        yield admin, process


@pytest.fixture
def limited(server: tuple[scorestream.Client, psutil.Process]) -> Iterator[Limited]:
    """The server, and two users that are new to it."""
    admin, process = server
    with ExitStack() as ending:
        ann, bob = (
            ending.enter_context(
                scorestream.connect(admin.address, token=admin.create_token(name).secret, patience=0)
            )
            for name in (f"ann_{uuid.uuid4().hex[:8]}", f"bob_{uuid.uuid4().hex[:8]}")
        )
        yield Limited(ann, bob, process)


def patient(client: scorestream.Client) -> scorestream.Client:
    """Return another client of the same user, which tries again for a while."""
    return scorestream.connect(client.address, token=client.token, patience=60)


def check(error: scorestream.ScorestreamError, reason: str, limit: str) -> None:
    """Expect the refusal of a limit that names itself, its value and the way to raise it."""
    assert isinstance(error, scorestream.ResourceExhaustedError)
    assert error.reason == reason
    assert error.metadata == {"limit": limit, "most": str(LIMITS[limit])}
    assert f"--limit {limit}=" in str(error)
    assert f"{LIMITS[limit]:,}" in str(error)


def test_a_user_has_so_many_open_sessions(limited: Limited) -> None:
    """Ended ones do not count, others' neither, and a request that was answered is answered again."""
    request = session_service_pb2.CreateSessionRequest(request_id="first")
    connection = limited.ann._connection
    first = connection.call(connection.sessions.CreateSession, request)
    made = [limited.ann.create_session(f"s{number}") for number in range(3)]
    with pytest.raises(scorestream.ResourceExhaustedError) as caught:
        limited.ann.create_session("one too many")
    check(caught.value, "TOO_MANY_SESSIONS", "sessions")
    assert connection.call(connection.sessions.CreateSession, request).name == first.name
    limited.bob.create_session("of bob")
    made[0].terminate()
    assert limited.ann.create_session("in its place").state is scorestream.SessionState.ACTIVE


def test_a_user_has_so_many_jobs_and_fewer_that_run(limited: Limited) -> None:
    """What may not run waits while others' jobs pass it; what may not wait is refused until there is room."""
    ann, bob = limited.ann, limited.bob
    model = ann.register_model("of_ann", source="a + 1 AS b")
    session, other = ann.create_session("of ann"), bob.create_session("of bob")
    rows = ROWS.slice(0, 10)
    table, others = session.load_table(rows, name="rows"), other.load_table(rows, name="rows")
    session.score(model, table).wait()
    # Workers that stand still hold what they were given: from here on it is known what runs.
    workers = workers_of(limited.process)
    for worker in workers:
        worker.suspend()
    try:
        jobs = [session.score(model, table, name=f"job{number}") for number in range(3)]
        with pytest.raises(scorestream.ResourceExhaustedError) as caught:
            session.score(model, table)
        check(caught.value, "TOO_MANY_JOBS", "open_jobs")
        passing = other.score(model, others)
        assert next(event for event in passing.watch() if event.state is State.RUNNING)
        assert [job.refresh().state for job in jobs] == [State.RUNNING, State.PENDING, State.PENDING]
        with patient(ann) as waiting, ThreadPoolExecutor(1) as thread:
            fourth = thread.submit(waiting.get_session(session.id).score, "of_ann", "rows")
            jobs[2].cancel()
            last = fourth.result(60)
            assert last.refresh().state is State.PENDING
    finally:
        for worker in workers:
            worker.resume()
    assert [job.wait().state for job in jobs[:2]] == [State.SUCCEEDED, State.SUCCEEDED]
    assert ann.get_job(last.id).wait().state is State.SUCCEEDED
    assert passing.wait().state is State.SUCCEEDED


def test_a_user_has_so_many_streams(limited: Limited) -> None:
    """One that is closed makes room."""
    request = device_service_pb2.WatchDevicesRequest()
    with raw_channel(limited.ann) as channel, patient(limited.ann) as waiting:
        watch = device_service_pb2_grpc.DeviceServiceStub(channel).WatchDevices
        open_streams = [watch(request) for _ in range(LIMITS["streams"])]
        for stream in open_streams:
            next(stream)
        with pytest.raises(scorestream.ResourceExhaustedError) as caught:
            next(iter(limited.ann.watch_devices()))
        check(caught.value, "TOO_MANY_STREAMS", "streams")
        assert next(iter(limited.bob.watch_devices()))
        assert limited.ann.devices()
        open_streams[0].cancel()
        assert next(iter(waiting.watch_devices()))


def test_a_user_has_so_many_calls_in_progress(limited: Limited) -> None:
    """Uploads that are never finished take the calls of their user, and of nobody else."""
    session = limited.ann.create_session("uploads")
    end = threading.Event()

    def half(number: int) -> Iterator[table_service_pb2.UploadTableRequest]:
        header = table_service_pb2.UploadTableHeader(session=f"sessions/{session.id}", table_id=f"t{number}")
        yield table_service_pb2.UploadTableRequest(header=header)
        end.wait()

    with raw_channel(limited.ann) as channel:
        upload = table_service_pb2_grpc.TableServiceStub(channel).UploadTable
        refused = threading.Semaphore(0)
        calls = [upload.future(half(number)) for number in range(LIMITS["calls"] + 2)]
        for call in calls:
            call.add_done_callback(lambda _: refused.release())
        # Once those beyond the limit are turned away, the others are in progress.
        assert refused.acquire(timeout=60)
        assert refused.acquire(timeout=60)
        with pytest.raises(scorestream.ResourceExhaustedError) as caught:
            limited.ann.sessions()
        check(caught.value, "TOO_MANY_CALLS", "calls")
        assert limited.bob.sessions() == []
        end.set()
        told = [str(call.exception(60).details()) for call in calls]
        assert sum("broke off" in words for words in told) == LIMITS["calls"]
        assert sum("calls in progress" in words for words in told) == 2
    with patient(limited.ann) as waiting:
        assert [each.id for each in waiting.sessions()] == [session.id]


def test_a_user_stores_so_many_bytes(limited: Limited) -> None:
    """Uploads and results count, tables that are dropped and others' do not; files that are read in place never do."""
    ann = limited.ann
    session = ann.create_session("full")
    model = ann.register_model("m", source="a + 1 AS b")
    with pytest.raises(scorestream.ResourceExhaustedError, match="at most 1,000,000 bytes"):
        session.load_table(pa.concat_tables([ROWS, ROWS]), name="large")
    table = session.load_table(ROWS, name="first")
    session.load_table(ROWS, name="second")
    with pytest.raises(scorestream.ResourceExhaustedError, match="An upload may have at most"):
        session.load_table(ROWS, name="third")
    session.score(model, table).wait()
    attempts = (
        lambda: session.load_table(ROWS.slice(0, 1), name="one_row"),
        lambda: session.score(model, table),
        lambda: ann.register_model("n", source="a + 2 AS b"),
    )
    for attempt in attempts:
        with pytest.raises(scorestream.ResourceExhaustedError) as caught:
            attempt()
        check(caught.value, "TOO_MUCH_STORED", "stored_bytes")
    limited.bob.create_session("bobs").load_table(ROWS, name="first")
    session.table("second").drop()
    session.load_table(ROWS.slice(0, 1), name="one_row")
    assert session.score(model, "one_row").wait().state is State.SUCCEEDED


def test_a_model_file_has_so_many_bytes(limited: Limited) -> None:
    with pytest.raises(scorestream.ResourceExhaustedError) as caught:
        limited.ann.register_model("too_large", source=" + ".join(["a"] * 500) + " AS b")
    assert caught.value.reason == "MODEL_TOO_LARGE"
    assert limited.ann.models("too_large") == []


def test_a_server_takes_so_many_calls_of_everybody(tmp_path: Path) -> None:
    """Health is asked all the same: a busy server is not a dead one."""
    with (
        served(tmp_path / "data", "--device", "cpu", "--limit", "all_calls=1") as (client, _),
        scorestream.connect(client.address, patience=0) as other,
        raw_channel(client) as channel,
    ):
        watch = client.watch_devices()
        next(iter(watch))
        with pytest.raises(scorestream.ResourceExhaustedError) as caught:
            other.sessions()
        assert caught.value.reason == "SERVER_BUSY"
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        watch.close()
        assert client.sessions() == []


def test_files_count_like_everything_else_that_is_stored(limited: Limited) -> None:
    """One upload, a home's files, and what all of them take; removing makes room at once."""
    session, half = limited.ann.create_session("files"), b"x" * 900_000
    files = session.files
    refused(lambda: files.upload(b"x" * 1_000_001, "a"), "FILE_TOO_LARGE", "upload_bytes")
    files.make_directory("in")
    files.upload(half, "in/a")
    files.copy("in/a", "b")
    refused(lambda: files.upload(b"", "c"), "TOO_MANY_FILES", "session_files")
    refused(lambda: files.copy("b", "c"), "FILE_TOO_LARGE", "stored_bytes")
    refused(lambda: files.make_directory("c"), "TOO_MANY_FILES", "session_files")
    refused(lambda: files.upload(half, "b", replace=True), "FILE_TOO_LARGE", "stored_bytes")
    refused(lambda: session.load_table(ROWS), "UPLOAD_TOO_LARGE", "upload")
    files.delete("in", recursive=True)
    files.upload(half, "b", replace=True)
    other = limited.ann.create_session("other").files
    other.upload(half, "a")
    refused(lambda: other.upload(half, "b"), "FILE_TOO_LARGE", "stored_bytes")
    session.terminate()
    other.upload(half, "b")
    limited.bob.create_session("bobs").files.upload(half, "a")


def refused(call: Callable[[], object], reason: str, told: str) -> None:
    with pytest.raises(scorestream.ResourceExhaustedError) as caught:
        call()
    assert caught.value.reason == reason
    assert told in caught.value.message.lower()
