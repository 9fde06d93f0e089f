"""`device/cuda.py` on a stand-in for CuPy (`fake_cuda/`): threads, the cache of compiled kernels, and errors."""

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fake_cuda.cupy
from cuda_machine import CudaMachine
from fake_cuda.cupy import machine as cards
from parity.random_forests import nasty_rows, perfect_tree, random_forest
from scorestream_server.device import forest_numpy
from scorestream_server.device.base import DeviceFault
from scorestream_server.device.cuda_compile import Program, finish_program, rank_program
from scorestream_server.device.cuda_device import CudaDevice

MIB = 1 << 20


@pytest.fixture
def machine(
    cuda_machine: Callable[[], CudaMachine], monkeypatch: pytest.MonkeyPatch
) -> Iterator[CudaMachine]:
    """A machine with two cards that this process is on."""
    made = cuda_machine()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa,GPU-bbbb")
    monkeypatch.setattr(cards, "FOLDER", made.folder)
    monkeypatch.setattr(cards, "KERNELS", made.kernels)
    monkeypatch.setattr(cards, "_cards", {})
    yield made
    assert not made.broken_rules()


@pytest.fixture
def cuda(machine: CudaMachine, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with the stand-in where it imports CuPy."""
    assert machine.folder.is_dir()
    monkeypatch.setitem(sys.modules, "cupy", fake_cuda.cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda", fake_cuda.cupy.cuda)
    found = importlib.util.find_spec("scorestream_server.device.cuda")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def opened(cuda: Any, folder: Path, ordinal: int = 1) -> CudaDevice:
    device: CudaDevice = cuda.open_cuda(ordinal, folder / "cache", 1, lambda total: total // 2)
    return device


@pytest.mark.parametrize("float32", [True, False])
def test_a_card_scores_as_numpy_does(cuda: Any, tmp_path: Path, *, float32: bool) -> None:
    """To the last bit, through every call that is made of CuPy."""
    forest = random_forest(5, strict=True, float32=float32, width=1)
    device = opened(cuda, tmp_path)
    device.warm_up()
    columns = nasty_rows(forest, 300, 1)
    scores = device.open_lane().score_forest(device.prepare_forest(forest), columns)
    assert np.ascontiguousarray(scores).tobytes() == forest_numpy.score(forest, columns).tobytes()


def test_a_model_is_forgotten_on_any_thread(cuda: Any, tmp_path: Path) -> None:
    """Also on one that never attached: CUDA would open the first card there, which is not this process's."""
    device = opened(cuda, tmp_path)
    free = cards.card(1).memory()[0]
    models = [device.prepare_forest(perfect_tree(12))]
    assert cards.card(1).memory()[0] < free
    thread = threading.Thread(target=models.clear)
    thread.start()
    thread.join()
    assert cards.card(1).memory()[0] == free
    assert list(cards._cards) == [1]


def test_lanes_that_need_a_program_at_once_compile_it_once(
    cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is whole whenever it is there, and nothing is left beside it; the next process compiles nothing."""
    compiled: list[str] = []
    real = cuda.compile_program

    def compile_program(nvrtc: Any, program: Program, architecture: int) -> Any:
        compiled.append(program.name)
        return real(nvrtc, program, architecture)

    monkeypatch.setattr(cuda, "compile_program", compile_program)
    calls = cuda.CupyCalls(1, tmp_path)
    begin = threading.Barrier(4)

    def load(place: int) -> dict[str, Any]:
        calls.attach()
        begin.wait()
        found: dict[str, Any] = calls.load(finish_program((np.float32, np.float64)[place % 2]))
        return found

    with ThreadPoolExecutor(4) as pool:
        first, second, third, fourth = pool.map(load, range(4))
    assert first is third
    assert second is fourth
    assert sorted(compiled) == ["finish float32", "finish float64"]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".cubin"] * 2
    cuda.CupyCalls(1, tmp_path).load(finish_program(np.float32))
    assert len(compiled) == 2
    monkeypatch.setattr(cuda, "OPTIONS", ("--fmad=true",))
    cuda.CupyCalls(1, tmp_path).load(finish_program(np.float32))
    assert len(compiled) == 3


def test_a_damaged_file_is_compiled_anew(cuda: Any, tmp_path: Path) -> None:
    """A machine that lost its power leaves empty files; they must not keep a card from work for ever."""
    cuda.CupyCalls(1, tmp_path).load(rank_program(np.uint8))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(b"")
    assert cuda.CupyCalls(1, tmp_path).load(rank_program(np.uint8))
    assert path.read_bytes() == whole


def test_a_kernel_may_have_all_shared_memory_of_the_card(cuda: Any, tmp_path: Path) -> None:
    """Without asking, CUDA gives 48 KiB."""
    kernels = cuda.CupyCalls(1, tmp_path).load(finish_program(np.float32))
    assert {kernel.max_dynamic_shared_size_bytes for kernel in kernels.values()} == {cards.SHARED_BYTES}


def test_a_card_that_cannot_be_opened_says_why(
    cuda: Any, machine: CudaMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence, whatever it is that does not work."""
    with pytest.raises(DeviceFault, match="invalid device ordinal"):
        opened(cuda, tmp_path, ordinal=2)
    machine.close("cuda:0")
    with pytest.raises(DeviceFault, match="busy or unavailable"):
        opened(cuda, tmp_path, ordinal=0)
    machine.take_memory("cuda:1", 1000)
    with pytest.raises(DeviceFault, match=r"no memory to begin with .*other programs hold it"):
        opened(cuda, tmp_path).open_lane()

    def refuse(*_: Any) -> None:
        raise cuda.nvrtc.NVRTCError(5)

    with monkeypatch.context() as patch:
        patch.setattr(cuda.nvrtc, "compileProgram", refuse)
        with pytest.raises(DeviceFault, match=r"no kernels for it: .*sm_90"):
            opened(cuda, tmp_path).warm_up()

    def missing() -> None:
        raise RuntimeError("CuPy failed to load libnvrtc.so.13")

    monkeypatch.setattr(cuda.nvrtc, "getVersion", missing)
    with pytest.raises(DeviceFault, match=r"libnvrtc.so.13.*extras cuda12 and cuda13"):
        opened(cuda, tmp_path)


def test_without_a_driver_real_cupy_says_so(tmp_path: Path) -> None:
    """The very CuPy that is installed, on a machine that has no card for it."""
    cupy = pytest.importorskip("cupy", reason="needs CuPy, but no GPU")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        pass
    else:
        pytest.skip("there is a card")
    from scorestream_server.device.cuda import open_cuda  # noqa: PLC0415  # loads CuPy

    with pytest.raises(DeviceFault, match="cudaError"):
        open_cuda(0, tmp_path, 1, lambda total: total)
