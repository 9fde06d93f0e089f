"""Which device a worker opens."""

from scorestream_server.device.base import Device
from scorestream_server.domain.device import CPU


def open_device(name: str) -> Device:
    """Return the device that a worker was told to use: ``cpu``.

    Raises:
        ValueError: there is no such device, or none that this version scores on.
    """
    if name.startswith("cuda:"):
        raise ValueError(f"this version has no lanes on cards, so no worker can use {name}")
    if name != CPU:
        raise ValueError(f"unknown device {name!r}")
    from scorestream_server.device.cpu import CpuDevice  # noqa: PLC0415  # loads the kernels

    return CpuDevice()
