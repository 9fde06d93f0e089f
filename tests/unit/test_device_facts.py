"""What is told of cards and the CPU, on any machine: with cards, with strange cards, and with none."""

import asyncio
import os
import re
from collections.abc import Sequence
from contextlib import aclosing
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from fake_nvml import GIB, FakeCard, FakeNvml
from scorestream_server.device import nvml
from scorestream_server.device.facts import FactReader
from scorestream_server.device.nvml import find_cards
from scorestream_server.device.poller import FRESH_SECONDS, DevicePoller
from scorestream_server.domain.device import Device, DeviceProcess, WorkerUse


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Two cards, all of them visible; the second is busier."""
    made = FakeNvml([FakeCard("GPU-a"), FakeCard("GPU-b", "NVIDIA L4", utilization=SimpleNamespace(gpu=97))])
    monkeypatch.setattr(nvml, "pynvml", made)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


def test_two_cards_and_the_cpu_are_told_of_in_full(fake: FakeNvml) -> None:
    """Every fact with its unit; our workers are told from other processes, and lanes belong to their device."""
    fake.cards[1].processes = [
        SimpleNamespace(pid=7, usedGpuMemory=2 * GIB),
        SimpleNamespace(pid=8, usedGpuMemory=None),
    ]
    workers = [
        WorkerUse(8, "cuda:1", 4, 3),
        WorkerUse(os.getpid(), "cpu", 2, 1),
        WorkerUse(os.getpid(), "cpu", 2, 2),
    ]
    reader = FactReader()
    first, second, cpu = reader.read(workers)
    reader.close()
    assert fake.open == 0
    assert first == Device(
        "cuda:0", "NVIDIA H100 80GB HBM3", first.time, 80 * GIB, 3 * GIB, 77 * GIB, 42.0, 61.0, 312.5
    )
    assert (second.id, second.name, second.utilization) == ("cuda:1", "NVIDIA L4", 97.0)
    assert second.processes == (
        DeviceProcess(7, 2 * GIB, worker=False),
        DeviceProcess(8, None, worker=True),
    )
    assert (second.lanes, second.lanes_busy) == (4, 3)
    assert (cpu.id, cpu.lanes, cpu.lanes_busy, cpu.message) == ("cpu", 4, 3, "")
    assert [process.pid for process in cpu.processes] == [os.getpid()] * 2


def test_what_a_card_does_not_report_is_unset(fake: FakeNvml) -> None:
    """MIG and vGPU cards support some questions only; the answers that there are stay."""
    unsupported = pynvml.NVMLError_NotSupported()
    odd = fake.cards[0]
    odd.utilization = odd.power = odd.processes = unsupported
    odd.temperature = pynvml.NVMLError_NoPermission()
    old = fake.cards[1]
    old.memory, old.processes = unsupported, pynvml.NVMLError_FunctionNotFound()
    old.utilization, old.power, old.temperature = SimpleNamespace(gpu=0), 0, 0
    first, second, _ = FactReader().read([])
    assert (first.utilization, first.power, first.temperature, first.processes) == (None, None, None, ())
    assert (first.memory_used, first.message) == (3 * GIB, "")
    assert (second.memory_total, second.memory_used, second.memory_free) == (None, None, None)
    assert (second.utilization, second.power, second.temperature) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("times", [1, 2])
def test_a_card_that_is_lost_is_shown_as_lost(fake: FakeNvml, times: int) -> None:
    """It keeps its number, its facts are gone and a message says so; the others are as before."""
    reader = FactReader()
    assert reader.read([])[0].message == ""
    fake.lost.add("GPU-a")
    for _ in range(times):
        first, second, _ = reader.read([WorkerUse(1, "cuda:0", 4, 1)])
    assert (first.id, first.memory_total, first.lanes) == ("cuda:0", None, 4)
    assert "does not answer" in first.message and "lost" in first.message
    assert (second.id, second.memory_used, second.message) == ("cuda:1", 3 * GIB, "")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (pynvml.NVMLError_LibraryNotFound(), "no NVIDIA driver is found"),
        (pynvml.NVMLError_DriverNotLoaded(), "installed but not loaded"),
        (pynvml.NVMLError_LibRmVersionMismatch(), "do not match.*restart"),
        (pynvml.NVMLError_NoPermission(), "may not use"),
        (pynvml.NVMLError_Unknown(), "answers: Unknown Error"),
    ],
)
def test_without_a_driver_the_cpu_answers_and_says_why(fake: FakeNvml, error: Exception, why: str) -> None:
    """No library, no driver, a mismatch of the two: the same call, the CPU alone, and the reason."""
    fake.fails = error
    reader = FactReader()
    (cpu,) = reader.read([])
    reader.close()
    assert cpu.id == "cpu"
    assert cpu.name
    assert cpu.memory_total == psutil.virtual_memory().total
    assert cpu.memory_used is not None and cpu.memory_free is not None
    assert cpu.memory_used + cpu.memory_free == cpu.memory_total
    assert cpu.utilization is not None and 0 <= cpu.utilization <= 100
    assert (cpu.temperature, cpu.power) == (None, None)
    assert re.search(why, cpu.message)
    assert find_cards({}).why_none in cpu.message


@pytest.mark.parametrize(
    ("setting", "uuids", "why"),
    [
        (None, ("GPU-a", "GPU-b"), ""),
        ("1,0", ("GPU-b", "GPU-a"), ""),
        ("GPU-b", ("GPU-b",), ""),
        ("MIG-two", ("MIG-two",), ""),
        ("", (), "CUDA_VISIBLE_DEVICES= hides all cards (2)"),
        ("-1", (), "CUDA_VISIBLE_DEVICES=-1 hides all cards (2)"),
    ],
)
def test_cards_are_those_that_cuda_would_see(
    fake: FakeNvml, setting: str | None, uuids: tuple[str, ...], why: str
) -> None:
    """The same cards, in the same order; where all are hidden, the variable is named."""
    fake.cards[0].instances = [FakeCard("MIG-one"), FakeCard("MIG-two", "NVIDIA H100 MIG 1g.10gb")]
    found = find_cards({} if setting is None else {"CUDA_VISIBLE_DEVICES": setting})
    assert (found.uuids, found.why_none, found.cuda_version) == (uuids, why, 13)
    assert fake.open == 0


def test_a_driver_without_a_card_is_told_from_no_driver(fake: FakeNvml) -> None:
    """A card that is lost from the start is as good as none."""
    fake.lost = {"GPU-a"}
    assert find_cards({}).uuids == ("GPU-b",)
    fake.lost = {"GPU-a", "GPU-b"}
    assert find_cards({}).why_none == "the NVIDIA driver is there, but it sees no card"


class Counting:
    """A reader that counts what is asked of it."""

    def __init__(self) -> None:
        self.reads = 0
        self.closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def read(self, workers: Sequence[WorkerUse]) -> tuple[Device, ...]:
        self.reads += 1
        return (Device("cpu", "a CPU", float(self.reads), lanes=len(workers)),)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self.closed.set)


async def test_many_watchers_cost_one_reading() -> None:
    """Readings are shared while they are fresh; nothing is opened before somebody asks."""
    now = 0.0
    reader = Counting()
    opened = []

    def open_reader() -> Counting:
        opened.append(reader)
        return reader

    poller = DevicePoller(open_reader, lambda: [WorkerUse(1, "cpu", 1, 0)], clock=lambda: now)
    assert not opened
    readings = await asyncio.gather(*(poller.read() for _ in range(50)))
    assert reader.reads == 1
    assert {reading[0].lanes for reading in readings} == {1}
    now = FRESH_SECONDS
    watches = [poller.watch(1.0) for _ in range(50)]
    assert {(await anext(watch))[0].time for watch in watches} == {2.0}
    for watch in watches:
        await watch.aclose()
    assert opened == [reader]
    poller.close()
    await reader.closed.wait()


async def test_a_watcher_that_goes_leaves_the_others_theirs() -> None:
    """One is cancelled in the middle of a reading that both wait for."""
    reader = Counting()
    poller = DevicePoller(lambda: reader, list)
    async with aclosing(poller.watch(0.25)) as watch:
        gone = asyncio.create_task(poller.read())
        staying = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await staying)[0].id == "cpu"
        assert (await anext(watch))[0].time > 1.0
    with pytest.raises(asyncio.CancelledError):
        await gone
    poller.close()
    await reader.closed.wait()
