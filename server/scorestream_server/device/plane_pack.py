"""Lays a forest out for the bit-plane kernels: which questions, in which groups, and each tree as boolean steps."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import Floats, ForestArrays
from scorestream_server.device.rank_pack import (
    BLOCK,
    CATEGORY,
    Cells,
    RankBuilder,
    RankTables,
    splits_by_feature,
)

CODE_BITS = 8
"""Bits of a leaf's number."""
MOST_LEAVES = 1 << CODE_BITS
PLANE_BYTES = BLOCK // 8

_BYTE_SPAN = 255
_GROUP_PLANES = 14_336
"""Planes that a group of trees may use: 896 KiB of them, what a second-level cache of 1 MiB holds."""
_ALL_ROWS = 0
_SETS = 1 << 60
"""Answers from here on are sets, unions of the answers to questions."""


class PlaneModel(NamedTuple):
    """A forest as the kernels of `forest_planes` read it, but for its leaves.

    Attributes:
        group_trees, group_planes, group_sets: int64: the trees, questions and sets of each group.
        questions: uint64: column << 32 | byte, ordered by column within a group. Their answers are the
            group's first planes, in that order; the sets come behind them.
        asks_equal: uint8: for each column whether it is asked for a category rather than for a rank.
        set_starts, set_members: int64: the planes that each set is the union of.
        tree_splits, split_sources, split_planes: int64: each tree's splits, parents first; the rows that
            come there, and the plane that parts them. Source 0 is all rows; split ``k`` of a tree sends rows
            to 2k + 2 (left) and 2k + 3 (right).
        xor_starts, xors: for each tree and bit of a leaf's number, the sources whose rows flip it.
        table_outputs: int64, shape ``(T, W)``: the output that each of a tree's tables of leaves adds to.
    """

    group_trees: NDArray[np.int64]
    group_planes: NDArray[np.int64]
    group_sets: NDArray[np.int64]
    questions: NDArray[np.uint64]
    asks_equal: NDArray[np.uint8]
    set_starts: NDArray[np.int64]
    set_members: NDArray[np.int64]
    tree_splits: NDArray[np.int64]
    split_sources: NDArray[np.int64]
    split_planes: NDArray[np.int64]
    xor_starts: NDArray[np.int64]
    xors: NDArray[np.uint32]
    table_outputs: NDArray[np.int64]


class PackedPlanes(NamedTuple):
    """A whole forest for the kernels of `forest_planes`; ``leaves``: for each tree and table, by leaf's number."""

    ranks: RankTables
    model: PlaneModel
    leaves: Floats


class PlaneScratch(NamedTuple):
    """Memory that one lane needs to score with a `PlaneModel`."""

    keys: NDArray[np.float64]
    ranks: NDArray[np.int32]
    columns: Cells
    planes: NDArray[np.uint8]
    pairs: NDArray[np.uint8]
    bits: NDArray[np.uint8]
    codes: NDArray[np.uint8]


def aligned(rows: int, width: int) -> NDArray[np.uint8]:
    """Return bytes, shape ``(rows, width)``, that start at a multiple of 64; 0 at first."""
    size = rows * width
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].reshape(rows, width)


def plane_scratch(packed: PackedPlanes) -> PlaneScratch:
    """Allocate what scoring with a model needs."""
    model = packed.model
    most_planes = int(np.max(np.diff(model.group_planes) + np.diff(model.group_sets), initial=0))
    most_splits = int(np.max(np.diff(model.tree_splits), initial=0))
    pairs = aligned(2 * most_splits + 2, PLANE_BYTES)
    pairs[_ALL_ROWS] = 0xFF
    return PlaneScratch(
        keys=np.zeros(BLOCK),
        ranks=np.zeros(BLOCK, np.int32),
        columns=Cells(aligned(max(len(model.asks_equal), 1), BLOCK), np.zeros((0, 1), np.uint16)),
        planes=aligned(max(most_planes, 1), PLANE_BYTES),
        pairs=pairs,
        bits=aligned(CODE_BITS, PLANE_BYTES),
        codes=aligned(1, BLOCK)[0],
    )


def fits_planes(forest: ForestArrays) -> bool:
    """Whether every tree's leaves can be numbered in a byte."""
    leaf = np.concatenate([[0], np.cumsum(forest.left < 0)])
    return bool(np.all(np.diff(leaf[forest.tree_starts]) <= MOST_LEAVES))


def pack_planes(forest: ForestArrays) -> PackedPlanes:
    """Lay out a forest that `fits_planes`."""
    builder = RankBuilder(forest, _BYTE_SPAN)
    answers = np.zeros(len(forest.left), np.int64)
    sets: dict[tuple[int, ...], int] = {}
    for by_category, nodes in splits_by_feature(forest):
        if not by_category:
            column, byte = builder.thresholds(nodes)
            answers[nodes] = (column << 32) | byte
            continue
        codes, count = builder.categories(nodes)
        first = builder.code_columns(count)
        for node, members in zip(nodes, codes, strict=True):
            chunk, byte = np.divmod(members - 1, _BYTE_SPAN)
            questions = tuple((((first + chunk) << 32) | (byte + 1)).tolist())
            answers[node] = _SETS + sets.setdefault(questions, len(sets))
    ranks = builder.tables()
    inner = np.flatnonzero(forest.left >= 0)
    tree_of = np.repeat(np.arange(forest.trees), np.diff(forest.tree_starts))
    tree_splits = np.searchsorted(tree_of[inner], np.arange(forest.trees + 1)).astype(np.int64)
    steps, leaves = _tree_steps(forest, inner, tree_of, tree_splits)
    groups = _group_trees(list(sets), answers[inner], tree_splits)
    asks_equal = (ranks.column_kind == CATEGORY).astype(np.uint8)
    return PackedPlanes(
        ranks, PlaneModel(asks_equal=asks_equal, tree_splits=tree_splits, **groups, **steps), leaves
    )


