"""Workers of contexts with processes that come up at once, or never: who is given one, and which ones end."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import psutil
import pytest
import pytest_asyncio

from scorestream_server.domain.context import ContextSettings, PoolSettings
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import Ready
from scorestream_server.engine.waits import WorkerWaits
from scorestream_server.workers.contexts import ContextPools, ContextWorker
from scorestream_server.workers.launch import WorkerSpec
from scorestream_server.workers.local import LocalPool
from scorestream_server.workers.pool import MAX_ATTEMPTS
from scorestream_server.workers.scaling import WorkerState

KEPT = PoolSettings(reuse_server_processes=True)
COMES_UP = """
import socket, sys
end = socket.socket(fileno=int(sys.argv[1]))
body = bytes.fromhex(sys.argv[2])
end.sendall(len(body).to_bytes(4, "big") + body)
while end.recv(1 << 16):
    pass
"""
HANGS = "import socket, sys; socket.socket(fileno=int(sys.argv[1])).recv(1 << 16)"
BREAKS = "import sys; sys.exit(3)"


@dataclass(eq=False)
class Scene:
    """Pools over processes of a test's choice, and what was told to whom.

    Attributes:
        code: what the next worker process does.
    """

    code: str = COMES_UP
    most: int = 100
    specs: list[WorkerSpec] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    errors: dict[str, ScorestreamError] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.local = LocalPool(devices=["cpu"], lanes=2, launch=self._launch)
        self.local.on_change = self.changed.set
        self.pools = ContextPools(self.local, self.most)
        self.pools.listener = self

    async def _launch(self, spec: WorkerSpec, descriptor: int) -> asyncio.subprocess.Process:
        self.specs.append(spec)
        self.changed.set()
        ready = msgspec.msgpack.encode(Ready(spec.device, spec.lanes)).hex()
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", self.code, str(descriptor), ready),
            pass_fds=(descriptor,),
            stdin=asyncio.subprocess.DEVNULL,
        )

    def given(self, session_id: str) -> None:
        self.told.append((session_id, "given"))
        self.changed.set()

    def waits(self, session_id: str, what_for: str) -> None:
        self.told.append((session_id, what_for))

    def gave_up(self, session_id: str, error: ScorestreamError) -> None:
        self.errors[session_id] = error
        self.changed.set()

    def configure(self, pool: PoolSettings, **changes: object) -> None:
        settings = replace(ContextSettings(pool=pool), **changes)  # type: ignore[arg-type]  # the tests name real fields
        self.pools.configure("nightly", settings)

    def join(self, *sessions: str) -> None:
        for session_id in sessions:
            self.pools.join(session_id, "nightly")

    def workers(self, state: WorkerState | None = None) -> list[ContextWorker]:
        return [worker for worker in self.pools.workers("nightly") if state in (None, worker.state)]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def served(self, *sessions: str) -> list[int | None]:
        """Wait until all these sessions have a worker, and return whose."""
        await self.until(lambda: all(self.pools.worker_of(one) is not None for one in sessions))
        return [self.pools.worker_of(one) for one in sessions]

    async def count(self, number: int, state: WorkerState | None = None) -> None:
        """Wait until there are so many workers."""
        await self.until(lambda: len(self.workers(state)) == number)


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    pids = [worker.pid for worker in made.workers()]
    made.pools.close()
    await made.local.close()
    assert not any(map(psutil.pid_exists, pids))


async def test_a_session_has_a_process_of_its_own_that_ends_with_it(scene: Scene) -> None:
    """Without reuse: nothing before the session, one worker a session, nothing after it."""
    scene.configure(PoolSettings(server_min_available=3))
    assert scene.workers() == []
    scene.join("a", "b", "a")
    assert scene.told[0][0] == "a"
    assert scene.told[0][1].startswith("waits for a worker of context nightly: starting, 0.")
    first, second = await scene.served("a", "b")
    assert first != second
    assert first is not None
    gone = scene.local.info(first)
    assert gone is not None
    scene.pools.leave("a")
    await scene.count(1)
    assert not psutil.pid_exists(gone.pid)
    assert (scene.pools.worker_of("a"), scene.pools.worker_of("b")) == (None, second)
    scene.pools.leave("b")
    await scene.count(0)


async def test_a_session_that_ends_before_its_worker_is_up_leaves_none(scene: Scene) -> None:
    """A worker that nobody waits for any more is stopped while it starts."""
    scene.code = HANGS
    scene.configure(PoolSettings())
    scene.join("a")
    scene.pools.leave("a")
    await scene.count(0)
    assert len(scene.specs) == 1
    scene.join("b")
    await scene.until(lambda: len(scene.specs) == 2)
    scene.pools.leave("b")
    await scene.count(0)
    assert scene.errors == {}


async def test_some_are_always_ready_and_a_session_is_given_one_at_once(scene: Scene) -> None:
    """So many without sessions come up with the context; who comes does not wait, and another takes the place."""
    scene.configure(replace(KEPT, server_min_available=2))
    await scene.count(2, WorkerState.IDLE)
    scene.join("a")
    assert scene.pools.worker_of("a") is not None
    assert scene.told == [("a", "given")]
    await scene.count(2, WorkerState.IDLE)
    assert len(scene.workers(WorkerState.IN_USE)) == 1
    scene.pools.leave("a")
    assert sorted(worker.sessions_given for worker in scene.workers()) == [0, 0, 1]
    assert len(scene.workers(WorkerState.IDLE)) == 3


async def test_the_pool_grows_ahead_and_stays_below_its_most(scene: Scene) -> None:
    """From so many per cent in use on more are started, by steps; at the most, sessions share."""
    scene.configure(
        replace(KEPT, server_pool_scale_threshold=50, server_pool_scale_step=2, server_max_available=4)
    )
    scene.join("a")
    await scene.served("a")
    assert len(scene.workers()) == 3
    await scene.count(2, WorkerState.IDLE)
    scene.join("b")
    assert len(scene.workers()) == 4
    scene.join("c", "d", "e")
    given = await scene.served("a", "b", "c", "d", "e")
    assert len(scene.workers()) == len({*given}) == 4
    assert sorted(worker.sessions for worker in scene.workers()) == [1, 1, 1, 2]


async def test_a_worker_ends_with_the_last_of_its_number_of_sessions(scene: Scene) -> None:
    """The n-th session is the last that it is given, and its process is gone when that ends."""
    scene.configure(replace(KEPT, server_reuse_limit=2, server_max_available=1))
    scene.join("a", "b")
    first, second = await scene.served("a", "b")
    assert first == second
    scene.join("c")
    assert "all 1 that it may have are taken" in scene.pools.why_waiting("c")
    (worker,) = scene.workers()
    scene.pools.leave("a")
    assert scene.workers()[0].pid == worker.pid
    scene.pools.leave("b")
    assert (await scene.served("c")) != [first]
    assert not psutil.pid_exists(worker.pid)


async def test_a_worker_that_was_unused_for_long_enough_ends(scene: Scene) -> None:
    """Those beyond the ones that are to be ready end by themselves."""
    scene.configure(replace(KEPT, server_inactive_timeout=0.05))
    scene.join("a", "b")
    await scene.served("a", "b")
    scene.pools.leave("a")
    await scene.count(1)
    assert scene.workers()[0].state is WorkerState.IN_USE


async def test_a_worker_that_does_not_come_up_in_time_is_given_up(scene: Scene) -> None:
    """Each start that fails is told with the reason, and after some of them the wait is over."""
    scene.code = HANGS
    scene.configure(PoolSettings(server_launch_timeout=0.1))
    scene.join("a")
    await scene.until(lambda: scene.errors)
    error = scene.errors["a"]
    assert (error.code, error.reason) == (ErrorCode.UNAVAILABLE, "NO_WORKER")
    assert (
        "3 starts failed, the last because the worker was stopped because it was not ready within 0.1 s"
        in (error.message)
    )
    assert len(scene.specs) == MAX_ATTEMPTS
    assert any("failed starts: 1, the last because the worker was stopped" in what for _, what in scene.told)
    assert scene.workers() == []
    # Whoever asks anew has something done for it.
    scene.code = COMES_UP
    scene.join("a")
    await scene.served("a")


async def test_sessions_share_a_worker_where_no_other_comes_up(scene: Scene) -> None:
    """Beside one that works nobody is refused, unless each session is to have its own."""
    scene.configure(KEPT)
    scene.join("a")
    (first,) = await scene.served("a")
    scene.code = BREAKS
    scene.join("b")
    assert await scene.served("b") == [first]
    assert scene.errors == {}


async def test_a_session_whose_worker_dies_is_given_another(scene: Scene) -> None:
    """It waits before those that never had one, and is told so."""
    scene.configure(replace(KEPT, server_max_available=1))
    scene.join("a")
    (first,) = await scene.served("a")
    assert first is not None
    scene.local.kill(first)
    await scene.until(lambda: scene.pools.worker_of("a") != first)
    assert "starting" in scene.pools.why_waiting("a")
    assert await scene.served("a") != [first]


async def test_a_server_has_so_many_workers_of_contexts_at_most(scene: Scene) -> None:
    """Who is beyond that waits until another one ends, in whichever context."""
    scene.pools = ContextPools(scene.local, 1)
    scene.pools.configure("weekly", ContextSettings())
    scene.configure(PoolSettings())
    scene.pools.join("other", "weekly")
    await scene.until(lambda: scene.pools.worker_of("other") is not None)
    scene.join("a")
    assert "the server has 1, as many of all contexts as it may" in scene.pools.why_waiting("a")
    scene.pools.leave("other")
    await scene.served("a")


async def test_what_a_context_says_anew_is_said_of_its_next_workers(scene: Scene) -> None:
    """Idle workers of another name end; one in use goes on until its session ends; a removed context keeps none."""
    scene.configure(replace(KEPT, server_min_available=1))
    await scene.count(1, WorkerState.IDLE)
    scene.join("a")
    await scene.count(1, WorkerState.IDLE)
    (used,) = scene.workers(WorkerState.IN_USE)
    scene.configure(replace(KEPT, server_min_available=1), job_name_prefix="night-")
    await scene.until(
        lambda: {worker.state for worker in scene.workers()} == {WorkerState.IN_USE, WorkerState.IDLE}
    )
    assert [spec.title for spec in scene.specs] == ["", "", "night-scorestream-worker"]
    assert scene.workers(WorkerState.IN_USE)[0].pid == used.pid
    scene.pools.leave("a")
    await scene.count(1)
    scene.pools.remove("nightly")
    await scene.count(0)


async def test_a_device_that_the_server_does_not_have_is_the_reason(scene: Scene) -> None:
    """A server that was started with fewer devices says so; a device that it has is taken."""
    scene.configure(PoolSettings(), device="cuda:1")
    scene.join("a")
    await scene.until(lambda: scene.errors)
    assert "is to have device cuda:1, and this server has cpu" in scene.errors["a"].message
    scene.configure(PoolSettings(), device="cpu")
    scene.join("a")
    await scene.served("a")
    assert [(spec.device, spec.lanes) for spec in scene.specs] == [("cpu", 2)]


async def test_the_default_context_starts_nothing(scene: Scene) -> None:
    """Its workers are the server's own."""
    scene.pools.configure("default", ContextSettings(pool=replace(KEPT, server_min_available=3)))
    scene.pools.join("a", "default")
    assert scene.pools.worker_of("a") is None
    assert scene.pools.why_waiting("a") == ""
    assert scene.specs == []


def waits_on(scene: Scene) -> WorkerWaits:
    """Return who stands between jobs and these pools, with no job."""
    nothing: Any = None
    return WorkerWaits(scene.pools, nothing, {}, scene.changed.set, nothing, nothing)


async def test_a_seat_is_a_worker_for_as_long_as_its_block_runs(scene: Scene) -> None:
    """Who is no session waits for a worker like one, and gives it back."""
    scene.configure(PoolSettings())
    waits = waits_on(scene)
    async with asyncio.timeout(30), waits.seat("deployment", "nightly") as worker_id:
        assert scene.local.info(worker_id) is not None
        assert [worker.sessions for worker in scene.workers()] == [1]
        async with waits.seat("another", "nightly") as other:
            assert other != worker_id
    await scene.count(0)


async def test_a_seat_where_no_worker_comes_up_is_refused_with_the_reason(scene: Scene) -> None:
    scene.code = BREAKS
    scene.configure(PoolSettings())
    with pytest.raises(ScorestreamError, match="No worker of context 'nightly' comes up") as caught:
        async with asyncio.timeout(30), waits_on(scene).seat("deployment", "nightly"):
            pass
    assert caught.value.reason == "NO_WORKER"
    assert scene.pools.report("nightly")[0] == 0
