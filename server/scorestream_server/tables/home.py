"""The files of a session's home, reached name by name from the home's folder on.

Every name of a path is opened in the directory before it, and no symbolic link is followed, so whatever is in a path,
and whoever changes the home meanwhile, nothing outside of it is reached.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from scorestream_server.domain.errors import precondition
from scorestream_server.domain.home import RESERVED, HomeFile, HomeUse, allowed_name
from scorestream_server.tables.files import disk_errors
from scorestream_server.tables.home_entries import (
    READ,
    Names,
    OpenedFile,
    check_etag,
    described,
    exists_already,
    missing,
    not_a_file,
    shown,
    stat_in,
    told,
)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Home:
    """A home; its folder is made when something comes into it.

    Every method raises `ScorestreamError`: FILE_NOT_FOUND, NOT_A_DIRECTORY, NOT_A_FILE, and what a disk refuses.
    Nobody else may change the home through this server meanwhile, for methods that check and then change.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def look(self, names: Names) -> HomeFile:
        """Return what stands under a path."""
        if not names:
            self.ensure()
        with self._folder(names[:-1]) as folder:
            found = stat_in(folder, names[-1]) if names else os.fstat(folder)
        if found is None:
            raise missing(names)
        return described(names, found)

    def page(self, names: Names, after: str, limit: int) -> tuple[list[HomeFile], bool]:
        """Return up to `limit` members of a directory whose names follow `after`, and whether there are more.

        What is neither file nor directory, or has a name that cannot be asked for, is left out.
        """
        if not names and not self.root.exists():
            return [], False
        with self._folder(names) as folder:
            with os.scandir(folder) as entries:
                every = sorted(
                    entry.name
                    for entry in entries
                    if allowed_name(entry.name) and (names or entry.name != RESERVED)
                )
            found: list[HomeFile] = []
            for name in every[bisect_right(every, after) :]:
                status = stat_in(folder, name)
                if status is None or not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                    continue
                if len(found) == limit:
                    return found, True
                found.append(described((*names, name), status))
        return found, False

    def open(self, names: Names) -> OpenedFile:
        """Return a file to be read."""
        with self._folder(names[:-1]) as folder:
            if not names:
                raise not_a_file(names)
            with told(names):
                return OpenedFile(os.open(names[-1], READ, dir_fd=folder), names)

    def make_directory(self, names: Names) -> HomeFile:
        """Make a directory with those above it, where they are not there."""
        self.ensure()
        for depth in range(1, len(names) + 1):
            with self._folder(names[: depth - 1]) as folder, told(names[:depth]):
                try:
                    os.mkdir(names[depth - 1], dir_fd=folder)
                    os.fsync(folder)
                except FileExistsError:
                    pass
        with self._folder(names):
            return self.look(names)

    def check_target(self, names: Names, *, replace: bool, etag: str) -> bool:
        """Refuse a path where no file may be made; return whether a file is there that would be replaced.

        Args:
            names: the path.
            replace: whether a file that is there may be replaced.
            etag: the file that may be replaced; empty: whichever.

        Raises:
            ScorestreamError: FILE_EXISTS; FILE_CHANGED; NOT_A_FILE.
        """
        if not names:
            raise not_a_file(names)
        self.ensure()
        with self._folder(names[:-1]) as folder:
            status = stat_in(folder, names[-1])
        there = None if status is None else described(names, status)
        if etag:
            check_etag(names, there, etag)
        if there is None:
            return False
        if there.directory:
            raise not_a_file(names)
        if not (replace or etag):
            raise exists_already(names)
        return True

    def receive(self) -> "Incoming":
        """Begin a file that has no name in the home yet."""
        with self._reserved() as folder:
            name = f"{secrets.token_hex(12)}.tmp"
            with disk_errors(self.root):
                return Incoming(self, name, os.open(name, _NEW, 0o600, dir_fd=folder))

    def move(self, names: Names, target: Names, *, replace: bool, etag: str) -> HomeFile:
        """Move a file or a directory; a file alone may take the place of another file."""
        source = self.look(names)
        if not names or not target or target[: len(names)] == tuple(names) != tuple(target):
            raise precondition(
                "INVALID_MOVE",
                f"{shown(names)} cannot be moved to {shown(target)}: a directory, and the home itself, stays where "
                "what is in it would go.",
            )
        if tuple(names) == tuple(target):
            return source
        if source.directory:
            with self._folder(target[:-1]) as folder:
                if stat_in(folder, target[-1]) is not None:
                    raise exists_already(target)
        else:
            self.check_target(target, replace=replace, etag=etag)
        with (
            self._folder(names[:-1]) as old,
            self._folder(target[:-1]) as new,
            told(names),
            disk_errors(self.root),
        ):
            os.rename(names[-1], target[-1], src_dir_fd=old, dst_dir_fd=new)
            os.fsync(new)
            os.fsync(old)
        return self.look(target)

    def delete(self, names: Names, *, recursive: bool, etag: str) -> None:
        """Remove a file, or a directory; with all that is in it only if that is asked for."""
        found = self.look(names)
        if etag:
            check_etag(names, found, etag)
        if not names:
            raise precondition("HOME_STAYS", "The home itself cannot be removed; it ends with its session.")
        with self._folder(names[:-1]) as folder, disk_errors(self.root):
            try:
                if not found.directory:
                    os.unlink(names[-1], dir_fd=folder)
                elif recursive:
                    shutil.rmtree(names[-1], dir_fd=folder)
                else:
                    os.rmdir(names[-1], dir_fd=folder)
            except FileNotFoundError:
                raise missing(names) from None
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                raise precondition(
                    "DIRECTORY_NOT_EMPTY",
                    f"The directory {shown(names)} is not empty. Ask for `recursive` to remove it with what is in it.",
                    path="/".join(names),
                ) from None
            os.fsync(folder)

    def measure(self) -> HomeUse:
        """Return what the home takes."""
        size = files = 0
        if not self.root.exists():
            return HomeUse(size, files)
        top = str(self.root)
        for folder, directories, names, opened in os.fwalk(top):
            if folder == top and RESERVED in directories:
                directories.remove(RESERVED)
            files += len(directories) + len(names)
            for name in names:
                status = stat_in(opened, name)
                size += status.st_size if status is not None and stat.S_ISREG(status.st_mode) else 0
        return HomeUse(size, files)

    def ensure(self) -> None:
        """Make the home's folder, where it is not there."""
        with disk_errors(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _folder(self, names: Names) -> Iterator[int]:
        """Open a directory of the home."""
        # The home's own folder is the server's, or the operator's, to choose; it may be reached by a link.
        with told(names):
            folder = os.open(self.root, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            for depth, name in enumerate(names, start=1):
                with told(names[:depth], directory=True):
                    inner = os.open(name, _DIRECTORY, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _reserved(self) -> Iterator[int]:
        self.ensure()
        with contextlib.suppress(FileExistsError):
            (self.root / RESERVED).mkdir(mode=0o700)
        with self._folder((RESERVED,)) as folder:
            yield folder

    def take_in(self, name: str, target: Names, *, replace: bool, etag: str) -> HomeFile:
        """Give what was received its name; `Incoming` alone calls this."""
        self.check_target(target, replace=replace, etag=etag)
        with self._reserved() as incoming, self._folder(target[:-1]) as folder, disk_errors(self.root):
            if replace or etag:
                os.rename(name, target[-1], src_dir_fd=incoming, dst_dir_fd=folder)
            else:
                try:
                    os.link(name, target[-1], src_dir_fd=incoming, dst_dir_fd=folder, follow_symlinks=False)
                except FileExistsError:
                    raise exists_already(target) from None
                os.unlink(name, dir_fd=incoming)
            os.fsync(folder)
        return self.look(target)

    def drop(self, name: str) -> None:
        """Remove what was received so far; `Incoming` alone calls this."""
        with contextlib.suppress(OSError), self._reserved() as incoming:
            os.unlink(name, dir_fd=incoming)


class Incoming:
    """A file on its way into a home; leaving the block without `finish` leaves nothing behind.

    Attributes:
        size: bytes received.
    """

    def __init__(self, home: Home, name: str, handle: int) -> None:
        self._home = home
        self._name = name
        self._file = os.fdopen(handle, "wb", buffering=0)
        self._digest = hashlib.sha256()
        self._placed = False
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it, and remove it where it has no name; may be called again."""
        self._file.close()
        if not self._placed:
            self._home.drop(self._name)

    @property
    def digest(self) -> str:
        """SHA-256 of what was received, in hexadecimal."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append a piece."""
        with disk_errors(self._home.root):
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]
        self._digest.update(chunk)
        self.size += len(chunk)

    def finish(self, target: Names, *, replace: bool, etag: str) -> HomeFile:
        """Have it on the disk, and under its name.

        Raises:
            ScorestreamError: as `Home.check_target`; DISK_FULL.
        """
        with disk_errors(self._home.root):
            os.fsync(self._file.fileno())
        made = self._home.take_in(self._name, target, replace=replace, etag=etag)
        self._placed = True
        return made


def remove_incoming(root: Path) -> int:
    """Remove what did not come into a home entirely, and return how much it was. Nothing is on its way then."""
    folder = root / RESERVED
    if folder.is_symlink() or not folder.is_dir():
        return 0
    found = sorted(folder.iterdir())
    for path in found:
        with contextlib.suppress(OSError):
            path.unlink()
    return len(found)