def _group_trees(
    members: list[tuple[int, ...]], answers: NDArray[np.int64], tree_splits: NDArray[np.int64]
) -> dict[str, Any]:
    """Cut the trees into groups that use no more planes than fit a cache, and number each group's planes."""
    bounds, planes, sets = [0], [0], [0]
    questions: list[NDArray[np.int64]] = []
    set_starts, set_members, split_planes = [0], [], np.zeros(len(answers), np.int64)
    trees = len(tree_splits) - 1
    tree = 0
    while tree < trees:
        used: set[int] = set()
        end = tree
        while end < trees:
            wanted = set(answers[tree_splits[end] : tree_splits[end + 1]].tolist())
            wanted |= {
                question for answer in wanted if answer >= _SETS for question in members[answer - _SETS]
            }
            if end > tree and len(used | wanted) > _GROUP_PLANES:
                break
            used |= wanted
            end += 1
        # Sets are numbered above all questions, so in order they come behind what they are made of.
        asked = np.array(sorted(used), np.int64)
        simple = asked[asked < _SETS]
        questions.append(simple)
        for answer in asked[len(simple) :]:
            parts = np.searchsorted(simple, members[answer - _SETS])
            set_members.append(parts)
            set_starts.append(set_starts[-1] + len(parts))
        splits = slice(tree_splits[tree], tree_splits[end])
        split_planes[splits] = np.searchsorted(asked, answers[splits])
        bounds.append(end)
        planes.append(planes[-1] + len(simple))
        sets.append(sets[-1] + len(asked) - len(simple))
        tree = end
    return {
        "group_trees": np.array(bounds, np.int64),
        "group_planes": np.array(planes, np.int64),
        "group_sets": np.array(sets, np.int64),
        "questions": np.concatenate([*questions, np.zeros(0, np.int64)]).astype(np.uint64),
        "set_starts": np.array(set_starts, np.int64),
        "set_members": np.concatenate([*set_members, np.zeros(1, np.int64)]),
        "split_planes": split_planes,
    }


def _tree_steps(
    forest: ForestArrays, inner: NDArray[np.int64], tree_of: NDArray[np.int64], tree_splits: NDArray[np.int64]
) -> tuple[dict[str, Any], Floats]:
    """Return the boolean steps of every tree, and its leaves in the order of their numbers."""
    step = np.arange(len(inner)) - tree_splits[tree_of[inner]]
    source = np.zeros(len(forest.left), np.int64)
    source[forest.left[inner]] = 2 * step + 2
    source[forest.right[inner]] = 2 * step + 3
    number = _leaf_numbers(forest, tree_of)
    flips = number[forest.right[inner]] ^ number[inner]
    runs = [(tree_of[inner] * CODE_BITS + bit)[(flips >> bit) & 1 == 1] for bit in range(CODE_BITS)]
    sources = [source[forest.right[inner]][(flips >> bit) & 1 == 1] for bit in range(CODE_BITS)]
    run = np.concatenate(runs)
    order = np.argsort(run, kind="stable")
    leaf = np.flatnonzero(forest.left < 0)
    width = forest.leaves.shape[1]
    size = 1 << int(number[leaf].max()).bit_length()
    leaves = np.zeros((forest.trees * width, size), forest.leaves.dtype)
    for place in range(width):
        leaves[tree_of[leaf] * width + place, number[leaf]] = forest.leaves[leaf, place]
    outputs = forest.tree_output[:, None] + np.arange(width) * forest.output_step[:, None]
    return {
        "split_sources": source[inner],
        "xor_starts": np.append(0, np.cumsum(np.bincount(run, minlength=forest.trees * CODE_BITS))).astype(
            np.int64
        ),
        "xors": np.append(np.concatenate(sources)[order], 0).astype(np.uint32),
        "table_outputs": outputs.astype(np.int64),
    }, leaves


def _leaf_numbers(forest: ForestArrays, tree_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each node's first leaf's number: a bit a level in shallow trees, from left to right in deep ones."""
    levels = _levels(forest)
    under = (forest.left < 0).astype(np.int64)
    for nodes in reversed(levels):
        under[nodes] = under[forest.left[nodes]] + under[forest.right[nodes]]
    shallow = forest.tree_depths() <= CODE_BITS
    number = np.zeros(len(forest.left), np.int64)
    for level, nodes in enumerate(levels):
        left, right = forest.left[nodes], forest.right[nodes]
        number[left] = number[nodes]
        number[right] = number[nodes] + np.where(
            shallow[tree_of[nodes]], 1 << min(level, CODE_BITS), under[left]
        )
    return number


def _levels(forest: ForestArrays) -> list[NDArray[np.int64]]:
    """Return the splits of all trees, level by level."""
    levels = []
    nodes = forest.tree_starts[:-1]
    while len(nodes := nodes[forest.left[nodes] >= 0]):
        levels.append(nodes)
        nodes = np.concatenate([forest.left[nodes], forest.right[nodes]]).astype(np.int64)
    return levels
