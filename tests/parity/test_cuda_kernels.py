"""The CUDA kernels, run on the host, give the bits of the NumPy reference for any forest, value and launch."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cuda_host.forests import HostForests, Poisoned
from cuda_host.harness import compiler
from cuda_host.log import KernelLog
from parity.forest_models import CASES
from parity.kernel_proof import EXTREME_SHAPES, KERNELS, VARIANTS, assert_bits, assert_close, odd_sums
from parity.random_forests import nasty_rows, perfect_tree, random_forest
from scorestream_server.device import forest_numpy
from scorestream_server.device.cuda_compile import RANK_ROWS, rank_program
from scorestream_server.device.cuda_forest import CudaForest, pack_cuda, pack_variant, rank_arrays
from scorestream_server.device.forest_arrays import Floats, ForestArrays, PostProcessor
from scorestream_server.device.forest_ranks import quantise
from scorestream_server.device.plane_pack import pack_planes
from scorestream_server.device.rank_pack import (
    BLOCK,
    CATEGORY,
    CATEGORY_SET,
    THRESHOLD,
    Cells,
    RankTables,
)
from scorestream_server.device.walk_pack import ask
from scorestream_server.domain.model import ModelKind
from scorestream_server.scoring.forest import load_forest

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler (g++ or clang++)")


@pytest.fixture(scope="module")
def host(host_kernels: Path, kernel_log: KernelLog) -> HostForests:
    return HostForests(host_kernels, kernel_log)


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    strict=st.booleans(),
    float32=st.booleans(),
    lightgbm=st.booleans(),
    width=st.sampled_from([1, 2, 5]),
    rows=st.sampled_from([1, 2, 7, 127, 128, 129, 261]),
    trees=st.sampled_from([1, 2, 7, 40]),
    most_splits=st.sampled_from([1, 2, 40, 255]),
    block=st.sampled_from([32, 64, 256]),
)
def test_every_kernel_gives_the_references_bits_for_any_forest_and_value(
    host: HostForests,
    seed: int,
    *,
    strict: bool,
    float32: bool,
    lightgbm: bool,
    width: int,
    rows: int,
    trees: int,
    most_splits: int,
    block: int,
) -> None:
    forest = random_forest(
        seed,
        strict=strict,
        float32=float32,
        width=width,
        trees=trees,
        most_splits=most_splits,
        lightgbm=lightgbm,
    )
    assert assert_bits(host, forest, nasty_rows(forest, rows, seed), block=block) >= 2


@pytest.mark.parametrize("float32", [True, False])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(("shape", "variants"), EXTREME_SHAPES)
def test_extreme_shapes_are_exact(
    host: HostForests, shape: dict[str, Any], variants: int, width: int, *, float32: bool
) -> None:
    forest = random_forest(11, strict=float32, float32=float32, width=width, **shape)
    if shape.get("chains"):
        assert forest.tree_depths().max() > 30
    assert assert_bits(host, forest, nasty_rows(forest, 37, 12), block=64) == variants


def test_four_thousand_trees_with_short_nodes_are_exact(host: HostForests) -> None:
    forest = random_forest(2, strict=True, float32=True, width=1, trees=4000, most_splits=6)
    forest = dataclasses.replace(forest, categorical=np.zeros_like(forest.categorical))
    assert assert_bits(host, forest, nasty_rows(forest, 37, 12)) == len(VARIANTS)


@pytest.mark.parametrize("strict", [True, False])
def test_columns_of_both_widths_and_casts_are_exact(host: HostForests, *, strict: bool) -> None:
    """A float64 column of a feature that is compared as float32 is cast on the device."""
    forest = random_forest(7, strict=strict, float32=False, width=1)
    columns = nasty_rows(forest, 200, 8)
    forest = dataclasses.replace(forest, narrow=np.array([True, False, True, False, False]))
    with np.errstate(over="ignore", under="ignore"):
        columns[1], columns[2] = columns[1].astype(np.float32), columns[2].astype(np.float32)
        assert assert_bits(host, forest, columns) == len(VARIANTS)


def many_thresholds() -> ForestArrays:
    """Return a forest whose one feature has more thresholds than 255 times 4."""
    forest = random_forest(5, strict=True, float32=False, width=1, trees=60, most_splits=60)
    return dataclasses.replace(
        forest,
        feature=np.zeros_like(forest.feature),
        categorical=np.zeros_like(forest.categorical),
        threshold=np.random.default_rng(1).standard_normal(len(forest.left)),
    )


def test_more_thresholds_than_a_byte_tells_apart_are_exact(host: HostForests) -> None:
    forest = many_thresholds()
    packed = pack_variant(forest, np.uint8, np.uint32)
    assert packed is not None
    assert packed.columns > 8
    assert assert_bits(host, forest, nasty_rows(forest, 150, 6)) == len(VARIANTS)


def test_more_thresholds_than_a_word_tells_apart_are_exact(host: HostForests) -> None:
    forest = random_forest(5, strict=False, float32=False, width=1, trees=40, most_splits=8000)
    forest = dataclasses.replace(
        forest,
        feature=np.zeros_like(forest.feature),
        categorical=np.zeros_like(forest.categorical),
        threshold=np.random.default_rng(1).standard_normal(len(forest.left)),
    )
    packed = pack_variant(forest, np.uint16, np.uint64)
    assert packed is not None
    assert packed.columns > 2
    assert assert_bits(host, forest, nasty_rows(forest, 64, 6)) >= 2


def test_a_tree_too_wide_for_short_nodes_is_exact_with_long_ones(host: HostForests) -> None:
    forest = perfect_tree(17)
    assert pack_variant(forest, np.uint8, np.uint32) is None
    assert assert_bits(host, forest, nasty_rows(forest, 64, 6)) == len(VARIANTS) - 1


@pytest.mark.parametrize("width", [1, 2, 40])
def test_the_order_in_which_threads_run_changes_nothing(host: HostForests, width: int) -> None:
    forest = random_forest(9, strict=True, float32=True, width=width, trees=100)
    packed = packed_forest(forest)
    columns = nasty_rows(forest, 20, 9)
    cells = host.cells(packed, columns)
    for kernel in KERNELS:
        forwards = host.sums(packed, cells, 20, kernel)
        assert host.sums(packed, cells, 20, kernel, backwards=True).tobytes() == forwards.tobytes()


def packed_forest(forest: ForestArrays) -> CudaForest:
    packed = pack_cuda(forest)
    assert isinstance(packed, CudaForest)
    return packed


@pytest.mark.parametrize("cell", [np.uint8, np.uint16])
@pytest.mark.parametrize("strict", [True, False])
def test_cells_are_those_of_the_cpu_for_ranks_codes_and_sets(
    host: HostForests, cell: type[Any], *, strict: bool
) -> None:
    """The tables of the plane kernels have codes too, which the walking kernels do without."""
    kinds: set[int] = set()
    for seed in range(4):
        forest = random_forest(seed, strict=strict, float32=False, width=1, trees=30, lightgbm=bool(seed % 2))
        columns = nasty_rows(forest, BLOCK, seed)
        asked = ask(forest, int(np.iinfo(cell).max))
        assert asked is not None
        for tables in (asked.ranks, pack_planes(forest).ranks):
            kinds |= set(tables.column_kind.tolist())
            expected = cells_on_cpu(tables, columns, cell)
            assert cells_on_host(host, tables, columns, cell).tobytes() == expected.tobytes()
    assert kinds == {THRESHOLD, CATEGORY, CATEGORY_SET}


def cells_on_cpu(tables: RankTables, columns: list[Floats], cell: type[Any]) -> NDArray[Any]:
    result = Cells(np.zeros((0, BLOCK), np.uint8), np.zeros((0, BLOCK), np.uint16))
    result = result._replace(
        **{"octets" if cell is np.uint8 else "words": np.zeros((len(tables.column_low), BLOCK), cell)}
    )
    addresses = np.array([column.ctypes.data for column in columns], np.uint64)
    memory = np.zeros(BLOCK), np.zeros(BLOCK, np.int32)
    wide = np.ones(len(columns), np.uint64)
    quantise(tables, addresses, wide, np.uint64(0), np.uint64(BLOCK), *memory, result)
    return result.octets if cell is np.uint8 else result.words


def cells_on_host(
    host: HostForests, tables: RankTables, columns: list[Floats], cell: type[Any]
) -> NDArray[Any]:
    result = Poisoned((len(tables.column_low), BLOCK), cell)
    searches, shapes = rank_arrays(tables, np.zeros(len(columns), np.bool_))
    arguments = (
        np.array([column.ctypes.data for column in columns], np.uint64),
        np.ones(len(columns), np.uint8),
        searches,
        shapes,
        tables.values,
        tables.buckets,
        tables.members,
        np.float64(tables.category_floor),
        np.int32(tables.strict),
        np.int32(BLOCK),
        np.int32(BLOCK),
        result.array,
    )
    grid = (-(-BLOCK // (96 * RANK_ROWS)), len(searches))
    host.module(rank_program(cell)).launch("rank_rows", grid, 96, 0, arguments)
    result.check()
    return result.array


@pytest.mark.parametrize(
    "name",
    [
        "xgboost missing values",
        "xgboost softprob",
        "xgboost gamma",
        "xgboost binary hinge",
        "xgboost several targets",
        "xgboost multi-output trees",
        "xgboost multi-output trees, classes",
        "xgboost integer codes as categories",
        "xgboost many features",
        "lightgbm missing values",
        "lightgbm square root",
        "lightgbm cross entropy lambda",
        "lightgbm one against all",
        "lightgbm 600 leaves",
        "lightgbm constant",
        "lightgbm tiny values",
        "lightgbm integer codes as categories",
        "scikit-learn random forest, missing",
        "scikit-learn forest of classes",
        "scikit-learn forest of targets",
        "scikit-learn isolation forest",
        "scikit-learn histogram boosting classes",
    ],
)
def test_models_of_every_library_are_exact(host: HostForests, name: str, tmp_path: Path) -> None:
    case = CASES[name](tmp_path)
    forest, _ = load_forest(case.path, case.kind)
    columns = [
        np.ascontiguousarray(column.to_numpy(zero_copy_only=False)[:150], forest.threshold.dtype)
        for column in case.columns
    ]
    assert assert_bits(host, forest, columns) >= 1
    packed = packed_forest(forest)
    sums = host.sums(packed, host.cells(packed, columns), 150, "walk_row", block=64)
    assert_close(host.finish(packed, sums.T), forest_numpy.score(forest, columns))


@pytest.mark.parametrize("float32", [True, False])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("kind", PostProcessor)
def test_every_post_processor_is_the_references(
    host: HostForests, kind: PostProcessor, *, average: bool, float32: bool
) -> None:
    forest = random_forest(4, strict=True, float32=float32, width=6)
    rng = np.random.default_rng(3)
    forest = dataclasses.replace(
        forest,
        postprocessor=kind,
        average=average,
        classes=(3, 2),
        base_scores=rng.standard_normal(6),
        sigmoid_alpha=0.7,
        ratio_c=3.3,
    )
    sums = odd_sums(131, 6, forest.leaves.dtype)
    finished = host.finish(packed_forest(forest), sums)
    assert_close(finished, forest_numpy.post_process(forest, sums.copy()))


def test_scores_through_all_three_kernels_are_those_of_the_library(host: HostForests, tmp_path: Path) -> None:
    case = CASES["xgboost softprob"](tmp_path)
    forest, _ = load_forest(case.path, ModelKind.XGBOOST_UBJ)
    packed = packed_forest(forest)
    columns = [np.asarray(column) for column in case.columns]
    rows = len(columns[0])
    sums = host.sums(packed, host.cells(packed, columns), rows, "walk_staged", block=128)
    scores = host.finish(packed, sums.T)
    for output in range(packed.outputs):
        np.testing.assert_allclose(scores[:, output], case.expected[f"score_{output}"], rtol=1e-5)
