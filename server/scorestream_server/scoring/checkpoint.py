"""Whether a treelite checkpoint is whole: treelite itself believes every length in a file, and crashes or never ends."""

import struct
from typing import BinaryIO

MAJOR_VERSION = 4
_TYPES = {1: 4, 2: 4, 3: 8}
"""Bytes of a value by treelite's number for its type: uint32, float32, float64."""
_THRESHOLD, _LEAF = -1, -2
_HEADER_ARRAYS = (4, 4, 4, 4)  # classes, leaf shape, targets, class numbers: int32
_NODE_ARRAYS = (
    *(1, 4, 4, 4, 1),  # type, left, right, feature, default
    *(_LEAF, _THRESHOLD, 1, 1),  # leaf, threshold, operator, category side
)
_OTHER_ARRAYS = (
    *(_LEAF, 8, 8),  # leaf vectors, their begins and ends
    *(4, 8, 8),  # categories, their begins and ends
    *(8, 1, 8, 1, 8, 1),  # row count, hessian, gain; each with a flag whether it is there
)


def fault_of(file: BinaryIO, size: int) -> str:
    """Return what is wrong with the layout of a checkpoint, a phrase; empty where every length in it fits the file.

    Args:
        file: the file, at its beginning.
        size: its size in bytes.
    """
    try:
        _walk(_Walk(file, size))
    except _NotWholeError as error:
        return str(error)
    return ""


class _NotWholeError(Exception):
    pass


class _Walk:
    """Goes through a file from length to length."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    @property
    def left(self) -> int:
        """Bytes behind the place where it is."""
        return self._left

    def value(self, form: str) -> int:
        """Read one number."""
        layout = struct.Struct("<" + form)
        data = self._file.read(layout.size)
        if len(data) < layout.size:
            raise _NotWholeError("it is cut short")
        self._left -= layout.size
        return int(layout.unpack(data)[0])

    def skip(self, size: int) -> None:
        """Pass some bytes."""
        if size > self._left:
            raise _NotWholeError(f"it speaks of {size:,} bytes where {self._left:,} are left")
        self._file.seek(size, 1)
        self._left -= size

    def array(self, width: int) -> int:
        """Pass an array of values of so many bytes; return how many there are."""
        count = self.value("Q")
        self.skip(count * width)
        return count

    def no_extensions(self) -> None:
        """Pass the place where later versions may add fields."""
        if self.value("i"):
            raise _NotWholeError("it has fields that this server does not know")


def _walk(walk: _Walk) -> None:
    major = walk.value("i")
    if major != MAJOR_VERSION:
        raise _NotWholeError(
            f"it has version {major} of the format, and version {MAJOR_VERSION} is read; write it with treelite 4"
        )
    walk.skip(8)
    threshold, leaf = (_TYPES.get(walk.value("B"), 0) for _ in range(2))
    if not threshold or not leaf:
        raise _NotWholeError("its values have an unknown type")
    trees = walk.value("Q")
    walk.skip(4 + 1 + 1 + 4)  # features, task, average, targets
    for width in _HEADER_ARRAYS:
        walk.array(width)
    walk.array(1)  # the postprocessor's name
    walk.skip(4 + 4)  # its parameters
    walk.array(8)  # base scores
    walk.array(1)  # attributes
    walk.no_extensions()
    widths = {_THRESHOLD: threshold, _LEAF: leaf}
    # However many trees it says there are, each takes bytes: the end of the file ends this.
    for _ in range(trees):
        nodes = walk.value("i")
        walk.skip(1)
        for width in _NODE_ARRAYS:
            if walk.array(widths.get(width, width)) != nodes:
                raise _NotWholeError("the parts of a tree differ in length")
        for width in _OTHER_ARRAYS:
            walk.array(widths.get(width, width))
        walk.no_extensions()
        walk.no_extensions()
    if walk.left:
        raise _NotWholeError(f"{walk.left:,} bytes follow its last tree")
