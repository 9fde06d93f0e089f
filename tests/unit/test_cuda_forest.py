"""Forests are laid out for the CUDA kernels in the variant that suits them, or refused with a reason."""

import dataclasses

import numpy as np
import pytest

from parity.random_forests import perfect_tree, random_forest
from scorestream_server.device import cuda_forest
from scorestream_server.device.cuda_compile import all_programs
from scorestream_server.device.cuda_forest import CudaForest, Unfit, pack_cuda
from scorestream_server.device.cuda_launch import largest_staged_block, staged_bytes, stride_of, walk_launch
from scorestream_server.device.forest_arrays import ForestArrays


def packed(forest: ForestArrays) -> CudaForest:
    made = pack_cuda(forest)
    assert isinstance(made, CudaForest)
    return made


def of_one_feature(thresholds: int) -> ForestArrays:
    forest = random_forest(5, strict=True, float32=False, width=1, trees=60, most_splits=60)
    values = np.random.default_rng(1).integers(0, thresholds, len(forest.left))
    return dataclasses.replace(
        forest,
        feature=np.zeros_like(forest.feature),
        categorical=np.zeros_like(forest.categorical),
        default_left=np.zeros_like(forest.default_left),
        threshold=values.astype(np.float64),
    )


@pytest.mark.parametrize(
    ("forest", "cell", "node"),
    [
        (of_one_feature(250), np.uint8, np.uint32),
        (of_one_feature(400), np.uint8, np.uint32),
        (of_one_feature(5000), np.uint16, np.uint64),
        (perfect_tree(17), np.uint8, np.uint64),
    ],
    ids=["few thresholds", "two bytes are no more than a word", "many thresholds", "a wide tree"],
)
def test_the_variant_is_the_one_that_reads_the_fewest_bytes(
    forest: ForestArrays, cell: type[np.unsignedinteger], node: type[np.unsignedinteger]
) -> None:
    made = packed(forest)
    assert (made.cell, made.node) == (np.dtype(cell), np.dtype(node))
    assert made.leaf == forest.leaves.dtype
    assert set(made.programs()) <= set(all_programs())


def test_trees_of_one_value_a_leaf_are_ordered_by_output_and_then_as_in_the_forest() -> None:
    forest = random_forest(1, strict=True, float32=True, width=1, trees=8)
    arrays = packed(forest).arrays
    np.testing.assert_array_equal(arrays.output_starts, [0, 3, 6, 8])
    np.testing.assert_array_equal(arrays.trees[:, 2], [0, 0, 0, 1, 1, 1, 2, 2])
    assert all((np.diff(arrays.trees[start : start + 2, 0]) > 0).all() for start in (0, 1, 3, 4, 6))


def test_a_forest_that_the_kernels_cannot_take_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forest = random_forest(1, strict=True, float32=True, width=2, trees=2)
    crossed = dataclasses.replace(
        forest,
        classes=(3,),
        base_scores=np.zeros(3),
        tree_output=np.array([0, 1], np.int32),
        output_step=np.array([1, 1], np.int32),
    )
    assert pack_cuda(crossed) == Unfit("its trees add different values of their leaves to one output")
    monkeypatch.setattr("scorestream_server.device.walk_pack.MOST_COLUMNS", 3)
    monkeypatch.setattr(cuda_forest, "MOST_COLUMNS", 3)
    assert pack_cuda(forest) == Unfit("its splits need more than 3 quantised columns")


def test_what_is_passed_in_is_not_changed_and_nothing_of_it_is_kept() -> None:
    forest = random_forest(1, strict=True, float32=True, width=2)
    made = packed(forest)
    for name in ("leaves", "base_scores"):
        assert not np.shares_memory(getattr(made.arrays, name), getattr(forest, name))


def test_a_block_is_as_large_as_shared_memory_allows() -> None:
    forest = packed(random_forest(1, strict=True, float32=True, width=1))
    a_warp = staged_bytes(forest, 32)
    assert a_warp == forest.columns * 128
    assert [largest_staged_block(forest, a_warp * warps, 256) for warps in (1, 3, 100)] == [32, 96, 256]
    assert largest_staged_block(forest, a_warp - 1) == 0
    leaves_only = packed(random_forest(1, strict=True, float32=True, width=1, most_splits=1))
    assert (leaves_only.columns, largest_staged_block(leaves_only, 0, 128)) == (0, 128)


@pytest.mark.parametrize("rows", [1, 128, 129, 1000])
def test_a_launch_covers_every_row(rows: int) -> None:
    forest = packed(random_forest(1, strict=True, float32=True, width=1))
    stride = stride_of(rows)
    assert stride % 128 == 0 <= stride - rows < 128
    cells, sums = np.zeros((forest.columns, stride), np.uint8), np.zeros((3, stride), np.float32)
    launch = walk_launch(forest, forest.arrays, cells, sums, block=64, staged=True)
    assert launch.grid[0] * launch.block * 4 >= stride > (launch.grid[0] - 1) * launch.block * 4
    assert launch.shared_bytes == staged_bytes(forest, 64)
