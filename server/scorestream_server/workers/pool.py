"""The worker pool: starts processes, hands them tasks, and starts another when one dies.

What happens to tasks in flight when a worker dies is written here, in `_lose`, and nowhere else: each of
them raises `WorkerLost` at whoever waits for it, and that one decides. A worker that does not move any more is
killed (`_watch`; `vigil.py` decides), and so dies like any other.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from scorestream_server.config import DEFAULT_GPU_MEMORY, DEFAULT_STALL_SECONDS
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import (
    Alive,
    CancelTask,
    Command,
    DeviceLost,
    Leaving,
    Ping,
    Ready,
    Report,
    Result,
    Task,
    TaskFailed,
)
from scorestream_server.workers import memory
from scorestream_server.workers.channel import MessageTooLargeError, ServerEnd
from scorestream_server.workers.endings import computed, ending, error_of, stalled_error
from scorestream_server.workers.vigil import Patience, Vigil

logger = logging.getLogger(__name__)

RESTART_SECONDS = 0.2
"""Pause before a worker that died young is started again; doubles each time, up to the next."""
LONGEST_RESTART_SECONDS = 30.0
MAX_ATTEMPTS = 3
END_SECONDS = 1.0
"""How long a worker may take to end by itself once its socket is closed."""
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
    """A worker that takes tasks."""

    worker_id: int
    pid: int
    device: str
    lanes: int


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
        """Return the worker with the least to do; wait for one to come up where none takes tasks.

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


@dataclass(eq=False)
class _Worker:
    """A worker process, from its start to its death."""

    info: WorkerInfo
    place: int
    process: asyncio.subprocess.Process
    end: ServerEnd
    ready: bool = False
    last_words: str = ""
    tasks: dict[int, asyncio.Future[Result]] = field(default_factory=dict)
    vigil: Vigil = field(default_factory=Vigil)
    stalled: tuple[int, ...] = ()


