"""Which files of the data directory the store knows."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.job import FINAL_STATES
from scorestream_server.domain.session import SessionState
from scorestream_server.domain.table import PartitionFile, TableData
from scorestream_server.store import kept
from scorestream_server.store.schema import JOBS, MODELS, PARTITIONS, SESSIONS, TABLES
from scorestream_server.tables.kept import kept_name

_OPEN = sa.select(SESSIONS.c.id).where(SESSIONS.c.state != SessionState.ENDED.value)
_FINAL = [state.value for state in FINAL_STATES]


class _Reads(msgspec.Struct):
    """What of a job's spec says what it reads."""

    table_uid: str


@dataclass(frozen=True, slots=True)
class Holdings:
    """What there is for the store, of sessions that have not ended.

    Attributes:
        models: names of model files.
        sessions: ids.
        tables: folders, whether the table was dropped or not: a job may still need it.
        jobs: the names of the committed partitions by folder.
        unfinished: ids of jobs that are not final.
        files: every file in the directory that the store says is there; those in homes and in the cache are left out.
        cached: files of tables in the cache, and their copies; of a table that was dropped only while a job needs it.
    """

    models: AbstractSet[str]
    sessions: AbstractSet[str]
    tables: AbstractSet[Path]
    jobs: Mapping[Path, AbstractSet[str]]
    unfinished: AbstractSet[str]
    files: AbstractSet[Path]
    cached: AbstractSet[Path]
    kept: AbstractSet[str] = frozenset()
    """Names of versions of users' files that are needed, whether there are such versions or not."""


def read_holdings(connection: sa.Connection, directory: DataDirectory) -> Holdings:
    """Return what the store knows."""
    models = set(connection.execute(sa.select(MODELS.c.file_name).where(~MODELS.c.removed)).scalars())
    files = {directory.models / name for name in models}
    tables = set()
    cached: set[Path] = set()
    needed = _of_unfinished_jobs(connection)
    for table in connection.execute(_kept_tables(connection)):
        if table.is_global:
            tables.add(directory.global_table(table.uid))
        else:
            tables.add(directory.table(table.session_id, table.uid))
        data = msgspec.json.decode(table.data, type=TableData)
        if data.cached:
            if not data.evicted and (not table.dropped or table.uid in needed):
                cached |= {Path(path) for one in data.cached for path in (one.path, *one.copies)}
            continue
        paths = (Path(file.path) for file in data.files)
        home = directory.home(table.session_id)  # whose files come and go as their owner likes
        files |= {
            path for path in paths if path.is_relative_to(directory.root) and not path.is_relative_to(home)
        }
    jobs: dict[Path, set[str]] = {}
    folders: dict[str, set[str]] = {}
    unfinished = set()
    known = sa.select(JOBS.c.id, JOBS.c.session_id, JOBS.c.state)
    for row in connection.execute(known.where(JOBS.c.session_id.in_(_OPEN))):
        if row.state not in _FINAL:
            unfinished.add(row.id)
        folders[row.id] = jobs[directory.job(row.session_id, row.id)] = set()
    committed = (
        sa.select(PARTITIONS.c.job_id, PARTITIONS.c.file)
        .join(JOBS, JOBS.c.id == PARTITIONS.c.job_id)
        .where(JOBS.c.session_id.in_(_OPEN), PARTITIONS.c.file.is_not(None))
    )
    for part in connection.execute(committed):
        path = Path(msgspec.json.decode(part.file, type=PartitionFile).path)
        folders[part.job_id].add(path.name)
        files.add(path)
    sessions = set(connection.execute(_OPEN).scalars())
    versions = {kept_name(file) for file in kept.sources(connection)}
    return Holdings(models, sessions, tables, jobs, unfinished, files, cached, versions)


def _of_unfinished_jobs(connection: sa.Connection) -> set[str]:
    """Return the tables, dropped or not, that jobs will go on with."""
    specs = connection.execute(sa.select(JOBS.c.spec).where(JOBS.c.state.not_in(_FINAL))).scalars()
    return {msgspec.json.decode(spec, type=_Reads).table_uid for spec in specs}


def has_global_tables(connection: sa.Connection) -> bool:
    """Whether the store is of a version that has global tables; a backup reads older ones, too."""
    return any(
        column["name"] == TABLES.c.is_global.name
        for column in sa.inspect(connection).get_columns(TABLES.name)
    )


def _kept_tables(connection: sa.Connection) -> sa.Select[Any]:
    """Return the statement for the tables whose files are there."""
    # Columns by name: those that stores of older versions have, too.
    columns = (TABLES.c.session_id, TABLES.c.uid, TABLES.c.data, TABLES.c.dropped)
    of_open = TABLES.c.session_id.in_(_OPEN)
    if not has_global_tables(connection):
        return sa.select(*columns, sa.false().label("is_global")).where(of_open)
    kept_ = sa.and_(sa.or_(of_open, TABLES.c.is_global), ~TABLES.c.cleared)
    return sa.select(*columns, TABLES.c.is_global).where(kept_)
