"""Parquet row groups that are too large for memory: decoded once, in order, for lanes that each want a part."""

import os
import tempfile
import threading
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import pyarrow as pa

from scorestream_server.tables.files import disk_errors

TAKEN_BYTES = 64 << 20
"""So many bytes of its own rows a lane takes with it when it decodes them; more would be too much memory."""

WAIT_SECONDS = 1.0
"""How often a lane that waits for another one's decoding says so."""

KEPT_BYTES = 64 << 20
"""So much of what a lane comes across stays in memory: lanes that begin together seldom come in order."""


class Decoding:
    """How many large row groups are in the middle of being decoded: three, whatever the number of lanes.

    An open row group holds a page, a dictionary and a read buffer of each of its columns, some 100 MiB for 28.
    Two are decoded as far as rows are asked for, and stay open between partitions, so that their first rows
    come at once. A row group that is begun meanwhile is decoded to its end, one such at a time.
    """

    def __init__(self) -> None:
        self.by_and_by = threading.Semaphore(2)
        self.to_the_end = threading.Lock()


@dataclass
class _Kept:
    piece: pa.RecordBatch
    rows_left: int


class LargeRowGroup:
    """The rows of a row group, for lanes that each read a part of it, once, in any order; thread-safe.

    A lane decodes up to the end of its part and takes its own rows with it. What it comes across on the way
    waits for the lane that wants it: a little in memory, the rest in a file without a name, so that nothing
    is left behind however the process ends. The file is read, not mapped: rows that were let go take no memory.

    Args:
        pieces: the decoded rows in order, all of one schema without dictionaries.
        rows: how many there are.
        folder: where there is room for the decoded rows.
        decoding: shared by the row groups of one worker.
    """

    def __init__(self, pieces: Iterable[pa.RecordBatch], rows: int, folder: Path, decoding: Decoding) -> None:
        self._pieces = iter(pieces)
        self._rest: pa.RecordBatch | None = None
        self._rows = rows
        self._folder = folder
        self._decoding = decoding
        self._lock = threading.Lock()
        self._ends: list[int] = []  # of each piece: the first row behind it, and its place in the file
        self._places: list[tuple[int, int] | None] = []
        self._kept: dict[int, _Kept] = {}
        self._kept_bytes = 0
        self._file: FileIO | None = None
        self._size = 0
        self._schema: pa.Schema | None = None
        self._failure: BaseException | None = None
        self._by_and_by = decoding.by_and_by.acquire(blocking=False)
        # Also where it is dropped in the middle.
        self._give_way = weakref.finalize(self, decoding.by_and_by.release) if self._by_and_by else None

    def read(
        self, offset: int, rows: int, moving: Callable[[], object] = lambda: None
    ) -> Iterator[pa.RecordBatch] | None:
        """Return ``rows`` rows from ``offset`` on, decoding what is not decoded yet; None if they were taken.

        Args:
            offset: the first row.
            rows: how many.
            moving: called again and again while rows are decoded, here or by the lane that is waited for.

        Raises:
            ScorestreamError: DISK_FULL.
            Exception: what ``pieces`` raises, also to everyone who asks for later rows afterwards.
        """
        end = offset + rows
        taken: dict[int, pa.RecordBatch] = {}
        with _held(self._lock, moving):
            if self._by_and_by:
                self._decode(end, offset, end, taken, moving)
            elif self._decoded < end:
                with _held(self._decoding.to_the_end, moving):
                    self._decode(self._rows, offset, end, taken, moving)
            first, last = bisect_right(self._ends, offset), bisect_right(self._ends, end - 1)
            numbers = [number for number in range(first, last + 1) if number not in taken]
            if any(self._places[number] is None and number not in self._kept for number in numbers):
                return None
            for number in numbers:
                if number in self._kept:
                    taken[number] = self._take(number, offset, end)
        return self._part(offset, end, first, taken)

    @property
    def _decoded(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _part(
        self, offset: int, end: int, number: int, taken: dict[int, pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        at = self._ends[number - 1] if number else 0
        while at < end:
            batch = taken.pop(number) if number in taken else self._stored(number)
            first, last = max(offset - at, 0), min(end - at, batch.num_rows)
            yield batch.slice(first, last - first)
            at += batch.num_rows
            number += 1

    def _take(self, number: int, offset: int, end: int) -> pa.RecordBatch:
        """Return a piece that was kept, and let go of it when this part has the last of its rows."""
        kept = self._kept[number]
        first = self._ends[number - 1] if number else 0
        kept.rows_left -= min(end, self._ends[number]) - max(offset, first)
        if kept.rows_left <= 0:
            del self._kept[number]
            self._kept_bytes -= kept.piece.nbytes
        return kept.piece

    def _decode(
        self,
        until: int,
        offset: int,
        end: int,
        taken: dict[int, pa.RecordBatch],
        moving: Callable[[], object],
    ) -> None:
        """Decode rows up to ``until``; those from ``offset`` to ``end`` are taken, as many as memory allows."""
        if self._failure is not None and self._decoded < until:
            raise self._failure
        size = 0
        try:
            while self._decoded < until:
                piece = self._next(offset, end)
                moving()
                keep = False
                mine = offset <= self._decoded < end and size + piece.nbytes <= TAKEN_BYTES
                if mine:
                    taken[len(self._ends)] = piece
                    size += piece.nbytes
                elif keep := self._by_and_by and self._kept_bytes + piece.nbytes <= KEPT_BYTES:
                    self._kept[len(self._ends)] = _Kept(piece, piece.num_rows)
                    self._kept_bytes += piece.nbytes
                self._places.append(None if mine or keep else self._store(piece))
                self._ends.append(self._decoded + piece.num_rows)
        except BaseException as failure:
            self._failure = failure
            self._close()
            raise
        if self._decoded >= self._rows:
            self._close()

    def _next(self, *borders: int) -> pa.RecordBatch:
        """Return the next rows, at least one, none beyond the next of the borders."""
        piece, self._rest = self._rest, None
        while piece is None or not piece.num_rows:
            piece = next(self._pieces)
        here = [border - self._decoded for border in borders]
        cut = min((rows for rows in here if 0 < rows < piece.num_rows), default=0)
        if cut:
            piece, self._rest = piece.slice(0, cut), piece.slice(cut)
        return piece

    def _store(self, piece: pa.RecordBatch) -> tuple[int, int]:
        """Append rows to the file; return where they are there."""
        with disk_errors(self._folder):
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            self._schema = piece.schema
            message = memoryview(piece.serialize())
            left = message
            while left:
                left = left[self._file.write(left) :]
        place = (self._size, len(message))
        self._size += len(message)
        return place

    def _stored(self, number: int) -> pa.RecordBatch:
        place = self._places[number]
        if self._file is None or place is None:
            raise LookupError(number)
        start, size = place
        found = os.pread(self._file.fileno(), size, start)
        if len(found) != size:
            raise OSError(f"a temporary file is {size - len(found):,} bytes short")
        return pa.ipc.read_record_batch(pa.py_buffer(found), self._schema)

    def _close(self) -> None:
        """Let go of the open row group; what is in the file stays."""
        self._pieces, self._rest = iter(()), None
        if self._give_way is not None:
            self._give_way()


@contextmanager
def _held(lock: threading.Lock, moving: Callable[[], object]) -> Iterator[None]:
    """Hold a lock; who has it may have much to decode, and tells so itself."""
    while not lock.acquire(timeout=WAIT_SECONDS):
        moving()
    try:
        yield
    finally:
        lock.release()
