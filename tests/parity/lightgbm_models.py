"""LightGBM models, with LightGBM's own predictions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parity.cases import (
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
