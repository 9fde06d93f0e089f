"""Versions of users' files that are kept for tables that were made of them, when the files themselves have changed.

They lie in a folder of the data directory, named by what identified the file, so that all tables over the same file
share one. A table that is loaded with PRIVATE_COPY has copies made at once. Where the server itself is to replace a
file, it keeps the old one for whoever reads it, by a second name where that can be.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import LoadOptions, SourceChange, SourceFile, TableData
from scorestream_server.tables.blocks import BLOCK_LOST
from scorestream_server.tables.files import cancelled_error, disk_errors
from scorestream_server.tables.identity import change, changed_error, difference

_PIECE = 64 << 20
_FICLONE = 0x40049409
T = TypeVar("T")


def kept_name(file: SourceFile) -> str:
    """Return the name that a file's old version has in the folder of kept ones."""
    told = f"{file.path}\0{file.size}\0{file.mtime_ns}\0{file.inode}\0{file.ctime_ns}"
    return hashlib.sha256(os.fsencode(told)).hexdigest()[:40]


def needed_names(table: TableData) -> set[str]:
    """Return the names of the kept versions that a table may read."""
    return {kept_name(file) for file in table.files if file.inode} if table.kept else set()


def current(file: SourceFile, folder: str) -> SourceFile:
    """Return the file to read instead of a table's file: itself where it is unchanged, else its kept version.

    Args:
        file: as the table has it.
        folder: the table's folder of kept versions; empty: none.

    Raises:
        ScorestreamError: SOURCE_CHANGED: it changed, and no version was kept.
    """
    what = change(file)
    if not what:
        return file
    found = _kept(file, folder)
    if found is None:
        raise changed_error(file, what)
    return found


def is_readable(file: SourceFile, folder: str) -> bool:
    """Return whether a table's file is what it was, or a version was kept that is."""
    return not change(file) or is_kept(file, folder)


def is_kept(file: SourceFile, folder: str) -> bool:
    """Return whether a version of a table's file was kept."""
    return _kept(file, folder) is not None


def unchanged(files: Iterable[SourceFile]) -> None:
    """Raise SOURCE_CHANGED where a file is not what it was."""
    for file in files:
        if what := change(file):
            raise changed_error(file, what)


def steadily(table: TableData, files: Sequence[SourceFile], work: Callable[[], T]) -> T:
    """Do something that reads files of a table, and do it again where some changed meanwhile and there are others.

    That is a kept version, or, of a file in the cache, which is mended when it is read again, the same bytes.

    Args:
        table: the table.
        files: those of its files that are read.
        work: reads each as `current` says; what it did before it failed must not count.

    Raises:
        ScorestreamError: SOURCE_CHANGED, also where the work failed otherwise and a file changed: that is why.
        Exception: what the work raises.
    """
    cached = {one.path for one in table.cached}
    changed: set[str] = set()
    while True:
        try:
            return work()
        except Exception as error:
            if isinstance(error, ScorestreamError) and (
                error.code is ErrorCode.CANCELLED or error.reason == BLOCK_LOST
            ):
                raise
            found = {file.path: (file, what) for file in files if (what := change(file))}
            news = found.keys() - changed
            sources = (one for path, one in found.items() if path not in cached)
            lost = [one for one in sources if _kept(one[0], table.kept) is None]
            if lost and not _tells_of_change(error):
                raise changed_error(*lost[0]) from error
            if lost or not news:
                raise
            changed |= news


def keep_sources(
    table: TableData, options: LoadOptions, folder: str, cancelled: Callable[[], bool] = lambda: False
) -> TableData:
    """Return a table that was loaded, with where its sources are kept, if it is read in place.

    Args:
        table: just loaded.
        options: how; with PRIVATE_COPY copies are made now.
        folder: of the kept versions; empty: the sources are files of our own.
        cancelled: asked between pieces.

    Raises:
        ScorestreamError: as `keep_copies`.
    """
    if not folder:
        own = tuple(replace(file, inode=0, ctime_ns=0) for file in table.files)
        return replace(table, files=own, sources=own) if table.in_place else table
    if not table.in_place:
        return table
    if options.on_source_change is SourceChange.PRIVATE_COPY:
        keep_copies(table.files, Path(folder), cancelled)
    return replace(table, kept=folder)


