"""Decoded Parquet row groups, shared by the lanes of one worker."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Group = TypeVar("Group")


@dataclass(eq=False)
class _Entry(Generic[Group]):
    rows_left: int
    size: int = 0
    group: "Future[Group]" = field(default_factory=Future)


class RowGroupCache(Generic[Key, Group]):
    """Keeps decoded row groups while partitions still need them; thread-safe.

    Several lanes work on partitions of one row group at once: the first one decodes it, the others wait for
    that. A row group goes when all of its rows were read, or as the least recently used one when the budget
    is passed. What a lane has in its hands stays alive until the lane lets go, whatever the cache does.

    Args:
        budget: how much to keep; a row group that is being decoded comes on top.
        size: what a row group takes of it.
    """

    def __init__(self, budget: int, size: Callable[[Group], int]) -> None:
        self._budget = budget
        self._size = size
        self._entries: OrderedDict[Key, _Entry[Group]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, rows: int, decode: Callable[[], Group]) -> Group:
        """Return a row group of ``rows`` rows, decoding it unless it is there or on its way.

        Raises:
            Exception: whatever ``decode`` raises, to every thread that waited for it.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            else:
                mine = self._entries[key] = _Entry[Group](rows)
        if entry is not None:
            return entry.group.result()
        try:
            group = decode()
        except BaseException as error:
            with self._lock:
                del self._entries[key]
            mine.group.set_exception(error)
            raise
        with self._lock:
            mine.size = self._size(group)
            mine.group.set_result(group)
            self._evict()
        return group

    def release(self, key: Key, rows: int) -> None:
        """Say that ``rows`` rows of a row group were read and will not be asked for again."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return
            entry.rows_left -= rows
            if entry.rows_left <= 0 and entry.group.done():
                del self._entries[key]

    def drop(self, wanted: Callable[[Key], bool]) -> None:
        """Let go of the row groups of these keys; one that is asked for again is decoded again."""
        with self._lock:
            for key, entry in list(self._entries.items()):
                if entry.group.done() and wanted(key):
                    del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)

    def _evict(self) -> None:
        held = sum(entry.size for entry in self._entries.values())
        for key, entry in list(self._entries.items()):
            if held <= self._budget:
                return
            if entry.group.done():
                held -= entry.size
                del self._entries[key]
