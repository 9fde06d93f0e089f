"""The server's disk cache."""

from collections.abc import Sequence

from scorestream.cache_records import CacheInfo, Evicted
from scorestream.cache_wire import cache_info, evicted
from scorestream.errors import InvalidArgumentError
from scorestream.v1 import cache_service_pb2
from scorestream.wire import table_name

from .connection import AsyncConnection
from .table import AsyncTable


class AsyncCache:
    """The cache, in which tables lie that were converted or uploaded. `Client.cache` gives it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def info(self) -> CacheInfo:
        """Return what is in the cache: an admin sees everybody's tables, others their own."""
        request = cache_service_pb2.GetCacheRequest()
        return cache_info(await self._connection.call(self._connection.cache.GetCache, request))

    async def evict(
        self, table: AsyncTable | str | Sequence[AsyncTable | str] = (), *, all_idle: bool = False
    ) -> Evicted:
        """Remove the rows of tables from the cache; they are loaded again when the tables are used.

        Args:
            table: a table, or several, given as such or by resource name, ``sessions/ID/tables/NAME``.
            all_idle: instead all of your tables (an admin: everybody's) that nobody uses and that can be loaded again.

        Raises:
            FailedPreconditionError: a table is in use, was uploaded, is not in the cache, or its sources changed.
            NotFoundError: you have no such table.
        """
        tables = [table] if isinstance(table, AsyncTable | str) else list(table)
        if bool(tables) == all_idle:
            raise InvalidArgumentError("Give a table, or all_idle=True.", reason="INVALID_EVICTION")
        names = [one if isinstance(one, str) else table_name(one.session_id, one.name) for one in tables]
        request = cache_service_pb2.EvictTablesRequest(names=names, all_idle=all_idle)
        return evicted(await self._connection.call(self._connection.cache.EvictTables, request))
