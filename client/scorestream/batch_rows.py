"""Rows of a batch as they came: found by the number of their record."""

import bisect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

ROW_ERROR = "row_error"
"""The column that says why a row has no scores."""


class BatchRows:
    """Result rows, with the numbers of their records, in ascending order.

    Args:
        number: name of the column with the numbers.
        batches: the rows.
    """

    def __init__(self, number: str, batches: "Sequence[pa.RecordBatch]" = ()) -> None:
        self._number = number
        self._batches: list[pa.RecordBatch] = []
        self._numbers: list[Any] = []
        self._firsts: list[int] = []
        self._starts: list[int] = []
        self.count = 0
        for batch in batches:
            self.add(batch)

    def __len__(self) -> int:
        return self.count

    @property
    def batches(self) -> "tuple[pa.RecordBatch, ...]":
        """The rows as they came."""
        return tuple(self._batches)

    def add(self, batch: "pa.RecordBatch") -> None:
        """Take the rows that follow; those that are there, because somebody else read them meanwhile, are left out."""
        numbers = batch.column(self._number).to_numpy()
        if self._numbers:
            fresh = int(numbers.searchsorted(self._numbers[-1][-1], side="right"))
            batch, numbers = batch.slice(fresh), numbers[fresh:]
        if batch.num_rows == 0:
            return
        self._batches.append(batch)
        self._numbers.append(numbers)
        self._firsts.append(int(numbers[0]))
        self._starts.append(self.count)
        self.count += batch.num_rows

    def position(self, index: int) -> int | None:
        """Return where among the rows that of a record stands, or None where it is not among them."""
        place = bisect.bisect_right(self._firsts, index) - 1
        if place < 0:
            return None
        numbers = self._numbers[place]
        row = int(numbers.searchsorted(index))
        return self._starts[place] + row if row < len(numbers) and numbers[row] == index else None

    def row(self, position: int) -> dict[str, Any]:
        """Return the row at a position: its columns, the number left out."""
        place = bisect.bisect_right(self._starts, position) - 1
        (row,) = self._batches[place].slice(position - self._starts[place], 1).to_pylist()
        del row[self._number]
        return dict(row)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number of each record and its row."""
        for batch in self._batches:
            for start in range(0, batch.num_rows, 1024):
                for row in batch.slice(start, 1024).to_pylist():
                    yield row.pop(self._number), row

    def numbers(self) -> Any:
        """Return the numbers of the records, as a NumPy array."""
        import numpy as np  # noqa: PLC0415 - only whoever has rows has need of it

        return np.concatenate(self._numbers) if self._numbers else np.empty(0, np.int64)
