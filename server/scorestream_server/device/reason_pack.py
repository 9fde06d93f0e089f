"""Lays a forest out for its reason codes: a program of steps over each tree, which every kernel runs alike.

A leaf adds ``v * prod(o)`` to a row's sum, over the features on its path: ``o`` is 1 where the row satisfies all that
the path asks of the feature, else 0. A row that does not know a feature goes on with the part ``z`` of the training data
that went this way. The Shapley value of feature ``j`` in that game is an integral,

    v * (o_j - z_j) * integral over t from 0 to 1 of the product over the other features k of (t * o_k + (1 - t) * z_k),

of a polynomial with one degree less than the path has features. Gauss's quadrature with half as many points is exact,
so the product needs to be known at these points alone. It is carried down a tree edge by edge, and sums of leaves are
carried up, where each edge adds what its feature owes to it (Linear TreeSHAP; Yu and others, 2022). The work is edges
times points, with no table to fill, no division a row, and nothing that cancels.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import ForestArrays
from scorestream_server.device.rank_pack import BLOCK, RankTables
from scorestream_server.device.walk_pack import MOST_COLUMNS, ask
from scorestream_server.domain.model import MOST_REASONS

MOST_LEVELS = 1024
MOST_POINTS = 128
"""Half the features of a path."""

LEAF, DOWN, UP = 0, 1, 2
"""What a step does: add a leaf, go down to a split, come up from one."""

_WORD_SPAN = 65535
_STACK_BYTES = 16 << 20


class ReasonModel(NamedTuple):
    """A forest as the kernels of reason codes read it. ``N`` nodes, ``T`` trees, ``S`` slots, ``W`` values a leaf.

    What is said of a node is about the edge that leads to it; of roots it is not read.

    Attributes:
        steps: uint32: node << 2 | kind. Those of tree ``t`` are ``step_starts[t]:step_starts[t + 1]``.
        step_starts: int64, shape ``(T + 1,)``.
        tree_points: int32, shape ``(T,)``: how many points are exact for the tree.
        column, highest: int32, shape ``(N,)``: see `walk_pack.Questions`.
        right: uint8, shape ``(N,)``: whether rows come here that do not go left.
        slot: int32, shape ``(N,)``: the place of its feature in ``slot_features``.
        level: int32, shape ``(N,)``: splits above it, at least 1.
        earlier: int32, shape ``(N,)``: the level of the nearest edge above it with its feature; 0 for none.
        share: float64, shape ``(N,)``: the part of its parent's cover.
        earlier_share: float64, shape ``(N,)``: the product of the shares of all edges above it with its feature.
        values: float64, shape ``(W, N)``: the leaves.
        points, weights: float64, shape ``(P, P)``: row ``p`` has ``p + 1`` points from 0 to 1.
        slot_features: int32, shape ``(S,)``: features of the forest, ascending: all that it uses, and the first
            `MOST_REASONS` of those that it does not.
    """

    steps: NDArray[np.uint32]
    step_starts: NDArray[np.int64]
    tree_points: NDArray[np.int32]
    column: NDArray[np.int32]
    highest: NDArray[np.int32]
    right: NDArray[np.uint8]
    slot: NDArray[np.int32]
    level: NDArray[np.int32]
    earlier: NDArray[np.int32]
    share: NDArray[np.float64]
    earlier_share: NDArray[np.float64]
    values: NDArray[np.float64]
    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    slot_features: NDArray[np.int32]


class PackedReasons(NamedTuple):
    """A whole forest for the kernels of reason codes.

    Attributes:
        ranks: how rows are quantised, in words.
        model: its trees.
        levels: how many levels the deepest tree has, its root counted.
        bias: float64, shape ``(outputs,)``: the margin of a row of which nothing is known.
        divisors: float64, shape ``(outputs,)``: how many trees an output is the mean of; 1 for a sum.
        output_trees: for each output, shape ``(trees, 2)``: the trees that add to it, and which of a leaf's values.
    """

    ranks: RankTables
    model: ReasonModel
    levels: int
    bias: NDArray[np.float64]
    divisors: NDArray[np.float64]
    output_trees: tuple[NDArray[np.int64], ...]

    @property
    def points(self) -> int:
        """The most points that a tree needs."""
        return len(self.model.points)

    @property
    def rows_at_once(self) -> int:
        """How many rows a lane works on together."""
        return min(BLOCK, max(8, _STACK_BYTES // (16 * self.levels * self.points)))


class Unexplained(Exception):  # noqa: N818  # a fact about the forest
    """A forest that has no reason codes; the message is a phrase for a person."""


def why_unexplained(forest: ForestArrays) -> str:
    """Return why a forest cannot be explained, a sentence for a person; nothing where it can."""
    if not len(forest.covers):
        return (
            "its trees do not say how much of the training data came to each node (treelite: sum_hess or data_count). "
            "Save it in its library's own format, or import it with a treelite that keeps them"
        )
    if len(forest.classes) > 1:
        return several_targets(len(forest.classes))
    if forest.tree_depths().max(initial=0) >= MOST_LEVELS:
        return f"it has trees of {MOST_LEVELS:,} levels or more. Train shallower ones"
    return ""


def several_targets(targets: int) -> str:
    """Return why a model of several targets cannot be explained, likewise."""
    return f"it has {targets} targets, and reasons are for one. Score a model of one target"


def most_work(forest: ForestArrays) -> float:
    """Return how many edges times points a row takes at most."""
    points = np.maximum(np.minimum(forest.tree_depths(), forest.num_features) + 1, 2) // 2
    return float(np.sum(np.diff(forest.tree_starts) * points))


def pack_reasons(forest: ForestArrays) -> PackedReasons:
    """Lay out a forest.

    Raises:
        Unexplained: it cannot be explained.
    """
    if reason := why_unexplained(forest):
        raise Unexplained(reason)
    questions = ask(forest, _WORD_SPAN)
    if questions is None:
        raise Unexplained(
            f"its splits need more than {MOST_COLUMNS:,} quantised columns. Train a smaller one"
        )
    edges = _edges(forest)
    most = int(edges.features.max(initial=0)) + 1
    if most > 2 * MOST_POINTS:
        raise Unexplained(f"it has paths of more than {2 * MOST_POINTS:,} features. Train shallower trees")
    tree_points = np.maximum(np.maximum.reduceat(edges.features, forest.tree_starts[:-1]) + 1, 2) // 2
    points, weights = _quadrature(int(tree_points.max()))
    used = np.unique(forest.feature[forest.left >= 0])
    unused = np.setdiff1d(np.arange(min(forest.num_features, len(used) + MOST_REASONS)), used)[:MOST_REASONS]
    slots = np.union1d(used, unused)
    steps, step_starts = _steps(forest, edges)
    model = ReasonModel(
        steps=steps,
        step_starts=step_starts,
        tree_points=tree_points.astype(np.int32),
        column=questions.column[edges.parent].astype(np.int32),
        highest=questions.highest[edges.parent].astype(np.int32),
        right=edges.right.astype(np.uint8),
        slot=np.searchsorted(slots, forest.feature[edges.parent]).astype(np.int32),
        level=edges.level.astype(np.int32),
        earlier=np.where(edges.earlier < 0, 0, edges.level[edges.earlier]).astype(np.int32),
        share=edges.share,
        earlier_share=edges.earlier_share,
        values=np.ascontiguousarray(forest.leaves.T, np.float64),
        points=points,
        weights=weights,
        slot_features=slots.astype(np.int32),
    )
    divisors = forest.trees_of_output().astype(np.float64) if forest.average else np.ones(forest.outputs)
    output_trees = _output_trees(forest)
    return PackedReasons(
        questions.ranks,
        model,
        int(edges.level.max()) + 1,
        _bias(forest, edges, divisors),
        divisors,
        output_trees,
    )


class _Edges(NamedTuple):
    """What is known of the edge to each node; -1 as a parent or an earlier edge is none."""

    parent: NDArray[np.int64]
    right: NDArray[np.bool_]
    levels: list[NDArray[np.int64]]
    level: NDArray[np.int64]
    earlier: NDArray[np.int64]
    share: NDArray[np.float64]
    earlier_share: NDArray[np.float64]
    features: NDArray[np.int64]


def _edges(forest: ForestArrays) -> _Edges:
    nodes = len(forest.left)
    inner = np.flatnonzero(forest.left >= 0)
    parent, right = np.full(nodes, -1), np.zeros(nodes, bool)
    parent[forest.left[inner]] = parent[forest.right[inner]] = inner
    right[forest.right[inner]] = True
    level, levels = np.zeros(nodes, np.int64), []
    reached = forest.tree_starts[:-1]
    while len(reached := reached[forest.left[reached] >= 0]):
        reached = np.concatenate([forest.left[reached], forest.right[reached]]).astype(np.int64)
        level[reached] = level[parent[reached]] + 1
        levels.append(reached)
    earlier = _earlier_edges(forest, parent)
    share, earlier_share = np.ones(nodes), np.ones(nodes)
    features = np.zeros(nodes, np.int64)
    for reached in levels:
        above, cover = earlier[reached], forest.covers[parent[reached]]
        # Of a split that no training row came to, nothing is known.
        share[reached] = np.divide(
            forest.covers[reached], cover, out=np.full(len(reached), 0.5), where=cover > 0
        )
        earlier_share[reached] = np.where(above < 0, 1.0, earlier_share[above] * share[above])
        features[reached] = features[parent[reached]] + (above < 0)
    return _Edges(parent, right, levels, level, earlier, share, earlier_share, features)


def _earlier_edges(forest: ForestArrays, parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the node of the nearest edge above each node's own with the same feature; -1 for none."""
    asked = np.where(parent < 0, -1, forest.feature[parent])
    earlier = np.full(len(parent), -1)
    nodes = np.flatnonzero(parent >= 0)
    above = parent[nodes]
    while len(nodes):
        same = asked[above] == asked[nodes]
        earlier[nodes[same]] = above[same]
        open_ = ~same & (parent[above] >= 0)
        nodes, above = nodes[open_], parent[above[open_]]
    return earlier


