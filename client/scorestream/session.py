# Generated from aio/session.py by tools/generate.py. Change that file, not this one.
"""Sessions as a client sees them."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from scorestream.arguments import paths_of
from scorestream.errors import InvalidArgumentError
from scorestream.job_request import job_spec
from scorestream.library_records import LoadSettings, TableSettings
from scorestream.library_wire import load_request, set_output_table
from scorestream.outputs import OutputOptions
from scorestream.records import Priority, SessionInfo, SessionState, StatusRow
from scorestream.row_error_wire import on_row_error_number
from scorestream.row_errors import OnRowError
from scorestream.statistics import SessionStatistics, session_statistics
from scorestream.v1 import (
    job_service_pb2,
    session_pb2,
    session_service_pb2,
    table_service_pb2,
)
from scorestream.wire import (
    duration,
    job_info,
    session_info,
    session_name,
    status_row,
    table_id_of,
    table_info,
    table_name,
)

from .connection import Connection
from .filerefs import Filerefs
from .files import Files
from .job import Job
from .lease import Lease
from .libraries import Libraries
from .model import Model
from .options import Options
from .papers import SessionPapers
from .table import Table
from .upload import upload_rows
from .variables import Variables


class Session(SessionPapers):
    """A client's isolated workspace: its jobs and tables belong to it and end with it.

    Used as a context manager it is terminated at the end: its jobs are waited for, or cancelled where the
    block ended with an exception.

    Attributes:
        info: its description as the server last gave it; `refresh` asks again.
    """

    def __init__(self, connection: Connection, info: SessionInfo) -> None:
        self._connection = connection
        self._papers_of = session_name(info.id)
        self.info = info

    def __repr__(self) -> str:
        return f"<Session {self.name} ({self.id}): {self.state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate(cancel=kind is not None)

    @property
    def id(self) -> str:
        """Its id, unique on the server and never used again."""
        return self.info.id

    @property
    def name(self) -> str:
        """The name that it was given; not necessarily unique."""
        return self.info.name

    @property
    def state(self) -> SessionState:
        """Where it was in its life when the server was last asked."""
        return self.info.state

    @property
    def owner(self) -> str:
        """Who created it."""
        return self.info.owner

    @property
    def context(self) -> str:
        """The name of the context that it was made from."""
        return self.info.context

    @property
    def running_jobs(self) -> int:
        """Jobs of it that were not final when the server was last asked."""
        return self.info.running_jobs

    @property
    def variables(self) -> Variables:
        """Its variables: what ``:name`` stands for in filters and score code."""
        return Variables(self._connection, self.id)

    @property
    def options(self) -> Options:
        """Its options: what its jobs take where they do not say it themselves."""
        return Options(self._connection, self.id)

    @property
    def libraries(self) -> Libraries:
        """Its libraries; ``work`` holds its own tables."""
        return Libraries(self._connection, self.id)

    @property
    def files(self) -> Files:
        """The files in its home."""
        return Files(self._connection, self.id)

    @property
    def filerefs(self) -> Filerefs:
        """Its names for files."""
        return Filerefs(self._connection, self.id)

    @property
    def labels(self) -> dict[str, str]:
        """Its labels when the server was last asked."""
        return dict(self.info.labels)

    def update(
        self, *, inactive_timeout: float | None = None, labels: Mapping[str, str] | None = None
    ) -> Self:
        """Change the session, and return it; what is None stays as it is.

        Args:
            inactive_timeout: seconds without activity until it ends; 0: never.
            labels: all of its labels.

        Raises:
            FailedPreconditionError: it has ended.
        """
        request = session_service_pb2.UpdateSessionRequest(
            session=session_pb2.Session(name=session_name(self.id), labels=labels)
        )
        if inactive_timeout is not None:
            request.session.inactive_timeout.CopyFrom(duration(inactive_timeout, "inactive_timeout"))
            request.update_mask.paths.append("inactive_timeout")
        if labels is not None:
            request.update_mask.paths.append("labels")
        if request.update_mask.paths:
            answer = self._connection.call(self._connection.sessions.UpdateSession, request)
            self.info = session_info(answer)
        return self

    def statistics(self) -> SessionStatistics:
        """Return what its jobs took together."""
        request = session_service_pb2.GetSessionStatisticsRequest(name=session_name(self.id))
        answer = self._connection.call(self._connection.sessions.GetSessionStatistics, request)
        return session_statistics(answer)

    def keep_alive(self, ttl: float = 30.0) -> Lease:
        """Return a context manager that keeps the session open while its block runs and this program lives.

        Args:
            ttl: seconds that the session is still kept when nothing is heard of this program; 1 to 3600.
        """
        return Lease(self._connection, self.id, ttl)

    def refresh(self) -> Self:
        """Ask the server again, and return this session."""
        request = session_service_pb2.GetSessionRequest(name=session_name(self.id))
        self.info = session_info(self._connection.call(self._connection.sessions.GetSession, request))
        return self

    def load_table(
        self,
        source: Any,
        name: str | None = None,
        *,
        replace: bool = False,
        **settings: Unpack[LoadSettings],
    ) -> Table:
        """Make a table of files on the server, or of rows that are sent there.

        Args:
            source: a path, pattern or URI, or several, of files or directories **on the server** (CSV, JSON lines, Parquet,
                Arrow), where a relative one is looked for under its data roots; with a private server, your own files. ``home:PATH`` is
                a file in the session's home, ``fileref:NAME`` what that fileref stands for.
                Or rows of yours: any object with ``__arrow_c_stream__`` (pyarrow, polars), or a pandas
                DataFrame, streamed in pieces of about 1 MiB.
            name: the table's name; None: after the file, or made up for rows.
            replace: whether a table of that name is replaced.
            settings: the library, columns, rows and more; `LoadSettings` explains each.

        Raises:
            AlreadyExistsError: the table is there and `replace` is false.
            InvalidArgumentError: it cannot be read; all faults are named.
            PermissionDeniedError: a path outside the server's data roots.
        """
        paths = paths_of(source)
        if paths is None:
            made_up = f"upload_{uuid.uuid4().hex[:8]}"
            return self._upload(source, name or made_up, settings, replace=replace)
        request = load_request(
            session_name(self.id),
            table_id_of(Path(paths[0]).name.rpartition(":")[2]) if name is None else name,
            paths if settings.get("library") else [self._connection.server_path(path) for path in paths],
            settings,
            replace=replace,
            request_id=uuid.uuid4().hex,
        )
        answer = self._connection.call(self._connection.tables.LoadTable, request)
        return Table(self._connection, table_info(answer))

    def tables(self) -> list[Table]:
        """Return the session's tables by name."""
        request = table_service_pb2.ListTablesRequest(session=session_name(self.id))
        answer = self._connection.call(self._connection.tables.ListTables, request)
        return [Table(self._connection, table_info(table)) for table in answer.tables]

    def table(self, name: str) -> Table:
        """Return the session's table of that name, or else the global one."""
        request = table_service_pb2.GetTableRequest(name=table_name(self.id, name))
        answer = self._connection.call(self._connection.tables.GetTable, request)
        return Table(self._connection, table_info(answer))

    def score(
        self,
        model: Model | str,
        table: Any,
        *,
        where: str = "",
        out: str = "",
        out_path: str | Path = "",
        keep: Sequence[str] = (),
        replace: bool = False,
        append: bool = False,
        output: OutputOptions | None = None,
        row_number: str = "",
        on_row_error: OnRowError | str | None = None,
        parallel_count: int = 0,
        explain: int = 0,
        name: str = "",
        priority: Priority | str | None = None,
        partition_rows: int | None = None,
        timeout: float | None = None,
        queue_timeout: float | None = None,
        variables: Mapping[str, Any] | None = None,
        status_notification: bool = False,
        reset_log_line_numbers: bool = False,
        **out_settings: Unpack[TableSettings],
    ) -> Job:
        """Start a scoring job and return at once; the job goes on even if this client leaves.

        Where `priority`, `partition_rows`, `timeout` or `queue_timeout` is None, the session's option of that name
        counts (`options`), which is normal, the server's choice, for ever and for ever unless somebody set it.

        Args:
            model: a registered model, its name (the newest version), or ``name@version``.
            table: a table of this session or a global one, its name (the session's first), or rows as in `load_table`, which then stay in the
                session under a made-up name.
            where: SQL predicate; only rows for which it is true are scored. ``:name`` is a variable.
            out: name of a table of this session to make of the result.
            out_path: path on the server to write the result to, all of it or nothing: ``.parquet``, ``.arrow``, ``.csv``,
                ``.csv.gz``, ``.csv.zst``, or without an ending a directory with a Parquet data set. With a
                private server, your own file; ``home:PATH`` and ``fileref:NAME`` as in `load_table`. At most one of
                `out` and `out_path`.
            keep: input columns that the result carries before the scores.
            replace: whether an output that exists is replaced.
            append: whether the rows are added, once, to the table or data set that is there; not with `replace`.
            output: how files are written: compression, row groups, partitioned by columns.
            row_number: name of one more column of the result, with the number of each row in the table, from 0.
            parallel_count: at most so many partitions run at the same time; 0: as many as there are lanes for.
            on_row_error: what becomes of rows that cannot be scored: ``keep`` (the result's column `row_error` says why)
                or ``fail``; None: ``keep`` where the model can have such rows.
            explain: how many reasons each row is given: the features that moved its score most, with what each added
                to its margin (``reason_1``, ``contribution_1``, ..., ``contribution_bias``). 0: none.
            name: the job's name; empty: the server makes one up.
            priority: ``low``, ``normal`` or ``high``.
            partition_rows: input rows between two commits, at most, so that rows can be read in steps of this size;
                0: the server decides by the model's cost. Small ones cost throughput.
            timeout: seconds that the job may run; it then ends ``TIMED_OUT`` with what it has committed. 0: for ever.
            queue_timeout: seconds that it may wait for a lane before it begins. 0: for ever.
            status_notification: whether the log says how far the job is, up to 1,000 times.
            reset_log_line_numbers: whether the session's log is numbered from 0 again with the job's first line.
            variables: values by name that win over those of the session (`AsyncVariables`); each has to be used.
            out_settings: ``label``, ``lifetime`` and ``promote`` of the table `out`, as `TableSettings` explains them.

        Raises:
            NotFoundError: the model or the table is not there.
            AlreadyExistsError: the output is there and `replace` is false.
            InvalidArgumentError: columns are missing or of the wrong type, `where` is wrong, or a variable is
                not set; all faults are named.
        """
        spec = job_spec(
            model=model.id if isinstance(model, Model) else model,
            table=self._table_name(table),
            where=where,
            out=out,
            out_path=self._connection.server_path(out_path) if out_path else "",
            keep=keep,
            replace=replace,
            priority=priority,
            partition_rows=partition_rows,
            timeout=timeout,
            queue_timeout=queue_timeout,
            variables=variables,
            output=output,
            append=append,
            row_number=row_number,
            explain=explain,
        )
        spec.on_row_error = on_row_error_number(on_row_error)
        spec.parallel_count = parallel_count
        set_output_table(spec, out_settings)
        request = job_service_pb2.CreateJobRequest(
            session=session_name(self.id),
            display_name=name,
            spec=spec,
            request_id=uuid.uuid4().hex,
            status_notification=status_notification,
            reset_log_line_numbers=reset_log_line_numbers,
        )
        return Job(
            self._connection, job_info(self._connection.call(self._connection.jobs.CreateJob, request))
        )

    def jobs(self, *, limit: int | None = None) -> list[Job]:
        """Return the session's jobs, newest first, at most `limit` of them."""
        return list_jobs(self._connection, session_name(self.id), limit)

    def action_status(self) -> list[StatusRow]:
        """Return the status of each of the session's jobs, oldest first."""
        request = session_service_pb2.GetStatusRequest(sessions=[session_name(self.id)])
        answer = self._connection.call(self._connection.sessions.GetStatus, request)
        return [status_row(row) for row in answer.rows]

    def terminate(self, *, cancel: bool = False, force: bool = False) -> Self:
        """End the session, drop its tables and results, and return it. A session that has ended stays so.

        Args:
            cancel: cancel its jobs first; otherwise they are waited for.
            force: cancel, and stop the worker at once if no other session shares it.
        """
        request = session_service_pb2.TerminateSessionRequest(
            name=session_name(self.id), cancel=cancel, force=force
        )
        answer = self._connection.call(self._connection.sessions.TerminateSession, request)
        self.info = session_info(answer)
        return self

    def _table_name(self, table: Any) -> str:
        """Return the name of the table that `score` was given, sending its rows first if it is none yet."""
        if isinstance(table, str):
            return table
        if not isinstance(table, Table):
            table = self._upload(table, f"upload_{uuid.uuid4().hex[:8]}", {}, replace=False)
        if not table.session_id:
            return f"tables/{table.name}"
        if table.session_id != self.id:
            raise InvalidArgumentError(
                f"Table {table.name} belongs to session {table.session_id}, not to {self.name} ({self.id}).",
                reason="TABLE_OF_OTHER_SESSION",
            )
        return str(table.name)

    def _upload(self, source: Any, name: str, settings: LoadSettings, *, replace: bool) -> Table:
        """Send rows and make a table of them."""
        from scorestream.arrow import reader_of, reads_again  # noqa: PLC0415 - pyarrow loads slowly

        readers = [reader_of(source)]
        return upload_rows(
            self._connection,
            self.id,
            lambda: readers.pop() if readers else reader_of(source),
            name,
            settings,
            again=reads_again(source),
            replace=replace,
            request_id=uuid.uuid4().hex,
        )


def list_jobs(connection: Connection, session: str, limit: int | None, batches_of: str = "") -> list[Job]:
    """Return jobs, newest first: of the session with that resource name, or of all if it is empty.

    With `batches_of`, a model's resource name, only its batches.
    """
    jobs: list[Job] = []
    request = job_service_pb2.ListJobsRequest(
        session=session, page_size=min(limit or 1000, 1000), batches_of=batches_of
    )
    while limit is None or len(jobs) < limit:
        answer = connection.call(connection.jobs.ListJobs, request)
        jobs += [Job(connection, job_info(job)) for job in answer.jobs]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    return jobs[:limit]
