"""Checksums of blocks: made while a cached file is written, compared when it is read."""

import os
from pathlib import Path

import xxhash

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import Block

CACHE_FULL = "CACHE_FULL"
_PIECE = 1 << 20


class BlockWriter:
    """Takes the checksums of an Arrow file batch by batch, as long as its pages are in memory.

    Args:
        room: how many bytes the file may have; None: any number.

    Attributes:
        blocks: those so far.
    """

    def __init__(self, room: int | None = None) -> None:
        self.blocks: list[Block] = []
        self._room = room
        self._at = 0

    def add(self, path: Path, end: int) -> None:
        """Take what was written since the last call; `end` is the file's size.

        Raises:
            ScorestreamError: CACHE_FULL.
        """
        if self._room is not None and end > self._room:
            raise ScorestreamError(
                ErrorCode.RESOURCE_EXHAUSTED,
                CACHE_FULL,
                f"The table takes more than the {self._room:,} bytes that the cache has room for.",
            )
        handle = os.open(path, os.O_RDONLY)
        try:
            found = digest(handle, self._at, end - self._at)
        finally:
            os.close(handle)
        self.blocks.append(Block(self._at, end - self._at, found))
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
