"""What dead attempts left behind, found and removed before a server begins; nothing is in flight then."""

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from scorestream_server.domain.data_directory import TABLE_FOLDER, DataDirectory
from scorestream_server.store.holdings import Holdings
from scorestream_server.tables.home import remove_incoming
from scorestream_server.tables.publication import settle

logger = logging.getLogger(__name__)


def remove_leftovers(directory: DataDirectory, holdings: Holdings, homes: Iterable[Path]) -> int:
    """Remove what the store does not know, in the data directory and beside outputs; return how much it was.

    Args:
        directory: the data directory.
        holdings: what the store knows.
        homes: the homes of open sessions, of which only what did not come in entirely is removed.
    """
    unknown = list(_unknown(directory, holdings))
    for path in unknown:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    for journal in _entries(directory.publishing):
        _settle(journal, holdings)
    return len(unknown) + sum(map(remove_incoming, homes))


def _settle(journal: Path, holdings: Holdings) -> None:
    """Put the place of an output in order; what got its name is remembered for a job that has still to hear of it."""
    try:
        settle(journal)
        if journal.stem not in holdings.unfinished:
            journal.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("an output that was not finished cannot be tidied up now: %s", error)


def _unknown(directory: DataDirectory, holdings: Holdings) -> Iterator[Path]:
    """Yield the files and folders that nobody will ask for, none of them within another."""
    yield from (path for path in _entries(directory.models) if path.name not in holdings.models)
    yield from (path for path in _entries(directory.publishing) if path.suffix != ".json")
    yield from (path for path in _entries(directory.kept) if path.name not in holdings.kept)
    yield from _entries(directory.reads(""))
    yield from _of_tables(directory.global_tables, holdings)
    folders = {path.parent for path in holdings.cached}
    for cache in directory.cache_dirs:
        for table in (path for path in _entries(cache) if TABLE_FOLDER.fullmatch(path.name)):
            if table not in folders:
                yield table
            else:
                yield from (path for path in _entries(table) if path not in holdings.cached)
    for session in _entries(directory.sessions):
        if session.name not in holdings.sessions:
            yield session
            continue
        yield from _entries(directory.reads(session.name))
        yield from _of_tables(session / "tables", holdings)
        for job in _entries(session / "jobs"):
            if job not in holdings.jobs:
                yield job
            else:
                yield from (path for path in _entries(job) if path.name not in holdings.jobs[job])


def _of_tables(folder: Path, holdings: Holdings) -> Iterator[Path]:
    for table in _entries(folder):
        if table not in holdings.tables:
            yield table
        else:
            yield from (path for path in _entries(table) if path not in holdings.files)


def _entries(folder: Path) -> Iterable[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else ()
