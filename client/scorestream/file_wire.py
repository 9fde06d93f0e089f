"""Where the client's values meet the wire for files, filerefs and the data of a session."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scorestream.errors import InvalidArgumentError
from scorestream.file_records import ColumnInfo, FileInfo, FilerefInfo
from scorestream.v1 import data_pb2, data_service_pb2, file_pb2, fileref_pb2
from scorestream.wire import time_of

if TYPE_CHECKING:
    import pyarrow as pa

Order = str | Sequence[str]


def file_info(message: file_pb2.File) -> FileInfo:
    """Return a file's description."""
    return FileInfo(
        path=message.path,
        directory=message.type == file_pb2.FILE_TYPE_DIRECTORY,
        size_bytes=message.size_bytes,
        modified=time_of(message.modify_time),
        etag=message.etag,
    )


def fileref_info(message: fileref_pb2.Fileref) -> FilerefInfo:
    """Return a fileref's description."""
    return FilerefInfo(message.fileref_id, message.path, message.exists, time_of(message.create_time))


def column_info(message: data_pb2.Column) -> ColumnInfo:
    """Return a column's description."""
    return ColumnInfo(message.name, message.type, message.nullable, message.index, message.readable)


def file_name(session_id: str, path: str) -> str:
    """Return the resource name of a file."""
    return f"sessions/{session_id}/files/{path}"


def fileref_name(session_id: str, fileref: str) -> str:
    """Return the resource name of a fileref."""
    return f"sessions/{session_id}/filerefs/{fileref}"


def order_of(order_by: Order) -> list[data_service_pb2.OrderBy]:
    """Return an order for the wire: column names, each with ``asc`` or ``desc`` behind it where that is said."""
    columns = [order_by] if isinstance(order_by, str) else list(order_by)
    if not all(isinstance(column, str) for column in columns):
        raise InvalidArgumentError(
            'order_by is a column or several, such as ["segment", "score desc"].', reason="BAD_ORDER"
        )
    found = []
    for column in filter(None, columns):
        name, _, word = column.rpartition(" ")
        directed = bool(name) and word.lower() in {"asc", "desc"}
        found.append(
            data_service_pb2.OrderBy(
                column=name if directed else column, descending=directed and word.lower() == "desc"
            )
        )
    return found


class RowMessages:
    """The requests for rows of one table, and what their answers bring.

    Args:
        start: rows to leave out at the beginning.
        limit: at most this many rows; None: all.
        where: SQL predicate.
        order_by: columns.
    """

    def __init__(self, start: int, limit: int | None, where: str, order_by: Order) -> None:
        if start < 0 or (limit is not None and limit < 0):
            raise InvalidArgumentError("start and limit must not be negative.", reason="BAD_ROWS")
        self._start = start
        self._limit = limit
        self._where = where
        self._order = order_of(order_by)
        self._schema = b""
        self._etag = ""
        self._given = 0
        self._continued = False

    @property
    def schema(self) -> "pa.Schema":
        """The columns; known from the first message on."""
        from scorestream.arrow import schema_of  # noqa: PLC0415 - pyarrow loads slowly; CSV needs none

        return schema_of(self._schema)

    def request(self, name: str, given: int, *, csv: bool) -> data_service_pb2.ReadRowsRequest:
        """Return the request for the rows of a table behind those that were given already."""
        limit = None if self._limit is None else self._limit - given
        return data_service_pb2.ReadRowsRequest(
            name=name,
            start=self._start + given,
            limit=limit,
            where=self._where,
            order_by=self._order,
            format=data_service_pb2.ROW_FORMAT_CSV if csv else data_service_pb2.ROW_FORMAT_ARROW,
            etag=self._etag,
            continued=self._continued,
        )

    def position(self, message: data_service_pb2.ReadRowsResponse) -> int:
        """Return how many rows were given with a message, and take note of it."""
        self._etag = message.etag or self._etag
        self._schema = message.arrow_schema or self._schema
        self._continued = self._continued or bool(message.csv)
        self._given += message.rows
        return self._given

    def batch(self, message: data_service_pb2.ReadRowsResponse) -> "pa.RecordBatch | None":
        """Return the rows of a message, or None if it brings none."""
        if not message.arrow_batch:
            return None
        import pyarrow as pa  # noqa: PLC0415 - pyarrow loads slowly; CSV needs none

        return pa.ipc.read_record_batch(pa.py_buffer(message.arrow_batch), self.schema)
