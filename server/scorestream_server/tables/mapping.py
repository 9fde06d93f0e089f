"""Arrow files in memory: mapped, so that all who read them share one copy, and read where that cannot be done safely.

Of a user's file nothing but values is ever read through the map: what says where they are (the footer, the heads of
batches, dictionaries) is read into memory once, and stands in the map in the place of the file's own pages. So a
file that is written while it is read gives wrong values, which the next look at the file throws away, and no wrong
addresses.
"""

import ctypes
import functools
import mmap
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types as pat

from scorestream_server.domain.table import SourceFile
from scorestream_server.tables.columns import MAX_BATCH_BYTES, MAX_BATCH_ROWS
from scorestream_server.tables.identity import changed_error, difference
from scorestream_server.tables.ipc_messages import MalformedMessageError, file_blocks
from scorestream_server.tables.sigbus import Guard, guard

_MOST_OWN_PARTS = 4000
"""Each is a map of its own for the system, which allows a process some 65,000."""
_PAGE = mmap.PAGESIZE
_FAILED = ctypes.c_void_p(-1).value
_FIXED = 0x10
_LEAST_LET_GO = 1 << 16
"""Bytes; for fewer it is not worth a call."""


class ArrowMap:
    """An open Arrow IPC file.

    Attributes:
        source: for `pa.ipc.open_file`; what is read from it are views where the file is mapped.
    """

    def __init__(self, source: Any, guarded: "_Guarded | None" = None) -> None:
        self.source = source
        self._guarded = guarded

    @property
    def torn(self) -> bool:
        """Whether zeros were read where the file could not be."""
        return self._guarded is not None and self._guarded.torn

    @property
    def mapped(self) -> bool:
        """Whether it is mapped, and not read."""
        return self._guarded is not None

    def let_go(self, rows: pa.RecordBatch) -> None:
        """Have this process not hold the pages of rows that were read, so that it takes no more memory for a larger file.

        They stay in the system's cache, and whoever still has views of them reads them from there.

        Args:
            rows: from a reader of `source`, as they came.
        """
        if self._guarded is not None:
            for column in rows.columns:
                for start, end in _values(column):
                    self._guarded.let_go(start, end)


def open_arrow(file: SourceFile) -> ArrowMap:
    """Open an Arrow IPC file that is what it was when it was looked at.

    Raises:
        ScorestreamError: SOURCE_CHANGED.
        MalformedMessageError: it cannot be right.
        OSError: it cannot be read.
    """
    descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if what := difference(file, found):
            raise changed_error(file, what)
        guarded = _mapped(descriptor, found.st_size, _own_pages(descriptor, found.st_size))
        if guarded is not None:
            return ArrowMap(pa.BufferReader(guarded.buffer()), guarded)
        opened = os.fdopen(descriptor, "rb")
        descriptor = -1
        return ArrowMap(pa.PythonFile(opened, mode="r"))
    finally:
        if descriptor >= 0:
            os.close(descriptor)


class OpenArrow:
    """An Arrow IPC file that is open for reading its batches.

    Attributes:
        reader: not made for several threads, hence the lock.
    """

    def __init__(self, file: SourceFile) -> None:
        """Open a file; raises what `open_arrow` does."""
        self.file = file
        self.map = open_arrow(file)
        # No `included_fields`: with it Arrow copies each batch, and without it columns that nobody asks for cost nothing.
        self.reader = pa.ipc.open_file(self.map.source)
        self.lock = threading.Lock()


