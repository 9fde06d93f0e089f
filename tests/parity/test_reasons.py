"""Reason codes are exact Shapley values: by their definition, and by XGBoost's and LightGBM's own word."""

import dataclasses
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pytest
import xgboost as xgb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity import shapley
from parity.forest_models import CASES, Case
from parity.random_forests import nasty_rows, random_forest
from scorestream_server.device import forest_numpy
from scorestream_server.device.base import Reasons
from scorestream_server.device.cpu import CpuDevice
from scorestream_server.device.forest_arrays import Floats, ForestArrays
from scorestream_server.device.rank_pack import BLOCK
from scorestream_server.device.reason_pack import MOST_LEVELS, Unexplained
from scorestream_server.domain.model import MOST_REASONS
from scorestream_server.scoring.base import Scorer
from scorestream_server.scoring.load import load_scorer
from scorestream_server.scoring.reasons import WantedReasons, feature_names

DEVICE = CpuDevice()
LANE = DEVICE.open_lane()
TOLERANCE = 1e-11


def wanted(reasons: int, scorer: Scorer) -> WantedReasons:
    return WantedReasons(reasons, pa.array(feature_names(scorer.schema), pa.string()))


def found(forest: ForestArrays, columns: list[Floats], output: int, reasons: int = 5) -> Reasons:
    return LANE.explain_forest(DEVICE.prepare_reasons(forest), columns, output=output, reasons=reasons)


def by_feature(reasons: Reasons, features: int) -> NDArray[np.float64]:
    """Return contributions, shape ``(rows, features)``."""
    result = np.zeros((features, reasons.features.shape[1]))
    np.put_along_axis(result, reasons.features.astype(np.int64), reasons.contributions, 0)
    return result.T


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    strict=st.booleans(),
    float32=st.booleans(),
    lightgbm=st.booleans(),
    width=st.sampled_from([1, 2]),
    rows=st.sampled_from([1, 7, BLOCK, BLOCK + 1]),
    most_splits=st.sampled_from([1, 2, 30]),
)
def test_contributions_are_those_of_the_weights_of_subsets_for_any_forest_and_value(
    seed: int, *, strict: bool, float32: bool, lightgbm: bool, width: int, rows: int, most_splits: int
) -> None:
    """Missing values, categories, repeated features, averages, leaves of several values, covers of 0."""
    forest = random_forest(
        seed, strict=strict, float32=float32, width=width, most_splits=most_splits, lightgbm=lightgbm
    )
    columns = nasty_rows(forest, rows, seed)
    output = seed % forest.outputs
    reasons = found(forest, columns, output)
    mine = by_feature(reasons, forest.num_features)
    np.testing.assert_allclose(mine, shapley.contributions(forest, columns, output), atol=TOLERANCE)
    np.testing.assert_allclose(reasons.bias, shapley.bias(forest, output), atol=TOLERANCE)
    raw = dataclasses.replace(forest, leaves=forest.leaves.astype(np.float64))
    margins = forest_numpy.score(raw, columns)[:, output]  # its link function is none
    np.testing.assert_allclose(mine.sum(axis=1) + reasons.bias, margins, atol=TOLERANCE)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), width=st.sampled_from([1, 2]))
def test_contributions_are_shapley_values_by_their_definition(seed: int, *, width: int) -> None:
    forest = random_forest(seed, strict=True, float32=True, width=width, trees=3, most_splits=8)
    columns = nasty_rows(forest, 3, seed)
    mine = by_feature(found(forest, columns, 0), forest.num_features)
    for row in range(3):
        np.testing.assert_allclose(mine[row], shapley.by_definition(forest, columns, row, 0), atol=TOLERANCE)


