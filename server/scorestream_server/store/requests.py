"""Request ids in the store: what a create has already made, so that a retry makes nothing twice.

They are kept for `KEPT_SECONDS`; who tries again for longer than that is told so by nobody.
"""

import sqlalchemy as sa

from scorestream_server.domain.errors import invalid
from scorestream_server.store.prepared import Prepared
from scorestream_server.store.schema import REQUESTS

_FIND = Prepared(
    sa.select(REQUESTS).where(
        REQUESTS.c.owner == sa.bindparam("owner_"), REQUESTS.c.request_id == sa.bindparam("request_id_")
    )
)
_INSERT = Prepared(sa.insert(REQUESTS), REQUESTS.c.keys())
KEPT_SECONDS = 24 * 3600.0


def find(connection: sa.Connection, owner: str, request_id: str, kind: str) -> str | None:
    """Return the id of what the request created, or None for a new request.

    Raises:
        ScorestreamError: INVALID_ARGUMENT, where it created something of another kind.
    """
    row = _FIND.row(connection, {"owner_": owner, "request_id_": request_id})
    if row is None:
        return None
    if row.kind != kind:
        raise invalid(
            "REQUEST_ID_REUSED",
            f"Request id {request_id!r} was used to create a {row.kind}; take a new one for a {kind}.",
        )
    return str(row.resource_id)


def is_known(connection: sa.Connection, owner: str, request_id: str) -> bool:
    """Whether a request with this id has created anything."""
    return _FIND.row(connection, {"owner_": owner, "request_id_": request_id}) is not None


def record(
    connection: sa.Connection, owner: str, request_id: str, kind: str, resource_id: str, time: float
) -> None:
    """Note what a request created."""
    values = {
        "owner": owner,
        "request_id": request_id,
        "kind": kind,
        "resource_id": resource_id,
        "time": time,
    }
    _INSERT.insert(connection, values)


def forget(connection: sa.Connection, owner: str, request_id: str) -> None:
    """Forget what a request created, so that the next one with its id creates anew."""
    this = sa.and_(REQUESTS.c.owner == owner, REQUESTS.c.request_id == request_id)
    connection.execute(sa.delete(REQUESTS).where(this))


def forget_old(connection: sa.Connection, now: float) -> int:
    """Forget the ids that were kept for long enough, and return how many they were."""
    return connection.execute(sa.delete(REQUESTS).where(REQUESTS.c.time <= now - KEPT_SECONDS)).rowcount
