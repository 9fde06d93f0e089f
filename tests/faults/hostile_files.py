"""Small files that decode to much."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MIB = 1 << 20


def alike(rows: int, size: int) -> pa.Array:
    """Return texts that are all the same bytes in memory, so that they take none here."""
    views = np.zeros(rows, np.dtype([("size", "<i4"), ("start", "S4"), ("buffer", "<i4"), ("offset", "<i4")]))
    views["size"], views["start"] = size, b"xxxx"
    buffers = [None, pa.py_buffer(views.tobytes()), pa.py_buffer(b"x" * size)]
    return pa.Array.from_buffers(pa.string_view(), rows, buffers)


def constant(path: Path) -> None:
    """50 million times the same number: some 200 KB that decode to 381 MiB."""
    indices = np.zeros(50_000_000, np.int32)
    table = pa.table({"a": pa.DictionaryArray.from_arrays(indices, pa.array([1.5]))})
    table = table.cast(pa.schema([("a", pa.float64())]))
    pq.write_table(table, path, row_group_size=table.num_rows, compression="zstd")


def delta(path: Path) -> None:
    """2,048 texts of a MiB, each said to be as the one before: 2 GiB in some KB, of which the footer says nothing."""
    table = pa.table({"id": np.arange(2048), "letter": alike(2048, MIB)})
    pq.write_table(
        table,
        path,
        use_dictionary=False,
        column_encoding={"letter": "DELTA_BYTE_ARRAY", "id": "PLAIN"},
        compression="zstd",
        write_statistics=False,
    )


def page(path: Path) -> None:
    """700 texts of a MiB in one page."""
    table = pa.table({"id": np.arange(700), "letter": alike(700, MIB)})
    pq.write_table(
        table, path, use_dictionary=False, compression="zstd", data_page_size=1 << 30, write_statistics=False
    )


def dictionaries(path: Path) -> None:
    """An Arrow file of six dictionaries, each of one text of 200 MiB, compressed."""
    column = pa.DictionaryArray.from_arrays(np.zeros(10, np.int32), pa.array(["x" * (200 * MIB)]))
    table = pa.table({f"d{number}": column for number in range(6)})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(path), table.schema, options=options) as writer:
        writer.write_table(table)
