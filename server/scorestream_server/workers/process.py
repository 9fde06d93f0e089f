"""The child process: one device, its lanes, and a few threads for everything that is not scoring.

Started by the pool as ``python -m scorestream_server.workers.process``. It ends when the server does,
because its socket ends then, and it runs at a lower priority than the server, so that the server answers
at once on busy cores.
"""

import argparse
import faulthandler
import functools
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from scorestream_server.device.base import DeviceFault
from scorestream_server.device.kernel_cache import kernel_folder
from scorestream_server.domain.disk import disk_error
from scorestream_server.domain.errors import ErrorCode, NoMemoryError, ScorestreamError, counted
from scorestream_server.domain.messages import (
    Alive,
    CancelTask,
    CloseJob,
    Command,
    CopyTable,
    DeviceLost,
    HeadRead,
    InspectModel,
    Leaving,
    LoadTable,
    MlmodelRead,
    ModelInspected,
    OpenJob,
    OutputPublished,
    PartitionDone,
    Ping,
    Publish,
    ReadHead,
    ReadMlmodel,
    ReadRows,
    Ready,
    Result,
    RowsRead,
    RowsSaved,
    RunPartition,
    SaveRows,
    Summarise,
    Summarised,
    TableLoaded,
    Task,
    TaskFailed,
)
from scorestream_server.tables.without_pandas import without_pandas
from scorestream_server.workers.channel import MessageTooLargeError, WorkerEnd
from scorestream_server.workers.memory import die_first, limit_memory, resident_memory
from scorestream_server.workers.run_as import seclude

logger = logging.getLogger(__name__)

NICENESS = 10
LOST_DEVICE = 70
"""What this process exits with when its device is of no use to it any more."""
EXPOSED = 73
"""What it exits with when it cannot be closed to other processes of its user."""
WORN = 72
"""What it exits with when a task had taken more memory than there was."""
LAST_WORDS_SECONDS = 5.0
"""How long such a process waits for the server to hear of it."""
SIDE_THREADS = 2
"""For models, tables and outputs; scoring goes on beside them in the lanes."""
SideTask = (
    InspectModel | ReadMlmodel | LoadTable | CopyTable | ReadHead | Publish | ReadRows | Summarise | SaveRows
)
SORT_SHARE = 8
"""Putting rows in order takes up to four times their size, and others want memory, too."""
SPEECHLESS = 71
"""What this process exits with when it cannot even say what became of a task, mostly for want of memory."""


class Running:
    """A task that this process has: whether it was begun or cancelled, and how many steps it has taken."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.begun = False
        self.steps = 0
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Have it stop at its next step."""
        self._cancelled.set()

    def cancelled(self) -> bool:
        """Count a step; return whether it is to stop. Whatever works long asks this again and again."""
        self.steps += 1
        return self._cancelled.is_set()