def copied_out(batch: pa.RecordBatch, width: float) -> Iterator[pa.RecordBatch]:
    """Yield a batch's rows with everything copied that other bytes depend on: offsets, indices, texts, null masks.

    Args:
        batch: from a file that may change at any moment; nothing of it is trusted.
        width: bytes a row, about; what is yielded at once has about `MAX_BATCH_BYTES` at most.

    Raises:
        pa.ArrowInvalid: offsets that lead nowhere, columns without their values.
    """
    rows = max(1, min(MAX_BATCH_ROWS, int(MAX_BATCH_BYTES / max(width, 1.0))))
    for start in range(0, batch.num_rows, rows):
        part = batch.slice(start, rows)
        columns = [_copied(column) for column in part.columns]
        yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def guarded_bytes(path: Path) -> pa.Buffer:
    """Return a file's bytes, mapped where that can be done safely, for code that believes nothing of what it reads.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        guarded = _mapped(descriptor, size, ())
    finally:
        os.close(descriptor)
    return pa.py_buffer(path.read_bytes()) if guarded is None else guarded.buffer()


def apart(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch's rows in memory of their own, which no file can change, for who keeps them."""
    return pa.ipc.read_record_batch(batch.serialize(), batch.schema)


class _Guarded:
    """A map of a file that the handler of SIGBUS takes care of, until nobody has a view of it any more."""

    def __init__(self, guard: Guard, slot: int, address: int, size: int) -> None:
        self._guard = guard
        self._slot = slot
        self._address = address
        self._size = size
        weakref.finalize(self, _let_go, guard, slot, address, _pages(size))

    @property
    def torn(self) -> bool:
        return self._guard.torn(self._slot)

    def let_go(self, start: int, end: int) -> None:
        """Drop the pages between two addresses, but those that something else is on, too."""
        # Memory of our own, in and beside the map, would lose what is in it: values have whole pages of the file alone.
        first, last = _pages(start), end // _PAGE * _PAGE
        inside = self._address <= first and last <= self._address + self._size
        if inside and last - first >= _LEAST_LET_GO:
            _libc().madvise(first, last - first, mmap.MADV_DONTNEED)

    def buffer(self) -> pa.Buffer:
        """Return its bytes, which keep it."""
        return pa.foreign_buffer(self._address, self._size, base=self)