def keep_copies(
    files: Iterable[SourceFile], folder: Path, cancelled: Callable[[], bool] = lambda: False
) -> int:
    """Copy files into the folder of kept versions; return how many bytes they have.

    Args:
        files: as they were looked at.
        folder: is made where it is not there.
        cancelled: asked between pieces.

    Raises:
        ScorestreamError: SOURCE_CHANGED: one changed meanwhile; DISK_FULL; CANCELLED.
    """
    size = 0
    for file in files:
        with disk_errors(folder):
            folder.mkdir(exist_ok=True)
            if _kept(file, str(folder)) is None:
                _copy(file, folder, cancelled)
        size += file.size
    return size


def keep_replaced(path: Path, needed: Iterable[SourceFile], folder: Path) -> None:
    """Keep the files at a path that is about to be replaced, for those who read them.

    Args:
        path: a file, or a directory of files.
        needed: what tables have of the files there; one that changed since is of no use to them and is not kept.
        folder: of the kept versions.

    Raises:
        ScorestreamError: DISK_FULL, and the others of `keep_copies`.
    """
    for file in needed:
        there = Path(file.path)
        if there != path and not there.is_relative_to(path):
            continue
        if change(file) or _kept(file, str(folder)) is not None:
            continue
        with disk_errors(folder):
            folder.mkdir(exist_ok=True)
            try:
                # Nobody can open it by its old name any more when it is replaced, so nobody new can write into it.
                os.link(there, folder / kept_name(file))
            except FileExistsError:
                pass
            except OSError:  # another file system, or somebody else's file
                _copy(file, folder, lambda: False)


def sweep(folder: Path, needed: Iterable[str]) -> int:
    """Remove the kept versions that nobody needs; return how many there were."""
    keep = set(needed)
    removed = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in keep and not path.name.endswith(".tmp"):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _kept(file: SourceFile, folder: str) -> SourceFile | None:
    if not folder or not file.inode:
        return None
    version = SourceFile(os.path.join(folder, kept_name(file)), file.size, file.mtime_ns)  # noqa: PTH118  on each read
    return None if change(version) else version


def _tells_of_change(error: Exception) -> bool:
    return isinstance(error, ScorestreamError) and error.reason == "SOURCE_CHANGED"


def _copy(file: SourceFile, folder: Path, cancelled: Callable[[], bool]) -> None:
    """Copy a file to its name among the kept ones, where it appears complete."""
    final = folder / kept_name(file)
    temporary = final.with_name(f"{final.name}.{secrets.token_hex(6)}.tmp")
    try:
        source = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if what := difference(file, os.fstat(source)):
                raise changed_error(file, what)
            target = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                _copy_bytes(source, target, file.size, cancelled)
                # For workers of other users, who alone get at the folder: those who could read the file go on.
                os.fchmod(target, 0o600 | stat.S_IMODE(os.fstat(source).st_mode) & stat.S_IROTH)
            finally:
                os.close(target)
        finally:
            os.close(source)
        os.utime(temporary, ns=(file.mtime_ns, file.mtime_ns))
        unchanged([file])
        temporary.replace(final)
    except FileNotFoundError:
        unchanged([file])
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _copy_bytes(source: int, target: int, size: int, cancelled: Callable[[], bool]) -> None:
    with contextlib.suppress(OSError):  # then the copy shares what the file system has on the disk
        fcntl.ioctl(target, _FICLONE, source)
        return
    left = size
    while left:
        if cancelled():
            raise cancelled_error()
        try:
            count = os.copy_file_range(source, target, min(left, _PIECE))
        except OSError:  # between these file systems it cannot
            count = os.sendfile(target, source, None, min(left, _PIECE))
        if not count:
            return  # it became shorter, which the look at it tells
        left -= count
