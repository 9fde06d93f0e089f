"""What Arrow IPC messages claim about themselves, read before anything is decoded.

The Arrow reader decompresses and allocates what a message asks for. Here the claims are read first (is it
compressed, how many rows, how many bytes once decoded), so that a lie is refused and not paid for. Only the
few fields that this needs are read from the flatbuffers, every position checked against the buffer.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

MAGIC = b"ARROW1"
_DICTIONARY_BATCH = 2
_RECORD_BATCH = 3
_CONTINUATION = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class BatchClaim:
    """What one record batch or dictionary batch says it holds.

    Attributes:
        rows: how many rows.
        compressed: whether its buffers are compressed.
        bytes: what its buffers take once decoded.
        dictionary: whether it is the values of a dictionary and no rows.
    """

    rows: int
    compressed: bool
    bytes: int
    dictionary: bool


@dataclass(frozen=True, slots=True)
class FileClaims:
    """All batches of an Arrow IPC file, as its footer lists them."""

    dictionaries: tuple[BatchClaim, ...]
    batches: tuple[BatchClaim, ...]


@dataclass(frozen=True, slots=True)
class FileBlocks:
    """Where the parts of an Arrow IPC file are.

    Attributes:
        footer: where its footer begins; it goes up to the end.
        dictionaries: of each batch of them its offset, the size of its head, and that of the body behind it, in bytes.
        batches: of each batch of rows the same.
    """

    footer: int
    dictionaries: tuple[tuple[int, ...], ...]
    batches: tuple[tuple[int, ...], ...]


class MalformedMessageError(ValueError):
    """The bytes are not what the Arrow IPC format allows."""


class _Table:
    """A flatbuffers table at ``position`` of ``data``."""

    def __init__(self, data: memoryview, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - _number("<i", data, position)
        self._vtable_size = _number("<H", data, self._vtable)

    def _slot(self, index: int) -> int:
        """Return where field number ``index`` is, or 0 where it is absent."""
        entry = 4 + 2 * index
        if entry + 2 > self._vtable_size:
            return 0
        offset = _number("<H", self._data, self._vtable + entry)
        return self._position + offset if offset else 0

    def number(self, index: int, layout: str) -> int:
        slot = self._slot(index)
        return _number(layout, self._data, slot) if slot else 0

    def table(self, index: int) -> "_Table | None":
        slot = self._slot(index)
        return _Table(self._data, slot + _number("<I", self._data, slot)) if slot else None

    def structs(self, index: int, layout: str) -> Iterator[tuple[int, ...]]:
        """Return the structs of a vector field; ``layout`` is one struct's."""
        slot = self._slot(index)
        if not slot:
            return iter(())
        start = slot + _number("<I", self._data, slot)
        size = _number("<I", self._data, start) * struct.calcsize(layout)
        if start + 4 + size > len(self._data):
            raise MalformedMessageError("a list is longer than its message")
        # A copy: an iterator that holds on to a memoryview crashes the process, where an exception keeps both alive in
        # a cycle and the garbage collector clears the view first (CPython 3.11).
        return struct.iter_unpack(layout, bytes(self._data[start + 4 : start + 4 + size]))


def _number(layout: str, data: memoryview, position: int) -> int:
    if position < 0:
        raise MalformedMessageError("an offset points before its message")
    try:
        (value,) = struct.unpack_from(layout, data, position)
    except struct.error:
        raise MalformedMessageError("an offset points past its message") from None
    return int(value)


def batch_claim(metadata: memoryview, body: memoryview) -> BatchClaim | None:
    """Return what a message says, or None where it is no batch.

    Args:
        metadata: the flatbuffers message.
        body: the bytes that follow it.

    Raises:
        MalformedMessageError: the message cannot be right.
    """
    message = _Table(metadata, _number("<I", metadata, 0))
    kind = message.number(1, "<B")
    if kind not in {_DICTIONARY_BATCH, _RECORD_BATCH}:
        return None
    batch = message.table(2)
    if batch is not None and kind == _DICTIONARY_BATCH:
        batch = batch.table(1)
    if batch is None:
        raise MalformedMessageError("a batch has no header")
    rows = batch.number(0, "<q")
    compressed = batch.table(3) is not None
    size = 0
    for offset, length in batch.structs(2, "<qq"):
        if offset < 0 or length < 0 or offset + length > len(body):
            raise MalformedMessageError("a buffer lies outside of its message")
        # A compressed buffer begins with its decoded size; -1 says that this one was left as it is.
        claimed = _number("<q", body, offset) if compressed and length else -1
        size += length if claimed < 0 else claimed
    # Every column but a column of nulls has at least a bit a row.
    if rows < 0 or rows > max(8 * size, 1 << 20):
        raise MalformedMessageError(f"a batch claims {rows:,} rows, more than its bytes can hold")
    return BatchClaim(rows, compressed, size, kind == _DICTIONARY_BATCH)


