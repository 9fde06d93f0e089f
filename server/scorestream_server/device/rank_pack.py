"""From thresholds to small whole numbers: the tables by which kernels quantise a forest's features.

A value is replaced by its *rank*, the number of the forest's thresholds that it has passed, once a block of
rows; a split is then an exact comparison of small whole numbers, whatever the types and the operator were. A
category becomes its *code*, its place among the forest's categories counted from 1; 0 stands for any other.

Ranks go into *columns* of bytes or 16-bit words. A feature has more than one where its ranks do not fit, and
where missing values go left at some splits and right at others: they rank lowest in one column and highest in
the other, so no kernel asks whether a value is missing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import ForestArrays

BLOCK = 512
"""Rows that a kernel quantises and scores together."""
BUCKETS = 1024
"""Equal parts of a feature's range; each knows the rank of the values at its start."""

THRESHOLD, CATEGORY, CATEGORY_SET = 0, 1, 2
_ABOVE_ALL = 1 << 30


class RankTables(NamedTuple):
    """How to quantise. ``U`` used features (one both compared and asked for categories counts twice), ``C`` columns.

    Attributes:
        features: int64, shape ``(U,)``: which of the forest's features they are.
        values, value_starts: float64: each one's thresholds or categories, ascending, and behind them as many
            NaN as a search may overrun.
        buckets: int32, shape ``(U * BUCKETS,)``: the rank at the start of each part of a feature's range.
        low, scale, steps: from a value to its part, and the binary steps of the search within it.
        is_category: bool, shape ``(U,)``.
        category_floor: a category is a value above this, cut to a whole number.
        strict: whether a value has passed a threshold that it equals.
        column_starts: int64, shape ``(U + 1,)``: a feature's columns are consecutive.
        column_kind: uint8, shape ``(C,)``: `THRESHOLD`: the rank, less ``column_low``; `CATEGORY`: the code, less
            ``column_low``, or 0; `CATEGORY_SET`: 0 for a member and 1 for any other, from ``members``.
        column_low: int32: see above; for a set its first place in ``members``.
        column_missing: int32: the rank or the code of a missing value.
        members: uint8: for each set and code, 0 or 1.
    """

    features: NDArray[np.int64]
    values: NDArray[np.float64]
    value_starts: NDArray[np.int64]
    buckets: NDArray[np.int32]
    low: NDArray[np.float64]
    scale: NDArray[np.float64]
    steps: NDArray[np.int64]
    is_category: NDArray[np.bool_]
    category_floor: float
    strict: bool
    column_starts: NDArray[np.int64]
    column_kind: NDArray[np.uint8]
    column_low: NDArray[np.int32]
    column_missing: NDArray[np.int32]
    members: NDArray[np.uint8]


class Cells(NamedTuple):
    """Quantised columns, in bytes or in 16-bit words; the other one is empty. So one compiled kernel serves both."""

    octets: NDArray[np.uint8]
    words: NDArray[np.uint16]


