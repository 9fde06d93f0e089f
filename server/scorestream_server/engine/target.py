"""Whether the output that a job is to have can go where it is to go, looked at before anything is scored."""

from pathlib import Path
from typing import Protocol

import pyarrow as pa
import sqlalchemy as sa

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.output import OutputOptions
from scorestream_server.domain.session import Session
from scorestream_server.domain.table import Destination
from scorestream_server.engine.homes import Places
from scorestream_server.store import appends as append_store
from scorestream_server.store import tables as table_store
from scorestream_server.tables.appending import check_append
from scorestream_server.tables.output_options import check_options
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.publish import check_output, joins


class How(Protocol):
    """What a job, or a request for one, says of how its output is written."""

    @property
    def replace(self) -> bool:
        """Whether what is there is replaced."""
        ...

    @property
    def append(self) -> bool:
        """Whether the rows join what is there."""
        ...

    @property
    def output(self) -> OutputOptions:
        """How files are written."""
        ...

    @property
    def out_table(self) -> str:
        """Name of the table that is made of it; empty for none."""
        ...


class Request(How, Protocol):
    """What a request for a job says of its output."""

    @property
    def session_id(self) -> str:
        """The session that it is of."""
        ...

    @property
    def owner(self) -> str:
        """Who asks."""
        ...

    @property
    def out_promote(self) -> bool:
        """Whether the table that is made of it is a global one."""
        ...

    @property
    def out_path(self) -> str:
        """Where files of it go; empty: nowhere."""
        ...


def check_name(connection: sa.Connection, wanted: Request) -> None:
    """Refuse the name of a table that is there, unless that may be; raises what `table_store.put` does."""
    if not wanted.out_table or wanted.append:
        return
    scope = "" if wanted.out_promote else wanted.session_id
    if not wanted.replace:
        table_store.check_absent(connection, scope, wanted.out_table)
    elif not scope:
        table_store.check_replaceable(connection, wanted.out_table, wanted.owner, admin=False)


def check_target(destination: Destination, wanted: How, result: pa.Schema) -> None:
    """Refuse an output whose place cannot take it; raises what `check_output` and `check_append` do."""
    check_output(destination, replace=wanted.replace, append=wanted.append)
    if wanted.append and joins(destination):
        check_append(Path(destination.path), result, wanted.output)


def checked_target(
    faults: Faults,
    connection: sa.Connection,
    directory: DataDirectory,
    roots: DataRoots,
    session: Session,
    wanted: Request,
    result: pa.Schema,
) -> Destination | None:
    """Return where the files of an output go; None: it has none, or what is wrong with it is among the faults.

    Args:
        faults: takes what is found: of the place, of the options, of columns that do not fit to what is there.
        connection: for the table that rows are appended to, and for what the path stands for.
        directory: has the session's home.
        roots: where files may go.
        session: the job's.
        wanted: the request.
        result: columns of the result.
    """
    destination: Destination | None = None
    with faults.of("spec.out_path"):
        if wanted.out_path:
            destination = Places.of(connection, directory, session, [wanted.out_path]).output(roots)
            check_target(destination, wanted, result)
    with faults.of("spec.output_options"):
        if destination is not None or not wanted.out_path:
            form = None if destination is None else destination.format
            check_options(wanted.output, form, result, append=wanted.append, to_table=bool(wanted.out_table))
    with faults.of("spec.append"):
        if wanted.append and wanted.out_table:
            append_store.check(connection, wanted.session_id, wanted.out_table, result)
    return destination
