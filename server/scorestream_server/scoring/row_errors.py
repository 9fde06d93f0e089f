"""Which rows of a batch cannot be scored, and why."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scorestream_server.device.program import Vector
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError
from scorestream_server.domain.row_error import LONGEST_REASON, ROW_NOT_SCORED

NO_REASON = "the score code gives no reason"
"""What is said of a row whose ERROR has NULL, or nothing, as its reason."""
MOST_ROWS = 1 << 30
"""Of a batch, where nothing else limits it."""


class RowErrors:
    """Collects them while a batch is scored; of several reasons the one that is told first counts.

    Args:
        rows: of the batch.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._why: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._why)

    def add(self, places: NDArray[np.integer], reasons: Sequence[str | None]) -> None:
        """Note rows, each with its reason."""
        for place, reason in zip(places.tolist(), reasons, strict=True):
            self._why.setdefault(place, (reason or "")[:LONGEST_REASON])

    def first(self) -> tuple[int, str]:
        """Return the first such row and its reason; there must be one."""
        place = min(self._why)
        return place, self._why[place]

    def column(self) -> "pa.Array[pa.StringScalar]":
        """Return a reason a row, null where it can be scored."""
        if not self._why:
            return pa.nulls(self._rows, pa.string())
        return pa.array([self._why.get(place) for place in range(self._rows)], pa.string())

    def without_rows(self, columns: "Sequence[pa.Array]") -> "list[pa.Array]":
        """Return columns without these rows."""
        if not self._why:
            return list(columns)
        good = pa.array(self._good())
        return [column.filter(good) for column in columns]

    def without_values(self, columns: "Sequence[pa.Array]") -> "list[pa.Array]":
        """Return columns with null in these rows."""
        if not self._why:
            return list(columns)
        good = pa.array(self._good())
        return [pc.if_else(good, column, pa.scalar(None, column.type)) for column in columns]

    def _good(self) -> NDArray[np.bool_]:
        good = np.ones(self._rows, np.bool_)
        good[list(self._why)] = False
        return good


def row_failure(row: str, reason: str) -> ScorestreamError:
    """Return why a job fails of a row.

    Args:
        row: which it is, as the beginning of a sentence: ``Row 17 of the table``.
        reason: why it cannot be scored.
    """
    return ScorestreamError(
        ErrorCode.INVALID_ARGUMENT,
        ROW_NOT_SCORED,
        f"{row} cannot be scored: {reason}. Correct it or leave it out with where; with on_row_error = KEEP the job "
        "scores the other rows and says in the result why this one was not.",
        [FieldFault("row", reason)],
    )


def note_errors(
    errors: RowErrors | None, reasons: Sequence[str | int], numbers: Vector, outputs: Sequence[Vector]
) -> None:
    """Note the rows that a program gave up.

    Args:
        errors: takes them; None: the first one is raised.
        reasons: the program's, see `Program.errors`.
        numbers: of the rows' errors.
        outputs: all of the program's.

    Raises:
        ScorestreamError: ROW_NOT_SCORED.
    """
    met = np.ones(len(numbers), np.bool_) if numbers.null is None else ~np.asarray(numbers.null)
    places = np.flatnonzero(met)
    if not len(places):
        return
    found = RowErrors(len(numbers)) if errors is None else errors
    kinds = np.asarray(numbers.values)[places]
    for number in np.unique(kinds).tolist():
        here = places[kinds == number]
        reason = reasons[number - 1]
        if isinstance(reason, str):
            found.add(here, [reason] * len(here))
        else:
            told = outputs[reason].values.take(pa.array(here)).to_pylist()
            found.add(here, [one or NO_REASON for one in told])
    if errors is None:
        place, reason = found.first()
        raise row_failure(f"Row {place} of a batch", reason)
