"""The session that a call is about: the caller's own."""

from scorestream_server.api import names
from scorestream_server.api.auth import Context, reach_of, require_owner
from scorestream_server.domain.session import Session, require_active
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database


class OwnSessions:
    """Finds sessions for those who own them, and notes that they are in use."""

    def __init__(self, database: Database, expiry: SessionExpiry) -> None:
        self._database = database
        self._expiry = expiry

    async def active(self, field: str, name: str, context: Context) -> Session:
        """Return the caller's session of a resource name, which takes new work.

        Raises:
            ScorestreamError: NOT_FOUND; PERMISSION_DENIED, for an admin; FAILED_PRECONDITION, where it has ended.
        """
        session_id, reach = names.session_id(field, name), reach_of(context)
        session = await self._database.read(
            lambda connection: session_store.get(connection, session_id, reach)
        )
        require_owner(context, session.owner)
        require_active(session)
        self.seen(session)
        return session

    async def require_active(self, session: Session) -> None:
        """Refuse what takes a session that has ended since it was looked up."""
        require_active(
            await self._database.read(
                lambda connection: session_store.get(connection, session.id, session.owner)
            )
        )

    def seen(self, session: Session) -> None:
        """Note that something moves in a session."""
        self._expiry.seen(session.id)
