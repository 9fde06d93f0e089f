"""Events: numbered facts about sessions and jobs."""

import enum
from dataclasses import dataclass

from scorestream_server.domain.job import State


class EventType(enum.StrEnum):
    """What an event reports."""

    SESSION_CREATED = "SESSION_CREATED"
    SESSION_ENDED = "SESSION_ENDED"
    JOB_CREATED = "JOB_CREATED"
    JOB_STATE_CHANGED = "JOB_STATE_CHANGED"
    PARTITION_COMMITTED = "PARTITION_COMMITTED"
    PARTITION_RETRIED = "PARTITION_RETRIED"
    WARNING = "WARNING"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact; `number` grows over the whole server, so a subscriber can go on from any of them.

    Attributes:
        time: seconds since 1970, UTC.
        owner: whose session it is.
        job_id: empty for an event of the session itself, as are the fields after it.
        rows_done: input rows of the job that are committed.
        rows_total: input rows of the job in all, before ``where``.
        rows_scored: result rows committed.
        device: who did the work, for example ``cpu``; empty where nobody did.
        lane: lane of that device, from 0.
    """

    number: int
    time: float
    type: EventType
    session_id: str
    session_name: str
    owner: str
    job_id: str = ""
    job_name: str = ""
    state: State | None = None
    rows_done: int = 0
    rows_total: int = 0
    rows_scored: int = 0
    device: str = ""
    lane: int = 0
    message: str = ""