def test_a_path_of_very_many_features_is_exact() -> None:
    """Forty features on a path need twenty points, where sums of subsets have long lost their digits."""
    forest = random_forest(
        3, strict=True, float32=True, width=1, trees=4, most_splits=60, features=60, chains=True
    )
    columns = nasty_rows(forest, 40, 3)
    packed = DEVICE.prepare_reasons(forest).packed
    assert packed.points > 15
    np.testing.assert_allclose(
        by_feature(found(forest, columns, 0, 60), 60),
        shapley.contributions(forest, columns, 0),
        atol=TOLERANCE,
    )


def test_the_largest_come_first_and_equal_ones_in_the_order_of_the_features() -> None:
    forest = random_forest(5, strict=True, float32=True, width=1, trees=9, most_splits=2, features=8)
    forest = dataclasses.replace(
        forest, feature=np.full_like(forest.feature, 3), categorical=np.zeros_like(forest.categorical)
    )
    reasons = found(forest, nasty_rows(forest, 50, 5), 0, 8)
    moved = reasons.contributions[0] != 0
    assert moved.any()
    assert np.all(reasons.features[0][moved] == 3)
    assert np.all(reasons.contributions[1:] == 0)
    assert np.all(reasons.features[:, moved].T == [3, 0, 1, 2, 4, 5, 6, 7])
    assert np.all(np.arange(8) == reasons.features[:, ~moved].T)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(1, 700), min_size=1, max_size=4))
def test_reasons_do_not_depend_on_the_partition_or_the_lane(seed: int, sizes: list[int]) -> None:
    """To the last bit."""
    forest = random_forest(seed, strict=True, float32=True, width=1, features=9)
    columns = nasty_rows(forest, sum(sizes), seed)
    whole = found(forest, columns, 0, 4)
    start, parts = 0, []
    for size in sizes:
        part = [column[start : start + size] for column in columns]
        prepared = DEVICE.prepare_reasons(forest)
        parts.append(DEVICE.open_lane().explain_forest(prepared, part, output=0, reasons=4))
        start += size
    for place in range(3):
        together = np.concatenate([part[place] for part in parts], axis=-1)
        assert together.tobytes() == np.ascontiguousarray(whole[place]).tobytes()


def library_contributions(case: Case, label: NDArray[np.int32] | None) -> NDArray[np.float64]:
    """Return what the case's own library says, shape ``(rows, features + 1)``; of the class that is the label."""
    values = np.column_stack([column.to_numpy(zero_copy_only=False) for column in case.columns])
    if case.kind.value.startswith("xgboost"):
        booster = xgb.Booster(model_file=case.path)
        names, types = booster.feature_names, booster.feature_types
        data = xgb.DMatrix(values, feature_names=names, feature_types=types, enable_categorical=True)
        result = np.asarray(booster.predict(data, pred_contribs=True), np.float64)
    else:
        model = lgb.Booster(model_file=case.path)
        result = np.asarray(model.predict(values, pred_contrib=True), np.float64)
        if "boosting: rf" in case.path.read_text(encoding="utf-8"):
            result /= model.current_iteration()  # it sums what its scores are the mean of
        result = result.reshape(len(values), -1, values.shape[1] + 1)
    if result.ndim == 3:
        result = result[np.arange(len(values)), 0 if label is None else label]
    return np.asarray(result)


