"""Results of a batch, as they were when they were asked for."""

import operator
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from scorestream.batch_records import BatchState, Execution, batch_state
from scorestream.batch_rows import ROW_ERROR, BatchRows
from scorestream.errors import FailedPreconditionError, OutOfRangeError, counted
from scorestream.records import JobInfo

from .job import AsyncJob

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class AsyncBatchResult:
    """Results of a batch, as they were when `results` of the batch was called; it does not change.

    An object of Arrow too (``__arrow_c_stream__``): polars, DuckDB and others take it as a table.

    Attributes:
        execution_id: the batch's identifier.
        state: the batch's state; ``"complete"`` and ``"Complete"`` are both equal to that of a complete batch.
        completed_item_count: records that are done.
        failed_item_count: those of them that could not be scored.
        total_item_count: records in all.
    """

    def __init__(self, info: JobInfo, rows: BatchRows | None, files: AsyncJob | None = None) -> None:
        self.execution_id = info.id
        self.state: BatchState = batch_state(info.state)
        self.total_item_count = info.rows_total
        self.completed_item_count = info.rows_done if rows is None else len(rows)
        self.failed_item_count = info.row_errors
        self._files = files
        self._info = info
        self._rows = BatchRows(info.row_number) if rows is None else rows
        self._shown = rows is not None

    def __repr__(self) -> str:
        done = f"{self.completed_item_count:,} of {counted(self.total_item_count, 'record')}"
        done += f", {self.failed_item_count:,} failed" if self.failed_item_count else ""
        why = f": {self._info.failure.message}" if self._info.failure is not None else ""
        return f"<BatchResult {self.execution_id}: {self.state}, {done}{why}>"

    async def __aiter__(self) -> AsyncIterator[Execution]:
        """Yield what became of each record that is done, in their order."""
        for position, (index, row) in enumerate(self._rows.rows()):
            yield await self._told(index, position, row)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_table().__arrow_c_stream__(requested_schema)

    async def execution(self, index: int) -> Execution:
        """Return what became of a record.

        Args:
            index: which, from 0.

        Raises:
            OutOfRangeError: there is no such record; an IndexError too.
            FailedPreconditionError: it was not scored yet when these results were asked for.
        """
        position = self.position(index)
        if position is not None:
            return await self._told(index, position, self._rows.row(position))
        why = self._info.failure.message if self._info.failure is not None else ""
        error = f"The batch was {self.state} before this record was scored. {why}".strip()
        return Execution(index, success=False, error=error)

    def position(self, index: int) -> int | None:
        """Return where in the job's result a record's row stands; None where the batch ended before it was scored.

        Raises:
            OutOfRangeError, FailedPreconditionError: as `execution`.
        """
        if not 0 <= operator.index(index) < self.total_item_count:
            raise OutOfRangeError(
                f"There is no record {index}; the batch has {counted(self.total_item_count, 'record')}, counted from 0.",
                reason="NO_SUCH_RECORD",
            )
        position = self._rows.position(operator.index(index))
        if position is None and not self.state.final:
            shown = "" if self._shown else " and partial results were not asked for"
            raise FailedPreconditionError(
                f"Record {index} is not scored yet: {self.completed_item_count:,} of {self.total_item_count:,} are"
                f"{shown}. Ask for results again.",
                reason="NOT_SCORED_YET",
            )
        return position

    def to_table(self) -> "pa.Table":
        """Return the outputs of the records that are done as an Arrow table; record 0 is row 0 if all are done."""
        import pyarrow as pa  # noqa: PLC0415 - pyarrow loads slowly; most calls need none

        from scorestream.arrow import schema_of  # noqa: PLC0415 - as above

        table = pa.Table.from_batches(self._rows.batches, schema=schema_of(self._info.result_schema))
        return table.drop_columns([self._info.row_number])

    def to_pandas(self) -> "pd.DataFrame":
        """Return the outputs of the records that are done as a data frame; its index is the record's number."""
        frame = self.to_table().to_pandas()
        if len(frame) < self.total_item_count:
            frame.index = self._rows.numbers()
        return frame

    async def _told(self, index: int, position: int, row: dict[str, Any]) -> Execution:
        """Return what a row, which stands there in the job's result, says of a record."""
        names = () if self._files is None else tuple(await self._files.artifacts(position))
        error = row.pop(ROW_ERROR, None)
        if error is not None:
            return Execution(index, success=False, error=error, artifacts=names)
        return Execution(index, success=True, error="", outputs=row, artifacts=names)
