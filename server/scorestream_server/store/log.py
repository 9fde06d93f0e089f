"""The log in the store: a row a block of lines, numbered as it is inserted, read back from a number on."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.log import MOST_LINES, LineType, LogBlock, LogLine, LogSelection
from scorestream_server.store.prepared import Prepared
from scorestream_server.store.schema import LOG

_BITS = {kind: 1 << place for place, kind in enumerate(LineType)}
_NEXT_LINE = (
    sa.select(LOG.c.first_line + LOG.c.lines)
    .where(LOG.c.session_id == sa.bindparam("session_id_"))
    .order_by(LOG.c.number.desc())
    .limit(1)
    .scalar_subquery()
)
# One statement inserts and numbers: this is on the way of every job.
_GIVEN = ("session_id", "job_id", "lines", "types", "ends", "data")
_INSERT = Prepared(
    sa.insert(LOG)
    .values(first_line=sa.func.coalesce(_NEXT_LINE, 0))
    .returning(LOG.c.number, LOG.c.first_line),
    _GIVEN,
)
_INSERT_RESET = Prepared(
    sa.insert(LOG).values(first_line=0).returning(LOG.c.number, LOG.c.first_line), _GIVEN
)


def write(connection: sa.Connection, block: LogBlock, *, reset: bool = False) -> LogBlock:
    """Insert lines, to be published when the transaction is durable; return them as they are numbered.

    Args:
        connection: of a write.
        block: the lines; what is beyond `MOST_LINES` is left out.
        reset: whether its first line gets the number 0.
    """
    lines = block.lines[:MOST_LINES]
    values = {
        "session_id": block.session_id,
        "session_id_": block.session_id,
        "job_id": block.job_id,
        "lines": len(lines),
        "types": sum(_BITS[kind] for kind in block.types),
        "ends": block.ends,
        "data": msgspec.json.encode(lines),
    }
    row = (_INSERT_RESET if reset else _INSERT).row(connection, values)
    written = LogBlock(
        block.session_id, block.job_id, lines, ends=block.ends, number=row.number, first_line=row.first_line
    )
    connection.info["lines"].append(written)
    return written


def last_number(connection: sa.Connection) -> int:
    """Return the highest number of a block so far, 0 where there is none."""
    return int(connection.execute(sa.select(sa.func.max(LOG.c.number))).scalar() or 0)


def page(
    connection: sa.Connection, selection: LogSelection, after: int, up_to: int | None, limit: int
) -> list[LogBlock]:
    """Return blocks with ``after < number <= up_to`` that the selection matches, in order."""
    query = sa.select(LOG).where(LOG.c.session_id == selection.session_id, LOG.c.number > after)
    if up_to is not None:
        query = query.where(LOG.c.number <= up_to)
    if selection.job_id:
        mine = LOG.c.job_id == selection.job_id
        query = query.where(LOG.c.job_id.in_([selection.job_id, ""]), sa.or_(mine, LOG.c.ends))
    if selection.types:
        wanted = sum(_BITS[kind] for kind in selection.types)
        query = query.where(sa.or_(LOG.c.types.op("&")(wanted) != 0, LOG.c.ends))
    return [_block(row) for row in connection.execute(query.order_by(LOG.c.number).limit(limit))]


def end(connection: sa.Connection, session_id: str, lines: Sequence[LogLine]) -> None:
    """Remove the log of a session, but for its last lines, which tell whoever follows it that it is over."""
    last = write(connection, LogBlock(session_id, "", lines, ends=True))
    connection.execute(sa.delete(LOG).where(LOG.c.session_id == session_id, LOG.c.number < last.number))


def _block(row: Any) -> LogBlock:
    lines = msgspec.json.decode(row.data, type=list[LogLine])
    return LogBlock(
        row.session_id, row.job_id, lines, ends=row.ends, number=row.number, first_line=row.first_line
    )
