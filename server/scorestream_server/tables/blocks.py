"""Files in the cache as a worker sees them: each block checked when it is first touched, and mended from its copy."""

import logging
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from scorestream_server.domain.account import own_name
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import CachedFile, FragmentSlice, SourceFile, TableData
from scorestream_server.tables.checksums import copy_block, is_whole
from scorestream_server.tables.files import disk_errors, temporary_name

logger = logging.getLogger(__name__)

BLOCK_LOST = "BLOCK_LOST"
_FILES_KNOWN = 1024
_Identity = tuple[int, int, int, int]


class CachedFiles:
    """Which blocks of which files this process has found to be whole; thread-safe.

    Args:
        reopen: called with the path of a file that is another one from now on, so that nobody reads the old one.
    """

    def __init__(self, reopen: Callable[[str], object]) -> None:
        self._reopen = reopen
        self._trusted: OrderedDict[str, tuple[_Identity, set[int]]] = OrderedDict()
        self._lock = threading.Lock()
        self._mending = threading.Lock()
        self._told = threading.local()

    def checked(self, table: TableData, slices: Sequence[FragmentSlice]) -> dict[str, SourceFile]:
        """Return the file to read for each path of a table, after a look at the blocks that slices are in.

        That is the file itself, where need be mended; or its copy, where nothing can be written in its place.

        Raises:
            ScorestreamError: DATA_LOSS, BLOCK_LOST, where neither a file nor a copy has a block that is needed.
        """
        files = {file.path: file for file in table.files}
        if not table.cached:
            return files
        parts: dict[str, set[int]] = {}
        for one in slices:
            fragment = table.fragments[one.fragment]
            parts.setdefault(fragment.path, set()).add(fragment.part)
        for cached in table.cached:
            if cached.path in parts:
                wanted = [*sorted(parts[cached.path]), len(cached.blocks) - 1]
                files[cached.path] = self._checked(cached, files[cached.path], wanted)
        return files

    def take_notes(self) -> list[str]:
        """Return what was mended for this thread since the last call, a sentence each."""
        notes: list[str] = getattr(self._told, "notes", [])
        self._told.notes = []
        return notes

    def _checked(self, cached: CachedFile, file: SourceFile, wanted: Sequence[int]) -> SourceFile:
        if self._fault(cached, file, wanted) is None:
            return file
        with self._mending:  # whoever waited finds it mended
            fault = self._fault(cached, file, wanted)
            if fault is None:
                return file
            try:
                assemble(cached, file, Path(cached.path), [cached.path, *cached.copies])
            except (OSError, ScorestreamError) as error:
                lost = block_lost(cached, fault)
                if isinstance(error, ScorestreamError) and error.reason == BLOCK_LOST:
                    lost = error
                else:  # a disk that cannot be written, or is gone
                    logger.warning("the cached file %r cannot be restored: %s", cached.path, error)
            else:
                if self._fault(cached, file, wanted) is None:
                    source = " from its copy" if cached.copies else ""
                    self._tell(f"{fault}. It was restored{source}.")
                    return file
                lost = block_lost(cached, fault)
        for path in cached.copies:
            copy = replace(file, path=path)
            if self._fault(cached, copy, wanted) is None:
                self._tell(f"{fault}. It was read from its copy {path!r}, and could not be restored.")
                return copy
        raise lost

    def _tell(self, note: str) -> None:
        logger.warning("%s", note)
        notes = getattr(self._told, "notes", [])
        self._told.notes = [*notes, note]

    def _fault(self, cached: CachedFile, file: SourceFile, wanted: Sequence[int]) -> str | None:
        """Return what is wrong with a file, or None where the wanted blocks can be read from it."""
        try:
            handle = os.open(file.path, os.O_RDONLY)
        except PermissionError:
            return f"The cached file {file.path!r} may not be read by user {own_name()!r}"
        except OSError:
            return f"The cached file {file.path!r} is gone"
        try:
            found = os.fstat(handle)
            if found.st_size != file.size:
                return f"The cached file {file.path!r} has {found.st_size:,} bytes instead of {file.size:,}"
            identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            for number in self._unknown(file, identity, wanted):
                if not is_whole(handle, cached.blocks[number]):
                    return f"{_named(cached, number)} of the cached file {file.path!r} is damaged"
                with self._lock:
                    known = self._trusted.get(file.path)
                    if known is not None and known[0] == identity:
                        known[1].add(number)
            if found.st_mtime_ns != file.mtime_ns:
                return f"The cached file {file.path!r} was written to"
        finally:
            os.close(handle)
        return None

    def _unknown(self, file: SourceFile, identity: _Identity, wanted: Sequence[int]) -> list[int]:
        """Return the blocks that this very file was not found whole in yet."""
        with self._lock:
            known = self._trusted.get(file.path)
            if known is not None and known[0] == identity:
                self._trusted.move_to_end(file.path)
                return [number for number in wanted if number not in known[1]]
            self._trusted[file.path] = identity, set()
            self._trusted.move_to_end(file.path)
            if len(self._trusted) > _FILES_KNOWN:
                self._trusted.popitem(last=False)
        self._reopen(file.path)
        return list(wanted)


