"""A reader of UBJSON, the binary JSON that XGBoost writes. Bounded: it allocates no more than the file holds."""

from typing import Any

import numpy as np

_NUMBERS: dict[str, np.dtype[Any]] = {
    "i": np.dtype("i1"),
    "U": np.dtype("u1"),
    "I": np.dtype(">i2"),
    "l": np.dtype(">i4"),
    "L": np.dtype(">i8"),
    "d": np.dtype(">f4"),
    "D": np.dtype(">f8"),
}
_WORDS = {"Z": None, "T": True, "F": False}
_DEEPEST = 64


class UbjsonError(ValueError):
    """The bytes are no UBJSON; the message says where reading stopped."""


def loads(data: bytes) -> Any:
    """Return what the bytes hold; typed arrays of numbers come as NumPy arrays.

    Raises:
        UbjsonError: the bytes end early, or hold something that is no UBJSON.
    """
    return _Reader(data).value(0)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def value(self, depth: int) -> Any:
        return self._typed(self._marker(), depth)

    def _typed(self, marker: str, depth: int) -> Any:
        if marker in _WORDS:
            return _WORDS[marker]
        if marker in _NUMBERS:
            kind = _NUMBERS[marker]
            return np.frombuffer(self._take(kind.itemsize), kind)[0].item()
        if marker in "SH":
            return self._text()
        if marker == "C":
            return self._take(1).decode("latin-1")
        if depth > _DEEPEST:
            raise UbjsonError(f"nested too deeply at byte {self._at}")
        if marker == "[":
            return self._array(depth)
        if marker == "{":
            return self._object(depth)
        raise UbjsonError(f"unknown marker {marker!r} at byte {self._at - 1}")

    def _array(self, depth: int) -> Any:
        kind, count = self._container()
        if kind in _NUMBERS and count is not None:
            numbers = _NUMBERS[kind]
            return np.frombuffer(self._take(count * numbers.itemsize), numbers).astype(
                numbers.newbyteorder("=")
            )
        items: list[Any] = []
        while not self._done(count, len(items), "]"):
            items.append(self._typed(kind, depth + 1) if kind else self.value(depth + 1))
        return items

    def _object(self, depth: int) -> dict[str, Any]:
        kind, count = self._container()
        items: dict[str, Any] = {}
        read = 0
        while not self._done(count, read, "}"):
            key = self._text()
            items[key] = self._typed(kind, depth + 1) if kind else self.value(depth + 1)
            read += 1
        return items

    def _container(self) -> tuple[str, int | None]:
        """Read what may stand before a container's items: their type and their number."""
        kind, count = "", None
        if self._peek() == "$":
            self._take(1)
            kind = self._marker()
            if self._peek() != "#":
                raise UbjsonError(f"a type without a count at byte {self._at}")
        if self._peek() == "#":
            self._take(1)
            count = self._count()
            # Each item takes a byte at least, unless its type is all there is to it.
            if count > len(self._data) - self._at:
                raise UbjsonError(f"a container at byte {self._at} claims more items than there are bytes")
        return kind, count

    def _done(self, count: int | None, read: int, closing: str) -> bool:
        if count is not None:
            return read >= count
        if self._peek() == closing:
            self._take(1)
            return True
        return False

    def _count(self) -> int:
        marker = self._marker()
        if marker not in "iUIlL":
            raise UbjsonError(f"a count is no whole number at byte {self._at - 1}")
        count = int(self._typed(marker, 0))
        if count < 0:
            raise UbjsonError(f"a count is negative at byte {self._at}")
        return count

    def _text(self) -> str:
        try:
            return self._take(self._count()).decode("utf-8")
        except UnicodeDecodeError:
            raise UbjsonError(f"a text is not UTF-8 at byte {self._at}") from None

    def _marker(self) -> str:
        while (marker := self._take(1)) == b"N":
            pass
        return marker.decode("latin-1")

    def _peek(self) -> str:
        return self._data[self._at : self._at + 1].decode("latin-1")

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise UbjsonError(f"the file ends early, at byte {len(self._data)}")
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken
