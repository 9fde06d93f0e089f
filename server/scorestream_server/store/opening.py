"""Before the store is used: is it one, is it whole, is it not newer than this program; then bring it up to date."""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from scorestream_server.domain.data_directory import TABLE_FOLDER, DataDirectory, UnusableDirectoryError
from scorestream_server.store.database import migrate, open_engine, storage_error
from scorestream_server.store.relocation import relocate
from scorestream_server.store.schema import VERSION

logger = logging.getLogger(__name__)

_RESTORE = "Nothing was changed. Keep a copy of the data directory, then put a backup in its place (README, Operations)."


def open_store(directory: DataDirectory) -> None:
    """Make the store of a data directory ready for this version of the program.

    Raises:
        UnusableDirectoryError: it is damaged, missing, no store at all, or of a newer version.
    """
    path = directory.database
    if path.exists() and path.stat().st_size:
        check_store(path)
    elif any(folder.is_dir() and any(folder.iterdir()) for folder in _folders_of_files(directory)):
        # A new, empty store would know none of these files, and what no store knows is removed.
        raise UnusableDirectoryError(
            f"The store {path} is missing, and files that belong to it are there. {_RESTORE}"
        )
    engine = open_engine(directory.database_url)
    try:
        migrate(engine)
        with engine.execution_options(writes=True).begin() as connection:
            if moved := relocate(connection, directory.root):
                logger.warning(
                    "the data directory was moved to %s: %d paths were made right", directory.root, moved
                )
    except sa.exc.DBAPIError as error:
        told = storage_error(error, engine.url)
        if told is None:
            raise
        raise UnusableDirectoryError(str(told)) from error
    finally:
        engine.dispose()


def _folders_of_files(directory: DataDirectory) -> Iterator[Path]:
    """Yield the folders in which a store has files, if it has any."""
    yield from (directory.models, directory.sessions)
    for cache in directory.cache_dirs:
        if cache.is_dir():
            yield from (path for path in cache.iterdir() if TABLE_FOLDER.fullmatch(path.name))


def check_store(path: Path) -> None:
    """Change nothing, and raise UnusableDirectoryError where a file is no whole store that this program knows."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            _check_whole(connection, path)
            _check_version(connection, path)
    except sqlite3.DatabaseError as error:
        raise UnusableDirectoryError(f"The store {path} cannot be read: {error}. {_RESTORE}") from None


def _check_whole(connection: sqlite3.Connection, path: Path) -> None:
    found = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise UnusableDirectoryError(f"The store {path} is damaged: {'; '.join(found)[:300]}. {_RESTORE}")


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return
    if "alembic_version" not in tables:
        raise UnusableDirectoryError(
            f"{path} is a database, but none of scorestream's. Nothing was changed. Give another --data-dir."
        )
    found = {row[0] for row in connection.execute("SELECT version_num FROM alembic_version")}
    if found == {VERSION}:
        return
    # Here, because Alembic takes its time, and most starts find a store of this version.
    from scorestream_server.store.upgrade import known_versions  # noqa: PLC0415

    unknown = found - set(known_versions())
    if unknown:
        raise UnusableDirectoryError(
            f"The store {path} is of version {', '.join(sorted(unknown))}; this program knows versions up to "
            f"{VERSION}. Nothing was changed. Start the newer program again, or put a backup from "
            "before its first start in the data directory's place."
        )
