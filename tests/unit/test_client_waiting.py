"""Whoever waits for jobs learns how each ended, in time."""

from collections.abc import Iterator
from typing import Any

import pytest

import scorestream
from fake_answers import event, job, watched
from fake_server import FakeServer, fake_server
from scorestream.v1 import job_pb2, job_service_pb2, session_service_pb2


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


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
            yield watched(event(1))

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
            yield session_service_pb2.WatchSessionsResponse(events=[event(number, state, name)])

    fake.on["GetJob"] = lambda request, _: job(states[request.name[5:]], id=request.name[5:])
    fake.on["BatchGetJobs"] = lambda request, _: job_service_pb2.BatchGetJobsResponse(
        jobs=[job(states[name[5:]], id=name[5:]) for name in request.names]
    )
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
