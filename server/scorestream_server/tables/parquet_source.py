"""Parquet files: what their footers say, read by several threads, because a data set may have thousands of them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scorestream_server.domain.table import FileFormat, Fragment
from scorestream_server.tables.columns import READ_ERRORS, corrupt, normal_schema, row_width
from scorestream_server.tables.files import Cancelled, cancelled_error

THREADS = 4
_AT_ONCE = 64
"""Files whose footers are asked for ahead of the one that is looked at."""


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """One file: its columns by the rule for types, and its row groups."""

    schema: pa.Schema
    fragments: tuple[Fragment, ...]


def read_footers(paths: Sequence[tuple[Path, str]], cancelled: Cancelled) -> Iterator[ParquetSource]:
    """Yield what the footers of files say, in the order of the files.

    Args:
        paths: each with what errors call it.
        cancelled: asked for each.

    Raises:
        ScorestreamError: CORRUPT_DATA, BAD_COLUMN_NAMES; CANCELLED.
    """
    threads = ThreadPoolExecutor(min(THREADS, len(paths)), "footers")
    try:
        for start in range(0, len(paths), _AT_ONCE):
            asked = [threads.submit(_footer, *one) for one in paths[start : start + _AT_ONCE]]
            for one in asked:
                if cancelled():
                    raise cancelled_error()
                yield one.result()
    finally:
        threads.shutdown(cancel_futures=True)


def _footer(path: Path, name: str) -> ParquetSource:
    try:
        metadata = pq.read_metadata(path)
        schema = normal_schema(metadata.schema.to_arrow_schema(), f"The file {name!r}")
        return ParquetSource(schema, tuple(_row_groups(path, name, metadata, schema)))
    except READ_ERRORS as error:
        raise corrupt(f"The file {name!r}", error) from None


def _row_groups(path: Path, name: str, metadata: pq.FileMetaData, schema: pa.Schema) -> Iterator[Fragment]:
    """Yield a file's row groups with their decoded sizes: rows times width, and for text what the footer says."""
    fixed = row_width(schema)
    for part in range(metadata.num_row_groups):
        group = metadata.row_group(part)
        if group.num_rows < 0:
            raise corrupt(f"The file {name!r}", f"row group {part} has a negative number of rows")
        yield Fragment(
            str(path),
            FileFormat.PARQUET,
            part,
            group.num_rows,
            max(int(group.num_rows * fixed), group.total_byte_size),
        )
