"""What the GPU benchmarks share: the card, its copy ceiling, and lanes on threads as a worker has them."""

import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import DATA, FEATURES
from scorestream_server.config import DEFAULT_GPU_MEMORY, memory_budget
from scorestream_server.device.base import DeviceFault
from scorestream_server.device.cuda_calls import CudaCalls
from scorestream_server.device.cuda_device import CudaDevice
from scorestream_server.device.cuda_lane import CudaLane
from scorestream_server.device.cuda_launch import ROW_MULTIPLE
from scorestream_server.device.cuda_memory import LARGEST_COPY
from scorestream_server.device.cuda_prepared import PreparedCudaForest

ROW_BYTES = 4 * FEATURES
CHUNK_ROWS = LARGEST_COPY // ROW_BYTES // ROW_MULTIPLE * ROW_MULTIPLE
"""Rows that a lane sends at once."""
_PINNED_BLOCKS = 8
_COPIES = 64


def open_card() -> CudaCalls:
    """Return the first card; where there is none, say so and end the program, not as a failure."""
    DATA.mkdir(exist_ok=True)
    try:
        from scorestream_server.device.cuda import CupyCalls  # noqa: PLC0415  # fails where CuPy is missing

        return CupyCalls(0, DATA)
    except (ImportError, DeviceFault) as error:
        print(f"not measured: no CUDA device ({error})")
        sys.exit(0)


def open_device(calls: CudaCalls, lanes: int) -> CudaDevice:
    """Return the card as a worker has it, with the memory that a worker takes by default."""
    return CudaDevice(calls, memory_budget(DEFAULT_GPU_MEMORY, calls.memory()[1]), lanes, DATA)


def host_columns(rows: int) -> list[NDArray[np.float32]]:
    """Return standard normal columns in ordinary memory."""
    rng = np.random.default_rng(7)
    return [rng.standard_normal(rows, np.float32) for _ in range(FEATURES)]


def copy_ceiling(calls: CudaCalls, tries: int = 7) -> float:
    """Return the bytes a second that the card takes from pinned memory in copies of 16 MiB, the best of several tries.

    The copies come from several blocks in turn, so that no cache of the processor holds them.
    """
    hosts = [calls.allocate_host(LARGEST_COPY) for _ in range(_PINNED_BLOCKS)]
    card = calls.allocate(2 * LARGEST_COPY)
    rng = np.random.default_rng(1)
    for host in hosts:
        host.bytes[:] = rng.integers(0, 256, LARGEST_COPY, np.uint8)
    stream, first, last = calls.stream(0), calls.event(timing=True), calls.event(timing=True)
    best = 0.0
    for _ in range(tries):
        calls.record(first, stream)
        for number in range(_COPIES):
            target = card.address + number % 2 * LARGEST_COPY
            calls.copy_in(stream, target, hosts[number % _PINNED_BLOCKS].bytes)
        calls.record(last, stream)
        calls.wait(last)
        best = max(best, _COPIES * LARGEST_COPY / (calls.milliseconds(first, last) / 1e3))
    card.free()
    for host in hosts:
        host.free()
    return best


def lanes_seconds(
    device: CudaDevice,
    prepared: PreparedCudaForest,
    columns: Sequence[NDArray[Any]],
    lanes: int,
    partition_rows: int,
    partitions: int,
    begin: Callable[[], None] = lambda: None,
) -> float:
    """Return how long lanes take for partitions, from rows in ordinary memory to scores there.

    Args:
        device: the card.
        prepared: the model on it.
        columns: rows; the partitions are parts of them, again and again.
        lanes: how many there are, each on a thread of its own.
        partition_rows: rows of a partition.
        partitions: how many partitions to score.
        begin: called when all lanes are open and have scored a partition, before the time counts.
    """
    starts: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(partitions):
        starts.put(number * partition_rows % (len(columns[0]) // partition_rows * partition_rows))
    begun: list[float] = []

    def start_clock() -> None:
        begin()
        begun.append(time.perf_counter())

    ready = threading.Barrier(lanes, start_clock)

    def work() -> CudaLane:
        try:
            lane = device.open_lane()
            lane.score_forest(prepared, [column[:partition_rows] for column in columns])
        except BaseException:
            ready.abort()
            raise
        ready.wait()
        while True:
            try:
                start = starts.get_nowait()
            except queue.Empty:
                return lane
            lane.score_forest(prepared, [column[start : start + partition_rows] for column in columns])

    with ThreadPoolExecutor(lanes) as pool:
        working = [pool.submit(work) for _ in range(lanes)]
        # Kept until all are done: giving a lane's memory back waits for the whole card.
        used = [done.result() for done in working]
        seconds = time.perf_counter() - begun[0]
    del used
    return seconds
