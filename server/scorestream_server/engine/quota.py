"""How many jobs each owner has, and how many of them may run."""

from collections import Counter
from collections.abc import Iterable, Mapping

from scorestream_server.domain.job import Job, State
from scorestream_server.domain.limits import Limits, exhausted

RETRY_SECONDS = 2.0


class JobQuota:
    """Counts the jobs that have not ended by owner; any thread may ask, the event loop counts."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()

    def add(self, owner: str) -> None:
        """Count a job."""
        self._open[owner] += 1

    def remove(self, owner: str) -> None:
        """Count a job no more: it ended."""
        self._open[owner] -= 1

    def require_room(self, owner: str) -> None:
        """Refuse a new job of an owner who has as many as it may.

        Raises:
            ScorestreamError: RESOURCE_EXHAUSTED.
        """
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
