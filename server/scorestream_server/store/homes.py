"""What the homes of sessions take of the disk, in the store."""

import sqlalchemy as sa

from scorestream_server.domain.home import HomeUse
from scorestream_server.store.schema import HOMES


def put(connection: sa.Connection, session_id: str, use: HomeUse) -> None:
    """Note what a home takes."""
    forget(connection, session_id)
    connection.execute(
        sa.insert(HOMES).values(session_id=session_id, stored_bytes=use.bytes, files=use.files)
    )


def get(connection: sa.Connection, session_id: str) -> HomeUse:
    """Return what a home took when it was last measured."""
    row = connection.execute(sa.select(HOMES).where(HOMES.c.session_id == session_id)).one_or_none()
    return HomeUse(0, 0) if row is None else HomeUse(row.stored_bytes, row.files)


def forget(connection: sa.Connection, session_id: str) -> None:
    """Forget a home."""
    connection.execute(sa.delete(HOMES).where(HOMES.c.session_id == session_id))
