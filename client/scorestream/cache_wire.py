"""The cache on the wire."""

from scorestream.cache_records import CacheDirectory, CachedTable, CacheInfo, CacheUse, Evicted
from scorestream.v1 import cache_pb2, cache_service_pb2
from scorestream.wire import last, time_of


def cache_info(message: cache_service_pb2.GetCacheResponse) -> CacheInfo:
    """Return what is in the cache."""
    return CacheInfo(
        directories=tuple(
            CacheDirectory(one.path, one.available, one.used_bytes, one.free_bytes, one.total_bytes)
            for one in message.directories
        ),
        tables=tuple(map(_table, message.tables)),
        sessions=tuple(
            CacheUse(last(one.session), one.session_name, one.owner, one.bytes) for one in message.sessions
        ),
        used=message.used_bytes,
        most=message.most_bytes,
        own=message.own_bytes,
        most_own=message.most_own_bytes,
    )


def evicted(message: cache_service_pb2.EvictTablesResponse) -> Evicted:
    """Return what was evicted."""
    return Evicted(tuple(message.names), message.bytes)


def _table(message: cache_pb2.CachedTable) -> CachedTable:
    parts = message.name.split("/")
    return CachedTable(
        name=parts[-1],
        session_id=parts[1] if parts[0] == "sessions" else "",
        session=message.session_name,
        owner=message.owner,
        bytes=message.bytes,
        copies=message.copies,
        state=cache_pb2.CacheState.Name(message.state).removeprefix("CACHE_STATE_"),
        reloadable=message.reloadable,
        in_use=message.in_use,
        last_used=time_of(message.last_use_time),
    )
