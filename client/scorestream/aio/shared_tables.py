"""What a client has beside sessions: global tables and libraries."""

from scorestream.v1 import table_service_pb2
from scorestream.wire import table_info, table_name

from .connection import AsyncConnection
from .libraries import AsyncLibraries
from .table import AsyncTable


class AsyncSharedTables:
    """Global tables and libraries of a server: read by all, and there for as long as nobody drops them."""

    _connection: AsyncConnection

    @property
    def libraries(self) -> AsyncLibraries:
        """The global libraries."""
        return AsyncLibraries(self._connection)

    async def tables(self) -> list[AsyncTable]:
        """Return the global tables by name."""
        request = table_service_pb2.ListTablesRequest()
        answer = await self._connection.call(self._connection.tables.ListTables, request)
        return [AsyncTable(self._connection, table_info(table)) for table in answer.tables]

    async def table(self, name: str) -> AsyncTable:
        """Return a global table.

        Raises:
            NotFoundError: there is none of that name.
        """
        request = table_service_pb2.GetTableRequest(name=table_name("", name))
        answer = await self._connection.call(self._connection.tables.GetTable, request)
        return AsyncTable(self._connection, table_info(answer))
