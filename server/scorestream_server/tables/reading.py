"""Rows of a table, read by the lanes of a worker: projected, filtered, normalised, in row order."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from scorestream_server.domain.errors import ErrorCode, NoMemoryError, ScorestreamError, counted
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
    MAX_BATCH_ROWS,
    READ_ERRORS,
    corrupt,
    joined,
    normalised,
    project,
    unreadable_columns,
    validated,
)
from scorestream_server.tables.conditions import Condition, excluded_by_constants, filtered, never_true
from scorestream_server.tables.hive import completed, stored
from scorestream_server.tables.kept import current, unchanged
from scorestream_server.tables.large_rowgroups import Decoding, LargeRowGroup
from scorestream_server.tables.mapping import OpenArrow, apart, copied_out
from scorestream_server.tables.parquet_files import RowGroupLook, look, open_parquet, probe
from scorestream_server.tables.rowgroups import RowGroupCache

LARGEST_IN_MEMORY = 160 << 20
"""A Parquet row group is kept in memory only if it is at most so large once decoded, for two lanes' groups must fit
into a worker's memory; a larger one is decoded by and by (see `LargeRowGroup`)."""
CACHE_BYTES = 192 << 20
LARGEST_HEAD_BYTES = 32 << 20
"""Of the first rows of a table: they are one message to a client."""
LARGE_KEPT = 64
_PIECE_ROWS = 65_536
_PIECE_BYTES = 16 << 20
_OPEN_FILES = 128


_Opened = tuple[OpenArrow, pa.RecordBatch]
"""A file, and rows that were taken out of it."""


class Scratch(NamedTuple):
    """What a job has to itself while its rows are read.

    Attributes:
        job: its id; its partitions are read once each.
        folder: where there is room for decoded rows; no name ever appears there.
        moving: called again and again while rows are decoded or waited for.
    """

    job: str
    folder: Path
    moving: Callable[[], object] = lambda: None


