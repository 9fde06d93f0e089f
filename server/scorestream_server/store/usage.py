"""How much of the disk each owner takes."""

import math
import time
from collections.abc import Callable

import sqlalchemy as sa

from scorestream_server.domain.limits import exhausted
from scorestream_server.store.schema import HOMES, IS_OPEN, JOBS, MODELS, SESSIONS, TABLES

KNOWN_SECONDS = 5.0
"""How long a figure is good for a job, so that hundreds a second do not each have everything added up."""

_MINE = sa.and_(SESSIONS.c.owner == sa.bindparam("owner_"), IS_OPEN)


def _sum(column: sa.Column[int], *conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.coalesce(sa.func.sum(column), 0)).where(*conditions).scalar_subquery()


_STORED = sa.select(
    _sum(
        TABLES.c.stored_bytes,
        TABLES.c.session_id == SESSIONS.c.id,
        ~TABLES.c.dropped,
        ~TABLES.c.is_global,
        _MINE,
    )
    + _sum(
        TABLES.c.stored_bytes, ~TABLES.c.dropped, TABLES.c.is_global, TABLES.c.owner == sa.bindparam("owner_")
    )
    + _sum(JOBS.c.stored_bytes, JOBS.c.session_id == SESSIONS.c.id, _MINE)
    + _sum(HOMES.c.stored_bytes, HOMES.c.session_id == SESSIONS.c.id, _MINE)
    + _sum(MODELS.c.size_bytes, MODELS.c.owner == sa.bindparam("owner_"), ~MODELS.c.removed)
)


def stored_bytes(connection: sa.Connection, owner: str) -> int:
    """Return the bytes of an owner's models and global tables, and of the tables, results and files in its open sessions."""
    return int(connection.execute(_STORED, {"owner_": owner}).scalar_one())


class Usage:
    """Knows what owners have stored, and refuses more than they may. Used by the threads that read the store."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._known: dict[str, tuple[float, int]] = {}

    def room(self, connection: sa.Connection, owner: str) -> int:
        """Return how many bytes more an owner may store.

        Raises:
            ScorestreamError: RESOURCE_EXHAUSTED, where there are none.
        """
        stored = stored_bytes(connection, owner)
        self._known[owner] = self._clock(), stored
        if stored >= self._most:
            what = f"You store {stored:,} bytes in models, tables, results and files; one user may store {self._most:,}."
            advice = "Drop tables, remove files or models, or end sessions that you no longer need."
            raise exhausted("TOO_MUCH_STORED", "stored_bytes", self._most, what, advice)
        return self._most - stored

    def require_room(self, connection: sa.Connection, owner: str) -> None:
        """Refuse a job of an owner who may store nothing more, by a figure that may be some seconds old.

        Raises:
            ScorestreamError: RESOURCE_EXHAUSTED.
        """
        when, stored = self._known.get(owner, (-math.inf, 0))
        # Who was just refused may have made room since.
        if stored >= self._most or self._clock() - when > KNOWN_SECONDS:
            self.room(connection, owner)
