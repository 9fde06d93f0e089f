"""XGBoost models, with XGBoost's own predictions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from parity.cases import (
    FEATURES,
    ROWS,
    Case,
    arrow,
    binary,
    case,
    category_frame,
    classes,
    counts,
    frame_columns,
    positive,
    rows,
    score_names,
    target,
)
from scorestream_server.domain.model import ModelKind


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