def assemble(cached: CachedFile, file: SourceFile, target: Path, sources: Iterable[str]) -> None:
    """Write the bytes of a cached file, each block from the first source that has it whole; all of it or nothing.

    Args:
        cached: the blocks.
        file: gives the time that the new file gets.
        target: the new file; what is there is replaced.
        sources: paths of files; they need not be there.

    Raises:
        ScorestreamError: BLOCK_LOST; DISK_FULL and others of a disk.
        OSError: the cache directory is gone.
    """
    temporary = temporary_name(target)
    with ExitStack() as open_files, disk_errors(target):
        handles = []
        for path in sources:
            with suppress(OSError):
                handle = os.open(path, os.O_RDONLY)
                open_files.callback(os.close, handle)
                handles.append(handle)
        if not handles:
            raise block_lost(cached, f"The cached file {cached.path!r} is gone")
        if target.parent.parent.is_dir():  # a cache directory that is gone is not made anew: it may be a disk
            target.parent.mkdir(exist_ok=True)
        to = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        open_files.callback(os.close, to)
        try:
            _write_whole(cached, handles, to)
            # Workers of other users that may read the one may read the other.
            os.fchmod(to, stat.S_IMODE(os.fstat(handles[0]).st_mode))
            os.utime(temporary, ns=(file.mtime_ns, file.mtime_ns))
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _write_whole(cached: CachedFile, handles: Sequence[int], to: int) -> None:
    for number, block in enumerate(cached.blocks):
        source = next((handle for handle in handles if is_whole(handle, block)), None)
        if source is None or not copy_block(source, block, to):
            raise block_lost(
                cached, f"{_named(cached, number)} of the cached file {cached.path!r} is damaged"
            )


def with_copies(table: TableData, folders: Sequence[Path]) -> TableData:
    """Copy the cached files of a table into other folders, which are made, and return the table that knows of that.

    Raises:
        ScorestreamError: BLOCK_LOST; DISK_FULL and others of a disk. No folder is left then.
    """
    files = {file.path: file for file in table.files}
    cached = []
    for one in table.cached:
        copies = tuple(folder / Path(one.path).name for folder in folders)
        for copy in copies:
            assemble(one, files[one.path], copy, [one.path])
        cached.append(replace(one, copies=tuple(map(str, copies))))
    return replace(table, cached=tuple(cached))


def block_lost(cached: CachedFile, what: str) -> ScorestreamError:
    """Return the error of bytes that are nowhere to be had; `what` is wrong is the beginning of a sentence."""
    there = "none of its copies has that" if cached.copies else "it has no copy"
    return ScorestreamError(
        ErrorCode.DATA_LOSS,
        BLOCK_LOST,
        f"{what}, and {there}. Load the table again.",
        metadata={"path": cached.path},
    )


def _named(cached: CachedFile, number: int) -> str:
    return "The footer" if number == len(cached.blocks) - 1 else f"Block {number}"
