"""A session that its owner changes something in."""

import sqlalchemy as sa

from scorestream_server.api.auth import Context, reach_of
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.session import Session, require_active
from scorestream_server.store import sessions as session_store


def open_session(connection: sa.Connection, session_id: str, context: Context) -> Session:
    """Return the caller's own session, which takes changes.

    Raises:
        ScorestreamError: NOT_FOUND; PERMISSION_DENIED for an admin whose session it is not; FAILED_PRECONDITION
            where it has ended.
    """
    session = session_store.get(connection, session_id, reach_of(context))
    if session.owner != context.principal.name:
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "SESSION_OF_ANOTHER",
            f"Session {session.name!r} ({session.id}) is {session.owner!r}'s, who alone changes what is in it. An admin "
            "sees and ends it.",
        )
    require_active(session)
    return session
