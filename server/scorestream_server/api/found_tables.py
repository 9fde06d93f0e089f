"""The table that a call is about: a session's own, or a global one."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import sqlalchemy as sa

from scorestream_server.api import names
from scorestream_server.api.auth import Context, reach_of, require_owner
from scorestream_server.domain.session import Session, require_active
from scorestream_server.domain.table import Table
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.engine.table_use import TableUse
from scorestream_server.store import sessions as session_store
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table, and the caller's session in which it was looked for; None where a global one was named as such."""

    table: Table
    session: Session | None

    @property
    def session_id(self) -> str:
        """The session's id; empty for none."""
        return "" if self.session is None else self.session.id


class FoundTables:
    """Finds tables for those who may read them: their sessions' own, and global ones for everybody who is known."""

    def __init__(self, database: Database, expiry: SessionExpiry, use: TableUse) -> None:
        self._database = database
        self._expiry = expiry
        self.use = use

    async def get(
        self, field: str, name: str, context: Context, *, active: bool = False, own: bool = False
    ) -> FoundTable:
        """Return the table of a resource name, to be told of.

        Args:
            field: of the request.
            name: of a session's table, or else the global one of that name; or of a global one.
            context: of the call.
            active: whether the session has to take new work.
            own: whether a session's name stands for its own table alone.

        Raises:
            ScorestreamError: NOT_FOUND; PERMISSION_DENIED, for an admin whose session it is not; FAILED_PRECONDITION,
                where it has ended.
        """
        session_id, table_id = names.table_ids(field, name)
        session = await self.session(session_id, context, active=active) if session_id else None
        table = await self._database.read(
            lambda connection: _look_up(connection, session_id, table_id, own=own)
        )
        return FoundTable(table, session)

    @contextlib.asynccontextmanager
    async def reading(
        self, field: str, name: str, context: Context, *, active: bool = False, own: bool = False
    ) -> AsyncIterator[FoundTable]:
        """Give the table of a resource name, whose files stay while the block runs; arguments as of `get`."""
        session_id, table_id = names.table_ids(field, name)
        session = await self.session(session_id, context, active=active) if session_id else None
        with self.use.reading() as reading:

            def look_up(connection: sa.Connection) -> Table:
                found = _look_up(connection, session_id, table_id, own=own)
                return self.use.found(reading, found, time.time())

            yield FoundTable(await self._database.read(look_up), session)

    async def session(self, session_id: str, context: Context, *, active: bool) -> Session:
        """Return a session of the caller's own, and note that it is in use; errors as of `get`."""
        reach = reach_of(context)
        session = await self._database.read(
            lambda connection: session_store.get(connection, session_id, reach)
        )
        require_owner(context, session.owner)
        if active:
            require_active(session)
        self._expiry.seen(session_id)
        return session

    def told(self, table: Table) -> Table:
        """Return a table with what the store does not know yet: when it was last read."""
        last = max(table.last_access_time, self.use.accesses.get(table.uid, 0.0))
        return replace(table, last_access_time=last)


def _look_up(connection: sa.Connection, session_id: str, table_id: str, *, own: bool) -> Table:
    look_up = table_store.get if own or not session_id else table_store.find
    return look_up(connection, session_id, table_id)
