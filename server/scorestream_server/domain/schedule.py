"""Schedules: signals that are sent by the clock."""

import enum
import itertools
from dataclasses import dataclass

from scorestream_server.domain.cron import Cron

ON_TIME_SECONDS = 60.0
"""A run that begins within this time after it was due was not missed."""
MOST_COUNTED = 10_000
"""Missed runs are counted up to here at a time; a year without a server is half a million minutes."""


class Missed(enum.StrEnum):
    """What is done about runs that were due while no server was there."""

    ONCE = "ONCE"
    """One run, for the last of them, as soon as the server is back."""
    SKIP = "SKIP"
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as the store holds it; times are seconds since 1970, UTC.

    Attributes:
        id: its name, which clients give.
        document: the signal, as the client sent it.
        handled_until: what was due until then has been run or missed, and is never looked at again.
        missed_runs: how many due times had no run of their own, over all of its life.
        last_due: the due time of its last run by the clock; None: there was none.
        last_process: the process of its last run, whoever asked for it; empty: there was none.
    """

    id: str
    owner: str
    cron: Cron
    document: str
    missed: Missed
    paused: bool
    create_time: float
    handled_until: float
    missed_runs: int = 0
    last_due: float | None = None
    last_process: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about a schedule at a moment.

    Attributes:
        run: the due time to run for; None: nothing is to be run.
        missed: how many other due times are over.
    """

    run: float | None
    missed: int


def decide(schedule: Schedule, now: float) -> Decision | None:
    """Return what is to be done about a schedule now; None: nothing is due.

    Several due times that are over, because the server was away, make one run at most: that of the last of them.
    """
    if schedule.paused:
        return None
    counted = list(itertools.islice(schedule.cron.due(schedule.handled_until, now), MOST_COUNTED))
    if not counted:
        return None
    # Of very many the last one is found near the end, not counted up to.
    latest = counted[-1] if len(counted) < MOST_COUNTED else _latest(schedule.cron, counted[-1], now)
    if schedule.missed is Missed.ONCE or now - latest <= ON_TIME_SECONDS:
        return Decision(latest, len(counted) - 1)
    return Decision(None, len(counted))


def next_due(schedule: Schedule, now: float) -> float | None:
    """Return when a schedule is to be looked at next; None: not by the clock."""
    return None if schedule.paused else schedule.cron.next(max(now, schedule.handled_until))


def _latest(cron: Cron, known: float, until: float) -> float:
    """Return the last due time up to a moment, by looking back twice as far each time."""
    back = 3600.0
    while until - back > known:
        found = list(cron.due(until - back, until))
        if found:
            return found[-1]
        back *= 2
    return max(cron.due(known, until), default=known)
