"""Lanes on a real card: many chunks, many threads, every class of jobs, and too little memory for real."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from parity.random_forests import nasty_rows, perfect_tree, random_forest
from scorestream_server.device import forest_numpy
from scorestream_server.device.cuda_calls import CudaCalls, OutOfDeviceMemory
from scorestream_server.device.cuda_device import LARGEST_ARENA, CudaDevice
from scorestream_server.device.cuda_lane import CudaLane
from scorestream_server.device.forest_arrays import ForestArrays
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.job import Priority

pytestmark = pytest.mark.gpu

MIB = 1 << 20
FOREST = random_forest(3, strict=True, float32=True, width=1, trees=60)


def assert_scores(lane: CudaLane, device: CudaDevice, forest: ForestArrays, rows: int, seed: int = 1) -> None:
    """Score rows on the card, and compare every bit with NumPy: these forests have no link function."""
    columns = nasty_rows(forest, rows, seed)
    scores = lane.score_forest(device.prepare_forest(forest), columns)
    assert scores.shape == (rows, forest.outputs)
    assert np.ascontiguousarray(scores).tobytes() == forest_numpy.score(forest, columns).tobytes()


@contextlib.contextmanager
def nearly_full(calls: CudaCalls, spare: int) -> Iterator[None]:
    """Hold all memory of the card but about `spare` bytes for as long as the block runs."""
    blocks = [calls.allocate(max(spare, 1))]
    try:
        for size in (1024 * MIB, 64 * MIB, 2 * MIB):
            with contextlib.suppress(OutOfDeviceMemory):
                while True:
                    blocks.append(calls.allocate(size))
        blocks.pop(0).free()
        yield
    finally:
        for block in blocks:
            block.free()


@pytest.mark.parametrize("float32", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 127, 129, 250_000])
def test_a_lane_scores_as_numpy_does(calls: CudaCalls, tmp_path: Path, rows: int, *, float32: bool) -> None:
    """Any number of rows to the last bit, in order; 250,000 are many chunks of a lane of 2 MiB."""
    device = CudaDevice(calls, 8 * MIB, 2, tmp_path)
    device.warm_up()
    lane = device.open_lane()
    assert lane.arena == 2 * MIB
    assert_scores(lane, device, random_forest(3, strict=True, float32=float32, width=1), rows)
    assert lane.take_notes() == []


def test_the_shape_measured_first_gives_the_same_bits_ever_after(calls: CudaCalls, tmp_path: Path) -> None:
    """Small calls, large ones and small ones again, with whatever kernel the card is found to like."""
    device = CudaDevice(calls, 512 * MIB, 1, tmp_path)
    lane = device.open_lane()
    for seed, rows in enumerate((50, 3_000, 100_000, 50, 100_000)):
        assert_scores(lane, device, FOREST, rows, seed)
    assert (tmp_path / "shapes.json").exists()


def test_lanes_of_all_classes_score_at_once(calls: CudaCalls, tmp_path: Path) -> None:
    """Eight threads with a lane each, of three priorities and on two models, do not disturb each other."""
    device = CudaDevice(calls, 256 * MIB, 8, tmp_path)
    wide = random_forest(4, strict=False, float32=False, width=3, trees=30)
    forests = [FOREST, wide]
    prepared = [device.prepare_forest(forest) for forest in forests]
    classes = list(Priority)
    ready = threading.Barrier(8)
    found: dict[tuple[int, int], bytes] = {}
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            lane = device.open_lane()
            ready.wait(60)
            for turn in range(6):
                lane.priority = classes[(number + turn) % len(classes)]
                model = (number + turn) % 2
                columns = nasty_rows(forests[model], 20_000 + number, number)
                scores = lane.score_forest(prepared[model], columns)
                found[number, model] = np.ascontiguousarray(scores).tobytes()
        except BaseException as error:  # noqa: BLE001  # told below, by the thread that may fail the test
            ready.abort()
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(found) == 16
    for (number, model), scores in found.items():
        columns = nasty_rows(forests[model], 20_000 + number, number)
        assert scores == forest_numpy.score(forests[model], columns).tobytes()


# -- too little memory ---------------------------------------------------------------------------------


def test_lanes_give_way_to_a_model_within_the_budget(calls: CudaCalls, tmp_path: Path) -> None:
    """A small --gpu-memory: the model takes half of the lane's, the lane says so, and both go on."""
    device = CudaDevice(calls, 5 * MIB, 1, tmp_path)
    lane = device.open_lane()
    before = lane.arena
    large = perfect_tree(17)
    assert_scores(lane, device, large, 20_000)
    assert lane.arena < before
    assert_scores(lane, device, FOREST, 20_000)
    (note,) = lane.take_notes()
    assert f"{calls.name} ran out of memory" in note


def test_a_model_beyond_the_budget_is_refused_and_nothing_else(calls: CudaCalls, tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED; the card and its lanes go on."""
    device = CudaDevice(calls, 3 * MIB, 1, tmp_path)
    lane = device.open_lane()
    with pytest.raises(ScorestreamError) as caught:
        device.prepare_forest(perfect_tree(18))
    assert caught.value.code is ErrorCode.RESOURCE_EXHAUSTED
    assert_scores(lane, device, FOREST, 1000)


def test_more_memory_than_the_card_has_is_an_error_of_its_own_kind(calls: CudaCalls) -> None:
    """It is told apart from a broken card, and the card goes on."""
    _, total = calls.memory()
    with pytest.raises(OutOfDeviceMemory):
        calls.allocate(2 * total)
    block = calls.allocate(MIB)
    block.free()


def test_a_card_that_others_fill_serves_smaller_lanes(calls: CudaCalls, tmp_path: Path) -> None:
    """A lane opens with what there is, an open one goes on, and a model gets its room from the lanes."""
    device = CudaDevice(calls, 1024 * MIB, 1, tmp_path)
    prepared = device.prepare_forest(FOREST)
    columns = nasty_rows(FOREST, 100_000, 5)
    expected = forest_numpy.score(FOREST, columns).tobytes()
    large = perfect_tree(20)
    first = device.open_lane()
    assert first.arena == LARGEST_ARENA

    def assert_lane(lane: CudaLane) -> None:
        assert np.ascontiguousarray(lane.score_forest(prepared, columns)).tobytes() == expected

    assert_lane(first)  # CUDA loads the kernels' code when they first run
    with nearly_full(calls, LARGEST_ARENA // 4):
        second = device.open_lane()
        assert second.arena < LARGEST_ARENA
        assert_lane(second)
    with nearly_full(calls, 0):
        assert_lane(first)
        assert first.arena == LARGEST_ARENA
        assert_scores(first, device, large, 1000)
        assert first.arena < LARGEST_ARENA
        assert f"{calls.name} ran out of memory" in first.take_notes()[0]
    for lane in (first, second):
        assert_lane(lane)
