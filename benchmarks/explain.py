"""How many rows a second get their reasons, against the contributions of the library that trained the model?

All features' contributions on both sides, from columns in memory, on all cores: lanes here, threads there. Each peer is
measured in turns with ours, so that a busy machine slows both; the ratio is the median of the turns' ratios.
"""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import xgboost as xgb

from harness import FEATURES, arguments, lightgbm_file, save, show, training_rows, xgboost_file
from scorestream_server.device.cpu import CpuDevice
from scorestream_server.domain.model import ModelKind
from scorestream_server.scoring.load import load_scorer
from scorestream_server.scoring.reasons import WantedReasons, feature_names

CORES = len(os.sched_getaffinity(0))
TREES = 500


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(name: str, path: Path, kind: ModelKind, rows: int, peer_rows: int, turns: int) -> dict[str, Any]:
    device = CpuDevice()
    scorer = load_scorer(path, kind, device)
    values = np.tile(training_rows()[0], (rows // 40_000 + 1, 1))[:rows]
    if kind is ModelKind.XGBOOST_UBJ:
        booster = xgb.Booster({"nthread": CORES}, model_file=path)
        names = booster.feature_names

        def theirs() -> Any:
            data = xgb.DMatrix(values[:peer_rows], feature_names=names, nthread=CORES)
            return booster.predict(data, pred_contribs=True)

    else:
        model = lgb.Booster(model_file=path)

        def theirs() -> Any:
            return model.predict(values[:peer_rows], pred_contrib=True, num_threads=CORES)

    columns = [pa.array(np.ascontiguousarray(column)) for column in values.T]
    parts = [
        [column.slice(rows * core // CORES, rows // CORES) for column in columns] for core in range(CORES)
    ]
    lanes = [device.open_lane() for _ in parts]

    wanted = WantedReasons(FEATURES, pa.array(feature_names(scorer.schema), pa.string()))

    def explain(part: list[pa.Array], lane: Any) -> list[pa.Array]:
        return scorer.explain(part, scorer.score(part, lane), lane, wanted)

    with ThreadPoolExecutor(CORES) as pool:

        def ours() -> Any:
            return list(pool.map(explain, parts, lanes))

        few = [column.slice(0, peer_rows) for column in columns]
        check(explain(few, lanes[0]), np.asarray(theirs()))
        ours()
        mine, peer, ratios = [], [], []
        for _ in range(turns):
            mine.append(seconds(ours) / rows)
            peer.append(seconds(theirs) / peer_rows)
            ratios.append(peer[-1] / mine[-1])
    return {
        "model": name,
        "peer": "XGBoost pred_contribs" if kind is ModelKind.XGBOOST_UBJ else "LightGBM pred_contrib",
        "rows_a_second": round(1 / statistics.median(mine)),
        "peer_rows_a_second": round(1 / statistics.median(peer)),
        "ratio": round(statistics.median(ratios), 1),
        "ratios": [round(ratio, 1) for ratio in ratios],
    }


def check(columns: list[pa.Array], expected: Any) -> None:
    """Assert that both sides say the same."""
    found = np.zeros((len(expected), FEATURES))
    for place in range(FEATURES):
        which = [int(name[1:]) for name in columns[2 * place].to_pylist()]
        found[np.arange(len(found)), which] = columns[2 * place + 1]
    np.testing.assert_allclose(found, expected[:, :-1], atol=1e-5 * max(1.0, np.abs(expected).max()))


def main() -> None:
    options = arguments(__doc__ or "", rows=16_384, turns=5)
    results = []
    for depth, peer_rows in ((6, 400), (8, 150)):
        path = xgboost_file(TREES, depth)
        name = f"XGBoost, {TREES} trees of depth {depth}"
        results.append(measure(name, path, ModelKind.XGBOOST_UBJ, options.rows, peer_rows, options.turns))
    for leaves, peer_rows in ((31, 400), (255, 40)):
        path = lightgbm_file(TREES, leaves)
        name = f"LightGBM, {TREES} trees of {leaves} leaves"
        rows = options.rows if leaves == 31 else options.rows // 4
        results.append(measure(name, path, ModelKind.LIGHTGBM, rows, peer_rows, options.turns))
    rows_shown = [
        (result["model"], result["rows_a_second"], result["peer_rows_a_second"], result["ratio"])
        for result in results
    ]
    title = f"Rows explained a second, all {FEATURES} features, {CORES} cores"
    show(title, ("model", "scorestream", "the library", "ratio"), rows_shown)
    save(options.json, results, xgboost=xgb.__version__, lightgbm=lgb.__version__)


if __name__ == "__main__":
    main()
