"""When a cron expression is due in a time zone, by Debian's rules; times are seconds since 1970, UTC.

A fixed time of day (minute and hour do not begin with ``*``) that daylight saving leaves out is due once, when the
clock has been put forward; one in the hour that comes twice is due once, the first time. Expressions that begin with
``*`` there follow real time.
"""

import difflib
import functools
import itertools
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

from cronsim import CronSim, CronSimError

from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid

LONGEST = 200
FIELDS = 5
_CRON = re.compile(r"[0-9A-Za-z*/,#\- \t]+")
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}")


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields, and the name of the time zone that it is meant in."""

    expression: str
    time_zone: str

    def after(self, moment: float) -> Iterator[float]:
        """Yield the times that are due after a moment, in order; few expressions ever end."""
        zone = _zone(self.time_zone)
        latest = moment
        for due in CronSim(self.expression, datetime.fromtimestamp(moment, zone)):
            # In the hour that comes twice the library may name a time of its first half again.
            if (found := due.timestamp()) > latest:
                latest = found
                yield found

    def next(self, moment: float) -> float | None:
        """Return the first time that is due after a moment; None: there is none in 50 years."""
        return next(self.after(moment), None)

    def due(self, after: float, until: float) -> Iterator[float]:
        """Yield the times that are due after one moment and until another, which belongs to them."""
        return itertools.takewhile(lambda found: found <= until, self.after(after))


def checked(expression: str, time_zone: str) -> Cron:
    """Return a cron expression in a time zone, if both are ones.

    Raises:
        ScorestreamError: INVALID_ARGUMENT.
    """
    words = expression.split()
    told = "the five fields minute, hour, day of month, month, day of week, for example 0 2 * * *"
    if len(expression) > LONGEST or not _CRON.fullmatch(expression) or len(words) != FIELDS:
        raise _bad("cron", f"{expression[:LONGEST]!r} is no cron expression; wanted: {told}")
    zone = _checked_zone(time_zone or "UTC")
    try:
        found = Cron(" ".join(words), time_zone or "UTC")
        first = CronSim(found.expression, datetime(2026, 1, 1, tzinfo=zone))
    except CronSimError as error:
        why = str(error)[:1].lower() + str(error)[1:]
        raise _bad("cron", f"{expression!r} is no cron expression, {why}; wanted: {told}") from None
    if next(first, None) is None:
        raise _bad("cron", f"{expression!r} is never due; wanted: {told}")
    return found


def day_in(time_zone: str, moment: float) -> str:
    """Return the day that a moment is on in a time zone, as 2026-11-22."""
    return datetime.fromtimestamp(moment, _zone(time_zone)).date().isoformat()


@functools.lru_cache(64)
def _zone(name: str) -> tzinfo:
    return zoneinfo.ZoneInfo(name)


def _checked_zone(name: str) -> tzinfo:
    # Looked at first: the library makes a path of it.
    if _ZONE.fullmatch(name):
        try:
            return _zone(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass
    near = difflib.get_close_matches(name[:LONGEST], sorted(zoneinfo.available_timezones()), n=1)
    meant = f"did you mean {near[0]}?" if near else "write one such as Europe/Berlin or UTC."
    raise _bad("time_zone", f"there is no time zone {name[:LONGEST]!r}; {meant}")


def _bad(field: str, description: str) -> ScorestreamError:
    return invalid(
        "BAD_SCHEDULE",
        f"{field}: {description.rstrip('.')}.".replace("?.", "?"),
        [FieldFault(field, description)],
    )
