"""Before the store is used: is it one, is it whole, is it not newer than this program; then bring it up to date."""

import contextlib
import logging
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from alembic.script import ScriptDirectory

from scorestream_server.domain.data_directory import DataDirectory, UnusableDirectoryError
from scorestream_server.store.database import migrate, migration_settings, open_engine, storage_error
from scorestream_server.store.relocation import relocate

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
    elif any(
        folder.is_dir() and any(folder.iterdir())
        for folder in (directory.models, directory.sessions, directory.global_tables)
    ):
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
    script = ScriptDirectory.from_config(migration_settings())
    known = {revision.revision for revision in script.walk_revisions()}
    unknown = {row[0] for row in connection.execute("SELECT version_num FROM alembic_version")} - known
    if unknown:
        raise UnusableDirectoryError(
            f"The store {path} is of version {', '.join(sorted(unknown))}; this program knows versions up to "
            f"{script.get_current_head()}. Nothing was changed. Start the newer program again, or put a backup from "
            "before its first start in the data directory's place."
        )
