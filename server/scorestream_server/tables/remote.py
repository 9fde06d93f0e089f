"""Files at URIs, read through Arrow's file systems, in worker processes alone.

Which URIs may be read was decided before, by `DataRoots`.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from scorestream_server.domain.disk import unreadable
from scorestream_server.domain.errors import ErrorCode, ScorestreamError, invalid, not_found, precondition
from scorestream_server.domain.table import InputFile, SourceFile
from scorestream_server.tables.files import Cancelled, cancelled_error, disk_errors
from scorestream_server.tables.formats import ENDINGS_TOLD, file_format
from scorestream_server.tables.hive import keys_of
from scorestream_server.tables.listing import hidden, is_pattern, split_pattern, stands_for
from scorestream_server.tables.paths import MAX_FILES
from scorestream_server.tables.uris import UriRoot, is_uri, parse_uri

_PIECE_BYTES = 8 << 20
_DENIED = ("ACCESS_DENIED", "AccessDenied", "Forbidden", "HTTP status 403", "ermission denied", "code: 403")


def expanded(files: Sequence[InputFile]) -> list[InputFile]:
    """Return the files, with those that each URI stands for in its place, sorted.

    Raises:
        ScorestreamError: FILE_NOT_FOUND, FILE_NOT_READABLE, FILE_SYSTEM_FAILED, FILE_SYSTEM_UNAVAILABLE,
            NO_INPUT_FILES, UNSUPPORTED_FILE, TOO_MANY_FILES.
    """
    found: list[InputFile] = []
    for file in files:
        found += _listed(file) if is_uri(file.path) else [file]
        if len(found) > MAX_FILES:
            raise invalid("TOO_MANY_FILES", f"{file.path!r} stands for more than {MAX_FILES:,} files.")
    return found


def look(file: InputFile) -> SourceFile:
    """Return a file as it is now."""
    with _told(file.path):
        system, path = _where(file)
        found = system.get_file_info(path)
        if found.type is not pafs.FileType.File:
            raise FileNotFoundError
        return SourceFile(file.path, found.size, found.mtime_ns or 0)


def open_stream(file: InputFile) -> pa.NativeFile:
    """Open a file for reading from its beginning, as it is stored."""
    with _told(file.path):
        system, path = _where(file)
        return system.open_input_stream(path, compression=None)


def fetch(file: InputFile, target: Path, cancelled: Cancelled) -> None:
    """Copy a file to this machine.

    Raises:
        ScorestreamError: as `expanded` does; DISK_FULL; CANCELLED.
    """
    with open_stream(file) as stream, target.open("xb") as copy:
        while True:
            if cancelled():
                raise cancelled_error()
            with _told(file.path):
                piece = stream.read(_PIECE_BYTES)
            if not piece:
                return
            with disk_errors(target):
                copy.write(piece)


def _listed(file: InputFile) -> list[InputFile]:
    place = parse_uri(file.path)
    with _told(file.path):
        system, path = _where(file)
        kind = system.get_file_info(path).type
        if kind is pafs.FileType.File:
            if file_format(file.path) is None:
                raise invalid(
                    "UNSUPPORTED_FILE",
                    f"The file {file.called!r} cannot be a table: its ending is unknown; {ENDINGS_TOLD}.",
                )
            return [file]
        literal, pattern = split_pattern(place.parts)
        if kind is pafs.FileType.Directory:
            literal, pattern = place.parts, ()
        elif not is_pattern(file.path):
            raise FileNotFoundError
        base = UriRoot(place.scheme, place.authority, literal)
        _, top = _where(InputFile(base.uri, settings=file.settings))
        members = system.get_file_info(pafs.FileSelector(top, allow_not_found=True, recursive=True))
    files = []
    for member in members:
        parts = tuple(member.path.removeprefix(top).strip("/").split("/"))
        wanted = stands_for(pattern, parts) if pattern else not any(map(hidden, parts))
        if wanted and member.type is pafs.FileType.File and file_format(parts[-1]) is not None:
            files.append(
                InputFile(
                    f"{base.uri}/{'/'.join(parts)}", "/".join(parts), keys_of(parts[:-1]), file.settings
                )
            )
    if not files:
        what = "matches" if pattern else "is below"
        raise not_found(
            "FILE_NOT_FOUND", f"No data file {what} {file.path!r}: {ENDINGS_TOLD}.", path=file.path
        )
    return sorted(files, key=lambda one: one.path.split("/"))


def _where(file: InputFile) -> tuple[pafs.FileSystem, str]:
    """Return a file's file system, and its path there."""
    place = parse_uri(file.path)
    system, base = _file_system(place.scheme, place.authority, file.settings)
    return system, "/".join([base.rstrip("/"), *place.parts]) or "/"


@functools.lru_cache(maxsize=16)
def _file_system(scheme: str, authority: str, settings: str) -> tuple[pafs.FileSystem, str]:
    uri = f"{scheme}://{authority}" + ("/" if scheme == "hdfs" else "") + (f"?{settings}" if settings else "")
    system, base = pafs.FileSystem.from_uri(uri)
    return system, str(base)


@contextmanager
def _told(shown: str) -> Iterator[None]:
    """Turn what a file system refuses into errors that say what and where."""
    try:
        yield
    except FileNotFoundError:
        raise not_found(
            "FILE_NOT_FOUND", f"There is no file {shown!r}. Check the name.", path=shown
        ) from None
    except PermissionError:
        raise unreadable(f"The file {shown!r}", shown) from None
    except (NotImplementedError, pa.ArrowInvalid) as error:
        raise _unavailable(shown, error) from None
    except OSError as error:
        if "Unable to load lib" in str(error):  # HDFS is reached through Java
            raise _unavailable(shown, error) from None
        if any(word in str(error) for word in _DENIED):
            raise unreadable(f"The file {shown!r}", shown) from None
        raise ScorestreamError(
            ErrorCode.UNAVAILABLE,
            "FILE_SYSTEM_FAILED",
            f"{shown!r} cannot be read: {_short(error)}. Try again; if it stays so, ask the operator.",
            metadata={"path": shown},
        ) from None


def _unavailable(shown: str, error: Exception) -> ScorestreamError:
    return precondition(
        "FILE_SYSTEM_UNAVAILABLE",
        f"{shown!r} cannot be reached: this server has no such file system, or the settings of its data root are wrong "
        f"({_short(error)}). Ask the operator.",
        path=shown,
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).splitlines()[0].split())[:300].rstrip(".")