def _mapped(descriptor: int, size: int, own: Sequence[tuple[int, int]]) -> _Guarded | None:
    """Map a file with some of its pages in memory of our own; None where that cannot be done, or not well."""
    takes_care = guard()
    if takes_care is None or not size or len(own) > _MOST_OWN_PARTS:
        return None
    libc = _libc()
    address = libc.mmap(None, _pages(size), mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == _FAILED:
        return None
    slot = takes_care.register(address, _pages(size))
    if slot is None:
        libc.munmap(address, _pages(size))
        return None
    guarded = _Guarded(takes_care, slot, address, size)
    return guarded if all(_own(descriptor, size, address, *part) for part in own) else None


def _own(descriptor: int, size: int, address: int, first: int, last: int) -> bool:
    """Put memory of our own in the place of some pages of a map, with what they hold; return whether that was done."""
    libc, kind = _libc(), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _FIXED
    place, writable = address + first, mmap.PROT_READ | mmap.PROT_WRITE
    if libc.mmap(place, last - first, writable, kind, -1, 0) == _FAILED:
        return False
    into = memoryview((ctypes.c_char * (min(last, size) - first)).from_address(place)).cast("B")
    _fill(descriptor, into, first)
    return not libc.mprotect(place, last - first, mmap.PROT_READ)


def _own_pages(descriptor: int, size: int) -> list[tuple[int, int]]:
    """Return the pages of all that is not the values of batches, put together where they touch, in order."""
    blocks = file_blocks(lambda offset, count: os.pread(descriptor, count, offset), size)
    parts = [(0, 8), (blocks.footer, size)]
    parts += [(offset, offset + metadata + body) for offset, metadata, body in blocks.dictionaries]
    parts += [(offset, offset + metadata) for offset, metadata, _ in blocks.batches]
    found: list[tuple[int, int]] = []
    for first, last in sorted((start // _PAGE * _PAGE, _pages(end)) for start, end in parts):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _fill(descriptor: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(descriptor, [into], offset)
        if not count:
            raise MalformedMessageError("it is shorter than it was")
        into, offset = into[count:], offset + count


def _pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _let_go(guard: Guard, slot: int, address: int, size: int) -> None:
    # In this order: a slot must not speak for addresses that may be somebody else's by now.
    guard.release(slot)
    _libc().munmap(address, size)


@functools.cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    number, size = ctypes.c_int, ctypes.c_size_t
    libc.mmap.argtypes = [ctypes.c_void_p, size, number, number, number, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, size]
    libc.mprotect.argtypes = [ctypes.c_void_p, size, number]
    libc.madvise.argtypes = [ctypes.c_void_p, size, number]
    return libc


def _values(column: pa.Array) -> Iterator[tuple[int, int]]:
    """Yield the addresses between which a column has its values; of texts, which are anywhere, those of its neighbours too."""
    kind, buffers = column.type, column.buffers()
    if pat.is_string(kind) or pat.is_binary(kind):
        width, texts = 4, buffers[2]
    elif pat.is_large_string(kind) or pat.is_large_binary(kind):
        width, texts = 8, buffers[2]
    elif (pat.is_primitive(kind) or pat.is_decimal(kind)) and not pat.is_boolean(kind):
        width, texts = kind.bit_width // 8, None
    else:
        return
    if buffers[1] is not None:
        start = buffers[1].address + column.offset * width
        yield start, start + len(column) * width
    if texts is not None:
        yield texts.address, texts.address + texts.size


def _copied(column: pa.Array) -> pa.Array:
    """Return a column with what other bytes depend on copied, and fixed-width values as they are."""
    kind, rows = column.type, len(column)
    if pat.is_null(kind) or not rows:
        return column
    # From the beginning of a byte of the null mask on; the array leaves out what comes before its first row.
    start = column.offset // 8 * 8
    shift = column.offset - start
    count = rows + shift
    buffers = column.buffers()
    mask = None if buffers[0] is None else _copy(buffers[0], start // 8, -(-count // 8))
    if isinstance(column, pa.DictionaryArray):
        width = kind.index_type.bit_width // 8
        parts = [mask, _copy(buffers[1], start * width, count * width)]
        codes = pa.Array.from_buffers(kind.index_type, rows, parts, offset=shift)
        # The dictionary itself was read into memory when the file was opened.
        return pa.DictionaryArray.from_arrays(codes, column.dictionary, ordered=kind.ordered, safe=False)
    if pat.is_boolean(kind):
        rest = [_copy(buffers[1], start // 8, -(-count // 8))]
    elif pat.is_string_view(kind) or pat.is_binary_view(kind):
        rest = [_copy(buffers[1], start * 16, count * 16)]
        rest += [_copy(buffer, 0, buffer.size) for buffer in buffers[2:]]
    elif pat.is_large_string(kind) or pat.is_large_binary(kind):
        rest = _texts(buffers, start, count, np.dtype(np.int64))
    elif pat.is_string(kind) or pat.is_binary(kind):
        rest = _texts(buffers, start, count, np.dtype(np.int32))
    else:
        width = kind.bit_width // 8
        rest = [_part(buffers[1], start * width, count * width)]
    return pa.Array.from_buffers(kind, rows, [mask, *rest], offset=shift)


def _texts(buffers: Sequence[pa.Buffer], start: int, count: int, kind: np.dtype[Any]) -> list[pa.Buffer]:
    """Return copies of the offsets of texts and of the texts."""
    width = kind.itemsize
    offsets = np.frombuffer(_copy(buffers[1], start * width, (count + 1) * width), kind)
    first, last = int(offsets[0]), int(offsets[-1])
    if not 0 <= first <= last:
        raise pa.ArrowInvalid("offsets of texts go backwards")
    texts = pa.py_buffer(b"") if first == last else _copy(buffers[2], first, last - first)
    return [pa.py_buffer(offsets - kind.type(first)), texts]


def _copy(buffer: pa.Buffer | None, start: int, size: int) -> pa.Buffer:
    # NumPy's copy lets others have the interpreter while it waits for a disk.
    return pa.py_buffer(np.frombuffer(_part(buffer, start, size), np.uint8).copy())


def _part(buffer: pa.Buffer | None, start: int, size: int) -> pa.Buffer:
    if buffer is None or start + size > buffer.size:
        raise pa.ArrowInvalid("a column is shorter than its rows")
    return buffer.slice(start, size)
