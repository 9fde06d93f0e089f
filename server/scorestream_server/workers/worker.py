"""One worker process, from its start to its death, as the server sees it.

What happens to tasks in flight when it dies is written here, in `_lose`, and nowhere else: each of them raises
`WorkerLost` at whoever waits for it, and that one decides.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from dataclasses import replace

import msgspec

from scorestream_server.domain.errors import ScorestreamError
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
from scorestream_server.workers.channel import MessageTooLargeError, ServerEnd
from scorestream_server.workers.endings import computed, ending, error_of, stalled_error
from scorestream_server.workers.launch import Launch, WorkerSpec
from scorestream_server.workers.pool import WorkerInfo, WorkerLost
from scorestream_server.workers.vigil import Patience, Vigil

logger = logging.getLogger(__name__)

END_SECONDS = 1.0
"""How long a worker may take to end by itself once its socket is closed."""


class Worker:
    """A worker process; made by `start`, and over when `live` returns.

    Attributes:
        ready: it takes tasks.
        last_words: why it ended or was stopped, to be read after "the worker"; empty where nobody said.
        tasks: what is waited for, by task id.
    """

    def __init__(
        self, info: WorkerInfo, process: asyncio.subprocess.Process, end: ServerEnd, patience: Patience
    ) -> None:
        self.info = info
        self.ready = False
        self.last_words = ""
        self.tasks: dict[int, asyncio.Future[Result]] = {}
        self._process = process
        self._end = end
        self._patience = patience
        self._vigil = Vigil()
        self._stalled: tuple[int, ...] = ()
        self._dismissed = False

    @classmethod
    async def start(cls, info: WorkerInfo, spec: WorkerSpec, launch: Launch, patience: Patience) -> "Worker":
        """Start a worker process.

        Args:
            info: of it, but for what only it can say.
            spec: what it is to be.
            launch: starts processes.
            patience: how long to wait for it.

        Raises:
            OSError: it could not be started.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await launch(spec, theirs.fileno())
            # From here on the process ends when our end of the socket is closed.
            reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 24)
        except BaseException:
            ours.close()
            raise
        return cls(replace(info, pid=process.pid), process, ServerEnd(reader, writer), patience)

    async def live(self, on_ready: Callable[[], None], on_lost: Callable[[], None]) -> str:
        """Listen to it until it ends; return why it did, to be read after "the worker".

        Args:
            on_ready: called when it takes tasks.
            on_lost: called when it takes no more, before those who wait for tasks of it are told.
        """
        if not self._dismissed:
            await self._serve(on_ready)
        return await self._lose(on_lost)

    def send(self, command: Command) -> None:
        """Send a command that has no answer."""
        self._end.send(command)

    async def run(self, task: Task, *, to_the_end: bool) -> Result:
        """Run a task and return what came of it (see `WorkerPool.run`)."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._end.send(task)
        self.tasks[task.task_id] = future
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._end.send(CancelTask(task.task_id))
            if to_the_end and await _answered(future):
                return future.result()
            raise
        finally:
            future.cancel()  # what is answered behind a cancel is for nobody

    def dismiss(self) -> None:
        """Have it end: nobody needs it any more."""
        self._dismissed = True
        self._end.close()

    def kill(self) -> None:
        """Stop it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def stop(self, what_it_did: str) -> None:
        """Stop it at once because it is not to be trusted any more, and remember why."""
        self.last_words = f"was stopped because it {what_it_did}"
        self.kill()

    def look_after(self) -> None:
        """Ask whether it moves, and stop it where it has not for too long."""
        patience = self._patience if self.ready else self._patience.with_a_start()
        finding = self._vigil.tick(computed(self.info.pid), patience)
        if finding is None:
            self._end.send(Ping())
        elif not self.last_words:
            self._stalled = finding.tasks
            self.stop(finding.what_it_did)

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        while True:
            try:
                report = await self._end.receive()
            except EOFError:
                return
            except MessageTooLargeError as error:
                self.stop(str(error))
                return
            except msgspec.DecodeError as error:
                self.stop(f"sent something that is no message ({error})")
                return
            if not self._heed(report, on_ready):
                return

    def _heed(self, report: Report, on_ready: Callable[[], None]) -> bool:
        """Act on what it says; return whether there is more to come."""
        match report:
            case Ready(device=device, lanes=lanes):
                self.info = replace(self.info, device=device, lanes=lanes)
                self.ready = True
                self._vigil = Vigil()
                on_ready()
            case Alive(steps=steps):
                self._vigil.answered(steps)
            case DeviceLost(reason=reason):
                self.last_words = f"has no device ({reason})"
                return False
            case Leaving(reason=reason):
                self.last_words = reason
                return False
            case TaskFailed(crowded=True):
                why = "had no memory for it beside other tasks"
                self._settle(report.task_id, WorkerLost(self.info.worker_id, why, error_of(report)))
            case TaskFailed():
                self._settle(report.task_id, error_of(report))
            case _:
                self._settle(report.task_id, report)
        return True

    def _settle(self, task_id: int, outcome: Result | ScorestreamError | WorkerLost) -> None:
        future = self.tasks.pop(task_id, None)
        if future is None or future.done():
            return
        if isinstance(outcome, ScorestreamError | WorkerLost):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    async def _lose(self, on_lost: Callable[[], None]) -> str:
        """Make sure that the process is gone, and tell whoever waits for it."""
        self.ready = False
        on_lost()
        self._end.close()
        try:
            code = await asyncio.wait_for(self._process.wait(), END_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                self._process.kill()
            code = await self._process.wait()
        reason = self.last_words or ending(code)
        if not self._dismissed:
            logger.warning("worker %d (process %d) %s", self.info.worker_id, self.info.pid, reason)
        for task_id, future in self.tasks.items():
            stalled = task_id in self._stalled
            error = stalled_error(self._patience) if stalled else None
            if not future.done():
                future.set_exception(WorkerLost(self.info.worker_id, reason, error, stalled=stalled))
        return reason


async def _answered(future: asyncio.Future[Result]) -> bool:
    """Wait for the answer to a task that was cancelled, and return whether it was done all the same."""
    await asyncio.wait([future])
    return future.exception() is None
