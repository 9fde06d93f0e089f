"""What is known of the devices of this machine at one moment."""

from dataclasses import dataclass

CPU = "cpu"
"""The id of the one device that is always there."""


@dataclass(frozen=True, slots=True)
class WorkerUse:
    """One worker, as its device's facts tell of it."""

    pid: int
    device: str
    lanes: int
    lanes_busy: int


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    """A process that computes on a device.

    Attributes:
        memory: bytes of the device's memory that it holds; None where the device does not say.
        worker: whether it is a worker of this server.
    """

    pid: int
    memory: int | None
    worker: bool


@dataclass(frozen=True, slots=True)
class Device:
    """One device at one moment. What it does not report is None, never 0.

    Attributes:
        id: ``cpu``, or ``cuda:N`` with N as CUDA numbers the cards that this server may use.
        name: its product name.
        time: when this was read, seconds since 1970, UTC.
        memory_total: bytes; `memory_used` and `memory_free` likewise.
        utilization: per cent of the time in which it was busy lately.
        temperature: degrees Celsius.
        power: watts.
        processes: all that compute on a card; of the CPU's, only this server's workers.
        lanes: lanes of this server's workers on it; 0 where none uses it.
        lanes_busy: lanes that have a partition.
        message: what is amiss with it, or empty.
    """

    id: str
    name: str
    time: float
    memory_total: int | None = None
    memory_used: int | None = None
    memory_free: int | None = None
    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None
    processes: tuple[DeviceProcess, ...] = ()
    lanes: int = 0
    lanes_busy: int = 0
    message: str = ""
