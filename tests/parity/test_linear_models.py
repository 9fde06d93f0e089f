"""Linear XGBoost models have XGBoost's own scores and contributions, whatever the rows and the partitioning."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity.cases import FEATURES, ROWS, arrow, binary, classes, counts, positive, rows, target
from scorestream_server.device.cpu import CpuDevice
from scorestream_server.scoring import linear
from scorestream_server.scoring.linear import LinearScorer
from scorestream_server.scoring.load import detect_kind, load_scorer
from scorestream_server.scoring.reasons import WantedReasons, feature_names

DEVICE = CpuDevice()
LANE = DEVICE.open_lane()
VALUES = rows(missing=0.2)
VALUES[np.random.default_rng(4).random(VALUES.shape) < 0.1] = 0
LABELS: dict[str, NDArray[Any]] = {
    "reg:squarederror": target(VALUES),
    "reg:squaredlogerror": positive(VALUES),
    "reg:pseudohubererror": target(VALUES),
    "reg:absoluteerror": target(VALUES),
    "reg:quantileerror": target(VALUES),
    "reg:gamma": positive(VALUES),
    "reg:tweedie": positive(VALUES),
    "count:poisson": counts(VALUES),
    "survival:cox": positive(VALUES),
    "reg:logistic": binary(VALUES),
    "binary:logistic": binary(VALUES),
    "binary:logitraw": binary(VALUES),
    "binary:hinge": binary(VALUES),
    "multi:softprob": classes(VALUES, 4),
    "multi:softmax": classes(VALUES, 4),
    "rank:pairwise": classes(VALUES, 3),
    "rank:ndcg": classes(VALUES, 3),
    "rank:map": binary(VALUES),
}
PARAMS: dict[str, dict[str, Any]] = {
    "reg:quantileerror": {"quantile_alpha": [0.1, 0.5, 0.9]},
    "multi:softprob": {"num_class": 4},
    "multi:softmax": {"num_class": 4},
}


def trained(objective: str, **params: Any) -> xgb.Booster:
    labels = params.pop("labels", LABELS[objective])
    group = {"group": [ROWS // 2, ROWS // 2]} if objective.startswith("rank") else {}
    given = {"booster": "gblinear", "objective": objective, "seed": 3, "nthread": 1, "verbosity": 0}
    return xgb.train(given | PARAMS.get(objective, {}) | params, xgb.DMatrix(VALUES, labels, **group), 8)


def scorer_of(booster: xgb.Booster, folder: Path, ending: str = "ubj") -> LinearScorer:
    path = folder / f"model.{ending}"
    booster.save_model(path)
    scorer = load_scorer(path, detect_kind(path), DEVICE)
    assert isinstance(scorer, LinearScorer)
    return scorer


def scores_of(scorer: LinearScorer, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    scored = scorer.score(arrow(values), LANE)
    return {
        column.name: array.to_numpy() for column, array in zip(scorer.schema.outputs, scored, strict=True)
    }


def contributions_of(scorer: LinearScorer, values: NDArray[Any], reasons: int) -> list[pa.Array]:
    columns = arrow(values)
    names = pa.array(feature_names(scorer.schema), pa.string())
    return scorer.explain(columns, scorer.score(columns, LANE), LANE, WantedReasons(reasons, names))


@pytest.mark.parametrize("updater", ["shotgun", "coord_descent"])
@pytest.mark.parametrize("objective", LABELS)
def test_scores_equal_the_librarys_predictions(objective: str, updater: str, tmp_path: Path) -> None:
    """To float32's last digits, and without a link function to the bit."""
    booster = trained(objective, updater=updater)
    found = scores_of(scorer_of(booster, tmp_path), VALUES)
    expected = booster.predict(xgb.DMatrix(VALUES))
    if objective == "multi:softmax":
        np.testing.assert_array_equal(found["label"], expected)
        return
    if "label" in found:
        np.testing.assert_array_equal(found.pop("label"), expected.argmax(axis=1))
    scores = np.stack(list(found.values()), axis=1).reshape(expected.shape)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=2e-6)
    assert len(np.unique(scores)) > (1 if objective == "binary:hinge" else ROWS // 2)
    if np.array_equal(expected, booster.predict(xgb.DMatrix(VALUES), output_margin=True)):
        np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("base_score", [0.03, 0.5, 0.9])
@pytest.mark.parametrize(
    "objective", ["reg:squarederror", "binary:logistic", "count:poisson", "multi:softprob"]
)
def test_margins_begin_with_the_base_score(objective: str, base_score: float, tmp_path: Path) -> None:
    """Which is a score, not a margin; and it is where a row without any value has its score from, beside the bias."""
    booster = trained(objective, base_score=base_score)
    empty = np.full((1, FEATURES), np.nan, np.float32)
    found = scores_of(scorer_of(booster, tmp_path), empty)
    found.pop("label", None)
    np.testing.assert_allclose(
        np.concatenate(list(found.values())), booster.predict(xgb.DMatrix(empty)).ravel(), rtol=1e-6
    )


def test_several_targets_have_a_score_each_and_no_reasons(tmp_path: Path) -> None:
    booster = trained("reg:squarederror", labels=np.stack([target(VALUES), positive(VALUES)], axis=1))
    scorer = scorer_of(booster, tmp_path, "json")
    found = scores_of(scorer, VALUES)
    assert list(found) == ["score_0", "score_1"]
    np.testing.assert_array_equal(
        np.stack(list(found.values()), axis=1), booster.predict(xgb.DMatrix(VALUES))
    )
    assert "2 targets" in scorer.schema.unexplained


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic", "reg:gamma", "multi:softprob"])
def test_contributions_are_those_of_the_library(objective: str, tmp_path: Path) -> None:
    """Weights times values, largest first, and the bias with the base margin; of several classes those of the label."""
    booster = trained(objective)
    scorer = scorer_of(booster, tmp_path)
    found = contributions_of(scorer, VALUES, FEATURES)
    expected = booster.predict(xgb.DMatrix(VALUES), pred_contribs=True)
    if objective == "multi:softprob":
        label = scores_of(scorer, VALUES)["label"]
        assert len(np.unique(label)) == 4
        expected = expected[np.arange(ROWS), label]
    mine = np.zeros_like(expected)
    sizes = np.abs(np.stack([found[2 * place + 1].to_numpy() for place in range(FEATURES)]))
    assert np.all(np.diff(sizes, axis=0) <= 0)
    for place in range(FEATURES):
        which = [int(name.removeprefix("f")) for name in found[2 * place].to_pylist()]
        mine[np.arange(ROWS), which] = found[2 * place + 1]
    np.testing.assert_array_equal(mine[:, :-1], expected[:, :-1])
    np.testing.assert_allclose(found[-1], expected[:, -1], rtol=1e-6)
    first_two = contributions_of(scorer, VALUES, 2)
    assert first_two == [*found[:4], found[-1]]


@pytest.fixture(scope="module", params=["multi:softprob", "binary:logistic"])
def scorer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LinearScorer:
    """A trained model of many outputs, and one of one."""
    params = {"num_class": 11, "labels": classes(VALUES, 11)} if request.param == "multi:softprob" else {}
    return scorer_of(trained(request.param, **params), tmp_path_factory.mktemp("linear"))


@given(cuts=st.lists(st.integers(0, ROWS), max_size=4))
def test_a_row_has_the_same_bits_in_any_batch(scorer: LinearScorer, cuts: list[int]) -> None:
    """Also alone, and wherever a batch is cut for the cache."""
    whole = [*scorer.score(arrow(VALUES), LANE), *contributions_of(scorer, VALUES, 3)]
    places = sorted({0, 1, *cuts, ROWS})
    for start, end in itertools.pairwise(places):
        part = VALUES[start:end]
        for mine, expected in zip(
            [*scorer.score(arrow(part), LANE), *contributions_of(scorer, part, 3)], whole, strict=True
        ):
            assert mine == expected.slice(start, end - start)


def test_blocks_are_of_no_consequence(scorer: LinearScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [*scorer.score(arrow(VALUES), LANE), *contributions_of(scorer, VALUES, 3)]
    for name, value in (("_BLOCK", 100), ("_FEWEST_ROWS", 7), ("_MOST_CONTRIBUTIONS", 50)):
        monkeypatch.setattr(linear, name, value)
    assert [*scorer.score(arrow(VALUES), LANE), *contributions_of(scorer, VALUES, 3)] == whole
    assert [len(column) for column in scorer.score(arrow(VALUES[:0]), LANE)] == [0] * len(
        scorer.schema.outputs
    )


@pytest.mark.parametrize("kind", [pa.uint64(), pa.float64(), pa.int8(), pa.bool_(), pa.null()])
def test_columns_of_any_number_are_taken_as_float32(kind: pa.DataType, tmp_path: Path) -> None:
    """As XGBoost takes them, up to the largest uint64."""
    booster = trained("reg:squarederror")
    column = pa.array(
        [0, 1, None, 2**64 - 1 if kind == pa.uint64() else 1], pa.uint64() if kind == pa.uint64() else None
    )
    column = pa.nulls(4) if pa.types.is_null(kind) else column.cast(kind)
    values = np.full((4, FEATURES), 0.5, np.float32)
    values[:, 0] = [np.nan if value is None else value for value in column.to_pylist()]
    found = scorer_of(booster, tmp_path).score([column, *arrow(values)[1:]], LANE)
    np.testing.assert_array_equal(found[0], booster.predict(xgb.DMatrix(values)))