class TableReader:
    """Reads partitions; one a worker process, shared by its lanes, thread-safe.

    Args:
        cache_bytes: how much memory decoded Parquet row groups may keep between partitions.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._in_memory: RowGroupCache[tuple[Any, ...], pa.Table] = RowGroupCache(
            cache_bytes, lambda table: table.nbytes
        )
        self._large: RowGroupCache[tuple[str, int, SourceFile], LargeRowGroup] = RowGroupCache(
            LARGE_KEPT, lambda _: 1
        )
        self._decoding = Decoding()
        self._largest = min(LARGEST_IN_MEMORY, cache_bytes)
        self._open: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()
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

    def forget(self, job: str) -> None:
        """Let go of what is decoded for a job alone."""
        self._large.drop(lambda key: key[0] == job)

    def make_room(self) -> None:
        """Let go of what can be decoded again."""
        self._in_memory.drop(lambda _: True)

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
        schema = pa.ipc.read_schema(pa.py_buffer(table.schema))
        needed = list(dict.fromkeys([*columns, *(name for condition in where for name in condition.columns)]))
        given = {name for part in slices[:1] for name, _ in table.fragments[part.fragment].constants}
        if given.issuperset(needed):  # rows are counted by some column of the file
            hidden = unreadable_columns(schema).keys() | given
            needed += [name for name in schema.names if name not in hidden][:1]
        target = project(schema, needed)
        files = self.cached_files.checked(table, slices)
        constants = {
            fragment.path: fragment.constants
            for fragment in (table.fragments[part.fragment] for part in slices)
        }
        # Those that the names of their directories exclude are not even looked at.
        used = {
            path: current(files[path], table.kept)
            for path, values in constants.items()
            if not excluded_by_constants(values, where, target)
        }
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
        elif self._excluded(file, fragment, where, here):
            return
        else:
            found = self._parquet_rows(file, fragment, part, here, scratch)
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
            handle: OpenArrow = self._handle(("arrow", file), lambda: OpenArrow(file))
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
                with self._lock:
                    self._open.pop(("arrow", handle.file), None)
                raise corrupt(f"The file {handle.file.path!r}", "its disk could not read a part of it")

    def _parquet_rows(
        self,
        file: SourceFile,
        fragment: Fragment,
        part: FragmentSlice,
        target: pa.Schema,
        scratch: Scratch | None,
    ) -> Iterator[pa.RecordBatch]:
        seen = self._look(file, fragment.part, target)
        try:
            if scratch is None:
                yield from self._streamed(file, fragment, part, target, seen)
            elif not seen.known or seen.width * fragment.rows > self._largest:
                yield from self._from_large(file, fragment, part, target, seen, scratch)
            else:
                yield from self._from_memory(file, fragment, part, target, seen)
        except MemoryError as error:
            raise NoMemoryError(
                f"The file {file.path!r} (row group {fragment.part}; its largest column by the footer is "
                f"{seen.largest!r}, {seen.largest_bytes:,} bytes)",
                error,
            ) from None

    def _from_memory(
        self,
        file: SourceFile,
        fragment: Fragment,
        part: FragmentSlice,
        target: pa.Schema,
        seen: RowGroupLook,
    ) -> Iterator[pa.RecordBatch]:
        key = (file, fragment.part, *target.names)

        def decode() -> pa.Table:
            with open_parquet(file, self._metadata(file), seen.dictionaries) as source:
                table = source.read_row_group(fragment.part, columns=target.names).select(target.names)
            if table.num_rows != fragment.rows:
                raise pa.ArrowInvalid(
                    f"row group {fragment.part} has {counted(table.num_rows, 'row')}, not {fragment.rows:,}"
                )
            return table

        try:
            table = self._in_memory.get(key, fragment.rows, decode)
        except READ_ERRORS as error:
            raise corrupt(f"The file {file.path!r}", error) from None
        yield from table.slice(part.offset, part.rows).to_batches(max_chunksize=MAX_BATCH_ROWS)
        self._in_memory.release(key, part.rows)

    def _from_large(
        self,
        file: SourceFile,
        fragment: Fragment,
        part: FragmentSlice,
        target: pa.Schema,
        seen: RowGroupLook,
        scratch: Scratch,
    ) -> Iterator[pa.RecordBatch]:
        key = (scratch.job, part.fragment, file)
        whole = FragmentSlice(part.fragment, 0, fragment.rows)

        def pieces() -> Iterator[pa.RecordBatch]:
            for raw in self._streamed(file, fragment, whole, target, seen):
                yield from normalised(validated(raw, f"The file {file.path!r}"), target)

        def begin() -> LargeRowGroup:
            return LargeRowGroup(pieces(), fragment.rows, scratch.folder, self._decoding)

        found = None
        while found is None:
            try:
                found = self._large.get(key, fragment.rows, begin).read(
                    part.offset, part.rows, scratch.moving
                )
            except Exception:  # whoever comes next begins anew
                self._large.drop(lambda other: other == key)
                raise
            if found is None:
                self._large.drop(lambda other: other == key)
        yield from found
        self._large.release(key, part.rows)

    def _streamed(
        self,
        file: SourceFile,
        fragment: Fragment,
        part: FragmentSlice,
        target: pa.Schema,
        seen: RowGroupLook,
    ) -> Iterator[pa.RecordBatch]:
        """Decode a row group piece by piece; rows before the slice are decoded and dropped."""
        at, end = 0, part.offset + part.rows
        rows = max(1, min(_PIECE_ROWS, end, int(_PIECE_BYTES / max(seen.width, 1.0))))
        try:
            with open_parquet(file, self._metadata(file), seen.dictionaries) as source:
                pieces = source.iter_batches(rows, row_groups=[fragment.part], columns=target.names)
                for piece in pieces:
                    first, last = max(part.offset - at, 0), min(end - at, piece.num_rows)
                    if first < last:
                        yield piece.select(target.names).slice(first, last - first)
                    at += piece.num_rows
                    if at >= end:
                        return
        except READ_ERRORS as error:
            raise corrupt(f"The file {file.path!r}", error) from None
        raise corrupt(
            f"The file {file.path!r}",
            f"row group {fragment.part} has {counted(at, 'row')}, not {fragment.rows:,}",
        )

    def _metadata(self, file: SourceFile) -> pq.FileMetaData:
        """Return a file's footer, which is shared; an open file belongs to one thread."""
        return self._handle(("parquet", file), lambda: pq.read_metadata(file.path))

    def _look(self, file: SourceFile, part: int, target: pa.Schema) -> RowGroupLook:
        key = ("look", file, part, *target.names)
        try:
            metadata = self._metadata(file)
            found: RowGroupLook = self._handle(key, lambda: look(file, metadata, part, target))
        except READ_ERRORS as error:
            raise corrupt(f"The file {file.path!r} (row group {part})", error) from None
        return found

    def _excluded(
        self, file: SourceFile, fragment: Fragment, where: Sequence[Condition], target: pa.Schema
    ) -> bool:
        """Return whether a row group's statistics say that no row passes."""
        where = [one for one in where if set(one.columns) <= set(target.names)]
        if not where:
            return False
        try:
            columns = [name for condition in where for name in condition.columns]
            probe(file, self._metadata(file), fragment.part, columns)
            source = self._handle(("statistics", file), lambda: _open_statistics(file))
            group = source.subset(row_group_ids=[fragment.part])
            physical = source.physical_schema
        except READ_ERRORS as error:
            raise corrupt(f"The file {file.path!r}", error) from None
        return any(never_true(condition, group, physical, target) for condition in where)

    def _reopen(self, path: str) -> None:
        """Let go of an Arrow file whose name stands for another one now."""
        with self._lock:
            for key in [key for key in self._open if key[0] == "arrow" and key[1].path == path]:
                del self._open[key]

    def _handle(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return an open file, shared by all threads; the least recently used ones are dropped."""
        with self._lock:
            found = self._open.get(key)
            if found is not None:
                self._open.move_to_end(key)
                return found
        made = make()  # not under the lock: a slow disk would stop every lane
        with self._lock:
            found = self._open.setdefault(key, made)
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)
        return found


def _numbered(batch: pa.RecordBatch, names: Sequence[str], at: int) -> pa.RecordBatch:
    """Return the rows with their numbers, from `at` on, in a column of each of these names."""
    for name in names:
        batch = batch.append_column(name, pa.array(np.arange(at, at + batch.num_rows)))
    return batch


def _open_statistics(file: SourceFile) -> Any:
    import pyarrow.dataset as ds  # noqa: PLC0415  # see tables/conditions.py `filtered`

    return ds.ParquetFileFormat().make_fragment(file.path, pafs.LocalFileSystem())
