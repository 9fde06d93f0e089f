"""Which files a client may name: inputs and outputs inside the configured data roots and its session's home only.

A check and the later use of a path are two steps: whoever may write into a data root can change a symbolic
link in between. Data roots should therefore be writable only for people who may read what the server reads.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid, not_found
from scorestream_server.domain.home import HOME_SCHEME, home_path
from scorestream_server.domain.table import Destination, FileFormat, OutputFormat

INPUT_ENDINGS = {
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".csv.gz": FileFormat.CSV,
    ".tsv.gz": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".arrow": FileFormat.ARROW,
    ".feather": FileFormat.ARROW,
    ".ipc": FileFormat.ARROW,
}
OUTPUT_ENDINGS = {
    ".parquet": OutputFormat.PARQUET,
    ".arrow": OutputFormat.ARROW,
    ".feather": OutputFormat.ARROW,
    ".ipc": OutputFormat.ARROW,
    ".csv": OutputFormat.CSV,
    "": OutputFormat.DATASET,
}
_OUTPUT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._=+@-]{0,198}[A-Za-z0-9_=+@-])?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ENDINGS = "a data file ends with .csv, .tsv (also with .gz), .parquet, .arrow, .feather or .ipc"
_MAX_PATH = 4000
MAX_FILES = 100_000


def file_format(path: Path) -> FileFormat | None:
    """Return the format that a file's ending stands for, or None for an ending that is not known."""
    name = path.name.lower()
    for ending, form in INPUT_ENDINGS.items():
        if name.endswith(ending):
            return form
    return None


def unreadable(text: str) -> ScorestreamError:
    """Return the error for a file that the server's user may not read."""
    return ScorestreamError(
        ErrorCode.PERMISSION_DENIED,
        "FILE_NOT_READABLE",
        f"The server's user may not read {text!r}. Change the file's permissions.",
        metadata={"path": text},
    )


class DataRoots:
    """The directories under which clients may name files.

    Beside them, ``home:PATH`` is a path in a session's home, for the methods that are told where that is; there,
    symbolic links lead nowhere.

    Args:
        roots: the directories; None lets a client name whatever the server's user may read (the private
            server of one user). An empty sequence allows nothing.
    """

    def __init__(self, roots: Sequence[Path] | None) -> None:
        self._roots = None if roots is None else tuple(Path(os.path.realpath(root)) for root in roots)

    def resolve(self, text: str, home: Path | None = None) -> Path:
        """Return the real path of an existing file or directory that a client named.

        Args:
            text: the path.
            home: folder of the session's home.

        Raises:
            ScorestreamError: PATH_OUTSIDE_DATA_ROOTS, the same whether or not there is such a file;
                FILE_NOT_FOUND; INVALID_PATH; FILE_NOT_READABLE.
        """
        _check_text(text)
        if text.startswith(HOME_SCHEME):
            return _existing_in_home(text, home)
        escaped = False
        for candidate in self._candidates(text):
            real = Path(os.path.realpath(candidate))
            if not self._inside(real):
                escaped = True
                continue
            try:
                found = real.exists()
            except PermissionError:
                raise unreadable(text) from None
            except OSError:  # a name that no file system can hold
                found = False
            if found:
                return real
        if escaped or not self._roots_allow():
            raise _outside(text)
        raise not_found(
            "FILE_NOT_FOUND",
            f"There is no file {text!r} under the server's data roots. Check the name on the server's machine.",
            path=text,
        )

    def within(self, text: str) -> "DataRoots":
        """Return data roots that have a directory of these, and nothing else: paths are relative to it.

        Raises:
            ScorestreamError: what `resolve` raises.
        """
        return DataRoots((self.resolve(text),))

    def inputs(self, texts: Sequence[str], home: Path | None = None) -> tuple[Path, ...]:
        """Return the files that a client's list of files and directories stands for, directories sorted.

        A directory gives every file below it with a known ending; names that begin with ``.`` or ``_``
        are skipped.

        Raises:
            ScorestreamError: what `resolve` raises; NO_INPUT_FILES; MIXED_FORMATS; UNSUPPORTED_FILE;
                TOO_MANY_FILES.
        """
        if not texts:
            raise invalid("NO_INPUT_FILES", "No input was named. Name at least one file or directory.")
        files: list[Path] = []
        for text in texts:
            root = self.resolve(text, home)
            found = [root] if not root.is_dir() else self._below(root, text)
            if not found:
                raise invalid(
                    "NO_INPUT_FILES",
                    f"The directory {text!r} holds no data file: {_ENDINGS}.",
                    path=text,
                )
            files += found
            if len(files) > MAX_FILES:
                raise invalid(
                    "TOO_MANY_FILES", f"More than {MAX_FILES:,} files were named. Name fewer at a time."
                )
        _check_files(files)
        return tuple(files)

    def allow(self, text: str) -> None:
        """Refuse a path on the server, whether or not anything is there, that lies outside of the data roots.

        Raises:
            ScorestreamError: PATH_OUTSIDE_DATA_ROOTS; INVALID_PATH.
        """
        _check_text(text)
        if not any(self._inside(Path(os.path.realpath(candidate))) for candidate in self._candidates(text)):
            raise _outside(text)

    def output(self, text: str, home: Path | None = None) -> Destination:
        """Return where an output that a client named goes; nothing is created.

        Args:
            text: the path.
            home: folder of the session's home, which is there.

        Raises:
            ScorestreamError: PATH_OUTSIDE_DATA_ROOTS, OUTPUT_DIRECTORY_NOT_FOUND, INVALID_PATH,
                UNSUPPORTED_OUTPUT.
        """
        _check_text(text)
        # Not Path(), which would lose what a final slash says.
        name = os.path.basename(text.removeprefix(HOME_SCHEME).rstrip("/"))  # noqa: PTH119
        if not _OUTPUT_NAME.fullmatch(name):
            raise invalid(
                "INVALID_PATH",
                f"{name!r} cannot be an output's name. Use letters, digits and . _ - = + @ and begin with "
                "a letter or a digit; at most 200 characters.",
                path=text,
            )
        ending = "" if text.endswith("/") else Path(name).suffix.lower()
        form = OUTPUT_ENDINGS.get(ending)
        if form is None:
            raise invalid(
                "UNSUPPORTED_OUTPUT",
                f"The output {text!r} ends with {ending!r}. Use .parquet, .arrow, .feather, .ipc or .csv, or no "
                "ending (or a final /) for a directory of Parquet files.",
                path=text,
            )
        if text.startswith(HOME_SCHEME):
            path = _in_home(text, home)
            if path.parent.is_dir():
                return Destination(str(path), form, HOME_SCHEME + "/".join(home_path("path", text)))
        escaped = False
        for candidate in self._candidates(text):
            parent = Path(os.path.realpath(os.path.dirname(os.path.abspath(candidate))))  # noqa: PTH100, PTH120  as above
            if not self._inside(parent):
                escaped = True
            elif parent.is_dir():
                return Destination(str(parent / name), form)
        if escaped or not self._roots_allow():
            raise _outside(text)
        raise not_found(
            "OUTPUT_DIRECTORY_NOT_FOUND",
            f"The directory of the output {text!r} does not exist. Create it first.",
            path=text,
        )

    def _roots_allow(self) -> bool:
        return self._roots is None or bool(self._roots)

    def _candidates(self, text: str) -> Iterator[str]:
        if text.startswith(HOME_SCHEME):
            return
        if self._roots is None or os.path.isabs(text):  # noqa: PTH117  Path() would lose a final slash
            yield text
        else:
            for root in self._roots:
                yield f"{root}/{text}"

    def _inside(self, real: Path) -> bool:
        return self._roots is None or any(real.is_relative_to(root) for root in self._roots)

    def _below(self, top: Path, text: str) -> list[Path]:
        files = []
        for directory, names, members in os.walk(top):
            names[:] = sorted(name for name in names if not name.startswith((".", "_")))
            for member in members:
                path = Path(directory, member)
                if member.startswith((".", "_")) or file_format(path) is None:
                    continue
                if path.is_symlink():
                    path = Path(os.path.realpath(path))
                    if text.startswith(HOME_SCHEME) or not self._inside(path):
                        raise _outside(f"{text.rstrip('/')}/{Path(directory, member).relative_to(top)}")
                files.append(path)
                if len(files) > MAX_FILES:
                    return files
        return sorted(files)