@pytest.mark.parametrize(
    "name",
    [
        "xgboost missing values, deep",
        "xgboost binary logistic",
        "xgboost softprob",
        "xgboost dart",
        "xgboost one leaf",
        "xgboost exact, depth 13",
        "xgboost boosted random forest",
        "xgboost integer codes as categories",
        "lightgbm missing values",
        "lightgbm multi-class",
        "lightgbm dart",
        "lightgbm random forest",
        "lightgbm random forest classes",
        "lightgbm constant",
        "lightgbm integer codes as categories",
    ],
)
def test_contributions_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    """To 1e-5 of the largest; of several classes those of the label; of a forest's mean, the mean of its trees'."""
    case = CASES[name](tmp_path)
    scorer = load_scorer(case.path, case.kind, DEVICE)
    names = [feature.name or f"f{place}" for place, feature in enumerate(scorer.schema.features)]
    scores = scorer.score(case.columns, LANE)
    reasons = scorer.explain(case.columns, scores, LANE, wanted(len(names), scorer))
    label = scores[-1].to_numpy() if len(scores) > 1 else None
    expected = library_contributions(case, label)
    mine = np.zeros_like(expected)
    for place in range(len(names)):
        which = [names.index(reason) for reason in reasons[2 * place].to_pylist()]
        mine[np.arange(len(mine)), which] = reasons[2 * place + 1]
    mine[:, -1] = reasons[-1]
    tolerance = 1e-5 if pa.types.is_float32(reasons[-1].type) else 1e-12
    np.testing.assert_allclose(mine, expected, atol=tolerance * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize(
    "name",
    [
        "scikit-learn random forest, missing",
        "scikit-learn forest of classes",
        "scikit-learn isolation forest",
        "xgboost multi-output trees, classes",
    ],
)
def test_forests_without_contributions_of_their_own_are_explained(name: str, tmp_path: Path) -> None:
    case = CASES[name](tmp_path)
    scorer = load_scorer(case.path, case.kind, DEVICE)
    columns = [column.slice(0, 40) for column in case.columns]
    reasons: list[Any] = scorer.explain(columns, scorer.score(columns, LANE), LANE, wanted(2, scorer))
    assert [len(column) for column in reasons] == [40] * 5
    first, second = (np.abs(reasons[place].to_numpy()) for place in (1, 3))
    assert np.all(first >= second)
    assert first.max() > 0


def test_more_features_than_there_are_splits_still_give_the_largest() -> None:
    forest = random_forest(8, strict=True, float32=True, width=1, trees=3, most_splits=9, features=300)
    columns = nasty_rows(forest, 30, 8)
    reasons = found(forest, columns, 0, MOST_REASONS)
    mine = by_feature(reasons, 300)
    np.testing.assert_allclose(mine, shapley.contributions(forest, columns, 0), atol=TOLERANCE)
    assert all(len(set(row)) == MOST_REASONS for row in reasons.features.T)


def test_forests_that_cannot_be_explained_are_refused_with_the_reason(tmp_path: Path) -> None:
    forest = random_forest(1, strict=True, float32=True, width=1)
    deep = random_forest(
        1, strict=True, float32=True, width=1, trees=1, most_splits=8 * MOST_LEVELS, chains=True
    )
    for wrong, reason in (
        (dataclasses.replace(forest, covers=np.zeros(0)), "sum_hess or data_count"),
        (dataclasses.replace(forest, classes=(1, 1, 1)), "3 targets"),
        (deep, "1,024 levels"),
    ):
        with pytest.raises(Unexplained, match=reason):
            DEVICE.prepare_reasons(wrong)
    case = CASES["xgboost several targets"](tmp_path)
    scorer = load_scorer(case.path, case.kind, DEVICE)
    assert "3 targets" in scorer.schema.unexplained


def test_columns_and_counts_that_the_kernel_could_not_take_are_refused() -> None:
    forest = random_forest(3, strict=True, float32=True, width=1)
    columns = nasty_rows(forest, 20, 3)
    for wrong in (columns[:4], [*columns[:4], columns[4][:10]]):
        with pytest.raises(ValueError, match="column"):
            found(forest, wrong, 0)
    for reasons in (0, 6):
        with pytest.raises(ValueError, match="at least one reason"):
            found(forest, columns, 0, reasons)


def test_warming_up_compiles_the_kernel_for_every_type() -> None:
    from scorestream_server.device.forest_reasons import explain_rows  # noqa: PLC0415 -- looked at, not used

    DEVICE.warm_up()
    before = len(explain_rows.signatures)
    for float32 in (True, False):
        forest = random_forest(3, strict=False, float32=float32, width=2)
        found(forest, nasty_rows(forest, 20, 3), 1)
    assert len(explain_rows.signatures) == before
