"""Which versions of users' files the tables in the store may still read."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.job import FINAL_STATES
from scorestream_server.domain.table import SourceFile
from scorestream_server.store.schema import JOBS, TABLES

_FINAL = [state.value for state in FINAL_STATES]


class _Read(msgspec.Struct):
    """Of a table's data what matters here."""

    files: tuple[SourceFile, ...]
    kept: str = ""


class _Spec(msgspec.Struct):
    """Of a job's spec what matters here."""

    table_uid: str


def sources(connection: sa.Connection) -> Iterator[SourceFile]:
    """Yield the users' files that tables are read from: those that are there, and those of jobs that are not final."""
    specs = connection.execute(sa.select(JOBS.c.spec).where(JOBS.c.state.not_in(_FINAL))).scalars()
    running = {msgspec.json.decode(spec, type=_Spec).table_uid for spec in specs}
    for row in connection.execute(sa.select(TABLES.c.uid, TABLES.c.data).where(~TABLES.c.dropped)):
        running.discard(row.uid)
        yield from _sources(row.data)
    for uid in running:
        yield from _sources(
            connection.execute(sa.select(TABLES.c.data).where(TABLES.c.uid == uid)).scalar_one()
        )


def sources_at(connection: sa.Connection, path: Path) -> tuple[SourceFile, ...]:
    """Return what tables have of the files at a path, or below it."""
    found = (file for file in sources(connection) if Path(file.path).is_relative_to(path))
    return tuple(dict.fromkeys(found))


def _sources(data: bytes) -> Iterator[SourceFile]:
    table = msgspec.json.decode(data, type=_Read)
    if table.kept:
        yield from (file for file in table.files if file.inode)
