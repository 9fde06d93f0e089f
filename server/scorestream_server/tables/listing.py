"""The files that a directory or a pattern stands for. Pure decisions, and a walk that leaves no data root.

In a pattern ``*``, ``?`` and ``[...]`` stand for characters of one name, and ``**`` for any number of directories.
Names that begin with ``.`` or ``_`` are skipped, unless a pattern's own part begins so.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

Parts = tuple[str, ...]
Entered = Callable[[Path], Path]
"""Returns where a symbolic link leads, or raises."""

ANY_DEPTH = "**"


def is_pattern(text: str) -> bool:
    """Return whether a name stands for others."""
    return any(letter in text for letter in "*?[")


def split_pattern(parts: Sequence[str]) -> tuple[Parts, Parts]:
    """Return the part of a path that stands for itself, and the pattern that is to be looked for below it."""
    at = next((at for at, part in enumerate(parts) if is_pattern(part)), len(parts))
    return tuple(parts[:at]), tuple(parts[at:])


def hidden(name: str) -> bool:
    """Return whether a name is skipped."""
    return name.startswith((".", "_"))


def stands_for(pattern: Parts, parts: Parts) -> bool:
    """Return whether a pattern stands for a path, or for a directory above it; both are relative to the same one."""
    reached = {0}  # how many parts of the pattern may be used up
    for place, part in enumerate(parts):
        reached |= {at + 1 for at in reached if at < len(pattern) and pattern[at] == ANY_DEPTH}
        if len(pattern) in reached and not any(map(hidden, parts[place:])):
            return True
        reached = {
            at if pattern[at] == ANY_DEPTH else at + 1
            for at in reached - {len(pattern)}
            if (pattern[at] == ANY_DEPTH and not hidden(part)) or _named(pattern[at], part)
        }
    return len(pattern) in reached


def _named(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) and (not hidden(name) or name[0] == pattern[0])


def matching(base: Path, pattern: Parts, entered: Entered) -> Iterator[tuple[Parts, Path]]:
    """Yield what a pattern stands for below a directory: names from there, and the real path.

    ``**``, at most once in a pattern, follows no symbolic link; the others may.
    """
    if not pattern or pattern == (ANY_DEPTH,):
        yield (), base
        return
    first, rest = pattern[0], pattern[1:]
    if first == ANY_DEPTH:
        yield from matching(base, rest, entered)
        below = [entry.name for entry in os.scandir(base) if entry.is_dir(follow_symlinks=False)]
        found = [(name, base / name, (ANY_DEPTH, *rest)) for name in sorted(below) if not hidden(name)]
    elif is_pattern(first):
        names = sorted(entry.name for entry in os.scandir(base) if _named(first, entry.name))
        found = [(name, _real(base / name, entered), rest) for name in names]
    else:
        there = (base / first).exists()
        found = [(first, _real(base / first, entered), rest)] if there else []
    for name, path, left in found:
        if not left or path.is_dir():
            for parts, real in matching(path, left, entered):
                yield (name, *parts), real


def below(top: Path, entered: Entered) -> Iterator[tuple[Parts, Path]]:
    """Yield the files below a directory, in no order: names from there, and the real path."""
    for directory, names, members in os.walk(top):
        names[:] = [name for name in names if not hidden(name)]
        parts = Path(directory).relative_to(top).parts
        for member in members:
            if not hidden(member):
                yield (*parts, member), _real(Path(directory, member), entered)


def _real(path: Path, entered: Entered) -> Path:
    return entered(path) if path.is_symlink() else path