class Worker:
    """One device and everything that this process does with it."""

    def __init__(
        self, end: WorkerEnd, device_name: str, lanes: int, gpu_memory: str, task_memory: int, umask: int
    ) -> None:
        # Imported here: numba must find its cache directory set, and a command line fault need not wait.
        from scorestream_server.device.open import open_device  # noqa: PLC0415
        from scorestream_server.workers.opened import OpenedJobs  # noqa: PLC0415

        self._end = end
        self._device = open_device(device_name, lanes, gpu_memory)
        self._lanes = lanes
        self._umask = umask
        self._task_memory = task_memory
        self._jobs = OpenedJobs(self._device)
        self._partitions: queue.SimpleQueue[RunPartition] = queue.SimpleQueue()
        self._side: queue.SimpleQueue[SideTask] = queue.SimpleQueue()
        self._heads: queue.SimpleQueue[SideTask] = queue.SimpleQueue()
        # Memory that was freed stays with the allocators in part, and then counts, and is not where it is wanted next.
        self._worn = False
        self._running: dict[int, Running] = {}
        self._opened: queue.SimpleQueue[int] = queue.SimpleQueue()

    def serve(self, *, warm: bool) -> None:
        """Take commands until the server is gone; where it is to be `warm`, the language of score code is loaded first."""
        self._device.warm_up()
        if warm:
            from scorestream_server.scoring.expression import compile_conditions  # noqa: PLC0415  # see __init__

            compile_conditions("a > 0", pa.schema([("a", pa.float64())]))
        for number in range(self._lanes):
            threading.Thread(target=self._lane, args=(number,), name=f"lane-{number}", daemon=True).start()
        for _ in range(self._lanes):
            self._opened.get()
        # Now, because later there may be no memory for a thread. People wait for heads, so these have one of their own.
        for tasks in (*[self._side] * SIDE_THREADS, self._heads):
            threading.Thread(target=self._aside, args=(tasks,), name="side", daemon=True).start()
        # Not before: what a device's driver takes and reserves is its own affair.
        limit_memory(self._task_memory)
        self._end.send(Ready(self._device.name, self._lanes))
        while (command := self._end.receive()) is not None:
            self._take(command)

    def _take(self, command: Command) -> None:
        match command:
            case OpenJob():
                self._jobs.open(command)
            case CloseJob(job_id=job_id):
                self._jobs.close(job_id)
            case CancelTask(task_id=task_id):
                # Nothing to do where the task is done already; its answer is on the way.
                if (running := self._running.get(task_id)) is not None:
                    running.cancel()
            case Ping():
                running_now = list(self._running.items())
                self._end.send(Alive({task_id: task.steps for task_id, task in running_now if task.begun}))
            case RunPartition():
                self._running[command.task_id] = Running(_what(command))
                self._partitions.put(command)
            case _:
                self._running[command.task_id] = Running(_what(command))
                (self._heads if isinstance(command, ReadHead) else self._side).put(command)

    def _lane(self, number: int) -> None:
        try:
            lane = self._device.open_lane()
        except DeviceFault as lost:
            _end_without_device(self._end, f"{self._device.name}: {lost}")
        self._opened.put(number)
        while True:
            task = self._partitions.get()
            cancelled = self._running[task.task_id].cancelled

            def score(task: RunPartition = task, cancelled: Callable[[], bool] = cancelled) -> Result:
                started, processor = time.perf_counter(), time.thread_time()
                file, bytes_in = self._jobs.score(task, lane, cancelled)
                return PartitionDone(
                    task.task_id,
                    file,
                    number,
                    seconds=time.perf_counter() - started,
                    cpu_seconds=time.thread_time() - processor,
                    bytes_in=bytes_in,
                    memory=resident_memory(),
                    notes=[*lane.take_notes(), *self._jobs.take_notes(task.job_id)],
                )

            self._answer(task.task_id, score)

    def _aside(self, tasks: queue.SimpleQueue[SideTask]) -> None:
        while True:
            task = tasks.get()
            self._answer(task.task_id, functools.partial(self._do, task))

    def _do(self, task: SideTask) -> Result:  # noqa: PLR0911  # one a kind of task
        from scorestream_server.scoring.load import inspect_model  # noqa: PLC0415  # see __init__
        from scorestream_server.tables.blocks import with_copies  # noqa: PLC0415
        from scorestream_server.tables.kept import keep_sources  # noqa: PLC0415
        from scorestream_server.tables.sources import load_table  # noqa: PLC0415
        from scorestream_server.workers.opened import conditions  # noqa: PLC0415

        cancelled = self._running[task.task_id].cancelled
        match task:
            case InspectModel():
                return ModelInspected(task.task_id, inspect_model(Path(task.path)))
            case ReadMlmodel():
                from scorestream_server.scoring.mlflow import read_mlmodel  # noqa: PLC0415  # see __init__

                return MlmodelRead(task.task_id, read_mlmodel(task.text))
            case LoadTable():
                table = load_table(
                    task.files,
                    Path(task.cache_dir),
                    task.options,
                    compile_where=conditions,
                    cancelled=cancelled,
                    room=task.room,
                )
                return TableLoaded(task.task_id, keep_sources(table, task.options, task.kept, cancelled))
            case CopyTable():
                return TableLoaded(task.task_id, with_copies(task.table, list(map(Path, task.folders))))
            case ReadHead():
                return HeadRead(task.task_id, self._jobs.head(task.table, task.limit))
            case ReadRows():
                parts, cursor = self._jobs.rows(task, self._task_memory // SORT_SHARE, cancelled)
                return RowsRead(task.task_id, parts, cursor)
            case Publish() | SaveRows():
                return self._put(task, cancelled)
            case Summarise():
                return Summarised(task.task_id, self._jobs.summary(task, cancelled))

    def _put(self, task: Publish | SaveRows, cancelled: Callable[[], bool]) -> Result:
        from scorestream_server.tables.kept import keep_replaced  # noqa: PLC0415  # see __init__
        from scorestream_server.tables.publish import publish  # noqa: PLC0415

        if isinstance(task, SaveRows):
            return RowsSaved(task.task_id, *self._jobs.save(task, self._umask, cancelled))
        schema = pa.ipc.read_schema(pa.py_buffer(task.schema))
        journal = Path(task.journal)
        output = publish(
            task.files,
            schema,
            task.destination,
            journal,
            replace=task.replace,
            append=task.append,
            batch=task.batch,
            options=task.options,
            umask=self._umask,
            cancelled=cancelled,
            before=lambda _: keep_replaced(Path(task.destination.path), task.needed, Path(task.kept)),
        )
        return OutputPublished(task.task_id, output)

    def _answer(self, task_id: int, work: Callable[[], Result]) -> None:
        """Do a task and send what came of it; no fault of a task ends a lane."""
        running = self._running[task_id]
        running.begun = True
        try:
            self._end.send(self._outcome(task_id, running, work))
        except DeviceFault as lost:
            _end_without_device(self._end, f"{self._device.name}: {lost}")
        except BaseException:  # noqa: BLE001  # the server waits for an answer, and the end of this process is one
            try:
                logger.exception("task %d: nothing could be said", task_id)
            finally:
                os._exit(SPEECHLESS)
        finally:
            del self._running[task_id]
        if self._worn and not any(other.begun for other in list(self._running.values())):
            _leave(self._end, Leaving("ended to give back the memory that a task had taken"), WORN)

    def _outcome(self, task_id: int, running: Running, work: Callable[[], Result]) -> Result | TaskFailed:
        crowded = False
        try:
            return work()
        except DeviceFault:
            raise
        except MemoryError as error:
            crowded = sum(other.begun for other in list(self._running.values())) > 1
            fault = no_memory(error, running.what, self._task_memory)
            self._jobs.make_room()
            self._worn = True
            logger.warning("task %d: %s", task_id, fault)
        except Exception as error:  # whatever it is, the server must hear of it
            fault = _fault(error)
            if fault.code is ErrorCode.INTERNAL:
                logger.exception("task %d failed", task_id)
        faults = [(part.field, part.description) for part in fault.faults]
        return TaskFailed(
            task_id, fault.code.value, fault.reason, fault.message, faults, dict(fault.metadata), crowded
        )


def _what(task: Task) -> str:
    """Return what a task is about, as the beginning of a sentence."""
    match task:
        case RunPartition(partition=partition):
            what = f"Partition {partition.index} ({counted(partition.rows, 'row')})"
        case InspectModel(path=path):
            what = f"The model file {Path(path).name!r}"
        case ReadMlmodel():
            what = "The MLmodel file"
        case LoadTable(files=files):
            more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
            what = f"The file {files[0].called!r}{more}"
        case CopyTable():
            what = "The copy of a table"
        case ReadHead():
            what = "The first rows of the table"
        case ReadRows():
            what = "Reading rows of the table"
        case Publish(destination=destination) | SaveRows(destination=destination):
            what = f"The output {Path(destination.path).name!r}"
        case Summarise():
            what = "The summary of a result"
    return what


def no_memory(error: MemoryError, what: str, task_memory: int) -> ScorestreamError:
    """Return what is told of a task that there is no memory for."""
    where = error.where if isinstance(error, NoMemoryError) else what
    told = f" ({error})" if str(error) else ""
    return ScorestreamError(
        ErrorCode.RESOURCE_EXHAUSTED,
        "OUT_OF_MEMORY",
        f"{where}: this takes more than the {task_memory:,} bytes of memory that a worker has for its tasks{told}. Write "
        "it in smaller parts (rows of a row group or batch, bytes of a value, trees of a model), or have the server "
        "started with more --worker-memory.",
        metadata={"limit_bytes": str(task_memory)},
    )


def _fault(error: Exception) -> ScorestreamError:
    match error:
        case ScorestreamError():
            return error
        case OSError() if (told := disk_error(error)) is not None:
            return told
        case _:
            message = f"A worker met an unexpected fault: {type(error).__name__}: {error}"
            return ScorestreamError(ErrorCode.INTERNAL, "WORKER_FAULT", message)


def _end_without_device(end: WorkerEnd, reason: str) -> NoReturn:
    """End this process: nothing that it does with its device, if it has one, can be trusted."""
    logger.critical("no device: %s", reason)
    _leave(end, DeviceLost(reason), LOST_DEVICE)


def _leave(end: WorkerEnd, last_words: DeviceLost | Leaving, code: int) -> NoReturn:
    end.send(last_words)
    # Were this process to end at once, what the server may be writing to it would fail, and the report be lost with it.
    end.wait_until_closed(LAST_WORDS_SECONDS)
    os._exit(code)


def main() -> None:
    """Run a worker on the socket that the pool handed over."""
    without_pandas()
    parser = argparse.ArgumentParser(description="A scorestream worker; started by the server.")
    parser.add_argument(
        "--socket", type=int, required=True, help="file descriptor of the socket to the server"
    )
    parser.add_argument("--device", required=True)
    parser.add_argument("--lanes", type=int, required=True)
    parser.add_argument("--gpu-memory", required=True)
    parser.add_argument("--output-umask", type=int, required=True, help="for published outputs alone")
    parser.add_argument("--memory", type=int, required=True, help="bytes that tasks may take")
    parser.add_argument("--warm", action="store_true", help="load what only some jobs need, too")
    parser.add_argument("--title", default="", help="what the system's tools show as this process's name")
    parser.add_argument("--secluded", action="store_true", help="it runs as another user than the server")
    arguments = parser.parse_args()
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, format="worker %(process)d %(levelname)s %(message)s")
    if arguments.title:
        from setproctitle import setproctitle  # noqa: PLC0415  # few workers have a name of their own

        setproctitle(arguments.title)
    os.nice(NICENESS)
    die_first()
    kernels = kernel_folder()
    end = WorkerEnd(socket.socket(fileno=arguments.socket))
    if arguments.secluded:  # not before die_first: the kernel then keeps a process from its own badness
        try:
            seclude(kernels.parent)
        except OSError as error:
            _leave(end, Leaving(f"cannot run as user {os.environ['USER']!r}: {error}"), EXPOSED)
    os.environ["NUMBA_CACHE_DIR"] = str(kernels)
    try:
        Worker(
            end,
            arguments.device,
            arguments.lanes,
            arguments.gpu_memory,
            arguments.memory,
            arguments.output_umask,
        ).serve(warm=arguments.warm)
    except (DeviceFault, OSError, ValueError, ImportError) as error:
        _end_without_device(end, f"{arguments.device}: {error}")
    except MessageTooLargeError as error:
        logger.critical("the server %s; this worker ends", error)
        os._exit(1)
    except MemoryError:  # for the little that this thread does
        os._exit(SPEECHLESS)
    # Lanes may be in the middle of a partition that nobody waits for any more.
    os._exit(0)


if __name__ == "__main__":
    main()
