"""Lays a forest out for the bit-plane kernels: which questions, in which groups, and each tree as boolean steps."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import Floats, ForestArrays

BLOCK = 512
"""Rows a block: the bits of a plane."""
BUCKETS = 1024
"""Equal parts of a feature's range; each knows the rank of the values at its start."""
CODE_BITS = 8
"""Bits of a leaf's number."""
MOST_LEAVES = 1 << CODE_BITS
PLANE_BYTES = BLOCK // 8

_BYTE_RANKS = 255
_GROUP_PLANES = 8192
"""Planes that a group of trees may use: as many as a core's second-level cache holds with room to spare."""
_ALL_ROWS = 0


class PlaneModel(NamedTuple):
    """A forest as the kernels of `forest_planes` read it. ``U`` used features, ``C`` columns of bytes.

    Attributes:
        used_features: int64, shape ``(U,)``.
        values, value_starts: float64: each used feature's thresholds, ascending, and as many NaN behind
            them as a search may overrun.
        buckets: int32, shape ``(U * BUCKETS,)``: the rank at the start of each part of a feature's range.
        low, scale, steps: from a value to its part, and the binary steps of the search within it.
        is_category, category_floor, strict: how values are read and compared.
        feature_columns: int64, shape ``(U + 1,)``: a feature's columns are consecutive.
        column_low: int32, shape ``(C,)``: a column holds ranks above this one, up to 255 of them.
        column_missing: int32: the rank that a missing value has there.
        column_equal: uint8: 1 where a column is asked for a category, 0 where for a threshold.
        group_trees, group_planes, group_sets: int64: the trees, questions and sets of each group.
        questions: uint64: column << 32 | byte, ordered by column within a group. Their answers are the
            group's first planes, in that order; the sets come behind them.
        set_starts, set_members: int64: the planes that each set is the union of.
        tree_splits, split_sources, split_planes: int64: each tree's splits, parents first; the rows that
            come there, and the plane that parts them. Source 0 is all rows; split ``k`` of a tree sends rows
            to 2k + 2 (left) and 2k + 3 (right).
        xor_starts, xors: for each tree and bit of a leaf's number, the sources whose rows flip it.
        tree_tables, table_outputs, leaves: for each tree its tables of leaves, shape ``(tables, numbers)``.
    """

    used_features: NDArray[np.int64]
    values: NDArray[np.float64]
    value_starts: NDArray[np.int64]
    buckets: NDArray[np.int32]
    low: NDArray[np.float64]
    scale: NDArray[np.float64]
    steps: NDArray[np.int64]
    is_category: NDArray[np.bool_]
    category_floor: float
    strict: bool
    feature_columns: NDArray[np.int64]
    column_low: NDArray[np.int32]
    column_missing: NDArray[np.int32]
    column_equal: NDArray[np.uint8]
    group_trees: NDArray[np.int64]
    group_planes: NDArray[np.int64]
    group_sets: NDArray[np.int64]
    questions: NDArray[np.uint64]
    set_starts: NDArray[np.int64]
    set_members: NDArray[np.int64]
    tree_splits: NDArray[np.int64]
    split_sources: NDArray[np.int64]
    split_planes: NDArray[np.int64]
    xor_starts: NDArray[np.int64]
    xors: NDArray[np.uint32]
    tree_tables: NDArray[np.int64]
    table_outputs: NDArray[np.int64]
    leaves: Floats


class PlaneScratch(NamedTuple):
    """Memory that one lane needs to score with a `PlaneModel`."""

    ranks: NDArray[np.int32]
    columns: NDArray[np.uint8]
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


