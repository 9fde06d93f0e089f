"""Events in the store: numbered as they are inserted, read back from a number on."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from scorestream_server.domain.event import Event, EventType
from scorestream_server.domain.job import Job, State
from scorestream_server.domain.session import Session
from scorestream_server.store.prepared import Prepared
from scorestream_server.store.schema import EVENTS, begins_with

_COLUMNS = tuple(column.name for column in EVENTS.columns if column.name != "number")
_INSERT = Prepared(sa.insert(EVENTS), _COLUMNS)


def record(connection: sa.Connection, event: Event) -> Event:
    """Insert an event, whatever its `number`, and return it with the number that it got."""
    values = {name: getattr(event, name) for name in _COLUMNS}
    values["type"] = event.type.value
    values["state"] = event.state.value if event.state else ""
    numbered = dataclasses.replace(event, number=_INSERT.insert(connection, values))
    connection.info["events"].append(numbered)
    return numbered


def of_session(event_type: EventType, session: Session, time: float, message: str = "") -> Event:
    """Return an event, still without its number, of a session itself."""
    return Event(0, time, event_type, session.id, session.name, session.owner, message=message)


def of_job(
    event_type: EventType,
    job: Job,
    session_name: str,
    time: float,
    *,
    message: str = "",
    device: str = "",
    lane: int = 0,
) -> Event:
    """Return an event, still without its number, that shows a job as it is now."""
    return Event(
        0,
        time,
        event_type,
        job.session_id,
        session_name,
        job.owner,
        job.id,
        job.name,
        job.state,
        job.rows_done,
        job.rows_total,
        job.rows_scored,
        device,
        lane,
        message,
    )


def last_number(connection: sa.Connection) -> int:
    """Return the highest number so far, 0 where there is no event."""
    return int(connection.execute(sa.select(sa.func.max(EVENTS.c.number))).scalar() or 0)


def page(
    connection: sa.Connection,
    *,
    after: int,
    up_to: int,
    limit: int,
    owner: str | None,
    session_ids: Sequence[str] = (),
    session_name_prefix: str = "",
    job_id: str = "",
) -> list[Event]:
    """Return events with ``after < number <= up_to`` that match every condition given, in order."""
    query = sa.select(EVENTS).where(EVENTS.c.number > after, EVENTS.c.number <= up_to)
    if owner is not None:
        query = query.where(EVENTS.c.owner == owner)
    if session_ids:
        query = query.where(EVENTS.c.session_id.in_(session_ids))
    if session_name_prefix:
        query = query.where(begins_with(EVENTS.c.session_name, session_name_prefix))
    if job_id:
        query = query.where(EVENTS.c.job_id == job_id)
    rows = connection.execute(query.order_by(EVENTS.c.number).limit(limit))
    return [_event(row) for row in rows]


def _event(row: Any) -> Event:
    values = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's documented name for it
    values["type"] = EventType(values["type"])
    values["state"] = State(values["state"]) if values["state"] else None
    return Event(**values)
