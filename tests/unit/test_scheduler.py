"""The scheduler: who is served next, and that nobody starves."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.job import Priority
from scorestream_server.scheduler import (
    AGEING_SECONDS,
    PREFETCH,
    ReadyJob,
    Shares,
    WorkerLoad,
    may_take,
    schedule,
)


def job(job_id: str, session_id: str = "s", **changes: object) -> ReadyJob:
    ready = ReadyJob(job_id, session_id, Priority.NORMAL, 100, 1, 1.0, 100, waiting_since=0.0)
    return replace(ready, **changes)  # type: ignore[arg-type]  # the tests name real fields


def worker(worker_id: int = 0, lanes: int = 1, in_flight: int = 0) -> WorkerLoad:
    return WorkerLoad(worker_id, lanes, in_flight)


def serve(jobs: list[ReadyJob], rounds: int) -> list[str]:
    """Serve one partition at a time and return whose it was, in order."""
    shares = Shares()
    served = []
    for _ in range(rounds):
        assignments, shares = schedule(jobs, [worker(in_flight=PREFETCH)], shares, now=0.0)
        served += [assignment.job_id for assignment in assignments]
    return served


def test_nothing_is_handed_out_beyond_the_lanes_and_one_more() -> None:
    """A worker holds as many partitions as it has lanes, and one for the lane that ends first."""
    assignments, _ = schedule([job("a")], [worker(lanes=3)], Shares(), now=0.0)
    assert len(assignments) == 3 + PREFETCH


def test_without_a_worker_nothing_happens() -> None:
    """Jobs wait where there is nobody to do them."""
    assert schedule([job("a")], [], Shares(), now=0.0)[0] == []


def test_a_higher_class_goes_first() -> None:
    """Priority is looked at before shares."""
    jobs = [job("low", "a", priority=Priority.LOW), job("high", "b", priority=Priority.HIGH, order=2)]
    assignments, _ = schedule(jobs, [worker(in_flight=PREFETCH)], Shares({"a": 0.0, "b": 1e9}), now=0.0)
    assert [assignment.job_id for assignment in assignments] == ["high"]


def test_a_class_that_waits_rises() -> None:
    """A low job that waited two ageing periods stands with the high ones, and its share decides."""
    jobs = [
        job("low", "a", priority=Priority.LOW, waiting_since=0.0),
        job("high", "b", priority=Priority.HIGH, waiting_since=2 * AGEING_SECONDS, order=2),
    ]
    assignments, _ = schedule(
        jobs, [worker(in_flight=PREFETCH)], Shares({"a": 0.0, "b": 5.0}), now=2 * AGEING_SECONDS
    )
    assert [assignment.job_id for assignment in assignments] == ["low"]


def test_sessions_of_equal_weight_alternate() -> None:
    """A session with many jobs gets no more than one with a single job."""
    jobs = [job("a1", "a"), job("a2", "a", order=2), job("b1", "b", order=3)]
    counts = Counter(name[0] for name in serve(jobs, 100))
    assert counts == {"a": 50, "b": 50}


def test_work_is_shared_by_weight() -> None:
    """A session of three times the weight gets three times the work."""
    counts = Counter(serve([job("a", "a", weight=300), job("b", "b", weight=100, order=2)], 400))
    assert abs(counts["a"] - 300) <= 1


def test_the_cost_of_partitions_counts_not_their_number() -> None:
    """A session whose partitions cost twice as much gets half as many of them."""
    counts = Counter(serve([job("a", "a", cost=2.0), job("b", "b", cost=1.0, order=2)], 300))
    assert abs(counts["b"] - 200) <= 1


def test_the_oldest_job_of_a_session_goes_first() -> None:
    """Within a session jobs go in the order of their creation."""
    assert set(serve([job("new", order=2), job("old", order=1)], 10)) == {"old"}


def test_a_session_that_was_idle_neither_saves_up_nor_pays() -> None:
    """A newcomer joins at the time of the session that is furthest behind."""
    _, shares = schedule([job("a", "a"), job("b", "b")], [], Shares({"a": 40.0}), now=0.0)
    assert shares.sessions == {"a": 40.0, "b": 40.0}


def test_the_least_busy_worker_gets_the_partition() -> None:
    """Load is counted by lane."""
    workers = [worker(1, lanes=2, in_flight=1), worker(2, lanes=8, in_flight=2)]
    assert schedule([job("a", partitions=1)], workers, Shares(), now=0.0)[0][0].worker_id == 2


def test_a_partition_that_lost_its_worker_runs_alone() -> None:
    """It gets an idle worker and nothing is put beside it."""
    suspect = job("suspect", "a", alone=True)
    assignments, _ = schedule([suspect, job("b", "b", order=2)], [worker(lanes=4)], Shares(), now=0.0)
    assert [(assignment.job_id, assignment.alone) for assignment in assignments] == [("suspect", True)]


def test_a_worker_runs_dry_for_a_partition_that_must_be_alone() -> None:
    """A busy worker is given nothing more, so that the suspect gets its turn."""
    suspect = job("suspect", "a", alone=True)
    busy = [worker(lanes=4, in_flight=1)]
    assert schedule([suspect, job("b", "b", order=2)], busy, Shares({"a": 0.0, "b": 1.0}), now=0.0)[0] == []


def test_nothing_is_put_beside_a_partition_that_runs_alone() -> None:
    """A reserved worker takes nothing."""
    reserved = replace(worker(lanes=4, in_flight=1), reserved=True)
    assert schedule([job("a")], [reserved], Shares(), now=0.0)[0] == []


def test_a_job_goes_to_the_worker_of_its_session_and_to_no_other() -> None:
    """What a context's worker is to one session, the server's own are to all the others."""
    jobs = [job("mine", "a", worker_id=7, partitions=3), job("ours", "b", partitions=3)]
    workers = [worker(1, lanes=4), replace(worker(7, lanes=4), own=False), replace(worker(8), own=False)]
    assignments, _ = schedule(jobs, workers, Shares(), now=0.0)
    assert Counter((one.job_id, one.worker_id) for one in assignments) == {("mine", 7): 3, ("ours", 1): 3}
    assert schedule([job("gone", worker_id=9)], workers, Shares(), now=0.0)[0] == []


def test_a_full_worker_of_one_session_keeps_nobody_else_waiting() -> None:
    """Who is first in line and has no room is passed over by those who have other workers."""
    jobs = [job("first", "a", priority=Priority.HIGH, worker_id=7), job("next", "b", order=2)]
    workers = [worker(1), replace(worker(7, in_flight=1 + PREFETCH), own=False)]
    assignments, _ = schedule(jobs, workers, Shares(), now=0.0)
    assert {one.job_id for one in assignments} == {"next"}


def test_a_newcomer_is_compared_with_those_who_have_the_same_workers() -> None:
    """A session that is far behind on a worker of its own lends no advantage to newcomers elsewhere."""
    jobs = [job("a", "a", worker_id=7), job("b", "b"), job("c", "c")]
    _, shares = schedule(jobs, [], Shares({"a": 1.0, "b": 40.0}, {(7, "default"): 1.0}), now=0.0)
    assert shares.sessions == {"a": 1.0, "b": 40.0, "c": 40.0}
    assert shares.queues == {(7, "default"): 1.0, (None, "default"): 1.0}


jobs_strategy = st.lists(
    st.builds(
        ReadyJob,
        job_id=st.uuids().map(str),
        session_id=st.sampled_from("abcde"),
        priority=st.sampled_from(Priority),
        weight=st.integers(1, 1000),
        order=st.integers(1, 100),
        cost=st.floats(0.1, 1e6),
        partitions=st.integers(1, 5),
        waiting_since=st.floats(0, 100),
        alone=st.booleans(),
        worker_id=st.none() | st.integers(0, 9),
    ),
    max_size=12,
    unique_by=lambda ready: ready.job_id,
)
workers_strategy = st.lists(
    st.builds(
        WorkerLoad, st.integers(0, 9), st.integers(1, 4), st.integers(0, 6), st.booleans(), own=st.booleans()
    ),
    max_size=4,
    unique_by=lambda load: load.worker_id,
)


@given(jobs_strategy, workers_strategy, st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1e9)))
def test_decisions_keep_within_what_is_there(
    jobs: list[ReadyJob], workers: list[WorkerLoad], shares: dict[str, float]
) -> None:
    """No job gives more partitions than it has, no worker takes more than it may, no share falls."""
    assignments, found = schedule(jobs, workers, Shares(shares), now=100.0)
    after = found.sessions
    by_id = {ready.job_id: ready for ready in jobs}
    given_out = Counter(assignment.job_id for assignment in assignments)
    assert all(count <= by_id[job_id].partitions for job_id, count in given_out.items())
    taken = Counter(assignment.worker_id for assignment in assignments)
    for load in workers:
        allowed = 0 if load.reserved else max(0, load.lanes + PREFETCH - load.in_flight)
        assert taken[load.worker_id] <= allowed
    serves = {load.worker_id: load.serves for load in workers}
    for assignment in assignments:
        assert serves[assignment.worker_id] == by_id[assignment.job_id].worker_id
        if assignment.alone:
            assert taken[assignment.worker_id] == 1
    assert set(after) == {ready.session_id for ready in jobs}
    assert all(after[session] >= shares[session] for session in after if session in shares)


@given(st.integers(2, 6), st.integers(1, 4))
def test_everybody_is_served(sessions: int, lanes: int) -> None:
    """Whatever the classes, each session gets something within a bounded time."""
    now = 0.0
    served: set[str] = set()
    shares = Shares()
    jobs = {
        f"j{number}": job(f"j{number}", f"s{number}", priority=Priority(1 + number % 3), order=number)
        for number in range(sessions)
    }
    for _ in range(40 * sessions):
        now += 1.0
        assignments, shares = schedule(list(jobs.values()), [worker(lanes=lanes)], shares, now)
        for assignment in assignments:
            served.add(assignment.job_id)
            jobs[assignment.job_id] = replace(jobs[assignment.job_id], waiting_since=now)
    assert served == set(jobs)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 10))
def test_no_more_partitions_of_a_job_run_than_may(pending: int, in_flight: int, at_once: int) -> None:
    """What is handed out and what is out never pass the limit; without one, all that waits is for handing out."""
    taken = may_take(pending, in_flight, at_once)
    assert 0 <= taken <= pending
    if at_once == 0:
        assert taken == pending
    else:
        assert taken + in_flight <= max(at_once, in_flight)
        assert taken == pending or taken + in_flight >= at_once


def test_a_job_at_its_limit_leaves_the_lanes_to_others_and_keeps_its_share() -> None:
    """Lanes that it may not have are another job's, and it is no newcomer when it may have one again."""
    full = job("full", "a", partitions=may_take(90, 2, 2))
    assignments, shares = schedule(
        [full, job("other", "b", order=2)], [worker(lanes=3)], Shares({"a": 7.0, "b": 0.0}), now=0.0
    )
    assert {assignment.job_id for assignment in assignments} == {"other"}
    assert shares.sessions["a"] == 7.0
