"""Which partition runs next, on which worker: pure decisions over plain values, no I/O, no clock.

Four rules, in this order:

1. *Priority class*. A job that waits rises by one class every `AGEING_SECONDS`, so nothing starves.
2. *Weighted fair share over queues*. Each queue has a virtual time that grows by the cost of what it
   was given, divided by its weight; the queue that is furthest behind goes next (start-time fair
   queueing: Goyal, Vin, Cheng, 1996). A queue that had nothing to run joins at the time of the one that
   is furthest behind, so that it can neither save up a share nor be punished for having been idle.
3. *Weighted fair share over sessions*, within a queue, by the same rule.
4. *Age*. Within a session the oldest job goes first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scorestream_server.domain.job import Priority
from scorestream_server.domain.queue import DEFAULT_QUEUE, DEFAULT_WEIGHT

AGEING_SECONDS = 10.0
PREFETCH = 1
"""Partitions that a worker holds beyond its lanes, so that a lane that finishes has its next at hand."""


@dataclass(frozen=True, slots=True)
class ReadyJob:
    """A job that has partitions to hand out.

    Attributes:
        order: its place in the order of creation.
        cost: relative work of one of its partitions (rows times the model's cost a row).
        partitions: how many can be handed out now.
        waiting_since: when it was last given something, or created; same clock as `schedule`'s `now`.
        alone: its next partition runs with nothing beside it, because it was there when workers died.
        owner: whose it is.
        started: it was given something before.
        queue: where it waits; all jobs of a session wait in one.
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


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """A worker that takes partitions.

    Attributes:
        in_flight: partitions that it holds.
        reserved: it runs a partition that must be alone.
    """

    worker_id: int
    lanes: int
    in_flight: int
    reserved: bool = False


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
        queues: by name.
    """

    sessions: Mapping[str, float] = field(default_factory=dict)
    queues: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One partition of this job goes to this worker now."""

    job_id: str
    worker_id: int
    alone: bool = False


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
    time_of = _admit({job.session_id for job in jobs}, shares.sessions)
    queue_time_of = _admit({job.queue for job in jobs}, shares.queues)
    ready = {job.job_id: job for job in jobs if job.partitions > 0}
    loads = {worker.worker_id: worker for worker in workers}
    assignments: list[Assignment] = []
    room_of = dict(may_start or {})
    while ready:
        room = [load for load in loads.values() if has_room(load)]
        if not room:
            break
        job = min(ready.values(), key=lambda job: _urgency(job, queue_time_of, time_of, now))
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
        queue_time_of[job.queue] += job.cost / queues.get(job.queue, QueueShare()).weight
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


def _admit(wanting: Iterable[str], times: Mapping[str, float]) -> dict[str, float]:
    """Return the virtual times of the sessions or queues that want something; newcomers join at the lowest."""
    wanted = set(wanting)
    known = {name: time for name, time in times.items() if name in wanted}
    start = min(known.values(), default=max(times.values(), default=0.0))
    return known | dict.fromkeys(wanted - known.keys(), start)


def _urgency(
    job: ReadyJob, queue_time_of: Mapping[str, float], time_of: Mapping[str, float], now: float
) -> tuple[float, float, float, int]:
    risen = int(max(0.0, now - job.waiting_since) / AGEING_SECONDS)
    urgent = -min(job.priority + risen, Priority.HIGH)
    return urgent, queue_time_of[job.queue], time_of[job.session_id], job.order


def has_room(load: WorkerLoad) -> bool:
    """Return whether a worker takes another partition."""
    return not load.reserved and load.in_flight < load.lanes + PREFETCH


def _place(job: ReadyJob, room: Sequence[WorkerLoad]) -> WorkerLoad | None:
    """Return the worker with the most free lanes, or None where the job must be alone and none is idle."""
    best = min(room, key=lambda load: (load.in_flight / load.lanes, load.worker_id))
    return best if not job.alone or best.in_flight == 0 else None