def _in_home(text: str, home: Path | None) -> Path:
    """Return the path of what may or may not be in a home."""
    names = home_path("path", text)
    if home is None or not names:
        raise invalid(
            "INVALID_PATH", f"{text!r} names no file in a session's home; write home:PATH.", path=text
        )
    top = Path(os.path.realpath(home))
    path = top.joinpath(*names)
    if Path(os.path.realpath(path)) != path:
        raise _outside(text)
    return path


def _existing_in_home(text: str, home: Path | None) -> Path:
    path = _in_home(text, home)
    if not path.exists():
        raise not_found(
            "FILE_NOT_FOUND",
            f"There is no {text!r}: the session's home has no such file. `scorestream file ls` shows what there is.",
            path=text,
        )
    return path


def _check_text(text: str) -> None:
    try:
        size = len(os.fsencode(text))
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= _MAX_PATH or "\0" in text:
        raise invalid(
            "INVALID_PATH",
            f"A path must have 1 to {_MAX_PATH:,} bytes, in valid Unicode, without NUL characters.",
        )
    if _SCHEME.match(text):
        raise invalid(
            "INVALID_PATH",
            f"{text!r} is a URI. Name a file or a directory on the server's machine by its path.",
            path=text,
        )


def _check_files(files: Iterable[Path]) -> None:
    """Refuse what is no readable regular file, unknown endings, and a mixture of formats; all at once."""
    by_format: dict[FileFormat, Path] = {}
    faults = []
    for path in files:
        form = file_format(path)
        if form is None:
            faults.append(FieldFault(path.name, f"its ending is unknown; {_ENDINGS}"))
        elif not stat.S_ISREG(path.stat().st_mode):
            faults.append(FieldFault(path.name, "it is not a regular file"))
        elif not os.access(path, os.R_OK):
            raise unreadable(path.name)
        else:
            by_format.setdefault(form, path)
    if faults:
        first = faults[0]
        raise invalid(
            "UNSUPPORTED_FILE",
            f"The file {first.field!r} cannot be a table: {first.description}.",
            faults[:100],
        )
    if len(by_format) > 1:
        named = ", ".join(f"{path.name!r} is {form.value}" for form, path in by_format.items())
        raise invalid(
            "MIXED_FORMATS",
            f"One table cannot be made of files of several formats: {named}. Load them one by one.",
        )


def _outside(text: str) -> ScorestreamError:
    return ScorestreamError(
        ErrorCode.PERMISSION_DENIED,
        "PATH_OUTSIDE_DATA_ROOTS",
        f"The path {text!r} is outside of the server's data roots. Put the file under one of them, or ask the "
        "operator to add its directory with --data-root.",
        metadata={"path": text},
    )
