"""Schedules: signals sent when they are due. Wakes for the next due time, and runs nothing twice."""

import asyncio
import contextlib
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import sqlalchemy as sa

from scorestream_server.domain.cron import day_in
from scorestream_server.domain.disk import StorageError
from scorestream_server.domain.errors import ScorestreamError, precondition
from scorestream_server.domain.process import Process, ProcessState
from scorestream_server.domain.schedule import Decision, Schedule, decide, next_due
from scorestream_server.domain.signal import parse
from scorestream_server.engine.processes import Processes
from scorestream_server.store import schedules as schedule_store
from scorestream_server.store.database import Database

logger = logging.getLogger(__name__)

LONGEST_SLEEP = 60.0
"""Seconds; a clock that was set, or a machine that slept, is noticed within this time."""


class Schedules:
    """Sends the signals of schedules.

    Args:
        database: the store.
        processes: carries out what is signalled.
        clock: seconds since 1970, UTC.
    """

    def __init__(
        self, database: Database, processes: Processes, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._processes = processes
        self._clock = clock
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look at what is due; runs that were missed while no server was there are handled first."""
        self._loop = asyncio.create_task(self._run())

    def changed(self) -> None:
        """Look again: a schedule was made or changed."""
        self._wake.set()

    async def close(self) -> None:
        """Stop."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def look(self) -> float | None:
        """Send what is due, and return when to look next; None: nothing will ever be due."""
        now = self._clock()
        schedules = await self._database.read(schedule_store.every)
        found = await asyncio.to_thread(_decisions, schedules, now)
        for schedule, decision in found:
            await self._handle(schedule, decision, now)
        return await asyncio.to_thread(_earliest, schedules, now)

    async def run(self, schedule: Schedule, request_id: str) -> Process:
        """Send a schedule's signal now, whatever its expression says.

        Raises:
            ScorestreamError: its owner has too many processes.
        """
        process = self._process(schedule, None, self._clock())

        def note(connection: sa.Connection, made: Process) -> None:
            current = schedule_store.get(connection, schedule.id, schedule.owner)
            schedule_store.update(connection, replace(current, last_process=made.id))

        return await self._processes.start(process, request_id, note)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            pause = LONGEST_SLEEP
            try:
                soonest = await self.look()
                if soonest is not None:
                    pause = min(pause, max(0.0, soonest - self._clock()))
            except (sa.exc.SQLAlchemyError, StorageError):
                logger.exception("schedules could not be looked at; they are again in a minute")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _handle(self, schedule: Schedule, decision: Decision, now: float) -> None:
        """Send a schedule's signal, or note that its runs were missed."""
        handled = replace(schedule, handled_until=now, missed_runs=schedule.missed_runs + decision.missed)
        due = decision.run
        if due is not None:

            def note(connection: sa.Connection, made: Process) -> None:
                _put(connection, schedule, replace(handled, last_due=due, last_process=made.id))

            request = hashlib.sha256(f"{schedule.id}\n{schedule.create_time}\n{due}".encode()).hexdigest()
            try:
                await self._processes.start(self._process(schedule, due, now), request, note)
            except (ScorestreamError, sa.exc.IntegrityError) as error:
                logger.warning("schedule %r did not run: %s", schedule.id, error)
                handled = replace(handled, missed_runs=handled.missed_runs + 1)
            else:
                return
        with contextlib.suppress(ScorestreamError):  # it was changed meanwhile, and is looked at as it is now
            await self._database.write(lambda connection: _put(connection, schedule, handled))

    def _process(self, schedule: Schedule, due: float | None, now: float) -> Process:
        signal = parse(schedule.document.encode())
        return Process(
            id=str(uuid.uuid4()),
            owner=schedule.owner,
            signal=signal.name,
            variables=signal.variables,
            day=day_in(schedule.cron.time_zone, now if due is None else due),
            state=ProcessState.RUNNING,
            create_time=now,
            schedule_id=schedule.id,
            due_time=due,
        )


def _decisions(schedules: Sequence[Schedule], now: float) -> list[tuple[Schedule, Decision]]:
    """Return what is to be done about each schedule of which something is due."""
    found = ((schedule, decide(schedule, now)) for schedule in schedules)
    return [(schedule, decision) for schedule, decision in found if decision is not None]


def _earliest(schedules: Sequence[Schedule], now: float) -> float | None:
    """Return when the next of several schedules is due."""
    return min((due for one in schedules if (due := next_due(one, now)) is not None), default=None)


def _put(connection: sa.Connection, before: Schedule, after: Schedule) -> None:
    """Write what was done about a schedule, unless it was changed meanwhile."""
    if schedule_store.find(connection, before.id) != before:
        raise precondition("SCHEDULE_CHANGED", f"Schedule {before.id!r} was changed meanwhile.")
    schedule_store.update(connection, after)