def _steps(forest: ForestArrays, edges: _Edges) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return each tree's steps, a node's behind its parent's way down and before its way up."""
    inner = forest.left >= 0
    size = np.where(inner, 2, 1)
    size[forest.tree_starts[:-1]] = 0
    for reached in reversed(edges.levels):
        np.add.at(size, edges.parent[reached], size[reached])
    starts = np.concatenate([[0], np.cumsum(size[forest.tree_starts[:-1]])])
    first = np.zeros(len(size), np.int64)
    first[forest.tree_starts[:-1]] = starts[:-1] - 1  # a root has no step of its own
    for reached in edges.levels:
        parent = edges.parent[reached]
        before = np.where(edges.right[reached], size[forest.left[parent]], 0)
        first[reached] = first[parent] + 1 + before
    steps = np.zeros(starts[-1], np.uint32)
    nodes = np.flatnonzero(edges.parent >= 0)
    steps[first[nodes]] = (nodes << 2) | np.where(inner[nodes], DOWN, LEAF)
    splits = nodes[inner[nodes]]
    steps[first[splits] + size[splits] - 1] = (splits << 2) | UP
    return steps, starts


def _quadrature(most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Gauss's points and weights from 0 to 1 for each number of them; the rest of a row is 0.5 and 0."""
    points, weights = np.full((most, most), 0.5), np.zeros((most, most))
    for count in range(1, most + 1):
        at, weight = np.polynomial.legendre.leggauss(count)
        points[count - 1, :count], weights[count - 1, :count] = (at + 1) / 2, weight / 2
    return points, weights


def _output_trees(forest: ForestArrays) -> tuple[NDArray[np.int64], ...]:
    places = np.arange(forest.leaves.shape[1])
    outputs = forest.tree_output[:, None] + places * forest.output_step[:, None]
    return tuple(
        np.ascontiguousarray(np.argwhere(outputs == output), np.int64) for output in range(forest.outputs)
    )


def _bias(forest: ForestArrays, edges: _Edges, divisors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a row is expected to get, shape ``(outputs,)``, the base scores with it."""
    reach = np.ones(len(forest.left))
    for reached in edges.levels:
        reach[reached] = reach[edges.parent[reached]] * edges.share[reached]
    leaf = (forest.left < 0)[:, None]
    expected = np.add.reduceat(
        np.where(leaf, forest.leaves, 0.0) * reach[:, None], forest.tree_starts[:-1], axis=0
    )
    sums = np.zeros(forest.outputs)
    for place in range(forest.leaves.shape[1]):
        np.add.at(sums, forest.tree_output + place * forest.output_step, expected[:, place])
    return sums / divisors + forest.base_scores
