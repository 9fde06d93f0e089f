"""NVIDIA's management library as a machine with cards has it: hardware that tests cannot have.

It answers with the real module's errors, so what is caught is what the real one raises.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

GIB = 1 << 30


@dataclass
class FakeCard:
    """A card, or a MIG instance of one. What is an error is raised instead of returned."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    memory: Any = field(default_factory=lambda: SimpleNamespace(total=80 * GIB, used=3 * GIB, free=77 * GIB))
    utilization: Any = field(default_factory=lambda: SimpleNamespace(gpu=42, memory=7))
    power: Any = 312_500
    temperature: Any = 61
    processes: Any = ()
    instances: list["FakeCard"] = field(default_factory=list)


@dataclass
class FakeNvml:
    """The functions and names that the server uses, for these cards.

    Attributes:
        fails: what starting the library raises; None: it starts.
        lost: UUIDs of cards that answer nothing any more.
        open: how often it was started and not yet shut down.
    """

    cards: list[FakeCard] = field(default_factory=list)
    fails: Exception | None = None
    cuda: int = 13000
    lost: set[str] = field(default_factory=set)
    open: int = 0

    def __getattr__(self, name: str) -> Any:
        """Give errors and constants of the real module; a function that is not faked is an error."""
        if name.startswith("NVML"):
            return getattr(pynvml, name)
        raise AttributeError(name)

    def nvmlInit(self) -> None:  # noqa: N802
        if self.fails is not None:
            raise self.fails
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        return self._answer(self.cards[index], lambda card: card)

    def nvmlDeviceGetUUID(self, card: FakeCard) -> Any:  # noqa: N802
        return self._answer(card, lambda card: card.uuid)

    def nvmlDeviceGetName(self, card: FakeCard) -> Any:  # noqa: N802
        return self._answer(card, lambda card: card.name)

    def nvmlDeviceGetMemoryInfo(self, card: FakeCard) -> Any:  # noqa: N802
        return self._answer(card, lambda card: card.memory)

    def nvmlDeviceGetUtilizationRates(self, card: FakeCard) -> Any:  # noqa: N802
        return self._answer(card, lambda card: card.utilization)

    def nvmlDeviceGetPowerUsage(self, card: FakeCard) -> Any:  # noqa: N802
        return self._answer(card, lambda card: card.power)

    def nvmlDeviceGetTemperature(self, card: FakeCard, sensor: int) -> Any:  # noqa: N802
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return self._answer(card, lambda card: card.temperature)

    def nvmlDeviceGetComputeRunningProcesses(self, card: FakeCard) -> Any:  # noqa: N802
        return self._answer(card, lambda card: card.processes)

    def nvmlDeviceGetMaxMigDeviceCount(self, card: FakeCard) -> Any:  # noqa: N802
        return self._answer(card, lambda card: 7 if card.instances else 0)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: FakeCard, index: int) -> FakeCard:  # noqa: N802
        if index >= len(card.instances):
            raise pynvml.NVMLError_NotFound
        return card.instances[index]

    def _answer(self, card: FakeCard, fact: Callable[[FakeCard], Any]) -> Any:
        if not self.open:
            raise pynvml.NVMLError_Uninitialized
        if card.uuid in self.lost:
            raise pynvml.NVMLError_GpuIsLost
        found = fact(card)
        if isinstance(found, Exception):
            raise found
        return found
