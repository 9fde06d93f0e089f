"""Rows of a table, filtered and put in order, written down as a client gets them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid
from scorestream_server.domain.rows import OrderBy, RowCursor, RowPart, RowQuery
from scorestream_server.domain.table import FileFormat, Fragment, FragmentSlice, Partition, TableData
from scorestream_server.tables.columns import project, unreadable_columns
from scorestream_server.tables.conditions import Condition
from scorestream_server.tables.files import cancelled_error, disk_errors
from scorestream_server.tables.mapping import apart
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.results import sliced

PIECE_BYTES = 64 << 20
"""What is written down at once, about; a client reads it while nothing else of it lies on the disk."""
LARGEST_SORTED = 1 << 30
_STEP_ROWS = 1 << 20
_ARROW_BYTES = 3 << 19
_CSV_BYTES = 1 << 19


def readable_schema(table: TableData) -> pa.Schema:
    """Return the columns of a table that can be read."""
    schema = pa.ipc.read_schema(pa.py_buffer(table.schema))
    hidden = unreadable_columns(schema)
    return pa.schema([field for field in schema if field.name not in hidden])


def write_rows(
    reader: TableReader,
    table: TableData,
    where: Sequence[Condition],
    query: RowQuery,
    cursor: RowCursor,
    path: Path,
    *,
    sort_bytes: int,
    cancelled: Callable[[], bool],
) -> tuple[tuple[RowPart, ...], RowCursor]:
    """Write the rows that come next, about `PIECE_BYTES` of them, one message behind the other.

    Args:
        reader: reads the table.
        table: the table, or a window of it.
        where: the query's predicate.
        query: which rows, and as what.
        cursor: where to begin.
        path: of the file to write; what an earlier try left there is replaced.
        sort_bytes: how much may be put in order.
        cancelled: asked between batches.

    Returns:
        The sizes of the messages, and where one has come. Of rows in an order that is the end.

    Raises:
        ScorestreamError: what reading raises; ORDER_TOO_LARGE, ORDER_NOT_POSSIBLE, CSV_NOT_POSSIBLE; DISK_FULL;
            CANCELLED.
    """
    schema = readable_schema(table)
    project(schema, [order.column for order in query.order_by])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    scan = _Scan(reader, table, where, schema, cursor, cancelled)
    found = (
        _ordered(scan, query.order_by, min(sort_bytes, LARGEST_SORTED)) if query.order_by else scan.given()
    )
    parts: list[RowPart] = []
    written = 0
    with disk_errors(path), path.open("xb") as file:
        for message, rows in _messages(found, schema, query):
            scan.step()
            file.write(message)
            parts.append(RowPart(len(message), rows))
            written += len(message)
            if written >= PIECE_BYTES and not query.order_by:
                scan.stop()
    return tuple(parts), scan.cursor


class _Scan:
    """Goes through a table, and knows how far it has come.

    Attributes:
        schema: of the rows.
        cursor: where it is; with rows that passed but were not given, see `given`.
    """

    def __init__(
        self,
        reader: TableReader,
        table: TableData,
        where: Sequence[Condition],
        schema: pa.Schema,
        cursor: RowCursor,
        cancelled: Callable[[], bool],
    ) -> None:
        self._reader = reader
        self._cancelled = cancelled
        self._table = table
        self._where = where
        self._stopped = False
        self.schema = schema
        self.cursor = cursor

    def step(self) -> None:
        """Say that something moves, and end where it was cancelled."""
        if self._cancelled():
            raise cancelled_error()

    def stop(self) -> None:
        """End behind the part that is being read: a row group is decoded once."""
        self._stopped = True

    def passing(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows that pass, whatever the cursor says of how many are to be given."""
        while not (self._stopped or self.cursor.ended(self._table)):
            self.step()
            at, offset = self.cursor.fragment, self.cursor.offset
            fragment = self._table.fragments[at]
            rows = self._step(fragment, offset)
            part = Partition(0, 0, rows, (FragmentSlice(at, offset, rows),))
            yield from self._reader.read(
                self._table,
                part,
                self.schema.names,
                self._where,
                scratch=None,
                enough=lambda: self.cursor.left == 0,
            )
            ended = offset + rows >= fragment.rows
            self.cursor = RowCursor(
                at + ended, 0 if ended else offset + rows, self.cursor.skip, self.cursor.left
            )

    def given(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows that are to be given."""
        for passed in self.passing():
            now = self.cursor
            batch = passed.slice(now.skip)
            if now.left is not None:
                batch = batch.slice(0, now.left)
            left = None if now.left is None else now.left - batch.num_rows
            self.cursor = RowCursor(now.fragment, now.offset, max(0, now.skip - passed.num_rows), left)
            if batch.num_rows:
                yield batch

    def finish(self) -> None:
        """Say that all is given."""
        self.cursor = RowCursor(len(self._table.fragments), 0, 0, 0)

    def _step(self, fragment: Fragment, offset: int) -> int:
        """Return how many rows of a part are read at once."""
        rows = fragment.rows - offset
        if fragment.format is FileFormat.ARROW:  # where the next step begins without a loss
            rows = min(rows, _STEP_ROWS)
        if not self._where and self.cursor.left is not None:
            rows = min(rows, self.cursor.skip + self.cursor.left)
        return rows


def _ordered(scan: _Scan, order_by: Sequence[OrderBy], most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows that are to be given, in order; of those that cannot be among them none is kept for long."""
    skip, left = scan.cursor.skip, scan.cursor.left
    wanted = None if left is None else skip + left
    scan.cursor = RowCursor(scan.cursor.fragment, scan.cursor.offset, 0, None)
    kept: list[pa.RecordBatch] = []
    size = 0
    for batch in scan.passing():
        kept.append(apart(batch))  # also because sorting trusts values to stay what they are
        size += batch.nbytes
        if size > most_bytes:
            kept = _first(kept, scan.schema, order_by, wanted).to_batches()
            size = sum(one.nbytes for one in kept)
            if size > most_bytes // 2:
                raise ScorestreamError(
                    ErrorCode.RESOURCE_EXHAUSTED,
                    "ORDER_TOO_LARGE",
                    f"What is to be put in order has more than the {most_bytes:,} bytes that a worker takes for that. Ask "
                    "for fewer rows with limit or where, or for the table's own order.",
                    [FieldFault("order_by", "too many rows")],
                )
    rows = _first(kept, scan.schema, order_by, wanted).slice(skip)
    scan.finish()
    yield from rows.to_batches()


def _first(
    batches: Sequence[pa.RecordBatch], schema: pa.Schema, order_by: Sequence[OrderBy], wanted: int | None
) -> pa.Table:
    """Return the first rows by an order, all of them without a number; rows that are alike keep theirs."""
    rows = pa.Table.from_batches(batches, schema)
    keys = [(order.column, "descending" if order.descending else "ascending") for order in order_by]
    try:
        places = pc.sort_indices(rows, sort_keys=keys)  # nulls come last by themselves
        return rows.take(places.slice(0, wanted))
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise invalid(
            "ORDER_NOT_POSSIBLE",
            f"Rows cannot be put in order by {', '.join(order.column for order in order_by)}: {error}.",
            [FieldFault("order_by", "a column has values without an order")],
        ) from None


def _messages(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, query: RowQuery
) -> Iterator[tuple[bytes, int]]:
    """Yield messages, with how many rows each has."""
    if query.csv:
        if query.header:
            yield _text(pa.RecordBatch.from_pylist([], schema), header=True), 0
        for batch in batches:
            for part in sliced(batch, _CSV_BYTES):
                yield _text(part, header=False), part.num_rows
        return
    for batch in batches:
        for part in sliced(batch, _ARROW_BYTES):
            yield part.serialize().to_pybytes(), part.num_rows


def _text(batch: pa.RecordBatch, *, header: bool) -> bytes:
    sink = pa.BufferOutputStream()
    try:
        pacsv.write_csv(batch, sink, pacsv.WriteOptions(include_header=header))
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise invalid(
            "CSV_NOT_POSSIBLE", f"The table's columns cannot all be written as CSV: {error}. Ask for Arrow."
        ) from None
    return bytes(sink.getvalue())
