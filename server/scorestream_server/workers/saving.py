"""Saving a table: its rows go to a file or data set, unless somebody else changed that."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from scorestream_server.domain.messages import SaveRows
from scorestream_server.domain.table import Published, SourceFile
from scorestream_server.tables.columns import project
from scorestream_server.tables.files import cancelled_error
from scorestream_server.tables.identity import (
    change,
    changed_since_load,
    etag,
    etag_at,
    files_at,
    source_in_place,
)
from scorestream_server.tables.kept import keep_replaced, steadily
from scorestream_server.tables.parquet_reading import Scratch
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.publish import publish
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.results import write_partition

_ROWS_AT_ONCE = 1 << 20


def save_rows(
    task: SaveRows, reader: TableReader, umask: int, cancelled: Callable[[], bool]
) -> tuple[Published, str]:
    """Write a table's rows to a destination; return what is there then, and its etag.

    The rows are written down in the data directory first, as those of a job are: all were read before anything
    appears at the destination, and again where a source changed meanwhile.

    Raises:
        ScorestreamError: SOURCE_CHANGED_SINCE_LOAD; UNSUPPORTED_TYPE, naming the columns; what reading and
            publishing raise. Nothing of it stands there then.
    """
    table, final = task.table, Path(task.destination.path)
    schema = pa.ipc.read_schema(pa.py_buffer(table.schema))
    schema = project(schema, schema.names)
    scratch = Scratch(f"save-{task.task_id}", Path(task.path).parent, moving=cancelled)

    def rows() -> Iterator[pa.RecordBatch]:
        for part in plan_partitions(table, _ROWS_AT_ONCE):
            for batch in reader.read(table, part, schema.names, scratch=scratch):
                if cancelled():
                    raise cancelled_error()
                yield batch

    written: SourceFile | None = None
    set_etag = ""

    def before(temporary: Path) -> None:
        nonlocal written, set_etag
        if temporary.is_dir():
            set_etag = etag_at(temporary)
        else:
            written = source_in_place(temporary)
        there = files_at(final)
        if etag_at(final) != task.etag:
            raise changed_since_load(final, task.destination)
        keep_replaced(final, task.needed, Path(task.kept))
        # Which may have taken its time, and changes the time of change itself.
        if any(change(replace(file, ctime_ns=0)) for file in there):
            raise changed_since_load(final, task.destination)

    path = Path(task.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = steadily(table, table.files, lambda: write_partition(path, rows(), schema))
        output = publish(
            [file],
            schema,
            task.destination,
            Path(task.journal),
            replace=bool(task.etag),
            umask=umask,
            cancelled=cancelled,
            before=before,
        )
    finally:
        reader.forget(scratch.job)
        path.unlink(missing_ok=True)
    return output, set_etag or _etag_of(final, written)


def _etag_of(final: Path, written: SourceFile | None) -> str:
    """Return the etag of the file that got its name; where another one has it by now, one that nothing matches."""
    if written is None:
        return etag_at(final)
    now = written  # its time of change was another one before it was renamed
    with contextlib.suppress(OSError):
        now = source_in_place(final)
    same = (now.inode, now.size, now.mtime_ns) == (written.inode, written.size, written.mtime_ns)
    return etag([now if same else written])
