"""Checksums of blocks: made while a cached file is written, compared when it is read."""

import os

import xxhash

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import Block

CACHE_FULL = "CACHE_FULL"
_PIECE = 1 << 20


class BlockWriter:
    """Takes the checksums of an Arrow file batch by batch, of what is written to it.

    Args:
        room: how many bytes the file may have; None: any number.

    Attributes:
        blocks: those so far.
    """

    def __init__(self, room: int | None = None) -> None:
        self.blocks: list[Block] = []
        self._room = room
        self._at = 0
        self._checksum = xxhash.xxh3_64()

    def take(self, data: memoryview) -> None:
        """Take the next bytes of the file."""
        self._checksum.update(data)

    def add(self, end: int) -> None:
        """Make a block of what was taken since the last call; `end` is the file's size.

        Raises:
            ScorestreamError: CACHE_FULL.
        """
        if self._room is not None and end > self._room:
            raise ScorestreamError(
                ErrorCode.RESOURCE_EXHAUSTED,
                CACHE_FULL,
                f"The table takes more than the {self._room:,} bytes that the cache has room for.",
            )
        self.blocks.append(Block(self._at, end - self._at, self._checksum.intdigest()))
        self._checksum = xxhash.xxh3_64()
        self._at = end


def digest(handle: int, offset: int, size: int) -> int:
    """Return the checksum of bytes of an open file, as many as there are of them."""
    checksum = xxhash.xxh3_64()
    end = offset + size
    while offset < end and (piece := os.pread(handle, min(_PIECE, end - offset), offset)):
        checksum.update(piece)
        offset += len(piece)
    return checksum.intdigest()


def is_whole(handle: int, block: Block) -> bool:
    """Return whether a block of an open file is what was written."""
    try:
        return digest(handle, block.offset, block.bytes) == block.xxh3
    except OSError:  # a disk that cannot read it any more
        return False


def copy_block(handle: int, block: Block, to: int) -> bool:
    """Append a block to another file, and return whether what was copied is what was written."""
    checksum = xxhash.xxh3_64()
    offset, end = block.offset, block.offset + block.bytes
    while offset < end and (piece := os.pread(handle, min(_PIECE, end - offset), offset)):
        checksum.update(piece)
        offset += len(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(to, rest) :]
    return checksum.intdigest() == block.xxh3