async def run_anywhere(pool: WorkerPool, task: Task, answer: type[R], *, to_the_end: bool = False) -> R:
    """Run a task on whichever worker has the least to do, and on another one if that dies; see `WorkerPool.run`.

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


class LocalPool:
    """Worker processes on this machine."""

    def __init__(
        self,
        *,
        devices: Sequence[str],
        lanes: int,
        gpu_memory: str = DEFAULT_GPU_MEMORY,
        task_memory: int = memory.FLOOR,
        stall_seconds: float = DEFAULT_STALL_SECONDS,
        inherited: Sequence[int] = (),
        output_umask: int = 0o022,
    ) -> None:
        """Prepare a pool; `on_change`, which may be set, is called when a worker comes or goes.

        Args:
            devices: the device of each worker by name, ``cpu`` or ``cuda:N``.
            lanes: lanes of each worker.
            gpu_memory: how much of its card's memory a worker may use; see `config.memory_budget`.
            task_memory: bytes that each worker may take for its tasks.
            stall_seconds: how long a task may take without a step.
            inherited: file descriptors that each worker holds open as long as it lives.
            output_umask: of published outputs; all other files have the umask of this process.
        """
        self._inherited = inherited
        self._devices = devices
        self._lanes = lanes
        self._gpu_memory = gpu_memory
        self._output_umask = output_umask
        self._task_memory = task_memory
        self._patience = Patience.of(stall_seconds)
        self.on_change: Callable[[], None] = lambda: None
        self._workers: dict[int, _Worker] = {}
        self._ids = itertools.count()
        self._task_ids = itertools.count(1)
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._failed_starts = [0] * len(devices)
        self._why = ""

    def start(self) -> None:
        """Begin to start the workers; they come up by themselves."""
        self._keepers = [asyncio.create_task(self._keep(place)) for place in range(len(self._devices))]
        self._keepers.append(asyncio.create_task(self._watch()))

    async def any_ready(self) -> WorkerInfo:
        """Return the worker with the least to do; wait for one to come up where none takes tasks.

        Raises:
            ScorestreamError: UNAVAILABLE, where workers keep dying before they are ready.
        """
        while not self.workers():
            # One device that cannot be used must not fail what another one's worker will do in a second.
            if min(self._failed_starts) >= MAX_ATTEMPTS:
                raise ScorestreamError(
                    ErrorCode.UNAVAILABLE,
                    "NO_WORKER",
                    f"No worker process comes up: {sum(self._failed_starts)} died before they were ready. "
                    + (f"The last one {self._why}. " if self._why else "The server's log says why; ")
                    + "it goes on trying.",
                )
            self._changed.clear()
            await self._changed.wait()
        ready = [worker for worker in self._workers.values() if worker.ready]
        return min(ready, key=lambda worker: len(worker.tasks)).info

    def workers(self) -> Sequence[WorkerInfo]:
        """Return the workers that take tasks now."""
        return [worker.info for worker in self._workers.values() if worker.ready]

    def send(self, worker_id: int, command: Command) -> None:
        """Send a command that has no answer; nothing happens where the worker is gone."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.end.send(command)

    def next_task_id(self) -> int:
        """Return a task id that was never used before."""
        return next(self._task_ids)

    async def run(self, worker_id: int, task: Task, *, to_the_end: bool = False) -> Result:
        """Run a task and return what came of it (see `WorkerPool.run`)."""
        worker = self._workers.get(worker_id)
        if worker is None:
            raise WorkerLost(worker_id, "is gone")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        worker.end.send(task)
        worker.tasks[task.task_id] = future
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            worker.end.send(CancelTask(task.task_id))
            if to_the_end and await _answered(future):
                return future.result()
            raise
        finally:
            future.cancel()  # what is answered behind a cancel is for nobody

    def kill(self, worker_id: int) -> None:
        """Stop a worker at once; another takes its place."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):
                worker.process.kill()

    async def close(self) -> None:
        """End all workers and wait for them."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.end.close()
        # Not cancelled: each keeper sees its worker to its end.
        await asyncio.gather(*self._keepers)

    async def _keep(self, place: int) -> None:
        """Keep the worker of one of the devices alive: start it, serve it until it dies, start the next."""
        pause = RESTART_SECONDS
        while not self._stopping.is_set():
            try:
                worker = await self._spawn(place)
            except OSError:
                logger.exception("a worker could not be started")
            else:
                if not self._stopping.is_set():
                    await self._serve(worker)
                await self._lose(worker)
                if self._stopping.is_set():
                    return
                if worker.ready:
                    pause = RESTART_SECONDS
                    continue
            self._failed_starts[place] += 1
            self._changed.set()
            logger.error("a worker ended before it was ready; next try in %.1f s", pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(2 * pause, LONGEST_RESTART_SECONDS)

    async def _spawn(self, place: int) -> _Worker:
        worker_id, device = next(self._ids), self._devices[place]
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await self._start_process(device, theirs.fileno())
            # From here on the process ends when our end of the socket is closed.
            reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 24)
        except BaseException:
            ours.close()
            raise
        info = WorkerInfo(worker_id, process.pid, device, self._lanes)
        worker = _Worker(info, place, process, ServerEnd(reader, writer))
        self._workers[worker_id] = worker
        return worker

    async def _start_process(self, device: str, descriptor: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scorestream_server.workers.process"),
            *("--socket", str(descriptor), "--device", device, "--lanes", str(self._lanes)),
            *("--gpu-memory", self._gpu_memory),
            *("--output-umask", str(self._output_umask)),
            *("--memory", str(self._task_memory)),
            env={**os.environ, **memory.ENVIRONMENT},
            pass_fds=(descriptor, *self._inherited),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            # Ctrl-C at the terminal is for the server, which then ends its workers in good order.
            start_new_session=True,
        )

    async def _serve(self, worker: _Worker) -> None:
        while True:
            try:
                report = await worker.end.receive()
            except EOFError:
                return
            except MessageTooLargeError as error:
                self._stop(worker, str(error))
                return
            except msgspec.DecodeError as error:
                self._stop(worker, f"sent something that is no message ({error})")
                return
            if not self._heed(worker, report):
                return

    def _heed(self, worker: _Worker, report: Report) -> bool:
        """Act on what a worker says; return whether there is more to come."""
        match report:
            case Ready(device=device, lanes=lanes):
                worker.info = WorkerInfo(worker.info.worker_id, worker.info.pid, device, lanes)
                worker.ready = True
                worker.vigil = Vigil()
                self._failed_starts[worker.place] = 0
                self._changed.set()
                self.on_change()
            case Alive(steps=steps):
                worker.vigil.answered(steps)
            case DeviceLost(reason=reason):
                worker.last_words = self._why = f"has no device ({reason})"
                return False
            case Leaving(reason=reason):
                worker.last_words = reason
                return False
            case TaskFailed(crowded=True):
                why = "had no memory for it beside other tasks"
                crowded = WorkerLost(worker.info.worker_id, why, error_of(report))
                self._settle(worker, report.task_id, crowded)
            case TaskFailed():
                self._settle(worker, report.task_id, error_of(report))
            case _:
                self._settle(worker, report.task_id, report)
        return True

    def _stop(self, worker: _Worker, what_it_did: str) -> None:
        """Stop a worker that is not to be trusted any more, and remember why."""
        worker.last_words = self._why = f"was stopped because it {what_it_did}"
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()

    async def _watch(self) -> None:
        """Stop the workers that do not move."""
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._patience.tick)
            for worker in self._workers.values():
                patience = self._patience if worker.ready else self._patience.with_a_start()
                finding = worker.vigil.tick(computed(worker.info.pid), patience)
                if finding is None:
                    worker.end.send(Ping())
                elif not worker.last_words:
                    worker.stalled = finding.tasks
                    self._stop(worker, finding.what_it_did)

    def _settle(self, worker: _Worker, task_id: int, outcome: Result | ScorestreamError | WorkerLost) -> None:
        future = worker.tasks.pop(task_id, None)
        if future is None or future.done():
            return
        if isinstance(outcome, ScorestreamError | WorkerLost):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    async def _lose(self, worker: _Worker) -> None:
        """Forget a worker, make sure that its process is gone, and tell whoever waits for it."""
        self._workers.pop(worker.info.worker_id, None)
        worker.end.close()
        try:
            code = await asyncio.wait_for(worker.process.wait(), END_SECONDS)
        except TimeoutError:
            worker.process.kill()
            code = await worker.process.wait()
        reason = worker.last_words or ending(code)
        if not self._stopping.is_set():
            logger.warning("worker %d (process %d) %s", worker.info.worker_id, worker.info.pid, reason)
        for task_id, future in worker.tasks.items():
            stalled = task_id in worker.stalled
            error = stalled_error(self._patience) if stalled else None
            if not future.done():
                future.set_exception(WorkerLost(worker.info.worker_id, reason, error, stalled=stalled))
        self.on_change()


async def _answered(future: asyncio.Future[Result]) -> bool:
    """Wait for the answer to a task that was cancelled, and return whether it was done all the same."""
    await asyncio.wait([future])
    return future.exception() is None
