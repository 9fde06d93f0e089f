"""The child process: one device, its lanes, and a few threads for everything that is not scoring.

Started by the pool as ``python -m scorestream_server.workers.process``. It ends when the server does,
because its socket ends then, and it runs at a lower priority than the server, so that the server answers
at once on busy cores.
"""

import argparse
import faulthandler
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import platformdirs
import pyarrow as pa

from scorestream_server.device.base import DeviceFault
from scorestream_server.device.kernel_cache import kernel_digest
from scorestream_server.domain.disk import disk_error
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import (
    CancelTask,
    CloseJob,
    Command,
    DeviceLost,
    InspectModel,
    LoadTable,
    ModelInspected,
    OpenJob,
    OutputPublished,
    PartitionDone,
    Publish,
    Ready,
    Result,
    RunPartition,
    TableLoaded,
    TaskFailed,
)
from scorestream_server.workers.channel import MessageTooLargeError, WorkerEnd

logger = logging.getLogger(__name__)

NICENESS = 10
LOST_DEVICE = 70
"""What this process exits with when its device is of no use to it any more."""
LAST_WORDS_SECONDS = 5.0
"""How long such a process waits for the server to hear of it."""
SIDE_THREADS = 2
"""For models, tables and outputs; scoring goes on beside them in the lanes."""


class Worker:
    """One device and everything that this process does with it."""

    def __init__(self, end: WorkerEnd, device_name: str, lanes: int, gpu_memory: str) -> None:
        # Imported here: numba must find its cache directory set, and a command line fault need not wait.
        from scorestream_server.device.open import open_device  # noqa: PLC0415
        from scorestream_server.workers.opened import OpenedJobs  # noqa: PLC0415

        self._end = end
        self._device = open_device(device_name, lanes, gpu_memory)
        self._lanes = lanes
        self._jobs = OpenedJobs(self._device)
        self._partitions: queue.SimpleQueue[RunPartition] = queue.SimpleQueue()
        self._side = ThreadPoolExecutor(SIDE_THREADS, "side")
        self._cancelled: dict[int, threading.Event] = {}
        self._opened: queue.SimpleQueue[int] = queue.SimpleQueue()

    def serve(self) -> None:
        """Take commands until the server is gone."""
        self._device.warm_up()
        for number in range(self._lanes):
            threading.Thread(target=self._lane, args=(number,), name=f"lane-{number}", daemon=True).start()
        for _ in range(self._lanes):
            self._opened.get()
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
                if (event := self._cancelled.get(task_id)) is not None:
                    event.set()
            case RunPartition():
                self._cancelled[command.task_id] = threading.Event()
                self._partitions.put(command)
            case _:
                self._cancelled[command.task_id] = threading.Event()
                self._side.submit(self._answer, command.task_id, lambda: self._do(command))

    def _lane(self, number: int) -> None:
        try:
            lane = self._device.open_lane()
        except DeviceFault as lost:
            _end_without_device(self._end, f"{self._device.name}: {lost}")
        self._opened.put(number)
        while True:
            task = self._partitions.get()
            cancelled = self._cancelled[task.task_id].is_set

            def score(task: RunPartition = task, cancelled: Callable[[], bool] = cancelled) -> Result:
                started = time.perf_counter()
                file = self._jobs.score(task, lane, cancelled)
                return PartitionDone(
                    task.task_id, file, number, time.perf_counter() - started, lane.take_notes()
                )

            self._answer(task.task_id, score)

    def _do(self, task: InspectModel | LoadTable | Publish) -> Result:
        from scorestream_server.scoring.load import inspect_model  # noqa: PLC0415  # see __init__
        from scorestream_server.tables.publish import publish  # noqa: PLC0415
        from scorestream_server.tables.sources import load_table  # noqa: PLC0415

        cancelled = self._cancelled[task.task_id].is_set
        match task:
            case InspectModel():
                return ModelInspected(task.task_id, inspect_model(Path(task.path)))
            case LoadTable():
                paths = [Path(path) for path in task.paths]
                table = load_table(paths, Path(task.cache_dir), cancelled=cancelled)
                return TableLoaded(task.task_id, table)
            case Publish():
                schema = pa.ipc.read_schema(pa.py_buffer(task.schema))
                journal = Path(task.journal)
                output = publish(
                    task.files, schema, task.destination, journal, replace=task.replace, cancelled=cancelled
                )
                return OutputPublished(task.task_id, output)

    def _answer(self, task_id: int, work: Callable[[], Result]) -> None:
        """Do a task and send what came of it; no fault of a task ends a lane."""
        try:
            self._end.send(work())
        except DeviceFault as lost:
            _end_without_device(self._end, f"{self._device.name}: {lost}")
        except Exception as error:  # whatever it is, the server must hear of it
            fault = _fault(error)
            if fault.code is ErrorCode.INTERNAL:
                logger.exception("task %d failed", task_id)
            faults = [(part.field, part.description) for part in fault.faults]
            self._end.send(
                TaskFailed(
                    task_id, fault.code.value, fault.reason, fault.message, faults, dict(fault.metadata)
                )
            )
        finally:
            del self._cancelled[task_id]


def _fault(error: Exception) -> ScorestreamError:
    match error:
        case ScorestreamError():
            return error
        case MemoryError():
            return ScorestreamError(
                ErrorCode.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "A worker ran out of memory on this task."
            )
        case OSError() if (told := disk_error(error)) is not None:
            return told
        case _:
            message = f"A worker met an unexpected fault: {type(error).__name__}: {error}"
            return ScorestreamError(ErrorCode.INTERNAL, "WORKER_FAULT", message)


def _end_without_device(end: WorkerEnd, reason: str) -> NoReturn:
    """End this process: nothing that it does with its device, if it has one, can be trusted."""
    end.send(DeviceLost(reason))
    logger.critical("no device: %s", reason)
    # Were this process to end at once, what the server may be writing to it would fail, and the report be lost with it.
    end.wait_until_closed(LAST_WORDS_SECONDS)
    os._exit(LOST_DEVICE)


def main() -> None:
    """Run a worker on the socket that the pool handed over."""
    parser = argparse.ArgumentParser(description="A scorestream worker; started by the server.")
    parser.add_argument(
        "--socket", type=int, required=True, help="file descriptor of the socket to the server"
    )
    parser.add_argument("--device", required=True)
    parser.add_argument("--lanes", type=int, required=True)
    parser.add_argument("--gpu-memory", required=True)
    arguments = parser.parse_args()
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, format="worker %(process)d %(levelname)s %(message)s")
    os.nice(NICENESS)
    kernels = Path(
        os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_path("scorestream") / "kernels"
    )
    os.environ["NUMBA_CACHE_DIR"] = str(kernels / kernel_digest())
    end = WorkerEnd(socket.socket(fileno=arguments.socket))
    try:
        Worker(end, arguments.device, arguments.lanes, arguments.gpu_memory).serve()
    except (DeviceFault, OSError, ValueError, ImportError) as error:
        _end_without_device(end, f"{arguments.device}: {error}")
    except MessageTooLargeError as error:
        logger.critical("the server %s; this worker ends", error)
        os._exit(1)
    # Lanes may be in the middle of a partition that nobody waits for any more.
    os._exit(0)


if __name__ == "__main__":
    main()
