"""Which files a client may name: inputs and outputs inside the configured data roots and its session's home only.

A data root is a directory, or a URI: then by names alone, before anybody asks its file system.

A check and the later use of a path are two steps: whoever may write into a data root can change a symbolic
link in between. Data roots should therefore be writable only for people who may read what the server reads.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from scorestream_server.domain.disk import unreadable
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid, not_found
from scorestream_server.domain.home import HOME_SCHEME, home_path
from scorestream_server.domain.table import Destination, FileFormat, InputFile, OutputFormat
from scorestream_server.tables.formats import ENDINGS_TOLD, file_format
from scorestream_server.tables.hive import keys_of
from scorestream_server.tables.listing import ANY_DEPTH, Parts, below, is_pattern, matching, split_pattern
from scorestream_server.tables.uris import UriRoot, is_uri, local_path, parse_root, parse_uri

OUTPUT_ENDINGS = {
    ".parquet": OutputFormat.PARQUET,
    ".arrow": OutputFormat.ARROW,
    ".feather": OutputFormat.ARROW,
    ".ipc": OutputFormat.ARROW,
    ".csv": OutputFormat.CSV,
    ".csv.gz": OutputFormat.CSV,
    ".csv.zst": OutputFormat.CSV,
    "": OutputFormat.DATASET,
}
_OUTPUT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._=+@-]{0,198}[A-Za-z0-9_=+@-])?")
_MAX_PATH = 4000
MAX_FILES = 100_000


class DataRoots:
    """The directories under which clients may name files.

    Beside them, ``home:PATH`` is a path in a session's home, for the methods that are told where that is; there,
    symbolic links lead nowhere.

    Args:
        roots: the directories, and URIs as text; None lets a client name whatever the server's user may read (the private
            server of one user). An empty sequence allows nothing.

    Raises:
        ValueError: a text is no URI that is read here.
    """

    def __init__(self, roots: Sequence[Path | str] | None) -> None:
        folders = [root for root in roots or () if isinstance(root, Path)]
        self._uris = None if roots is None else [parse_root(root) for root in roots if isinstance(root, str)]
        self._roots = None if roots is None else tuple(Path(os.path.realpath(root)) for root in folders)

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
                raise unreadable(f"The file {text!r}", text) from None
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

    def inputs(self, texts: Sequence[str], home: Path | None = None) -> tuple[InputFile, ...]:
        """Return the files that a client's list of files, directories, patterns and URIs stands for.

        A directory gives every file below it with a known ending, sorted; names that begin with ``.`` or ``_``
        are skipped. A text that names nothing and has ``*``, ``?``, ``[`` or ``**`` in it is a pattern. A URI stays one: what
        it stands for is asked of its file system, by whoever loads it.

        Raises:
            ScorestreamError: what `resolve` raises; NO_INPUT_FILES; MIXED_FORMATS; UNSUPPORTED_FILE;
                TOO_MANY_FILES.
        """
        if not texts:
            raise invalid("NO_INPUT_FILES", "No input was named. Name at least one file or directory.")
        files: list[InputFile] = []
        for text in map(local_path, texts):
            files += [self.at_uri(text)] if is_uri(text) else self._local(text, home)
            if len(files) > MAX_FILES:
                raise invalid(
                    "TOO_MANY_FILES", f"More than {MAX_FILES:,} files were named. Name fewer at a time."
                )
        _check_files(files)
        return tuple(files)

    def at_uri(self, text: str) -> InputFile:
        """Return the place at a URI that a client named, whatever is there.

        Raises:
            ScorestreamError: PATH_OUTSIDE_DATA_ROOTS; INVALID_PATH.
        """
        place = parse_uri(text)
        _check_depth(text, place.parts)
        if self._uris is None:
            return InputFile(place.uri)
        inside = [root for root in self._uris if root.holds(place)]
        if not inside:
            raise _outside(text)
        nearest: UriRoot = max(inside, key=lambda root: len(root.parts))
        return InputFile(place.uri, settings=nearest.settings)

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
        ending = "" if text.endswith("/") else _output_ending(name)
        form = OUTPUT_ENDINGS.get(ending)
        if form is None:
            raise invalid(
                "UNSUPPORTED_OUTPUT",
                f"The output {text!r} ends with {ending!r}. Use .parquet, .arrow, .feather, .ipc, .csv, .csv.gz "
                "or .csv.zst, or no ending (or a final /) for a directory of Parquet files.",
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

    def _local(self, text: str, home: Path | None) -> list[InputFile]:
        """Return the files that a path or a pattern stands for, sorted."""
        try:
            top = self.resolve(text, home)
        except ScorestreamError as error:
            if error.reason != "FILE_NOT_FOUND" or not is_pattern(text):
                raise
            return self._matching(text, home)
        if not top.is_dir():
            return [InputFile(str(top))]
        files = self._below((), top, text)
        if not files:
            raise invalid(
                "NO_INPUT_FILES",
                f"The directory {text!r} holds no data file: {ENDINGS_TOLD}.",
                path=text,
            )
        return _sorted(files)

    def _matching(self, text: str, home: Path | None) -> list[InputFile]:
        scheme = HOME_SCHEME if text.startswith(HOME_SCHEME) else ""
        literal, pattern = split_pattern(text.removeprefix(scheme).split("/"))
        pattern = tuple(part for part in pattern if part)
        _check_depth(text, pattern)
        for base in self._bases(scheme, "/".join(literal) + "/" * (literal == ("",)), home):
            files: dict[Path, InputFile] = {}
            try:
                for parts, path in matching(base, pattern, lambda link: self._link(link, text)):
                    found = self._below(parts, path, text) if path.is_dir() else [_input(parts, path)]
                    files |= {Path(file.path): file for file in found if file_format(file.path) is not None}
                    if len(files) > MAX_FILES:
                        break
            except PermissionError:
                raise unreadable(f"The file {text!r}", text) from None
            if files:
                return _sorted(files.values())
        raise not_found(
            "FILE_NOT_FOUND",
            f"No data file under the server's data roots matches {text!r}: {ENDINGS_TOLD}. Check the pattern on the "
            "server's machine.",
            path=text,
        )

    def _bases(self, scheme: str, literal: str, home: Path | None) -> Iterator[Path]:
        """Yield the directories below which a pattern is looked for; there may be none."""
        if scheme:
            base = _in_home(scheme + literal, home) if literal else home
            candidates = [] if base is None else [base]
        else:
            real = [Path(os.path.realpath(one)) for one in self._candidates(literal or ".")]
            candidates = [one for one in real if self._inside(one)]
        yield from (one for one in candidates if one.is_dir())

    def _link(self, link: Path, text: str) -> Path:
        """Return where a symbolic link that was met on the way leads."""
        real = Path(os.path.realpath(link))
        if text.startswith(HOME_SCHEME) or not self._inside(real):
            raise _outside(f"{text} ({link.name})" if is_pattern(text) else f"{text.rstrip('/')}/{link.name}")
        return real

    def _below(self, parts: Parts, top: Path, text: str) -> list[InputFile]:
        files = []
        for names, path in below(top, lambda link: self._link(link, text)):
            if file_format(names[-1]) is not None:
                files.append(_input((*parts, *names), path))
                if len(files) > MAX_FILES:
                    break
        return files


def _input(parts: Parts, path: Path) -> InputFile:
    return InputFile(str(path), "/".join(parts), keys_of(parts[:-1]))


def _sorted(files: Iterable[InputFile]) -> list[InputFile]:
    return sorted(files, key=lambda file: file.path.split("/"))


def _check_depth(text: str, parts: Sequence[str]) -> None:
    told = ""
    if parts.count(ANY_DEPTH) > 1:
        told = "** may stand in it once"
    elif any(part in {".", ".."} for part in parts):
        told = ". and .. may not stand behind the first *, ? or ["
    if told:
        raise invalid("INVALID_PATH", f"The pattern {text!r} cannot be looked for: {told}.", path=text)


def _output_ending(name: str) -> str:
    """Return an output's ending; only where that is known is it two."""
    both = "".join(Path(name.lower()).suffixes[-2:])
    return both if both in OUTPUT_ENDINGS else Path(name).suffix.lower()


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
    if is_uri(text):
        raise invalid(
            "INVALID_PATH",
            f"{text!r} is a URI. Name a file or a directory on the server's machine by its path.",
            path=text,
        )


def _check_files(files: Iterable[InputFile]) -> None:
    """Refuse what is no readable regular file, unknown endings, and a mixture of formats; all at once."""
    by_format: dict[FileFormat, InputFile] = {}
    faults = []
    for file in files:
        if is_uri(file.path):
            continue
        form = file_format(file.path)
        if form is None:
            faults.append(FieldFault(file.called, f"its ending is unknown; {ENDINGS_TOLD}"))
        elif not stat.S_ISREG(os.stat(file.path).st_mode):  # noqa: PTH116  of many thousands of files
            faults.append(FieldFault(file.called, "it is not a regular file"))
        elif not os.access(file.path, os.R_OK):
            raise unreadable(f"The file {file.called!r}", file.called)
        else:
            by_format.setdefault(form, file)
    if faults:
        first = faults[0]
        raise invalid(
            "UNSUPPORTED_FILE",
            f"The file {first.field!r} cannot be a table: {first.description}.",
            faults[:100],
        )
    one_format(by_format)


def one_format(by_format: Mapping[FileFormat, InputFile]) -> None:
    """Refuse files of several formats.

    Args:
        by_format: a file of each.

    Raises:
        ScorestreamError: MIXED_FORMATS.
    """
    if len(by_format) > 1:
        named = ", ".join(f"{file.called!r} is {form.value}" for form, file in by_format.items())
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
