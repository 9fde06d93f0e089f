"""A disk that fails when it is told to, for the server and the workers of a test."""

import errno
import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from cuda_host.harness import compiler

WRITE, SYNC, NAME, MAKE = 1, 2, 4, 8
"""What a rule is about: bytes; syncs; names that files get; new files and folders."""

_SOURCE = Path(__file__).parent / "bad_disk.cpp"
_RULE = struct.Struct("iiiiii488s")
_RULES = 8
_HITS = 20


def build(folder: Path) -> Path:
    """Compile what is preloaded; skip the test where that is not possible."""
    command = compiler()
    if command is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C++ compiler (g++ or clang++)")
    library = folder / "bad_disk.so"
    options = ("-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Werror")
    subprocess.run([command, *options, "-o", library, _SOURCE, "-ldl"], check=True, timeout=120)
    return library


class BadDisk:
    """The disk of the processes that have its environment; it works until it is told not to.

    Args:
        library: from `build`.
        rules: a file of its own.
    """

    def __init__(self, library: Path, rules: Path) -> None:
        rules.write_bytes(bytes(_RULE.size * _RULES))
        self.environment = {"LD_PRELOAD": str(library), "BAD_DISK": str(rules)}
        with rules.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 0)
        self._count = 0

    def fail(
        self, calls: int, below: Path | str, error: int = errno.EIO, *, passing: int = 0, times: int = 0
    ) -> None:
        """Have these calls fail on paths that match a pattern, or lie below a folder.

        Args:
            calls: which.
            below: the pattern, or the folder.
            error: what they fail with.
            passing: how many of them work before.
            times: how many of them fail; 0: all from then on.
        """
        self._add(calls, below, error, 0, passing, times)

    def fill(self, below: Path | str, *, passing: int = 0) -> None:
        """Leave no room for bytes, files or folders."""
        self._add(WRITE | MAKE, below, errno.ENOSPC, 0, passing, 0)

    def slow(self, below: Path | str, seconds: float) -> None:
        """Have syncs take so long."""
        self._add(SYNC, below, 0, round(seconds * 1000), 0, 0)

    def heal(self) -> None:
        """Let everything work again."""
        self._map[:] = bytes(len(self._map))
        self._count = 0

    def hits(self) -> int:
        """Return how many calls failed, or were slow, since `heal`."""
        return sum(
            struct.unpack_from("i", self._map, place * _RULE.size + _HITS)[0] for place in range(self._count)
        )

    def _add(
        self, calls: int, below: Path | str, error: int, milliseconds: int, passing: int, times: int
    ) -> None:
        pattern = f"{below}/*" if isinstance(below, Path) else below
        place = self._count * _RULE.size
        # The calls last: until then it is no rule.
        rest = _RULE.pack(0, error, milliseconds, passing, times, 0, os.fsencode(pattern))
        self._map[place + 4 : place + _RULE.size] = rest[4:]
        struct.pack_into("i", self._map, place, calls)
        self._count += 1
