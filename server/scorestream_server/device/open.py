"""Which device a worker opens."""

import os
from pathlib import Path

from scorestream_server.config import memory_budget
from scorestream_server.device.base import Device
from scorestream_server.domain.device import CPU


def open_device(name: str, lanes: int, gpu_memory: str) -> Device:
    """Return the device that a worker was told to use.

    Args:
        name: ``cpu`` or ``cuda:N``.
        lanes: how many lanes will be opened.
        gpu_memory: how much of a card's memory they and the models may take (`memory_budget`).

    Raises:
        ValueError: there is no such device, or it has not so much memory.
        DeviceFault: the card cannot be used.
    """
    if name == CPU:
        from scorestream_server.device.cpu import CpuDevice  # noqa: PLC0415  # loads the kernels

        return CpuDevice()
    kind, _, ordinal = name.partition(":")
    if kind != "cuda" or not ordinal.isdecimal():
        raise ValueError(f"unknown device {name!r}")
    from scorestream_server.device.cuda import open_cuda  # noqa: PLC0415  # loads CuPy

    cache = Path(os.environ["NUMBA_CACHE_DIR"])  # compiled kernels of either kind lie together
    return open_cuda(int(ordinal), cache, lanes, lambda total: memory_budget(gpu_memory, total))
