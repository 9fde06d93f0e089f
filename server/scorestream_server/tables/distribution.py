"""How the values of result columns are distributed, out of committed partitions, in bounded memory."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.summary import Distribution, Numbers
from scorestream_server.domain.table import PartitionFile
from scorestream_server.tables.results import count_missing, read_partition

BINS = 24
VALUES_KEPT = 1 << 22
"""For quartiles; of more values a random choice is kept, by which their ranks are off by some 0.02 %."""
MOST_FREQUENT = 20
MOST_DISTINCT = 100_000
"""Values that are counted one by one; what comes later than that is not among the frequent ones."""
LONGEST_VALUE = 200
Floats = npt.NDArray[np.float64]


def distribution(
    files: Sequence[PartitionFile], column: str, cancelled: Callable[[], bool] = lambda: False
) -> Distribution:
    """Return the distribution of one column of a result.

    Args:
        files: the committed partitions.
        column: of numbers, truth values or text; of other types values are only counted.
        cancelled: asked for each batch.

    Raises:
        ScorestreamError: RESULT_DAMAGED; CANCELLED.
    """
    batches = partial(_batches, files, column, cancelled)
    count = missing = 0
    kind: pa.DataType = pa.null()
    for values in batches():
        lacking = count_missing(values)
        count, missing, kind = count + len(values) - lacking, missing + lacking, values.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return Distribution(column, count, missing, numbers=_numbers(batches))
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Distribution(column, count, missing, frequent=_frequent(batches))
    return Distribution(column, count, missing)


def _numbers(batches: Callable[[], Iterator[pa.Array]]) -> Numbers | None:
    """Return the figures of a column of numbers, or None where it has no finite one."""
    random = np.random.default_rng(0)
    kept: list[Floats] = []
    share, held = 1.0, 0
    count = infinite = 0
    mean = squares = 0.0
    low, high = math.inf, -math.inf
    for values in map(_finite, batches()):
        finite = values[np.isfinite(values)]
        infinite += len(values) - len(finite)
        if not len(finite):
            continue
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        # Chan's way to join means and sums of squares, which loses no digits.
        here, off = float(finite.mean()), float(finite.mean()) - mean
        together = count + len(finite)
        squares += float(np.square(finite - here).sum()) + off * off * count * len(finite) / together
        mean += off * len(finite) / together
        count = together
        kept.append(finite if share >= 1 else finite[random.random(len(finite)) < share])
        held += len(kept[-1])
        if held > VALUES_KEPT:
            kept = [part[random.random(len(part)) < 0.5] for part in kept]
            share, held = share / 2, sum(map(len, kept))
    if not count:
        return None
    quartiles = np.quantile(np.concatenate(kept), [0.25, 0.5, 0.75])
    edges = _edges(low, high)
    counts = np.zeros(len(edges) - 1, np.int64)
    for values in map(_finite, batches()):
        counts += np.histogram(values[np.isfinite(values)], edges)[0]
    return Numbers(
        mean,
        math.sqrt(squares / count),
        low,
        (float(quartiles[0]), float(quartiles[1]), float(quartiles[2])),
        high,
        tuple(edges.tolist()),
        tuple(counts.tolist()),
        sampled=share < 1,
        infinite=infinite,
    )


def _edges(low: float, high: float) -> Floats:
    """Return the edges of the histogram's bins: one bin where all values are the same."""
    if low == high:
        return np.array([low, np.nextafter(high, math.inf)])
    # By halves, for the width of the whole range may be more than a number can be.
    edges = np.unique(np.linspace(low / 2, high / 2, BINS + 1) * 2)
    edges[0], edges[-1] = low, high
    return edges


def _frequent(batches: Callable[[], Iterator[pa.Array]]) -> tuple[tuple[str, int], ...]:
    found: Counter[str] = Counter()
    for values in batches():
        for entry in pc.value_counts(values.drop_null()):
            value = entry["values"].as_py()
            text = str(value).lower() if isinstance(value, bool) else value[:LONGEST_VALUE]
            if text in found or len(found) < MOST_DISTINCT:
                found[text] += entry["counts"].as_py()
    return tuple(sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_FREQUENT])


def _batches(
    files: Sequence[PartitionFile], column: str, cancelled: Callable[[], bool]
) -> Iterator[pa.Array]:
    for file in files:
        for batch in read_partition(file):
            if cancelled():
                raise ScorestreamError(ErrorCode.CANCELLED, "TASK_CANCELLED", "The task was cancelled.")
            if batch.num_rows:
                yield batch.column(column)


def _finite(values: pa.Array) -> Floats:
    """Return the values that are there, neither NULL nor NaN, as float64."""
    there: Floats = values.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
    return np.asarray(there[~np.isnan(there)])
