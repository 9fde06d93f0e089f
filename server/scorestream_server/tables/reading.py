"""Rows of a table, read by the lanes of a worker: projected, filtered, normalised, in row order."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, counted
from scorestream_server.domain.table import (
    FileFormat,
    Fragment,
    FragmentSlice,
    Partition,
    SourceFile,
    TableData,
)
from scorestream_server.tables.blocks import CachedFiles
from scorestream_server.tables.columns import (
    READ_ERRORS,
    corrupt,
    joined,
    normalised,
    project,
    unreadable_columns,
    validated,
)
from scorestream_server.tables.conditions import Condition, excluded_by_constants, filtered
from scorestream_server.tables.handles import Handles
from scorestream_server.tables.hive import completed, stored
from scorestream_server.tables.kept import current, unchanged
from scorestream_server.tables.mapping import OpenArrow, apart, copied_out
from scorestream_server.tables.parquet_reading import ParquetReader, Scratch

CACHE_BYTES = 192 << 20
LARGEST_HEAD_BYTES = 32 << 20
"""Of the first rows of a table: they are one message to a client."""


_Opened = tuple[OpenArrow, pa.RecordBatch]
"""A file, and rows that were taken out of it."""


class TableReader:
    """Reads partitions; one a worker process, shared by its lanes, thread-safe.

    Args:
        cache_bytes: how much memory decoded Parquet row groups may keep between partitions.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._handles = Handles()
        self._parquet = ParquetReader(self._handles, cache_bytes)
        self.cached_files = CachedFiles(self._reopen)
        """What is checked before it is read, and mended; it has something to tell of that."""

    def read(
        self,
        table: TableData,
        partition: Partition,
        columns: Sequence[str],
        where: Sequence[Condition] = (),
        *,
        scratch: Scratch | None,
        row_number: str = "",
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield a partition's rows that pass every condition.

        Args:
            table: the table.
            partition: one of the table's partitions.
            columns: what to return, in this order; may be empty (then batches have rows and no columns).
            where: conditions; a row for which one is false or null is left out.
            scratch: for Parquet row groups that are too large for memory; None: nothing is kept for other partitions.
            row_number: name of one more column behind them, int64, with the number of each row in the table.
            enough: asked behind each batch; True ends it there. Whoever stops by himself does not hear of a change.

        Yields:
            Batches of normalised columns, at most `MAX_BATCH_ROWS` rows each, none empty. Arrow columns
            that need no conversion are views of the mapped file; of a user's file only those of fixed width. What is
            to be used after the last batch must be copied before (`apart`). A file that changed is read from its
            kept version, if there is one.

        Raises:
            ScorestreamError: BLOCK_LOST; SOURCE_CHANGED (also after the last batch: then nothing of the partition may be
                used), CORRUPT_DATA, UNKNOWN_COLUMN, UNSUPPORTED_TYPE, WHERE_NOT_APPLICABLE, DISK_FULL.
        """
        number = (row_number, partition.first_row) if row_number else None
        return self._rows(table, partition.slices, columns, where, scratch, number, enough)

    def candidates(
        self, table: TableData, columns: Sequence[str], where: Sequence[Condition]
    ) -> Iterator[FragmentSlice]:
        """Yield those fragments, whole and in order, that may have rows which pass every condition.

        Raises:
            ScorestreamError: as `read` does.
        """
        slices = [FragmentSlice(at, 0, one.rows) for at, one in enumerate(table.fragments) if one.rows]
        target = _needed(table, slices, columns, where)
        used = self._used(table, slices, where, target)
        for part in slices:
            fragment = table.fragments[part.fragment]
            file = used.get(fragment.path)
            if file is not None and not self._excluded(file, fragment, where, target):
                yield part

    def _excluded(
        self, file: SourceFile, fragment: Fragment, where: Sequence[Condition], target: pa.Schema
    ) -> bool:
        """Return whether a row group's footer says that no row passes."""
        here = stored(target, fragment)
        return fragment.format is FileFormat.PARQUET and self._parquet.excluded(file, fragment, where, here)

    def forget(self, job: str) -> None:
        """Let go of what is decoded for a job alone."""
        self._parquet.forget(job)

    def make_room(self) -> None:
        """Let go of what can be decoded again."""
        self._parquet.make_room()

    def head(self, table: TableData, limit: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a table's first ``limit`` rows; columns that cannot be read are left out unless named.

        Raises:
            ScorestreamError: as `read` does; HEAD_TOO_LARGE.
        """
        schema = pa.ipc.read_schema(pa.py_buffer(table.schema))
        if columns is None:
            hidden = unreadable_columns(schema)
            columns = [name for name in schema.names if name not in hidden]
        left = limit
        slices = []
        for number, fragment in enumerate(table.fragments):
            if left <= 0:
                break
            slices.append(FragmentSlice(number, 0, min(left, fragment.rows)))
            left -= fragment.rows
        batches: list[pa.RecordBatch] = []
        size = 0
        for batch in self._rows(table, slices, columns, (), None):
            batches.append(apart(batch))
            size += batch.nbytes
            if size > LARGEST_HEAD_BYTES:
                raise ScorestreamError(
                    ErrorCode.RESOURCE_EXHAUSTED,
                    "HEAD_TOO_LARGE",
                    f"The table's first rows have more than {LARGEST_HEAD_BYTES:,} bytes in {counted(limit, 'row')}. "
                    "Ask for fewer rows.",
                )
        return pa.Table.from_batches(batches, project(schema, columns))

    def _rows(
        self,
        table: TableData,
        slices: Sequence[FragmentSlice],
        columns: Sequence[str],
        where: Sequence[Condition],
        scratch: Scratch | None,
        number: tuple[str, int] | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows of slices; without a scratch folder nothing is kept for later slices.

        Where there is a `number`, rows get one more column of this name, which counts from there on.
        """
        target = _needed(table, slices, columns, where)
        used = self._used(table, slices, where, target)
        opened: list[_Opened] = []

        numbered = [number[0]] if number else []
        wanted = [*columns, *numbered]

        def batches() -> Iterator[pa.RecordBatch]:
            ends = itertools.accumulate((one.rows for one in slices), initial=number[1] if number else 0)
            for part, at in zip(slices, ends, strict=False):
                fragment = table.fragments[part.fragment]
                file = used.get(fragment.path)
                if file is None or not part.rows:
                    continue
                for batch in self._slice(file, fragment, part, where, target, opened, scratch):
                    full = _numbered(batch, numbered, at)
                    at += batch.num_rows  # noqa: PLW2901 - it counts on within the slice
                    yield filtered(full, where).select(wanted)

        # Batches without columns cannot be put together.
        found = batches()
        for one in joined(found) if wanted else (batch for batch in found if batch.num_rows):
            yield one
            if enough():
                break
        unchanged(used.values())
        self._check_whole(opened)
        for handle, rows in opened:  # and nobody needs them any more
            handle.map.let_go(rows)

    def _used(
        self,
        table: TableData,
        slices: Sequence[FragmentSlice],
        where: Sequence[Condition],
        target: pa.Schema,
    ) -> dict[str, SourceFile]:
        """Return the files to read for slices, by the paths that fragments have."""
        files = self.cached_files.checked(table, slices)
        constants = {
            fragment.path: fragment.constants
            for fragment in (table.fragments[part.fragment] for part in slices)
        }
        # Those that the names of their directories exclude are not even looked at.
        return {
            path: current(files[path], table.kept)
            for path, values in constants.items()
            if not excluded_by_constants(values, where, target)
        }

    def _slice(
        self,
        file: SourceFile,
        fragment: Fragment,
        part: FragmentSlice,
        where: Sequence[Condition],
        target: pa.Schema,
        opened: list[_Opened],
        scratch: Scratch | None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows of a fragment, normalised, with the columns of its directories; none where its footer excludes it."""
        here = stored(target, fragment)
        if fragment.format is FileFormat.ARROW:
            found = self._arrow(file, fragment, part, here, opened)
        elif self._excluded(file, fragment, where, target):
            return
        else:
            found = self._parquet.rows(file, fragment, part, here, scratch)
        values = dict(fragment.constants)
        for raw in found:
            for batch in normalised(validated(raw, f"The file {fragment.path!r}"), here):
                yield completed(batch, values, target)

    def _arrow(
        self,
        file: SourceFile,
        fragment: Fragment,
        part: FragmentSlice,
        target: pa.Schema,
        opened: list[_Opened],
    ) -> Iterator[pa.RecordBatch]:
        try:
            handle: OpenArrow = self._handles.get(("arrow", file), lambda: OpenArrow(file))
            with handle.lock:  # the reader is not made for several threads; nothing is copied or decoded here
                batch = handle.reader.get_batch(fragment.part)
            if batch.num_rows != fragment.rows:
                raise corrupt(
                    f"The file {file.path!r}", "a record batch has another number of rows than before"
                )
            rows = batch.select(target.names).slice(part.offset, part.rows)
            opened.append((handle, rows))
            if file.inode and handle.map.mapped:
                yield from copied_out(rows, fragment.bytes / max(1, fragment.rows))
            else:
                yield rows
        except READ_ERRORS as error:
            raise corrupt(f"The file {file.path!r}", error) from None

    def _check_whole(self, opened: Sequence[_Opened]) -> None:
        """Raise where zeros stood for what could not be read; the file is mapped anew the next time."""
        for handle, _ in opened:
            if handle.map.torn:
                self._handles.drop(("arrow", handle.file).__eq__)
                raise corrupt(f"The file {handle.file.path!r}", "its disk could not read a part of it")

    def _reopen(self, path: str) -> None:
        """Let go of an Arrow file whose name stands for another one now."""
        self._handles.drop(lambda key: key[0] == "arrow" and key[1].path == path)


def _needed(
    table: TableData, slices: Sequence[FragmentSlice], columns: Sequence[str], where: Sequence[Condition]
) -> pa.Schema:
    """Return what has to be read for some columns and conditions."""
    schema = pa.ipc.read_schema(pa.py_buffer(table.schema))
    needed = list(dict.fromkeys([*columns, *(name for condition in where for name in condition.columns)]))
    given = {name for part in slices[:1] for name, _ in table.fragments[part.fragment].constants}
    if given.issuperset(needed):  # rows are counted by some column of the file
        hidden = unreadable_columns(schema).keys() | given
        needed += [name for name in schema.names if name not in hidden][:1]
    return project(schema, needed)


def _numbered(batch: pa.RecordBatch, names: Sequence[str], at: int) -> pa.RecordBatch:
    """Return the rows with their numbers, from `at` on, in a column of each of these names."""
    for name in names:
        batch = batch.append_column(name, pa.array(np.arange(at, at + batch.num_rows)))
    return batch
