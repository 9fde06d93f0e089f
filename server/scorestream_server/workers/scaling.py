"""How many workers a context has, and which of them its sessions are given: decided from plain values, without a clock.

Five rules, in this order:

1. A session that waits is given a worker without sessions, the one used last. A worker that is worn (it was given
   `server_reuse_limit` sessions, or was started by settings that have changed since) is given none.
2. Where there is none, one is started for it; the warm ones that `server_min_available` asks for come on top.
3. Where `server_pool_scale_threshold` percent of the workers or more are in use, the pool grows in steps of
   `server_pool_scale_step` until fewer are.
4. Never are there more than `server_max_available`, in use, without sessions, starting or ending. A session that
   waits when no more can come shares the worker that has the fewest sessions, so that it does not wait for ever.
5. Workers without sessions end when they are worn, or after `server_inactive_timeout`, those unused longest first; but
   not below `server_min_available`, nor where rule 3 would start another at once.

Without `reuse_server_processes` a worker is given one session, ends with it, and nothing is kept ready: the same rules
with a limit of one session a worker.
"""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scorestream_server.domain.context import PoolSettings


class WorkerState(enum.StrEnum):
    """The life of a context's worker."""

    STARTING = "STARTING"
    IDLE = "IDLE"
    IN_USE = "IN_USE"
    ENDING = "ENDING"


_WITHOUT_SESSIONS = (WorkerState.STARTING, WorkerState.IDLE)
_ONE_EACH = PoolSettings(server_reuse_limit=1)


@dataclass(frozen=True, slots=True)
class PoolWorker:
    """A worker of a context, as the rules see it.

    Attributes:
        sessions: open sessions that have it; more than none exactly where it is in use.
        given: sessions that it was given in its life.
        since: when it came into its state; same clock as `decide`'s `now`.
        outdated: it was started by settings that have changed.
    """

    worker_id: int
    state: WorkerState
    sessions: int
    given: int
    since: float
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now.

    Attributes:
        give: workers without sessions, for the sessions that have waited longest, in this order.
        share: workers in use, for the sessions that came last, in this order; who waits for one that starts gets it.
        start: how many workers to start.
        retire: workers to end; none of them is in use.
        look_at: when time alone makes another plan; infinity for never.
    """

    give: tuple[int, ...] = ()
    share: tuple[int, ...] = ()
    start: int = 0
    retire: tuple[int, ...] = ()
    look_at: float = math.inf


def decide(
    settings: PoolSettings, workers: Sequence[PoolWorker], waiting: int, now: float, room: int
) -> Plan:
    """Return what a context's pool is to do.

    Args:
        settings: the context's.
        workers: all that there are.
        waiting: sessions that have no worker.
        now: the time.
        room: how many more workers can be started now; 0 where starts fail, or the server has as many as it may.
    """
    keeps = settings.reuse_server_processes
    rules = settings if keeps else _ONE_EACH
    usable = [worker for worker in workers if not _worn(rules, worker)]
    free = sorted(_in(WorkerState.IDLE, usable), key=lambda worker: (-worker.since, worker.worker_id))
    given, idle = free[:waiting], free[waiting:]
    starting = _in(WorkerState.STARTING, usable)
    unserved = waiting - len(given)
    unclaimed = max(0, len(starting) - unserved)
    in_use = len(_in(WorkerState.IN_USE, workers)) + len(given)

    retire = [worker for worker in workers if worker not in usable and worker.state in _WITHOUT_SESSIONS]
    if not keeps:
        retire += [*idle, *starting[len(starting) - unclaimed :]]
    alive = len(workers) - len(_in(WorkerState.ENDING, workers)) - len(retire)
    allowed = rules.server_max_available or math.inf
    most = min(allowed, alive + room)

    wanted = max(0, unserved - len(starting)) + max(0, rules.server_min_available - len(idle) - unclaimed)
    while alive + wanted < most and _crowded(rules, in_use, alive + wanted):
        wanted += rules.server_pool_scale_step
    # Those that end are there until they are gone.
    start = max(0, min(wanted, room, allowed - len(workers)))

    coming = len(starting) + max(0, most - alive)
    sharers = [
        *_in(WorkerState.IN_USE, usable),
        *(replace(worker, given=worker.given + 1, sessions=1) for worker in given),
    ]
    shared = _share(rules, sharers, int(max(0, unserved - coming)))

    look_at = math.inf
    if keeps:
        spare = len(idle) + unclaimed - rules.server_min_available
        for worker in reversed(idle):
            due = worker.since + rules.server_inactive_timeout if rules.server_inactive_timeout else math.inf
            if alive <= allowed and (spare <= 0 or due > now or _crowded(rules, in_use, alive - 1)):
                look_at = due if due > now else math.inf
                break
            retire.append(worker)
            alive, spare = alive - 1, spare - 1
    return Plan(_ids(given), _ids(shared), int(start), _ids(retire), look_at)


def _ids(workers: Sequence[PoolWorker]) -> tuple[int, ...]:
    return tuple(worker.worker_id for worker in workers)


def _worn(rules: PoolSettings, worker: PoolWorker) -> bool:
    return worker.outdated or 0 < rules.server_reuse_limit <= worker.given


def _in(state: WorkerState, workers: Sequence[PoolWorker]) -> list[PoolWorker]:
    return [worker for worker in workers if worker.state is state]


def _crowded(rules: PoolSettings, in_use: int, alive: int) -> bool:
    """Return whether so many workers are in use that more are started ahead."""
    return 0 < rules.server_pool_scale_threshold * alive <= 100 * in_use


def _share(rules: PoolSettings, workers: Sequence[PoolWorker], sessions: int) -> list[PoolWorker]:
    """Return for each of some sessions the worker in use that it is to share, as far as there are any."""
    found: list[PoolWorker] = []
    candidates = {worker.worker_id: worker for worker in workers}
    while len(found) < sessions:
        usable = [worker for worker in candidates.values() if not _worn(rules, worker)]
        if not usable:
            break
        least = min(usable, key=lambda worker: (worker.sessions, worker.worker_id))
        found.append(least)
        candidates[least.worker_id] = replace(least, sessions=least.sessions + 1, given=least.given + 1)
    return found
