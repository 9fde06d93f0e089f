"""Which partition runs next, on which worker: pure decisions over plain values, no I/O, no clock.

Four rules, in this order:

1. *Priority class*. A job that waits rises by one class every `AGEING_SECONDS`, so nothing starves.
2. *Weighted fair share over queues*. Each queue has a virtual time that grows by the cost of what it
   was given, divided by its weight; the queue that is furthest behind goes next (start-time fair
   queueing: Goyal, Vin, Cheng, 1996). A queue that had nothing to run joins at the time of the one that
   is furthest behind, so that it can neither save up a share nor be punished for having been idle.
3. *Weighted fair share over sessions*, within a queue, by the same rule.
4. *Age*. Within a session the oldest job goes first.

A session of a context was given one worker, and its partitions go to that one alone; all other sessions have the
server's own workers together. Virtual times are compared among those who have the same workers: nobody else takes
anything from them.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from scorestream_server.domain.job import Priority
from scorestream_server.domain.queue import DEFAULT_QUEUE, DEFAULT_WEIGHT

AGEING_SECONDS = 10.0
PREFETCH = 1
"""Partitions that a worker holds beyond its lanes, so that a lane that finishes has its next at hand."""
_HIGHEST = int(Priority.HIGH)  # plain, because members of enumerations are slow where all jobs are compared
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class ReadyJob:
    """A job that has partitions to hand out.

    Attributes:
        order: its place in the order of creation.
        cost: relative work of one of its partitions (rows times the model's cost a row).
        partitions: how many can be handed out now; 0 for a job of which as many run as may (`may_take`), so that it
            keeps its share meanwhile.
        waiting_since: when it was last given something, or created; same clock as `schedule`'s `now`.
        alone: its next partition runs with nothing beside it, because it was there when workers died.
        owner: whose it is.
        started: it was given something before.
        queue: where it waits; all jobs of a session wait in one.
        worker_id: the worker that its session was given; None: any of the server's own.
    """

    job_id: str
    session_id: str
    priority: Priority
    weight: int
    order: int
    cost: float
    partitions: int
    waiting_since: float
    alone: bool = False
    owner: str = ""
    started: bool = True
    queue: str = DEFAULT_QUEUE
    worker_id: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """A worker that takes partitions.

    Attributes:
        in_flight: partitions that it holds.
        reserved: it runs a partition that must be alone.
        own: it is one of the server's own; otherwise it is for the sessions that were given it.
    """

    worker_id: int
    lanes: int
    in_flight: int
    reserved: bool = False
    own: bool = True

    @property
    def serves(self) -> int | None:
        """The `worker_id` of the jobs that may have it."""
        return None if self.own else self.worker_id


@dataclass(frozen=True, slots=True)
class QueueShare:
    """What the jobs of a queue may be given.

    Attributes:
        weight: its share relative to the other queues'.
        may_start: how many more of its jobs may begin; None: any number.
    """

    weight: int = DEFAULT_WEIGHT
    may_start: int | None = None


@dataclass(frozen=True, slots=True)
class Shares:
    """The virtual times of those that had something to run at the last call.

    Attributes:
        sessions: by id.
        queues: by the worker that their jobs must have (`ReadyJob.worker_id`) and name.
    """

    sessions: Mapping[str, float] = field(default_factory=dict)
    queues: Mapping[tuple[int | None, str], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One partition of this job goes to this worker now."""

    job_id: str
    worker_id: int
    alone: bool = False


def may_take(pending: int, in_flight: int, at_once: int) -> int:
    """Return how many partitions of a job can be handed out.

    Args:
        pending: those that nobody has.
        in_flight: those that workers have.
        at_once: at most so many may be with workers; 0 for any number.
    """
    return pending if at_once == 0 else max(0, min(pending, at_once - in_flight))


def schedule(
    jobs: Sequence[ReadyJob],
    workers: Sequence[WorkerLoad],
    shares: Shares,
    now: float,
    may_start: Mapping[str, int] | None = None,
    queues: Mapping[str, QueueShare] | None = None,
) -> tuple[list[Assignment], Shares]:
    """Hand out as many partitions as the workers take.

    Args:
        jobs: every job with partitions to hand out.
        workers: every worker that is up.
        shares: what the last call returned.
        now: the time, on the clock of `ReadyJob.waiting_since`.
        may_start: how many more jobs of an owner may begin; whoever is not in it may begin any number.
        queues: by name; one that is not in it has the usual weight and no limit.

    Returns:
        The assignments, in the order in which to send them, and the new virtual times.
    """
    queues = queues or {}
    queue_room_of = {name: queue.may_start for name, queue in queues.items() if queue.may_start is not None}
    # Who only waits for its queue is left out here, so that a queue at its limit saves up no share.
    jobs = [job for job in jobs if job.started or queue_room_of.get(job.queue, 1) > 0]
    sessions = {job.session_id: job for job in jobs}
    time_of = _admit({session: job.worker_id for session, job in sessions.items()}, shares.sessions)
    queues_wanted = {(job.worker_id, job.queue): job.worker_id for job in jobs}
    queue_time_of = _admit(queues_wanted, shares.queues)
    loads = {worker.worker_id: worker for worker in workers}
    served = {load.serves for load in workers if has_room(load)}
    ready = {job.job_id: job for job in jobs if job.partitions > 0 and job.worker_id in served}
    assignments: list[Assignment] = []
    room_of = dict(may_start or {})
    while ready:
        any_room = [load for load in loads.values() if has_room(load)]
        if not any_room:
            break
        job = min(ready.values(), key=lambda job: _urgency(job, queue_time_of, time_of, now))
        room = [load for load in any_room if load.serves == job.worker_id]
        if not room:
            ready = {other.job_id: other for other in ready.values() if other.worker_id != job.worker_id}
            continue
        if not job.started and min(room_of.get(job.owner, 1), queue_room_of.get(job.queue, 1)) < 1:
            del ready[job.job_id]
            continue
        worker = _place(job, room)
        if worker is None:
            # It must run alone and no worker is idle: let the least busy one run dry for it.
            drained = min(room, key=lambda load: load.in_flight)
            loads[drained.worker_id] = replace(drained, reserved=True)
            del ready[job.job_id]
            continue
        assignments.append(Assignment(job.job_id, worker.worker_id, job.alone))
        loads[worker.worker_id] = replace(worker, in_flight=worker.in_flight + 1, reserved=job.alone)
        time_of[job.session_id] += job.cost / job.weight
        queue_time_of[job.worker_id, job.queue] += job.cost / queues.get(job.queue, QueueShare()).weight
        if not job.started and job.owner in room_of:
            room_of[job.owner] -= 1
        if not job.started and job.queue in queue_room_of:
            queue_room_of[job.queue] -= 1
        left = job.partitions - 1
        if left and not job.alone:
            ready[job.job_id] = replace(job, partitions=left, waiting_since=now, started=True)
        else:
            del ready[job.job_id]
    return assignments, Shares(time_of, queue_time_of)


def _admit(wanting: Mapping[K, int | None], times: Mapping[K, float]) -> dict[K, float]:
    """Return the virtual times of the sessions or queues that want something.

    Args:
        wanting: the worker that each must have; newcomers join at the lowest of those that have the same.
        times: of the last call.
    """
    known = {key: times[key] for key in wanting if key in times}
    if len(known) == len(wanting):
        return known
    lowest: dict[int | None, float] = {}
    for key, time in known.items():
        lowest[wanting[key]] = min(time, lowest.get(wanting[key], time))
    highest = max(times.values(), default=0.0)
    return {key: known.get(key, lowest.get(worker_id, highest)) for key, worker_id in wanting.items()}


def _urgency(
    job: ReadyJob,
    queue_time_of: Mapping[tuple[int | None, str], float],
    time_of: Mapping[str, float],
    now: float,
) -> tuple[float, float, float, int]:
    risen = (now - job.waiting_since) // AGEING_SECONDS
    urgent = job.priority + risen if risen > 0 else job.priority
    return (
        -min(urgent, _HIGHEST),
        queue_time_of[job.worker_id, job.queue],
        time_of[job.session_id],
        job.order,
    )


def has_room(load: WorkerLoad) -> bool:
    """Return whether a worker takes another partition."""
    return not load.reserved and load.in_flight < load.lanes + PREFETCH


def _place(job: ReadyJob, room: Sequence[WorkerLoad]) -> WorkerLoad | None:
    """Return the worker with the most free lanes, or None where the job must be alone and none is idle."""
    best = min(room, key=lambda load: (load.in_flight / load.lanes, load.worker_id))
    return best if not job.alone or best.in_flight == 0 else None
