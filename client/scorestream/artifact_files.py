"""Where artifacts are written on this machine: a name that comes from elsewhere never leaves the directory."""

import re
from pathlib import Path

from scorestream.errors import AlreadyExistsError, InvalidArgumentError
from scorestream.local_file import LocalFile

_NAME = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9_ .-]{0,126}[A-Za-z0-9_-])?")


def existing_directory(path: str | Path) -> Path:
    """Return a directory.

    Raises:
        NotADirectoryError: it is none, or not there.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no directory that is there; make it first.")
    return folder


def artifact_target(folder: Path, name: str, *, replace: bool) -> Path:
    """Return the file of an artifact in a directory.

    Raises:
        InvalidArgumentError: the name is none that an artifact can have.
        AlreadyExistsError: something is there, and `replace` is false.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidArgumentError(f"{name!r} is no name of an artifact.", reason="BAD_ARTIFACT_NAME")
    target = folder / name
    if not replace and (target.exists() or target.is_symlink()):
        raise AlreadyExistsError(
            f"{target} is there already; ask for replace, or for another directory.", reason="OUTPUT_EXISTS"
        )
    return target


def write_artifact(target: Path, content: bytes, *, replace: bool) -> None:
    """Write an artifact: all of it, or nothing; what is replaced is a link or a file itself, never what a link leads to."""
    with LocalFile(target, replace=replace) as file:
        file.write(content)
