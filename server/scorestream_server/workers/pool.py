"""What the engine needs of workers, wherever they run."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from scorestream_server.domain.context import DEFAULT_CONTEXT
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import Command, Result, Task

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
R = TypeVar("R")


class WorkerLost(Exception):  # noqa: N818  # a fact about a worker, not a fault of the task
    """The worker died before it had done the task, or had no memory for it beside others.

    Attributes:
        error: what to tell where it is not tried again; None where the death is all that is known.
        stalled: the worker was killed because this very task did not move; only partitions are worth another try.
    """

    def __init__(
        self, worker_id: int, reason: str, error: ScorestreamError | None = None, *, stalled: bool = False
    ) -> None:
        super().__init__(f"worker {worker_id} {reason}")
        self.error = error
        self.stalled = stalled


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker that takes tasks.

    Attributes:
        context: whose it is; the default one's are the server's own.
    """

    worker_id: int
    pid: int
    device: str
    lanes: int
    context: str = DEFAULT_CONTEXT


class WorkerPool(Protocol):
    """What the engine needs of workers, wherever they run."""

    def workers(self) -> Sequence[WorkerInfo]:
        """Return the workers that take tasks now."""
        ...

    def send(self, worker_id: int, command: Command) -> None:
        """Send a command that has no answer; nothing happens where the worker is gone.

        Raises:
            ScorestreamError: RESOURCE_EXHAUSTED, where it is larger than a worker takes.
        """
        ...

    def next_task_id(self) -> int:
        """Return a task id that was never used before."""
        ...

    async def any_ready(self) -> WorkerInfo:
        """Return the one of the server's own workers with the least to do; wait for one to come up where none is there.

        Raises:
            ScorestreamError: UNAVAILABLE, where none will.
        """
        ...

    async def run(self, worker_id: int, task: Task, *, to_the_end: bool = False) -> Result:
        """Run a task and return what came of it.

        Args:
            worker_id: on which worker.
            task: which.
            to_the_end: whether a caller that is cancelled waits until the worker has stopped, or is gone; where it
                was quicker, this returns what came of it. A second cancel ends the waiting.

        Raises:
            WorkerLost: the worker is gone.
            ScorestreamError: the task could not be done.
        """
        ...


async def run_anywhere(pool: WorkerPool, task: Task, answer: type[R], *, to_the_end: bool = False) -> R:
    """Run a task on whichever of the server's own workers has the least to do, and on another one if that dies.

    See `WorkerPool.run`.

    Raises:
        ScorestreamError: it could not be done; INTERNAL, WORKER_LOST where it cost several workers;
            DEADLINE_EXCEEDED, TASK_STALLED where it did not move.
    """
    error: ScorestreamError | None = None
    for attempt in range(1, MAX_ATTEMPTS + 1):
        worker = await pool.any_ready()
        try:
            result = await pool.run(worker.worker_id, task, to_the_end=to_the_end)
        except WorkerLost as lost:
            logger.warning("%s, attempt %d: %s", type(task).__name__, attempt, lost)
            reason, error = str(lost), lost.error
            if lost.stalled:
                break
            continue
        if not isinstance(result, answer):
            raise TypeError(result)
        return result
    raise error or ScorestreamError(
        ErrorCode.INTERNAL,
        "WORKER_LOST",
        f"This cost {MAX_ATTEMPTS} workers their lives, the last time because the {reason}. "
        "What they were given may be damaged.",
    )
