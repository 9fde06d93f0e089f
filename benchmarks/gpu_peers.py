"""Who else scores on a card: each returns rows a second over rows that lie in the card's memory, or why it cannot."""

import functools
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOT_INSTALLED = "not installed"
_WIDTH = 256
_LAYOUTS = ("depth_first", "breadth_first", "layered")


def xgboost_rate(path: Path, values: NDArray[np.float32], expected: NDArray[Any], runs: int) -> float | str:
    """Measure XGBoost's own GPU predictor, `inplace_predict`."""
    if path.suffix != ".ubj":
        return "another library's model"
    import cupy  # noqa: PLC0415  # there is a card, so it is there
    import xgboost  # noqa: PLC0415  # it trained the model

    if not xgboost.build_info().get("USE_CUDA"):
        return f"{NOT_INSTALLED} (this XGBoost has no GPU part)"
    booster = xgboost.Booster(model_file=path)
    booster.set_param({"device": "cuda"})
    rows = cupy.asarray(values)
    _agree("XGBoost", cupy.asnumpy(booster.inplace_predict(rows)), expected)
    return _rate(lambda: booster.inplace_predict(rows), cupy.cuda.Device().synchronize, len(values), runs)


def nvforest_rate(path: Path, values: NDArray[np.float32], expected: NDArray[Any], runs: int) -> float | str:
    """Measure nvForest in the layout that it likes best."""
    if importlib.util.find_spec("nvforest") is None:
        return NOT_INSTALLED
    import cupy  # noqa: PLC0415  # as above
    import nvforest  # noqa: PLC0415  # not everywhere

    kind = "xgboost_ubj" if path.suffix == ".ubj" else "lightgbm"
    rows = cupy.asarray(values)
    rates = []
    for layout in _LAYOUTS:
        model = nvforest.load_model(path, model_type=kind, device="gpu", layout=layout)
        _agree("nvForest", cupy.asnumpy(cupy.asarray(model.predict(rows))), expected)
        predict = functools.partial(model.predict, rows)
        rates.append(_rate(predict, cupy.cuda.Device().synchronize, len(values), runs))
    return max(rates)


def dense_rate(values: NDArray[np.float32], runs: int) -> float | str:
    """Measure a dense network over the same rows in PyTorch: 28, 256, 256 and 1 units, ReLU, float32 throughout.

    It is no forest and gives no such scores: it says what a card does with as many rows in matrix products.
    """
    if importlib.util.find_spec("torch") is None:
        return NOT_INSTALLED
    import torch  # noqa: PLC0415  # not everywhere

    if not torch.cuda.is_available():
        return f"{NOT_INSTALLED} (this PyTorch has no GPU part)"
    torch.backends.cuda.matmul.allow_tf32 = False
    network = torch.nn.Sequential(
        torch.nn.Linear(values.shape[1], _WIDTH),
        torch.nn.ReLU(),
        torch.nn.Linear(_WIDTH, _WIDTH),
        torch.nn.ReLU(),
        torch.nn.Linear(_WIDTH, 1),
    ).cuda()
    rows = torch.from_numpy(values).cuda()
    with torch.inference_mode():
        return _rate(lambda: network(rows), torch.cuda.synchronize, len(values), runs)


def _agree(peer: str, theirs: NDArray[Any], ours: NDArray[Any]) -> None:
    close = np.isclose(theirs.reshape(-1)[: len(ours)], ours, rtol=1e-4, atol=1e-4).mean()
    assert close > 0.999, f"{peer} gives other scores: {close:.4f} agree"


def _rate(work: Callable[[], object], finish: Callable[[], object], rows: int, runs: int) -> float:
    def seconds() -> float:
        start = time.perf_counter()
        work()
        finish()
        return time.perf_counter() - start

    for _ in range(2):
        seconds()
    return rows / statistics.median(seconds() for _ in range(runs))
