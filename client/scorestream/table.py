# Generated from aio/table.py by tools/generate.py. Change that file, not this one.
"""Tables as a client sees them."""

import uuid
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from scorestream.errors import counted
from scorestream.file_records import ColumnInfo
from scorestream.file_wire import Order, RowMessages, column_info
from scorestream.v1 import data_service_pb2, table_save_pb2, table_service_pb2
from scorestream.wire import table_name

from .table_actions import TableActions

if TYPE_CHECKING:
    import pyarrow as pa


class Table(TableActions):
    """A named table of a session, or a global one.

    Attributes:
        info: its description as the server gave it.
    """

    def __repr__(self) -> str:
        return f"<Table {self.name}: {counted(self.rows, 'row')}>"

    @property
    def name(self) -> str:
        """Its name in its session."""
        return self.info.name

    @property
    def session_id(self) -> str:
        """The session that it belongs to; empty for a global one."""
        return self.info.session_id

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.info.rows

    @property
    def schema(self) -> "pa.Schema":
        """Its columns."""
        from scorestream.arrow import schema_of  # noqa: PLC0415 - pyarrow loads slowly; most calls need none

        return schema_of(self.info.arrow_schema)

    def head(self, rows: int = 10) -> "pa.Table":
        """Return the first rows, at most 1000."""
        from scorestream.arrow import table_of  # noqa: PLC0415 - pyarrow loads slowly; most calls need none

        request = table_service_pb2.HeadTableRequest(name=table_name(self.session_id, self.name), limit=rows)
        answer = self._connection.call(self._connection.tables.HeadTable, request)
        return table_of(answer.arrow_stream)

    def columns(self) -> list[ColumnInfo]:
        """Return its columns in order."""
        request = data_service_pb2.ListColumnsRequest(name=table_name(self.session_id, self.name))
        answer = self._connection.call(self._connection.data.ListColumns, request)
        return [column_info(column) for column in answer.columns]

    def read(
        self, start: int = 0, limit: int | None = None, *, where: str = "", order_by: Order = ()
    ) -> "pa.Table":
        """Return rows.

        Args:
            start: rows to leave out at the beginning, of those that pass `where`, in the order asked for.
            limit: at most this many rows; None: all.
            where: SQL predicate; only rows for which it is true are returned.
            order_by: a column or several, each with ``desc`` behind it for the largest first, as in
                ``["segment", "score desc"]``. Nulls come last; rows that are alike stay in the table's order.

        Raises:
            InvalidArgumentError: a column is not there, or `where` is wrong.
            FailedPreconditionError: the table was replaced meanwhile.
            ResourceExhaustedError: more is to be put in order than fits into a worker's memory; give a `limit`.
        """
        import pyarrow as pa  # noqa: PLC0415 - pyarrow loads slowly; most calls need none

        rows = RowMessages(start, limit, where, order_by)
        with closing(self._messages(rows, csv=False)) as messages:
            batches = [batch for message in messages if (batch := rows.batch(message)) is not None]
        return pa.Table.from_batches(batches, rows.schema)

    def batches(
        self, start: int = 0, limit: int | None = None, *, where: str = "", order_by: Order = ()
    ) -> Generator["pa.RecordBatch", None]:
        """Yield rows in batches of about 1.5 MiB as they come; a lost connection is resumed. Arguments as of `read`."""
        rows = RowMessages(start, limit, where, order_by)
        with closing(self._messages(rows, csv=False)) as messages:
            for message in messages:
                batch = rows.batch(message)
                if batch is not None:
                    yield batch

    def csv(
        self, start: int = 0, limit: int | None = None, *, where: str = "", order_by: Order = ()
    ) -> Generator[bytes, None]:
        """Yield rows as CSV text in UTF-8, with a line of names first, in pieces of whole lines. Arguments as of `read`."""
        rows = RowMessages(start, limit, where, order_by)
        with closing(self._messages(rows, csv=True)) as messages:
            for message in messages:
                if message.csv:
                    yield message.csv

    def download(
        self,
        path: str | Path,
        *,
        start: int = 0,
        limit: int | None = None,
        where: str = "",
        order_by: Order = (),
        replace: bool = False,
        report: Callable[[int], None] = lambda _rows: None,
    ) -> int:
        """Write rows to a file on this machine, all of it or nothing, and return how many there were.

        Args:
            path: the file: ``.parquet``, ``.arrow`` or ``.csv``; without an ending, a directory with a Parquet data set.
            start: as of `read`.
            limit: as of `read`.
            where: as of `read`.
            order_by: as of `read`.
            replace: whether what is there is replaced.
            report: called with the rows written so far.

        Raises:
            AlreadyExistsError: `path` is there, and `replace` is false.
        """
        from scorestream.result_file import ResultFile, check_output  # noqa: PLC0415 - pyarrow loads slowly

        check_output(Path(path), replace=replace)
        rows = RowMessages(start, limit, where, order_by)
        with closing(self._messages(rows, csv=False)) as messages:
            first = next(messages)
            rows.batch(first)
            with ResultFile(Path(path), rows.schema, replace=replace) as file:
                for message in messages:
                    batch = rows.batch(message)
                    if batch is not None:
                        file.write(batch)
                        report(file.rows)
                return file.rows

    def _messages(
        self, rows: RowMessages, *, csv: bool
    ) -> Generator[data_service_pb2.ReadRowsResponse, None]:
        """Yield the messages with rows; those behind a lost connection go on where it was lost."""
        name = table_name(self.session_id, self.name)
        method = self._connection.data.ReadRows
        messages = self._connection.stream(
            method, lambda given: rows.request(name, given, csv=csv), rows.position, 0
        )
        with closing(messages):
            yield from messages

    def source_etag(self) -> str:
        """Return what tells the files that it was loaded from, as they were then or as it was last saved to them."""
        request = table_service_pb2.GetTableRequest(name=table_name(self.session_id, self.name))
        answer = self._connection.call(self._connection.tables.GetTable, request)
        return str(answer.source_etag)

    def save(self, path: str | Path | None = None, *, etag: str | None = None, replace: bool = False) -> str:
        """Write it to a file or data set on the server, all of it or nothing, and return the etag of what is there then.

        Whoever reads what was there before goes on with that.

        Args:
            path: where to, as `out_path` of a job; None: the one file or directory that it was loaded from.
            etag: what must be there still; None: for where it was loaded from its own etag, for others see `replace`.
            replace: whether a file may be replaced that it was not loaded from and for which no etag is given.

        Raises:
            AbortedError: something else is there by now; the message says who put it there and when.
            AlreadyExistsError: a file is there, and neither `etag` nor `replace` is given.
        """
        request = table_save_pb2.SaveTableRequest(
            name=table_name(self.session_id, self.name),
            path="" if path is None else self._connection.server_path(path),
            etag=etag or "",
            replace=replace,
            request_id=uuid.uuid4().hex,
        )
        answer = self._connection.call(self._connection.tables.SaveTable, request)
        return str(answer.etag)

    def drop(self) -> None:
        """Drop the table; jobs that already run on it go on."""
        request = table_service_pb2.DropTableRequest(name=table_name(self.session_id, self.name))
        self._connection.call(self._connection.tables.DropTable, request, repeat=False)
