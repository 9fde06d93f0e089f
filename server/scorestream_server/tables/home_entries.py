"""What stands under a path in a home: described, read, and what is said where it is something else."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found, precondition
from scorestream_server.domain.home import HomeFile
from scorestream_server.tables.files import disk_errors

# O_NONBLOCK: somebody else's pipe must not be waited for.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Names = Sequence[str]


class OpenedFile:
    """A regular file that is open for reading.

    Args:
        handle: its descriptor, which is closed with this.
        names: its path.

    Raises:
        ScorestreamError: NOT_A_FILE; the descriptor is closed then.
    """

    def __init__(self, handle: int, names: Names) -> None:
        self._handle = handle
        self._names = names
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise not_a_file(names)
        self.file = self.look()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def look(self) -> HomeFile:
        """Return the file as it is now."""
        return described(self._names, os.fstat(self._handle))

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from an offset on; none at the end."""
        with disk_errors(Path(*self._names)):
            return os.pread(self._handle, size, offset)

    def close(self) -> None:
        """Close it."""
        os.close(self._handle)


def open_server_file(path: Path) -> OpenedFile:
    """Return a file below a data root to be read, its path checked already."""
    with told((str(path),)):
        return OpenedFile(os.open(path, READ), (str(path),))


def describe_server_file(path: Path) -> HomeFile:
    """Return what stands under a path below a data root, checked already."""
    with told((str(path),)):
        return described((str(path),), path.stat())


def check_etag(names: Names, found: HomeFile | None, etag: str) -> None:
    """Refuse to go on with another file than the one that was meant."""
    if found is None or found.etag != etag:
        told = "is gone" if found is None else "was changed"
        raise precondition(
            "FILE_CHANGED",
            f"The file {shown(names)} {told} since the etag was given. Look at it again, then decide anew.",
            path="/".join(names),
        )


def too_large(most: int) -> ScorestreamError:
    """Return the error for a file that is larger than there is room for."""
    return ScorestreamError(
        ErrorCode.RESOURCE_EXHAUSTED,
        "FILE_TOO_LARGE",
        f"The file has more than the {most:,} bytes that you may send or store now. Remove files, drop tables or end "
        "sessions that you no longer need; an operator raises the limits upload_bytes and stored_bytes.",
        metadata={"most": str(most)},
    )


def described(names: Names, found: os.stat_result) -> HomeFile:
    """Return a file or a directory as the system describes it.

    Raises:
        ScorestreamError: NOT_A_FILE.
    """
    directory = stat.S_ISDIR(found.st_mode)
    if not (directory or stat.S_ISREG(found.st_mode)):
        raise not_a_file(names)
    seen = f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {directory}"
    etag = hashlib.sha256(seen.encode()).hexdigest()[:24]
    return HomeFile("/".join(names), directory, 0 if directory else found.st_size, found.st_mtime, etag)


def stat_in(folder: int, name: str) -> os.stat_result | None:
    """Return what stands under a name in an open directory, itself where it is a link; None: nothing does."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def told(names: Names, *, directory: bool = False) -> Iterator[None]:
    """Turn what the system says of a path into our errors."""
    try:
        yield
    except FileNotFoundError:
        raise missing(names) from None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}:
            raise (not_a_directory(names) if directory else not_a_file(names)) from None
        raise


def shown(names: Names) -> str:
    """Return a path for a sentence."""
    return repr("/".join(names)) if names else "the home"


def missing(names: Names) -> ScorestreamError:
    """Return the error for a path at which there is nothing."""
    return not_found(
        "FILE_NOT_FOUND",
        f"There is no {shown(names)} in the session's home. `scorestream file ls` shows what there is; a directory is "
        "made with `scorestream file mkdir`.",
        path="/".join(names),
    )


def not_a_directory(names: Names) -> ScorestreamError:
    """Return the error for a path that leads through a file or a link."""
    return precondition("NOT_A_DIRECTORY", f"{shown(names)} is no directory.", path="/".join(names))


def not_a_file(names: Names) -> ScorestreamError:
    """Return the error for what has no content to read or to replace."""
    return precondition(
        "NOT_A_FILE", f"{shown(names)} is a directory, or no regular file.", path="/".join(names)
    )


def exists_already(names: Names) -> ScorestreamError:
    """Return the error for a path that is taken."""
    return ScorestreamError(
        ErrorCode.ALREADY_EXISTS,
        "FILE_EXISTS",
        f"There is {shown(names)} already. Ask for `replace`, or take another name; a directory is never replaced.",
        metadata={"path": "/".join(names)},
    )
