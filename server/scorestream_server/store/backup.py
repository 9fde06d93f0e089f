"""A copy of a data directory that is whole, also while a server works in it.

Files here never change once they have their name, so they can be copied at leisure; only the store has to be
caught at one moment. Tables in the cache are copied into the cache of the copy, wherever they lie. The store is copied after the files, those that came meanwhile follow, and what it names must then
be in the copy. Where a file went away in between (a session ended), the store is copied once more.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from scorestream_server.domain.data_directory import DataDirectory, UnusableDirectoryError
from scorestream_server.domain.home import RESERVED
from scorestream_server.store import cached as cache_store
from scorestream_server.store.cache_dirs import claimed
from scorestream_server.store.database import open_engine
from scorestream_server.store.holdings import read_holdings
from scorestream_server.store.opening import check_store
from scorestream_server.store.relocation import relocate

ROUNDS = 10
_ON_THE_WAY = {("reads",), ("home", RESERVED)}
"""Folders of a session whose files are not yet, or not for long."""


def back_up(directory: DataDirectory, to: Path) -> int:
    """Copy a data directory, and return how many files the copy has.

    Args:
        directory: with or without a server that works in it.
        to: folder to make; it may be there if it is empty.

    Raises:
        UnusableDirectoryError: there is no store, it is damaged, or `to` holds something.
        OSError: it cannot be read or written.
    """
    if not directory.database.is_file():
        raise UnusableDirectoryError(f"There is no data directory of scorestream at {directory.root}.")
    check_store(directory.database)
    copy = replace(directory, root=to.resolve())
    if copy.root.is_relative_to(directory.root):
        raise UnusableDirectoryError(f"{to} lies in the data directory itself. Name a folder outside of it.")
    copy.root.mkdir(parents=True, exist_ok=True)
    if any(copy.root.iterdir()):
        raise UnusableDirectoryError(f"{to} is not empty. Name a new folder for each backup.")
    unfinished = copy.database.with_suffix(".unfinished")
    with claimed(copy):
        whole = any(_copied(directory, copy, unfinished) for _ in range(ROUNDS))
    if not whole:
        raise UnusableDirectoryError(
            f"Files that the store names are missing in {directory.root}, {ROUNDS} times in a row; the copy in {to} "
            "is not whole. If sessions end all the time, try again later; otherwise the directory is damaged."
        )
    # Under its name last: a server refuses to start on files without a store.
    unfinished.rename(copy.database)
    os.sync()
    return sum(1 for _ in (*_files(copy), *copy.cache_dirs[0].glob("*/*")))


def _copied(directory: DataDirectory, copy: DataDirectory, unfinished: Path) -> bool:
    """Copy files and store once; return whether the one has all that the other names."""
    _copy_files(directory, copy)
    _copy_store(directory.database, unfinished)
    _copy_files(directory, copy)
    return _whole(copy, unfinished)


def _files(directory: DataDirectory) -> Iterator[Path]:
    """Yield the files that are complete, but for the cache; what is being made has a hidden or a temporary name."""
    if directory.models.is_dir():
        yield from (path for path in directory.models.iterdir() if path.is_file())
    if directory.kept.is_dir():
        yield from (path for path in directory.kept.iterdir() if not path.name.endswith(".tmp"))
    for folder, _, names in os.walk(directory.global_tables):
        yield from (Path(folder, name) for name in names if not name.endswith(".tmp"))
    for folder, folders, names in os.walk(directory.sessions):
        place = Path(folder).relative_to(directory.sessions).parts[1:]
        if place in {(), ("home",)}:
            folders[:] = [name for name in folders if (*place, name) not in _ON_THE_WAY]
        in_home = place[:1] == ("home",)
        yield from (Path(folder, name) for name in names if in_home or not name.endswith(".tmp"))


def _copy_files(directory: DataDirectory, copy: DataDirectory) -> None:
    for path in _files(directory):
        target = copy.root / path.relative_to(directory.root)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # it went away with its session
            shutil.copy2(path, target)


def _copy_store(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as live,
        contextlib.closing(sqlite3.connect(target)) as copied,
    ):
        live.backup(copied)


def _whole(copy: DataDirectory, store: Path) -> bool:
    """Have a copied store name the copied files, and return whether they are all there."""
    engine = open_engine(f"sqlite:///{store}")
    try:
        with engine.execution_options(writes=True).begin() as connection:
            relocate(connection, copy.root)
            cached = cache_store.only_in(connection, copy.cache_dirs[0])
            named = read_holdings(connection, copy).files
    finally:
        engine.dispose()
    return all(_copy_cached(target, places) for target, places in cached.items()) and all(
        path.is_file() for path in named
    )


def _copy_cached(target: Path, places: Sequence[str]) -> bool:
    """Copy a table's file from wherever it is; return whether it is there, or nowhere, which a copy cannot mend."""
    if target.exists():
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    found = False
    for place in map(Path, places):
        if place.is_file():
            found = True
            with contextlib.suppress(OSError):  # it went just now
                shutil.copy2(place, target)
                return True
    return not found
