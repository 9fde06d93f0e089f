"""Saves of tables in the store: begun, done, and by whom."""

from dataclasses import replace
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.save import Save
from scorestream_server.domain.table import TableData
from scorestream_server.store import requests
from scorestream_server.store.schema import SAVES, TABLES

KEPT_SECONDS = 90 * 24 * 3600.0
"""For so long it can be told who saved over a file."""


def begin(connection: sa.Connection, save: Save) -> None:
    """Note that a table is being saved, so that a server that dies meanwhile can say what became of it."""
    connection.execute(
        sa.insert(SAVES).values(
            id=save.save_id,
            path=save.path,
            shown=save.shown,
            table_uid=save.table_uid,
            session_id=save.session_id,
            owner=save.owner,
            own_source=save.own_source,
            etag="",
            time=save.time,
        )
    )


def finish(connection: sa.Connection, save: Save, request_id: str = "") -> None:
    """Note that a save is done; a table that was loaded from there describes what it was saved as from then on."""
    this = sa.update(SAVES).where(SAVES.c.id == save.save_id)
    connection.execute(this.values(etag=save.etag, time=save.time))
    if save.own_source:
        mine = TABLES.c.uid == save.table_uid
        data = connection.execute(sa.select(TABLES.c.data).where(mine)).scalar_one()
        found = replace(msgspec.json.decode(data, type=TableData), saved_etag=save.etag)
        connection.execute(sa.update(TABLES).where(mine).values(data=msgspec.json.encode(found)))
    # Another request may have come with the same id meanwhile; what is saved is saved, and the id is of what came first.
    if request_id and not requests.is_known(connection, save.owner, request_id):
        requests.record(connection, save.owner, request_id, "save", save.save_id, save.time)


def give_up(connection: sa.Connection, save_id: str) -> None:
    """Forget a save that was not done."""
    connection.execute(sa.delete(SAVES).where(SAVES.c.id == save_id))


def unfinished(connection: sa.Connection) -> list[Save]:
    """Return the saves that were begun."""
    return [_save(row) for row in connection.execute(sa.select(SAVES).where(SAVES.c.etag == ""))]


def by_request(connection: sa.Connection, owner: str, request_id: str) -> Save | None:
    """Return the save that a request with this id did, if one did, as long as it is known."""
    earlier = requests.find(connection, owner, request_id, "save") if request_id else None
    row = connection.execute(sa.select(SAVES).where(SAVES.c.id == earlier)).one_or_none() if earlier else None
    return _save(row) if row is not None else None


def by_etag(connection: sa.Connection, path: str, etag: str) -> Save | None:
    """Return the save that left what is at a path now, if one did."""
    this = sa.select(SAVES).where(SAVES.c.path == path, SAVES.c.etag == etag)
    row = connection.execute(this.order_by(SAVES.c.time.desc()).limit(1)).one_or_none() if etag else None
    return _save(row) if row is not None else None


def forget_old(connection: sa.Connection, now: float) -> int:
    """Forget the saves that were kept for long enough, and return how many they were."""
    old = sa.and_(SAVES.c.time <= now - KEPT_SECONDS, SAVES.c.etag != "")
    return connection.execute(sa.delete(SAVES).where(old)).rowcount


def _save(row: Any) -> Save:
    return Save(
        row.id,
        row.path,
        row.shown,
        row.table_uid,
        row.session_id,
        row.owner,
        row.own_source,
        row.etag,
        row.time,
    )
