"""How a table is cut into partitions: pure decisions, no I/O."""

from collections.abc import Sequence

import pyarrow as pa

from scorestream_server.domain.table import FileFormat, FragmentSlice, Partition, TableData
from scorestream_server.tables.columns import row_width

SPLIT_BYTES = 160 << 20
"""A Parquet row group is split over partitions only if it is at most so large once decoded: the reader keeps
it in its cache meanwhile (see `TableReader`), and two lanes' groups must fit into a worker's memory."""


def plan_partitions(
    table: TableData, target_rows: int, columns: Sequence[str] | None = None
) -> tuple[Partition, ...]:
    """Cut a table into contiguous row ranges of about ``target_rows`` rows, in order.

    A record batch of an Arrow file is cut anywhere. A Parquet row group that fits the reader's cache is cut
    into equal parts; a larger one is one partition, read in a stream. Short fragments share a partition.

    Args:
        table: the table.
        target_rows: the wanted size, at least 1; no partition is larger, except for a large row group.
        columns: the columns that will be read, for the size of a row group; None for all.
    """
    share = column_share(pa.ipc.read_schema(pa.py_buffer(table.schema)), columns)
    partitions: list[Partition] = []
    slices: list[FragmentSlice] = []
    first = rows = 0

    def close() -> None:
        nonlocal first, rows, slices
        if slices:
            partitions.append(Partition(len(partitions), first, rows, tuple(slices)))
            first, rows, slices = first + rows, 0, []

    for number, fragment in enumerate(table.fragments):
        if not fragment.rows:
            continue
        whole = fragment.format is FileFormat.PARQUET and fragment.bytes * share > SPLIT_BYTES
        if whole:
            close()
            slices, rows = [FragmentSlice(number, 0, fragment.rows)], fragment.rows
            close()
            continue
        # Equal parts, so that no lane ends with a sliver. What does not fill a partition stays open.
        parts = -(-fragment.rows // target_rows)
        for part in range(parts):
            start, end = fragment.rows * part // parts, fragment.rows * (part + 1) // parts
            if rows + end - start > target_rows:
                close()
            slices.append(FragmentSlice(number, start, end - start))
            rows += end - start
    close()
    return tuple(partitions)


def column_share(schema: pa.Schema, columns: Sequence[str] | None) -> float:
    """Return the part of a row's decoded bytes that ``columns`` (None: all) make up."""
    if columns is None or not schema.names:
        return 1.0
    wanted = set(columns)
    return row_width(pa.schema([field for field in schema if field.name in wanted])) / row_width(schema)
