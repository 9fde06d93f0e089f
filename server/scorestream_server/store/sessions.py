"""Sessions in the store."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.context import DEFAULT_CONTEXT
from scorestream_server.domain.errors import not_found
from scorestream_server.domain.event import EventType
from scorestream_server.domain.job import FINAL_STATES, State
from scorestream_server.domain.limits import exhausted
from scorestream_server.domain.session import Session, SessionState, SessionStatistics
from scorestream_server.store import events, requests
from scorestream_server.store.prepared import Prepared, one_of
from scorestream_server.store.schema import IS_OPEN, JOBS, SESSIONS, begins_with, owned_by

_RUNNING_JOBS = (
    sa.select(sa.func.count())
    .select_from(JOBS)
    .where(JOBS.c.session_id == SESSIONS.c.id, ~one_of(JOBS.c.state, FINAL_STATES))
    .scalar_subquery()
)
_COLUMNS = sa.select(SESSIONS, _RUNNING_JOBS.label("running_jobs"))
_GET = Prepared(_COLUMNS.where(SESSIONS.c.id == sa.bindparam("session_id"), owned_by(SESSIONS.c.owner)))
_INSERT = sa.insert(SESSIONS)
_COUNT_OPEN = sa.select(sa.func.count()).where(SESSIONS.c.owner == sa.bindparam("owner_"), IS_OPEN)
_TOUCH = (
    sa.update(SESSIONS)
    .where(SESSIONS.c.id == sa.bindparam("session_id"))
    .values(last_active_time=sa.bindparam("time"))
)
_TOUCH_ANY = Prepared(_TOUCH)
_TOUCH_ACTIVE = Prepared(_TOUCH.where(SESSIONS.c.state == SessionState.ACTIVE.value))


def create(connection: sa.Connection, session: Session, request_id: str, most: float = math.inf) -> Session:
    """Insert a session with its first event; a request id seen before gives the session of then.

    Raises:
        ScorestreamError: RESOURCE_EXHAUSTED, where its owner has `most` open ones.
    """
    if request_id:
        earlier = requests.find(connection, session.owner, request_id, "session")
        if earlier is not None:
            return get(connection, earlier, session.owner)
    if connection.execute(_COUNT_OPEN, {"owner_": session.owner}).scalar_one() >= most:
        what = f"You have {most:,.0f} open sessions, as many as one user may."
        advice = "End some, for example with: scorestream session terminate."
        raise exhausted("TOO_MANY_SESSIONS", "sessions", int(most), what, advice)
    if request_id:
        requests.record(connection, session.owner, request_id, "session", session.id, session.create_time)
    values = {
        column.name: getattr(session, column.name) for column in SESSIONS.columns if column.name != "seq"
    }
    texts = {name: msgspec.json.encode(values[name]).decode() for name in ("labels", "context_options")}
    connection.execute(_INSERT, values | texts | {"state": session.state.value})
    events.record(connection, events.of_session(EventType.SESSION_CREATED, session, session.create_time))
    return session


def get(connection: sa.Connection, session_id: str, owner: str | None) -> Session:
    """Return a session of this owner; None: of whichever.

    Raises:
        ScorestreamError: NOT_FOUND, where there is none or it is somebody else's.
    """
    row = _GET.row(connection, {"session_id": session_id, "owner_": owner})
    if row is None:
        raise not_found(
            "SESSION_NOT_FOUND",
            f"There is no session {session_id!r}. `scorestream session list` shows the open ones.",
            session=session_id,
        )
    return _session(row)


def page(
    connection: sa.Connection,
    owner: str | None,
    *,
    prefix: str,
    labels: Mapping[str, str],
    include_ended: bool,
    after: int,
    limit: int,
) -> tuple[list[Session], int]:
    """Return up to `limit` sessions created after position `after`, and the position to go on from (0: none)."""
    query = _COLUMNS.where(SESSIONS.c.seq > after)
    if owner is not None:
        query = query.where(SESSIONS.c.owner == owner)
    if prefix:
        query = query.where(begins_with(SESSIONS.c.name, prefix))
    for name, value in labels.items():
        # Names are allow-listed, and so need no quoting in a path.
        query = query.where(sa.func.json_extract(SESSIONS.c.labels, f'$."{name}"') == value)
    if not include_ended:
        query = query.where(SESSIONS.c.state != SessionState.ENDED.value)
    rows = connection.execute(query.order_by(SESSIONS.c.seq).limit(limit + 1)).all()
    more = rows[limit - 1].seq if len(rows) > limit else 0
    return [_session(row) for row in rows[:limit]], more


def count_default(connection: sa.Connection) -> int:
    """Return how many open sessions of the default context there are."""
    of_it = sa.and_(SESSIONS.c.context == DEFAULT_CONTEXT, IS_OPEN)
    return int(connection.execute(sa.select(sa.func.count()).where(of_it)).scalar_one())


def set_state(
    connection: sa.Connection,
    session_id: str,
    owner: str,
    state: SessionState,
    time: float,
    message: str = "",
) -> Session:
    """Move a session on, with its event where it ends, and return it as it is then."""
    session = get(connection, session_id, owner)
    if session.state is SessionState.ENDED or session.state is state:
        return session
    ended = state is SessionState.ENDED
    values = {
        "state": state.value,
        "last_active_time": time,
        "end_time": time if ended else None,
        "end_reason": message or session.end_reason,
    }
    connection.execute(sa.update(SESSIONS).where(SESSIONS.c.id == session_id).values(values))
    if ended:
        events.record(connection, events.of_session(EventType.SESSION_ENDED, session, time, message))
    return get(connection, session_id, owner)


def update(connection: sa.Connection, session: Session) -> None:
    """Write what a client may change of a session."""
    values = {
        "inactive_timeout": session.inactive_timeout,
        "labels": msgspec.json.encode(session.labels).decode(),
        "last_active_time": session.last_active_time,
    }
    connection.execute(sa.update(SESSIONS).where(SESSIONS.c.id == session.id).values(values))


def statistics(connection: sa.Connection, session_id: str) -> SessionStatistics:
    """Return what the jobs of a session took together."""
    bad = [State.FAILED.value, State.CANCELLED.value, State.TIMED_OUT.value]

    def total(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.coalesce(sa.func.sum(column), 0)

    query = sa.select(
        sa.func.count(),
        total(sa.case((JOBS.c.state.in_(bad), 1), else_=0)),
        *(total(column) for column in (JOBS.c.rows_done, JOBS.c.rows_scored)),
        *(total(column) for column in (JOBS.c.device_seconds, JOBS.c.cpu_seconds)),
        *(total(column) for column in (JOBS.c.bytes_in, JOBS.c.stored_bytes)),
        sa.func.coalesce(sa.func.max(JOBS.c.peak_memory), 0),
    ).where(JOBS.c.session_id == session_id)
    return SessionStatistics(*connection.execute(query).one())


def touch(connection: sa.Connection, session_id: str, time: float) -> None:
    """Note that a session is in use."""
    _TOUCH_ANY.change(connection, {"session_id": session_id, "time": time})


def touch_active(connection: sa.Connection, session_id: str, time: float) -> bool:
    """Note that a session is in use, and return whether it takes new work."""
    return _TOUCH_ACTIVE.change(connection, {"session_id": session_id, "time": time}) > 0


def touch_all(connection: sa.Connection, session_ids: Sequence[str], time: float) -> None:
    """Note that sessions are in use."""
    chosen = sa.and_(SESSIONS.c.id.in_(session_ids), SESSIONS.c.last_active_time < time)
    connection.execute(sa.update(SESSIONS).where(chosen).values(last_active_time=time))


def idle(connection: sa.Connection, now: float) -> list[Session]:
    """Return the active sessions, of any owner, in which nothing has happened for as long as they allow."""
    query = _COLUMNS.where(
        SESSIONS.c.state == SessionState.ACTIVE.value,
        SESSIONS.c.inactive_timeout > 0,
        SESSIONS.c.last_active_time + SESSIONS.c.inactive_timeout <= now,
    )
    found = [_session(row) for row in connection.execute(query)]
    return [session for session in found if not session.running_jobs]


def in_state(connection: sa.Connection, states: Sequence[SessionState]) -> list[Session]:
    """Return every session in one of these states, of any owner."""
    wanted = [state.value for state in states]
    return [_session(row) for row in connection.execute(_COLUMNS.where(SESSIONS.c.state.in_(wanted)))]


def _session(row: Any) -> Session:
    return Session(
        row.id,
        row.name,
        row.owner,
        SessionState(row.state),
        row.weight,
        row.create_time,
        row.last_active_time,
        row.end_time,
        row.running_jobs,
        row.inactive_timeout,
        msgspec.json.decode(row.labels, type=dict[str, str]),
        row.end_reason,
        row.context,
        row.queue,
        row.task_timeout,
        row.home_directory,
        msgspec.json.decode(row.context_options, type=dict[str, str]),
    )


def all_of(connection: sa.Connection, owner: str | None, prefix: str) -> list[Session]:
    """Return every open session of an owner (None: of all) whose name begins with `prefix`, oldest first."""
    query = _COLUMNS.where(SESSIONS.c.state != SessionState.ENDED.value)
    if owner is not None:
        query = query.where(SESSIONS.c.owner == owner)
    if prefix:
        query = query.where(begins_with(SESSIONS.c.name, prefix))
    return [_session(row) for row in connection.execute(query.order_by(SESSIONS.c.seq))]
