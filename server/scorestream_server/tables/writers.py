"""Rows into one file: Parquet, Arrow or CSV. The file gets its name elsewhere."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from scorestream_server.domain.output import DEFAULT_GROUP_ROWS, OutputOptions
from scorestream_server.domain.table import OutputFormat

GROUP_BYTES = 64 << 20
"""A row group ends here at the latest, so that nobody who writes or reads one needs more memory."""
TEXT_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
"""What the last ending of a CSV file says."""


def write_file(
    path: Path,
    final: Path,
    form: OutputFormat,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    options: OutputOptions,
) -> int:
    """Write rows as a new file and return how many there were.

    Args:
        path: its name for now; nothing may be there.
        final: its name in the end, whose ending says how text is compressed.
        form: any but DATASET.
        batches: of this schema.
        schema: of the file; without rows it is there all the same.
        options: as `check_options` lets them pass for this format.
    """
    if form is OutputFormat.PARQUET:
        with ParquetFile(path, schema, options) as file:
            return _write_all(file, batches)
    if form is OutputFormat.ARROW:
        codec = None if options.compression in {"", "none"} else options.compression
        ipc = pa.ipc.IpcWriteOptions(compression=codec)
        with new_file(path) as sink, pa.ipc.new_file(sink, schema, options=ipc) as writer:
            return _write_all(writer, batches)
    compression = TEXT_COMPRESSION.get(final.suffix.lower())
    with new_file(path) as sink:
        if compression is None:
            with pacsv.CSVWriter(sink, schema) as writer:
                return _write_all(writer, batches)
        with (
            pa.CompressedOutputStream(sink, compression) as packed,
            pacsv.CSVWriter(packed, schema) as writer,
        ):
            return _write_all(writer, batches)


class ParquetFile:
    """A Parquet file being written, row group by row group.

    Attributes:
        rows: rows written so far.
        pending_bytes: of the rows that wait for their row group to be full.
    """

    def __init__(self, path: Path, schema: pa.Schema, options: OutputOptions) -> None:
        # Scores hardly compress, and a dictionary of them would be as long as they are; texts gain from both.
        texts = [
            field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)
        ]
        self.path = path
        self.rows = 0
        self.pending_bytes = 0
        self._schema = schema
        self._most_rows = options.row_group_rows or DEFAULT_GROUP_ROWS
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._sink = new_file(path)
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression=options.compression or "snappy",
            use_dictionary=texts or False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self.pending_bytes += batch.nbytes
        self.rows += batch.num_rows
        if self.pending_bytes >= GROUP_BYTES:
            self.flush()
        elif self._pending_rows >= self._most_rows:
            whole = pa.Table.from_batches(self._pending, self._schema)
            full = whole.num_rows // self._most_rows * self._most_rows
            self._writer.write_table(whole.slice(0, full), row_group_size=self._most_rows)
            self._pending = whole.slice(full).to_batches()
            self._pending_rows = whole.num_rows - full
            self.pending_bytes = sum(rest.nbytes for rest in self._pending)

    def flush(self) -> None:
        """End the row group."""
        rows = pa.Table.from_batches(self._pending, self._schema)
        self._writer.write_table(rows, row_group_size=self._most_rows)
        self._pending, self._pending_rows, self.pending_bytes = [], 0, 0

    def close(self) -> None:
        """Complete the file; without rows it has its columns."""
        if self._pending_rows or not self.rows:
            self.flush()
        self._writer.close()
        self._sink.close()

    def abort(self) -> None:
        """Let go of a file that will not be complete; may be called again."""
        # Both flush, which fails again on a full disk.
        for part in (self._writer, self._sink):
            with suppress(OSError, pa.ArrowException):
                part.close()


def new_file(path: Path) -> pa.NativeFile:
    """Open a file that is not there yet."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return pa.OSFile(str(path), "wb")


def _write_all(
    writer: ParquetFile | pa.ipc.RecordBatchFileWriter | pacsv.CSVWriter, batches: Iterable[pa.RecordBatch]
) -> int:
    rows = 0
    for batch in batches:
        writer.write_batch(batch)
        rows += batch.num_rows
    return rows