def plane_scratch(model: PlaneModel) -> PlaneScratch:
    """Allocate what scoring with a model needs."""
    most_planes = int(np.max(np.diff(model.group_planes) + np.diff(model.group_sets), initial=0))
    most_splits = int(np.max(np.diff(model.tree_splits), initial=0))
    pairs = aligned(2 * most_splits + 2, PLANE_BYTES)
    pairs[_ALL_ROWS] = 0xFF
    return PlaneScratch(
        ranks=np.zeros(BLOCK, np.int32),
        columns=aligned(max(len(model.column_low), 1), BLOCK),
        planes=aligned(max(most_planes, 1), PLANE_BYTES),
        pairs=pairs,
        bits=aligned(CODE_BITS, PLANE_BYTES),
        codes=aligned(1, BLOCK)[0],
    )


def fits_planes(forest: ForestArrays) -> bool:
    """Whether every tree's leaves can be numbered in a byte."""
    leaf = np.concatenate([[0], np.cumsum(forest.left < 0)])
    return bool(np.all(np.diff(leaf[forest.tree_starts]) <= MOST_LEAVES))


def pack_planes(forest: ForestArrays) -> PlaneModel:
    """Lay out a forest that `fits_planes`."""
    inner = np.flatnonzero(forest.left >= 0)
    tree_of = np.repeat(np.arange(forest.trees), np.diff(forest.tree_starts))
    used, entry = np.unique(forest.feature[inner] * 2 + forest.categorical[inner], return_inverse=True)
    columns = _Columns()
    answers = np.zeros(len(inner), np.int64)  # for each split: its question, or its set + _SETS
    tables = []
    for place, key in enumerate(used):
        nodes = np.flatnonzero(entry == place)
        columns.next_feature()
        if key % 2:
            values = _ask_categories(forest, inner, nodes, columns, answers)
        else:
            values = _ask_thresholds(forest, inner, nodes, columns, answers)
        tables.append(_search_table(values))
    tree_splits = np.searchsorted(tree_of[inner], np.arange(forest.trees + 1))
    return PlaneModel(
        used_features=(used // 2).astype(np.int64),
        values=np.concatenate([*(table.values for table in tables), np.zeros(1)]),
        value_starts=np.cumsum([0, *(len(table.values) for table in tables)]).astype(np.int64),
        buckets=np.concatenate([*(table.buckets for table in tables), np.zeros(1, np.int32)]),
        low=np.array([table.low for table in tables], np.float64),
        scale=np.array([table.scale for table in tables], np.float64),
        steps=np.array([table.steps for table in tables], np.int64),
        is_category=used % 2 == 1,
        category_floor=-1.0 if forest.fractions_above_minus_one else float(np.nextafter(0.0, -1.0)),
        strict=forest.strict,
        feature_columns=np.array([*columns.starts, len(columns.low)], np.int64),
        column_low=np.array(columns.low, np.int32),
        column_missing=np.array(columns.missing, np.int32),
        column_equal=np.array(columns.equal, np.uint8),
        **_group_trees(columns, answers, tree_splits),
        **_tree_steps(forest, inner, tree_of, tree_splits),
    )


_SETS = 1 << 60
_ALWAYS_RIGHT = 1 << 30


class _Columns:
    """The columns of bytes, the questions asked of them, and unions of questions, as they are found."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.low: list[int] = []
        self.missing: list[int] = []
        self.equal: list[bool] = []
        self.sets: dict[tuple[int, ...], int] = {}

    def next_feature(self) -> None:
        self.starts.append(len(self.low))

    def add(self, low: int, missing: int, *, equal: bool) -> int:
        self.low.append(low)
        self.missing.append(missing)
        self.equal.append(equal)
        return len(self.low) - 1

    def set_of(self, questions: tuple[int, ...]) -> int:
        return _SETS + self.sets.setdefault(questions, len(self.sets))


def _ask_thresholds(
    forest: ForestArrays, inner: NDArray[np.int64], nodes: NDArray[np.int64], columns: _Columns, answers: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Set the questions of one feature's numeric splits; return its thresholds."""
    values, rank = np.unique(forest.threshold[inner[nodes]].astype(np.float64), return_inverse=True)
    chunk, byte = np.divmod(rank, _BYTE_RANKS)
    # Missing values rank below everything in one column and above everything in another.
    wanted, which = np.unique(chunk * 2 + forest.default_left[inner[nodes]], return_inverse=True)
    made = [
        columns.add(int(key // 2) * _BYTE_RANKS, 0 if key % 2 else _ALWAYS_RIGHT, equal=False) for key in wanted
    ]
    answers[nodes] = (np.array(made, np.int64)[which] << 32) | byte
    return values


def _ask_categories(
    forest: ForestArrays, inner: NDArray[np.int64], nodes: NDArray[np.int64], columns: _Columns, answers: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Set the questions of one feature's categorical splits; return its categories."""
    spans = [slice(forest.category_starts[node], forest.category_starts[node + 1]) for node in inner[nodes]]
    values = np.unique(np.concatenate([forest.categories[span] for span in spans]))
    missing = len(values) + 1
    first = len(columns.low)
    for low in range(0, missing, _BYTE_RANKS):
        columns.add(low, missing, equal=True)

    for place, span in zip(nodes, spans, strict=True):
        codes = np.searchsorted(values, forest.categories[span]) + 1
        if forest.default_left[inner[place]]:
            codes = np.append(codes, missing)
        chunk, byte = np.divmod(codes - 1, _BYTE_RANKS)
        questions = ((first + chunk) << 32) | (byte + 1)
        answers[place] = columns.set_of(tuple(questions.tolist()))
    return values.astype(np.float64)


class _SearchTable(NamedTuple):
    values: NDArray[np.float64]
    buckets: NDArray[np.int32]
    low: float
    scale: float
    steps: int


def _search_table(values: NDArray[np.float64]) -> _SearchTable:
    """Cut a feature's range into equal parts, so that a search starts close to its end.

    The part of a value is computed here as the kernel does it, so the two agree to the last bit.
    """
    finite = values[np.isfinite(values)]
    low = float(finite[0]) if len(finite) else 0.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scale = float(BUCKETS / (finite[-1] - low)) if len(finite) > 1 else 0.0
        scale = scale if np.isfinite(scale) else 0.0
        part = (values - low) * scale
    part = np.where(part > 0, part, 0.0)
    part = np.minimum(part, BUCKETS - 1).astype(np.int64)
    starts = np.searchsorted(part, np.arange(BUCKETS)).astype(np.int32)
    steps = int(np.bincount(part, minlength=1).max()).bit_length() if len(part) else 0
    return _SearchTable(np.append(values, np.full(1 << steps, np.nan)), starts, low, scale, steps)


def _group_trees(columns: _Columns, answers: NDArray[np.int64], tree_splits: NDArray[np.int64]) -> dict[str, Any]:
    """Cut the trees into groups that use no more planes than fit a cache, and number each group's planes."""
    members = list(columns.sets)
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
            wanted |= {question for answer in wanted if answer >= _SETS for question in members[answer - _SETS]}
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
) -> dict[str, Any]:
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
        "tree_splits": tree_splits.astype(np.int64),
        "split_sources": source[inner],
        "xor_starts": np.append(0, np.cumsum(np.bincount(run, minlength=forest.trees * CODE_BITS))).astype(np.int64),
        "xors": np.append(np.concatenate(sources)[order], 0).astype(np.uint32),
        "tree_tables": np.arange(forest.trees + 1, dtype=np.int64) * width,
        "table_outputs": outputs.reshape(-1).astype(np.int64),
        "leaves": leaves,
    }


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
        number[right] = number[nodes] + np.where(shallow[tree_of[nodes]], 1 << min(level, CODE_BITS), under[left])
    return number


def _levels(forest: ForestArrays) -> list[NDArray[np.int64]]:
    """Return the splits of all trees, level by level."""
    levels = []
    nodes = forest.tree_starts[:-1]
    while len(nodes := nodes[forest.left[nodes] >= 0]):
        levels.append(nodes)
        nodes = np.concatenate([forest.left[nodes], forest.right[nodes]]).astype(np.int64)
    return levels
