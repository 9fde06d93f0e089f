"""A session's home: where it is, what it holds, and what may be a path in it."""

from dataclasses import dataclass
from pathlib import Path

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid
from scorestream_server.domain.session import Session

HOME_SCHEME = "home:"
"""What the path of a file in the home begins with where a path on the server could stand, too."""
FILEREF_SCHEME = "fileref:"
RESERVED = ".scorestream"
"""Name at the top of a home that clients may not use: what is on its way into the home lies there."""
LONGEST_NAME = 255
LONGEST_PATH = 1024
DEEPEST = 32


@dataclass(frozen=True, slots=True)
class HomePlace:
    """Where a session's home is.

    Attributes:
        root: the folder; it may not be there yet.
        transient: whether it ends with the session.
    """

    root: Path
    transient: bool


@dataclass(frozen=True, slots=True)
class HomeFile:
    """A file or a directory as it was when it was looked at.

    Attributes:
        path: from the home on; empty for the home itself.
        size: bytes; 0 for a directory.
        modify_time: seconds since 1970, UTC.
        etag: another one for every other content.
    """

    path: str
    directory: bool
    size: int
    modify_time: float
    etag: str


@dataclass(frozen=True, slots=True)
class HomeUse:
    """What a home takes: bytes in files, and how many files and directories."""

    bytes: int
    files: int


def home_place(directory: DataDirectory, session: Session) -> HomePlace:
    """Return where a session's home is. Nothing else decides that.

    It ends with its session wherever it is, as the Compute API has it.
    """
    if session.home_directory:
        return HomePlace(Path(session.home_directory) / session.id, transient=True)
    return HomePlace(directory.home(session.id), transient=True)


def home_path(field: str, text: str) -> tuple[str, ...]:
    """Return the names that a path in a home consists of; none for the home itself.

    Args:
        field: what the path is in the request.
        text: the path, with or without `HOME_SCHEME`; a `/` at its end is left out.

    Raises:
        ScorestreamError: INVALID_PATH.
    """
    path = text.removeprefix(HOME_SCHEME)
    if path in {"", "."}:
        return ()
    names = tuple(path.removesuffix("/").split("/"))
    told = ""
    if path.startswith("/"):
        told = "it begins with a slash; paths are relative to the home"
    elif _bytes(path) > LONGEST_PATH or len(names) > DEEPEST:
        told = f"at most {LONGEST_PATH:,} bytes and {DEEPEST} names are allowed"
    elif names[0] == RESERVED:
        told = f"{RESERVED} is the server's own"
    else:
        told = next((why for name in names if (why := _wrong(name))), "")
    if told:
        raise bad_path(field, text, told)
    return names


def allowed_name(name: str) -> bool:
    """Whether a file of this name can be asked for; a folder outside of the data directory may hold others."""
    return not _wrong(name)


def bad_path(field: str, text: str, told: str) -> ScorestreamError:
    """Return the error for what is no path in a home."""
    shown = text if len(text) <= 80 else text[:77] + "..."
    return invalid(
        "INVALID_PATH", f"{field}: {shown!r} is no path in a home: {told}.", [FieldFault(field, told)]
    )


def _wrong(name: str) -> str:
    if not name:
        return "a name in it is empty"
    if name in {".", ".."}:
        return f"{name!r} is no name; give the path from the home on"
    if not name.isprintable():
        return "a name holds a character that cannot be printed"
    size = _bytes(name)
    return "" if 0 < size <= LONGEST_NAME else f"a name has more than {LONGEST_NAME} bytes"


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
