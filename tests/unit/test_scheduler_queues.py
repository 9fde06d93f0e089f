"""Queues in the scheduler: their shares come before those of sessions, and none begins more jobs than it may."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.job import Priority
from scorestream_server.scheduler import PREFETCH, QueueShare, ReadyJob, Shares, WorkerLoad, schedule


def job(job_id: str, queue: str, session_id: str = "", **changes: object) -> ReadyJob:
    ready = ReadyJob(
        job_id, session_id or job_id, Priority.NORMAL, 100, 1, 1.0, 100, waiting_since=0.0, queue=queue
    )
    return replace(ready, **changes)  # type: ignore[arg-type]  # the tests name real fields


def serve(jobs: list[ReadyJob], rounds: int, queues: dict[str, QueueShare]) -> Counter[str]:
    """Serve one partition at a time and count what each queue was given."""
    shares, given_to = Shares(), Counter[str]()
    queue_of = {ready.job_id: ready.queue for ready in jobs}
    for _ in range(rounds):
        assignments, shares = schedule(jobs, [WorkerLoad(0, 1, PREFETCH)], shares, 0.0, queues=queues)
        given_to.update(queue_of[assignment.job_id] for assignment in assignments)
    return given_to


def test_queues_share_by_weight_however_many_sessions_they_have() -> None:
    """Ten sessions of one queue get together what the only one of another gets, by the queues' weights."""
    many = [job(f"m{number}", "many", order=number) for number in range(10)]
    lone = job("l", "lone", order=99)
    assert serve([*many, lone], 200, {}) == {"many": 100, "lone": 100}
    weighed = serve([*many, lone], 400, {"many": QueueShare(300), "lone": QueueShare(100)})
    assert abs(weighed["many"] - 300) <= 1


def test_sessions_share_what_their_queue_gets_by_weight() -> None:
    jobs = [job("a", "q", weight=300), job("b", "q", order=2), job("c", "other", order=3)]
    shares, served = Shares(), Counter[str]()
    for _ in range(400):
        assignments, shares = schedule(jobs, [WorkerLoad(0, 1, PREFETCH)], shares, 0.0)
        served.update(assignment.job_id for assignment in assignments)
    assert served["c"] == 200
    assert abs(served["a"] - 150) <= 1


def test_a_higher_class_goes_before_a_queue_of_more_weight() -> None:
    """Priority is looked at before shares."""
    jobs = [job("low", "heavy", priority=Priority.LOW), job("high", "light", order=2)]
    assert serve(jobs, 10, {"heavy": QueueShare(1000), "light": QueueShare(1)}) == {"light": 10}


def test_a_queue_at_its_limit_goes_on_with_what_it_has_begun() -> None:
    """Its other jobs wait, and those of other queues take the lanes."""
    jobs = [
        job("begun", "full", partitions=1),
        job("next", "full", order=2, started=False),
        job("other", "free", order=3, started=False),
    ]
    assignments, _ = schedule(
        jobs, [WorkerLoad(0, 3, 0)], Shares(), 0.0, queues={"full": QueueShare(may_start=0)}
    )
    assert Counter(assignment.job_id for assignment in assignments) == {"begun": 1, "other": 3}


def test_a_queue_at_its_limit_saves_up_no_share() -> None:
    """When its job may begin, it joins where the others are."""
    waiting, busy = job("waits", "full", started=False), job("b", "busy", order=2)
    shares = Shares()
    for _ in range(50):
        _, shares = schedule(
            [waiting, busy],
            [WorkerLoad(0, 1, PREFETCH)],
            shares,
            0.0,
            queues={"full": QueueShare(may_start=0)},
        )
    assert shares.queues == {(None, "busy"): pytest.approx(0.5)}
    _, shares = schedule([waiting, busy], [], shares, 0.0)
    assert shares.queues == {(None, "busy"): pytest.approx(0.5), (None, "full"): pytest.approx(0.5)}


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(1, 4), st.sampled_from("xy")),
        max_size=12,
    ),
    st.dictionaries(
        st.sampled_from("ab"),
        st.builds(QueueShare, st.integers(1, 1000), st.none() | st.integers(-1, 3)),
    ),
    st.dictionaries(st.sampled_from("x"), st.integers(-1, 3)),
    st.integers(1, 8),
)
def test_no_queue_begins_more_jobs_than_it_may_and_no_lane_stays_idle_for_it(
    wanted: list[tuple[str, bool, int, str]],
    queues: dict[str, QueueShare],
    owners: dict[str, int],
    lanes: int,
) -> None:
    """Whatever owners may begin beside: jobs that run go on, and others' jobs take the lanes of those that must wait."""
    ready = [
        job(str(order), queue, order=order, started=started, partitions=partitions, owner=owner)
        for order, (queue, started, partitions, owner) in enumerate(wanted)
    ]
    assignments, after = schedule(ready, [WorkerLoad(0, lanes, 0)], Shares(), 0.0, owners, queues)
    given_to = Counter(assignment.job_id for assignment in assignments)
    begun = [ready_job for ready_job in ready if not ready_job.started and ready_job.job_id in given_to]
    for name, queue in queues.items():
        if queue.may_start is not None:
            assert sum(one.queue == name for one in begun) <= max(queue.may_start, 0)
    for owner, most in owners.items():
        assert sum(one.owner == owner for one in begun) <= max(most, 0)
    if len(assignments) < lanes + PREFETCH:
        for one in ready:
            all_of_it = given_to[one.job_id] == one.partitions
            queue_full = (queues.get(one.queue, QueueShare()).may_start or 0) <= sum(
                b.queue == one.queue for b in begun
            )
            limited = queues.get(one.queue, QueueShare()).may_start is not None and queue_full
            owner_full = one.owner in owners and owners[one.owner] <= sum(b.owner == one.owner for b in begun)
            assert all_of_it or (not one.started and (limited or owner_full))
    assert all(time >= 0 for time in after.queues.values())
