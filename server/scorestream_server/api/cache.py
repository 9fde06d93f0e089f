"""The CacheService."""

from collections.abc import Sequence

from scorestream.v1 import cache_pb2, cache_service_pb2, cache_service_pb2_grpc
from scorestream_server.api import convert, names
from scorestream_server.api.auth import Context, owner_of, reach_of
from scorestream_server.domain.cache import taken
from scorestream_server.domain.errors import FieldFault, invalid, precondition
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.cache_contents import Contents, Entry
from scorestream_server.store import sessions as session_store
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database

MOST_NAMES = 1000


class CacheService(cache_service_pb2_grpc.CacheServiceServicer):
    """The cache, as far as each may see it: an admin all of it, others what is theirs."""

    def __init__(self, database: Database, cache: TableCache) -> None:
        self._database = database
        self._cache = cache

    async def GetCache(
        self, request: cache_service_pb2.GetCacheRequest, context: Context
    ) -> cache_service_pb2.GetCacheResponse:
        """Tell what is in the cache."""
        del request
        contents = await self._cache.contents()
        entries = _seen(contents, context)
        owner = owner_of(context)
        return cache_service_pb2.GetCacheResponse(
            directories=_directories(contents, self._cache.directories, admin=context.principal.admin),
            tables=[_table(entry) for entry in entries],
            sessions=_sessions(entries),
            used_bytes=contents.used,
            most_bytes=max(0, contents.most),
            own_bytes=taken(entry.holding for entry in entries if entry.table.owner == owner),
            most_own_bytes=self._cache.most_of_owner,
        )

    async def EvictTables(
        self, request: cache_service_pb2.EvictTablesRequest, context: Context
    ) -> cache_service_pb2.EvictTablesResponse:
        """Evict tables."""
        if bool(request.names) == request.all_idle or len(request.names) > MOST_NAMES:
            text = f"Give the names of tables (at most {MOST_NAMES:,}), or all_idle, not both."
            raise invalid("INVALID_EVICTION", text, [FieldFault("names", text)])
        entries = _seen(await self._cache.contents(), context)
        if request.names:
            entries = [await self._named(name, entries, context) for name in request.names]
        done, freed = await self._cache.evict([entry.table.uid for entry in entries])
        gone = [convert.table_name(entry.table) for entry in entries if entry.table.uid in done]
        return cache_service_pb2.EvictTablesResponse(names=gone, bytes=freed)

    async def _named(self, name: str, entries: Sequence[Entry], context: Context) -> Entry:
        """Return a table that can be evicted now.

        Raises:
            ScorestreamError: NOT_FOUND; FAILED_PRECONDITION, with what keeps it.
        """
        session_id, table_id = names.table_ids("names", name)
        table = await self._database.read(
            lambda connection: (
                session_store.get(connection, session_id, reach_of(context)) if session_id else None,
                table_store.get(connection, session_id, table_id),
            )[1]
        )
        entry = next((entry for entry in entries if entry.table.uid == table.uid), None)
        if entry is None:
            why = "it is not in the cache: its rows are read where they are"
        elif entry.record.recipe is None:
            why = "it was uploaded, so that it could not be loaded again"
        elif entry.record.evicted or not entry.holding.files:
            return entry
        elif not entry.holding.reloadable:
            why = "its sources are not what they were, so that it could not be loaded again"
        elif not entry.holding.idle:
            why = "a job or a reader uses it"
        else:
            return entry
        raise precondition("NOT_EVICTABLE", f"Table {table_id!r} stays in the cache: {why}.", table=table_id)


def _seen(contents: Contents, context: Context) -> list[Entry]:
    """Return what the caller may see, largest first."""
    reach = reach_of(context)
    seen = [entry for entry in contents.entries if reach is None or entry.table.owner == reach]
    return sorted(seen, key=lambda entry: sum(entry.holding.files.values()), reverse=True)


def _directories(contents: Contents, paths: Sequence[str], *, admin: bool) -> list[cache_pb2.CacheDirectory]:
    spaces = {str(space.path): space for space in contents.spaces}
    found = []
    for path in paths:
        space, shown = spaces.get(path), path if admin else ""
        found.append(
            cache_pb2.CacheDirectory(path=shown)
            if space is None
            else cache_pb2.CacheDirectory(
                path=shown,
                used_bytes=space.used,
                free_bytes=space.free,
                total_bytes=space.total,
                available=True,
            )
        )
    return found


def _table(entry: Entry) -> cache_pb2.CachedTable:
    evicted = entry.record.evicted
    return cache_pb2.CachedTable(
        name=convert.table_name(entry.table) if entry.table.table_id else "",
        session_name=entry.table.session_name,
        owner=entry.table.owner,
        bytes=sum(entry.holding.files.values()),
        copies=len(entry.record.files[0]) - 1,
        state=cache_pb2.CACHE_STATE_EVICTED if evicted else cache_pb2.CACHE_STATE_CACHED,
        reloadable=entry.holding.reloadable,
        in_use=not entry.holding.idle,
        last_use_time=convert.timestamp(entry.holding.last_used),
    )


def _sessions(entries: Sequence[Entry]) -> list[cache_pb2.CacheUse]:
    """Return what the tables of each session take, largest first."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.table.session_id, []).append(entry)
    uses = [
        cache_pb2.CacheUse(
            session=f"sessions/{session_id}" if session_id else "",
            session_name=some[0].table.session_name,
            owner=some[0].table.owner,
            bytes=taken(entry.holding for entry in some),
        )
        for session_id, some in found.items()
    ]
    return sorted(uses, key=lambda use: use.bytes, reverse=True)
