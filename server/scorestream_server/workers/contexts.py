"""The workers of contexts: started, given to sessions and ended, as `scaling.py` decides.

A session keeps the worker that it was given until it ends. Should the worker die, the session waits for another one,
before those that never had one.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from scorestream_server.config import available_cores, lanes_of_worker
from scorestream_server.domain.context import DEFAULT_CONTEXT, ContextSettings
from scorestream_server.domain.device import CPU
from scorestream_server.domain.errors import ErrorCode, ScorestreamError, counted
from scorestream_server.workers.launch import WorkerSpec
from scorestream_server.workers.local import LONGEST_RESTART_SECONDS, RESTART_SECONDS, LocalPool
from scorestream_server.workers.pool import MAX_ATTEMPTS, WorkerInfo
from scorestream_server.workers.scaling import PoolWorker, WorkerState, decide

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Hears what becomes of sessions that wait for a worker."""

    def given(self, session_id: str) -> None:
        """Note that a session has a worker now."""
        ...

    def waits(self, session_id: str, what_for: str) -> None:
        """Note that a session has none, or still none after a start that failed."""
        ...

    def gave_up(self, session_id: str, error: ScorestreamError) -> None:
        """Note that none came up for a session; another is tried when the session joins again."""
        ...


@dataclass(frozen=True, slots=True)
class ContextWorker:
    """A worker of a context, for people.

    Attributes:
        pid: 0 while there is no process yet.
        sessions: open sessions that have it.
        sessions_given: those that it was given in its life.
        seconds: how long it has been in its state; None of the server's own.
    """

    pid: int
    device: str
    lanes: int
    state: WorkerState
    sessions: int
    sessions_given: int
    seconds: float | None


@dataclass(eq=False)
class _Member:
    """A worker of a context, from its start to its end."""

    spec: WorkerSpec
    state: WorkerState
    since: float
    info: WorkerInfo
    sessions: set[str] = field(default_factory=set)
    given: int = 0


@dataclass(eq=False)
class _Pool:
    """A context's workers, and its sessions that have none.

    Attributes:
        waiting: their ids, the one that has waited longest first.
        failed: starts that failed in a row.
        retry_at: when another is tried.
        why: the last one failed, to be read after "the worker".
        removed: the context is gone; this goes with its last session.
    """

    name: str
    settings: ContextSettings
    members: dict[int, _Member] = field(default_factory=dict)
    waiting: deque[str] = field(default_factory=deque)
    failed: int = 0
    retry_at: float = 0.0
    why: str = ""
    timer: asyncio.TimerHandle | None = None
    removed: bool = False


