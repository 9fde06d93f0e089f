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
QUARTILES = (0.25, 0.5, 0.75)
FAR = 20.0
"""A histogram of values that lie wider apart than so many times the range of their middle half leaves the far ones out."""
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
    low, high = math.inf, -math.inf
    for values in batches():
        lacking = count_missing(values)
        count, missing, kind = count + len(values) - lacking, missing + lacking, values.type
        if _is_number(kind) and len(finite := _finite(values)):
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low <= high:
        return Distribution(column, count, missing, numbers=_numbers(batches, count, low, high))
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Distribution(column, count, missing, frequent=_frequent(batches))
    return Distribution(column, count, missing)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _numbers(batches: Callable[[], Iterator[pa.Array]], there: int, low: float, high: float) -> Numbers:
    """Return the figures of a column of numbers.

    Args:
        batches: the column.
        there: its values that are neither NULL nor NaN.
        low: the least finite one.
        high: the greatest.
    """
    random = np.random.default_rng(0)
    # A power of two, so that no digit is lost: squares of large numbers are more than a number can be.
    scale = math.ldexp(1.0, max(math.frexp(max(abs(low), abs(high)))[1] - 1, -1022))
    kept: list[Floats] = []
    share, held, count = 1.0, 0, 0
    mean = squares = 0.0
    for finite in map(_finite, batches()):
        if not len(finite):
            continue
        scaled = finite / scale
        # Chan's way to join means and sums of squares, which loses no digits.
        here, together = float(scaled.mean()), count + len(scaled)
        squares += float(np.square(scaled - here).sum()) + (here - mean) ** 2 * count * len(scaled) / together
        mean += (here - mean) * len(scaled) / together
        count = together
        kept.append(scaled if share >= 1 else scaled[random.random(len(scaled)) < share])
        held += len(kept[-1])
        if held > VALUES_KEPT:
            kept = [part[random.random(len(part)) < 0.5] for part in kept]
            share, held = share / 2, sum(map(len, kept))
    first, median, third = (float(found) * scale for found in np.quantile(np.concatenate(kept), QUARTILES))
    edges = _edges(*_shown(low, first, third, high))
    counts = np.zeros(len(edges) - 1, np.int64)
    below = 0
    for finite in map(_finite, batches()):
        counts += np.histogram(finite, edges)[0]
        below += int((finite < edges[0]).sum())
    return Numbers(
        mean * scale,
        math.sqrt(squares / count) * scale,
        low,
        (first, median, third),
        high,
        tuple(edges.tolist()),
        tuple(counts.tolist()),
        below,
        count - below - int(counts.sum()),
        sampled=share < 1,
        infinite=there - count,
    )


def _shown(low: float, first: float, third: float, high: float) -> tuple[float, float]:
    """Return the range of the histogram: all of it, unless a few far values would leave one bin for the others."""
    middle = third / 2 - first / 2
    if not middle or (high / 2 - low / 2) <= FAR * middle:
        return low, high
    return max(low, first - FAR * middle), min(high, third + FAR * middle)


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
    """Return the finite values as float64."""
    there: Floats = values.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
    return np.asarray(there[np.isfinite(there)])