def message_claim(data: pa.Buffer) -> BatchClaim | None:
    """Return what one encapsulated message (prefix, metadata, body) says, or None where it is no batch.

    Raises:
        MalformedMessageError: the message cannot be right.
    """
    view = memoryview(data).cast("B")
    start, size = _prefix(view, 0)
    return batch_claim(view[start : start + size], view[start + size :])


def stream_claims(view: memoryview) -> list[BatchClaim]:
    """Return what the batches of a (memory-mapped) Arrow IPC stream say; what follows its end does not matter.

    Raises:
        MalformedMessageError: the stream cannot be right.
    """
    claims = []
    at = 0
    while at < len(view) and _number("<I", view, at) != 0:
        first = _number("<I", view, at)
        if first == _CONTINUATION and _number("<i", view, at + 4) == 0:
            break
        start, size = _prefix(view, at)
        metadata = memoryview(bytes(view[start : start + size]))
        body = _Table(metadata, _number("<I", metadata, 0)).number(3, "<q")
        at = start + size + body
        if body < 0 or at > len(view):
            raise MalformedMessageError("a message is longer than its file")
        claim = batch_claim(metadata, view[start + size : at])
        if claim is not None:
            claims.append(claim)
    return claims


def file_claims(data: pa.Buffer | bytes) -> FileClaims:
    """Return what the batches of a (memory-mapped) Arrow IPC file say; one page a batch is touched.

    Raises:
        MalformedMessageError: the file cannot be right, for example because its end is missing.
    """
    view = memoryview(data).cast("B")
    blocks = file_blocks(lambda offset, size: bytes(view[offset : offset + size]), len(view))
    dictionaries, batches = (
        tuple(_block_claim(view, *block) for block in found)
        for found in (blocks.dictionaries, blocks.batches)
    )
    return FileClaims(dictionaries, batches)


def file_blocks(read: Callable[[int, int], bytes], size: int) -> FileBlocks:
    """Return where the parts of an Arrow IPC file are.

    Args:
        read: returns so many bytes from an offset on.
        size: of the file.

    Raises:
        MalformedMessageError: the file cannot be right, for example because its end is missing.
    """
    tail = size - len(MAGIC)
    if tail < 12 or read(0, len(MAGIC)) != MAGIC:
        raise MalformedMessageError("it does not begin as an Arrow IPC file")
    if read(tail, len(MAGIC)) != MAGIC:
        raise MalformedMessageError("its end is missing, it was probably cut short")
    length = _number("<i", memoryview(read(tail - 4, 4)), 0)
    if not 0 < length <= tail - 12:
        raise MalformedMessageError("its footer is damaged")
    footer_bytes = memoryview(read(tail - 4 - length, length))
    footer = _Table(footer_bytes, _number("<I", footer_bytes, 0))
    dictionaries, batches = (tuple(footer.structs(field, "<qi4xq")) for field in (2, 3))
    for offset, metadata, body in (*dictionaries, *batches):
        if min(offset, metadata, body) < 0 or offset + metadata + body > size:
            raise MalformedMessageError("a batch lies outside of the file")
    return FileBlocks(tail - 4 - length, dictionaries, batches)


def _block_claim(view: memoryview, offset: int, metadata: int, body: int) -> BatchClaim:
    start, size = _prefix(view, offset)
    claim = batch_claim(view[start : start + size], view[offset + metadata : offset + metadata + body])
    if claim is None:
        raise MalformedMessageError("its footer lists something that is no batch")
    return claim


def _prefix(view: memoryview, offset: int) -> tuple[int, int]:
    """Return where a message's metadata begin, and their size."""
    first = _number("<I", view, offset)
    if first != _CONTINUATION:
        raise MalformedMessageError(
            "a message has the form of Arrow before 0.15; write it with a newer Arrow"
        )
    size = _number("<i", view, offset + 4)
    if size <= 0 or offset + 8 + size > len(view):
        raise MalformedMessageError("a message is longer than its file")
    return offset + 8, size
