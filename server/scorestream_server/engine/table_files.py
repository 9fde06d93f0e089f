"""Files of a table that would end with its session, given to a folder of the table's own."""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import precondition
from scorestream_server.domain.home import home_place
from scorestream_server.domain.session import Session
from scorestream_server.domain.table import SourceFile, TableData
from scorestream_server.tables.files import disk_errors, source_file, sync


def own_files(
    data: TableData,
    folder: Path,
    directory: DataDirectory,
    session: Session,
    *,
    of_home: bool,
    anew: bool = False,
) -> TableData:
    """Return a table's data with files in a folder of its own, where those that it has would go with something else.

    What this server wrote is linked, so that no bytes are copied. Files of the session's home are its owner's to change,
    and are copied. All others stay where they are.

    Args:
        data: a table of the session.
        folder: made where it is needed; whoever calls removes it where this fails.
        directory: the data directory.
        session: that made the table, and takes its folder along at its end.
        of_home: whether files of the home are taken, too.
        anew: whether it is for another table, which is not to lose its files with this one.

    Raises:
        ScorestreamError: SOURCE_CHANGED, where a file of the home is no longer what was loaded; DISK_FULL.
        OSError: a file is gone.
    """
    cached = {one.path for one in data.cached}  # which lie in folders that are no session's
    home = Path(os.path.realpath(home_place(directory, session).root))
    ends = directory.session(session.id)
    moved: dict[str, SourceFile] = {}
    copied = False
    for place, file in enumerate(data.files):
        path = Path(file.path)
        if path.is_relative_to(folder) or file.path in cached:
            continue
        take: Callable[[Path, Path], object]
        if path.is_relative_to(home):
            if not of_home:
                continue
            take, copied = _copy, True
        elif path.is_relative_to(ends) or (
            anew and (not data.in_place or path.is_relative_to(directory.root))
        ):
            take = _link
        else:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{place:05d}{path.suffix}"
        with disk_errors(folder):
            take(path, target)
        taken = source_file(target)
        if (taken.size, taken.mtime_ns) != (file.size, file.mtime_ns):
            raise precondition(
                "SOURCE_CHANGED",
                f"The file {path.name!r} is no longer what the table was loaded from. Load it again.",
                path=file.path,
            )
        moved[file.path] = taken
    if not moved:
        return data
    for made in (folder, folder.parent):
        sync(made)
    return replace(
        data,
        files=tuple(moved.get(file.path, file) for file in data.files),
        # Sources in a home are what was loaded; those of a job's result were never anybody's files.
        sources=data.sources if copied else tuple(moved.get(file.path, file) for file in data.sources),
        fragments=tuple(
            replace(part, path=moved[part.path].path) if part.path in moved else part
            for part in data.fragments
        ),
        in_place=data.in_place and not copied,
    )


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # another file system, or one without links
        if not path.exists():
            raise
        _copy(path, target)


def _copy(path: Path, target: Path) -> None:
    shutil.copy2(path, target)
    sync(target)


def bytes_key(data: TableData) -> str:
    """Return what is the same for all tables that map the very same files, wherever these have their names.

    Without files, and where they were evicted, it is empty.

    Raises:
        OSError: a file is gone.
    """
    if not data.files or data.evicted:
        return ""
    digest = hashlib.sha256()
    for file in data.files:
        found = Path(file.path).stat()
        digest.update(f"{found.st_dev:x}:{found.st_ino:x}:{found.st_size:x}:{found.st_mtime_ns:x};".encode())
    return digest.hexdigest()[:32]
