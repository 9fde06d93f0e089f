"""Streams go on after a lost connection, from where they were, each row and event once."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

import scorestream
import scorestream.aio
from fake_answers import SCHEMA, breaking_watch, event, job, rows, watched
from fake_server import FakeServer, abort, fake_server
from scorestream.v1 import device_pb2, device_service_pb2, job_service_pb2


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


def test_a_watch_resumes_behind_its_last_event(fake: FakeServer) -> None:
    """After each break the watch asks for what comes behind the last number; every event comes once."""
    fake.on["GetJob"] = lambda *_: job("RUNNING")
    breaking_watch(fake, 7)
    with scorestream.connect(fake.address) as client:
        events = list(client.get_job("j1").watch())
        consolidated = list(client.watch(prefix="ScoringJob_", after=3, until_final=True))
    assert [found.number for found in events] == [1, 2, 3, 4, 5, 6, 7]
    assert events[-1].state is scorestream.State.SUCCEEDED
    assert [request.after for request in fake.requests["WatchJob"]] == [0, 3, 6]
    assert [found.number for found in consolidated] == [4, 5, 6, 7]
    assert all(
        request.display_name_prefix == "ScoringJob_" and request.until_final
        for request in fake.requests["WatchSessions"]
    )


def test_events_that_come_again_are_dropped(fake: FakeServer) -> None:
    """A server that repeats itself does not make the client do so."""
    fake.on["GetJob"] = lambda *_: job("RUNNING")
    fake.on["WatchJob"] = lambda *_: iter(
        [watched(event(1), event(2)), watched(event(2)), watched(event(1), event(3, "FAILED"))]
    )
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
        yield watched(event(1))
        while context.is_active():
            yield watched(event(2))

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


async def test_the_asyncio_client_does_the_same(fake: FakeServer) -> None:
    """Streams resume, jobs are collected and errors are translated with `await` as without."""
    breaking_watch(fake, 5)
    fake.on["GetJob"] = lambda *_: job()
    fake.on["BatchGetJobs"] = lambda *_: job_service_pb2.BatchGetJobsResponse(jobs=[job()])
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
