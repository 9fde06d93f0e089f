"""Forests of random shape, and rows that are hard to score."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import Floats, ForestArrays, PostProcessor


def random_forest(
    seed: int,
    *,
    strict: bool,
    float32: bool,
    width: int,
    trees: int = 7,
    most_splits: int = 40,
    lightgbm: bool = False,
    features: int = 5,
    chains: bool = False,
) -> ForestArrays:
    """Return a forest of random shape, its last feature a category; with ``chains`` each tree is as deep as can be."""
    rng = np.random.default_rng(seed)
    left: list[int] = []
    right: list[int] = []
    starts = [0]
    for _ in range(trees):
        root = len(left)
        leaves = [root]
        left.append(-1)
        right.append(-1)
        for _split in range(rng.integers(0, most_splits)):
            node = leaves.pop(-1 if chains else int(rng.integers(len(leaves))))
            left[node], right[node] = len(left), len(left) + 1
            leaves += [len(left), len(left) + 1]
            left += [-1, -1]
            right += [-1, -1]
        starts.append(len(left))
    nodes = len(left)
    inner = np.array(left) >= 0
    feature = np.where(inner, rng.integers(0, features, nodes), 0)
    categorical = inner & (feature == features - 1)
    threshold = rng.choice(
        [-1e300, -2.5, -1e-40, -0.0, 0.0, 5e-324, 1e-35, 0.5, 1.0, 3.0, 1e30, np.inf], nodes
    )
    threshold = np.where(rng.random(nodes) < 0.5, threshold, rng.standard_normal(nodes))
    sets = [
        np.unique(rng.integers(0, 600, rng.integers(0, 9))) if asked else np.zeros(0) for asked in categorical
    ]
    floats = np.float32 if float32 else np.float64
    with np.errstate(over="ignore"):
        threshold = threshold.astype(floats)
    outputs = width if width > 1 else 3
    return ForestArrays(
        num_features=features,
        classes=(outputs,),
        tree_starts=np.array(starts, np.int64),
        left=np.array(left, np.int32),
        right=np.array(right, np.int32),
        feature=feature.astype(np.int32),
        threshold=threshold,
        narrow=np.full(features, float32),
        default_left=rng.random(nodes) < 0.5,
        categorical=categorical,
        category_starts=np.cumsum([0, *(len(part) for part in sets)]).astype(np.int64),
        categories=np.concatenate([*sets, np.zeros(0)]).astype(np.uint32),
        leaves=rng.standard_normal((nodes, width)).astype(floats),
        tree_output=np.zeros(trees, np.int32) if width > 1 else (np.arange(trees) % outputs).astype(np.int32),
        output_step=np.ones(trees, np.int32),
        base_scores=rng.standard_normal(outputs),
        average=bool(rng.integers(2)),
        strict=strict,
        fractions_above_minus_one=lightgbm,
        postprocessor=PostProcessor.IDENTITY_MULTICLASS,
        sigmoid_alpha=1.0,
        ratio_c=1.0,
        covers=_covers(left, right, rng),
    )


def _covers(left: list[int], right: list[int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return covers that add up; no training row came to some leaves."""
    covers = rng.integers(0, 30, len(left)).astype(np.float64)
    for node in range(len(left) - 1, -1, -1):
        if left[node] >= 0:
            covers[node] = covers[left[node]] + covers[right[node]]
    return covers


def perfect_tree(depth: int) -> ForestArrays:
    """Return one tree with 2 to the ``depth`` leaves over 5 features, none of them a category."""
    place = np.arange(2 ** (depth + 1) - 1)
    inner = place < 2**depth - 1
    rng = np.random.default_rng(depth)
    return dataclasses.replace(
        random_forest(depth, strict=True, float32=True, width=1, trees=1),
        tree_starts=np.array([0, len(place)], np.int64),
        left=np.where(inner, 2 * place + 1, -1).astype(np.int32),
        right=np.where(inner, 2 * place + 2, -1).astype(np.int32),
        feature=np.where(inner, rng.integers(0, 5, len(place)), 0).astype(np.int32),
        threshold=np.round(rng.standard_normal(len(place)), 1).astype(np.float32),
        default_left=rng.random(len(place)) < 0.5,
        categorical=np.zeros(len(place), np.bool_),
        category_starts=np.zeros(len(place) + 1, np.int64),
        categories=np.zeros(0, np.uint32),
        leaves=rng.standard_normal((len(place), 1)).astype(np.float32),
        covers=2.0 ** (depth - np.floor(np.log2(place + 1))),
    )


def nasty_rows(forest: ForestArrays, rows: int, seed: int) -> list[Floats]:
    """Return values that equal thresholds, lie next to them, and are no ordinary numbers."""
    rng = np.random.default_rng(seed)
    dtype = forest.threshold.dtype.type
    known = np.unique(forest.threshold)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-45, -1e-45, 1e-310], np.float64)
    with np.errstate(over="ignore", under="ignore"):
        pool = np.concatenate(
            [
                known,
                np.nextafter(known, dtype(np.inf)),
                np.nextafter(known, dtype(-np.inf)),
                odd.astype(dtype),
            ]
        )
    columns = [rng.choice(pool, rows) for _ in range(forest.num_features - 1)]
    codes = np.array(
        [np.nan, -1.0, -0.5, -0.0, 0.5, 599.0, 600.0, 2.0**24, 2.0**31, 2.0**33, 1e30, np.inf, -np.inf]
    )
    categories = np.where(rng.random(rows) < 0.3, rng.choice(codes, rows), rng.integers(0, 601, rows))
    return [np.ascontiguousarray(column, dtype) for column in [*columns, categories]]
