"""What the fake server of `fake_server.py` answers: jobs, events and result rows, as the real one writes them."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from fake_server import FakeServer, abort
from scorestream.v1 import event_pb2, job_pb2, job_service_pb2, session_service_pb2

SCHEMA = pa.schema([("n", pa.int64())])


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


def watched(*events: event_pb2.Event) -> job_service_pb2.WatchJobResponse:
    """Return what a watch of a job sends for these events."""
    return job_service_pb2.WatchJobResponse(events=events)


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
    """Make the server send an event, then two at once, and then break off, until the event `last`."""

    def watch(request: Any, context: Any) -> Iterator[list[event_pb2.Event]]:
        left = [
            event(number, "SUCCEEDED" if number == last else "RUNNING")
            for number in range(request.after + 1, last + 1)
        ]
        yield left[:1]
        if left[1:]:
            yield left[1:3]
        if left[3:]:
            abort(context, "UNAVAILABLE", "gone")

    fake.on["WatchJob"] = lambda request, context: (watched(*events) for events in watch(request, context))
    fake.on["WatchSessions"] = lambda request, context: (
        session_service_pb2.WatchSessionsResponse(events=events) for events in watch(request, context)
    )
