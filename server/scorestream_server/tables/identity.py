"""Whether a file still is the one that it was: by what the file system says of it, never by its rows.

A file that was written in place and then given its old time has another time of change (ctime), which nobody can set.
Clocks of file systems tick every few milliseconds, some every second or two: a file that was written twice within a
tick looks the same. So a file that was written within the last tick is looked at again when that is over. What is
not noticed is a writer that has mapped the file itself, for as long as the system gathers what it writes.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from scorestream_server.domain.disk import unreadable
from scorestream_server.domain.errors import ErrorCode, ScorestreamError, precondition
from scorestream_server.domain.table import Destination, SourceFile
from scorestream_server.tables.formats import file_format

CHANGED_SINCE_LOAD = "SOURCE_CHANGED_SINCE_LOAD"
TICK_NS = 20_000_000
_WHOLE_SECOND_NS = 1_000_000_000
"""The tick of file systems that know no parts of a second; some of those have ticks of two."""
_LOOKS = 5


def source_in_place(path: Path) -> SourceFile:
    """Return a file of a user's as it is now, once it is sure that a later write will be noticed.

    Raises:
        ScorestreamError: SOURCE_CHANGED: it is being written all the time.
        OSError: it is not there, or may not be looked at.
    """
    for _ in range(_LOOKS):
        found = path.stat()
        wait = _until_settled(found, time.time_ns())
        if wait <= 0:
            return SourceFile(str(path), found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
        time.sleep(wait / 1e9)
    raise precondition(
        "SOURCE_CHANGED",
        f"The file {path.name!r} is being written at this moment. Try again when that is done.",
        path=str(path),
    )


def change(file: SourceFile) -> str:
    """Return how a file is not what it was, to be read after its name; empty where it is what it was."""
    try:
        found = os.stat(file.path)  # noqa: PTH116  the path is a plain string on the wire
    except FileNotFoundError:
        return "is gone"
    except PermissionError:  # as with a worker that runs as another user than the one that loaded the table
        raise unreadable(f"The file {file.path!r}", file.path) from None
    except OSError as error:
        return f"cannot be looked at any more ({error.strerror})"
    return difference(file, found)


def difference(file: SourceFile, found: os.stat_result) -> str:
    """Return `change` for a file that was looked at."""
    if file.inode and file.inode != found.st_ino:
        return f"was replaced by another file, written at {_when(found.st_mtime_ns)}"
    if found.st_size < file.size:
        return f"was cut short at {_when(found.st_mtime_ns)}: it has {found.st_size:,} bytes, and had {file.size:,}"
    if found.st_size > file.size:
        return f"was written again at {_when(found.st_mtime_ns)}: it has {found.st_size:,} bytes, and had {file.size:,}"
    if found.st_mtime_ns != file.mtime_ns:
        return f"was written again at {_when(found.st_mtime_ns)}"
    if file.ctime_ns and found.st_ctime_ns != file.ctime_ns:
        return (
            f"was written again and given its old time, or got other permissions, owners or links, at "
            f"{_when(found.st_ctime_ns)}"
        )
    return ""


def changed_error(file: SourceFile, what: str) -> ScorestreamError:
    """Return SOURCE_CHANGED for a file that changed so."""
    return precondition(
        "SOURCE_CHANGED",
        f"The file {file.path!r} {what}, after the table was loaded. Load the table again. Tables that are loaded with "
        "on_source_change PRIVATE_COPY, or into the disk cache, go on with what they were loaded from.",
        path=file.path,
    )


def changed_since_load(path: Path, destination: Destination) -> ScorestreamError:
    """Return the error for a destination that is not what it was; the server knows who changed it."""
    shown = destination.named(str(path))
    told = f"{shown!r} was changed since the table was loaded."
    return ScorestreamError(ErrorCode.ABORTED, CHANGED_SINCE_LOAD, told, metadata={"path": shown})


def etag(files: Iterable[SourceFile]) -> str:
    """Return the etag of what is in some files, whatever their names; empty where nothing tells them from others."""
    told = sorted(f"{file.inode}:{file.ctime_ns}:{file.size}:{file.mtime_ns}" for file in files if file.inode)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32] if told else ""


def files_at(path: Path) -> tuple[SourceFile, ...]:
    """Return the file, or the data files in the directory, at a path; none where nothing is there.

    Raises:
        ScorestreamError: SOURCE_CHANGED: one is being written all the time.
    """
    try:
        return tuple(source_in_place(file) for file in (_data_files(path) if path.is_dir() else [path]))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def etag_at(path: Path) -> str:
    """Return the etag of what is at a path; empty where nothing is there. Raises what `files_at` does."""
    found = files_at(path)
    if not found and path.is_dir():  # without data, but not nothing
        return hashlib.sha256(str(path.stat().st_ino).encode()).hexdigest()[:32]
    return etag(found)


def _data_files(top: Path) -> Iterator[Path]:
    for directory, names, members in os.walk(top):
        names[:] = [name for name in names if not name.startswith((".", "_"))]
        for member in members:
            path = Path(directory, member)
            if not member.startswith((".", "_")) and file_format(path) is not None:
                yield path.resolve()


def _until_settled(found: os.stat_result, now_ns: int) -> int:
    """Return in how many nanoseconds a write would get another time of change than the one that a file has."""
    tick = TICK_NS if found.st_ctime_ns % _WHOLE_SECOND_NS else 2 * _WHOLE_SECOND_NS
    age = now_ns - found.st_ctime_ns
    # A time to come is that of another machine's clock, which says nothing of how old it is.
    return tick - age if 0 <= age < tick else 0


def _when(time_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_ns / 1e9))
