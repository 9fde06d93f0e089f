"""Models that the parity tests train, each with rows to score and its library's own predictions for them.

Every case is made anew from fixed seeds. Where a library takes float64 and narrows it, so do we.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import sklearn.ensemble as sk
import treelite
import xgboost as xgb
from numpy.typing import NDArray

from scorestream_server.domain.model import ModelKind

ROWS, FEATURES = 700, 9
Expected = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """One trained model, rows, and what the library says about them."""

    path: Path
    kind: ModelKind
    columns: list[pa.Array]
    expected: Expected
    tolerance: float


CASES: dict[str, Callable[[Path], Case]] = {}


def case(name: str) -> Callable[[Callable[[Path], Case]], Callable[[Path], Case]]:
    def add(make: Callable[[Path], Case]) -> Callable[[Path], Case]:
        CASES[name] = make
        return make

    return add


def rows(
    count: int = ROWS, features: int = FEATURES, *, missing: float = 0.0, seed: int = 1
) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, features)).astype(np.float32)
    values[:, 1] = np.round(values[:, 1] * 3)  # many values equal to thresholds
    if missing:
        values[rng.random(values.shape) < missing] = np.nan
    return values


def target(values: NDArray[Any], seed: int = 2) -> NDArray[np.float64]:
    filled = np.nan_to_num(values.astype(np.float64), nan=0.4)
    noise = np.random.default_rng(seed).standard_normal(len(values)) * 0.3
    return filled[:, 0] + np.sin(filled[:, 1] * 2) + filled[:, 2] * filled[:, 3] + noise


def classes(values: NDArray[Any], count: int) -> NDArray[np.int64]:
    order = np.argsort(np.argsort(target(values)))
    return (order * count // len(order)).astype(np.int64)


def arrow(values: NDArray[Any]) -> list[pa.Array]:
    return [pa.array(np.ascontiguousarray(column), from_pandas=True) for column in values.T]


def score_names(scores: NDArray[Any], *, label: bool = False) -> Expected:
    if scores.ndim == 1:
        return {"score": scores}
    named: Expected = {f"score_{place}": scores[:, place] for place in range(scores.shape[1])}
    if label:
        named["label"] = np.argmax(scores, axis=1)
    return named


def xgboost_case(
    folder: Path,
    params: dict[str, Any],
    values: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    rounds: int = 12,
    ending: str = "ubj",
    label: bool = False,
    **data: Any,
) -> Case:
    matrix = xgb.DMatrix(values, labels, **data)
    booster = xgb.train({"max_depth": 4, "eta": 0.4, "seed": 3, "nthread": 1, **params}, matrix, rounds)
    path = folder / f"model.{ending}"
    booster.save_model(path)
    kind = ModelKind.XGBOOST_JSON if ending == "json" else ModelKind.XGBOOST_UBJ
    expected = booster.predict(xgb.DMatrix(values))
    return Case(path, kind, arrow(values), score_names(expected, label=label), 1e-5)


def add_xgboost(
    name: str, params: dict[str, Any], labels: Callable[[NDArray[Any]], NDArray[Any]], **more: Any
) -> None:
    missing = more.pop("missing", 0.0)

    @case(f"xgboost {name}")
    def make(folder: Path) -> Case:
        values = rows(missing=missing)
        return xgboost_case(folder, params, values, labels(values), **more)


def positive(values: NDArray[Any]) -> NDArray[Any]:
    return np.exp(target(values) / 3)


def binary(values: NDArray[Any]) -> NDArray[Any]:
    return classes(values, 2)


def counts(values: NDArray[Any]) -> NDArray[Any]:
    return np.round(positive(values))


add_xgboost("squared error", {"objective": "reg:squarederror"}, target)
add_xgboost("squared error in json", {"objective": "reg:squarederror"}, target, ending="json")
add_xgboost("missing values", {"objective": "reg:squarederror"}, target, missing=0.3)
add_xgboost("missing values, deep", {"objective": "reg:squarederror", "max_depth": 9}, target, missing=0.2)
add_xgboost("squared log error", {"objective": "reg:squaredlogerror"}, positive)
add_xgboost("pseudo huber", {"objective": "reg:pseudohubererror"}, target)
add_xgboost("absolute error", {"objective": "reg:absoluteerror"}, target)
add_xgboost("quantiles", {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]}, target)
add_xgboost("gamma", {"objective": "reg:gamma"}, positive)
add_xgboost("tweedie", {"objective": "reg:tweedie"}, positive)
add_xgboost("poisson", {"objective": "count:poisson"}, counts)
add_xgboost("reg logistic", {"objective": "reg:logistic"}, binary)
add_xgboost("binary logistic", {"objective": "binary:logistic"}, binary, missing=0.1)
add_xgboost("binary logitraw", {"objective": "binary:logitraw"}, binary)
add_xgboost("binary hinge", {"objective": "binary:hinge"}, binary)
add_xgboost("cox", {"objective": "survival:cox"}, positive)
add_xgboost("softprob", {"objective": "multi:softprob", "num_class": 4}, lambda v: classes(v, 4), label=True)
add_xgboost("pairwise rank", {"objective": "rank:pairwise"}, lambda v: classes(v, 3), group=[350, 350])
add_xgboost("ndcg rank", {"objective": "rank:ndcg"}, lambda v: classes(v, 3), group=[350, 350])
add_xgboost("map rank", {"objective": "rank:map"}, binary, group=[350, 350])
add_xgboost("dart", {"booster": "dart", "rate_drop": 0.4, "objective": "reg:squarederror"}, target)
add_xgboost("stumps", {"max_depth": 1, "objective": "reg:squarederror"}, target, rounds=40)
add_xgboost("one leaf", {"gamma": 1e9, "objective": "reg:squarederror"}, target, rounds=3)
add_xgboost("depth 8", {"max_depth": 8, "objective": "reg:squarederror"}, target, rounds=30)
add_xgboost(
    "exact, depth 13", {"max_depth": 13, "tree_method": "exact", "min_child_weight": 0}, target, rounds=5
)
add_xgboost(
    "lossguide", {"grow_policy": "lossguide", "max_depth": 0, "max_leaves": 40, "tree_method": "hist"}, target
)
add_xgboost(
    "random forest",
    {"num_parallel_tree": 20, "subsample": 0.5, "eta": 1.0, "colsample_bynode": 0.5},
    target,
    rounds=1,
)
add_xgboost(
    "boosted random forest",
    {"num_parallel_tree": 5, "subsample": 0.5, "objective": "binary:logistic"},
    binary,
    rounds=4,
)
add_xgboost("pruned trees", {"tree_method": "exact", "gamma": 2.0, "max_depth": 7}, target, missing=0.1)


@case("xgboost softmax")
def _softmax(folder: Path) -> Case:
    values = rows()
    made = xgboost_case(folder, {"objective": "multi:softmax", "num_class": 5}, values, classes(values, 5))
    return Case(made.path, made.kind, made.columns, {"label": made.expected["score"]}, 0)


@case("xgboost aft")
def _aft(folder: Path) -> Case:
    values = rows()
    bounds = positive(values)
    return xgboost_case(
        folder,
        {"objective": "survival:aft"},
        values,
        bounds,
        label_lower_bound=bounds,
        label_upper_bound=bounds * 1.5,
    )


@case("xgboost several targets")
def _targets(folder: Path) -> Case:
    values = rows()
    return xgboost_case(
        folder, {}, values, np.column_stack([target(values), target(values, 9), values[:, 0]])
    )


@case("xgboost multi-output trees")
def _vector_leaves(folder: Path) -> Case:
    values = rows()
    params = {"multi_strategy": "multi_output_tree", "tree_method": "hist"}
    return xgboost_case(
        folder, params, values, np.column_stack([target(values), target(values, 9), values[:, 0]])
    )


@case("xgboost multi-output trees, classes")
def _vector_classes(folder: Path) -> Case:
    values = rows(missing=0.1)
    params = {"multi_strategy": "multi_output_tree", "objective": "multi:softprob", "num_class": 3}
    return xgboost_case(folder, params, values, classes(values, 3), label=True)


@case("xgboost many features")
def _wide(folder: Path) -> Case:
    values = rows(300, 700)
    return xgboost_case(folder, {"max_depth": 6, "colsample_bynode": 0.1}, values, target(values), rounds=60)


@case("xgboost integer codes as categories")
def _codes(folder: Path) -> Case:
    rng = np.random.default_rng(4)
    values = rows()
    values[:, 2] = rng.integers(0, 70, ROWS)
    values[:, 5] = rng.integers(0, 3, ROWS)
    kinds = ["c" if place in (2, 5) else "q" for place in range(FEATURES)]
    labels = target(values) + (values[:, 2] % 7) + values[:, 5] * 2
    matrix = xgb.DMatrix(values, labels, feature_types=kinds, enable_categorical=True)
    booster = xgb.train({"max_depth": 5, "max_cat_to_onehot": 4, "nthread": 1}, matrix, 15)
    path = folder / "model.json"
    booster.save_model(path)
    fresh = values.copy()
    fresh[:8, 2] = [np.nan, -1, 70, 1e6, 2**24, 3.7, -0.5, 1e9]
    expected = booster.inplace_predict(fresh)
    return Case(path, ModelKind.XGBOOST_JSON, arrow(fresh), score_names(expected), 1e-5)


def category_frame() -> tuple[pd.DataFrame, NDArray[Any]]:
    rng = np.random.default_rng(5)
    values = rows(missing=0.05)
    frame = pd.DataFrame(values, columns=[f"f{place}" for place in range(FEATURES)])
    names = np.array(["amber", "blue", "cyan", "dun", "ecru", "fawn", "grey", "hazel"])
    text, number = rng.integers(0, len(names), ROWS), rng.integers(0, 4, ROWS)
    frame["f2"] = pd.Categorical(
        pd.Series(names[text]).where(rng.random(ROWS) >= 0.1), categories=sorted(names)
    )
    frame["f5"] = pd.Categorical(np.array([10, 20, 35, 50])[number])
    labels = target(values[:, [0, 1, 3, 4]]) + (text % 3) * 1.5 + (number % 2)
    return frame, labels


def frame_columns(frame: pd.DataFrame) -> list[pa.Array]:
    return [pa.array(frame[name], from_pandas=True) for name in frame.columns]


@case("xgboost pandas categories")
def _xgboost_categories(folder: Path) -> Case:
    frame, labels = category_frame()
    matrix = xgb.DMatrix(frame, labels, enable_categorical=True)
    booster = xgb.train({"max_depth": 5, "max_cat_to_onehot": 2, "nthread": 1}, matrix, 15)
    path = folder / "model.ubj"
    booster.save_model(path)
    fresh = frame.assign(f2=frame["f2"].cat.reorder_categories(frame["f2"].cat.categories[::-1]))
    expected = booster.predict(xgb.DMatrix(fresh, enable_categorical=True))
    return Case(path, ModelKind.XGBOOST_UBJ, frame_columns(fresh), score_names(expected), 1e-5)


def lightgbm_case(
    folder: Path,
    params: dict[str, Any],
    values: Any,
    labels: NDArray[Any],
    *,
    rounds: int = 12,
    fresh: Any = None,
    label: bool = False,
    group: Sequence[int] | None = None,
    categorical: Any = "auto",
) -> Case:
    settings = {"num_leaves": 15, "verbose": -1, "min_data_in_leaf": 3, "num_threads": 1, "seed": 3, **params}
    booster = lgb.train(
        settings, lgb.Dataset(values, labels, group=group, categorical_feature=categorical), rounds
    )
    path = folder / "model.txt"
    booster.save_model(path)
    scored = values if fresh is None else fresh
    expected = np.asarray(booster.predict(scored))
    columns = frame_columns(scored) if isinstance(scored, pd.DataFrame) else arrow(scored)
    return Case(path, ModelKind.LIGHTGBM, columns, score_names(expected, label=label), 1e-9)


def add_lightgbm(
    name: str, params: dict[str, Any], labels: Callable[[NDArray[Any]], NDArray[Any]], **more: Any
) -> None:
    missing = more.pop("missing", 0.0)

    @case(f"lightgbm {name}")
    def make(folder: Path) -> Case:
        values = rows(missing=missing).astype(np.float64)
        values[:, 0] += np.random.default_rng(6).standard_normal(ROWS) * 1e-9  # not float32 values
        return lightgbm_case(folder, params, values, labels(values), **more)


add_lightgbm("regression", {"objective": "regression"}, target)
add_lightgbm("missing values", {"objective": "regression"}, target, missing=0.3)
add_lightgbm("missing not used", {"objective": "regression", "use_missing": False}, target, missing=0.2)
add_lightgbm("regression l1", {"objective": "regression_l1"}, target)
add_lightgbm("huber", {"objective": "huber"}, target)
add_lightgbm("fair", {"objective": "fair"}, target)
add_lightgbm("quantile", {"objective": "quantile", "alpha": 0.8}, target)
add_lightgbm("mape", {"objective": "mape"}, positive)
add_lightgbm("square root", {"objective": "regression", "reg_sqrt": True}, target)
add_lightgbm("poisson", {"objective": "poisson"}, counts)
add_lightgbm("gamma", {"objective": "gamma"}, positive)
add_lightgbm("tweedie", {"objective": "tweedie"}, positive)
add_lightgbm("binary", {"objective": "binary", "sigmoid": 0.7}, binary, missing=0.1)
add_lightgbm("cross entropy", {"objective": "cross_entropy"}, lambda v: classes(v, 11) / 10.0)
add_lightgbm("cross entropy lambda", {"objective": "cross_entropy_lambda"}, lambda v: classes(v, 11) / 10.0)
add_lightgbm("multi-class", {"objective": "multiclass", "num_class": 4}, lambda v: classes(v, 4), label=True)
add_lightgbm(
    "one against all",
    {"objective": "multiclassova", "num_class": 3, "sigmoid": 1.5},
    lambda v: classes(v, 3),
    label=True,
)
add_lightgbm("lambdarank", {"objective": "lambdarank"}, lambda v: classes(v, 4), group=[300, 400])
add_lightgbm("xendcg", {"objective": "rank_xendcg"}, lambda v: classes(v, 4), group=[300, 400])
add_lightgbm("dart", {"boosting": "dart", "drop_rate": 0.5}, target, rounds=20)
add_lightgbm("random forest", {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}, target)
add_lightgbm(
    "random forest classes",
    {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1, "objective": "multiclass", "num_class": 3},
    lambda v: classes(v, 3),
    label=True,
)
add_lightgbm("63 leaves", {"num_leaves": 63}, target, rounds=40, missing=0.05)
add_lightgbm("600 leaves", {"num_leaves": 600, "min_data_in_leaf": 1, "max_bin": 1000}, target, rounds=5)
add_lightgbm("constant", {"objective": "regression"}, lambda v: np.full(len(v), 3.5))


@case("lightgbm tiny values")
def _tiny(folder: Path) -> Case:
    """LightGBM takes what is no larger than 1e-35 for 0; thresholds lie on both sides of it."""
    rng = np.random.default_rng(7)
    zero = float(np.float32(1e-35))
    scale = np.array([0.0, 1e-35, zero, np.nextafter(zero, 1), 5e-36, 2e-35, 1e-40, 5e-324, 1e-30])
    values = scale[rng.integers(0, len(scale), (ROWS, 3))] * rng.choice([-1, 1], (ROWS, 3))
    labels = (values[:, 0] > 0) * 2.0 + (values[:, 1] < 0) + (values[:, 2] > 1e-33)
    return lightgbm_case(folder, {"min_data_in_bin": 1, "zero_as_missing": False}, values, labels)


@case("lightgbm integer codes as categories")
def _lightgbm_codes(folder: Path) -> Case:
    rng = np.random.default_rng(8)
    values = rows().astype(np.float64)
    values[:, 2] = rng.integers(0, 300, ROWS)
    labels = target(values[:, [0, 1, 3, 4]]) + (values[:, 2] % 7)
    fresh = values.copy()
    fresh[:8, 2] = [np.nan, -1, 300, 1e6, 2**31, 3.7, -0.5, 1e20]
    params = {"min_data_per_group": 1, "cat_smooth": 0.1, "max_bin": 1000}
    return lightgbm_case(folder, params, values, labels, fresh=fresh, categorical=[2])


@case("lightgbm pandas categories")
def _lightgbm_categories(folder: Path) -> Case:
    frame, labels = category_frame()
    fresh = frame.copy()
    fresh["f2"] = pd.Categorical(
        np.where(np.arange(ROWS) % 11 == 0, "unheard of", frame["f2"].astype(object))
    )
    params = {"min_data_per_group": 1, "cat_smooth": 0.1}
    return lightgbm_case(folder, params, frame, labels, fresh=fresh)


def sklearn_case(
    folder: Path, model: Any, values: NDArray[Any], labels: Any, *, predict: str = "predict", **more: Any
) -> Case:
    model.fit(values, labels)
    path = folder / "model.tl"
    treelite.sklearn.import_model(model).serialize(path)
    expected = np.asarray(getattr(model, predict)(values))
    if predict == "predict_proba" and expected.shape[1] == 2:
        expected = expected[:, 1]
    if predict == "score_samples":
        expected = -expected
    return Case(path, ModelKind.TREELITE, arrow(values), score_names(expected, **more), 1e-9)


def add_sklearn(name: str, model: Any, labels: Callable[[NDArray[Any]], Any], **more: Any) -> None:
    missing = more.pop("missing", 0.0)

    @case(f"scikit-learn {name}")
    def make(folder: Path) -> Case:
        values = rows(missing=missing).astype(np.float64)
        values[:, 0] += np.random.default_rng(6).standard_normal(ROWS) * 1e-3
        return sklearn_case(folder, model, values, labels(values), **more)


add_sklearn("random forest", sk.RandomForestRegressor(15, random_state=1), target)
add_sklearn("random forest, missing", sk.RandomForestRegressor(15, random_state=1), target, missing=0.2)
add_sklearn("random forest, depth 14", sk.RandomForestRegressor(5, max_depth=14, random_state=1), target)
add_sklearn("binary forest", sk.RandomForestClassifier(15, random_state=1), binary, predict="predict_proba")
add_sklearn(
    "forest of classes",
    sk.RandomForestClassifier(15, random_state=1),
    lambda v: classes(v, 4),
    predict="predict_proba",
    label=True,
)
add_sklearn(
    "forest of targets",
    sk.RandomForestRegressor(10, random_state=1),
    lambda v: np.column_stack([target(v), v[:, 2]]),
)
add_sklearn("extra trees", sk.ExtraTreesRegressor(15, random_state=1), target)
add_sklearn(
    "extra trees classes", sk.ExtraTreesClassifier(9, random_state=1), binary, predict="predict_proba"
)
add_sklearn("gradient boosting", sk.GradientBoostingRegressor(n_estimators=30, random_state=1), target)
add_sklearn(
    "gradient boosting binary",
    sk.GradientBoostingClassifier(n_estimators=20, random_state=1),
    binary,
    predict="predict_proba",
)
add_sklearn(
    "gradient boosting classes",
    sk.GradientBoostingClassifier(n_estimators=10, random_state=1),
    lambda v: classes(v, 3),
    predict="predict_proba",
    label=True,
)
add_sklearn(
    "histogram boosting", sk.HistGradientBoostingRegressor(max_iter=20, random_state=1), target, missing=0.1
)
add_sklearn(
    "histogram boosting binary",
    sk.HistGradientBoostingClassifier(max_iter=10, random_state=1),
    binary,
    predict="predict_proba",
)
add_sklearn(
    "histogram boosting classes",
    sk.HistGradientBoostingClassifier(max_iter=8, random_state=1),
    lambda v: classes(v, 3),
    predict="predict_proba",
    label=True,
)
add_sklearn(
    "histogram boosting poisson", sk.HistGradientBoostingRegressor(loss="poisson", max_iter=10), counts
)
add_sklearn(
    "isolation forest",
    sk.IsolationForest(n_estimators=20, random_state=1),
    lambda v: np.zeros(len(v)),
    predict="score_samples",
)


@case("scikit-learn histogram boosting categories")
def _hist_categories(folder: Path) -> Case:
    values = rows(missing=0.05).astype(np.float64)
    values[:, 2] = np.random.default_rng(8).integers(0, 40, ROWS)
    labels = target(values[:, [0, 1, 3, 4]]) + (values[:, 2] % 7)
    model = sk.HistGradientBoostingRegressor(max_iter=15, categorical_features=[2], random_state=1)
    made = sklearn_case(folder, model, values, labels)
    fresh = values.copy()
    fresh[:5, 2] = [np.nan, 40, 200, 41, 0]
    return Case(made.path, made.kind, arrow(fresh), score_names(model.predict(fresh)), 1e-9)
