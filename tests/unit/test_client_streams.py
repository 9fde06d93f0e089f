"""Calls and streams go on after a lost connection, from where they were, and never do a thing twice."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

import scorestream
import scorestream.aio
from fake_server import FakeServer, abort, fake_server
from scorestream.retry import Patience
from scorestream.v1 import (
    device_pb2,
    device_service_pb2,
    event_pb2,
    job_pb2,
    job_service_pb2,
    model_pb2,
    session_pb2,
    session_service_pb2,
    table_pb2,
)

SCHEMA = pa.schema([("n", pa.int64())])


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


def job(state: str = "SUCCEEDED", **fields: Any) -> job_pb2.Job:
    """Return a job as the server describes it."""
    return job_pb2.Job(
        name=f"jobs/{fields.pop('id', 'j1')}",
        display_name="job_seg1",
        session="sessions/s1",
        state=job_pb2.State.Value(f"STATE_{state}"),
        result_schema=SCHEMA.serialize().to_pybytes(),
        **fields,
    )


def event(number: int, state: str = "RUNNING", job_id: str = "j1") -> event_pb2.Event:
    """Return an event as the server sends it."""
    return event_pb2.Event(
        number=number,
        job=f"jobs/{job_id}",
        session="sessions/s1",
        state=job_pb2.State.Value(f"STATE_{state}"),
    )


def rows(start: int, stop: int) -> job_service_pb2.ReadResultsResponse:
    """Return a piece of a result whose row n holds n."""
    batch = pa.record_batch([pa.array(range(start, stop), pa.int64())], schema=SCHEMA)
    return job_service_pb2.ReadResultsResponse(
        arrow_schema=SCHEMA.serialize().to_pybytes(),
        arrow_batch=batch.serialize().to_pybytes(),
        offset=start,
        rows=stop - start,
    )


def breaking_watch(fake: FakeServer, last: int) -> None:
    """Make the server send two events at a time and then break off, until the event `last`."""

    def watch(request: Any, context: Any) -> Iterator[Any]:
        for number in range(request.after + 1, last + 1):
            if number - request.after > 2:
                abort(context, "UNAVAILABLE", "gone")
            yield event(number, "SUCCEEDED" if number == last else "RUNNING")

    fake.on["WatchJob"] = watch
    fake.on["WatchSessions"] = watch


def test_a_watch_resumes_behind_its_last_event(fake: FakeServer) -> None:
    """After each break the watch asks for what comes behind the last number; every event comes once."""
    fake.on["GetJob"] = lambda *_: job("RUNNING")
    breaking_watch(fake, 7)
    with scorestream.connect(fake.address) as client:
        events = list(client.get_job("j1").watch())
        consolidated = list(client.watch(prefix="ScoringJob_", after=3, until_final=True))
    assert [found.number for found in events] == [1, 2, 3, 4, 5, 6, 7]
    assert events[-1].state is scorestream.State.SUCCEEDED
    assert [request.after for request in fake.requests["WatchJob"]] == [0, 2, 4, 6]
    assert [found.number for found in consolidated] == [4, 5, 6, 7]
    assert all(
        request.display_name_prefix == "ScoringJob_" and request.until_final
        for request in fake.requests["WatchSessions"]
    )


def test_events_that_come_again_are_dropped(fake: FakeServer) -> None:
    """A server that repeats itself does not make the client do so."""
    fake.on["GetJob"] = lambda *_: job("RUNNING")
    fake.on["WatchJob"] = lambda *_: iter([event(1), event(2), event(2), event(1), event(3, "FAILED")])
    with scorestream.connect(fake.address) as client:
        assert [found.number for found in client.get_job("j1").watch()] == [1, 2, 3]


def test_watching_devices_goes_on_after_a_break(fake: FakeServer) -> None:
    """Readings have no numbers: after a break the next one is as good; what is unset is None."""
    device = device_pb2.Device(name="devices/cuda:0", utilization_percent=0.0)

    def watch(_request: Any, context: Any) -> Iterator[Any]:
        device.lanes += 1
        yield device_service_pb2.WatchDevicesResponse(devices=[device])
        if device.lanes < 3:
            abort(context, "UNAVAILABLE", "gone")

    fake.on["WatchDevices"] = watch
    with scorestream.connect(fake.address) as client:
        readings = list(client.watch_devices(2.5))
    assert [reading[0].lanes for reading in readings] == [1, 2, 3]
    found = readings[0][0]
    assert (found.id, found.utilization, found.memory_used, found.power) == ("cuda:0", 0.0, None, None)
    assert fake.requests["WatchDevices"][2].interval.ToTimedelta().total_seconds() == 2.5


def test_results_resume_at_the_next_row(fake: FakeServer) -> None:
    """A result that breaks off again and again arrives whole, in order, each row once."""

    def read(request: Any, context: Any) -> Iterator[Any]:
        # Begins a little before what was asked for, which the client has to cut off.
        yield rows(max(0, request.offset - 2), min(request.offset + 5, 23))
        if request.offset + 5 < 23:
            abort(context, "UNAVAILABLE", "gone")

    fake.on["GetJob"] = lambda *_: job()
    fake.on["ReadResults"] = read
    with scorestream.connect(fake.address) as client:
        done = client.get_job("j1")
        assert done.to_table()["n"].to_pylist() == list(range(23))
        assert list(done.to_pandas()["n"]) == list(range(23))
        later = pa.Table.from_batches(done.results(offset=20))
    assert later["n"].to_pylist() == [20, 21, 22]


def test_an_empty_result_has_its_columns(fake: FakeServer) -> None:
    """A job whose `where` kept nothing gives a table with no rows and the right schema."""
    fake.on["GetJob"] = lambda *_: job()
    fake.on["ReadResults"] = lambda *_: iter([])
    with scorestream.connect(fake.address) as client:
        table = client.get_job("j1").to_table()
    assert table.schema == SCHEMA
    assert table.num_rows == 0


def test_a_stream_gives_up_after_its_patience(fake: FakeServer) -> None:
    """A server that stays away ends the stream with an error, not with a hang or a silent end."""
    fake.on["GetJob"] = lambda *_: job("RUNNING")
    fake.on["WatchJob"] = lambda _request, context: abort(context, "UNAVAILABLE", "gone")
    with (
        scorestream.connect(fake.address, patience=0.3) as client,
        pytest.raises(scorestream.UnavailableError),
    ):
        list(client.get_job("j1").watch())
    assert len(fake.requests["WatchJob"]) > 1


def test_leaving_a_loop_ends_the_call(fake: FakeServer) -> None:
    """A watch that nobody reads any more does not stay open at the server."""
    ended = []

    def watch(_request: Any, context: Any) -> Iterator[Any]:
        context.add_callback(lambda: ended.append(1))
        yield event(1)
        while context.is_active():
            yield event(2)

    fake.on["GetJob"] = lambda *_: job("RUNNING")
    fake.on["WatchJob"] = watch
    with scorestream.connect(fake.address) as client:
        events = client.get_job("j1").watch()
        next(events)
        events.close()
        fake.on["GetJob"] = lambda *_: job("SUCCEEDED") if ended else job("RUNNING")
        while not client.get_job("j1").state.final:
            pass
    assert ended


def test_a_create_is_repeated_under_the_same_request_id(fake: FakeServer) -> None:
    """Where the answer was lost, the second request is recognisably the first one."""
    answers = iter(["lost", "lost", "there"] * 2)

    def create(made: Any) -> Any:
        return lambda _request, context: (
            made if next(answers) == "there" else abort(context, "UNAVAILABLE", "gone")
        )

    fake.on["CreateSession"] = create(session_pb2.Session(name="sessions/s1", display_name="S"))
    fake.on["CreateJob"] = create(job("PENDING"))
    with scorestream.connect(fake.address) as client:
        session = client.create_session("S")
        session.score("m@3", "t", where="a > 1", out="o", keep=["k"], replace=True, name="n", priority="high")
    for method in ("CreateSession", "CreateJob"):
        ids = [request.request_id for request in fake.requests[method]]
        assert len(ids) == 3
        assert len(set(ids)) == 1
        assert len(ids[0]) >= 32
    assert fake.requests["CreateSession"][0].request_id != fake.requests["CreateJob"][0].request_id
    spec = fake.requests["CreateJob"][0].spec
    assert spec == job_pb2.JobSpec(
        model="models/m/versions/3",
        table="t",
        where="a > 1",
        keep=["k"],
        out_table="o",
        replace=True,
        priority=job_pb2.PRIORITY_HIGH,
    )


def test_what_must_not_happen_twice_is_not_repeated(fake: FakeServer) -> None:
    """Dropping, removing and loading without `replace` are asked for once."""
    fake.on["GetSession"] = lambda *_: session_pb2.Session(name="sessions/s1")
    fake.on["GetModel"] = lambda *_: model_pb2.Model(name="models/m/versions/1", model_id="m", version=1)
    fake.on["GetTable"] = lambda *_: table_pb2.Table(name="sessions/s1/tables/t", table_id="t")
    for method in ("LoadTable", "DropTable", "DeleteModel"):
        fake.on[method] = lambda _request, context: abort(context, "UNAVAILABLE", "gone")
    with scorestream.connect(fake.address) as client:
        session = client.get_session("s1")
        for attempt in (
            lambda: session.load_table("a.csv"),
            session.table("t").drop,
            client.get_model("m").remove,
        ):
            with pytest.raises(scorestream.UnavailableError):
                attempt()
    assert [len(fake.requests[method]) for method in ("LoadTable", "DropTable", "DeleteModel")] == [1, 1, 1]


def test_an_upload_arrives_in_pieces(fake: FakeServer) -> None:
    """Header, schema, batches, footer: in that order, and all rows."""
    got: list[Any] = []

    def upload(requests: Any, _context: Any) -> Any:
        got.extend(requests)
        return table_pb2.Table(name="sessions/s1/tables/t", table_id="t", rows=400_000)

    fake.on["GetSession"] = lambda *_: session_pb2.Session(name="sessions/s1")
    fake.on["UploadTable"] = upload
    with scorestream.connect(fake.address) as client:
        sent = pa.table({"n": pa.array(range(400_000), pa.int64())})
        table = client.get_session("s1").load_table(sent, name="t", replace=True)
    assert table.rows == 400_000
    assert got[0].header.table_id == "t" and got[0].header.replace
    assert [message.WhichOneof("content") for message in got[1:3]] == ["arrow_schema", "arrow_batch"]
    batches = [pa.ipc.read_record_batch(pa.py_buffer(message.arrow_batch), SCHEMA) for message in got[2:-1]]
    assert pa.Table.from_batches(batches).equals(sent)
    assert got[-1].footer.batches == len(batches)


@pytest.mark.parametrize("mode", ["blocking", "asyncio"])
def test_an_upload_whose_source_breaks_makes_nothing(fake: FakeServer, mode: str) -> None:
    """The stream has no footer then, and the user sees what went wrong on their own side."""
    over = threading.Event()
    last: list[Any] = []

    def upload(requests: Any, context: Any) -> Any:
        context.add_callback(over.set)
        with contextlib.suppress(Exception):  # a cancelled call's requests end, or raise
            for request in requests:
                last[:] = [request]
        return table_pb2.Table(name="sessions/s1/tables/t", table_id="t")

    fake.on["GetSession"] = lambda *_: session_pb2.Session(name="sessions/s1")
    fake.on["UploadTable"] = upload

    def source() -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            yield pa.record_batch([pa.array(range(500_000), pa.int64())], schema=SCHEMA)
            raise OSError("the disk is gone")

        return pa.RecordBatchReader.from_batches(SCHEMA, batches())

    async def waiting() -> None:
        async with await scorestream.aio.connect(fake.address) as client:
            await (await client.get_session("s1")).load_table(source(), name="t")

    def blocking() -> None:
        with scorestream.connect(fake.address) as client:
            client.get_session("s1").load_table(source(), name="t")

    with pytest.raises(OSError, match="the disk is gone"):
        blocking() if mode == "blocking" else asyncio.run(waiting())
    assert over.wait(30)
    assert not last or last[0].WhichOneof("content") != "footer"


def test_an_upload_that_is_refused_says_why(fake: FakeServer) -> None:
    """A refusal in the middle of an upload reaches the user as it is."""

    def upload(requests: Any, context: Any) -> Any:
        next(requests)
        abort(context, "ALREADY_EXISTS", "table t is there")

    fake.on["GetSession"] = lambda *_: session_pb2.Session(name="sessions/s1")
    fake.on["UploadTable"] = upload
    with (
        scorestream.connect(fake.address) as client,
        pytest.raises(scorestream.AlreadyExistsError, match="table t is there"),
    ):
        client.get_session("s1").load_table(pa.table({"n": range(3_000_000)}), name="t")


def test_waiting_raises_how_a_job_ended(fake: FakeServer) -> None:
    """A failed job is never mistaken for a finished one."""
    failure = job_pb2.JobFailure(
        code="FAILED_PRECONDITION", reason="SOURCE_CHANGED", message="The file changed."
    )
    ends = {
        "FAILED": scorestream.JobFailedError,
        "CANCELLED": scorestream.JobCancelledError,
        "TIMED_OUT": scorestream.JobTimedOutError,
    }
    with scorestream.connect(fake.address) as client:
        for state, kind in ends.items():
            fake.on["GetJob"] = lambda *_, state=state: job(state, failure=failure, rows_scored=1200)
            with pytest.raises(
                scorestream.JobFailedError, match=r"The file changed.*1,200 result rows"
            ) as caught:
                client.get_job("j1").wait()
            assert type(caught.value) is kind
            assert caught.value.reason == "SOURCE_CHANGED"
            assert caught.value.job_id == "j1"


def test_waiting_ends_in_time(fake: FakeServer) -> None:
    """A timeout raises, as a TimeoutError too, and leaves the job alone."""

    def watch(_request: Any, context: Any) -> Iterator[Any]:
        while context.is_active():
            yield event(1)

    fake.on["GetJob"] = lambda *_: job("RUNNING")
    fake.on["WatchJob"] = watch
    with scorestream.connect(fake.address) as client, pytest.raises(TimeoutError) as caught:
        client.get_job("j1").wait(timeout=0.2)
    assert isinstance(caught.value, scorestream.DeadlineExceededError)
    assert "CancelJob" not in fake.requests


def jobs_that_end(fake: FakeServer, ends: dict[str, str]) -> None:
    """Make jobs that run until the watch tells that they end, in this order."""
    states = dict.fromkeys(ends, "RUNNING")

    def watch(_request: Any, _context: Any) -> Iterator[Any]:
        for number, (name, state) in enumerate(ends.items(), start=1):
            states[name] = state
            yield event(number, state, name)

    fake.on["GetJob"] = lambda request, _: job(states[request.name[5:]], id=request.name[5:])
    fake.on["WatchSessions"] = watch


def test_jobs_are_collected_as_they_end(fake: FakeServer) -> None:
    """One subscription serves all; each job comes once, refreshed, however it ended."""
    jobs_that_end(fake, {"c": "SUCCEEDED", "a": "FAILED", "b": "SUCCEEDED_WITH_WARNINGS"})
    with scorestream.connect(fake.address) as client:
        jobs = [client.get_job(name) for name in "abc"]
        assert client.wait_any(jobs).id == "c"
        ended = [(found.id, found.state.value) for found in client.as_completed(jobs)]
        assert sorted(ended) == [("a", "FAILED"), ("b", "SUCCEEDED_WITH_WARNINGS"), ("c", "SUCCEEDED")]
        with pytest.raises(scorestream.JobFailedError, match="ended FAILED"):
            client.wait_all(jobs)
        assert client.wait_all(jobs[1:]) == jobs[1:]
        with pytest.raises(scorestream.InvalidArgumentError):
            client.wait_any([])
    assert fake.requests["WatchSessions"][0].sessions == ["sessions/s1"]


async def test_the_asyncio_client_does_the_same(fake: FakeServer) -> None:
    """Streams resume, jobs are collected and errors are translated with `await` as without."""
    breaking_watch(fake, 5)
    fake.on["GetJob"] = lambda *_: job()
    fake.on["ReadResults"] = lambda request, _: iter([rows(request.offset, 9)])
    async with await scorestream.aio.connect(fake.address, patience=0.5) as client:
        found = await client.get_job("j1")
        assert [event.number async for event in found.watch(after=1)] == [2, 3, 4, 5]
        assert (await found.to_table())["n"].to_pylist() == list(range(9))
        assert await client.wait_all([found]) == [found]
        with pytest.raises(scorestream.UnimplementedError):
            await client.sessions()


async def test_leaving_an_asyncio_loop_early_is_clean(fake: FakeServer) -> None:
    """A `break` out of a stream leaves no warning and no open call behind."""
    breaking_watch(fake, 5)
    fake.on["GetJob"] = lambda *_: job("RUNNING")
    async with await scorestream.aio.connect(fake.address) as client:
        async for found in (await client.get_job("j1")).watch():
            assert found.number == 1
            break


def test_patience_is_bounded_and_begins_again() -> None:
    """Pauses grow to a second, end after the time given, and start small again after a success."""
    now = 0.0
    patience = Patience(10.0, clock=lambda: now)
    pauses = []
    while (pause := patience.pause()) is not None:
        pauses.append(pause)
        now += pause
    assert 10.0 <= now < 10.0 + 1e-6
    assert max(pauses) <= 1.0
    assert pauses[0] <= 0.05
    assert 10 < len(pauses) < 40
    patience.succeeded()
    assert (patience.pause() or 1.0) <= 0.05


def test_a_session_is_found_by_id_or_by_name(fake: FakeServer) -> None:
    """The id is tried first; a name must be unique among the open sessions."""
    known = [("1", "Seg1"), ("2", "Seg2"), ("3", "Seg2"), ("4", "Seg10")]
    sessions = [session_pb2.Session(name=f"sessions/{i}", display_name=name) for i, name in known]

    def get(request: Any, context: Any) -> Any:
        found = [session for session in sessions if session.name == request.name]
        return found[0] if found else abort(context, "NOT_FOUND", "no such session")

    def listed(request: Any, _context: Any) -> Any:
        wanted = [s for s in sessions if s.display_name.startswith(request.display_name_prefix)]
        # Pages of one, so that the client has to turn them.
        page = int(request.page_token or 0)
        return session_service_pb2.ListSessionsResponse(
            sessions=wanted[page : page + 1], next_page_token=str(page + 1) if page + 1 < len(wanted) else ""
        )

    fake.on["GetSession"] = get
    fake.on["ListSessions"] = listed
    with scorestream.connect(fake.address) as client:
        assert client.get_session("4").name == "Seg10"
        assert client.get_session("Seg1").id == "1"
        assert [found.id for found in client.sessions("Seg")] == ["1", "2", "3", "4"]
        with pytest.raises(scorestream.FailedPreconditionError, match="use an id: 2, 3"):
            client.get_session("Seg2")
        with pytest.raises(scorestream.NotFoundError, match="neither by id nor by name"):
            client.get_session("Seg3")
