"""The server's disk cache as it tells of it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CacheDirectory:
    """A cache directory of the server; sizes are bytes.

    Attributes:
        path: on the server; empty for whoever is no admin.
        available: whether it is there; the other fields are 0 where it is not.
        used: by tables, everybody's.
        free: on its disk.
        total: size of its disk.
    """

    path: str
    available: bool
    used: int
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class CachedTable:
    """A table in the cache.

    Attributes:
        name: its own name; empty for one that was dropped while it is in use.
        session_id: empty for a global table; `session` is the name of that session.
        bytes: of its files, copies too; 0 where it is evicted.
        copies: how many copies each of its blocks has in other cache directories.
        state: ``CACHED``, or ``EVICTED``: its rows went to make room, and come back when it is used.
        reloadable: it could be made again, because its sources are what they were.
        in_use: a job or a reader uses it now.
        last_used: since the server was started; before, when it was made.
    """

    name: str
    session_id: str
    session: str
    owner: str
    bytes: int
    copies: int
    state: str
    reloadable: bool
    in_use: bool
    last_used: datetime


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What the tables of a session take, in bytes; what they share is counted once. Global ones have no session."""

    session_id: str
    session: str
    owner: str
    bytes: int


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What is in the cache, of everybody's tables for an admin, of one's own for others.

    Attributes:
        directories: the cache directories.
        tables: largest first; `sessions` likewise.
        used: bytes of everybody's tables; what several share is counted once.
        most: bytes that they may take.
        own: bytes of your tables, which may take `most_own`.
    """

    directories: tuple[CacheDirectory, ...]
    tables: tuple[CachedTable, ...]
    sessions: tuple[CacheUse, ...]
    used: int
    most: int
    own: int
    most_own: int


@dataclass(frozen=True, slots=True)
class Evicted:
    """What was evicted.

    Attributes:
        tables: resource names.
        bytes: of their files.
    """

    tables: tuple[str, ...]
    bytes: int
