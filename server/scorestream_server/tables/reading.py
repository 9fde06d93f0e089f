"""Rows of a table, read by the lanes of a worker: projected, filtered, normalised, in row order."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from scorestream_server.domain.errors import counted, precondition
from scorestream_server.domain.table import (
    FileFormat,
    Fragment,
    FragmentSlice,
    Partition,
    SourceFile,
    TableData,
)
from scorestream_server.tables.columns import (
    MAX_BATCH_ROWS,
    READ_ERRORS,
    corrupt,
    joined,
    normalised,
    project,
    row_width,
    unreadable_columns,
    validated,
)
from scorestream_server.tables.conditions import Condition, filtered, never_true
from scorestream_server.tables.large_rowgroups import Decoding, LargeRowGroup
from scorestream_server.tables.rowgroups import RowGroupCache

LARGEST_IN_MEMORY = 160 << 20
"""A Parquet row group is kept in memory only if it is at most so large once decoded, for two lanes' groups must fit
into a worker's memory; a larger one is decoded by and by (see `LargeRowGroup`)."""
CACHE_BYTES = 192 << 20
LARGE_KEPT = 64
_PIECE_ROWS = 65_536
_PIECE_BYTES = 16 << 20
_READ_BUFFER = 1 << 20
_OPEN_FILES = 128


class Scratch(NamedTuple):
    """What a job has to itself while its rows are read.

    Attributes:
        job: its id; its partitions are read once each.
        folder: where there is room for decoded rows; no name ever appears there.
    """

    job: str
    folder: Path


