"""Sessions: a client's isolated workspace."""

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from scorestream_server.domain.context import DEFAULT_CONTEXT
from scorestream_server.domain.errors import precondition
from scorestream_server.domain.queue import DEFAULT_QUEUE


class SessionState(enum.StrEnum):
    """The life of a session."""

    ACTIVE = "ACTIVE"
    ENDING = "ENDING"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class Session:
    """A session as the store holds it; times are seconds since 1970, UTC.

    Attributes:
        name: what the client calls it; not necessarily unique.
        weight: its share of the server relative to other sessions, 100 unless said otherwise.
        running_jobs: jobs of it that are not final.
        inactive_timeout: seconds after which it ends when nothing happens in it; 0 for never.
        labels: words of the client's own.
        end_reason: why it ended, or is ending; empty while it is open.
        context: the one that it was made from; what that said then is kept here: also `queue`, that of its jobs, and
            `task_timeout`, seconds that each may run; 0 for ever; `home_directory`,
            in which its home is made; and `context_options`.
    """

    id: str
    name: str
    owner: str
    state: SessionState
    weight: int
    create_time: float
    last_active_time: float
    end_time: float | None
    running_jobs: int
    inactive_timeout: float
    labels: Mapping[str, str] = field(default_factory=dict)
    end_reason: str = ""
    context: str = DEFAULT_CONTEXT
    queue: str = DEFAULT_QUEUE
    task_timeout: float = 0.0
    home_directory: str = ""
    context_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """What the jobs of a session took together; see `domain.job.Job`."""

    jobs: int
    jobs_ended_badly: int
    rows_done: int
    rows_scored: int
    device_seconds: float
    cpu_seconds: float
    bytes_in: int
    bytes_out: int
    peak_memory: int


def require_active(session: Session) -> None:
    """Raise FAILED_PRECONDITION where a session takes nothing new."""
    if session.state is SessionState.ACTIVE:
        return
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(session.end_time or session.last_active_time))
    why = f" ({session.end_reason})" if session.end_reason else ""
    raise precondition(
        "SESSION_ENDED",
        f"Session {session.name!r} ({session.id}) ended or began to end at {when}{why}; create a new one.",
        session=session.id,
    )


def require_not_ended(session: Session, what: str) -> None:
    """Raise FAILED_PRECONDITION where something of a session is asked for that ended with it."""
    if session.state is SessionState.ENDED:
        when = time.strftime(
            "%Y-%m-%d %H:%M:%S UTC", time.gmtime(session.end_time or session.last_active_time)
        )
        raise precondition(
            "SESSION_ENDED",
            f"{what} ended with its session {session.name!r} ({session.id}) at {when}.",
            session=session.id,
        )
