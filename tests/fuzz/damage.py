"""Bytes that were good once."""

import random
from collections.abc import Callable

_WORDS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\1\0\0\0",
    b"\xff" * 8,
    b"\xff" * 7 + b"\x7f",
)
_NUMBERS = (b"-1", b"0", b"999999999999", b"nan", b"inf", b"1e400", b"", b"2147483648", b"-0.0")


def damaged(data: bytes, source: random.Random) -> bytes:
    """Return bytes with one to five faults: bits, words, numbers, pieces cut, doubled, moved; or cut short."""
    for _ in range(source.choice((1, 1, 1, 2, 5))):
        data = source.choice(_WAYS)(bytearray(data), source)
    return data


def _place(data: bytearray, source: random.Random) -> int:
    """Return a place, often near the beginning or the end, where formats keep what matters."""
    length = len(data)
    near = source.choice((length, length, 64, 512))
    place = source.randrange(max(1, min(length, near)))
    return place if source.random() < 0.6 else max(0, length - 1 - place)


def _bit(data: bytearray, source: random.Random) -> bytes:
    if data:
        data[_place(data, source)] ^= 1 << source.randrange(8)
    return bytes(data)


def _byte(data: bytearray, source: random.Random) -> bytes:
    if data:
        data[_place(data, source)] = source.randrange(256)
    return bytes(data)


def _word(data: bytearray, source: random.Random) -> bytes:
    word, place = source.choice(_WORDS), _place(data, source)
    data[place : place + len(word)] = word
    return bytes(data)


def _number(data: bytearray, source: random.Random) -> bytes:
    """Put another number in the place of one that is written in digits."""
    place = _place(data, source)
    start = next(
        (at for at in range(place, min(place + 200, len(data))) if data[at : at + 1].isdigit()), None
    )
    if start is not None:
        end = start
        while end < len(data) and data[end : end + 1].isdigit():
            end += 1
        data[start:end] = source.choice(_NUMBERS)
    return bytes(data)


def _cut(data: bytearray, source: random.Random) -> bytes:
    place = _place(data, source)
    del data[place : place + source.choice((1, 4, 8, 100))]
    return bytes(data)


def _double(data: bytearray, source: random.Random) -> bytes:
    place, length = _place(data, source), source.choice((1, 8, 64, 1000))
    data[place:place] = data[place : place + length]
    return bytes(data)


def _insert(data: bytearray, source: random.Random) -> bytes:
    place = _place(data, source)
    data[place:place] = source.randbytes(source.choice((1, 4, 50)))
    return bytes(data)


def _move(data: bytearray, source: random.Random) -> bytes:
    place, length = _place(data, source), source.choice((4, 16, 100))
    piece = data[place : place + length]
    del data[place : place + length]
    other = _place(data, source)
    data[other:other] = piece
    return bytes(data)


def _end(data: bytearray, source: random.Random) -> bytes:
    return bytes(data[: _place(data, source)])


_WAYS: tuple[Callable[[bytearray, random.Random], bytes], ...] = (
    *(_bit, _bit, _byte, _byte, _word, _word, _number, _number, _cut, _double, _insert, _move, _end),
)
