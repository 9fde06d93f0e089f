"""Shapley values of forests, twice: leaf by leaf in NumPy, and by their definition."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.base import Columns
from scorestream_server.device.forest_arrays import ForestArrays
from scorestream_server.device.forest_numpy import _category_keys, _in_set

Values = NDArray[np.float64]


def contributions(forest: ForestArrays, columns: Columns, output: int) -> Values:
    """Return what each feature adds to an output's margin, shape ``(rows, features)``, by the weights of subsets.

    For each leaf and each feature on its path, the sum over subsets of the other features is the sum of a polynomial's
    coefficients, which is multiplied out: no quadrature, no integral.
    """
    rows = len(columns[0])
    goes_left = _directions(forest, columns)
    found = np.zeros((rows, forest.num_features))
    for value, path in _leaves(forest, output):
        known: dict[int, tuple[Values, float]] = {}
        for node, child in path:
            share = _share(forest, node, child)
            ones, zero = known.get(int(forest.feature[node]), (np.ones(rows), 1.0))
            here = goes_left[node] if child == forest.left[node] else ~goes_left[node]
            known[int(forest.feature[node])] = (ones * here, zero * share)
        count = len(known)
        for feature, (ones, zero) in known.items():
            sizes = np.zeros((count, rows))
            sizes[0] = 1.0
            for other, (one, rest) in known.items():
                if other != feature:
                    sizes[1:] = sizes[1:] * rest + sizes[:-1] * one
                    sizes[0] *= rest
            weights = [
                math.factorial(size) * math.factorial(count - 1 - size) / math.factorial(count)
                for size in range(count)
            ]
            found[:, feature] += value * (ones - zero) * (np.array(weights) @ sizes)
    return found / _divisor(forest, output)


def bias(forest: ForestArrays, output: int) -> float:
    """Return the margin of a row of which nothing is known."""
    total = sum(
        value * math.prod(_share(forest, node, child) for node, child in path)
        for value, path in _leaves(forest, output)
    )
    return float(total / _divisor(forest, output) + forest.base_scores[output])


def by_definition(forest: ForestArrays, columns: Columns, row: int, output: int) -> Values:
    """Return one row's contributions, shape ``(features,)``, from the margins of all subsets of its features."""
    one = [column[row : row + 1] for column in columns]
    goes_left = {node: bool(rows[0]) for node, rows in _directions(forest, one).items()}
    features = range(forest.num_features)

    def expected(node: int, known: frozenset[int]) -> float:
        left, right = int(forest.left[node]), int(forest.right[node])
        if left < 0:
            return float(_value_of[node])
        if int(forest.feature[node]) in known:
            return expected(left if goes_left[node] else right, known)
        return _share(forest, node, left) * expected(left, known) + _share(forest, node, right) * expected(
            right, known
        )

    found = np.zeros(forest.num_features)
    for tree in range(forest.trees):
        root = int(forest.tree_starts[tree])
        places = [
            place
            for place in range(forest.leaves.shape[1])
            if forest.tree_output[tree] + place * forest.output_step[tree] == output
        ]
        for place in places:
            _value_of = forest.leaves[:, place].astype(np.float64)
            margins = {
                frozenset(known): expected(root, frozenset(known))
                for size in range(len(features) + 1)
                for known in itertools.combinations(features, size)
            }
            for feature in features:
                for known, margin in margins.items():
                    if feature not in known:
                        weight = 1 / (len(features) * math.comb(len(features) - 1, len(known)))
                        found[feature] += weight * (margins[known | {feature}] - margin)
    return found / _divisor(forest, output)


def _divisor(forest: ForestArrays, output: int) -> float:
    return float(forest.trees_of_output()[output]) if forest.average else 1.0


def _share(forest: ForestArrays, node: int, child: int) -> float:
    cover = forest.covers[node]
    return float(forest.covers[child] / cover) if cover > 0 else 0.5


def _leaves(forest: ForestArrays, output: int) -> Iterator[tuple[float, list[tuple[int, int]]]]:
    """Yield each leaf's value and its path, a list of nodes and the children that follow."""
    for tree in range(forest.trees):
        for place in range(forest.leaves.shape[1]):
            if forest.tree_output[tree] + place * forest.output_step[tree] != output:
                continue
            waiting: list[tuple[int, list[tuple[int, int]]]] = [(int(forest.tree_starts[tree]), [])]
            while waiting:
                node, path = waiting.pop()
                if forest.left[node] < 0:
                    yield float(forest.leaves[node, place]), path
                    continue
                children = (int(forest.left[node]), int(forest.right[node]))
                waiting += [(child, [*path, (node, child)]) for child in children]


def _directions(forest: ForestArrays, columns: Columns) -> dict[int, NDArray[np.bool_]]:
    """Return which rows go left at each split, as `forest_numpy` decides it."""
    keys = _category_keys(forest)
    found = {}
    for node in np.flatnonzero(forest.left >= 0):
        feature = forest.feature[node]
        value = columns[feature].astype(np.float32) if forest.narrow[feature] else columns[feature]
        at = np.full(len(value), node)
        if forest.categorical[node]:
            left = _in_set(forest, keys, at, value)
        else:
            left = value < forest.threshold[at] if forest.strict else value <= forest.threshold[at]
        found[int(node)] = np.where(np.isnan(value), forest.default_left[node], left)
    return found
