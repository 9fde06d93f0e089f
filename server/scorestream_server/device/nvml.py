"""NVIDIA's management library: which cards there are, and what each of them reports.

It asks the driver and computes nothing, so the server may use it where it must not use CUDA.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pynvml

from scorestream_server.device.choose import Cards, visible
from scorestream_server.domain.device import Device, DeviceProcess

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


class NoCardsError(Exception):
    """There is no card to be used; the message says why, as the rest of a sentence."""

    def __init__(self, why: str, cuda_version: int = 0) -> None:
        super().__init__(why)
        self.cuda_version = cuda_version


@dataclass(frozen=True, slots=True)
class _Card:
    id: str
    name: str
    uuid: str
    handle: Any


class Nvml:
    """The cards that this server may use; open until it is closed, and used by one thread.

    Args:
        environment: where ``CUDA_VISIBLE_DEVICES`` is looked up.

    Raises:
        NoCardsError: there are none.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NoCardsError(_why_not(error)) from error
        try:
            self.cuda_version = pynvml.nvmlSystemGetCudaDriverVersion() // 1000
            self._cards = _find_cards(environment.get(VISIBLE_DEVICES), self.cuda_version)
        except pynvml.NVMLError as error:
            self.close()
            raise NoCardsError(_why_not(error)) from error
        except NoCardsError:
            self.close()
            raise

    @property
    def uuids(self) -> tuple[str, ...]:
        """The UUID of each card, in CUDA's order."""
        return tuple(card.uuid for card in self._cards)

    def read(self, now: float) -> list[Device]:
        """Return what each card reports; one that does not answer is there, with a message."""
        return [_read(card, now) for card in self._cards]

    def close(self) -> None:
        """Let go of the driver."""
        with contextlib.suppress(pynvml.NVMLError):  # the driver is gone already
            pynvml.nvmlShutdown()


def find_cards(environment: Mapping[str, str] = os.environ) -> Cards:
    """Return the cards that this server may use, or why there are none."""
    try:
        nvml = Nvml(environment)
    except NoCardsError as error:
        return Cards(why_none=str(error), cuda_version=error.cuda_version)
    nvml.close()
    return Cards(nvml.uuids, cuda_version=nvml.cuda_version)


def _find_cards(setting: str | None, cuda_version: int) -> list[_Card]:
    cards: dict[str, Any] = {}
    instances: dict[str, Any] = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        # One that is lost already is left out, as CUDA does.
        with contextlib.suppress(pynvml.NVMLError):
            card = pynvml.nvmlDeviceGetHandleByIndex(index)
            cards[pynvml.nvmlDeviceGetUUID(card)] = card
            if "MIG-" in (setting or ""):
                instances |= _instances(card)
    chosen = visible(setting, list(cards), list(instances))
    if not cards:
        raise NoCardsError("the NVIDIA driver is there, but it sees no card", cuda_version)
    if not chosen:
        raise NoCardsError(f"{VISIBLE_DEVICES}={setting} hides all cards ({len(cards)})", cuda_version)
    found = cards | instances
    return [
        _Card(f"cuda:{number}", pynvml.nvmlDeviceGetName(found[uuid]), uuid, found[uuid])
        for number, uuid in enumerate(chosen)
    ]


def _instances(card: Any) -> dict[str, Any]:
    """Return the MIG instances of a card by their UUIDs."""
    found: dict[str, Any] = {}
    for index in range(_fact(pynvml.nvmlDeviceGetMaxMigDeviceCount, card) or 0):
        handle = _fact(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, card, index)
        if handle is not None:
            found[pynvml.nvmlDeviceGetUUID(handle)] = handle
    return found


def _fact(ask: Callable[..., Any], *what: Any) -> Any:
    """Return what a card answers, or None where it does not report that, as some cards and MIG and vGPU do.

    Raises:
        NVMLError: the card answers nothing any more.
    """
    try:
        return ask(*what)
    except (pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_ResetRequired, pynvml.NVMLError_Uninitialized):
        raise
    except pynvml.NVMLError:
        return None


def _read(card: _Card, now: float) -> Device:
    handle = card.handle
    try:
        memory = _fact(pynvml.nvmlDeviceGetMemoryInfo, handle)
        utilization = _fact(pynvml.nvmlDeviceGetUtilizationRates, handle)
        power = _fact(pynvml.nvmlDeviceGetPowerUsage, handle)
        temperature = _fact(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
        processes = _fact(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    except pynvml.NVMLError as error:
        return Device(card.id, card.name, now, message=f"The card does not answer: {error}.")
    return Device(
        card.id,
        card.name,
        now,
        memory_total=None if memory is None else memory.total,
        memory_used=None if memory is None else memory.used,
        memory_free=None if memory is None else memory.free,
        utilization=None if utilization is None else float(utilization.gpu),
        temperature=None if temperature is None else float(temperature),
        power=None if power is None else power / 1000,
        processes=tuple(
            DeviceProcess(process.pid, process.usedGpuMemory, worker=False) for process in processes or ()
        ),
    )


def _why_not(error: pynvml.NVMLError) -> str:
    match error:
        case pynvml.NVMLError_LibraryNotFound():
            return "no NVIDIA driver is found here (libnvidia-ml.so.1)"
        case pynvml.NVMLError_DriverNotLoaded():
            return "the NVIDIA driver is installed but not loaded; nvidia-smi says more"
        case pynvml.NVMLError_LibRmVersionMismatch():
            return (
                "the NVIDIA driver was updated and its old kernel module is still loaded (library and module "
                "do not match); restart the machine"
            )
        case pynvml.NVMLError_NoPermission():
            return "this user may not use the NVIDIA driver; look at the permissions of /dev/nvidia*"
        case _:
            return f"the NVIDIA driver answers: {error}"
