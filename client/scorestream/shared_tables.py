# Generated from aio/shared_tables.py by tools/generate.py. Change that file, not this one.
"""What a client has beside sessions: global tables and libraries."""

from scorestream.v1 import table_service_pb2
from scorestream.wire import table_info, table_name

from .connection import Connection
from .libraries import Libraries
from .table import Table


class SharedTables:
    """Global tables and libraries of a server: read by all, and there for as long as nobody drops them."""

    _connection: Connection

    @property
    def libraries(self) -> Libraries:
        """The global libraries."""
        return Libraries(self._connection)

    def tables(self) -> list[Table]:
        """Return the global tables by name."""
        request = table_service_pb2.ListTablesRequest()
        answer = self._connection.call(self._connection.tables.ListTables, request)
        return [Table(self._connection, table_info(table)) for table in answer.tables]

    def table(self, name: str) -> Table:
        """Return a global table.

        Raises:
            NotFoundError: there is none of that name.
        """
        request = table_service_pb2.GetTableRequest(name=table_name("", name))
        answer = self._connection.call(self._connection.tables.GetTable, request)
        return Table(self._connection, table_info(answer))
