"""How many workers a context has, and which of them its sessions are given."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.context import PoolSettings
from scorestream_server.workers.scaling import Plan, PoolWorker, WorkerState, decide

NOW = 1000.0
ROOM = 100
KEPT = PoolSettings(reuse_server_processes=True)


def kept(**changes: object) -> PoolSettings:
    return replace(KEPT, **changes)  # type: ignore[arg-type]  # the tests name real fields


def starting(worker_id: int) -> PoolWorker:
    return PoolWorker(worker_id, WorkerState.STARTING, 0, 0, NOW)


def idle(worker_id: int, *, for_seconds: float = 0.0, given: int = 0) -> PoolWorker:
    return PoolWorker(worker_id, WorkerState.IDLE, 0, given, NOW - for_seconds)


def in_use(worker_id: int, *, sessions: int = 1, given: int = 1) -> PoolWorker:
    return PoolWorker(worker_id, WorkerState.IN_USE, sessions, given, NOW)


def ending(worker_id: int) -> PoolWorker:
    return PoolWorker(worker_id, WorkerState.ENDING, 0, 1, NOW)


@pytest.mark.parametrize(
    ("settings", "workers", "waiting", "plan"),
    [
        # Not reused: one worker a session, nothing ahead, nothing kept.
        (PoolSettings(), [], 0, Plan()),
        (PoolSettings(server_min_available=3, server_pool_scale_threshold=1), [], 0, Plan()),
        (PoolSettings(), [], 2, Plan(start=2)),
        (PoolSettings(), [in_use(1)], 1, Plan(start=1)),
        (PoolSettings(server_max_available=1), [in_use(1)], 1, Plan(start=1)),
        (PoolSettings(), [starting(1)], 1, Plan()),
        (PoolSettings(), [idle(1)], 1, Plan(give=(1,))),
        (PoolSettings(), [idle(1, given=1)], 0, Plan(retire=(1,))),
        (PoolSettings(), [idle(1), starting(2)], 0, Plan(retire=(1, 2))),
        # Reused: whoever waits gets a worker without sessions, the one used last, or one is started.
        (kept(), [], 0, Plan()),
        (kept(), [], 2, Plan(start=2)),
        (kept(), [starting(1)], 2, Plan(start=1)),
        (kept(), [idle(1, for_seconds=9), idle(2, for_seconds=3)], 1, Plan(give=(2,))),
        (kept(), [in_use(1)], 1, Plan(start=1)),
        # At least so many are ready, whatever the others do.
        (kept(server_min_available=2), [], 0, Plan(start=2)),
        (kept(server_min_available=2), [starting(1)], 0, Plan(start=1)),
        (kept(server_min_available=2), [in_use(1), in_use(2)], 0, Plan(start=2)),
        (kept(server_min_available=1), [idle(1)], 1, Plan(give=(1,), start=1)),
        (kept(server_min_available=1), [], 1, Plan(start=2)),
        (kept(server_min_available=1), [starting(1)], 1, Plan(start=1)),
        # At most so many; beyond that sessions share the least used one.
        (kept(server_max_available=2), [in_use(1)], 3, Plan(share=(1, 1), start=1)),
        (kept(server_max_available=2), [in_use(1, sessions=3), in_use(2)], 2, Plan(share=(2, 2))),
        (kept(server_max_available=2), [in_use(1, sessions=2), in_use(2)], 3, Plan(share=(2, 1, 2))),
        (kept(server_max_available=1), [idle(1)], 2, Plan(give=(1,), share=(1,))),
        (kept(server_max_available=2), [in_use(1), starting(2)], 1, Plan()),
        (kept(server_max_available=2), [in_use(1), starting(2)], 2, Plan(share=(1,))),
        (kept(server_max_available=2), [in_use(1), ending(2)], 1, Plan()),
        (kept(server_max_available=1, server_min_available=3), [], 0, Plan(start=1)),
        (kept(server_max_available=1), [idle(1, for_seconds=5), idle(2)], 0, Plan(retire=(1,))),
        # Grows ahead from so many percent in use on.
        (kept(server_pool_scale_threshold=75), [in_use(1), in_use(2), in_use(3), idle(4)], 0, Plan(start=1)),
        (kept(server_pool_scale_threshold=76), [in_use(1), in_use(2), in_use(3), idle(4)], 0, Plan()),
        (
            kept(server_pool_scale_threshold=75, server_pool_scale_step=3),
            [in_use(1), in_use(2), in_use(3), idle(4)],
            0,
            Plan(start=3),
        ),
        (
            kept(server_pool_scale_threshold=75, server_pool_scale_step=3, server_max_available=5),
            [in_use(1), in_use(2), in_use(3), idle(4)],
            0,
            Plan(start=1),
        ),
        (
            kept(server_pool_scale_threshold=75),
            [in_use(1), in_use(2), in_use(3), starting(4)],
            0,
            Plan(start=1),
        ),
        (kept(server_pool_scale_threshold=50), [idle(1)], 1, Plan(give=(1,), start=2)),
        (kept(server_pool_scale_threshold=100), [in_use(1)], 0, Plan(start=1)),
        (kept(server_pool_scale_threshold=1), [idle(1)], 0, Plan()),
        # A worker that had its number of sessions takes no more, and ends with the last of them.
        (kept(server_reuse_limit=2), [idle(1, given=1)], 1, Plan(give=(1,))),
        (kept(server_reuse_limit=2), [in_use(1, given=2)], 1, Plan(start=1)),
        (kept(server_reuse_limit=2), [in_use(1, given=2)], 0, Plan()),
        (kept(server_reuse_limit=2), [idle(1, given=2)], 0, Plan(retire=(1,))),
        (
            kept(server_reuse_limit=2, server_min_available=1),
            [idle(1, given=2)],
            0,
            Plan(start=1, retire=(1,)),
        ),
        (kept(server_reuse_limit=2, server_max_available=1), [in_use(1, given=2)], 1, Plan()),
        (kept(server_reuse_limit=2, server_max_available=1), [in_use(1)], 2, Plan(share=(1,))),
        (kept(server_reuse_limit=2, server_max_available=1), [idle(1, given=2)], 1, Plan(retire=(1,))),
        # Unused for so long, longest first, and never below what is to be ready.
        (kept(server_inactive_timeout=60), [idle(1, for_seconds=60)], 0, Plan(retire=(1,))),
        (kept(server_inactive_timeout=60), [idle(1, for_seconds=59)], 0, Plan(look_at=NOW + 1)),
        (
            kept(server_inactive_timeout=60, server_min_available=1),
            [idle(1, for_seconds=70), idle(2, for_seconds=90)],
            0,
            Plan(retire=(2,)),
        ),
        (
            kept(server_inactive_timeout=60, server_pool_scale_threshold=50),
            [in_use(1), idle(2, for_seconds=70), idle(3, for_seconds=90)],
            0,
            Plan(),
        ),
        (kept(), [idle(1, for_seconds=1e9)], 0, Plan()),
        # What older settings started ends when nobody has it, and is given to nobody.
        (kept(), [replace(idle(1), outdated=True)], 1, Plan(start=1, retire=(1,))),
        (kept(), [replace(starting(1), outdated=True)], 0, Plan(retire=(1,))),
        (kept(server_max_available=1), [replace(in_use(1), outdated=True)], 1, Plan()),
    ],
)
def test_what_a_pool_does(
    settings: PoolSettings, workers: list[PoolWorker], waiting: int, plan: Plan
) -> None:
    """The rules, case by case."""
    assert decide(settings, workers, waiting, NOW, ROOM) == plan


def test_where_none_can_be_started_sessions_share() -> None:
    """A server that has all the workers that it may, or whose starts fail, lets nobody wait beside one that works."""
    assert decide(KEPT, [in_use(1)], 2, NOW, room=0) == Plan(share=(1, 1))
    assert decide(KEPT, [in_use(1)], 2, NOW, room=1) == Plan(share=(1,), start=1)
    assert decide(PoolSettings(), [in_use(1)], 2, NOW, room=0) == Plan()
    assert decide(PoolSettings(), [in_use(1)], 2, NOW, room=1) == Plan(start=1)


settings_strategy = st.builds(
    PoolSettings,
    reuse_server_processes=st.booleans(),
    server_inactive_timeout=st.sampled_from([0.0, 5.0, 60.0]),
    server_reuse_limit=st.integers(0, 4),
    server_min_available=st.integers(0, 4),
    server_max_available=st.integers(0, 8),
    server_pool_scale_threshold=st.integers(0, 100),
    server_pool_scale_step=st.integers(1, 5),
)


@st.composite
def workers_strategy(draw: st.DrawFn) -> list[PoolWorker]:
    workers = []
    for worker_id in range(draw(st.integers(0, 8))):
        state = draw(st.sampled_from(WorkerState))
        sessions = draw(st.integers(1, 4)) if state is WorkerState.IN_USE else 0
        given_before = 0 if state is WorkerState.STARTING else sessions + draw(st.integers(0, 3))
        since = NOW - draw(st.sampled_from([0.0, 1.0, 30.0, 100.0]))
        workers.append(PoolWorker(worker_id, state, sessions, given_before, since, draw(st.booleans())))
    return workers


def after(plan: Plan, workers: list[PoolWorker]) -> list[PoolWorker]:
    """Return the workers once a plan is carried out."""
    by_id = {worker.worker_id: worker for worker in workers}
    for worker_id in (*plan.give, *plan.share):
        worker = by_id[worker_id]
        since = NOW if worker.state is WorkerState.IDLE else worker.since
        sessions, count = worker.sessions + 1, worker.given + 1
        by_id[worker_id] = replace(
            worker, state=WorkerState.IN_USE, sessions=sessions, given=count, since=since
        )
    for worker_id in plan.retire:
        by_id[worker_id] = replace(by_id[worker_id], state=WorkerState.ENDING)
    return [*by_id.values(), *(starting(100 + number) for number in range(plan.start))]


@given(settings_strategy, workers_strategy(), st.integers(0, 6), st.integers(0, 12))
def test_what_always_holds(
    settings: PoolSettings, workers: list[PoolWorker], waiting: int, room: int
) -> None:
    """Never too many, never one in use ended, never a worker given beyond its limit, and a plan is enough."""
    plan = decide(settings, workers, waiting, NOW, room)
    by_id = {worker.worker_id: worker for worker in workers}
    assert 0 <= plan.start <= room
    if settings.reuse_server_processes and settings.server_max_available and plan.start:
        assert len(workers) + plan.start <= settings.server_max_available
    assert len({*plan.give}) == len(plan.give)
    assert len(plan.give) + len(plan.share) <= waiting
    assert all(by_id[worker_id].state is WorkerState.IDLE for worker_id in plan.give)
    assert not {*plan.retire} & {*plan.give, *plan.share}
    for worker_id in plan.retire:
        assert by_id[worker_id].state in (WorkerState.STARTING, WorkerState.IDLE)
    limit = settings.server_reuse_limit if settings.reuse_server_processes else 1
    for worker in after(plan, workers):
        if worker.worker_id in (*plan.give, *plan.share):
            assert not worker.outdated
            assert not limit or worker.given <= limit
            assert settings.reuse_server_processes or worker.sessions == 1
    assert plan.look_at > NOW

    # What a plan says is all that there is to do: looking again at once finds nothing.
    left = waiting - len(plan.give) - len(plan.share)
    again = decide(settings, after(plan, workers), left, NOW, room - plan.start)
    assert (again.give, again.share, again.start, again.retire) == ((), (), 0, ())


@given(settings_strategy, workers_strategy(), st.integers(1, 6))
def test_nobody_waits_for_nothing(settings: PoolSettings, workers: list[PoolWorker], waiting: int) -> None:
    """Who is left waiting waits for a worker that starts or ends, or for one that had its number of sessions."""
    plan = decide(settings, workers, waiting, NOW, ROOM)
    left = waiting - len(plan.give) - len(plan.share)
    later = after(plan, workers)
    coming = sum(
        worker.state in (WorkerState.STARTING, WorkerState.ENDING) and not worker.outdated for worker in later
    )
    going = [worker for worker in later if worker.state in (WorkerState.IN_USE, WorkerState.ENDING)]
    assert not left or coming or going
    if not settings.reuse_server_processes:
        assert left <= sum(worker.state is WorkerState.STARTING for worker in later)


def test_time_alone_is_waited_for_where_it_changes_something() -> None:
    """The next look is when the first worker without sessions has been so for long enough."""
    settings = kept(server_inactive_timeout=60)
    workers = [idle(1, for_seconds=50), idle(2, for_seconds=20), in_use(3)]
    assert decide(settings, workers, 0, NOW, ROOM).look_at == NOW + 10
    assert decide(kept(), workers, 0, NOW, ROOM).look_at == math.inf
