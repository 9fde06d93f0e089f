"""How fast are the forest kernels, on one thread, against the libraries that people score with today?

Rows times trees a second, over float32 columns in memory, from Arrow arrays to Arrow arrays on our side: column
conversion, quantisation and the link function are in the measured time. Every peer gets the layout that it
likes best, and is measured in turns with ours, so that a busy machine slows both; the ratio is the median of the
turns' ratios.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import treelite
import xgboost as xgb
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import RandomForestRegressor

from onnx_forest import onnx_regressor
from scorestream_server.device.cpu import CpuDevice
from scorestream_server.domain.model import ModelKind
from scorestream_server.scoring.forest import load_forest
from scorestream_server.scoring.load import load_scorer

TRAINING_ROWS = 20_000
Scored = Callable[[NDArray[np.float32]], object]


@dataclass(frozen=True)
class Ensemble:
    """One trained model, and who else scores it."""

    name: str
    trees: int
    features: int
    path: Path
    kind: ModelKind
    peers: dict[str, Scored]
    slow_peers: dict[str, Scored]


def data(rows: int, features: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(11)
    values = rng.standard_normal((rows, features), np.float32)
    noise = rng.standard_normal(rows, np.float32) * np.float32(0.3)
    labels = values[:, 0] * values[:, 1] + np.sin(values[:, 2] * 3) + values[:, 3] + noise
    return values, labels.astype(np.float32)


def xgboost_ensemble(folder: Path, trees: int, depth: int, features: int) -> Ensemble:
    values, labels = data(TRAINING_ROWS, features)
    booster = xgb.train({"max_depth": depth, "eta": 0.1, "nthread": 1}, xgb.DMatrix(values, labels), trees)
    path = folder / f"xgboost_{trees}_{depth}.ubj"
    booster.save_model(path)
    booster.set_param({"nthread": 1})

    def predict(rows: NDArray[np.float32]) -> object:
        # A DMatrix remembers its predictions, so each turn needs a new one.
        return booster.predict(xgb.DMatrix(rows, nthread=1))

    peers: dict[str, Scored] = {
        "XGBoost inplace_predict": booster.inplace_predict,
        "XGBoost predict": predict,
    }
    name = f"XGBoost {trees} x depth {depth}"
    return Ensemble(
        name, trees, features, path, ModelKind.XGBOOST_UBJ, peers, gtil_and_onnx(path, ModelKind.XGBOOST_UBJ)
    )


def lightgbm_ensemble(folder: Path, trees: int, leaves: int, features: int) -> Ensemble:
    values, labels = data(TRAINING_ROWS, features)
    settings = {"num_leaves": leaves, "verbose": -1, "num_threads": 1, "learning_rate": 0.05}
    booster = lgb.train(settings, lgb.Dataset(values, labels), trees)
    path = folder / "lightgbm.txt"
    booster.save_model(path)
    peers: dict[str, Scored] = {"LightGBM": lambda rows: booster.predict(rows, num_threads=1)}
    name = f"LightGBM {trees} x {leaves} leaves"
    return Ensemble(
        name, trees, features, path, ModelKind.LIGHTGBM, peers, gtil_and_onnx(path, ModelKind.LIGHTGBM)
    )


def forest_ensemble(folder: Path, trees: int, depth: int, features: int) -> Ensemble:
    values, labels = data(TRAINING_ROWS, features)
    model = RandomForestRegressor(trees, max_depth=depth, max_features=0.3, random_state=1, n_jobs=-1).fit(
        values, labels
    )
    model.set_params(n_jobs=1)
    path = folder / "forest.tl"
    treelite.sklearn.import_model(model).serialize(path)
    peers: dict[str, Scored] = {"scikit-learn": model.predict}
    name = f"Random forest {trees} x depth {depth}"
    return Ensemble(
        name, trees, features, path, ModelKind.TREELITE, peers, gtil_and_onnx(path, ModelKind.TREELITE)
    )


def gtil_and_onnx(path: Path, kind: ModelKind) -> dict[str, Scored]:
    if kind is ModelKind.XGBOOST_UBJ:
        model = treelite.frontend.load_xgboost_model(path, format_choice="ubjson")
    elif kind is ModelKind.LIGHTGBM:
        model = treelite.frontend.load_lightgbm_model(path)
    else:
        model = treelite.Model.deserialize(path)
    wide = kind is not ModelKind.XGBOOST_UBJ
    forest, _ = load_forest(path, kind)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(onnx_regressor(forest), options, providers=["CPUExecutionProvider"])
    return {
        "ONNX Runtime": lambda rows: session.run(None, {"x": rows}),
        "treelite GTIL": lambda rows: treelite.gtil.predict(
            model, rows.astype(np.float64) if wide else rows, nthread=1
        ),
    }


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(ensemble: Ensemble, rows: int, turns: int) -> dict[str, Any]:
    device = CpuDevice()
    lane = device.open_lane()
    scorer = load_scorer(ensemble.path, ensemble.kind, device)
    values, _ = data(rows, ensemble.features)
    columns = [pa.array(np.ascontiguousarray(column)) for column in values.T]
    few = [column.slice(0, rows // 10) for column in columns]
    scorer.score(few, lane)
    ours: list[float] = []
    peers: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    for peer, score in {**ensemble.peers, **ensemble.slow_peers}.items():
        part = values if peer in ensemble.peers else values[: rows // 10]
        theirs = np.asarray(score(part)).reshape(-1)
        mine = scorer.score([column.slice(0, len(part)) for column in columns], lane)[0].to_numpy()
        assert np.isclose(theirs, mine, rtol=1e-4, atol=1e-4).mean() > 0.999, peer
        for _ in range(turns):
            mine_took = seconds(lambda: scorer.score(columns, lane)) / rows
            took = seconds(lambda part=part, score=score: score(part)) / len(part)  # type: ignore[misc]  # bound now
            ours.append(mine_took)
            peers.setdefault(peer, []).append(took)
            ratios.setdefault(peer, []).append(took / mine_took)
    return {
        "ensemble": ensemble.name,
        "features": ensemble.features,
        "million_rows_trees_a_second": {
            "scorestream": round(ensemble.trees / statistics.median(ours) / 1e6, 1),
            **{
                peer: round(ensemble.trees / statistics.median(times) / 1e6, 1)
                for peer, times in peers.items()
            },
        },
        "ratio": {peer: round(statistics.median(values_), 2) for peer, values_ in ratios.items()},
    }


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ensembles = [
            xgboost_ensemble(folder, 100, 6, 28),
            xgboost_ensemble(folder, 500, 8, 50),
            xgboost_ensemble(folder, 1000, 4, 28),
            lightgbm_ensemble(folder, 300, 63, 28),
            forest_ensemble(folder, 100, 14, 28),
        ]
        results = [measure(ensemble, options.rows, options.turns) for ensemble in ensembles]
    table = Table(
        "ensemble",
        "scorestream",
        "peer",
        "peer's",
        "ratio",
        title="million rows x trees a second, one thread",
    )
    for result in results:
        speeds = result["million_rows_trees_a_second"]
        for peer, ratio in result["ratio"].items():
            table.add_row(
                result["ensemble"], f"{speeds['scorestream']}", peer, f"{speeds[peer]}", f"{ratio:.1f}x"
            )
    Console().print(table)
    if options.json:
        report = {
            "cpu": cpu_name(),
            "date": datetime.now(UTC).date().isoformat(),
            "rows": options.rows,
            "results": results,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
