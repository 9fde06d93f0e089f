# Generated from aio/upload.py by tools/generate.py. Change that file, not this one.
"""Rows that a client sends, made a table of a session."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from scorestream.library_records import LoadSettings
from scorestream.library_wire import upload_header
from scorestream.v1 import table_service_pb2
from scorestream.wire import session_name, table_info

from .connection import Connection
from .table import Table

if TYPE_CHECKING:
    import pyarrow as pa


def upload_rows(
    connection: Connection,
    session_id: str,
    reader: "Callable[[], pa.RecordBatchReader]",
    name: str,
    settings: LoadSettings,
    *,
    again: bool,
    replace: bool,
    request_id: str,
) -> Table:
    """Send rows in pieces and make a table of them.

    Args:
        connection: how the server is reached.
        session_id: whose table it is to be.
        reader: opens the rows.
        name: the table's.
        settings: as of a load.
        again: whether `reader` gives all rows when it is called a second time, for a second try.
        replace: whether a table of that name is replaced.
        request_id: a second upload with it makes nothing, and returns what the first one made.
    """
    from scorestream.arrow import upload_messages  # noqa: PLC0415 - pyarrow loads slowly

    header = upload_header(session_name(session_id), name, settings, replace=replace, request_id=request_id)

    def messages() -> Iterator[table_service_pb2.UploadTableRequest]:
        yield table_service_pb2.UploadTableRequest(header=header)
        encoded = upload_messages(reader())
        yield table_service_pb2.UploadTableRequest(arrow_schema=next(encoded))
        batches = 0
        for message in encoded:
            yield table_service_pb2.UploadTableRequest(arrow_batch=message)
            batches += 1
        footer = table_service_pb2.UploadTableFooter(batches=batches)
        yield table_service_pb2.UploadTableRequest(footer=footer)

    answer = connection.send(connection.tables.UploadTable, messages, repeat=again)
    return Table(connection, table_info(answer))
