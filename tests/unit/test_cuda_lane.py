"""A CUDA lane keeps CUDA's rules, on a card that runs the real kernels on the host and checks every call."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuda_double import Broken, Card
from cuda_host.harness import compiler
from parity.random_forests import nasty_rows, perfect_tree, random_forest
from scorestream_server.device import cuda_memory, forest_numpy
from scorestream_server.device.base import DeviceFault
from scorestream_server.device.cpu import CpuDevice
from scorestream_server.device.cuda_calls import OutOfDeviceMemory
from scorestream_server.device.cuda_compile import rank_program
from scorestream_server.device.cuda_device import CudaDevice, arena_bytes
from scorestream_server.device.cuda_lane import SMALLEST_ARENA, CudaLane
from scorestream_server.device.cuda_memory import chunk_rows, layout
from scorestream_server.device.cuda_tuning import Shape, Shapes, shapes
from scorestream_server.device.forest_arrays import ForestArrays, PostProcessor
from scorestream_server.domain.errors import ErrorCode, ScorestreamError

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler (g++ or clang++)")

MIB = 1 << 20
FOREST = random_forest(3, strict=True, float32=True, width=1)


@pytest.fixture
def card(host_kernels: Path) -> Card:
    return Card(64 * MIB, host_kernels)


@pytest.fixture
def device(card: Card, tmp_path: Path) -> CudaDevice:
    return CudaDevice(card, 32 * MIB, 2, tmp_path)


def opened(device: CudaDevice) -> CudaLane:
    return device.open_lane()


def assert_scores(lane: CudaLane, device: CudaDevice, forest: ForestArrays, rows: int, seed: int = 1) -> None:
    """Score rows on the card, and compare every bit with NumPy."""
    columns = nasty_rows(forest, rows, seed)
    scores = lane.score_forest(device.prepare_forest(forest), columns)
    assert scores.shape == (rows, forest.outputs)
    assert np.ascontiguousarray(scores).tobytes() == forest_numpy.score(forest, columns).tobytes()


@pytest.mark.parametrize("rows", [0, 1, 127, 128, 129, 1000])
def test_a_lane_scores_as_numpy_does(device: CudaDevice, rows: int) -> None:
    """Any number of rows, in the order given, to the last bit."""
    assert_scores(opened(device), device, FOREST, rows)


@pytest.mark.parametrize("rows", [0, 1, 129, 1000])
def test_a_lane_explains_as_the_cpu_does(
    card: Card, device: CudaDevice, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of rows and chunks, to the last bit; nothing is allocated, and nothing read before its event."""
    monkeypatch.setattr(cuda_memory, "LARGEST_COPY", 128 * 5 * 4)
    lane, columns = opened(device), nasty_rows(FOREST, rows, 4)
    prepared, cpu = device.prepare_reasons(FOREST), CpuDevice()
    card.log.clear()
    found = lane.explain_forest(prepared, columns, output=1, reasons=3)
    expected = cpu.open_lane().explain_forest(cpu.prepare_reasons(FOREST), columns, output=1, reasons=3)
    assert found.contributions.tobytes() == expected.contributions.tobytes()
    assert found.features.tobytes() == expected.features.tobytes()
    np.testing.assert_array_equal(found.bias, expected.bias)
    assert {call for call, _ in card.log} <= {"copy_in", "launch", "copy_out", "record", "wait", "stream"}
    assert len(card.calls("copy_in")) == -(-rows // 128)


def test_reasons_need_a_forest_of_this_card_and_columns_that_fit(device: CudaDevice) -> None:
    lane, columns = opened(device), nasty_rows(FOREST, 5, 4)
    with pytest.raises(TypeError, match="another device"):
        lane.explain_forest(device.prepare_forest(FOREST), columns, output=0, reasons=1)
    with pytest.raises(ValueError, match="one column a feature"):
        lane.explain_forest(device.prepare_reasons(FOREST), columns[1:], output=0, reasons=1)
    with pytest.raises(ValueError, match="at least one reason"):
        lane.explain_forest(device.prepare_reasons(FOREST), columns, output=0, reasons=0)


def test_a_call_of_many_chunks_fills_one_while_another_is_on_its_way(
    card: Card, device: CudaDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two chunks are out at once, each is waited for before its memory is used again, and nothing is allocated."""
    monkeypatch.setattr(cuda_memory, "LARGEST_COPY", 128 * 5 * 4)
    lane = opened(device)
    prepared = device.prepare_forest(FOREST)
    columns = nasty_rows(FOREST, 128 * 6 + 5, 2)
    lane.score_forest(prepared, columns)  # measures what is to be measured
    card.log.clear()
    scores = lane.score_forest(prepared, columns)
    assert np.ascontiguousarray(scores).tobytes() == forest_numpy.score(FOREST, columns).tobytes()
    steps = [call for call, _ in card.log]
    assert set(steps) == {"copy_in", "launch", "copy_out", "record", "wait"}
    chunk = ["copy_in", "launch", "launch", "launch", "copy_out", "record"]
    assert steps == [*chunk, *chunk, *(["wait", *chunk] * 5), "wait", "wait"]


def test_the_double_finds_what_cuda_would_punish(card: Card) -> None:
    """Memory read before its event, changed before it is copied, freed in use or twice, or taken in the loop."""
    card.attach()
    stream, event = card.stream(0), card.event()
    device, host = card.allocate(256), card.allocate_host(256)
    host.bytes[:] = 7
    card.copy_in(stream, device.address, host.bytes)
    for call in (lambda: card.allocate(1), lambda: card.allocate_host(1), device.free):
        with pytest.raises(Broken, match="on its way"):
            call()
    host.bytes[0] = 8
    card.record(event, stream)
    with pytest.raises(Broken, match="changed before it was copied"):
        card.wait(event)
    host.bytes[0] = 7
    card.copy_out(stream, host.bytes, device.address)
    host.bytes[:] = 0
    assert not host.bytes.any()  # not yet
    with pytest.raises(Broken, match="not pinned"):
        card.copy_in(stream, device.address, np.zeros(4, np.uint8))
    stream.work.clear()
    stream.done = 0
    device.free()
    with pytest.raises(Broken, match="freed twice"):
        device.free()
    card.copy_out(stream, host.bytes, device.address)
    card.record(event, stream)
    with pytest.raises(Broken, match="not taken"):
        card.wait(event)
    found: list[BaseException] = []

    def elsewhere() -> None:
        try:
            card.load(rank_program(np.uint8))
        except Broken as error:
            found.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "never attached" in str(found[0])


def test_several_lanes_score_at_once(card: Card, device: CudaDevice) -> None:
    """Each lane has its own streams and memory; threads do not disturb each other."""
    lanes = [opened(device) for _ in range(4)]
    prepared = device.prepare_forest(FOREST)
    results: dict[int, bytes] = {}
    ready = threading.Barrier(4)

    def work(number: int) -> None:
        card.attach()
        columns = nasty_rows(FOREST, 700 + number, number)
        ready.wait()
        for _ in range(3):
            scores = lanes[number].score_forest(prepared, columns)
            results[number] = np.ascontiguousarray(scores).tobytes()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        columns = nasty_rows(FOREST, 700 + number, number)
        assert results[number] == forest_numpy.score(FOREST, columns).tobytes()


@pytest.mark.parametrize("kind", list(PostProcessor))
def test_scores_are_finished_on_the_card(device: CudaDevice, kind: PostProcessor) -> None:
    """Every link function gives NumPy's scores within 1e-6 in float32 and 1e-12 in float64."""
    for float32, tolerance in ((True, 1e-6), (False, 1e-12)):
        forest = random_forest(5, strict=False, float32=float32, width=1, features=3)
        forest = dataclasses.replace(forest, postprocessor=kind, sigmoid_alpha=1.5, ratio_c=0.7)
        columns = nasty_rows(forest, 300, 4)
        scores = opened(device).score_forest(device.prepare_forest(forest), columns)
        np.testing.assert_allclose(scores, forest_numpy.score(forest, columns), rtol=tolerance)


def test_the_class_of_a_job_chooses_the_stream(card: Card, device: CudaDevice) -> None:
    """Each class of jobs has a stream of its own priority, made once."""
    lane = opened(device)
    prepared = device.prepare_forest(FOREST)
    for priority in (2, 0, 2, 1, 0):
        lane.priority = priority
        lane.score_forest(prepared, nasty_rows(FOREST, 10, 0))
        assert card.calls("copy_in")
        used = next(about for call, about in reversed(card.log) if call == "wait")
        assert used.priority == priority
    assert card.calls("stream").count(2) == 1


def test_a_card_that_breaks_is_told_apart_from_a_bad_call(card: Card, device: CudaDevice) -> None:
    """Whatever CUDA says after a fault comes out as a DeviceFault, from every later call, too."""
    lane = opened(device)
    prepared = device.prepare_forest(FOREST)
    card.fault_at = 5
    with pytest.raises(DeviceFault, match="illegal memory access"):
        lane.score_forest(prepared, nasty_rows(FOREST, 1000, 0))
    with pytest.raises(DeviceFault):
        device.prepare_forest(FOREST)


# -- too little memory ---------------------------------------------------------------------------------


def test_a_lane_begins_smaller_where_the_card_is_full(host_kernels: Path, tmp_path: Path) -> None:
    """The largest half, quarter, eighth ... that there is room for; none at all is an error."""
    card = Card(5 * MIB, host_kernels)
    device = CudaDevice(card, 16 * MIB, 1, tmp_path)
    lane = opened(device)
    assert lane.arena == 4 * MIB
    prepared = device.prepare_forest(FOREST)
    assert lane.score_forest(prepared, nasty_rows(FOREST, 10, 0)).shape == (10, 3)
    with pytest.raises(DeviceFault, match="no memory to begin with"):
        CudaDevice(Card(SMALLEST_ARENA // 4, host_kernels), 16 * MIB, 1, tmp_path).open_lane()


def test_a_call_that_runs_out_of_memory_goes_on_with_half(
    card: Card, device: CudaDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane shrinks, the rows are scored all the same, and a note says so once."""
    lane = opened(device)
    prepared = device.prepare_forest(FOREST)
    columns = nasty_rows(FOREST, 5000, 3)
    before, real, failures = lane.arena, card.launch, iter([False, True])

    def launch(stream: Any, kernel: Any, what: Any) -> None:
        if next(failures, False):
            raise OutOfDeviceMemory("local memory")
        real(stream, kernel, what)

    monkeypatch.setattr(card, "launch", launch)
    scores = lane.score_forest(prepared, columns)
    assert np.ascontiguousarray(scores).tobytes() == forest_numpy.score(FOREST, columns).tobytes()
    assert lane.arena == before // 2
    (note,) = lane.take_notes()
    assert "cuda:0 ran out of memory" in note
    assert not lane.take_notes()


def test_a_card_that_stays_full_fails_the_call_and_not_the_lane(
    card: Card, device: CudaDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RESOURCE_EXHAUSTED with what to do; once there is room again the lane goes on."""
    lane = opened(device)
    prepared = device.prepare_forest(FOREST)
    columns = nasty_rows(FOREST, 100, 3)
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise OutOfDeviceMemory("local memory")

        patch.setattr(card, "launch", full)
        patch.setattr(card, "allocate", full)
        with pytest.raises(ScorestreamError) as caught:
            lane.score_forest(prepared, columns)
    assert caught.value.code is ErrorCode.RESOURCE_EXHAUSTED
    for word in ("cuda:0", "MiB are free", "--gpu-memory", "--device cpu"):
        assert word in caught.value.message
    scores = lane.score_forest(prepared, columns)
    assert np.ascontiguousarray(scores).tobytes() == forest_numpy.score(FOREST, columns).tobytes()


def test_lanes_give_way_to_a_model(host_kernels: Path, tmp_path: Path) -> None:
    """A model that does not fit beside the lanes gets half of their memory, and they still score."""
    card = Card(9 * MIB, host_kernels)
    device = CudaDevice(card, 16 * MIB, 1, tmp_path)
    lane = opened(device)
    assert lane.arena == 8 * MIB
    forest = perfect_tree(17)
    prepared = device.prepare_forest(forest)
    assert prepared.block is not None
    assert prepared.block.size > MIB
    assert lane.arena == 4 * MIB
    assert_scores(lane, device, FOREST, 300)


def test_a_model_that_no_memory_suffices_for_is_refused(card: Card, tmp_path: Path) -> None:
    """The budget counts, not the card: the error names both."""
    device = CudaDevice(card, 3 * MIB, 1, tmp_path)
    lane = opened(device)
    forest = perfect_tree(18)
    with pytest.raises(ScorestreamError) as caught:
        device.prepare_forest(forest)
    assert caught.value.reason == "DEVICE_OUT_OF_MEMORY"
    assert_scores(lane, device, FOREST, 100)


def test_a_model_that_cannot_be_copied_takes_no_memory(
    card: Card, device: CudaDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pinned memory is what is missing, the error says so and the card's memory is given back."""
    opened(device)
    free = card.memory()[0]

    def full(*_: Any) -> None:
        raise OutOfDeviceMemory("pinned memory")

    monkeypatch.setattr(card, "allocate_host", full)
    with pytest.raises(ScorestreamError, match="could not be copied") as caught:
        device.prepare_forest(FOREST)
    assert caught.value.code is ErrorCode.RESOURCE_EXHAUSTED
    assert card.memory()[0] == free


def test_memory_of_forgotten_models_comes_back(card: Card, tmp_path: Path) -> None:
    """Models are let go of with the last job that uses them, without anybody saying so."""
    device = CudaDevice(card, 8 * MIB, 1, tmp_path)
    opened(device)
    for _ in range(12):
        assert device.prepare_forest(perfect_tree(16)).block is not None


@given(
    room=st.integers(0, 1 << 22),
    rows=st.integers(1, 1 << 20),
    widths=st.lists(st.sampled_from([4, 8]), min_size=1, max_size=300),
    cell_bytes=st.integers(0, 4000),
    sum_bytes=st.integers(4, 800),
)
def test_a_chunk_fits_where_it_is_put(
    room: int, rows: int, widths: list[int], cell_bytes: int, sum_bytes: int
) -> None:
    """No array of a chunk overlaps another or leaves the slot, and all are aligned."""
    count = chunk_rows(room, rows, widths, cell_bytes, sum_bytes)
    if not count:
        return
    plan = layout(min(count, rows), widths, cell_bytes, sum_bytes)
    assert plan.size <= room
    places = [
        (0, 8 * len(widths)),
        (plan.wide, len(widths)),
        *((place, plan.stride * width) for place, width in zip(plan.columns, widths, strict=True)),
        (plan.cells, plan.stride * cell_bytes),
        (plan.sums, plan.stride * sum_bytes),
    ]
    for (place, size), (after, _) in zip(places, [*places[1:], (plan.size, 0)], strict=True):
        assert place + size <= after
        assert after % 256 == 0


def test_the_lanes_share_of_the_budget_is_bounded() -> None:
    """Half of a small budget is for lanes, and no lane takes more than it can use."""
    assert arena_bytes(64 * MIB, 4) == 8 * MIB
    assert arena_bytes(1 << 36, 4) == 128 * MIB


# -- which kernel --------------------------------------------------------------------------------------


def test_a_shape_is_measured_once_for_a_model_and_a_card(tmp_path: Path) -> None:
    """The fastest of those that fit is kept, also by the next process, until something else fits."""
    path = tmp_path / "shapes.json"
    asked: list[Shape] = []
    fitting = [Shape("staged", 64), Shape("staged", 128), Shape("row", 64)]

    def measure(shape: Shape) -> float:
        asked.append(shape)
        return {"staged": 2.0, "row": 1.0}[shape.kernel]

    for _ in range(2):
        assert Shapes(path).best("m", "card", 1000, fitting, measure) == Shape("row", 64)
    assert asked == fitting
    assert Shapes(path).best("m", "other card", 1000, fitting, measure) == Shape("row", 64)
    assert Shapes(path).best("m", "card", 1000, fitting[:2], measure) == Shape("staged", 64)
    path.write_text("[not what we wrote")
    assert Shapes(path).best("m", "card", 1000, fitting, measure) == Shape("row", 64)


def test_the_fastest_shape_is_found_on_real_rows(card: Card, device: CudaDevice) -> None:
    """The lane tries each shape that fits on its first rows, then uses the best without asking again."""
    card.faster = ("walk_global",)
    lane = opened(device)
    prepared = device.prepare_forest(FOREST)
    assert prepared.packed is not None
    columns = nasty_rows(FOREST, 200, 0)
    lane.score_forest(prepared, columns)
    tried = {(about.kernel, about.block) for about in card.calls("launch") if "walk" in about.kernel}
    assert len(tried) == len(shapes(prepared.packed, 200, card.shared_bytes)) > 3
    card.log.clear()
    lane.score_forest(prepared, columns)
    assert [about.kernel for about in card.calls("launch")] == ["rank_rows", "walk_global", "finish_rows"]