class ContextPools:
    """The workers of all contexts but the default one, whose workers are the server's own.

    Used on the event loop only.

    Args:
        pool: where the processes are.
        most: how many there may be for all contexts together.
    """

    def __init__(self, pool: LocalPool, most: int) -> None:
        self._pool = pool
        self._most = most
        self._pools: dict[str, _Pool] = {}
        self._pool_of: dict[str, _Pool] = {}
        self._worker_of: dict[str, int] = {}
        self._closed = False
        self.listener: Listener | None = None
        """Who hears of sessions that wait; it may be set."""

    def configure(self, context: str, settings: ContextSettings) -> None:
        """Take up a context, or what it says now; the workers that it keeps ready begin to start."""
        if context == DEFAULT_CONTEXT:
            return
        pool = self._pools.setdefault(context, _Pool(context, settings))
        pool.settings, pool.removed = settings, False
        self._look(pool)

    def remove(self, context: str) -> None:
        """Let go of a context; the sessions that it still has keep their workers."""
        if (pool := self._pools.get(context)) is not None:
            pool.settings = replace(pool.settings, pool=ContextSettings().pool)
            pool.removed = True
            self._look(pool)

    def close(self) -> None:
        """Start nothing more; the processes end with the pool that they are in."""
        self._closed = True
        for pool in self._pools.values():
            if pool.timer is not None:
                pool.timer.cancel()

    def join(self, session_id: str, context: str) -> None:
        """Have a session given a worker, or wait for one; nothing happens where it has one or waits already."""
        if context == DEFAULT_CONTEXT or self.worker_of(session_id) is not None:
            return
        pool = self._pool_of.get(session_id) or self._pools.get(context)
        if pool is None:  # the context was built in, and is no more
            pool = self._pools[context] = _Pool(context, ContextSettings(), removed=True)
        if session_id in pool.waiting:
            return
        if pool.failed >= MAX_ATTEMPTS:  # whoever asks anew has something done for it
            pool.failed, pool.retry_at = 0, 0.0
        self._pool_of[session_id] = pool
        pool.waiting.append(session_id)
        self._look(pool)
        self._tell(pool, [session_id])

    def leave(self, session_id: str) -> None:
        """Take the worker of a session that ends back; nothing happens where it has none."""
        pool = self._pool_of.pop(session_id, None)
        if pool is None:
            return
        worker_id = self._worker_of.pop(session_id, None)
        if worker_id is not None:
            member = pool.members[worker_id]
            member.sessions.discard(session_id)
            if not member.sessions:
                member.state, member.since = WorkerState.IDLE, time.monotonic()
        elif session_id in pool.waiting:
            pool.waiting.remove(session_id)
        self._look(pool)

    def worker_of(self, session_id: str) -> int | None:
        """Return the worker that a session was given, None where it has none yet."""
        return self._worker_of.get(session_id)

    def why_waiting(self, session_id: str) -> str:
        """Return what a session without a worker waits for; empty: it does not wait."""
        pool = self._pool_of.get(session_id)
        return _why_waiting(pool, self._most) if pool is not None and session_id in pool.waiting else ""

    def run_as(self, context: str) -> str:
        """Return the user that a context's workers run as; empty: the server's."""
        pool = self._pools.get(context)
        return pool.settings.run_server_as if pool is not None else ""

    def report(self, context: str) -> tuple[int, str]:
        """Return how many sessions of a context wait, and why the last start failed where none has come up since."""
        pool = self._pools.get(context)
        return (len(pool.waiting), f"The last worker {pool.why}." if pool.failed else "") if pool else (0, "")

    def workers(self, context: str) -> list[ContextWorker]:
        """Return the workers of a context; the server's own that are up, of the default one, without their sessions."""
        if context == DEFAULT_CONTEXT:
            own = [info for info in self._pool.workers() if info.context == DEFAULT_CONTEXT]
            return [
                ContextWorker(one.pid, one.device, one.lanes, WorkerState.IDLE, 0, 0, None) for one in own
            ]
        pool, now = self._pools.get(context), time.monotonic()
        found = []
        for worker_id, member in pool.members.items() if pool is not None else ():
            info = self._pool.info(worker_id) or member.info
            about = (info.pid, info.device, info.lanes, member.state)
            found.append(ContextWorker(*about, len(member.sessions), member.given, now - member.since))
        return found

    def _look(self, pool: _Pool) -> None:
        """Do what is to be done now, and look again when time alone changes that."""
        if self._closed:
            return
        now = time.monotonic()
        workers = [
            PoolWorker(
                worker_id,
                member.state,
                len(member.sessions),
                member.given,
                member.since,
                outdated=not _made_by(member.spec, pool.settings),
            )
            for worker_id, member in pool.members.items()
        ]
        # Where starts fail again and again, whoever can shares a worker; after one or two, the next is waited for.
        room = 0 if now < pool.retry_at and pool.failed >= MAX_ATTEMPTS else self._room()
        plan = decide(pool.settings.pool, workers, len(pool.waiting), now, room)
        for worker_id in plan.give:
            self._give(pool, pool.waiting.popleft(), worker_id)
        for worker_id in plan.share:
            self._give(pool, pool.waiting.pop(), worker_id)
        for worker_id in plan.retire:
            member = pool.members[worker_id]
            member.state, member.since = WorkerState.ENDING, now
            self._pool.dismiss(worker_id)
        for _ in range(plan.start):
            if now < pool.retry_at or not self._start(pool):
                break
        if pool.timer is not None:
            pool.timer.cancel()
            pool.timer = None
        look_at = min(plan.look_at, pool.retry_at if pool.retry_at > now else plan.look_at)
        if look_at < float("inf"):
            pool.timer = asyncio.get_running_loop().call_later(look_at - now, self._look, pool)
        if pool.removed and not pool.members and pool not in self._pool_of.values():
            self._pools.pop(pool.name, None)

    def _room(self) -> int:
        return max(0, self._most - sum(len(pool.members) for pool in self._pools.values()))

    def _give(self, pool: _Pool, session_id: str, worker_id: int) -> None:
        member = pool.members[worker_id]
        if member.state is WorkerState.IDLE:
            member.state, member.since = WorkerState.IN_USE, time.monotonic()
        member.sessions.add(session_id)
        member.given += 1
        self._worker_of[session_id] = worker_id
        if self.listener is not None:
            self.listener.given(session_id)

    def _start(self, pool: _Pool) -> bool:
        """Begin to start a worker; return False where there cannot be such a one."""
        settings = pool.settings
        used = Counter(
            member.spec.device for each in self._pools.values() for member in each.members.values()
        )
        spec = _spec_for(settings, self._pool.specs, used)
        if spec is None:
            has = ", ".join(sorted({CPU, *(own.device for own in self._pool.specs)}))
            self._failed(pool, f"is to have device {settings.device}, and this server has {has}")
            return False
        worker_id = self._pool.open(
            spec,
            pool.name,
            settings.pool.server_launch_timeout,
            lambda info: self._came_up(pool, info),
            lambda was_ready, why: self._ended(pool, worker_id, was_ready, why),
        )
        info = WorkerInfo(worker_id, 0, spec.device, spec.lanes, pool.name)
        pool.members[worker_id] = _Member(spec, WorkerState.STARTING, time.monotonic(), info)
        return True

    def _came_up(self, pool: _Pool, info: WorkerInfo) -> None:
        member = pool.members[info.worker_id]
        member.info = info
        pool.failed, pool.retry_at = 0, 0.0
        if member.state is WorkerState.STARTING:
            member.state, member.since = WorkerState.IDLE, time.monotonic()
        self._look(pool)

    def _ended(self, pool: _Pool, worker_id: int, was_ready: bool, why: str) -> None:
        member = pool.members.pop(worker_id)
        homeless = sorted(member.sessions)
        for session_id in homeless:
            del self._worker_of[session_id]
        pool.waiting.extendleft(homeless)
        if not was_ready and member.state is not WorkerState.ENDING:
            self._failed(pool, why)
        # There is room for one more, whoever wants it.
        for each in list(self._pools.values()):
            self._look(each)
        self._tell(pool, [session_id for session_id in homeless if session_id in pool.waiting])

    def _failed(self, pool: _Pool, why: str) -> None:
        """Take note of a start that failed; after so many in a row, nobody waits for another."""
        pool.failed += 1
        pool.why = why
        pause = min(RESTART_SECONDS * 2 ** (pool.failed - 1), LONGEST_RESTART_SECONDS)
        pool.retry_at = time.monotonic() + pause
        logger.error(
            "a worker of context %s %s before it was ready; next try in %.1f s", pool.name, why, pause
        )
        # Not at once: this may be in the middle of a look, and those who can share a worker come first.
        asyncio.get_running_loop().call_soon(self._after_failure, pool)

    def _after_failure(self, pool: _Pool) -> None:
        self._look(pool)
        if pool.failed < MAX_ATTEMPTS:
            self._tell(pool, list(pool.waiting))
            return
        error = ScorestreamError(
            ErrorCode.UNAVAILABLE,
            "NO_WORKER",
            f"No worker of context {pool.name!r} comes up: {counted(pool.failed, 'start')} failed, the last because the "
            f"worker {pool.why}. What the context asks for is shown by: scorestream context show {pool.name}",
            metadata={"context": pool.name},
        )
        given_up = list(pool.waiting)
        pool.waiting.clear()
        for session_id in given_up:
            if self.listener is not None:
                self.listener.gave_up(session_id, error)

    def _tell(self, pool: _Pool, session_ids: Sequence[str]) -> None:
        if self.listener is not None:
            why = _why_waiting(pool, self._most)
            for session_id in session_ids:
                if session_id in pool.waiting:
                    self.listener.waits(session_id, why)


