"""The compiled kernels and the NumPy reference give the same bits, whatever the values and the partitioning."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity.forest_models import CASES, Case, arrow
from parity.random_forests import nasty_rows, random_forest
from scorestream_server.device import forest_numpy
from scorestream_server.device.cpu import CpuDevice, CpuForest
from scorestream_server.device.forest_arrays import Floats, ForestArrays, structure_faults
from scorestream_server.device.plane_pack import PackedPlanes, fits_planes, pack_planes
from scorestream_server.device.rank_pack import BLOCK
from scorestream_server.device.walk_pack import PackedWalk, pack_walk
from scorestream_server.domain.model import ModelKind
from scorestream_server.scoring.forest import load_forest
from scorestream_server.scoring.load import load_scorer

DEVICE = CpuDevice()
LANE = DEVICE.open_lane()


def scored(forest: ForestArrays, packed: PackedPlanes | PackedWalk | None, columns: list[Floats]) -> Floats:
    return np.asarray(LANE.score_forest(CpuForest(forest, packed), columns))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    strict=st.booleans(),
    float32=st.booleans(),
    lightgbm=st.booleans(),
    width=st.sampled_from([1, 2]),
    rows=st.sampled_from([1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5]),
    most_splits=st.sampled_from([2, 40, 255]),
)
def test_kernels_give_the_references_bits_for_any_forest_and_value(
    seed: int, *, strict: bool, float32: bool, lightgbm: bool, width: int, rows: int, most_splits: int
) -> None:
    forest = random_forest(
        seed, strict=strict, float32=float32, width=width, most_splits=most_splits, lightgbm=lightgbm
    )
    assert structure_faults(forest) == []
    columns = nasty_rows(forest, rows, seed)
    expected = forest_numpy.score(forest, columns)
    assert fits_planes(forest)
    np.testing.assert_array_equal(scored(forest, pack_planes(forest), columns), expected)
    np.testing.assert_array_equal(scored(forest, pack_walk(forest), columns), expected)


def test_a_column_of_more_thresholds_than_a_byte_or_a_word_holds_is_exact() -> None:
    forest = random_forest(5, strict=True, float32=False, width=1, trees=2500, most_splits=60)
    forest = dataclasses.replace(
        forest, feature=np.zeros_like(forest.feature), categorical=np.zeros_like(forest.categorical)
    )
    forest = dataclasses.replace(forest, threshold=np.random.default_rng(1).standard_normal(len(forest.left)))
    columns = nasty_rows(forest, 300, 6)
    planes, walk = pack_planes(forest), pack_walk(forest)
    assert walk is not None
    assert len(planes.ranks.column_low) > 4
    assert len(planes.model.group_trees) > 2, "several groups of trees"
    assert len(walk.ranks.column_low) > 2, "more than one column a direction"
    expected = forest_numpy.score(forest, columns)
    np.testing.assert_array_equal(scored(forest, planes, columns), expected)
    np.testing.assert_array_equal(scored(forest, walk, columns), expected)


def test_columns_of_both_widths_may_be_mixed() -> None:
    forest = random_forest(7, strict=False, float32=False, width=1)
    columns = nasty_rows(forest, 900, 8)
    with np.errstate(over="ignore", under="ignore"):
        columns[1], columns[4] = columns[1].astype(np.float32), columns[4].astype(np.float32)
    expected = forest_numpy.score(forest, columns)
    np.testing.assert_array_equal(scored(forest, pack_planes(forest), columns), expected)
    np.testing.assert_array_equal(scored(forest, pack_walk(forest), columns), expected)


@pytest.mark.parametrize(
    "name", ["xgboost missing values", "xgboost softprob", "lightgbm 63 leaves", "lightgbm 600 leaves"]
)
def test_a_score_does_not_depend_on_the_partition_or_the_lane(name: str, tmp_path: Path) -> None:
    case = CASES[name](tmp_path)
    scorer = load_scorer(case.path, case.kind, DEVICE)
    whole = scorer.score(case.columns, LANE)
    rows = len(case.columns[0])
    for size in (1, 3, 64, 511, 512, 513):
        lane = DEVICE.open_lane()
        starts = range(0, rows if size > 1 else 20, size)
        parts = [
            scorer.score([column.slice(start, size) for column in case.columns], lane) for start in starts
        ]
        for output, expected in enumerate(whole):
            together = np.concatenate([part[output].to_numpy() for part in parts])
            np.testing.assert_array_equal(together, expected.to_numpy()[: len(together)])


def test_results_of_one_call_outlive_the_next(tmp_path: Path) -> None:
    case = CASES["xgboost squared error"](tmp_path)
    scorer = load_scorer(case.path, case.kind, DEVICE)
    first = scorer.score(case.columns, LANE)[0]
    kept = first.to_numpy().copy()
    scorer.score([column.slice(100, 300) for column in case.columns], LANE)
    np.testing.assert_array_equal(first.to_numpy(), kept)


def test_no_rows_give_no_scores(tmp_path: Path) -> None:
    case = CASES["xgboost softprob"](tmp_path)
    scorer = load_scorer(case.path, case.kind, DEVICE)
    results = scorer.score([column.slice(0, 0) for column in case.columns], LANE)
    assert [len(values) for values in results] == [0] * len(scorer.schema.outputs)


def big_table(case: Case, rows: int) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(12)
    return [
        column.to_numpy(zero_copy_only=False).astype(np.float32)[rng.integers(0, len(column), rows)]
        for column in case.columns
    ]


def test_a_million_and_three_rows_score_as_the_library_does(tmp_path: Path) -> None:
    import xgboost as xgb  # noqa: PLC0415 -- only this test scores with the library anew

    case = CASES["xgboost missing values"](tmp_path)
    columns = big_table(case, 1_000_003)
    scorer = load_scorer(case.path, case.kind, DEVICE)
    table = np.column_stack(columns)
    result = scorer.score(arrow(table), LANE)[0].to_numpy()
    expected = xgb.Booster(model_file=case.path).inplace_predict(table)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_a_forest_that_no_kernel_fits_is_scored_by_numpy(tmp_path: Path) -> None:
    case = CASES["xgboost squared error"](tmp_path)
    forest, _ = load_forest(case.path, ModelKind.XGBOOST_UBJ)
    columns = [np.asarray(column) for column in case.columns]
    np.testing.assert_array_equal(scored(forest, None, columns), scored(forest, pack_planes(forest), columns))


def test_warming_up_compiles_every_kernel_for_every_type() -> None:
    from scorestream_server.device.forest_planes import score_planes  # noqa: PLC0415 -- looked at, not used
    from scorestream_server.device.forest_walk import score_walk  # noqa: PLC0415 -- looked at, not used

    DEVICE.warm_up()
    before = len(score_planes.signatures), len(score_walk.signatures)
    for float32 in (True, False):
        forest = random_forest(3, strict=False, float32=float32, width=2)
        columns = nasty_rows(forest, 20, 3)
        scored(forest, pack_planes(forest), columns)
        scored(forest, pack_walk(forest), columns)
    assert (len(score_planes.signatures), len(score_walk.signatures)) == before


def test_columns_that_a_kernel_could_not_read_are_refused() -> None:
    forest = random_forest(3, strict=True, float32=True, width=1)
    prepared = DEVICE.prepare_forest(forest)
    columns = nasty_rows(forest, 20, 3)
    for wrong in (columns[:4], [*columns[:4], columns[4][:10]], [*columns[:4], np.zeros(20, np.int64)]):
        with pytest.raises(ValueError, match="column"):
            LANE.score_forest(prepared, wrong)


def test_a_wider_column_is_cast_where_the_model_compares_in_float32() -> None:
    forest = random_forest(3, strict=True, float32=True, width=1)
    columns = nasty_rows(forest, 600, 3)
    expected = forest_numpy.score(forest, columns)
    with np.errstate(under="ignore"):
        wide: list[Floats] = [column.astype(np.float64) * (1 + 1e-12) for column in columns]
    np.testing.assert_array_equal(scored(forest, pack_planes(forest), wide), expected)
