"""Facts about all devices of this machine at one moment: the cards, and the CPU, which is always there."""

import contextlib
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from scorestream_server.device.nvml import NoCardsError, Nvml
from scorestream_server.domain.device import CPU, Device, DeviceProcess, WorkerUse

LOOK_SECONDS = 0.1
"""How long the CPU is looked at for its utilization where there is no earlier look to count from."""
LATELY_SECONDS = 10.0
"""How old that earlier look may be: a mean over hours says nothing of now."""


class FactReader:
    """Reads facts until it is closed. Used by one thread, because it blocks and psutil counts by thread."""

    def __init__(self) -> None:
        self._nvml: Nvml | None = None
        self._why_no_cards = ""
        try:
            self._nvml = Nvml()
        except NoCardsError as error:
            self._why_no_cards = f"No GPU beside it: {error}."
        self._cpu_name = _cpu_name()
        self._looked_at = float("-inf")

    def read(self, workers: Sequence[WorkerUse]) -> tuple[Device, ...]:
        """Return all devices, cards first, with what these workers of the server do on each."""
        now = time.time()
        cards = [] if self._nvml is None else self._nvml.read(now)
        return tuple(with_workers(device, workers) for device in (*cards, self._cpu(workers, now)))

    def close(self) -> None:
        """Let go of the driver."""
        if self._nvml is not None:
            self._nvml.close()

    def _cpu(self, workers: Sequence[WorkerUse], now: float) -> Device:
        memory = psutil.virtual_memory()
        lately = time.monotonic() - self._looked_at < LATELY_SECONDS
        busy = psutil.cpu_percent(interval=None if lately else LOOK_SECONDS)
        self._looked_at = time.monotonic()
        processes = []
        for worker in workers:
            if worker.device == CPU:
                with contextlib.suppress(psutil.Error):  # it ended meanwhile
                    held = psutil.Process(worker.pid).memory_info().rss
                    processes.append(DeviceProcess(worker.pid, held, worker=True))
        return Device(
            CPU,
            self._cpu_name,
            now,
            memory_total=memory.total,
            # What programs could have without swapping is free, although caches fill it now.
            memory_used=memory.total - memory.available,
            memory_free=memory.available,
            utilization=busy,
            processes=tuple(processes),
            message=self._why_no_cards,
        )


def with_workers(device: Device, workers: Sequence[WorkerUse]) -> Device:
    """Return a device with its lanes, and with this server's workers told from other processes."""
    ours = {worker.pid for worker in workers}
    here = [worker for worker in workers if worker.device == device.id]
    return replace(
        device,
        processes=tuple(replace(process, worker=process.pid in ours) for process in device.processes),
        lanes=sum(worker.lanes for worker in here),
        lanes_busy=sum(worker.lanes_busy for worker in here),
    )


def _cpu_name() -> str:
    """Return the processor's product name, as far as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
