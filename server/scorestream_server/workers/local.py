"""Worker processes on this machine: the server's own, which are restarted for ever, and those that contexts ask for.

A worker that does not move any more is killed (`_watch`; `vigil.py` decides), and so dies like any other.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from scorestream_server.config import DEFAULT_GPU_MEMORY, DEFAULT_STALL_SECONDS
from scorestream_server.domain.context import DEFAULT_CONTEXT
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import Command, Result, Task
from scorestream_server.workers import memory
from scorestream_server.workers.launch import Launch, WorkerSpec, launch
from scorestream_server.workers.pool import MAX_ATTEMPTS, WorkerInfo, WorkerLost
from scorestream_server.workers.run_as import why_no_start
from scorestream_server.workers.vigil import Patience
from scorestream_server.workers.worker import Worker

logger = logging.getLogger(__name__)

RESTART_SECONDS = 0.2
"""Pause before a worker that died young is started again; doubles each time, up to the next."""
LONGEST_RESTART_SECONDS = 30.0


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
        kernels: Path = Path(),
        launch: Launch = launch,
    ) -> None:
        """Prepare a pool; `on_change`, which may be set, is called when a worker comes or goes.

        Args:
            devices: the device of each of the server's own workers by name, ``cpu`` or ``cuda:N``.
            lanes: lanes of each worker.
            gpu_memory: how much of its card's memory a worker may use; see `config.memory_budget`.
            task_memory: bytes that each worker may take for its tasks.
            stall_seconds: how long a task may take without a step.
            inherited: file descriptors that each worker holds open as long as it lives.
            output_umask: of published outputs; all other files have the umask of this process.
            kernels: where workers that run as another user than the server's keep compiled kernels.
            launch: starts processes.
        """
        self.specs = tuple(
            WorkerSpec(device, lanes, gpu_memory, task_memory, inherited, output_umask, kernels=kernels)
            for device in devices
        )
        """Of the server's own workers."""
        self._launch = launch
        self._patience = Patience.of(stall_seconds)
        self.on_change: Callable[[], None] = lambda: None
        self._workers: dict[int, Worker] = {}
        self._dismissed: set[int] = set()
        self._ids = itertools.count()
        self._task_ids = itertools.count(1)
        self._keepers: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._failed_starts = [0] * len(devices)
        self._why = ""

    def start(self) -> None:
        """Begin to start the server's own workers; they come up by themselves."""
        for place in range(len(self.specs)):
            self._spawn(self._keep(place))
        self._spawn(self._watch())

    def open(
        self,
        spec: WorkerSpec,
        context: str,
        launch_timeout: float,
        on_ready: Callable[[WorkerInfo], None],
        on_end: Callable[[bool, str], None],
    ) -> int:
        """Begin to start a worker of a context, and return its id.

        Args:
            spec: what it is to be.
            context: whose it is.
            launch_timeout: seconds after which it is stopped where it is not ready.
            on_ready: called when it takes tasks.
            on_end: called once it is gone: whether it ever took tasks, and why it ended, to be read after "the worker".
        """
        worker_id = next(self._ids)
        info = WorkerInfo(worker_id, 0, spec.device, spec.lanes, context)
        self._spawn(self._serve_context(info, spec, launch_timeout, on_ready, on_end))
        return worker_id

    def dismiss(self, worker_id: int) -> None:
        """End a worker of a context that nobody has."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.dismiss()
        else:
            self._dismissed.add(worker_id)  # it is on its way

    async def any_ready(self) -> WorkerInfo:
        """Return the one of the server's own workers with the least to do; wait for one to come up where none is there.

        Raises:
            ScorestreamError: UNAVAILABLE, where workers keep dying before they are ready.
        """
        while not (ready := self._own_ready()):
            # One device that cannot be used must not fail what another one's worker will do in a second.
            if min(self._failed_starts) >= MAX_ATTEMPTS:
                raise ScorestreamError(
                    ErrorCode.UNAVAILABLE,
                    "NO_WORKER",
                    f"No worker process comes up: {sum(self._failed_starts)} died before they were ready. "
                    f"The last one {self._why}; the server's log may say more, and it goes on trying.",
                )
            self._changed.clear()
            await self._changed.wait()
        return min(ready, key=lambda worker: len(worker.tasks)).info

    def workers(self) -> Sequence[WorkerInfo]:
        """Return the workers that take tasks now."""
        return [worker.info for worker in self._workers.values() if worker.ready]

    def info(self, worker_id: int) -> WorkerInfo | None:
        """Return what is known of a worker, ready or not; None where there is no process of it."""
        worker = self._workers.get(worker_id)
        return worker.info if worker is not None else None

    def send(self, worker_id: int, command: Command) -> None:
        """Send a command that has no answer; nothing happens where the worker is gone."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.send(command)

    def next_task_id(self) -> int:
        """Return a task id that was never used before."""
        return next(self._task_ids)

    async def run(self, worker_id: int, task: Task, *, to_the_end: bool = False) -> Result:
        """Run a task and return what came of it (see `WorkerPool.run`)."""
        worker = self._workers.get(worker_id)
        if worker is None:
            raise WorkerLost(worker_id, "is gone")
        return await worker.run(task, to_the_end=to_the_end)

    def kill(self, worker_id: int) -> None:
        """Stop a worker at once; another takes its place where one is needed."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.kill()

    async def close(self) -> None:
        """End all workers and wait for them."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.dismiss()
        # Not cancelled: each keeper sees its worker to its end.
        await asyncio.gather(*self._keepers)

    def _own_ready(self) -> list[Worker]:
        return [
            worker
            for worker in self._workers.values()
            if worker.ready and worker.info.context == DEFAULT_CONTEXT
        ]

    async def _keep(self, place: int) -> None:
        """Keep the worker of one of the server's devices alive: start it, serve it until it dies, start the next."""
        pause, spec = RESTART_SECONDS, self.specs[place]

        def ready(_: WorkerInfo) -> None:
            self._failed_starts[place] = 0
            self._changed.set()

        while not self._stopping.is_set():
            info = WorkerInfo(next(self._ids), 0, spec.device, spec.lanes)
            was_ready, why = await self._serve(info, spec, ready)
            if self._stopping.is_set():
                return
            if was_ready:
                pause = RESTART_SECONDS
                continue
            self._failed_starts[place] += 1
            self._why = why
            self._changed.set()
            logger.error("a worker ended before it was ready; next try in %.1f s", pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(2 * pause, LONGEST_RESTART_SECONDS)

    async def _serve_context(
        self,
        info: WorkerInfo,
        spec: WorkerSpec,
        launch_timeout: float,
        on_ready: Callable[[WorkerInfo], None],
        on_end: Callable[[bool, str], None],
    ) -> None:
        """Start a worker of a context and serve it until it ends."""
        was_ready, why = await self._serve(info, spec, on_ready, launch_timeout)
        self._dismissed.discard(info.worker_id)
        if not self._stopping.is_set():
            on_end(was_ready, why)

    async def _serve(
        self,
        info: WorkerInfo,
        spec: WorkerSpec,
        on_ready: Callable[[WorkerInfo], None],
        launch_timeout: float | None = None,
    ) -> tuple[bool, str]:
        """Start a worker and serve it until it ends; return whether it was ever ready, and why it ended."""
        was_ready = False
        late: asyncio.TimerHandle | None = None
        try:
            worker = await Worker.start(info, spec, self._launch, self._patience)
        except OSError as error:
            logger.exception("a worker could not be started")
            return False, f"could not be started ({error})"
        worker_id = info.worker_id
        self._workers[worker_id] = worker
        if self._stopping.is_set() or worker_id in self._dismissed:
            worker.dismiss()
        elif launch_timeout is not None:
            told = f"was not ready within {launch_timeout:g} s"
            late = asyncio.get_running_loop().call_later(launch_timeout, worker.stop, told)

        def ready() -> None:
            nonlocal was_ready
            was_ready = True
            if late is not None:
                late.cancel()
            on_ready(worker.info)
            self.on_change()

        why = await worker.live(ready, lambda: self._forget(worker_id))
        if late is not None:
            late.cancel()
        self.on_change()
        if spec.run_as and not was_ready and not worker.last_words:
            why += why_no_start(spec.run_as)
        return was_ready, why

    def _forget(self, worker_id: int) -> None:
        self._workers.pop(worker_id, None)

    async def _watch(self) -> None:
        """Stop the workers that do not move."""
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._patience.tick)
            for worker in list(self._workers.values()):
                worker.look_after()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._keepers.add(task)
        task.add_done_callback(self._keepers.discard)