class RankBuilder:
    """Collects what `RankTables` hold, used feature by used feature.

    Args:
        forest: the forest to quantise.
        span: the most ranks that a column can tell apart, less one: 255 in bytes.
    """

    def __init__(self, forest: ForestArrays, span: int) -> None:
        self._forest = forest
        self._span = span
        self._features: list[int] = []
        self._searches: list[_Search] = []
        self._starts: list[int] = []
        self._kind: list[int] = []
        self._low: list[int] = []
        self._missing: list[int] = []
        self._members: list[NDArray[np.uint8]] = [np.zeros(1, np.uint8)]
        self._member_count = 1

    @property
    def columns(self) -> int:
        """How many columns there are so far."""
        return len(self._low)

    def thresholds(self, nodes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Take the numeric splits of one feature; return their columns, and the highest rank that goes left there."""
        values, rank = np.unique(self._forest.threshold[nodes].astype(np.float64), return_inverse=True)
        self._next_feature(nodes, values, category=False)
        chunk, highest = np.divmod(rank, self._span)
        wanted, which = np.unique(chunk * 2 + self._forest.default_left[nodes], return_inverse=True)
        made = [
            self._add(THRESHOLD, int(key // 2) * self._span, 0 if key % 2 else _ABOVE_ALL) for key in wanted
        ]
        return np.array(made, np.int64)[which], highest

    def categories(self, nodes: NDArray[np.int64]) -> tuple[list[NDArray[np.int64]], int]:
        """Take the categorical splits of one feature; return the codes that go left at each, and how many there are.

        The last code stands for a missing value.
        """
        starts = self._forest.category_starts
        sets = [self._forest.categories[starts[node] : starts[node + 1]] for node in nodes]
        values = np.unique(np.concatenate(sets))
        self._next_feature(nodes, values.astype(np.float64), category=True)
        missing = len(values) + 1
        codes = [np.searchsorted(values, members) + 1 for members in sets]
        left = self._forest.default_left[nodes]
        return [
            np.append(code, missing) if goes else code for code, goes in zip(codes, left, strict=True)
        ], missing

    def code_columns(self, count: int) -> int:
        """Add the columns that tell ``count`` codes apart; return the first of them."""
        first = self.columns
        for low in range(0, count, self._span):
            self._add(CATEGORY, low, count)
        return first

    def set_column(self, codes: NDArray[np.int64], count: int) -> int:
        """Add a column that tells whether a row's code is one of ``codes``; return it."""
        members = np.ones(count + 1, np.uint8)
        members[codes] = 0
        first = self._member_count
        self._members.append(members)
        self._member_count += len(members)
        return self._add(CATEGORY_SET, first, count)

    def tables(self) -> RankTables:
        """Return what was collected."""
        searches = self._searches
        return RankTables(
            features=np.array(self._features, np.int64),
            values=np.concatenate([*(search.values for search in searches), np.zeros(1)]),
            value_starts=np.cumsum([0, *(len(search.values) for search in searches)]).astype(np.int64),
            buckets=np.concatenate([*(search.buckets for search in searches), np.zeros(1, np.int32)]),
            low=np.array([search.low for search in searches], np.float64),
            scale=np.array([search.scale for search in searches], np.float64),
            steps=np.array([search.steps for search in searches], np.int64),
            is_category=np.array([search.category for search in searches], np.bool_),
            category_floor=-1.0 if self._forest.fractions_above_minus_one else float(np.nextafter(0.0, -1.0)),
            strict=self._forest.strict,
            column_starts=np.array([*self._starts, self.columns], np.int64),
            column_kind=np.array(self._kind, np.uint8),
            column_low=np.array(self._low, np.int32),
            column_missing=np.array(self._missing, np.int32),
            members=np.concatenate(self._members),
        )

    def _next_feature(self, nodes: NDArray[np.int64], values: NDArray[np.float64], *, category: bool) -> None:
        self._features.append(int(self._forest.feature[nodes[0]]))
        self._searches.append(_search(values, category=category))
        self._starts.append(self.columns)

    def _add(self, kind: int, low: int, missing: int) -> int:
        self._kind.append(kind)
        self._low.append(low)
        self._missing.append(missing)
        return self.columns - 1


def splits_by_feature(forest: ForestArrays) -> list[tuple[bool, NDArray[np.int64]]]:
    """Return the nodes that split on each feature, and whether by category."""
    inner = np.flatnonzero(forest.left >= 0)
    key = forest.feature[inner].astype(np.int64) * 2 + forest.categorical[inner]
    order = np.argsort(key, kind="stable")
    bounds = np.flatnonzero(np.diff(key[order])) + 1
    return [(bool(key[part[0]] % 2), inner[part]) for part in np.split(order, bounds) if len(part)]


class _Search(NamedTuple):
    values: NDArray[np.float64]
    buckets: NDArray[np.int32]
    low: float
    scale: float
    steps: int
    category: bool


def _search(values: NDArray[np.float64], *, category: bool) -> _Search:
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
    steps = int(np.bincount(part, minlength=1).max()).bit_length()
    return _Search(np.append(values, np.full(1 << steps, np.nan)), starts, low, scale, steps, category)
