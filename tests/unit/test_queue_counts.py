"""How many jobs each queue has: counted one by one, and right whatever comes in which order."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.job import Job, JobSpec, Priority, State
from scorestream_server.domain.queue import Queue, QueueLoad
from scorestream_server.engine.queues import QueueCounts
from scorestream_server.scheduler import QueueShare

SPEC = JobSpec("m", 1, "t", "u", "", (), "", None, False, Priority.NORMAL, 1)
JOB = Job(
    id="j",
    name="j",
    session_id="s",
    owner="me",
    spec=SPEC,
    state=State.PENDING,
    rows_done=0,
    rows_total=1,
    rows_scored=0,
    partitions_done=0,
    partitions_total=1,
    first_event=0,
    create_time=0.0,
    start_time=None,
    end_time=None,
    failure=None,
    result_schema=b"",
    outputs=(),
    warnings=(),
    device="",
)


def waiting(queue: str) -> Job:
    return replace(JOB, spec=replace(SPEC, queue=queue))


def running(queue: str) -> Job:
    return replace(waiting(queue), start_time=1.0)


def test_a_full_queue_takes_no_more_and_says_when_to_try_again() -> None:
    """Jobs that run do not count as waiting; other queues are not concerned."""
    counts = QueueCounts([Queue("q", running_jobs=1, waiting_jobs=2)])
    counts.add(running("q"))
    counts.add(waiting("q"))
    counts.require_room("q")
    counts.add(waiting("q"))
    with pytest.raises(ScorestreamError, match="2 jobs wait, as many as may") as caught:
        counts.require_room("q")
    assert caught.value.code is ErrorCode.RESOURCE_EXHAUSTED
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_seconds > 0
    counts.require_room("default")
    counts.require_room("configured no more")


def test_a_job_says_that_its_queue_keeps_it_waiting() -> None:
    """Only where it is the queue that does."""
    counts = QueueCounts([Queue("q", running_jobs=1)])
    counts.add(waiting("q"))
    assert counts.why_waiting(waiting("q")) == ""
    counts.add(running("q"))
    assert counts.why_waiting(waiting("q")) == (
        "waiting for queue 'q': 1 of its jobs run, as many as may; 1 wait"
    )
    assert counts.why_waiting(running("q")) == ""
    assert counts.why_waiting(waiting("default")) == ""


def test_an_unknown_queue_is_refused_with_those_that_are_near() -> None:
    counts = QueueCounts([Queue("nightly"), Queue("daily")])
    assert counts.check("queue", "") == "default"
    assert counts.check("queue", "nightly") == "nightly"
    with pytest.raises(ScorestreamError, match="did you mean nightly"):
        counts.check("queue", "nigthly")
    with pytest.raises(ScorestreamError, match="there are: daily, default, nightly"):
        counts.check("queue", "x" * 10_000)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "default", "gone"]), st.integers(0, 4)), max_size=20))
def test_counts_are_those_of_the_jobs_that_have_not_ended(lives: list[tuple[str, int]]) -> None:
    """A life: it waits; it waits and runs; both and it ends; it was found running, at a start; it ends unbegun."""
    counts = QueueCounts([Queue("a", 7, running_jobs=3), Queue("b")])
    left: list[tuple[str, bool]] = []
    for name, life in lives:
        counts.add(running(name) if life == 3 else waiting(name))
        if life in {1, 2}:
            counts.begun(running(name))
        if life in {2, 4}:
            counts.remove(running(name) if life == 2 else waiting(name))
        else:
            left.append((name, life != 0))
    assert counts.loads() == [
        QueueLoad(queue, left.count((queue.name, True)), left.count((queue.name, False)))
        for queue in (Queue("a", 7, running_jobs=3), Queue("b"), Queue("default"))
    ]
    assert counts.shares() == {
        name: QueueShare(7, 3 - left.count(("a", True))) if name == "a" else QueueShare()
        for name in {name for name, _ in left}
    }