def _why_waiting(pool: _Pool, most: int) -> str:
    starting = [member.since for member in pool.members.values() if member.state is WorkerState.STARTING]
    if starting:
        how = f"starting, {time.monotonic() - min(starting):.1f} s"
    elif pool.failed:
        how = "another start will be tried soon"
    elif 0 < pool.settings.pool.server_max_available <= len(pool.members):
        how = f"all {len(pool.members)} that it may have are taken, until the last session of one ends"
    else:
        how = f"the server has {most}, as many of all contexts as it may, until one ends"
    failed = f"; failed starts: {pool.failed}, the last because the worker {pool.why}" if pool.failed else ""
    return f"waits for a worker of context {pool.name}: {how}{failed}"


def _title(settings: ContextSettings) -> str:
    return f"{settings.job_name_prefix}scorestream-worker" if settings.job_name_prefix else ""


def _devices(settings: ContextSettings, own: Sequence[WorkerSpec]) -> list[str]:
    """Return the devices of a server with these workers of its own that a context's workers may have."""
    there = list(dict.fromkeys(spec.device for spec in own))
    match settings.device:
        case "auto":
            return there
        case "cuda":
            return [device for device in there if device != CPU]
        case device:
            return [device] if device in {CPU, *there} else []


def _made_by(spec: WorkerSpec, settings: ContextSettings) -> bool:
    """Return whether a worker is such as the settings ask for."""
    kind = spec.device.partition(":")[0]
    made_of = (spec.title, spec.run_as) == (_title(settings), settings.run_server_as)
    return made_of and settings.device in {"auto", kind, spec.device}


def _spec_for(settings: ContextSettings, own: Sequence[WorkerSpec], used: Counter[str]) -> WorkerSpec | None:
    """Return what the next worker of a context is to be, on the device that has the fewest; None: there is no such one.

    Args:
        settings: the context's.
        own: the server's own workers, which it is like.
        used: how many workers of contexts each device has.
    """
    devices = _devices(settings, own)
    if not devices:
        return None
    device = min(devices, key=lambda name: used[name])
    like = next((spec for spec in own if spec.device == device), None)
    if like is None:
        lanes = lanes_of_worker(device, available_cores(), len(own))
        like = replace(own[0], device=device, lanes=lanes)
    return replace(like, warm=True, title=_title(settings), run_as=settings.run_server_as)
