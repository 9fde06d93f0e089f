"""Tables as a client sees them."""

from typing import TYPE_CHECKING

from scorestream.errors import counted
from scorestream.records import TableInfo
from scorestream.v1 import table_service_pb2
from scorestream.wire import table_name

from .connection import AsyncConnection

if TYPE_CHECKING:
    import pyarrow as pa


class AsyncTable:
    """A named table of a session.

    Attributes:
        info: its description as the server gave it.
    """

    def __init__(self, connection: AsyncConnection, info: TableInfo) -> None:
        self._connection = connection
        self.info = info

    def __repr__(self) -> str:
        return f"<Table {self.name}: {counted(self.rows, 'row')}>"

    @property
    def name(self) -> str:
        """Its name in its session."""
        return self.info.name

    @property
    def session_id(self) -> str:
        """The session that it belongs to."""
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

    async def head(self, rows: int = 10) -> "pa.Table":
        """Return the first rows, at most 1000."""
        from scorestream.arrow import table_of  # noqa: PLC0415 - pyarrow loads slowly; most calls need none

        request = table_service_pb2.HeadTableRequest(name=table_name(self.session_id, self.name), limit=rows)
        answer = await self._connection.call(self._connection.tables.HeadTable, request)
        return table_of(answer.arrow_stream)

    async def drop(self) -> None:
        """Drop the table; jobs that already run on it go on."""
        request = table_service_pb2.DropTableRequest(name=table_name(self.session_id, self.name))
        await self._connection.call(self._connection.tables.DropTable, request, repeat=False)
