"""Which device a worker opens."""

from scorestream_server.device.base import Device


def open_device(name: str) -> Device:
    """Return the device that a worker was told to use; ``auto`` takes the best one that is there."""
    if name not in {"auto", "cpu"}:
        message = f"unknown device {name!r}"
        raise ValueError(message)
    from scorestream_server.device.cpu import CpuDevice  # noqa: PLC0415  # loads the kernels

    return CpuDevice()
