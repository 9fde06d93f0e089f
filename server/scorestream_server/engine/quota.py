"""How many jobs each owner and each queue has, and how many of them may run."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from scorestream_server.domain.job import Job, State
from scorestream_server.domain.limits import Limits, exhausted
from scorestream_server.domain.queue import Queue
from scorestream_server.engine.queues import QueueCounts

RETRY_SECONDS = 2.0


class JobQuota:
    """Counts the jobs that have not ended by owner; any thread may ask, the event loop counts.

    Attributes:
        queues: counts them by queue.
    """

    def __init__(self, limits: Limits, queues: Sequence[Queue] = ()) -> None:
        self.queues = QueueCounts(queues)
        self._limits = limits
        self._open: Counter[str] = Counter()

    def add(self, job: Job) -> None:
        """Count a job."""
        self._open[job.owner] += 1
        self.queues.add(job)

    def remove(self, job: Job) -> None:
        """Count a job no more: it ended."""
        self._open[job.owner] -= 1
        self.queues.remove(job)

    def require_room(self, owner: str, queue: str) -> None:
        """Refuse a new job where its owner, or its queue, has as many as may be.

        Raises:
            ScorestreamError: RESOURCE_EXHAUSTED.
        """
        self.queues.require_room(queue)
        most = self._limits.open_jobs
        if self._open[owner] >= most:
            what = f"You have {most:,} jobs that run or wait, as many as one user may."
            advice = "Wait for some to end, or cancel some."
            raise exhausted("TOO_MANY_JOBS", "open_jobs", most, what, advice, RETRY_SECONDS)

    def may_start(self, jobs: Iterable[Job]) -> Mapping[str, int]:
        """Return how many more jobs may begin, of each owner who is near the limit at all.

        Args:
            jobs: all that have not ended.
        """
        most = self._limits.running_jobs
        near = {owner for owner, count in self._open.items() if count > most}
        if not near:
            return {}
        begun = Counter(job.owner for job in jobs if job.state is not State.PENDING)
        return {owner: most - begun[owner] for owner in near}
