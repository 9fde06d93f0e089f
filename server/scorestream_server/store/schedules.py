"""Schedules in the store."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found
from scorestream_server.domain.limits import exhausted
from scorestream_server.domain.schedule import Schedule
from scorestream_server.store import requests
from scorestream_server.store.schema import SCHEDULES

MOST = 200
"""Schedules of one owner."""


def create(connection: sa.Connection, schedule: Schedule, request_id: str) -> Schedule:
    """Insert a schedule; a request id seen before gives the schedule of then.

    Raises:
        ScorestreamError: ALREADY_EXISTS; RESOURCE_EXHAUSTED, where its owner has too many.
    """
    if request_id:
        earlier = requests.find(connection, schedule.owner, request_id, "schedule")
        if earlier is not None:
            return get(connection, earlier, schedule.owner)
    if connection.execute(sa.select(SCHEDULES.c.id).where(SCHEDULES.c.id == schedule.id)).first():
        raise ScorestreamError(
            ErrorCode.ALREADY_EXISTS,
            "SCHEDULE_EXISTS",
            f"There is a schedule {schedule.id!r} already. Take another name, or delete it if it is yours.",
            metadata={"schedule": schedule.id},
        )
    mine = sa.select(sa.func.count()).where(SCHEDULES.c.owner == schedule.owner)
    if connection.execute(mine).scalar_one() >= MOST:
        what = f"You have {MOST:,} schedules, as many as one user may."
        raise exhausted("TOO_MANY_SCHEDULES", "schedules", MOST, what, "Delete some.")
    if request_id:
        requests.record(connection, schedule.owner, request_id, "schedule", schedule.id, schedule.create_time)
    values = {"id": schedule.id, "owner": schedule.owner, "data": msgspec.json.encode(schedule)}
    connection.execute(sa.insert(SCHEDULES).values(values))
    return schedule


def find(connection: sa.Connection, schedule_id: str) -> Schedule | None:
    """Return a schedule of anybody's, None where there is none."""
    query = sa.select(SCHEDULES.c.data).where(SCHEDULES.c.id == schedule_id)
    data = connection.execute(query).scalar_one_or_none()
    return None if data is None else msgspec.json.decode(data, type=Schedule)


def get(connection: sa.Connection, schedule_id: str, owner: str | None) -> Schedule:
    """Return a schedule of this owner; None: of whichever.

    Raises:
        ScorestreamError: NOT_FOUND, where there is none or it is somebody else's.
    """
    found = find(connection, schedule_id)
    if found is None or owner not in (None, found.owner):
        raise not_found(
            "SCHEDULE_NOT_FOUND",
            f"There is no schedule {schedule_id!r}. `scorestream schedule ls` shows those that there are.",
            schedule=schedule_id,
        )
    return found


def every(connection: sa.Connection) -> list[Schedule]:
    """Return all schedules, of everybody."""
    found = connection.execute(sa.select(SCHEDULES.c.data)).scalars()
    return [msgspec.json.decode(data, type=Schedule) for data in found]


def page(
    connection: sa.Connection, owner: str | None, *, after: str, limit: int
) -> tuple[Sequence[Schedule], bool]:
    """Return up to `limit` schedules by name, those whose names come after that one, and whether there are more."""
    query = sa.select(SCHEDULES.c.data).where(SCHEDULES.c.id > after)
    if owner is not None:
        query = query.where(SCHEDULES.c.owner == owner)
    rows = connection.execute(query.order_by(SCHEDULES.c.id).limit(limit + 1)).scalars().all()
    return [msgspec.json.decode(data, type=Schedule) for data in rows[:limit]], len(rows) > limit


def update(connection: sa.Connection, schedule: Schedule) -> None:
    """Write what changed of a schedule."""
    values = {"data": msgspec.json.encode(schedule)}
    connection.execute(sa.update(SCHEDULES).where(SCHEDULES.c.id == schedule.id).values(values))


def delete(connection: sa.Connection, schedule_id: str) -> None:
    """Delete a schedule; its processes stay."""
    connection.execute(sa.delete(SCHEDULES).where(SCHEDULES.c.id == schedule_id))
