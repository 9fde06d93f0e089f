"""What the models of the parity tests have in common: rows to score, targets to learn, and the list of cases.

Every case is made anew from fixed seeds. Where a library takes float64 and narrows it, so do we.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
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


def positive(values: NDArray[Any]) -> NDArray[Any]:
    return np.exp(target(values) / 3)


def binary(values: NDArray[Any]) -> NDArray[Any]:
    return classes(values, 2)


def counts(values: NDArray[Any]) -> NDArray[Any]:
    return np.round(positive(values))


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
