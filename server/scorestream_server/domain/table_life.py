"""How long tables stay that do not stay for ever: a pure rule."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

WRITE_SECONDS = 60.0
"""How often accesses are written down at most; so much later than the store says, a table may have been read before a
server ended without warning."""


@dataclass(frozen=True, slots=True)
class Life:
    """What the store knows of a table with a lifetime; seconds, and seconds since 1970."""

    uid: str
    lifetime: float
    last_access_time: float


def expired(
    lives: Iterable[Life], accesses: Mapping[str, float], in_use: Collection[str], started: float, now: float
) -> list[str]:
    """Return the uids of the tables whose lifetime is over.

    Args:
        lives: tables with a lifetime.
        accesses: when tables were last read since this server began, as far as they were.
        in_use: tables that a job or a reader has now; they stay.
        started: when this server began.
        now: seconds since 1970.
    """
    return [
        life.uid
        for life in lives
        if life.uid not in in_use and now - _last_access(life, accesses, started) > life.lifetime
    ]


def _last_access(life: Life, accesses: Mapping[str, float], started: float) -> float:
    """Return when a table may have been read last: never earlier than it was."""
    unwritten = min(life.last_access_time + WRITE_SECONDS, started)
    return max(life.last_access_time, unwritten, accesses.get(life.uid, 0.0))
