"""Lays a forest out for the walking kernel: each split a 64-bit word, siblings side by side."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import Floats, ForestArrays
from scorestream_server.device.rank_pack import BLOCK, Cells, RankBuilder, RankTables, splits_by_feature

MOST_COLUMNS = 1 << 14
"""Columns of a block that a lane has memory for (16 MiB); a forest with more is scored by NumPy."""

_WORD_SPAN = 65535
_NEVER_PASSED = 65535


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


def pack_walk(forest: ForestArrays) -> PackedWalk | None:
    """Lay out a forest; None for one that needs more than `MOST_COLUMNS`."""
    builder = RankBuilder(forest, _WORD_SPAN)
    question = np.full(len(forest.left), _NEVER_PASSED, np.int64)
    for by_category, nodes in splits_by_feature(forest):
        if by_category:
            codes, count = builder.categories(nodes)
            sets: dict[bytes, int] = {}
            for node, members in zip(nodes, codes, strict=True):
                key = members.tobytes()
                if key not in sets:
                    sets[key] = builder.set_column(members, count)
                question[node] = sets[key] << 16
        else:
            column, highest = builder.thresholds(nodes)
            question[nodes] = (column << 16) | highest
        if builder.columns > MOST_COLUMNS:
            return None
    order = _siblings_together(forest)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    child = np.where(forest.left < 0, place, place[forest.left])
    words = ((child << 32) | question)[order].astype(np.uint64)
    outputs = forest.tree_output[:, None] + np.arange(forest.leaves.shape[1]) * forest.output_step[:, None]
    model = WalkModel(
        words=words,
        tree_starts=place[forest.tree_starts[:-1]],
        tree_depths=forest.tree_depths().astype(np.int64),
        table_outputs=outputs.astype(np.int64),
    )
    return PackedWalk(builder.tables(), model, forest.leaves[order])


def _siblings_together(forest: ForestArrays) -> NDArray[np.int64]:
    """Return the nodes tree by tree, each tree level by level, with siblings side by side."""
    tree_of = np.repeat(np.arange(forest.trees), np.diff(forest.tree_starts))
    nodes = forest.tree_starts[:-1]
    found, trees = [nodes], [tree_of[nodes]]
    while len(nodes := nodes[forest.left[nodes] >= 0]):
        nodes = np.stack([forest.left[nodes], forest.right[nodes]], axis=1).reshape(-1).astype(np.int64)
        found.append(nodes)
        trees.append(tree_of[nodes])
    return np.concatenate(found)[np.argsort(np.concatenate(trees), kind="stable")]
