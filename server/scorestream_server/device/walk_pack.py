"""Lays a forest out for the walking kernel: each split a 64-bit word, siblings side by side."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import Floats, ForestArrays
from scorestream_server.device.rank_pack import BLOCK, Cells, RankBuilder, RankTables, splits_by_feature

MOST_COLUMNS = 1 << 14
"""Columns of a block that a lane has memory for (16 MiB); a forest with more is scored by NumPy."""

_WORD_SPAN = 65535


class WalkModel(NamedTuple):
    """A forest as the kernel of `forest_walk` reads it, but for its leaves.

    Attributes:
        words: uint64, shape ``(N,)``: left child << 32 | column << 16 | highest rank that goes left. The right
            child is the word behind the left one. A leaf leads to itself.
        tree_starts: int64, shape ``(T,)``: the roots.
        tree_depths: int64, shape ``(T,)``.
        table_outputs: int64, shape ``(T, W)``: the outputs that a tree's leaf values add to.
    """

    words: NDArray[np.uint64]
    tree_starts: NDArray[np.int64]
    tree_depths: NDArray[np.int64]
    table_outputs: NDArray[np.int64]


class PackedWalk(NamedTuple):
    """A whole forest for the kernel of `forest_walk`; ``leaves``: shape ``(N, W)``."""

    ranks: RankTables
    model: WalkModel
    leaves: Floats


class WalkScratch(NamedTuple):
    """Memory that one lane needs to score with a `WalkModel`."""

    keys: NDArray[np.float64]
    ranks: NDArray[np.int32]
    columns: Cells


def walk_scratch(packed: PackedWalk) -> WalkScratch:
    """Allocate what scoring with a model needs."""
    columns = np.zeros((max(len(packed.ranks.column_low), 1), BLOCK), np.uint16)
    return WalkScratch(np.zeros(BLOCK), np.zeros(BLOCK, np.int32), Cells(np.zeros((0, 1), np.uint8), columns))


class Questions(NamedTuple):
    """What each node of a forest asks, in quantised columns.

    Attributes:
        ranks: how to quantise.
        column, highest: int64, shape ``(N,)``: a row goes left where its cell in ``column`` is at most ``highest``.
            All rows go left at a leaf, which has column 0 and the span as its highest.
    """

    ranks: RankTables
    column: NDArray[np.int64]
    highest: NDArray[np.int64]


def ask(forest: ForestArrays, span: int) -> Questions | None:
    """Turn splits into comparisons of cells that hold numbers up to ``span``; None where `MOST_COLUMNS` are too few."""
    builder = RankBuilder(forest, span)
    column = np.zeros(len(forest.left), np.int64)
    highest = np.full(len(forest.left), span, np.int64)
    for by_category, nodes in splits_by_feature(forest):
        if by_category:
            codes, count = builder.categories(nodes)
            sets: dict[bytes, int] = {}
            for node, members in zip(nodes, codes, strict=True):
                key = members.tobytes()
                if key not in sets:
                    sets[key] = builder.set_column(members, count)
                column[node] = sets[key]
            highest[nodes] = 0
        else:
            column[nodes], highest[nodes] = builder.thresholds(nodes)
        if builder.columns > MOST_COLUMNS:
            return None
    return Questions(builder.tables(), column, highest)


def pack_walk(forest: ForestArrays) -> PackedWalk | None:
    """Lay out a forest; None for one that needs more than `MOST_COLUMNS`."""
    questions = ask(forest, _WORD_SPAN)
    if questions is None:
        return None
    order, place, child = siblings_together(forest)
    words = ((child << 32) | (questions.column << 16) | questions.highest)[order].astype(np.uint64)
    outputs = forest.tree_output[:, None] + np.arange(forest.leaves.shape[1]) * forest.output_step[:, None]
    model = WalkModel(
        words=words,
        tree_starts=place[forest.tree_starts[:-1]],
        tree_depths=forest.tree_depths().astype(np.int64),
        table_outputs=outputs.astype(np.int64),
    )
    return PackedWalk(questions.ranks, model, forest.leaves[order])


class Siblings(NamedTuple):
    """An order of a forest's nodes: tree by tree, each tree level by level, siblings side by side.

    Attributes:
        order: int64, shape ``(N,)``: the node at each place.
        place: int64, shape ``(N,)``: the place of each node.
        child: int64, shape ``(N,)``: the place of each node's left child; of itself for a leaf.
    """

    order: NDArray[np.int64]
    place: NDArray[np.int64]
    child: NDArray[np.int64]


def siblings_together(forest: ForestArrays) -> Siblings:
    """Order a forest's nodes for walking."""
    order = _level_order(forest)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Siblings(order, place, np.where(forest.left < 0, place, place[forest.left]))


def _level_order(forest: ForestArrays) -> NDArray[np.int64]:
    tree_of = np.repeat(np.arange(forest.trees), np.diff(forest.tree_starts))
    nodes = forest.tree_starts[:-1]
    found, trees = [nodes], [tree_of[nodes]]
    while len(nodes := nodes[forest.left[nodes] >= 0]):
        nodes = np.stack([forest.left[nodes], forest.right[nodes]], axis=1).reshape(-1).astype(np.int64)
        found.append(nodes)
        trees.append(tree_of[nodes])
    return np.concatenate(found)[np.argsort(np.concatenate(trees), kind="stable")]