class TableReader:
    """Reads partitions; one a worker process, shared by its lanes, thread-safe.

    Args:
        cache_bytes: how much memory decoded Parquet row groups may keep between partitions.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._in_memory: RowGroupCache[tuple[Any, ...], pa.Table] = RowGroupCache(
            cache_bytes, lambda table: table.nbytes
        )
        self._large: RowGroupCache[tuple[str, int], LargeRowGroup] = RowGroupCache(LARGE_KEPT, lambda _: 1)
        self._decoding = Decoding()
        self._largest = min(LARGEST_IN_MEMORY, cache_bytes)
        self._open: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self,
        table: TableData,
        partition: Partition,
        columns: Sequence[str],
        where: Sequence[Condition] = (),
        *,
        scratch: Scratch,
    ) -> Iterator[pa.RecordBatch]:
        """Yield a partition's rows that pass every condition.

        Args:
            table: the table.
            partition: one of the table's partitions.
            columns: what to return, in this order; may be empty (then batches have rows and no columns).
            where: conditions; a row for which one is false or null is left out.
            scratch: for Parquet row groups that are too large for memory.

        Yields:
            Batches of normalised columns, at most `MAX_BATCH_ROWS` rows each, none empty. Arrow columns
            that need no conversion are views of the mapped file.

        Raises:
            ScorestreamError: SOURCE_CHANGED (also after the last batch: then nothing of the partition may be
                used), CORRUPT_DATA, UNKNOWN_COLUMN, UNSUPPORTED_TYPE, WHERE_NOT_APPLICABLE, DISK_FULL.
        """
        return self._rows(table, partition.slices, columns, where, scratch)

    def forget(self, job: str) -> None:
        """Let go of what is decoded for a job alone."""
        self._large.drop(lambda key: key[0] == job)

    def head(self, table: TableData, limit: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a table's first ``limit`` rows; columns that cannot be read are left out unless named.

        Raises:
            ScorestreamError: as `read` does.
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
        batches = list(self._rows(table, slices, columns, (), None))
        return pa.Table.from_batches(batches, project(schema, columns))

    def _rows(
        self,
        table: TableData,
        slices: Sequence[FragmentSlice],
        columns: Sequence[str],
        where: Sequence[Condition],
        scratch: Scratch | None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows of slices; without a scratch folder nothing is kept for later slices."""
        schema = pa.ipc.read_schema(pa.py_buffer(table.schema))
        needed = list(dict.fromkeys([*columns, *(name for condition in where for name in condition.columns)]))
        if not needed:  # rows are counted by some column
            hidden = unreadable_columns(schema)
            needed = [name for name in schema.names if name not in hidden][:1]
        target = project(schema, needed)
        share = row_width(target) / row_width(schema)
        files = {file.path: file for file in table.files}
        used = [files[path] for path in {table.fragments[part.fragment].path for part in slices}]
        _check_unchanged(used)

        def batches() -> Iterator[pa.RecordBatch]:
            for part in (one for one in slices if one.rows):
                fragment = table.fragments[part.fragment]
                file = files[fragment.path]
                if fragment.format is FileFormat.ARROW:
                    found = self._arrow(file, fragment, part, target)
                elif self._excluded(file, fragment, where, target):
                    continue
                elif scratch is None:
                    found = self._streamed(file, fragment, part, target)
                elif fragment.bytes * share > self._largest:
                    found = self._from_large(file, fragment, part, target, scratch)
                else:
                    found = self._from_memory(file, fragment, part, target)
                for raw in found:
                    for batch in normalised(validated(raw, f"The file {fragment.path!r}"), target):
                        yield filtered(batch, where).select(list(columns))

        # Batches without columns cannot be put together.
        found = batches()
        yield from joined(found) if columns else (batch for batch in found if batch.num_rows)
        _check_unchanged(used)

    def _arrow(
        self, file: SourceFile, fragment: Fragment, part: FragmentSlice, target: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        try:
            reader, lock = self._handle(("arrow", file), lambda: (_open_arrow(file), threading.Lock()))
            with lock:  # the reader is not made for several threads; nothing is copied or decoded here
                batch = reader.get_batch(fragment.part)
            if batch.num_rows != fragment.rows:
                raise corrupt(
                    f"The file {file.path!r}", "a record batch has another number of rows than before"
                )
            yield batch.select(target.names).slice(part.offset, part.rows)
        except READ_ERRORS as error:
            raise corrupt(f"The file {file.path!r}", error) from None

    def _from_memory(
        self, file: SourceFile, fragment: Fragment, part: FragmentSlice, target: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        key = (file, fragment.part, *target.names)

        def decode() -> pa.Table:
            with self._parquet(file, fragment.part, target) as source:
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
        self, file: SourceFile, fragment: Fragment, part: FragmentSlice, target: pa.Schema, scratch: Scratch
    ) -> Iterator[pa.RecordBatch]:
        key = (scratch.job, part.fragment)

        def pieces() -> Iterator[pa.RecordBatch]:
            for raw in self._streamed(file, fragment, FragmentSlice(part.fragment, 0, fragment.rows), target):
                yield from normalised(validated(raw, f"The file {file.path!r}"), target)

        def begin() -> LargeRowGroup:
            return LargeRowGroup(pieces(), fragment.rows, scratch.folder, self._decoding)

        found = None
        while found is None:
            try:
                found = self._large.get(key, fragment.rows, begin).read(part.offset, part.rows)
            except Exception:  # whoever comes next begins anew
                self._large.drop(lambda other: other == key)
                raise
            if found is None:
                self._large.drop(lambda other: other == key)
        yield from found
        self._large.release(key, part.rows)

    def _streamed(
        self, file: SourceFile, fragment: Fragment, part: FragmentSlice, target: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Decode a row group piece by piece; rows before the slice are decoded and dropped."""
        at, end = 0, part.offset + part.rows
        rows = max(1, min(_PIECE_ROWS, end, int(_PIECE_BYTES / max(row_width(target), 1.0))))
        try:
            with self._parquet(file, fragment.part, target) as source:
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

    def _parquet(self, file: SourceFile, part: int, target: pa.Schema) -> pq.ParquetFile:
        """Open a file for one row group; the footer is shared, the reader is not, for it belongs to one thread."""
        metadata = self._handle(("parquet", file), lambda: pq.read_metadata(file.path))
        texts = [
            field.name for field in target if pa.types.is_string(field.type) or pa.types.is_binary(field.type)
        ]
        dictionaries: Sequence[str] = ()
        if texts:
            key = ("dictionaries", file, part, *texts)
            dictionaries = self._handle(key, lambda: _dictionaries(file, metadata, part, texts))
        return _open_parquet(file, metadata, dictionaries)

    def _excluded(
        self, file: SourceFile, fragment: Fragment, where: Sequence[Condition], target: pa.Schema
    ) -> bool:
        """Return whether a row group's statistics say that no row passes."""
        if not where:
            return False
        try:
            metadata = self._handle(("parquet", file), lambda: pq.read_metadata(file.path))
            _probe(file, metadata, fragment.part, [name for condition in where for name in condition.columns])
            source = self._handle(("statistics", file), lambda: _open_statistics(file))
            group = source.subset(row_group_ids=[fragment.part])
            physical = source.physical_schema
        except READ_ERRORS as error:
            raise corrupt(f"The file {file.path!r}", error) from None
        return any(never_true(condition, group, physical, target) for condition in where)

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


def _check_unchanged(files: Iterable[SourceFile]) -> None:
    for file in files:
        try:
            found = os.stat(file.path)  # noqa: PTH116  the path is a plain string on the wire
            same = (found.st_size, found.st_mtime_ns) == (file.size, file.mtime_ns)
        except OSError:
            same = False
        if not same:
            raise precondition(
                "SOURCE_CHANGED",
                f"The file {file.path!r} was changed or removed after the table was loaded. Load the table again.",
                path=file.path,
            )


def _open_arrow(file: SourceFile) -> pa.RecordBatchFileReader:
    # No `included_fields`: with it Arrow copies each batch, and without it columns that nobody asks for cost nothing.
    return pa.ipc.open_file(pa.memory_map(file.path))


def _open_parquet(file: SourceFile, metadata: pq.FileMetaData, dictionaries: Sequence[str]) -> pq.ParquetFile:
    # Without the last two Arrow holds all compressed bytes of a row group at once: four times the memory of a stream.
    return pq.ParquetFile(
        file.path,
        metadata=metadata,
        read_dictionary=list(dictionaries),
        buffer_size=_READ_BUFFER,
        pre_buffer=False,
    )


def _probe(file: SourceFile, metadata: pq.FileMetaData, part: int, columns: Sequence[str]) -> None:
    """Read one row of some columns, so that a damaged column chunk raises.

    What else looks at a column chunk (its Python view, the pruning by statistics) does not raise: Arrow ends
    the process there.
    """
    with _open_parquet(file, metadata, ()) as source:
        next(source.iter_batches(1, row_groups=[part], columns=list(columns)), None)


def _dictionaries(file: SourceFile, metadata: pq.FileMetaData, part: int, texts: Sequence[str]) -> list[str]:
    """Return those text columns of a row group that are dictionary-encoded.

    They are decoded as dictionaries: as plain text, a short dictionary can stand for any amount of memory.
    """
    _probe(file, metadata, part, texts)
    group = metadata.row_group(part)
    found = []
    for at in range(metadata.num_columns):
        leaf = metadata.schema.column(at)
        if (
            leaf.path in texts
            and leaf.physical_type == "BYTE_ARRAY"
            and any("DICTIONARY" in name for name in group.column(at).encodings)
        ):
            found.append(leaf.path)
    return found


def _open_statistics(file: SourceFile) -> Any:
    return ds.ParquetFileFormat().make_fragment(file.path, pafs.LocalFileSystem())
