"""The runtime's functions that `device/cuda.py` calls."""

from typing import Any

from .. import machine

memcpyHostToDevice = 1
memcpyDeviceToHost = 2

streams: dict[int, Any] = {}
"""By their addresses."""

_TEXTS = {
    machine.NO_MEMORY: "cudaErrorMemoryAllocation: out of memory",
    machine.UNAVAILABLE: "cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy or unavailable",
    machine.NO_SUCH_DEVICE: "cudaErrorInvalidDevice: invalid device ordinal",
    machine.ILLEGAL_ADDRESS: "cudaErrorIllegalAddress: an illegal memory access was encountered",
}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(_TEXTS[status])


def setDevice(device: int) -> None:
    if (machine.FOLDER / f"cuda:{device}.busy").exists():
        raise CUDARuntimeError(machine.UNAVAILABLE)
    try:
        with machine.told(CUDARuntimeError):
            machine.make_current(device)
    except IndexError:
        raise CUDARuntimeError(machine.NO_SUCH_DEVICE) from None


def memGetInfo() -> tuple[int, int]:
    with machine.told(CUDARuntimeError):
        return machine.current().memory()


def getDeviceProperties(device: int) -> dict[str, Any]:
    card = machine.card(device)
    return {"name": card.card.encode(), "sharedMemPerBlockOptin": card.shared_bytes, "major": 9, "minor": 0}


def memcpyAsync(dst: int, src: int, size: int, kind: int, stream: int) -> None:
    with machine.told(CUDARuntimeError):
        card = machine.current()
        if kind == memcpyHostToDevice:
            card.copy_in(streams[stream], dst, card.part(src, size, pinned=True))
        else:
            card.copy_out(streams[stream], card.part(dst, size, pinned=True), src)
