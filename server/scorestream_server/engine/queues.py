"""How many jobs each queue has, and how many of them may begin."""

from collections import Counter
from collections.abc import Mapping, Sequence

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, counted
from scorestream_server.domain.job import Job
from scorestream_server.domain.queue import DEFAULT_QUEUE, Queue, QueueLoad, unknown_queue
from scorestream_server.scheduler import QueueShare

RETRY_SECONDS = 2.0


class QueueCounts:
    """Counts the jobs that have not ended by queue; any thread may ask, the event loop counts.

    Args:
        queues: as configured; the default one is added where it is not. Jobs of one that is configured no more, from
            before the last start, go on without limits.
    """

    def __init__(self, queues: Sequence[Queue] = ()) -> None:
        self._queues = {DEFAULT_QUEUE: Queue(DEFAULT_QUEUE)} | {queue.name: queue for queue in queues}
        self._open: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()

    def check(self, field: str, name: str) -> str:
        """Return a queue's name, if there is one of that name; the default one's for an empty name.

        Raises:
            ScorestreamError: INVALID_ARGUMENT, with the names that are near.
        """
        if name and name not in self._queues:
            raise unknown_queue(field, name, list(self._queues))
        return name or DEFAULT_QUEUE

    def add(self, job: Job) -> None:
        """Count a job."""
        self._open[job.spec.queue] += 1
        self._begun[job.spec.queue] += job.start_time is not None

    def begun(self, job: Job) -> None:
        """Count a job that waited as one that runs."""
        self._begun[job.spec.queue] += 1

    def remove(self, job: Job) -> None:
        """Count a job no more: it ended."""
        self._open[job.spec.queue] -= 1
        self._begun[job.spec.queue] -= job.start_time is not None

    def require_room(self, name: str) -> None:
        """Refuse a new job of a queue in which as many wait as may.

        Raises:
            ScorestreamError: RESOURCE_EXHAUSTED.
        """
        queue, waiting = self._queue(name), self._waiting(name)
        if 0 < queue.waiting_jobs <= waiting:
            raise ScorestreamError(
                ErrorCode.RESOURCE_EXHAUSTED,
                "QUEUE_FULL",
                f"In queue {name!r} {counted(waiting, 'job')} wait, as many as may. Try again when some have begun, or "
                "use a session of another queue. An operator raises waiting_jobs in the server's configuration file.",
                metadata={"queue": name, "limit": "waiting_jobs", "most": str(queue.waiting_jobs)},
                retry_seconds=RETRY_SECONDS,
            )

    def shares(self) -> Mapping[str, QueueShare]:
        """Return what each queue that has jobs may be given."""
        return {name: self._share(name) for name, count in self._open.items() if count}

    def loads(self) -> list[QueueLoad]:
        """Return the queues by name, with how many jobs they have."""
        return [
            QueueLoad(queue, self._begun[name], self._waiting(name))
            for name, queue in sorted(self._queues.items())
        ]

    def why_waiting(self, job: Job) -> str:
        """Return why a job's queue keeps it waiting; empty: it does not."""
        name = job.spec.queue
        most = self._queue(name).running_jobs
        if job.start_time is not None or not 0 < most <= self._begun[name]:
            return ""
        return f"waiting for queue {name!r}: {self._begun[name]:,} of its jobs run, as many as may; {self._waiting(name):,} wait"

    def _queue(self, name: str) -> Queue:
        return self._queues.get(name) or Queue(name)

    def _waiting(self, name: str) -> int:
        return self._open[name] - self._begun[name]

    def _share(self, name: str) -> QueueShare:
        queue = self._queue(name)
        room = queue.running_jobs - self._begun[name] if queue.running_jobs else None
        return QueueShare(queue.weight, room)
