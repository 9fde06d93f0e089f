"""Forests in plain NumPy: the reference that kernels are tested against, and the fallback where none fits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.base import Columns
from scorestream_server.device.forest_arrays import Floats, ForestArrays, PostProcessor

BLOCK_ROWS = 4096
_NO_CATEGORY = -1
_HIGHEST_CATEGORY = 2**32 - 1


def score(forest: ForestArrays, columns: Columns) -> Floats:
    """Return post-processed scores, shape ``(rows, outputs)``, in the type of the leaves."""
    return post_process(forest, margins(forest, columns))


def margins(forest: ForestArrays, columns: Columns) -> Floats:
    """Return the sums of the leaves that rows fall into, averages and base scores not applied.

    Args:
        forest: a sound forest.
        columns: one float32 or float64 array a feature, NaN where a value is missing.

    Returns:
        Shape ``(rows, outputs)``, in the type of the leaves.
    """
    rows = len(columns[0]) if columns else 0
    sums = np.zeros((rows, forest.outputs), forest.leaves.dtype)
    for start in range(0, rows, BLOCK_ROWS):
        parts = [column[start : start + BLOCK_ROWS] for column in columns]
        narrowed = [
            part.astype(np.float32) if narrow else part
            for part, narrow in zip(parts, forest.narrow, strict=True)
        ]
        _add_block(forest, np.stack(narrowed, axis=1), sums[start : start + BLOCK_ROWS])
    return sums


def _add_block(forest: ForestArrays, values: Floats, sums: Floats) -> None:
    rows = np.arange(len(values))
    missing = np.isnan(values)
    keys = _category_keys(forest)
    for tree in range(forest.trees):
        node = np.full(len(values), forest.tree_starts[tree])
        while True:
            walking = forest.left[node] >= 0
            if not walking.any():
                break
            at, row = node[walking], rows[walking]
            feature = forest.feature[at]
            value = values[row, feature]
            goes_left = value < forest.threshold[at] if forest.strict else value <= forest.threshold[at]
            if forest.categorical[at].any():
                in_set = _in_set(forest, keys, at, value)
                goes_left = np.where(forest.categorical[at], in_set, goes_left)
            goes_left = np.where(missing[row, feature], forest.default_left[at], goes_left)
            node[walking] = np.where(goes_left, forest.left[at], forest.right[at])
        for place in range(forest.leaves.shape[1]):
            sums[:, forest.tree_output[tree] + place * forest.output_step[tree]] += forest.leaves[node, place]


def _category_keys(forest: ForestArrays) -> NDArray[np.uint64]:
    """Return node and category in one sorted number each, so that one search answers for many nodes."""
    node = np.repeat(np.arange(len(forest.left), dtype=np.uint64), np.diff(forest.category_starts))
    return (node << np.uint64(32)) | forest.categories


def _in_set(
    forest: ForestArrays, keys: NDArray[np.uint64], node: NDArray[np.int64], value: Floats
) -> NDArray[np.bool_]:
    code = category_codes(value, fractions_above_minus_one=forest.fractions_above_minus_one)
    key = (node.astype(np.uint64) << np.uint64(32)) | np.maximum(code, 0).astype(np.uint64)
    found = np.searchsorted(keys, key)
    found_key = np.append(keys, np.uint64(0))[found]
    return np.asarray((found < len(keys)) & (found_key == key) & (code != _NO_CATEGORY))


def category_codes(value: Floats, *, fractions_above_minus_one: bool) -> NDArray[np.int64]:
    """Return categories as integers; -1 for what is none (negative, too large, not a number)."""
    lowest = value > -1 if fractions_above_minus_one else value >= 0
    fits = lowest & (value <= _HIGHEST_CATEGORY)
    return np.where(fits, value, _NO_CATEGORY).astype(np.int64)


def post_process(forest: ForestArrays, sums: Floats) -> Floats:
    """Turn sums of leaves into scores: average, base scores, link function. Changes ``sums`` in place.

    Args:
        forest: the forest that the sums come from.
        sums: shape ``(rows, outputs)``, in the type of the leaves, which the result keeps.
    """
    if forest.average:
        sums /= forest.trees_of_output().astype(sums.dtype)
    sums += forest.base_scores.astype(sums.dtype)
    return link(
        forest.postprocessor, sums, forest.classes, sigmoid_alpha=forest.sigmoid_alpha, ratio_c=forest.ratio_c
    )


def link(
    kind: PostProcessor,
    sums: Floats,
    classes: Sequence[int],
    *,
    sigmoid_alpha: float = 1.0,
    ratio_c: float = 1.0,
) -> Floats:
    """Turn margins into scores. Changes ``sums`` in place.

    Args:
        kind: the link function.
        sums: shape ``(rows, outputs)``, in the type that the result keeps.
        classes: see `ForestArrays`.
        sigmoid_alpha: likewise.
        ratio_c: likewise.
    """
    one = sums.dtype.type(1)
    alpha = sums.dtype.type(sigmoid_alpha)
    # An overflow gives the limit that it should: exp(1000) is inf, and 1 / inf is 0.
    with np.errstate(over="ignore", invalid="ignore"):
        match kind:
            case PostProcessor.IDENTITY | PostProcessor.IDENTITY_MULTICLASS:
                pass
            case PostProcessor.SIGNED_SQUARE:
                np.copysign(sums * sums, sums, out=sums)
            case PostProcessor.HINGE:
                np.greater(sums, 0, out=sums, casting="unsafe")
            case PostProcessor.SIGMOID | PostProcessor.MULTICLASS_OVA:
                sums *= -alpha
                np.exp(sums, out=sums)
                sums += one
                np.divide(one, sums, out=sums)
            case PostProcessor.EXPONENTIAL:
                np.exp(sums, out=sums)
            case PostProcessor.EXPONENTIAL_STANDARD_RATIO:
                np.exp2(-sums / sums.dtype.type(ratio_c), out=sums)
            case PostProcessor.LOGARITHM_ONE_PLUS_EXP:
                np.log1p(np.exp(sums), out=sums)
            case PostProcessor.SOFTMAX:
                _softmax(classes, sums)
    return sums


def _softmax(classes: Sequence[int], sums: Floats) -> None:
    width = max(classes)
    for target, count in enumerate(classes):
        part = sums[:, target * width : target * width + count]
        part -= part.max(axis=1, keepdims=True)
        np.exp(part, out=part)
        part /= part.sum(axis=1, keepdims=True)
