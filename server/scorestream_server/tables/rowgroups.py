"""Decoded Parquet row groups, shared by the lanes of one worker."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(eq=False)
class _Entry:
    rows_left: int
    bytes: int = 0
    table: "Future[pa.Table]" = field(default_factory=Future)


class RowGroupCache:
    """Keeps decoded row groups while partitions still need them; thread-safe.

    Several lanes work on partitions of one row group at once: the first one decodes it, the others wait for
    that. A row group goes when all of its rows were read, or as the least recently used one when the budget
    is passed. What a lane has in its hands stays alive until the lane lets go, whatever the cache does.

    Args:
        budget: bytes of decoded row groups to keep; a row group that is being decoded comes on top.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, rows: int, decode: Callable[[], pa.Table]) -> pa.Table:
        """Return a row group of ``rows`` rows, decoding it unless it is there or on its way.

        Raises:
            Exception: whatever ``decode`` raises, to every thread that waited for it.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            else:
                mine = self._entries[key] = _Entry(rows)
        if entry is not None:
            return entry.table.result()
        try:
            table = decode()
        except BaseException as error:
            with self._lock:
                del self._entries[key]
            mine.table.set_exception(error)
            raise
        with self._lock:
            mine.bytes = table.nbytes
            mine.table.set_result(table)
            self._evict()
        return table

    def release(self, key: Hashable, rows: int) -> None:
        """Say that ``rows`` rows of a row group were read and will not be asked for again."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return
            entry.rows_left -= rows
            if entry.rows_left <= 0 and entry.table.done():
                del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)

    def _evict(self) -> None:
        held = sum(entry.bytes for entry in self._entries.values())
        for key, entry in list(self._entries.items()):
            if held <= self._budget:
                return
            if entry.table.done():
                held -= entry.bytes
                del self._entries[key]
