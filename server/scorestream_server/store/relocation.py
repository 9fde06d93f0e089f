"""A data directory that was moved: the store names files in it by their full paths, which are made right again."""

import re
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.session import SessionState
from scorestream_server.store.holdings import has_global_tables
from scorestream_server.store.schema import JOBS, PARTITIONS, SESSIONS, TABLES

_OPEN = SESSIONS.c.state != SessionState.ENDED.value
_PARTITIONS = (
    sa.select(PARTITIONS.c.job_id, PARTITIONS.c.idx, PARTITIONS.c.file, JOBS.c.session_id)
    .join(JOBS, JOBS.c.id == PARTITIONS.c.job_id)
    .join(SESSIONS, SESSIONS.c.id == JOBS.c.session_id)
    .where(_OPEN, PARTITIONS.c.file.is_not(None))
)
_TABLES = (
    sa.select(TABLES.c.uid, TABLES.c.data, TABLES.c.session_id)
    .join(SESSIONS, SESSIONS.c.id == TABLES.c.session_id)
    .where(_OPEN)
)
_GLOBAL_TABLES = sa.select(TABLES.c.uid, TABLES.c.data).where(TABLES.c.is_global)
_JOBS = (
    sa.select(JOBS.c.id, JOBS.c.spec, JOBS.c.session_id)
    .join(SESSIONS, SESSIONS.c.id == JOBS.c.session_id)
    .where(_OPEN)
)


def relocate(connection: sa.Connection, root: Path) -> int:
    """Have every path into the data directory begin with `root`; return how many rows were changed.

    Such a path is told by the folder of its session, or of its global table, in it. A directory moves as a whole, so that the
    partitions are gone through only where the first of them is not right.
    """
    changed = 0
    for row in connection.execute(_TABLES).all():
        moved = _kept_in(_moved(row.data, row.session_id, root), root)
        changed += _move_table(connection, row.uid, row.data, moved)
    if has_global_tables(connection):
        for one in connection.execute(_GLOBAL_TABLES).all():
            data = _kept_in(_moved_below(one.data, f"/tables/{one.uid}/", root), root)
            changed += _move_table(connection, one.uid, one.data, data)
    for row in connection.execute(_JOBS).all():
        spec = msgspec.json.decode(row.spec)
        destination = spec.get("destination") or {}
        if not destination.get("shown"):  # not in a home
            continue
        # The destination alone: other texts of a client's may hold anything.
        encoded = msgspec.json.encode(destination)
        if (moved := _moved(encoded, row.session_id, root)) != encoded:
            spec["destination"] = msgspec.json.decode(moved)
            values = {"spec": msgspec.json.encode(spec)}
            connection.execute(sa.update(JOBS).where(JOBS.c.id == row.id).values(values))
            changed += 1
    first = connection.execute(_PARTITIONS.limit(1)).first()
    if first is None or _moved(first.file, first.session_id, root) == first.file:
        return changed
    for part in connection.execute(_PARTITIONS).all():
        this = sa.and_(PARTITIONS.c.job_id == part.job_id, PARTITIONS.c.idx == part.idx)
        file = _moved(part.file, part.session_id, root)
        connection.execute(sa.update(PARTITIONS).where(this).values(file=file))
        changed += 1
    return changed


def _kept_in(data: bytes, root: Path) -> bytes:
    """Return a table's JSON with its folder of kept versions below `root`."""
    found = re.search(rb'"kept":"([^"]+)"', data)
    if found is None or found[1] == msgspec.json.encode(str(root / "kept")).strip(b'"'):
        return data
    return msgspec.json.encode({**msgspec.json.decode(data), "kept": str(root / "kept")})


def _move_table(connection: sa.Connection, uid: str, data: bytes, moved: bytes) -> bool:
    if moved == data:
        return False
    connection.execute(sa.update(TABLES).where(TABLES.c.uid == uid).values(data=moved))
    return True


def _moved(data: bytes, session_id: str, root: Path) -> bytes:
    """Return a record's JSON with its paths into the session's folder below `root`."""
    return _moved_below(data, f"/sessions/{session_id}/", root)


def _moved_below(data: bytes, folder: str, root: Path) -> bytes:
    found = re.search(rb'"([^"]*)' + re.escape(folder).encode(), data)
    if found is None or found[1] == str(root).encode():
        return data

    def walk(value: Any) -> Any:
        match value:
            case str() if folder in value:
                return f"{root}{folder}{value.partition(folder)[2]}"
            case list():
                return [walk(one) for one in value]
            case dict():
                moved = {key: walk(one) for key, one in value.items()}
                if moved.get("inode") and moved.get("path") != value["path"]:
                    moved |= {"inode": 0, "ctime_ns": 0}  # of a file in a home, which a copy does not keep
                return moved
            case _:
                return value

    return msgspec.json.encode(walk(msgspec.json.decode(data)))
