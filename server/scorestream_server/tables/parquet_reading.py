"""Rows of Parquet files, row group by row group: in memory, by way of a scratch file, or piece by piece."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from scorestream_server.domain.errors import NoMemoryError, counted
from scorestream_server.domain.table import Fragment, FragmentSlice, SourceFile
from scorestream_server.tables.columns import MAX_BATCH_ROWS, READ_ERRORS, corrupt, normalised, validated
from scorestream_server.tables.conditions import Condition
from scorestream_server.tables.handles import Handles
from scorestream_server.tables.large_rowgroups import Decoding, LargeRowGroup
from scorestream_server.tables.parquet_files import RowGroupLook, look, open_parquet
from scorestream_server.tables.pruning import excluded_row_groups
from scorestream_server.tables.rowgroups import RowGroupCache

LARGEST_IN_MEMORY = 160 << 20
"""A row group is kept in memory only if it is at most so large once decoded, for two lanes' groups must fit
into a worker's memory; a larger one is decoded by and by (see `LargeRowGroup`)."""
LARGE_KEPT = 64
_PIECE_ROWS = 65_536
_PIECE_BYTES = 16 << 20


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


class ParquetReader:
    """Reads row groups; shared by the lanes of a worker, thread-safe.

    Args:
        handles: for the footers of files, and what was found in them.
        cache_bytes: how much memory decoded row groups may keep between partitions.
    """

    def __init__(self, handles: Handles, cache_bytes: int) -> None:
        self._handles = handles
        self._in_memory: RowGroupCache[tuple[Any, ...], pa.Table] = RowGroupCache(
            cache_bytes, lambda table: table.nbytes
        )
        self._large: RowGroupCache[tuple[str, int, SourceFile], LargeRowGroup] = RowGroupCache(
            LARGE_KEPT, lambda _: 1
        )
        self._decoding = Decoding()
        self._largest = min(LARGEST_IN_MEMORY, cache_bytes)

    def forget(self, job: str) -> None:
        """Let go of what is decoded for a job alone."""
        self._large.drop(lambda key: key[0] == job)

    def make_room(self) -> None:
        """Let go of what can be decoded again."""
        self._in_memory.drop(lambda _: True)

    def rows(
        self,
        file: SourceFile,
        fragment: Fragment,
        part: FragmentSlice,
        target: pa.Schema,
        scratch: Scratch | None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows of a row group as the file has them; without scratch nothing is kept for other slices.

        Raises:
            ScorestreamError: CORRUPT_DATA; NO_MEMORY, naming the largest column.
        """
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
                pieces = source.iter_batches(
                    rows, row_groups=[fragment.part], columns=target.names, use_threads=False
                )
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
        return self._handles.get(("parquet", file), lambda: pq.read_metadata(file.path))

    def _look(self, file: SourceFile, part: int, target: pa.Schema) -> RowGroupLook:
        key = ("look", file, part, *target.names)
        try:
            metadata = self._metadata(file)
            found: RowGroupLook = self._handles.get(key, lambda: look(file, metadata, part, target))
        except READ_ERRORS as error:
            raise corrupt(f"The file {file.path!r} (row group {part})", error) from None
        return found

    def excluded(
        self, file: SourceFile, fragment: Fragment, where: Sequence[Condition], target: pa.Schema
    ) -> bool:
        """Return whether a row group's statistics say that no row passes."""
        if not where:
            return False
        # The conditions are kept with what they exclude: their ids are no other's as long as they are there.
        key = ("excluded", file, *map(id, where), *target.names)
        try:
            metadata = self._metadata(file)
            _, excluded = self._handles.get(
                key, lambda: (where, excluded_row_groups(file, metadata, where, target))
            )
        except READ_ERRORS as error:
            raise corrupt(f"The file {file.path!r}", error) from None
        return fragment.part in excluded
