"""scikit-learn models, read through treelite, with scikit-learn's own predictions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.ensemble as sk
import treelite
from numpy.typing import NDArray

from parity.cases import ROWS, Case, arrow, binary, case, classes, counts, rows, score_names, target
from scorestream_server.domain.model import ModelKind


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
